package state

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"github.com/forst-go/forst/engineadapter/pebblev2"
	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/internal/mutant"
)

// dbDir is where the database of a shard is in its volume.
const dbDir = "/db"

// shard serves a range of key groups out of a database. Number and range are fixed; Consolidate exchanges the database while no request runs and
// Backend.life is held, and then several shards have the same one.
type shard struct {
	number int
	keys   KeyGroups
	*database
	mirror *mirror // of a Consolidate, or nil; changes as the database does
}

// database is one volume with one database.
type database struct {
	name        string
	vol         *forstfs.FS
	db          *pebble.DB
	write       *pebble.WriteOptions
	schema      *schema
	window      window
	compactions *compactions
	flushed     atomic.Int64 // flushes that have ended
	l0Stop      int          // sublevels at which the engine stops writers
}

// openShard opens the database in a volume, which it closes if that fails.
func openShard(number int, name string, keys KeyGroups, vol *forstfs.FS, o *Options, m *Memory) (*shard, error) {
	d, err := openDatabase(name, keys.Max, vol, o, m)
	return &shard{number: number, keys: keys, database: d}, err
}

func openDatabase(name string, maxParallelism int, vol *forstfs.FS, o *Options, m *Memory) (s *database, err error) {
	s = &database{name: name, vol: vol, write: pebble.NoSync}
	if o.Durable {
		s.write = pebble.Sync
	}
	opts := &pebble.Options{}
	if o.Engine != nil {
		o.Engine(opts)
	}
	opts.FS, opts.Cache, opts.DisableWAL = pebblev2.New(vol), m.cache, !o.Durable
	opts.Merger, opts.Comparer = pebble.DefaultMerger, pebble.DefaultComparer // lists rest on a merge that concatenates
	if opts.Logger == nil {
		opts.Logger = engineLogger{o.Logger}
	}
	if opts.EventListener == nil {
		opts.EventListener = &pebble.EventListener{}
	}
	if opts.EventListener.BackgroundError == nil {
		opts.EventListener.BackgroundError = func(err error) { o.Logger.Error("engine", "error", err) }
	}
	opts.EventListener.FlushEnd = func(pebble.FlushInfo) { s.flushed.Add(1) }
	pebblev2.Tune(opts)
	s.compactions = newCompactions(&s.window)
	if opts.Experimental.CompactionScheduler == nil {
		opts.Experimental.CompactionScheduler = s.compactions
	}
	s.window.init(int64(opts.MemTableSize))
	s.db, err = pebble.Open(dbDir, opts)
	if err == nil {
		s.l0Stop = opts.L0StopWritesThreshold
		s.schema, err = s.readSchema(maxParallelism)
		if err == nil {
			return s, nil
		}
		err = errors.Join(err, s.db.Close())
	}
	return nil, errors.Join(err, vol.Close())
}

func (s *database) close() error { return errors.Join(s.db.Close(), s.vol.Close()) }

// get reads one key; nil: it is not there. The bytes are the caller's.
func (s *database) get(key []byte) ([]byte, error) {
	v, c, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	out := append(make([]byte, 0, len(v)), v...)
	return out, c.Close()
}

// page reads one page; nothing of the engine stays open behind it.
func (s *database) page(p *scan) (err error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: p.lower, UpperBound: p.upper})
	if err != nil {
		return err
	}
	defer func() {
		if !mutant.On(mutIterLeak) {
			err = errors.Join(err, it.Close())
		}
	}()
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		if p.skip != nil && p.skip(v) {
			continue
		}
		if len(p.keys) == p.limit {
			p.more = true
			break
		}
		p.keys = append(p.keys, append([]byte(nil), it.Key()...))
		p.vals = append(p.vals, append([]byte(nil), v...))
	}
	return it.Error()
}

// apply writes what the requests want as one batch of the engine.
func (s *shard) apply(rs ...*request) error {
	b := s.db.NewBatch()
	defer b.Close()
	n := 0
	for _, r := range rs {
		n += len(r.ops)
		for _, o := range r.ops {
			if err := addTo(b, o); err != nil {
				return err
			}
		}
	}
	s.window.enter(b.Len(), n)
	if s.mirror != nil {
		return s.mirror.apply(s.database, b, rs)
	}
	return s.db.Apply(b, s.write)
}

func addTo(b *pebble.Batch, o op) error {
	switch o.kind {
	case opSet:
		return b.Set(o.key, o.value, nil)
	case opMerge:
		return b.Merge(o.key, o.value, nil)
	case opRemove:
		return b.Delete(o.key, nil)
	default:
		return b.DeleteRange(o.key, o.value, nil)
	}
}

// window is the time between the seal of a memtable and the moment when the volume's snapshot is taken. What is written in it must stay in the
// memtable behind the sealed one: one flush more, and newer state would be in the snapshot. So writers wait before they fill that memtable.
//
// The engine does not say how large its memtable is, but they only grow: 256 KiB, then twice the last one up to the configured size, and never
// smaller. So the size that was seen at the last snapshot is a lower bound, and so is half of what was written since then.
type window struct {
	mu      sync.Mutex
	cond    sync.Cond
	open    bool
	isOpen  atomic.Bool // the same, for a look without the mutex
	full    int64       // configured size of a memtable
	atLeast int64       // of the current memtable
	written int64       // since atLeast was measured
	room    int64       // left in the window
	waits   int64
}

const (
	firstMemtable = 256 << 10
	nodeSize      = 256 // upper bound of what the engine adds to an entry in a memtable
)

func (w *window) init(memtable int64) {
	w.cond.L = &w.mu
	w.full, w.atLeast = memtable, min(memtable, firstMemtable)
}

// enter waits until n entries with so many bytes may be written.
func (w *window) enter(bytes, n int) {
	need := int64(bytes) + int64(n)*nodeSize
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.open && need > w.room {
		w.waits++
	}
	for w.open && need > w.room && !mutant.On(mutWindow) {
		w.cond.Wait()
	}
	if w.open {
		w.room -= need
	}
	w.written += int64(bytes)
}

// begin opens the window. Nobody may be writing.
func (w *window) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.atLeast = max(w.atLeast, min(w.full, w.written/2))
	w.open, w.room = true, w.atLeast/4*3
	w.isOpen.Store(true)
}

// end closes the window. measured is the size of the memtable if it is the only one, else 0.
func (w *window) end(measured int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open = false
	w.isOpen.Store(false)
	if measured > w.atLeast {
		w.atLeast = min(measured, w.full)
	}
	if measured > 0 {
		w.written = 0
	}
	w.cond.Broadcast()
}

// seal ends the memtable; ch is closed when what it held is in tables. No byte is written to the store before seal returns, but by a WAL.
// The window is open until captured is called.
func (s *database) seal() (ch <-chan struct{}, err error) {
	s.window.begin()
	if ch, err = s.db.AsyncFlush(); err != nil {
		s.window.end(0)
	}
	return ch, err
}

// captured ends the window: the volume's snapshot is taken, or there will be none.
func (s *database) captured() {
	m := s.db.Metrics().MemTable
	size := int64(0)
	if m.Count == 1 && m.Size < math.MaxInt64 {
		size = int64(m.Size)
	}
	s.window.end(size)
	s.compactions.UpdateGetAllowedWithoutPermission()
}

// waitFlushed waits for seal's channel.
func (s *database) waitFlushed(ctx context.Context, ch <-chan struct{}) error {
	select {
	case <-ch:
		return nil
	case <-s.vol.Failed():
		return s.vol.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// engineLogger passes the engine's messages on. Fatalf ends the process, as the engine expects: see package pebblev2.
type engineLogger struct{ l *slog.Logger }

func (l engineLogger) Infof(format string, args ...any) {}
func (l engineLogger) Errorf(format string, args ...any) {
	l.l.Error("engine: " + sprintf(format, args...))
}
func (l engineLogger) Fatalf(format string, args ...any) {
	l.l.Error("engine: " + sprintf(format, args...))
	pebble.DefaultLogger.Fatalf(format, args...)
}
