package pebblev2_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/forst-go/forst/engineadapter/pebblev2"
	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/mem"
)

// TestEveryCrashPoint runs a database on a volume and takes, before and after every change of the store, the world as it would be if the
// process died there: what is in the store, and a seeded part of what is on its way. From each of them (a sample in a normal run, every
// one in a nightly run) another machine opens the database and must find the state after some operation, none earlier than
// the last acknowledged one. FORST_CRASH_SEED and _SEEDS set the first seed (a failure prints it) and their number.
func TestEveryCrashPoint(t *testing.T) {
	seeds := uint64(3)
	switch {
	case nightly():
		seeds = 20
	case testing.Short(): // the run with the race detector
		seeds = 1
	}
	first := envNumber(t, "FORST_CRASH_SEED", 1)
	for seed := first; seed < first+envNumber(t, "FORST_CRASH_SEEDS", seeds); seed++ {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			w := &workload{t: t, rng: rand.New(rand.NewPCG(2, seed)), states: []map[string]string{{}}}
			points := w.record(seed)
			sample := len(points)
			if !nightly() {
				sample = 60
			}
			rand.New(rand.NewPCG(3, seed)).Shuffle(len(points), func(i, j int) { points[i], points[j] = points[j], points[i] })
			w.check(points[:min(sample, len(points))])
			t.Logf("%d operations, %d checkpoints, ordered %v: %d crash points, %d checked", len(w.states)-1, w.copies, w.ordered, len(points), min(sample, len(points)))
		})
	}
}

// point is a moment at which the process may die.
type point struct {
	n     int
	what  string // the request that was about to land, or had just landed
	acked int    // operations acknowledged by then
	copy  *copied
	world *mem.Bucket
}

// copied is an acknowledged checkpoint: its directory, and the operation after which it was made.
type copied struct {
	dir string
	seq int
}

// workload writes the number of each operation under the key "seq", in the same atomic step as its changes, so that the state of a
// database says after which operation it is.
type workload struct {
	t      *testing.T
	rng    *rand.Rand
	db     *pebble.DB
	states []map[string]string // states[i] is the content after operation i
	acked  atomic.Int64
	copies int // checkpoints made
	copy   atomic.Pointer[copied]

	ordered bool
	adapt   func(*pebble.Options) // what makes this seed's database special
}

func (w *workload) record(seed uint64) []point {
	var mu sync.Mutex
	var points []point
	var bucket *mem.Bucket
	stopped := false
	bucket = mem.NewBucket(&mem.Options{Hold: func(_ context.Context, p mem.Phase, r mem.Request) error {
		acked, copy := int(w.acked.Load()), w.copy.Load() // before the picture is taken
		mu.Lock()
		defer mu.Unlock()
		if !stopped {
			what := fmt.Sprintf("%s of %s %v", [...]string{"sending", "landed"}[p], r.Op, r.Keys)
			points = append(points, point{len(points), what, acked, copy, bucket.CrashClone(seed<<32 + uint64(len(points)))})
		}
		return nil
	}})
	vo := &forstfs.Options{ImageFrames: 10 + w.rng.IntN(40), ImageBytes: 1 << 20, ObjectSize: 8 << 10, FrameLimit: 16 << 10}
	if w.rng.IntN(2) == 0 {
		vo.FlushDelay = -1
	}
	// Directory syncs that return at once take back nothing that a commit, a flush or an ingestion has acknowledged.
	if w.ordered = w.rng.IntN(3) == 0; w.ordered {
		vo.DirSync = forstfs.Ordered
	}
	blobs := w.rng.IntN(2) == 0
	w.adapt = func(o *pebble.Options) {
		o.MemTableSize = 8 << 10
		if blobs {
			o.Experimental.ValueSeparationPolicy = func() pebble.ValueSeparationPolicy {
				return pebble.ValueSeparationPolicy{Enabled: true, MinimumSize: 40, MaxBlobReferenceDepth: 3, TargetGarbageRatio: 0.2}
			}
		}
	}
	store := must(bucket.Open("db"))(w.t)
	vol := openVol(w.t, store, vo)
	o := options(pebblev2.New(vol))
	w.adapt(o)
	w.db = openDB(w.t, "/db", o)
	for range 150 + w.rng.IntN(150) {
		w.step(vol, o)
	}
	ok(w.t, w.db.Close())
	ok(w.t, vol.Close())
	mu.Lock()
	defer mu.Unlock()
	stopped = true
	return points
}

// step does one thing, mostly a commit.
func (w *workload) step(vol *forstfs.FS, o *pebble.Options) {
	t := w.t
	switch n := w.rng.IntN(100); {
	case n < 80:
		w.commit()
	case n < 86:
		ok(t, w.db.Flush())
		w.acked.Store(int64(len(w.states) - 1))
	case n < 90:
		ok(t, w.db.Compact(context.Background(), []byte("a"), []byte("z"), w.rng.IntN(2) == 0))
	case n < 94:
		w.ingest(o)
	case n < 96:
		w.copies++
		c := &copied{fmt.Sprint("/cp", w.copies), len(w.states) - 1}
		ok(t, w.db.Checkpoint(c.dir, pebble.WithFlushedWAL()))
		if w.ordered { // a checkpoint ends with a directory sync
			ok(t, vol.Sync(context.Background()))
		}
		w.acked.Store(int64(c.seq))
		w.copy.Store(c)
	case n < 98:
		ok(t, vol.Checkpoint(context.Background()))
	default:
		ok(t, w.db.Close())
		w.acked.Store(int64(len(w.states) - 1))
		w.db = openDB(t, "/db", o)
	}
}

func (w *workload) commit() {
	t := w.t
	seq := len(w.states)
	next := maps.Clone(w.states[seq-1])
	b := w.db.NewBatch()
	for range 1 + w.rng.IntN(10) {
		k := fmt.Sprintf("k%03d", w.rng.IntN(300))
		switch w.rng.IntN(10) {
		case 0:
			ok(t, b.Delete([]byte(k), nil))
			delete(next, k)
		case 1:
			end := k + "~"
			ok(t, b.DeleteRange([]byte(k[:3]), []byte(end), nil))
			maps.DeleteFunc(next, func(x, _ string) bool { return k[:3] <= x && x < end })
		default:
			v := strings.Repeat(strconv.Itoa(seq), 1+w.rng.IntN(60))
			ok(t, b.Set([]byte(k), []byte(v), nil))
			next[k] = v
		}
	}
	next["seq"] = strconv.Itoa(seq)
	ok(t, b.Set([]byte("seq"), []byte(next["seq"]), nil))
	w.states = append(w.states, next)
	if w.rng.IntN(4) == 0 {
		ok(t, b.Commit(pebble.NoSync))
		return
	}
	ok(t, b.Commit(pebble.Sync))
	w.acked.Store(int64(seq))
}

func (w *workload) ingest(o *pebble.Options) {
	seq := len(w.states)
	next := maps.Clone(w.states[seq-1])
	next["seq"] = strconv.Itoa(seq)
	w.states = append(w.states, next)
	ingest(w.t, o.FS, w.db, "seq", next["seq"])
	w.acked.Store(int64(seq))
}

func (w *workload) check(points []point) {
	work := make(chan point)
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for p := range work {
				w.checkPoint(p)
			}
		})
	}
	for _, p := range points {
		work <- p
	}
	close(work)
	wg.Wait()
}

func (w *workload) checkPoint(p point) {
	fail := func(format string, args ...any) {
		w.t.Helper()
		w.t.Errorf("crash %d, %s, %d acknowledged: %s", p.n, p.what, p.acked, fmt.Sprintf(format, args...))
	}
	// Twice: what the first machine finds, and what it leaves behind when it dies in turn.
	world := p.world
	for life := range 2 {
		s, err := world.Open("db")
		if err != nil {
			fail("%v", err)
			return
		}
		vol, err := forstfs.Open(context.Background(), s, volOptions(nil))
		if err != nil {
			fail("life %d: volume: %v", life, err)
			return
		}
		defer vol.Close()
		fs := pebblev2.New(vol)
		if p.copy != nil && life == 0 {
			got, err := w.contents(fs, p.copy.dir)
			if err != nil {
				fail("checkpoint %s: %+v", p.copy.dir, err)
			} else if !maps.Equal(got, w.states[p.copy.seq]) {
				fail("checkpoint %s after operation %d has %d keys, and seq %s", p.copy.dir, p.copy.seq, len(got), got["seq"])
			}
		}
		db, err := w.open(fs, "/db", p.acked > 0)
		if err != nil {
			fail("life %d: database: %+v", life, err)
			return
		}
		got, err := scan(db)
		if err != nil {
			fail("life %d: scan: %+v", life, err)
			return
		}
		seq, _ := strconv.Atoi(got["seq"])
		if seq < p.acked {
			fail("life %d: found the state after operation %d", life, seq)
		}
		if !maps.Equal(got, w.states[seq]) {
			fail("life %d: the state says it is after operation %d, but has %d keys instead of %d, or other values", life, seq, len(got), len(w.states[seq]))
		}
		if err := db.LogData([]byte("x"), pebble.Sync); err != nil {
			fail("sync after the reopen: %v", err)
		}
		world = world.CrashClone(uint64(p.n))
		if err := db.Close(); err != nil {
			fail("close: %v", err)
		}
		if err := vol.Close(); err != nil {
			fail("close: %v", err)
		}
	}
}

func (w *workload) open(fs vfs.FS, dir string, mustExist bool) (*pebble.DB, error) {
	o := logged(w.t, options(fs))
	w.adapt(o)
	o.ErrorIfNotExists = mustExist
	return pebble.Open(dir, o)
}

// contents opens a database that must be there, reads all of it and closes it.
func (w *workload) contents(fs vfs.FS, dir string) (map[string]string, error) {
	db, err := w.open(fs, dir, true)
	if err != nil {
		return nil, err
	}
	got, err := scan(db)
	return got, errors.Join(err, db.Close())
}
