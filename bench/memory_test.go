package bench

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/fault"
	"github.com/forst-go/forst/forstfs/mem"
)

// resident is the process's memory in RAM, in bytes.
func resident(b *testing.B) int64 {
	b.Helper()
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Fatal(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(data))[1], 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// BenchmarkWriteMemory writes 200 bulk files of 32 MiB, 50 at a time, to a slow store that keeps nothing. Target: at most objects in flight x object size
// + 64 MiB of memory, whatever the number and size of files.
func BenchmarkWriteMemory(b *testing.B) {
	const files, size, writers = 200, 32 << 20, 50
	s := sink{fault.New(mem.New(nil), &fault.Options{Latency: fault.FixedLatency(28*time.Millisecond, 24*time.Millisecond, 900e6)})}
	opts := &forstfs.Options{CacheBytes: -1, ObjectSize: 16 << 20, MaxInflight: 8}
	limit := int64(opts.MaxInflight)*opts.ObjectSize + 64<<20
	for b.Loop() {
		v := volume(b, s, opts)
		debug.FreeOSMemory()
		base := resident(b)
		stop := make(chan struct{})
		var peak, peakBuffered int64
		var watch sync.WaitGroup
		watch.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(5 * time.Millisecond):
					peak = max(peak, resident(b)-base)
					peakBuffered = max(peakBuffered, v.Metrics().UploadMemory)
				}
			}
		})
		var wg sync.WaitGroup
		names := make(chan int)
		for range writers {
			wg.Go(func() {
				p := make([]byte, 32<<10)
				for i := range names {
					f, err := v.Create(ctx, fmt.Sprintf("%06d.sst", i), nil)
					for k := 0; k < size && err == nil; k += len(p) {
						_, err = f.Write(p)
					}
					if err == nil {
						err = f.Close()
					}
					if err != nil {
						b.Error(err)
					}
				}
			})
		}
		for i := range files {
			names <- i
		}
		close(names)
		wg.Wait()
		close(stop)
		watch.Wait()
		b.ReportMetric(float64(peak>>20), "peak-RSS-MiB")
		b.ReportMetric(float64(peakBuffered>>20), "peak-buffered-MiB")
		b.ReportMetric(float64(peak)/float64(limit), "x-limit")
		if err := v.Drop(ctx); err != nil {
			b.Fatal(err)
		}
		if err := v.Close(); err != nil {
			b.Fatal(err)
		}
		runtime.GC()
		s = sink{fault.New(mem.New(nil), &fault.Options{Latency: fault.FixedLatency(28*time.Millisecond, 24*time.Millisecond, 900e6)})}
	}
}
