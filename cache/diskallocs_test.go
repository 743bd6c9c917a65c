//go:build !race

package cache

import (
	"bytes"
	"testing"
)

// Not under the race detector, with which a sync.Pool loses what it holds now and then.

// TestDiskHitsDoNotAllocate: LookupAll serves from the disk tier without a fetch and without an allocation, over the borders of blocks, too, and with
// a size of 0 as with the object's.
func TestDiskHitsDoNotAllocate(t *testing.T) {
	dir := t.TempDir()
	s := &testSource{num: 1, size: 200 * kib}
	id := s.object().ID
	c := newCache(t, twoTiers(dir))
	c.Insert(id, s.size, 0, content(1, 0, s.size), ReasonWrite)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c = newCache(t, twoTiers(dir)) // memory is empty, the disk is not
	p := make([]byte, 3*kib)
	at := int64(0)
	for _, size := range []int64{s.size, 0} {
		before := c.Metrics().Reasons[ReasonRead].DiskHits
		if n := testing.AllocsPerRun(200, func() {
			at = (at + 7*kib + 100) % (s.size - 3*kib)
			if !c.LookupAll(id, size, p, at, Random, ReasonRead) {
				panic("a miss")
			}
		}); n != 0 {
			t.Errorf("size %d: %v allocations, want 0", size, n)
		}
		if !bytes.Equal(p, content(1, at, int64(len(p)))) {
			t.Errorf("size %d: other bytes", size)
		}
		if hits := c.Metrics().Reasons[ReasonRead].DiskHits - before; hits < 400 {
			t.Errorf("size %d: %d blocks from the disk: the test does not see what it is for", size, hits)
		}
	}
	if c.LookupAll(id, s.size, p, s.size-1, Random, ReasonRead) || c.LookupAll(id, 0, p, -1, Random, ReasonRead) || c.LookupAll(testID(7), 0, p, 0, Random, ReasonRead) {
		t.Error("found what does not exist")
	}
}
