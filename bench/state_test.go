package bench

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

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
