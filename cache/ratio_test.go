package cache

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// The traces of BenchmarkHitRatio: a Zipf law with exponent 0.99 over so many keys, as YCSB draws them; with scan, one
// operation in five is the next step of a cyclic scan over all keys, which counts as traffic but not as a hit or a miss.
const (
	ratioKeys = 1 << 20
	ratioOps  = 4 << 20
)

// zipf draws ranks by Gray's method; the ranks are spread over the keys.
type zipf struct {
	rnd                      *rand.Rand
	keys                     uint64
	n                        float64
	theta, alpha, zetan, eta float64
}

func newZipf(seed uint64, n int, theta float64) *zipf {
	z := &zipf{rnd: rand.New(rand.NewPCG(seed, 1)), keys: uint64(n), n: float64(n), theta: theta, alpha: 1 / (1 - theta)}
	for i := 1; i <= n; i++ {
		z.zetan += math.Pow(1/float64(i), theta)
	}
	z.eta = (1 - math.Pow(2/z.n, 1-theta)) / (1 - (1+math.Pow(0.5, theta))/z.zetan)
	return z
}

func (z *zipf) next() uint32 {
	u := z.rnd.Float64()
	uz := u * z.zetan
	rank := uint64(0)
	switch {
	case uz < 1:
	case uz < 1+math.Pow(0.5, z.theta):
		rank = 1
	default:
		rank = uint64(z.n * math.Pow(z.eta*u-z.eta+1, z.alpha))
	}
	return uint32(rank * 0x9e3779b1 % z.keys) // odd, and keys a power of two: a permutation
}

// policy is a cache of keys: it reports a hit, and takes the key if it was none.
type policy interface{ use(key uint32) bool }

type trace struct {
	name string
	run  func(p policy) (hits, ops int)
}

func traces(keys, ops int) []trace {
	mixed := func(every, repeat int) func(policy) (int, int) {
		return func(p policy) (hits, n int) {
			z := newZipf(42, keys, 0.99)
			scan := uint32(0)
			for i := range ops {
				if every > 0 && i%every == 0 {
					for range repeat {
						p.use(scan % uint32(keys))
					}
					scan++
					continue
				}
				hit := p.use(z.next())
				if i >= ops/4 { // warm
					n++
					if hit {
						hits++
					}
				}
			}
			return hits, n
		}
	}
	return []trace{
		{"zipf", mixed(0, 0)},
		{"zipf+scan", mixed(5, 1)},
		{"zipf+small-steps", mixed(5, 8)}, // the scan reads each block in eight steps
	}
}

// ours is the cache itself: a key is a block of an object of 512 blocks.
type ours struct {
	c    *Cache
	p    [1]byte
	data [minBlock]byte
}

func newOurs(entries int) *ours {
	c, err := New(&Options{Memory: int64(entries) * minBlock, BlockSize: minBlock, SkipVerify: true})
	if err != nil {
		panic(err)
	}
	return &ours{c: c}
}

func (o *ours) use(key uint32) bool {
	id, off := testID(uint64(key>>9)), int64(key&511)*minBlock
	if o.c.Lookup(id, o.p[:], off) {
		return true
	}
	o.c.Insert(id, 512*minBlock, off, o.data[:], ReasonRead)
	return false
}

type lruPolicy struct {
	l *simplelru.LRU[uint32, struct{}]
}

func newLRUPolicy(n int) lruPolicy {
	l, _ := simplelru.NewLRU[uint32, struct{}](n, nil)
	return lruPolicy{l}
}

func (l lruPolicy) use(key uint32) bool {
	if _, ok := l.l.Get(key); ok {
		return true
	}
	l.l.Add(key, struct{}{})
	return false
}

// s3fifo is the published algorithm, unsharded: a small queue of a tenth, promotion above one use, a ghost queue as long
// as the main queue, frequencies up to three.
type s3fifo struct {
	size                     int
	small, main, ghost       fifo
	freq                     map[uint32]uint8
	inSmall, inMain, inGhost map[uint32]bool
}

type fifo struct{ q []uint32 }

func (f *fifo) push(k uint32) { f.q = append(f.q, k) }

func (f *fifo) pop() uint32 {
	k := f.q[0]
	f.q = f.q[1:]
	return k
}

func newS3FIFO(n int) *s3fifo {
	return &s3fifo{size: n, freq: map[uint32]uint8{}, inSmall: map[uint32]bool{}, inMain: map[uint32]bool{}, inGhost: map[uint32]bool{}}
}

func (s *s3fifo) use(key uint32) bool {
	if s.inSmall[key] || s.inMain[key] {
		s.freq[key] = min(s.freq[key]+1, 3)
		return true
	}
	for len(s.inSmall)+len(s.inMain) >= s.size {
		s.evict()
	}
	s.freq[key] = 0
	if s.inGhost[key] {
		delete(s.inGhost, key)
		s.inMain[key] = true
		s.main.push(key)
	} else {
		s.inSmall[key] = true
		s.small.push(key)
	}
	return false
}

func (s *s3fifo) evict() {
	if len(s.inSmall) >= s.size/10 {
		for len(s.inSmall) > 0 {
			k := s.small.pop()
			delete(s.inSmall, k)
			if s.freq[k] > 1 {
				s.inMain[k] = true
				s.main.push(k)
				continue
			}
			delete(s.freq, k)
			s.ghost.push(k)
			s.inGhost[k] = true
			for len(s.ghost.q) > s.size*9/10 {
				delete(s.inGhost, s.ghost.pop())
			}
			return
		}
	}
	for len(s.inMain) > 0 {
		k := s.main.pop()
		if s.freq[k] > 0 {
			s.freq[k]--
			s.main.push(k)
			continue
		}
		delete(s.inMain, k)
		delete(s.freq, k)
		return
	}
}

// BenchmarkHitRatio reports the hit ratio of the foreground in percent, and how far it is from plain LRU and from the
// published S3-FIFO, on the same trace.
func BenchmarkHitRatio(b *testing.B) {
	for _, tr := range traces(ratioKeys, ratioOps) {
		for _, percent := range []int{1, 10} {
			b.Run(fmt.Sprintf("%s/cache=%d%%", tr.name, percent), func(b *testing.B) {
				n := ratioKeys * percent / 100
				ratio := func(p policy) float64 {
					hits, ops := tr.run(p)
					return 100 * float64(hits) / float64(ops)
				}
				for range b.N {
					o := newOurs(n)
					mine := ratio(o)
					o.c.Close()
					b.ReportMetric(mine, "%hit")
					b.ReportMetric(mine-ratio(newLRUPolicy(n)), "points-over-LRU")
					b.ReportMetric(mine-ratio(newS3FIFO(n)), "points-over-S3-FIFO")
				}
			})
		}
	}
}

// TestHitRatio holds the policy on a short trace: far above plain LRU, not far below the published algorithm.
func TestHitRatio(t *testing.T) {
	const keys = ratioKeys / 32
	for _, tr := range traces(keys, ratioOps/32) {
		n := keys / 100
		ratio := func(p policy) float64 {
			hits, ops := tr.run(p)
			return 100 * float64(hits) / float64(ops)
		}
		o := newOurs(n)
		mine, lru, best := ratio(o), ratio(newLRUPolicy(n)), ratio(newS3FIFO(n))
		if err := o.c.Close(); err != nil {
			t.Error(err)
		}
		t.Logf("%s: %.2f %%, LRU %.2f %%, S3-FIFO %.2f %%", tr.name, mine, lru, best)
		if mine < lru+5 || mine < best-1.5 {
			t.Errorf("%s: %.2f %%, want 5 points over LRU (%.2f %%) and at most 1.5 below S3-FIFO (%.2f %%)", tr.name, mine, lru, best)
		}
	}
}
