package cache

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/forst-go/forst/forstfs/driver"
)

func TestOptions(t *testing.T) {
	for _, bad := range []Options{
		{BlockSize: 100}, {BlockSize: 3 * kib}, {BlockSize: 2 << 20}, {BlockSize: -1},
		{Memory: 1}, {Memory: 3 * 32 * kib}, {Background: -1},
	} {
		if c, err := New(&bad); err == nil {
			c.Close()
			t.Errorf("%+v is accepted", bad)
		}
	}
	c := newCache(t, nil)
	if got := c.Metrics().Capacity; got != defaultMemory {
		t.Errorf("capacity %d, want %d", got, defaultMemory)
	}
}

func TestRangesOutsideTheObject(t *testing.T) {
	c := newCache(t, small(16))
	s := &testSource{num: 1, size: 1000}
	for _, r := range []struct{ off, n int64 }{{-1, 1}, {0, 1001}, {1000, 1}, {1001, 0}, {1 << 62, 10}} {
		p := make([]byte, r.n)
		if _, err := c.ReadAt(context.Background(), s.object(), p, r.off, Random, ReasonRead); driver.KindOf(err) != driver.KindRange {
			t.Errorf("%d+%d: %v", r.off, r.n, err)
		}
		if r.n > 0 && c.Lookup(s.object().ID, p, r.off) {
			t.Errorf("%d+%d: a hit", r.off, r.n)
		}
	}
	for _, off := range []int64{0, 1000} {
		if n, err := c.ReadAt(context.Background(), s.object(), nil, off, Random, ReasonRead); n != 0 || err != nil {
			t.Errorf("an empty read at %d: %d, %v", off, n, err)
		}
	}
	if n := s.gets.Load(); n != 0 {
		t.Errorf("%d GETs", n)
	}
}

func TestTwoSizesOfOneObject(t *testing.T) {
	c := newCache(t, small(16))
	s := &testSource{num: 1, size: 2 * kib}
	if err := readCheck(context.Background(), c, s, 0, 10, Random); err != nil {
		t.Fatal(err)
	}
	longer := &testSource{num: 1, size: 3 * kib}
	if err := readCheck(context.Background(), c, longer, 0, 3*kib, Random); driver.KindOf(err) != driver.KindInvalid {
		t.Errorf("got %v, want an error that names the two sizes", err)
	}
}

func TestWithoutMemory(t *testing.T) {
	c := newCache(t, &Options{Memory: -1})
	s := &testSource{num: 1, size: 100 * kib}
	c.Insert(s.object().ID, s.size, 0, content(1, 0, s.size), ReasonWrite)
	c.Prefetch(context.Background(), s.object(), 0, -1)
	for range 2 {
		if err := readCheck(context.Background(), c, s, 5, 77*kib, Random); err != nil {
			t.Fatal(err)
		}
	}
	if c.Lookup(s.object().ID, make([]byte, 1), 0) {
		t.Error("a hit")
	}
	c.Drop(s.object().ID)
	wantRanges(t, s, span{5, 77*kib + 5}, span{5, 77*kib + 5})
}

func TestInsertKeepsWholeBlocks(t *testing.T) {
	c := newCache(t, small(64))
	const size = 5*kib + 10
	for _, k := range []struct {
		off, n int64
		want   string // a mark for each block that must be cached
	}{
		{0, size, "xxxxxx"},
		{0, 5 * kib, "xxxxx."},
		{0, 5*kib + 5, "xxxxx."},
		{kib, kib - 1, "......"},
		{100, 3 * kib, ".xx..."},
		{100, 100, "......"},
		{5 * kib, 10, ".....x"},
		{5 * kib, 9, "......"},
		{5*kib + 1, 9, "......"},
		{0, 0, "......"},
		{-1, 10, "......"},
		{0, size + 1, "......"},
	} {
		id := testID(77)
		c.Insert(id, size, k.off, content(77, k.off, k.n), ReasonWrite)
		var got strings.Builder
		for b := int64(0); b < size; b += kib {
			p := make([]byte, min(kib, size-b))
			mark := "."
			if c.Lookup(id, p, b) {
				mark = "x"
				if err := compare(p, 77, b); err != nil {
					t.Error(err)
				}
			}
			got.WriteString(mark)
		}
		if got.String() != k.want {
			t.Errorf("insert %d+%d: blocks %s, want %s", k.off, k.n, got.String(), k.want)
		}
		c.Drop(id)
		if m := c.Metrics(); m.Used != 0 || m.Objects != 0 {
			t.Errorf("insert %d+%d: after Drop %d bytes, %d objects", k.off, k.n, m.Used, m.Objects)
		}
	}
}

// Any flipped bit of a cached block is found, and the reader gets the true bytes from the source.
func TestFlippedBits(t *testing.T) {
	for _, bs := range []int{512, kib, 4 * kib, 32 * kib} {
		c := newCache(t, &Options{Memory: 64 * int64(bs), BlockSize: bs, FetchSize: -1})
		s := &testSource{num: 1, size: int64(bs) + int64(bs)/2 + 3}
		for at := int64(0); at < s.size; at += max(s.size/61, 1) {
			if err := readCheck(context.Background(), c, s, 0, s.size, Random); err != nil {
				t.Fatal(err)
			}
			o := c.find(&s.object().ID)
			block := uint32(at / int64(bs))
			sh := c.shardOf(o, block)
			slot, ok := sh.pin(key{o.serial, block}, false)
			if !ok {
				t.Fatal("not cached")
			}
			c.slots.bytes(slot)[at%int64(bs)] ^= 1 << (at % 8)
			sh.unpin(slot)
			if c.Lookup(s.object().ID, make([]byte, 1), at) {
				t.Fatalf("block of %d: the flipped bit of byte %d is not found", bs, at)
			}
			gets := s.gets.Load()
			if err := readCheck(context.Background(), c, s, at, 1, Random); err != nil {
				t.Fatal(err)
			}
			if s.gets.Load() != gets+1 {
				t.Fatal("the bad block was not fetched again")
			}
		}
		if c.Metrics().VerifyFailures == 0 {
			t.Error("no failure was counted")
		}
	}
}

func TestHitsDoNotAllocate(t *testing.T) {
	c := newCache(t, &Options{Memory: 8 << 20})
	s := &testSource{num: 1, size: 1 << 20}
	obj, p, ctx := s.object(), make([]byte, 100*kib), context.Background()
	c.Insert(obj.ID, obj.Size, 0, content(1, 0, obj.Size), ReasonWrite)
	for name, f := range map[string]func(){
		"ReadAt of 4 KiB":    func() { must(c.ReadAt(ctx, obj, p[:4*kib], 20*kib, Random, ReasonRead)) },
		"ReadAt over blocks": func() { must(c.ReadAt(ctx, obj, p, 20*kib, Random, ReasonRead)) },
		"ReadAt, sequential": func() { must(c.ReadAt(ctx, obj, p, 20*kib, Sequential, ReasonCompaction)) },
		"ReadAt, object on stack": func() {
			o := Object{ID: obj.ID, Size: obj.Size, Source: s}
			must(c.ReadAt(ctx, &o, p, 0, Random, ReasonRead))
		},
		"Lookup": func() {
			if !c.Lookup(obj.ID, p, 1) {
				panic("a miss")
			}
		},
		"Drop of an unknown object": func() { c.Drop(testID(99)) },
		"Metrics":                   func() { c.Metrics() },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations, want 0", name, n)
		}
	}
	if n := s.gets.Load(); n != 0 {
		t.Errorf("%d GETs: not all were hits", n)
	}
}

func must(_ int, err error) {
	if err != nil {
		panic(err)
	}
}

// The memory of open, fill and close cycles returns to where it was, and so do the goroutines.
func TestCyclesLeaveNothing(t *testing.T) {
	cycle := func() {
		c, err := New(&Options{Memory: 4 << 20})
		if err != nil {
			t.Fatal(err)
		}
		for num := range uint64(16) {
			s := &testSource{num: num, size: 1 << 20}
			c.Prefetch(context.Background(), s.object(), 0, -1)
			if err := readCheck(context.Background(), c, s, 1<<19, 100, Random); err != nil {
				t.Error(err)
			}
		}
		if m := c.Metrics(); m.Used > m.Capacity {
			t.Errorf("%d bytes in use of %d", m.Used, m.Capacity)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	cycle()
	heap, goroutines := heapInUse(), runtime.NumGoroutine()
	for range 5 {
		cycle()
	}
	for runtime.NumGoroutine() > goroutines { // one that has told Close so may still be on its way out
		runtime.Gosched()
	}
	if h := heapInUse(); h > heap+4<<20 {
		t.Errorf("%d bytes of heap, %d before", h, heap)
	}
}

func heapInUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestMetricsString(t *testing.T) {
	c := newCache(t, small(16))
	s := &testSource{num: 1, size: 4*kib + 5}
	ctx := context.Background()
	c.Insert(s.object().ID, s.size, 0, content(1, 0, kib), ReasonWrite)
	for range 2 {
		if err := readCheck(ctx, c, s, 5, 4*kib, Random); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.ReadAt(ctx, s.object(), make([]byte, 5), 0, Sequential, ReasonCompaction); err != nil {
		t.Fatal(err)
	}
	c.Lookup(testID(9), nil, 0)
	m := c.Metrics()
	if got, want := m.HitRatio(), 7.0/11; got != want { // 1 of 5 blocks, 5 of 5, 1 of 1
		t.Errorf("hit ratio %v, want %v", got, want)
	}
	golden := filepath.Join("testdata", "metrics.txt")
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(golden, []byte(m.String()), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if m.String() != string(want) {
		t.Errorf("got\n%swant\n%s(UPDATE_GOLDEN=1 writes it anew)", m, want)
	}
}
