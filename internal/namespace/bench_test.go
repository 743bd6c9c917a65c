package namespace

import (
	"fmt"
	"runtime"
	"testing"
)

// many gives a volume of n tables, one object each.
func many(tb testing.TB, n int) *State {
	s := New()
	must(tb, s, Op{Kind: Mkdir, Path: "/db"})
	for i := range n {
		ino := s.AllocInode()
		op := Op{Kind: Create, Path: fmt.Sprintf("/db/%06d.sst", i), Inode: ino, File: Bulk, Time: 1_700_000_000_000_000_000}
		if err := s.Apply(&op, Extent{}); err != nil {
			tb.Fatal(err)
		}
		op = Op{Kind: Extend, Inode: ino, Extents: []Extent{{object(uint64(i)), 0, 2 << 20}}}
		if err := s.Apply(&op, Extent{}); err != nil {
			tb.Fatal(err)
		}
	}
	return s
}

// BenchmarkMemory reports the live heap per file of 100,000 files with one extent each, as built and as decoded.
func BenchmarkMemory(b *testing.B) {
	const n = 100_000
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	for b.Loop() {
		before := heap()
		s := many(b, n)
		built := heap()
		body := s.Encode()
		runtime.KeepAlive(s)
		s = nil
		b.ReportMetric(float64(built-before)/n, "B/file")
		b.ReportMetric(float64(len(body))/n, "body-B/file")
		before = heap()
		d, err := Decode(body)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(heap()-before)/n, "decoded-B/file")
		runtime.KeepAlive(d)
	}
}

func BenchmarkEncode(b *testing.B) {
	s := many(b, 100_000)
	b.ReportAllocs()
	for b.Loop() {
		b.SetBytes(int64(len(s.Encode())))
	}
}

func BenchmarkDecode(b *testing.B) {
	body := many(b, 100_000).Encode()
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(body); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLookup(b *testing.B) {
	s := many(b, 100_000)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := s.Lookup("/db/054321.sst"); !ok {
			b.Fatal("not there")
		}
	}
}

// BenchmarkFirstFrame is what trimming costs per image.
func BenchmarkFirstFrame(b *testing.B) {
	s := many(b, 100_000)
	for b.Loop() {
		s.FirstFrame()
	}
}

// BenchmarkReplay decodes and applies the operations of one commit: an append to a log.
func BenchmarkReplay(b *testing.B) {
	s := New()
	must(b, s, Op{Kind: Create, Path: "/000001.log", Inode: 1})
	op := (&Op{Kind: Append, Inode: 1, Len: 100}).AppendTo(nil)
	b.ReportAllocs()
	n := uint64(0)
	for b.Loop() {
		n++
		err := DecodeOps(op, func(op *Op) error { return s.Apply(op, Extent{frame(n), 100, 100}) })
		if err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPack moves a log of 1,000 syncs into an object.
func BenchmarkPack(b *testing.B) {
	s := New()
	must(b, s, Op{Kind: Create, Path: "/000001.log", Inode: 1})
	op := Op{Kind: Pack}
	var off int64
	for n := range uint64(1000) {
		e := Extent{frame(n), 100, 100}
		if err := s.Apply(&Op{Kind: Append, Inode: 1, Len: 100}, e); err != nil {
			b.Fatal(err)
		}
		op.Packs = append(op.Packs, Repack{1, off, e, Extent{object(1), off, 100}})
		off += 100
	}
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		c := s.Clone()
		b.StartTimer()
		if err := c.Apply(&op, Extent{}); err != nil {
			b.Fatal(err)
		}
		if c.Stats().Extents != 1 {
			b.Fatal("not joined")
		}
	}
}
