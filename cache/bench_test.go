package cache

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"
)

// BenchmarkHit reads from memory, with and without the checksum over the pages.
func BenchmarkHit(b *testing.B) {
	for _, size := range []int{100, 4 << 10, 32 << 10} {
		for _, skip := range []bool{false, true} {
			b.Run(fmt.Sprintf("%dB/verify=%v", size, !skip), func(b *testing.B) {
				c, err := New(&Options{Memory: 128 << 20, SkipVerify: skip})
				if err != nil {
					b.Fatal(err)
				}
				defer c.Close()
				const objects, each = 6, 16 << 20
				data := make([]byte, each)
				for i := range uint64(objects) {
					c.Insert(testID(i), each, 0, data, ReasonWrite)
				}
				b.SetBytes(int64(size))
				b.ReportAllocs()
				b.ResetTimer()
				b.RunParallel(func(pb *testing.PB) {
					p := make([]byte, size)
					rnd := rand.New(rand.NewPCG(1, rand.Uint64()))
					obj := Object{Size: each}
					for pb.Next() {
						obj.ID = testID(rnd.Uint64N(objects))
						off := rnd.Int64N(each/int64(size)) * int64(size)
						if _, err := c.ReadAt(context.Background(), &obj, p, off, Random, ReasonRead); err != nil {
							b.Error(err)
							return
						}
					}
				})
			})
		}
	}
}

// BenchmarkFill is the cost of storing a block into a full cache: reserve, copy, checksums, publish, evict.
func BenchmarkFill(b *testing.B) {
	c, err := New(&Options{Memory: 64 << 20})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	data := make([]byte, 32<<10)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	i := uint64(0)
	for b.Loop() {
		c.Insert(testID(i>>6), 2<<20, int64(i&63)<<15, data, ReasonWrite)
		i++
	}
}

// BenchmarkDrop drops objects of 16 MiB that are wholly cached, and such that are not cached at all.
func BenchmarkDrop(b *testing.B) {
	for _, cached := range []bool{true, false} {
		b.Run(fmt.Sprintf("cached=%v", cached), func(b *testing.B) {
			c, err := New(&Options{Memory: 64 << 20})
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			data := make([]byte, 16<<20)
			for i := range b.N {
				if cached {
					b.StopTimer()
					c.Insert(testID(uint64(i)), int64(len(data)), 0, data, ReasonWrite)
					b.StartTimer()
				}
				c.Drop(testID(uint64(i)))
			}
		})
	}
}

// BenchmarkMemory2GiB fills 2 GiB, keeps reading and replacing, and reports the process's memory as a multiple of the
// budget and the collector's share of the CPU.
func BenchmarkMemory2GiB(b *testing.B) {
	const budget = 2 << 30
	for range b.N {
		c, err := New(&Options{Memory: budget})
		if err != nil {
			b.Fatal(err)
		}
		data := make([]byte, 16<<20)
		for i := range uint64(160) { // 2.5 GiB
			c.Insert(testID(i), int64(len(data)), 0, data, ReasonWrite)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		var gc debug.GCStats
		p := make([]byte, 4<<10)
		var garbage [][]byte
		rnd := rand.New(rand.NewPCG(1, 1))
		for i := range 2_000_000 {
			c.Lookup(testID(32+rnd.Uint64N(128)), p, rnd.Int64N(16<<20-4096))
			if i%100 == 0 { // an application that makes garbage
				garbage = append(garbage, make([]byte, 10<<10))
			}
			if len(garbage) == 100 {
				garbage = nil
			}
		}
		begin := time.Now()
		runtime.GC()
		b.ReportMetric(float64(time.Since(begin).Microseconds())/1e3, "ms/forced-GC")
		runtime.ReadMemStats(&after)
		debug.ReadGCStats(&gc)
		b.ReportMetric(float64(residentBytes(b))/budget, "RSS/budget")
		b.ReportMetric(100*after.GCCPUFraction, "%GC-CPU")
		b.ReportMetric(float64(after.HeapInuse)/1e6, "MB-heap")
		if err := c.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// residentBytes is the process's resident memory on Linux, and NaN's place-holder 0 elsewhere.
func residentBytes(b *testing.B) int64 {
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Log("no /proc/self/statm: the resident memory is not reported")
		return 0
	}
	pages, err := strconv.ParseInt(strings.Fields(string(data))[1], 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}
