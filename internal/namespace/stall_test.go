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
