package disk

import (
	"math"
	"math/rand/v2"
	"sort"
	"testing"
)

// zipf draws block numbers below n with the exponent 0.99.
type zipf struct {
	sums []float64
	rnd  *rand.Rand
}

func newZipf(n int) *zipf {
	z := &zipf{sums: make([]float64, n), rnd: rand.New(rand.NewPCG(1, 99))}
	sum := 0.0
	for i := range z.sums {
		sum += math.Pow(float64(i+1), -0.99)
		z.sums[i] = sum
	}
	return z
}

func (z *zipf) next() int {
	n := len(z.sums)
	rank := sort.SearchFloat64s(z.sums, z.rnd.Float64()*z.sums[n-1])
	return rank * 7919 % n // a prime: neighbours in rank are no neighbours in the objects
}

// After a restart the hit ratio is within one point of what it was before, and of that of a cache that was not restarted; after a crash, of which the
// policy learns nothing, within three.
func TestHitRatioAfterRestart(t *testing.T) {
	const bs, objects, each, slots, turn = 512, 100, 64, 640, 20_000 // the cache holds a tenth
	data := make([]byte, bs)
	open := func(dir string) *Tier {
		// 16 segments of 40 slots, each with a page for its header and its records of 128 bytes
		return openTier(t, &Options{Dir: dir, Size: 16 * newLayout(bs, slots/16).size(), Reserve: -1, BlockSize: bs, Buffer: 4 * bs})
	}
	dirs := []string{t.TempDir(), t.TempDir(), t.TempDir()}
	caches := make([]*Tier, len(dirs))
	for i, dir := range dirs {
		caches[i] = open(dir)
	}
	z := newZipf(objects * each)
	run := func(requests int) (ratio [3]float64) {
		for range requests {
			n := z.next()
			id, block := testID(uint64(n/each)), uint32(n%each)
			for i, c := range caches {
				if c.Get(id, block, 0, data) {
					ratio[i] += 100 / float64(requests)
				} else {
					c.Offer(id, each*bs, block, data)
					c.idle()
				}
			}
		}
		return ratio
	}
	run(2 * turn)
	before := run(turn)
	if err := caches[1].Close(); err != nil {
		t.Fatal(err)
	}
	crashed := caches[2]
	if err := crashed.dir.unlock(); err != nil { // its process is dead: it closes nothing
		t.Fatal(err)
	}
	crashed.dir.unlock = func() error { return nil }
	caches[1], caches[2] = open(dirs[1]), open(dirs[2])
	after := run(turn)
	m := caches[1].Metrics()
	t.Logf("%d blocks; %.1f %% before; then %.1f %%, restarted %.1f %%, after a crash %.1f %%", m.Blocks, before[0], after[0], after[1], after[2])
	if m.Loaded < slots/2 {
		t.Errorf("%d blocks were found of %d: %v", m.Loaded, slots, m)
	}
	if after[1] < after[0]-1 || after[1] < before[1]-1 {
		t.Error("restarted: more than a point lost")
	}
	if after[2] < after[0]-3 {
		t.Error("crashed: more than three points lost")
	}
}
