package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/forst-go/forst/engineadapter/pebblev2"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/meter"
	"github.com/forst-go/forst/state"
)

const stateRTT = 28 * time.Millisecond // a PUT of the injected store

// stateJob makes instance i of n over the store, with caches of the given size in bytes.
func stateJob(keys state.KeyGroups, run string, memory *state.Memory) *state.Options {
	return &state.Options{Keys: keys, Run: run, Memory: memory, SweepEvery: -1}
}

func stateMemory(tb testing.TB, bytes int64) *state.Memory {
	tb.Helper()
	m, err := state.NewMemory(bytes)
	if err != nil {
		tb.Fatal(err)
	}
	return m
}

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func newBlobs(tb testing.TB, b *state.Backend) *state.Value[[]byte] {
	tb.Helper()
	v, err := state.NewValue(b, state.ValueDescriptor[[]byte]{Name: "v", Codec: state.Bytes})
	check(tb, err)
	return v
}

// fillState writes values of the given size for keys 0 to n-1, as far as they are the instance's.
func fillState(tb testing.TB, b *state.Backend, n, size int) {
	tb.Helper()
	v := newBlobs(tb, b)
	rng := rand.NewChaCha8([32]byte{1})
	var fs []*state.Future[state.None]
	for i := range n {
		k := state.IntKey(int64(i))
		if b.Keys().Contains(state.KeyGroup(k.Key, b.Keys().Max)) {
			p := make([]byte, size)
			rng.Read(p)
			fs = append(fs, v.PutAsync(ctx, k, p))
		}
	}
	for _, f := range fs {
		_, err := f.Wait(ctx)
		check(tb, err)
	}
}

func commitState(tb testing.TB, b *state.Backend, id uint64) state.SnapshotStats {
	tb.Helper()
	s, err := b.Snapshot(ctx, id, nil)
	check(tb, err)
	st, err := s.Wait(ctx)
	check(tb, err)
	return st
}

// BenchmarkStateMultiGet: one cold key, and 100 cold keys issued together, each in a backend that was just restored. Target <= 3 x.
func BenchmarkStateMultiGet(t *testing.B) {
	for t.Loop() {
		root := injected(t)
		memory := stateMemory(t, 128<<20)
		b, err := state.Create(ctx, root, stateJob(state.AllKeys(128), "a", memory))
		check(t, err)
		const n = 60_000
		fillState(t, b, n, 1000)
		commitState(t, b, 1)
		check(t, b.Close())
		check(t, memory.Close())
		cold := func(run string, keys int) time.Duration {
			memory := stateMemory(t, 64<<20)
			b, err := state.Restore(ctx, root, 1, stateJob(state.AllKeys(128), run, memory))
			check(t, err)
			v := newBlobs(t, b)
			time.Sleep(2 * time.Second) // what opening does in the background is not measured
			begin := time.Now()
			var fs []*state.Future[state.Maybe[[]byte]]
			rng := rand.New(rand.NewPCG(7, 7))
			for range keys {
				fs = append(fs, v.GetAsync(ctx, state.IntKey(rng.Int64N(n))))
			}
			for _, f := range fs {
				m, err := f.Wait(ctx)
				check(t, err)
				if !m.OK {
					t.Fatal("a key is missing")
				}
			}
			took := time.Since(begin)
			check(t, b.Close())
			check(t, memory.Close())
			return took
		}
		one, many := cold("b", 1), cold("c", 100)
		check(t, root.Close())
		t.Logf("one cold key %v, 100 cold keys %v: %.2f x", one, many, float64(many)/float64(one))
		t.ReportMetric(float64(many)/float64(one), "x-one")
	}
}

// BenchmarkStateSnapshotCommit counts the round trips of a snapshot: none while requests are held up, and how many after the flush.
func BenchmarkStateSnapshotCommit(t *testing.B) {
	for t.Loop() {
		root := injected(t)
		memory := stateMemory(t, 128<<20)
		b, err := state.Create(ctx, root, stateJob(state.AllKeys(128), "a", memory))
		check(t, err)
		fillState(t, b, 10_000, 100)
		for id := range uint64(5) {
			v := newOrKnown(t, b, id)
			check(t, v.Add(ctx, state.IntKey(int64(id)), 1))
			st := commitState(t, b, id)
			t.Logf("%v: %.1f round trips after the flush", st, float64(st.Commit)/float64(stateRTT))
			t.ReportMetric(float64(st.Sync.Microseconds()), "sync-us")
			t.ReportMetric(float64(st.Commit)/float64(stateRTT), "commit-RTTs")
			t.ReportMetric(float64(st.Flush)/float64(stateRTT), "flush-RTTs")
		}
		check(t, b.Close())
		check(t, memory.Close())
		check(t, root.Close())
	}
}

func newOrKnown(tb testing.TB, b *state.Backend, id uint64) *state.Reducing[int64] {
	tb.Helper()
	r, err := state.NewReducing(b, state.ReducingDescriptor[int64]{Name: fmt.Sprint("sum", id), Codec: state.Int64, Reduce: func(a, b int64) int64 { return a + b }})
	check(tb, err)
	return r
}

// BenchmarkStateRescale goes from 4 instances to 7: what is written, and how long it is until every new instance has made an update on
// an old key. Target: 0 bytes of data, <= 2 s.
func BenchmarkStateRescale(t *testing.B) {
	for t.Loop() {
		m := meter.New(injected(t))
		const n, size = 40_000, 1000
		for i := range 4 {
			memory := stateMemory(t, 128<<20)
			b, err := state.Create(ctx, m, stateJob(state.Instance(128, 4, i), "a", memory))
			check(t, err)
			fillState(t, b, n, size)
			commitState(t, b, 1)
			check(t, b.Close())
			check(t, memory.Close())
		}
		memory := stateMemory(t, 256<<20)
		before := m.Snapshot()
		begin := time.Now()
		var wg sync.WaitGroup
		bs := make([]*state.Backend, 7)
		errs := make([]error, 7)
		for i := range 7 {
			wg.Go(func() {
				errs[i] = func() (err error) {
					if bs[i], err = state.Restore(ctx, m, 1, stateJob(state.Instance(128, 7, i), "b", memory)); err != nil {
						return err
					}
					v, err := state.NewValue(bs[i], state.ValueDescriptor[[]byte]{Name: "v", Codec: state.Bytes})
					if err != nil {
						return err
					}
					for k := int64(0); ; k++ {
						if key := state.IntKey(k); bs[i].Keys().Contains(state.KeyGroup(key.Key, 128)) {
							return v.Update(ctx, key, func(old []byte, ok bool) ([]byte, bool) { return old, ok && len(old) == size })
						}
					}
				}()
			})
		}
		wg.Wait()
		took := time.Since(begin)
		check(t, errors.Join(errs...))
		did := m.Snapshot().Sub(before)
		puts := did.Sum("put", "")
		t.Logf("4 -> 7 instances with %d MB: %v to the last first update, %d PUTs of %d B, %d GETs of %d B, %d copies",
			n*size/1_000_000, took, puts.Requests, puts.Out, did.Sum("get", "").Requests, did.Sum("get", "").In, did.Sum("copy", "").Requests)
		t.ReportMetric(took.Seconds(), "s-to-update")
		t.ReportMetric(float64(puts.Out), "B-written")
		if puts.Out > n*size/50 {
			t.Errorf("%d bytes were written: state was copied", puts.Out)
		}
		for _, b := range bs {
			check(t, b.Close())
		}
		check(t, memory.Close())
		check(t, m.Close())
	}
}

// BenchmarkStateUpdates: 16-byte keys, values of 100 bytes, read, changed and written by 64 goroutines: the state backend over an injected store beside
// plain Pebble on the local disk, in turns. In "cold" the caches hold a tenth of the state, in "hot" all of it. Targets: >= 0.75 and >= 0.9 x.
func BenchmarkStateUpdates(b *testing.B) {
	n := records() / 2
	for _, tc := range []struct {
		name  string
		cache int64
	}{{"cold", int64(n) * 120 / 10}, {"hot", max(int64(n)*120*3, 256<<20)}} {
		b.Run(tc.name, func(b *testing.B) {
			var mine, plain float64
			for b.Loop() {
				p := localJob(b, n, tc.cache)
				s := forstJob(b, n, tc.cache)
				for range 3 {
					plain += p.round(b, n)
					mine += s.round(b, n)
				}
				p.close()
				s.close()
			}
			b.ReportMetric(mine/3/float64(b.N), "updates/s")
			b.ReportMetric(plain/3/float64(b.N), "plain-updates/s")
			b.ReportMetric(mine/plain, "x-local")
		})
	}
}

// updater changes one key.
type updater struct {
	update func(k int64) error
	close  func()
}

func (u updater) round(b *testing.B, n int) float64 {
	b.Helper()
	const updates, workers = 8_000, 64
	var wg sync.WaitGroup
	begin := time.Now()
	for w := range workers {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), uint64(begin.UnixNano())))
			for range updates / workers {
				if err := u.update(rng.Int64N(int64(n))); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return updates / time.Since(begin).Seconds()
}

func localJob(b *testing.B, n int, cache int64) updater {
	b.Helper()
	c := pebble.NewCache(cache)
	o := pebblev2.Tune(&pebble.Options{FS: vfs.Default, Cache: c, DisableWAL: true})
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

func forstJob(b *testing.B, n int, cache int64) updater {
	b.Helper()
	root := injected(b)
	memory := stateMemory(b, cache)
	sb, err := state.Create(context.Background(), root, stateJob(state.AllKeys(128), "a", memory))
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
	return updater{update: func(k int64) error {
		key := Key(uint64(k))
		return v.Update(ctx, state.BytesKey(key[:]), func(old []byte, ok bool) ([]byte, bool) {
			if !ok {
				return nil, false
			}
			binary.LittleEndian.PutUint64(old, binary.LittleEndian.Uint64(old)+1)
			return old, true
		})
	}, close: func() { check(b, sb.Close()); check(b, memory.Close()); check(b, root.Close()) }}
}

// BenchmarkStateSnapshot: how long requests are held up while 64 goroutines update, in real time, with FORST_BENCH_RECORDS values of 100 bytes. Target <= 10 ms.
func BenchmarkStateSnapshot(b *testing.B) {
	n := records()
	s := forstJobOn(b, injected(b), n)
	defer s.close()
	var sync Latencies
	stop := make(chan struct{})
	done := make(chan error)
	for w := range 64 {
		go func() {
			rng := rand.New(rand.NewPCG(uint64(w), 1))
			for {
				select {
				case <-stop:
					done <- nil
					return
				default:
				}
				if err := s.update(rng.Int64N(int64(n))); err != nil {
					done <- err
					return
				}
			}
		}()
	}
	id := uint64(1)
	for b.Loop() {
		id++
		sync.Add(commitState(b, s.backend, id).Sync)
	}
	close(stop)
	for range 64 {
		check(b, <-done)
	}
	b.ReportMetric(float64(sync.Quantile(.5).Microseconds()), "sync-p50-us")
	b.ReportMetric(float64(sync.Quantile(1).Microseconds()), "sync-max-us")
}

type snapshotJob struct {
	updater
	backend *state.Backend
}

func forstJobOn(b *testing.B, root driver.Store, n int) snapshotJob {
	b.Helper()
	memory := stateMemory(b, 512<<20)
	sb, err := state.Create(ctx, root, stateJob(state.AllKeys(128), "a", memory))
	check(b, err)
	r := newOrKnown(b, sb, 0)
	var fs []*state.Future[state.Maybe[int64]]
	for i := range n {
		fs = append(fs, r.AddAsync(ctx, state.IntKey(int64(i)), 1))
	}
	for _, f := range fs {
		_, err := f.Wait(ctx)
		check(b, err)
	}
	commitState(b, sb, 1)
	return snapshotJob{updater{update: func(k int64) error { return r.Add(ctx, state.IntKey(k), 1) },
		close: func() { check(b, sb.Close()); check(b, memory.Close()); check(b, root.Close()) }}, sb}
}
