package state

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/forst-go/forst/forstfs"
)

// ConsolidateStats say what a Consolidate does.
type ConsolidateStats struct {
	Before, After  int           // databases
	Reason         string        // why they were not joined into one, if they were not
	Records, Bytes int64         // that went through the engine into the new database: keys and values, before compression
	Detached       int64         // bytes of objects that were copied as they are
	Held           time.Duration // the longest time for which requests were held up
	Took           time.Duration
}

func (s ConsolidateStats) String() string {
	why := ""
	if s.Reason != "" {
		why = " (" + s.Reason + ")"
	}
	return fmt.Sprintf("%d databases became %d%s: %d records of %d B written again, %d B of objects copied, requests held up for %v, %v in all",
		s.Before, s.After, why, s.Records, s.Bytes, s.Detached, s.Held, s.Took)
}

// joins are the Consolidate calls of a backend.
type joins struct {
	turn chan struct{} // one at a time
	mu   sync.Mutex
	done int64
	last ConsolidateStats
}

func (j *joins) init() { j.turn = make(chan struct{}, 1) }

func (j *joins) note(s ConsolidateStats, done bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.last = s
	if done {
		j.done++
	}
}

func (j *joins) stats() (int64, ConsolidateStats) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.done, j.last
}

// Consolidate makes a backend that was restored stand alone: what its several databases borrow from other volumes, and hold for key groups of other instances, is
// joined into one database in a volume of its own; a single one copies what it borrows. Afterwards nothing of the checkpoint that was
// restored is needed by this backend but by its own older checkpoints; when those are subsumed, RemoveCheckpoint and Clean free it.
//
// Requests and snapshots go on meanwhile; requests are held up once for each database and once for the switch, as by a snapshot. Writes to the part that is being copied
// go to both databases. Everything is read once and written once, and takes its place in the store twice until the old volumes go. Whoever dies
// within it falls back to the last checkpoint, as always; what was copied is garbage for Clean.
//
// A Durable backend with a Name stays in its databases, because Open finds it by them, and so does one whose databases number their states differently: each
// of them copies what it borrows (ConsolidateStats.Reason). An error leaves the backend as it was, or joined with old volumes that are still to be dropped;
// the call may be repeated. ErrClosed: Close has ended it.
func (b *Backend) Consolidate(ctx context.Context) (ConsolidateStats, error) {
	if err := b.snaps.begin(b); err != nil {
		return ConsolidateStats{}, err
	}
	defer b.snaps.wg.Done()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(b.alive, func() { cancel(ErrClosed) })()
	select {
	case b.joins.turn <- struct{}{}:
		defer func() { <-b.joins.turn }()
	case <-ctx.Done():
		return ConsolidateStats{}, context.Cause(ctx)
	}
	n := len(b.bases.current())
	c := &consolidation{b: b, begun: time.Now(), stats: ConsolidateStats{Before: n, After: n}}
	err := c.run(ctx)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
			err = errors.Join(cause, err)
		}
		err = fmt.Errorf("consolidate: %w", err)
	}
	c.stats.Took = time.Since(c.begun)
	b.joins.note(c.stats, err == nil)
	if f := b.o.Listener.Consolidated; f != nil {
		f(c.stats, err)
	}
	return c.stats, err
}

// consolidateLater is Options.ConsolidateAfter.
func (b *Backend) consolidateLater() {
	if b.o.ConsolidateAfter == 0 || b.restored.records == nil && !b.found {
		return
	}
	b.snaps.wg.Go(func() {
		t := time.NewTimer(b.o.ConsolidateAfter)
		defer t.Stop()
		for {
			select {
			case <-b.alive.Done():
				return
			case <-t.C:
			}
			_, err := b.Consolidate(b.alive)
			if err == nil || b.alive.Err() != nil {
				return
			}
			b.o.Logger.Warn("consolidation", "error", err)
			if f := b.o.Listener.Failed; f != nil {
				f("consolidation", err)
			}
			t.Reset(b.o.ConsolidateAfter)
		}
	})
}

// consolidation is one Consolidate.
type consolidation struct {
	b     *Backend
	begun time.Time
	stats ConsolidateStats
	to    *database
}

func (c *consolidation) run(ctx context.Context) error {
	b := c.b
	all := b.bases.current() // nobody else changes them
	if b.o.Durable && b.o.Name != "" && len(all) > 1 {
		c.stats.Reason = "Open finds a durable backend by its shards"
	}
	if len(all) > 1 && c.stats.Reason == "" {
		err := c.join(ctx)
		switch {
		case errors.Is(err, ErrIncompatible):
			c.stats.Reason = err.Error()
		case err != nil:
			return err
		}
	}
	if c.stats.After > 1 || len(all) == 1 {
		for _, d := range all {
			if err := c.detach(ctx, d); err != nil {
				return err
			}
		}
	}
	return b.bases.reap(ctx)
}

// detach makes a volume copy what it borrows. A snapshot that was begun before its files were moved, or an iterator that is open, may keep
// something borrowed; the next snapshot does not.
func (c *consolidation) detach(ctx context.Context, d *database) error {
	for try := 0; ; try++ {
		done := c.stats.Detached
		info, err := d.vol.Detach(ctx, func(n, _ int64) {
			c.stats.Detached = done + n
			c.progress()
		})
		c.stats.Detached = done + info.Bytes
		if err != nil || info.Still == 0 {
			return err
		}
		if try == 3 {
			return fmt.Errorf("shard %s still borrows, repeat the call: %s", d.name, info.Why)
		}
		if err := c.b.takeCut(ctx); err != nil { // a snapshot under way is captured then
			return err
		}
		<-c.b.cut
	}
}

func (c *consolidation) progress() {
	c.stats.Took = time.Since(c.begun)
	c.b.joins.note(c.stats, false)
	if f := c.b.o.Listener.Consolidating; f != nil {
		f(c.stats)
	}
}

// join copies everything into a new database and puts it in the place of the others. Until that moment it is nothing to anybody.
func (c *consolidation) join(ctx context.Context) (err error) {
	b := c.b
	if _, err := c.schema(); err != nil {
		return err
	}
	name := b.newShard()
	vol, err := b.openVolume(ctx, name, forstfs.CreateNew)
	if err != nil {
		return err
	}
	if c.to, err = openDatabase(name, b.o.Keys.Max, vol, b.o, b.memory); err != nil {
		return err
	}
	for _, s := range b.shards {
		m := &mirror{to: c.to}
		if err = c.still(ctx, func() error { s.mirror = m; return nil }); err != nil {
			break
		}
		if err = c.copy(ctx, s, m); err != nil {
			break
		}
	}
	if err == nil {
		err = c.switchOver(ctx)
	}
	if err != nil {
		return errors.Join(err, c.abandon())
	}
	return nil
}

func (c *consolidation) schema() (*schema, error) {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	return joined(c.b.bases.current())
}

// switchOver gives all shards the new database. Its keys are those of the old ones, so requests that are waiting to be admitted are right for it, too.
func (c *consolidation) switchOver(ctx context.Context) error {
	b := c.b
	all := b.bases.current()
	err := c.still(ctx, func() error {
		for _, s := range b.shards {
			if err := s.mirror.failed(); err != nil {
				return err
			}
		}
		sc, err := joined(all)
		if err != nil {
			return err
		}
		v, err := json.Marshal(sc)
		if err != nil {
			return err
		}
		if err := c.to.db.Set(schemaKey, v, c.to.write); err != nil {
			return err
		}
		c.to.schema = sc
		for _, s := range b.shards {
			s.database, s.mirror = c.to, nil
		}
		for _, d := range all {
			b.bases.windowWaits += d.window.waits
		}
		b.bases.replace(c.to)
		return nil
	})
	if err != nil {
		return err
	}
	c.stats.After = 1
	var errs []error
	for _, d := range all {
		errs = append(errs, d.db.Close())
	}
	return errors.Join(errs...)
}

// abandon undoes join. What cannot be deleted now is garbage for Clean.
func (c *consolidation) abandon() error {
	if c.stats.After == 1 {
		return nil // it has happened
	}
	for _, s := range c.b.shards {
		if s.mirror != nil && s.mirror.to == c.to {
			s.mirror.end()
		}
	}
	err := c.to.db.Close()
	if c.b.alive.Err() == nil {
		err = errors.Join(err, c.to.vol.Drop(c.b.alive))
	}
	return errors.Join(err, c.to.vol.Close())
}

// still runs f while no request and no snapshot runs, no state is declared, and nobody looks at the databases.
func (c *consolidation) still(ctx context.Context, f func() error) error {
	b := c.b
	for {
		if err := b.takeCut(ctx); err != nil {
			return err
		}
		if b.mu.TryLock() {
			if b.life.TryLock() {
				break
			}
			b.mu.Unlock()
		}
		<-b.cut // an export may take its time: snapshots must not wait for it
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
	defer func() {
		b.life.Unlock()
		b.mu.Unlock()
		<-b.cut
	}()
	begun := time.Now()
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := b.core.drain(ctx); err != nil {
		return err
	}
	defer func() {
		b.core.resume()
		c.stats.Held = max(c.stats.Held, time.Since(begun))
	}()
	return f()
}

const (
	copyAhead   = 4 << 20   // bytes that are read, out of the store into the cache, before their turn
	copyBytes   = 256 << 10 // that are copied while writers of the shard wait
	copyRecords = 1000
)

// copy copies the records of a shard, in the order of their keys, a few at a time.
func (c *consolidation) copy(ctx context.Context, s *shard, m *mirror) error {
	at, end := s.keys.bounds()
	for at != nil {
		next, err := c.fetch(ctx, s, at, end)
		if err != nil {
			return err
		}
		upto := end
		if next != nil {
			upto = next
		}
		for at != nil {
			if err := c.room(ctx); err != nil {
				return err
			}
			var n, size int64
			if at, n, size, err = m.copy(s.database, at, upto); err != nil {
				return err
			}
			c.stats.Records += n
			c.stats.Bytes += size
		}
		at = next
		c.progress()
		if err := m.failed(); err != nil {
			return err
		}
	}
	return nil
}

// fetch reads ahead of the copying, so that this reads from memory while writers wait. next is where it stopped; nil: at the end.
func (c *consolidation) fetch(ctx context.Context, s *shard, from, end []byte) (next []byte, err error) {
	it, err := s.db.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: from, UpperBound: end})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	size, limit := int64(0), min(copyAhead, s.window.full)
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return nil, err
		}
		if size += int64(len(it.Key()) + len(v)); size >= limit {
			return append(append([]byte{}, it.Key()...), 0), ctx.Err()
		}
	}
	return nil, errors.Join(it.Error(), ctx.Err())
}

// room waits until the new database takes writes without a stall, in which writers of the shard would have to wait, too.
func (c *consolidation) room(ctx context.Context) error {
	for {
		m := c.to.db.Metrics()
		if m.MemTable.Count <= 2 && int(m.Levels[0].Sublevels) <= c.to.l0Stop/2 {
			return ctx.Err()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.to.vol.Failed():
			return c.to.vol.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}
