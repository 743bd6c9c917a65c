package bench

import (
	"errors"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/fault"
	"github.com/forst-go/forst/internal/meter"
	"github.com/forst-go/forst/state"
)

const (
	largeValue     = 1 << 10
	largeInstances = 4
	largeGroups    = 128
)

// stateGiB is the size of the state of BenchmarkStateLarge: FORST_BENCH_STATE_GIB, 1/16 if it is not set.
func stateGiB() float64 {
	if g, err := strconv.ParseFloat(os.Getenv("FORST_BENCH_STATE_GIB"), 64); err == nil {
		return g
	}
	return 1. / 16
}

// injectedOnDisk is the injected store with its objects in files, for what is larger than memory.
func injectedOnDisk(tb testing.TB) driver.Store {
	return fault.New(localRoot(tb), &fault.Options{Latency: fault.FixedLatency(28*time.Millisecond, 24*time.Millisecond, 90e6)})
}

// BenchmarkStateLarge: a job of 4 instances with values of 1 KiB that do not compress, FORST_BENCH_STATE_GIB in all (the files are below the directory for temporary files,
// and take as much). How long snapshots hold requests up, while the job is idle, while 64 goroutines update one of 1,000 keys each time, and while they choose among all
// keys, most of which are in the store only; target <= 10 ms. Then the job goes on with 7 instances; target: no table is copied, and <= 2 s until the last of them has updated
// an old key.
func BenchmarkStateLarge(t *testing.B) {
	for t.Loop() {
		m := meter.New(injectedOnDisk(t))
		keys := keysByGroup(int(stateGiB() * (1 << 30) / largeValue))
		memory := stateMemory(t, 1<<30)
		begin := started()
		bs := loadLarge(t, m, keys, memory)
		took := begin.end()
		wrote := m.Snapshot().Sum("put", "")
		t.Logf("loaded in %v (%v of processor time), %d PUTs of %d B", took.wall, took.cpu, wrote.Requests, wrote.Out)

		id := uint64(2)
		for _, load := range []struct {
			name string
			hot  int // keys of a key group; 0: all
		}{{"idle", -1}, {"hot", 1000 / (largeGroups / largeInstances)}, {"cold", 0}} {
			var sync, drain, seal Latencies
			for range 3 {
				for _, b := range bs { // all have each checkpoint, or none would be complete and old ones would never be removed
					st := b.snapshotUnder(t, keys, load.hot, id)
					sync.Add(st.Sync)
					drain.Add(st.Drain)
					seal.Add(st.Seal)
				}
				id++
			}
			t.Logf("%s: callers of snapshots held up %v; newer writes by older requests %v, by the memtables' switch %v", load.name, &sync, &drain, &seal)
			t.ReportMetric(float64(sync.Quantile(.5).Microseconds()), load.name+"-sync-p50-us")
			t.ReportMetric(float64(sync.Quantile(1).Microseconds()), load.name+"-sync-max-us")
			t.ReportMetric(float64((drain.Quantile(1) + seal.Quantile(1)).Microseconds()), load.name+"-writes-max-us")
		}
		for _, b := range bs {
			commitState(t, b.Backend, id)
		}
		for _, b := range bs {
			check(t, b.Close())
		}
		check(t, memory.Close())

		memory = stateMemory(t, 1<<30)
		before := m.Snapshot()
		begin = started()
		rescaled := rescaleLarge(t, m, keys, memory, id)
		took = begin.end()
		did := m.Snapshot().Sub(before)
		puts, gets := did.Sum("put", ""), did.Sum("get", "")
		t.Logf("4 -> 7 instances: %v (%v of processor time) to the last first update, %d PUTs of %d B, %d GETs of %d B, %d LISTs, %d copies; table bytes written %d",
			took.wall, took.cpu, puts.Requests, puts.Out, gets.Requests, gets.In, did.Sum("list", "").Requests, did.Sum("copy", "").Requests,
			did.Sum("put", driver.CompFlush).Out+did.Sum("put", driver.CompCompaction).Out)
		t.ReportMetric(took.wall.Seconds(), "s-to-update")
		t.ReportMetric(float64(puts.Out), "B-written")
		if did.Sum("copy", "").Requests > 0 || float64(puts.Out) > stateGiB()*(1<<30)/50 { // a compaction may have begun
			t.Errorf("%d bytes were written, %d objects copied: state was copied", puts.Out, did.Sum("copy", "").Requests)
		}
		for _, b := range rescaled {
			check(t, b.Close())
		}
		check(t, memory.Close())
		check(t, m.Close())
	}
}

// keysByGroup sorts keys 0 to n-1 into their key groups, so that they can be loaded in the order of the database.
func keysByGroup(n int) [][]int32 {
	groups := make([][]int32, largeGroups)
	for i := range n {
		g := state.KeyGroup(state.IntKey(int64(i)).Key, largeGroups)
		groups[g] = append(groups[g], int32(i))
	}
	return groups
}

// largeJob is one instance.
type largeJob struct {
	*state.Backend
	v *state.Value[[]byte]
}

// loadLarge makes the instances, fills them side by side and commits checkpoint 1.
func loadLarge(tb testing.TB, root driver.Store, keys [][]int32, memory *state.Memory) []largeJob {
	tb.Helper()
	bs := make([]largeJob, largeInstances)
	errs := make([]error, largeInstances)
	var wg sync.WaitGroup
	for i := range bs {
		o := stateJob(state.Instance(largeGroups, largeInstances, i), "a", memory)
		o.KeepLast = 2 // what compactions replace would add up otherwise
		b, err := state.Create(ctx, root, o)
		check(tb, err)
		bs[i] = largeJob{b, newBlobs(tb, b)}
		wg.Go(func() { errs[i] = bs[i].load(keys, byte(i)) })
	}
	wg.Wait()
	check(tb, errors.Join(errs...))
	for _, b := range bs {
		commitState(tb, b.Backend, 1)
	}
	return bs
}

func (b largeJob) load(keys [][]int32, seed byte) error {
	rng := rand.NewChaCha8([32]byte{seed})
	fs := make([]*state.Future[state.None], 0, 4096)
	wait := func() error {
		for _, f := range fs {
			if _, err := f.Wait(ctx); err != nil {
				return err
			}
		}
		fs = fs[:0]
		return nil
	}
	for g := range keys {
		if !b.Keys().Contains(g) {
			continue
		}
		for _, k := range keys[g] {
			p := make([]byte, largeValue)
			rng.Read(p)
			if fs = append(fs, b.v.PutAsync(ctx, state.IntKey(int64(k)), p)); len(fs) == cap(fs) {
				if err := wait(); err != nil {
					return err
				}
			}
		}
	}
	return wait()
}

// snapshotUnder takes a snapshot while 64 goroutines update one of the first hot keys of each key group, of all if hot is 0, or while nobody does if it is negative.
func (b largeJob) snapshotUnder(tb testing.TB, keys [][]int32, hot int, id uint64) state.SnapshotStats {
	tb.Helper()
	first, groups := -1, 0
	for g := range keys {
		if b.Keys().Contains(g) {
			if first < 0 {
				first = g
			}
			groups++
		}
	}
	update := func(rng *rand.Rand) error {
		of := keys[first+rng.IntN(groups)]
		if hot > 0 {
			of = of[:min(hot, len(of))]
		}
		return b.v.Update(ctx, state.IntKey(int64(of[rng.IntN(len(of))])), func(old []byte, ok bool) ([]byte, bool) {
			if ok {
				old[0]++
			}
			return old, ok
		})
	}
	workers := 64
	if hot < 0 {
		workers = 0
		check(tb, update(rand.New(rand.NewPCG(id, 0)))) // or there is nothing to flush
	}
	var wg sync.WaitGroup
	stop, warm := make(chan struct{}), make(chan struct{}, workers)
	errs := make([]error, workers)
	for w := range workers {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), id))
			for n := 0; ; n++ {
				if errs[w] = update(rng); errs[w] != nil || n == 50 {
					warm <- struct{}{}
				}
				select {
				case <-stop:
					return
				default:
				}
				if errs[w] != nil {
					return
				}
			}
		})
	}
	for range workers {
		<-warm
	}
	st := commitState(tb, b.Backend, id)
	close(stop)
	wg.Wait()
	check(tb, errors.Join(errs...))
	return st
}

// rescaleLarge restores the checkpoint with 7 instances, all at once, and returns when each has updated one of its old keys.
func rescaleLarge(tb testing.TB, root driver.Store, keys [][]int32, memory *state.Memory, id uint64) []*state.Backend {
	tb.Helper()
	const n = 7
	bs := make([]*state.Backend, n)
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range bs {
		wg.Go(func() {
			errs[i] = func() (err error) {
				owned := state.Instance(largeGroups, n, i)
				if bs[i], err = state.Restore(ctx, root, id, stateJob(owned, "b", memory)); err != nil {
					return err
				}
				v, err := state.NewValue(bs[i], state.ValueDescriptor[[]byte]{Name: "v", Codec: state.Bytes})
				if err != nil {
					return err
				}
				for g := range keys {
					if !owned.Contains(g) {
						continue
					}
					of := keys[g]
					return v.Update(ctx, state.IntKey(int64(of[len(of)/2])), func(old []byte, ok bool) ([]byte, bool) {
						if !ok || len(old) != largeValue {
							err = errors.New("the value is lost")
						}
						return old, true
					})
				}
				return err
			}()
		})
	}
	wg.Wait()
	check(tb, errors.Join(errs...))
	return bs
}
