package state

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/forst-go/forst/internal/mutant"
)

// sweeper removes expired records for good, in bounded steps. It looks at the database without any order, and asks again under the key's
// order before it removes anything.
type sweeper struct {
	b      *Backend
	cancel context.CancelFunc
	wg     sync.WaitGroup
	turn   chan struct{} // one sweep at a time

	mu    sync.Mutex
	total SweepStats
}

// SweepStats count what was looked at and removed.
type SweepStats struct {
	Rounds    int64 // times the whole backend was looked at
	Looked    int64 // records of states with a TTL
	Removed   int64 // records, elements of lists and entries of maps
	Compacted int64 // ranges that were compacted so that the bytes leave the store
}

func (s SweepStats) String() string {
	return fmt.Sprintf("%d rounds, %d looked at, %d removed, %d ranges compacted", s.Rounds, s.Looked, s.Removed, s.Compacted)
}

func (w *sweeper) start(b *Backend) {
	ctx, cancel := context.WithCancel(context.Background())
	w.b, w.cancel, w.turn = b, cancel, make(chan struct{}, 1)
	if b.o.SweepEvery < 0 {
		return
	}
	w.wg.Go(func() {
		t := time.NewTicker(b.o.SweepEvery)
		defer t.Stop()
		var c cursor
		for {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
			}
			if err := w.locked(ctx, func() error { return w.step(ctx, &c) }); err != nil && ctx.Err() == nil {
				if f := b.o.Listener.Failed; f != nil {
					f("removing expired state", err)
				}
				b.o.Logger.Warn("removing expired state", "error", err)
			}
		}
	})
}

func (w *sweeper) stop() {
	w.cancel()
	w.wg.Wait()
}

func (w *sweeper) stats() SweepStats {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.total
}

func (w *sweeper) locked(ctx context.Context, f func() error) error {
	select {
	case w.turn <- struct{}{}:
		defer func() { <-w.turn }()
		return f()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Sweep removes everything that has expired, now, and compacts where that was much. The background does the same in steps.
func (b *Backend) Sweep(ctx context.Context) error {
	return b.sweep.locked(ctx, func() error {
		var c cursor
		for {
			if err := b.sweep.step(ctx, &c); err != nil || c == (cursor{}) {
				return err
			}
		}
	})
}

// cursor is where a round is: a state, a key group, and the last key looked at.
type cursor struct {
	state, group int
	after        string
	seen, dead   int64 // of the state and group
}

// step looks at no more than SweepStep records.
func (w *sweeper) step(ctx context.Context, c *cursor) error {
	b := w.b
	for left := b.o.SweepStep; left > 0; {
		b.mu.Lock()
		if c.state >= len(b.list) {
			b.mu.Unlock()
			*c = cursor{}
			w.note(func(t *SweepStats) { t.Rounds++ })
			if f := b.o.Listener.Swept; f != nil {
				f(w.stats())
			}
			return nil
		}
		k := b.list[c.state]
		b.mu.Unlock()
		if k.ttl.After == 0 || k.kind == KindTimers {
			*c = cursor{state: c.state + 1}
			continue
		}
		n, more, err := w.look(ctx, k, c, left)
		if err != nil {
			return err
		}
		left -= n
		if more {
			continue
		}
		if err := w.compact(ctx, k, c); err != nil {
			return err
		}
		if c.group++; c.group >= len(b.route) {
			*c = cursor{state: c.state + 1}
		} else {
			*c = cursor{state: c.state, group: c.group}
		}
	}
	return nil
}

func (w *sweeper) note(f func(*SweepStats)) {
	w.mu.Lock()
	f(&w.total)
	w.mu.Unlock()
}

// look reads up to limit records behind the cursor and removes those that have expired.
func (w *sweeper) look(ctx context.Context, k *keyed, c *cursor, limit int) (n int, more bool, err error) {
	b := w.b
	lower, upper, s := w.bounds(k, c)
	if c.after != "" {
		lower = append([]byte(c.after), 0)
	}
	p := &scan{lower: lower, upper: upper, limit: min(limit, 1000)}
	b.life.RLock()
	if b.gone {
		err = ErrClosed
	} else {
		err = s.page(p)
	}
	b.life.RUnlock()
	if err != nil {
		return 0, false, err
	}
	var waits []*Future[int]
	now := b.now()
	for i, raw := range p.vals {
		if w.worth(k, raw, now) {
			f, err := w.remove(ctx, k, s, p.keys[i])
			if err != nil {
				return 0, false, err
			}
			waits = append(waits, f)
		}
	}
	var errs []error
	for _, f := range waits {
		removed, err := f.Wait(ctx)
		errs = append(errs, err)
		k.stats.expired.Add(int64(removed))
		w.note(func(t *SweepStats) { t.Removed += int64(removed) })
		if removed > 0 {
			c.dead++
		}
	}
	c.seen += int64(len(p.keys))
	w.note(func(t *SweepStats) { t.Looked += int64(len(p.keys)) })
	if p.more {
		c.after = string(p.keys[len(p.keys)-1])
	}
	return len(p.keys) + 1, p.more, errors.Join(errs...) // an empty group is some work, too
}

func (w *sweeper) bounds(k *keyed, c *cursor) (lower, upper []byte, s *shard) {
	s = w.b.route[c.group]
	lower = w.b.o.Keys.appendGroup(nil, w.b.o.Keys.Lo+c.group)
	id := k.in[s.number].id
	upper = append(append([]byte{}, lower...), byte((id+1)>>8), byte(id+1))
	if id == 0xffff {
		upper = w.b.o.Keys.appendGroup(nil, w.b.o.Keys.Lo+c.group+1)
	}
	return append(lower, byte(id>>8), byte(id)), upper, s
}

// worth says whether something in a record has expired.
func (w *sweeper) worth(k *keyed, raw []byte, now int64) bool {
	if k.kind != KindList {
		h, _, err := cutHead(raw)
		return err == nil && k.ttl.expired(h, now)
	}
	_, dead := trim(k.ttl, raw, now)
	return dead > 0
}

// trim gives the elements of a list that live, and how many do not. A corrupt list is left as it is.
func trim(t TTL, raw []byte, now int64) (live []byte, dead int) {
	for rest := raw; len(rest) > 0; {
		before := rest
		h, _, next, err := cutElement(rest)
		if err != nil {
			return raw, 0
		}
		if rest = next; t.expired(h, now) {
			dead++
		} else {
			live = append(live, before[:len(before)-len(next)]...)
		}
	}
	return live, dead
}

// remove asks again, in the key's order, and removes.
func (w *sweeper) remove(ctx context.Context, k *keyed, s *shard, key []byte) (*Future[int], error) {
	_, _, rest, err := w.b.o.Keys.cutHead(key)
	if err != nil {
		return nil, err
	}
	sc, _, err := cutScope(rest)
	if err != nil {
		return nil, err
	}
	r := &request{core: w.b.core, ctx: ctx, order: w.b.core.order(sc.Key), shard: s, stats: nil}
	r.get(key)
	return issue(r, func(r *request) (int, error) {
		raw, now := r.vals[0], w.b.now()
		if raw == nil || !w.worth(k, raw, now) && !mutant.On(mutSweepBlind) {
			return 0, nil
		}
		if k.kind != KindList {
			r.remove(key)
			return 1, nil
		}
		live, dead := trim(k.ttl, raw, now)
		if len(live) == 0 {
			r.remove(key)
		} else {
			r.set(key, live)
		}
		return dead, nil
	}), nil
}

// compact rewrites what a state has in a key group if a quarter of the records or more were touched: otherwise the tombstones wait for the engine's own
// compactions.
func (w *sweeper) compact(ctx context.Context, k *keyed, c *cursor) error {
	if c.dead == 0 || c.dead*4 < c.seen {
		return nil
	}
	lower, upper, s := w.bounds(k, c)
	for {
		done, err := w.tryCompact(ctx, s, lower, upper)
		if done || err != nil {
			return err
		}
	}
}

// tryCompact compacts unless a snapshot wants to begin: a compaction flushes the memtable, which must not happen between a snapshot's seal and its capture.
func (w *sweeper) tryCompact(ctx context.Context, s *shard, lower, upper []byte) (done bool, err error) {
	b := w.b
	select {
	case b.cut <- struct{}{}:
		defer func() { <-b.cut }()
	case <-ctx.Done():
		return false, ctx.Err()
	}
	mine, cancel := context.WithCancel(ctx)
	defer cancel()
	b.yield.Store(&cancel)
	defer b.yield.Store(nil)
	if b.want.Load() > 0 {
		return false, nil
	}
	b.life.RLock()
	defer b.life.RUnlock()
	if b.gone {
		return false, ErrClosed
	}
	if err := s.db.Compact(mine, lower, upper, false); err != nil {
		if ctx.Err() == nil && mine.Err() != nil {
			return false, nil
		}
		return false, err
	}
	w.note(func(t *SweepStats) { t.Compacted++ })
	return true, nil
}

// takeCut is for snapshots: it makes a compaction stop.
func (b *Backend) takeCut(ctx context.Context) error {
	b.want.Add(1)
	defer b.want.Add(-1)
	if cancel := b.yield.Load(); cancel != nil {
		(*cancel)()
	}
	select {
	case b.cut <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
