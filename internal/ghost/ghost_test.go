package ghost

import (
	"math/rand/v2"
	"testing"
)

// TestRemembersTheLast: of the last n hashes nearly all are remembered, of older ones none; one that was taken is forgotten, one that was put again is new.
func TestRemembersTheLast(t *testing.T) {
	for _, n := range []int{1, 2, 3, 32, 1000, 4096} {
		l := New(n)
		r := rand.New(rand.NewPCG(1, uint64(n)))
		var put []uint64
		for range 10 * n {
			h := r.Uint64()
			l.Put(h)
			put = append(put, h)
			if !l.Has(h) {
				t.Fatalf("n=%d: forgot the newest", n)
			}
		}
		has := 0
		for i, h := range put {
			switch old := len(put)-i > n; {
			case old && l.Has(h):
				t.Fatalf("n=%d: remembers the hash %d from the end", n, len(put)-i)
			case !old && l.Has(h):
				has++
			}
		}
		if has*4 < n*3 {
			t.Errorf("n=%d: remembers %d", n, has)
		}
		last := put[len(put)-1]
		if !l.Take(last) || l.Has(last) || l.Take(last) {
			t.Errorf("n=%d: take", n)
		}
		l.Put(last)
		for i := range n - 1 {
			l.Put(last + uint64(i+1)<<33) // another print in the same set
		}
		if n <= ways && !l.Has(last) {
			t.Errorf("n=%d: forgot before its time", n)
		}
	}
}

// TestOnceEach: a hash that is put twice takes one place.
func TestOnceEach(t *testing.T) {
	l := New(4)
	for range 3 {
		l.Put(1 << 40)
	}
	if !l.Take(1<<40) || l.Has(1<<40) {
		t.Error("a hash is there twice")
	}
	l.Put(1 << 40)
	l.Put(2 << 40)
	l.Take(1 << 40) // a hole in front of it
	l.Put(2 << 40)
	if !l.Take(2<<40) || l.Has(2<<40) {
		t.Error("a hash is there twice behind a hole")
	}
}

func TestAllocatesNothing(t *testing.T) {
	l := New(64)
	h := uint64(1)
	if n := testing.AllocsPerRun(1000, func() { h = h*6364136223846793005 + 1; l.Put(h); l.Has(h); l.Take(h) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
