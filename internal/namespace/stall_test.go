package namespace

import (
	"fmt"
	"testing"
)

// BenchmarkSubtree is how long a snapshot of a volume with 100,000 files holds up everything that is acknowledged beside it; Needed is what the ledger looks at.
func BenchmarkSubtree(b *testing.B) {
	s := New()
	for i := range 100_000 {
		ino := s.AllocInode()
		for _, op := range []Op{{Kind: Create, Path: fmt.Sprintf("/%06d.sst", i), Inode: ino, File: Bulk},
			{Kind: Extend, Inode: ino, Extents: []Extent{{Container{Kind: Object, CRC: 100, Epoch: 1, Nonce: 2, Num: uint64(i) + 1}, 0, 100}}}} {
			if err := s.Apply(&op, Extent{}); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("subtree", func(b *testing.B) {
		for b.Loop() {
			if _, err := s.Subtree("/"); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("freeze", func(b *testing.B) { // the part of it under the lock
		for b.Loop() {
			if _, err := s.Freeze("/"); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("begin", func(b *testing.B) { // and the pins, under the lock as well
		n := uint64(0)
		for b.Loop() {
			n++
			id := SnapshotID{1, 2, n}
			if err := s.Apply(&Op{Kind: SnapBegin, Path: "/", Time: 1, Snap: &SnapOp{ID: id, Name: "s"}}, Extent{}); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			if err := s.Apply(&Op{Kind: SnapRemove, Snap: &SnapOp{ID: id}}, Extent{}); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
	})
	b.Run("needed", func(b *testing.B) {
		for b.Loop() {
			n := 0
			for range s.Needed() {
				n++
			}
			if n != 100_000 {
				b.Fatal(n)
			}
		}
	})
}
