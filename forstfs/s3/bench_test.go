package s3_test

import (
	"fmt"
	"testing"

	"github.com/forst-go/forst/forstfs/driver"
)

// The benchmarks run against the test server, which shares the machine: look at ratios and at allocations.

func benchmarkPut(b *testing.B, size int) {
	s := open(b, nil)
	data := make([]byte, size)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		n++
		if err := s.Put(b.Context(), fmt.Sprintf("o/%d", n%64), data, driver.PutOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPut4KiB(b *testing.B)  { benchmarkPut(b, 4<<10) }
func BenchmarkPut16MiB(b *testing.B) { benchmarkPut(b, 16<<20) }

// BenchmarkCreate4KiB is what a commit does: create-if-absent under a new key, on the journal's connections.
func BenchmarkCreate4KiB(b *testing.B) {
	s := open(b, nil)
	data := make([]byte, 4<<10)
	ctx := driver.WithComponent(b.Context(), driver.CompCommit)
	b.SetBytes(4 << 10)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		n++
		if err := s.Put(ctx, fmt.Sprintf("journal/%016x", n), data, driver.PutOptions{IfAbsent: true}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGet4KiB(b *testing.B) {
	s := open(b, nil)
	const objectSize = 16 << 20
	if err := s.Put(b.Context(), "o", make([]byte, objectSize), driver.PutOptions{}); err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 4<<10)
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	n := int64(0)
	for b.Loop() {
		n++
		if err := driver.ReadFull(b.Context(), s, "o", n*7919*4096%(objectSize-4096), buf); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGet16MiB(b *testing.B) {
	s := open(b, nil)
	buf := make([]byte, 16<<20)
	if err := s.Put(b.Context(), "o", buf, driver.PutOptions{}); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		if err := driver.ReadFull(b.Context(), s, "o", 0, buf); err != nil {
			b.Fatal(err)
		}
	}
}
