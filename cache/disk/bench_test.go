package disk

import (
	"math/rand/v2"
	"os"
	"runtime"
	"testing"
	"time"
)

// BenchmarkGet reads 4 KiB at random from 256 MiB on disk (in the system's page cache), beside a plain pread of the same
// size at the same places: the difference is the index, the checksum and one copy.
func BenchmarkGet(b *testing.B) {
	const bs, objects, blocks = 32 << 10, 16, 512
	c, err := Open(&Options{Dir: b.TempDir(), Size: 1 << 30, Reserve: -1})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	data := make([]byte, bs)
	for num := range uint64(objects) {
		for blk := range uint32(blocks) {
			c.Put(testID(num), blocks*bs, blk, data)
			if blk%64 == 63 {
				c.idle()
			}
		}
	}
	c.idle()
	p := make([]byte, 4<<10)
	rnd := rand.New(rand.NewPCG(1, 2))
	b.Run("tier", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if !c.Get(testID(rnd.Uint64N(objects)), rnd.Uint32N(blocks), rnd.IntN(8)<<12, p) {
				b.Fatal("a miss")
			}
		}
	})
	b.Run("pread", func(b *testing.B) {
		s := c.segments[0]
		for b.Loop() {
			if _, err := s.f.ReadAt(p, s.blockAt(rnd.IntN(s.slots))+int64(rnd.IntN(8)<<12)); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkRestart opens a cache of a million blocks (of 512 bytes, so that it fits a small disk; the records are those of
// large blocks) and reports the time until the first hit, and what the index weighs.
func BenchmarkRestart(b *testing.B) {
	const bs, objects, blocks = 512, 1024, 1024
	o := &Options{Dir: b.TempDir(), Size: 1 << 30, Reserve: -1, BlockSize: bs}
	c, err := Open(o)
	if err != nil {
		b.Fatal(err)
	}
	data := make([]byte, bs)
	for num := range uint64(objects) {
		for blk := range uint32(blocks) {
			c.Put(testID(num), blocks*bs, blk, data)
			if blk%512 == 511 {
				c.idle()
			}
		}
	}
	if err := c.Close(); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	for range b.N {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		begin := time.Now()
		c, err := Open(o)
		if err != nil {
			b.Fatal(err)
		}
		if !c.Get(testID(7), 7, 0, make([]byte, bs)) {
			b.Fatal("a miss")
		}
		b.ReportMetric(time.Since(begin).Seconds(), "s-until-warm")
		b.ReportMetric(float64(c.Metrics().Blocks), "blocks")
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(c.Metrics().Blocks), "index-B/block")
		begin = time.Now()
		runtime.GC()
		b.ReportMetric(float64(time.Since(begin).Microseconds())/1e3, "ms/forced-GC")
		if err := c.Close(); err != nil {
			b.Fatal(err)
		}
	}
	os.RemoveAll(o.Dir)
}
