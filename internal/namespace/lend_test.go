package namespace

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
)

// lendable makes a namespace with own and borrowed objects.
func lendable(t *testing.T, rng *rand.Rand) *State {
	t.Helper()
	s := New()
	a := s.AddOwner(Owner{Volume: [16]byte{1}, URL: "../a"})
	s.AddOwner(Owner{Volume: [16]byte{2}, URL: "../unused"})
	b := s.AddOwner(Owner{Volume: [16]byte{3}, URL: "s3://b/b"})
	owners := []uint32{0, a, b}
	for i := range 20 {
		ino := s.AllocInode()
		apply(t, s, &Op{Kind: Create, Path: "/" + string(rune('a'+i)), Inode: ino, File: Bulk})
		op := &Op{Kind: Extend, Inode: ino}
		for range rng.IntN(5) {
			c := Container{Kind: Object, Owner: owners[rng.IntN(3)], CRC: 100, Epoch: 1, Nonce: 7, Num: uint64(rng.IntN(6))}
			op.Extents = append(op.Extents, Extent{Container: c, Off: int64(rng.IntN(50)), Len: int64(1 + rng.IntN(50))})
		}
		if len(op.Extents) > 0 {
			apply(t, s, op)
		}
	}
	return s
}

func apply(t *testing.T, s *State, op *Op) {
	t.Helper()
	if err := s.Apply(op, Extent{}); err != nil {
		t.Fatal(err)
	}
}

// TestLend: a clone's namespace has the same files and bytes, owns nothing, and names each lender once.
func TestLend(t *testing.T) {
	self := Owner{Volume: [16]byte{9}, URL: "../self"}
	for seed := range uint64(50) {
		s := lendable(t, rand.New(rand.NewPCG(seed, 1)))
		before := s.Encode()
		c, err := s.Lend(self, func(o Owner) Owner { o.URL = "over/" + o.URL; return o })
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Verify(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if d, err := Decode(c.Encode()); err != nil || !slices.Equal(d.Encode(), c.Encode()) {
			t.Fatalf("seed %d: it does not survive an image: %v", seed, err)
		}
		var borrowed int
		for f := range s.Files() {
			g, ok := c.File(f.Inode)
			if !ok || g.Size != f.Size || g.Links != f.Links || len(g.Extents) != len(f.Extents) {
				t.Fatalf("seed %d: inode %d is %+v, want %+v", seed, f.Inode, g, f)
			}
			for i, e := range f.Extents {
				h := g.Extents[i]
				want := self
				if e.Container.Owner > 0 {
					want = s.Owners()[e.Container.Owner-1]
					want.URL = "over/" + want.URL
				}
				if h.Container.Owner == 0 || c.Owners()[h.Container.Owner-1] != want {
					t.Fatalf("seed %d: an extent of %+v went to owner %d of %+v", seed, e.Container, h.Container.Owner, c.Owners())
				}
				h.Container.Owner = e.Container.Owner
				if h != e {
					t.Fatalf("seed %d: extent %+v became %+v", seed, e, h)
				}
				borrowed++
			}
		}
		if got := c.Borrowed(); len(got) != borrowed {
			t.Fatalf("seed %d: %d extents are borrowed, listed %d", seed, borrowed, len(got))
		}
		for _, o := range c.Owners() {
			if o.Volume == ([16]byte{2}) {
				t.Fatalf("seed %d: a lender that nothing needs is named", seed)
			}
		}
		if !slices.Equal(before, s.Encode()) {
			t.Fatalf("seed %d: lending changed the lender", seed)
		}
	}
}

func TestLendNoFrames(t *testing.T) {
	s := New()
	ino := s.AllocInode()
	apply(t, s, &Op{Kind: Create, Path: "/f", Inode: ino})
	c := Container{Kind: Frame, Epoch: 1, Nonce: 2, Num: 3, CRC: 4}
	if err := s.Apply(&Op{Kind: Append, Inode: ino, Len: 5}, Extent{Container: c, Off: 88, Len: 5}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Lend(Owner{Volume: [16]byte{9}}, nil); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a frame was lent: %v", err)
	}
}
