package forstfs_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/fault"
)

// Whatever the number and the sizes of the files, bulk bytes take no more memory than objects in flight x object size, and what is kept for reuse a
// quarter of that at most (32 MiB of a large budget); and however little that is, nobody waits for ever.
func TestUploadMemoryIsBounded(t *testing.T) {
	for _, inflight := range []int{1, 2, 8} {
		synctest.Test(t, func(t *testing.T) {
			o := small()
			o.MaxInflight, o.ObjectSize = inflight, 1<<20
			s := &spy{Store: fault.New(store(t, bucket()), &fault.Options{Latency: fault.FixedLatency(30*time.Millisecond, 10*time.Millisecond, 50e6)})}
			v, err := forstfs.Open(ctx, s, o)
			must(t, err)
			var most int64
			var mu sync.Mutex
			look := func() {
				used, kept, limit := v.UploadBytes()
				mu.Lock()
				defer mu.Unlock()
				most = max(most, used+kept)
				if grown := o.ObjectSize / 4; used > limit+grown || used+kept > limit+limit/4+grown { // a buffer that grows is there twice while it is copied
					t.Errorf("%d bytes in use and %d kept; the limit is %d", used, kept, limit)
				}
			}
			s.put = func(string, []byte) error { look(); return nil }
			for round, size := range []int{20_000, 100_000, 3_000_000, 40_000, 700_000} {
				var wg sync.WaitGroup
				for i := range 4_000_000/size + 1 {
					wg.Go(func() {
						r := rand.New(rand.NewPCG(uint64(round), uint64(i)))
						name := fmt.Sprintf("/%d-%d.sst", round, i)
						f, err := v.Create(ctx, name, nil)
						must(t, err)
						for at := 0; at < size; {
							p := make([]byte, min(size-at, 1+r.IntN(90_000)))
							pattern(p, uint64(i), int64(at))
							_, err := f.Write(p)
							must(t, err)
							at += len(p)
							look()
						}
						must(t, f.Close())
						must(t, v.Remove(ctx, name))
					})
				}
				wg.Wait()
				look()
			}
			if used, _, limit := v.UploadBytes(); used != 0 || most < limit/2 {
				t.Errorf("%d bytes are in use at the end; at most %d of %d were", used, most, limit)
			}
			must(t, v.Close())
		})
	}
}
