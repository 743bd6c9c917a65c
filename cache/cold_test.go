package cache

import (
	"context"
	"io"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// TestColdRandomReads is 500 random reads of 4 KiB of a cold volume of 80 MB, in virtual time over a store that answers
// after 24 ms and gives 90 MB/s on each connection. The time is the store's alone and the same in every run, so that it
// may be held to: 8 ms a read, and no byte fetched twice.
func TestColdRandomReads(t *testing.T) {
	for _, k := range []struct {
		name  string
		fetch int64
		held  bool
	}{{"exact", -1, false}, {"256 KiB", 256 << 10, false}, {"1 MiB", 1 << 20, false}, {"default", 0, true}, {"4 MiB", 4 << 20, false}} {
		t.Run(k.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mean, bytes, gets := coldRandom(t, k.fetch)
				t.Logf("%.2f ms a read, %.1f MB in %d GETs", mean.Seconds()*1e3, float64(bytes)/1e6, gets)
				if k.held && (mean > 8*time.Millisecond || bytes > 80e6) {
					t.Error("want at most 8 ms and 80 MB")
				}
			})
		})
	}
}

func coldRandom(t *testing.T, fetch int64) (mean time.Duration, bytes, gets int64) {
	c := newCache(t, &Options{FetchSize: fetch})
	const objects, each = 5, 16e6
	var sources []*testSource
	for i := range uint64(objects) {
		s := &testSource{num: i, size: each}
		s.hook = func(ctx context.Context, off, n int64) (io.ReadCloser, error) {
			return newPacedReader(ctx, zeros{}, n, 24*time.Millisecond, 90e6), nil
		}
		sources = append(sources, s)
	}
	rnd := rand.New(rand.NewPCG(5, 5))
	p := make([]byte, 4<<10)
	const reads = 500
	begin := time.Now()
	for range reads {
		s := sources[rnd.IntN(objects)]
		if _, err := c.ReadAt(context.Background(), s.object(), p, rnd.Int64N(each-4096), Random, ReasonRead); err != nil {
			t.Fatal(err)
		}
	}
	mean = time.Since(begin) / reads
	for _, s := range sources {
		bytes += s.bytes.Load()
		gets += s.gets.Load()
	}
	return mean, bytes, gets
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// pacedReader gives its first byte after a latency and then so many bytes a second.
type pacedReader struct {
	ctx   context.Context
	r     io.Reader
	start time.Time
	rate  float64
	n     int64
}

func newPacedReader(ctx context.Context, r io.Reader, n int64, latency time.Duration, rate float64) *pacedReader {
	return &pacedReader{ctx: ctx, r: io.LimitReader(r, n), start: time.Now().Add(latency), rate: rate}
}

func (r *pacedReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.n += int64(n)
	due := r.start.Add(time.Duration(float64(r.n) / r.rate * 1e9))
	select {
	case <-time.After(time.Until(due)):
	case <-r.ctx.Done():
		return 0, r.ctx.Err()
	}
	return n, err
}

func (r *pacedReader) Close() error { return nil }
