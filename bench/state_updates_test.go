package bench

import (
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/forst-go/forst/cache"
	"github.com/forst-go/forst/cache/disk"
	"github.com/forst-go/forst/engineadapter/pebblev2"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/local"
	"github.com/forst-go/forst/internal/meter"
	"github.com/forst-go/forst/state"
)

// BenchmarkStateUpdates: 16-byte keys, values of 100 bytes, read, changed and written back. Three jobs in turns: the state backend over an
// injected store ("remote"), the same job over the local disk ("local"), and a loop without a state backend, plain Pebble on the local disk behind a
// mutex per key ("raw"). "hot": the caches hold all of the state; 64 goroutines that wait for each update, and one that keeps 6000 in flight. Targets:
// >= 0.9 x the same job on the local disk.
func BenchmarkStateUpdates(b *testing.B) {
	n := records() / 2
	for _, mode := range []struct {
		name  string
		round func(b *testing.B, u updater, pick picker, updates int) span
	}{{"blocking", blocking}, {"async", async}} {
		b.Run("hot/"+mode.name, func(b *testing.B) {
			const updates = 40_000
			cache := max(int64(n)*120*3, 512<<20)
			var remote, onDisk, raw span
			for b.Loop() {
				p, l, r := rawJob(b, n, cache, 0), stateUpdates(b, n, localRoot(b), stateMemory(b, cache), 0), stateUpdates(b, n, injected(b), stateMemory(b, cache), 0)
				for range 5 {
					raw.add(blocking(b, p, evenly(n), updates))
					onDisk.add(mode.round(b, l, evenly(n), updates))
					remote.add(mode.round(b, r, evenly(n), updates))
				}
				p.close()
				l.close()
				r.close()
			}
			b.ReportMetric(5*updates*float64(b.N)/remote.wall.Seconds(), "updates/s")
			b.ReportMetric(float64(onDisk.wall)/float64(remote.wall), "x-local")
			b.ReportMetric(float64(raw.wall)/float64(remote.wall), "x-raw")
			b.ReportMetric(float64(onDisk.cpu)/float64(remote.cpu), "x-local-cpu")
			b.ReportMetric(float64(raw.cpu)/float64(remote.cpu), "x-raw-cpu")
			b.ReportMetric(float64(remote.cpu.Nanoseconds())/(5*updates*float64(b.N)), "cpu-ns/update")
		})
	}
}

// BenchmarkStateColdUpdates: as above, with caches for a tenth of the state: 2 % in memory for the engine and 10 % on the local disk (for the jobs on the local disk:
// 10 % in the engine's cache). Keys are chosen evenly, so nine of ten updates miss, or skewed, as the keys of most streams are. The bound is what the latency
// leaves: reads in flight / (24 ms * misses per update), with 64 goroutines that wait for each update, with 1000, and with one that keeps 6000 in flight.
func BenchmarkStateColdUpdates(b *testing.B) {
	n := records() / 2
	size := int64(n) * 120
	memtable := uint64(max(size/100, 256<<10)) // otherwise it would be a cache of rows that holds all that changes
	for _, keys := range []struct {
		name string
		pick picker
	}{{"even", evenly(n)}, {"skewed", skewed(n)}} {
		for _, mode := range []struct {
			name    string
			round   func(b *testing.B, u updater, pick picker, updates int) span
			updates int
		}{{"blocking", blocking, 3_200}, {"blocking1000", blocking1000, 60_000}, {"async", async, 60_000}} {
			b.Run(keys.name+"/"+mode.name, func(b *testing.B) {
				var remote, onDisk, raw span
				var gets int64
				var peak int64
				rounds := 0
				for b.Loop() {
					blocks, err := cache.New(&cache.Options{Memory: 1 << 20, Disk: disk.Options{Dir: b.TempDir(), Size: max(size/10, 1<<20), Reserve: -1}})
					check(b, err)
					store := meter.New(injected(b))
					p, l := rawJob(b, n, size/10, memtable), stateUpdates(b, n, localRoot(b), stateMemory(b, max(size/10, 1<<20)), memtable)
					r := stateUpdates(b, n, store, state.NewMemoryWith(max(size/50, 1<<20), blocks), memtable)
					mode.round(b, r, keys.pick, mode.updates) // fills the caches
					for range 3 {
						raw.add(blocking(b, p, keys.pick, mode.updates))
						onDisk.add(mode.round(b, l, keys.pick, mode.updates))
						before := store.Snapshot()
						remote.add(mode.round(b, r, keys.pick, mode.updates))
						did := store.Snapshot().Sub(before)
						gets += did.Sum("get", "").Requests
						rounds++
					}
					peak = max(peak, r.backend.Metrics().ReadPeak)
					p.close()
					l.close()
					r.close()
				}
				all := float64(rounds * mode.updates)
				b.ReportMetric(all/remote.wall.Seconds(), "updates/s")
				b.ReportMetric(float64(gets)/all, "GETs/update")
				b.ReportMetric(float64(peak), "peak-reads")
				b.ReportMetric(float64(onDisk.wall)/float64(remote.wall), "x-local")
				b.ReportMetric(float64(raw.wall)/float64(remote.wall), "x-raw")
				b.ReportMetric(float64(onDisk.cpu)/float64(remote.cpu), "x-local-cpu")
				b.ReportMetric(float64(remote.cpu.Nanoseconds())/all, "cpu-ns/update")
			})
		}
	}
}

// picker chooses the next key.
type picker func(*rand.Rand) int64

func evenly(n int) picker { return func(r *rand.Rand) int64 { return r.Int64N(int64(n)) } }

// skewed: three quarters of the updates are about a hundredth of the keys.
func skewed(n int) picker {
	return func(r *rand.Rand) int64 {
		if r.IntN(4) > 0 {
			return r.Int64N(int64(n) / 100)
		}
		return r.Int64N(int64(n))
	}
}

func localRoot(tb testing.TB) driver.Store {
	tb.Helper()
	s, err := local.Open(ctx, tb.TempDir(), &local.Options{Create: true})
	check(tb, err)
	return s
}

// span is what something took: of the clock, and of the process's processors, which other work on the machine does not stretch.
type span struct{ wall, cpu time.Duration }

func (s *span) add(o span) { s.wall, s.cpu = s.wall+o.wall, s.cpu+o.cpu }

type moment struct {
	at  time.Time
	cpu time.Duration
}

func started() moment { return moment{time.Now(), processTime()} }

func (m moment) end() span { return span{time.Since(m.at), processTime() - m.cpu} }

func processTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// updater changes keys.
type updater struct {
	update func(k int64) error
	start  func(k int64) *state.Future[state.Maybe[[]byte]] // nil for a job without futures
	close  func()

	backend *state.Backend // nil for a job without one
}

// blocking: 64 goroutines that wait for each update.
func blocking(b *testing.B, u updater, pick picker, updates int) span {
	b.Helper()
	return waiting(b, u, pick, updates, 64)
}

// blocking1000: as many of them as requests can be active.
func blocking1000(b *testing.B, u updater, pick picker, updates int) span {
	b.Helper()
	return waiting(b, u, pick, updates, 1000)
}

func waiting(b *testing.B, u updater, pick picker, updates, workers int) span {
	b.Helper()
	var wg sync.WaitGroup
	begin := started()
	for w := range workers {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), uint64(begin.at.UnixNano())))
			for range updates / workers {
				if err := u.update(pick(rng)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return begin.end()
}

// async: one goroutine that has as many updates in flight as the backend admits.
func async(b *testing.B, u updater, pick picker, updates int) span {
	b.Helper()
	begin := started()
	rng := rand.New(rand.NewPCG(1, uint64(begin.at.UnixNano())))
	fs := make([]*state.Future[state.Maybe[[]byte]], 0, updates)
	for range updates {
		fs = append(fs, u.start(pick(rng)))
	}
	for _, f := range fs {
		_, err := f.Wait(ctx)
		check(b, err)
	}
	return begin.end()
}

func rawJob(b *testing.B, n int, cache int64, memtable uint64) updater {
	b.Helper()
	c := pebble.NewCache(cache)
	o := pebblev2.Tune(&pebble.Options{FS: vfs.Default, Cache: c, DisableWAL: true, MemTableSize: memtable})
	db, err := pebble.Open(b.TempDir(), o)
	check(b, err)
	var locks [256]sync.Mutex // a key's updates follow one another, as in a job
	u := updater{update: func(k int64) error {
		l := &locks[k%256]
		l.Lock()
		defer l.Unlock()
		key := Key(uint64(k))
		old, closer, err := db.Get(key[:])
		if err != nil {
			return err
		}
		v := append([]byte{}, old...)
		binary.LittleEndian.PutUint64(v, binary.LittleEndian.Uint64(v)+1)
		if err := closer.Close(); err != nil {
			return err
		}
		return db.Set(key[:], v, pebble.NoSync)
	}, close: func() { check(b, db.Close()); c.Unref() }}
	rng := rand.NewChaCha8([32]byte{2})
	batch := db.NewBatch()
	for i := range n {
		key, v := Key(uint64(i)), make([]byte, 100)
		rng.Read(v)
		check(b, batch.Set(key[:], v, nil))
		if batch.Len() > 1<<20 {
			check(b, batch.Commit(pebble.NoSync))
			batch = db.NewBatch()
		}
	}
	check(b, batch.Commit(pebble.NoSync))
	check(b, db.Flush())
	return u
}

func stateUpdates(b *testing.B, n int, root driver.Store, memory *state.Memory, memtable uint64) updater {
	b.Helper()
	o := stateJob(state.AllKeys(128), "a", memory)
	o.Engine = func(o *pebble.Options) { o.MemTableSize = memtable }
	sb, err := state.Create(ctx, root, o)
	check(b, err)
	v := newBlobs(b, sb)
	rng := rand.NewChaCha8([32]byte{2})
	var fs []*state.Future[state.None]
	for i := range n {
		key, p := Key(uint64(i)), make([]byte, 100)
		rng.Read(p)
		fs = append(fs, v.PutAsync(ctx, state.BytesKey(key[:]), p))
	}
	for _, f := range fs {
		_, err := f.Wait(ctx)
		check(b, err)
	}
	commitState(b, sb, 1)
	change := func(old []byte, ok bool) ([]byte, bool) {
		if !ok {
			return nil, false
		}
		binary.LittleEndian.PutUint64(old, binary.LittleEndian.Uint64(old)+1)
		return old, true
	}
	return updater{
		update: func(k int64) error {
			key := Key(uint64(k))
			return v.Update(ctx, state.BytesKey(key[:]), change)
		},
		start: func(k int64) *state.Future[state.Maybe[[]byte]] {
			key := Key(uint64(k))
			return v.UpdateAsync(ctx, state.BytesKey(key[:]), change)
		},
		close:   func() { check(b, sb.Close()); check(b, memory.Close()); check(b, root.Close()) },
		backend: sb,
	}
}
