// Package compare measures forst's block cache beside other caches on the same traces. It is a module of its own, so that nobody who uses forst has their
// modules in his build: make compare.
package compare

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/golang-lru/arc/v2"
	"github.com/maypok86/otter/v2"

	"github.com/forst-go/forst/cache"
	"github.com/forst-go/forst/cache/disk"
)

// access is one use of a block by the foreground, or by a scan, which is traffic but neither a hit nor a miss.
type access struct {
	key  uint64
	scan bool
}

// zipf draws ranks by Gray's method with exponent 0.99 and spreads them over the keys, a power of two.
func zipf(seed uint64, n int) func() uint64 {
	const theta = 0.99
	rnd := rand.New(rand.NewPCG(seed, 1))
	zetan := 0.0
	for i := 1; i <= n; i++ {
		zetan += math.Pow(1/float64(i), theta)
	}
	alpha := 1 / (1 - theta)
	eta := (1 - math.Pow(2/float64(n), 1-theta)) / (1 - (1+math.Pow(0.5, theta))/zetan)
	return func() uint64 {
		u := rnd.Float64()
		rank := uint64(0)
		switch uz := u * zetan; {
		case uz < 1:
		case uz < 1+math.Pow(0.5, theta):
			rank = 1
		default:
			rank = uint64(float64(n) * math.Pow(eta*u-eta+1, alpha))
		}
		return rank * 0x9e3779b1 % uint64(n)
	}
}

// synthetic is zipf with, if scans, one access in five by a scan over all keys.
func synthetic(keys, ops int, scans bool) []access {
	next := zipf(42, keys)
	tr := make([]access, ops)
	at := uint64(0)
	for i := range tr {
		if scans && i%5 == 0 {
			tr[i] = access{at % uint64(keys), true}
			at++
		} else {
			tr[i] = access{next(), false}
		}
	}
	return tr
}

// recorder notes which blocks of 32 KiB of tables Pebble reads.
type recorder struct {
	vfs.FS
	mu    sync.Mutex
	trace []access
	on    bool
}

func (r *recorder) Open(name string, o ...vfs.OpenOption) (vfs.File, error) {
	f, err := r.FS.Open(name, o...)
	if err != nil || !strings.HasSuffix(name, ".sst") {
		return f, err
	}
	scan := false
	for _, x := range o {
		scan = scan || x == vfs.SequentialReadsOption
	}
	base := name[strings.LastIndexByte(name, '/')+1:]
	num, _ := strconv.ParseUint(strings.TrimSuffix(base, ".sst"), 10, 64)
	return &recorded{f, r, num, scan}, nil
}

type recorded struct {
	vfs.File
	r    *recorder
	num  uint64
	scan bool
}

func (f *recorded) ReadAt(p []byte, off int64) (int, error) {
	f.r.mu.Lock()
	for b := off >> 15; f.r.on && b<<15 < off+int64(len(p)); b++ {
		f.r.trace = append(f.r.trace, access{f.num<<20 | uint64(b), f.scan})
	}
	f.r.mu.Unlock()
	return f.File.ReadAt(p, off)
}

// pebbleTrace records a database of 100-byte values with a block cache of 1 MiB: zipf Gets, one short scan in 50, one long one in 2,000, and updates that
// keep compactions going, so that blocks die.
func pebbleTrace(tb testing.TB, records, ops int) []access {
	r := &recorder{FS: vfs.NewMem()}
	o := &pebble.Options{FS: r, CacheSize: 1 << 20, MemTableSize: 4 << 20, Logger: quiet{}}
	o.Levels[0].FilterPolicy = bloom.FilterPolicy(10)
	o.Levels[0].BlockSize = 32 << 10
	db, err := pebble.Open("db", o)
	if err != nil {
		tb.Fatal(err)
	}
	defer db.Close()
	rnd := rand.New(rand.NewPCG(7, 7))
	next := zipf(11, records)
	key := func(i uint64) []byte { return binary.BigEndian.AppendUint64(nil, i*0x9e3779b97f4a7c15) }
	value := make([]byte, 100)
	set := func(i uint64) {
		for j := range value {
			value[j] = byte(rnd.Uint32())
		}
		if err := db.Set(key(i), value, pebble.NoSync); err != nil {
			tb.Fatal(err)
		}
	}
	for i := range uint64(records) {
		set(i)
	}
	if err := db.Flush(); err != nil {
		tb.Fatal(err)
	}
	r.mu.Lock()
	r.on = true
	r.mu.Unlock()
	for i := range ops {
		switch {
		case i%10 == 0:
			set(next())
		case i%50 == 1, i%2000 == 3:
			rows := 10
			if i%2000 == 3 {
				rows = records / 20
			}
			it, err := db.NewIter(nil)
			if err != nil {
				tb.Fatal(err)
			}
			for ok := it.SeekGE(key(next())); ok && rows > 0; ok = it.Next() {
				rows--
			}
			it.Close()
		default:
			_, c, err := db.Get(key(next()))
			if err != nil {
				tb.Fatal(err)
			}
			c.Close()
		}
	}
	return r.trace
}

type quiet struct{}

func (quiet) Infof(string, ...any)           {}
func (quiet) Errorf(string, ...any)          {}
func (quiet) Fatalf(format string, a ...any) { panic(fmt.Sprintf(format, a...)) }

// policy reports a hit, and takes the key if it was none.
type policy struct {
	name string
	make func(entries int) (use func(a access) bool, end func())
}

var policies = []policy{
	{"forst", func(n int) (func(access) bool, func()) {
		const block = 512
		c, err := cache.New(&cache.Options{Memory: int64(n) * block, BlockSize: block, SkipVerify: true})
		if err != nil {
			panic(err)
		}
		data, p := make([]byte, block), make([]byte, 1)
		return func(a access) bool {
			id := cache.ID{Volume: [16]byte{1}, Nonce: 1, Num: a.key >> 9, Kind: cache.KindObject}
			hint := cache.Random
			if a.scan {
				hint = cache.Sequential // as forstfs reads it: neither kept nor promoted
			}
			if c.LookupFor(id, p, int64(a.key&511)*block, hint, cache.ReasonRead) {
				return true
			}
			if !a.scan {
				c.Insert(id, 512*block, int64(a.key&511)*block, data, cache.ReasonRead)
			}
			return false
		}, func() { c.Close() }
	}},
	{"forst-no-hint", func(n int) (func(access) bool, func()) {
		const block = 512
		c, err := cache.New(&cache.Options{Memory: int64(n) * block, BlockSize: block, SkipVerify: true})
		if err != nil {
			panic(err)
		}
		data, p := make([]byte, block), make([]byte, 1)
		return func(a access) bool {
			id := cache.ID{Volume: [16]byte{1}, Nonce: 1, Num: a.key >> 9, Kind: cache.KindObject}
			if c.Lookup(id, p, int64(a.key&511)*block) {
				return true
			}
			c.Insert(id, 512*block, int64(a.key&511)*block, data, cache.ReasonRead)
			return false
		}, func() { c.Close() }
	}},
	{"arc", func(n int) (func(access) bool, func()) {
		c, err := arc.NewARC[uint64, struct{}](n)
		if err != nil {
			panic(err)
		}
		return func(a access) bool {
			if _, ok := c.Get(a.key); ok {
				return true
			}
			c.Add(a.key, struct{}{})
			return false
		}, func() {}
	}},
	{"otter", func(n int) (func(access) bool, func()) {
		c, err := otter.New(&otter.Options[uint64, struct{}]{MaximumSize: n, Executor: func(fn func()) { fn() }})
		if err != nil {
			panic(err)
		}
		return func(a access) bool {
			if _, ok := c.GetIfPresent(a.key); ok {
				return true
			}
			c.Set(a.key, struct{}{})
			return false
		}, func() {}
	}},
}

// TestHitRatio prints the hit ratio of the foreground, in percent, after the first quarter of each trace, and demands that forst's cache is within 1.5 points of
// the best of the others, without the hint that scans give it.
func TestHitRatio(t *testing.T) {
	for _, tr := range allTraces(t) {
		for _, percent := range []int{1, 10} {
			n := max(tr.blocks*percent/100, 16)
			var line bytes.Buffer
			ratios := map[string]float64{}
			for _, p := range policies {
				use, end := p.make(n)
				hits, all := 0, 0
				for i, a := range tr.trace {
					hit := use(a)
					if i >= len(tr.trace)/4 && !a.scan {
						all++
						if hit {
							hits++
						}
					}
				}
				end()
				ratios[p.name] = 100 * float64(hits) / float64(all)
				fmt.Fprintf(&line, "  %s %.2f", p.name, ratios[p.name])
			}
			t.Logf("%-22s cache %2d %% (%d blocks):%s", tr.name, percent, n, &line)
			if best := max(ratios["arc"], ratios["otter"]); ratios["forst"] < best-1.5 {
				t.Errorf("%s, %d %%: %.2f, the best of the others has %.2f", tr.name, percent, ratios["forst"], best)
			}
		}
	}
}

// blockTrace is a trace and the number of different blocks in it.
type blockTrace struct {
	name   string
	trace  []access
	blocks int
}

// allTraces are a quarter of their length, whole with FORST_FULL.
func allTraces(t *testing.T) []blockTrace {
	scale := 4
	if os.Getenv("FORST_FULL") != "" {
		scale = 1
	}
	keys, ops := 1<<20/scale, 4<<20/scale
	recorded := blockTrace{name: "Pebble blocks", trace: pebbleTrace(t, 1_200_000/scale, 400_000/scale)}
	seen := map[uint64]bool{}
	for _, a := range recorded.trace {
		seen[a.key] = true
	}
	recorded.blocks = len(seen)
	return []blockTrace{
		{"zipf 0.99", synthetic(keys, ops, false), keys},
		{"zipf 0.99, 20 % scan", synthetic(keys, ops, true), keys},
		recorded,
	}
}

// TestAdmission prints what the disk tier's admission costs and saves: the hit ratio of the foreground and the blocks written, for a tier that is given all that is
// fetched and for one that is offered it. It demands half of the writes for at most a point.
func TestAdmission(t *testing.T) {
	const size = 512
	for _, tr := range allTraces(t) {
		for _, percent := range []int{1, 10} {
			n := int64(tr.blocks * percent / 100)
			if n < 100 {
				continue // a tier has segments of at least 16 blocks
			}
			var ratio [2]float64
			var written [2]int64
			for i := range ratio {
				d, err := disk.Open(&disk.Options{Dir: t.TempDir(), Size: n * (size + 128), Reserve: -1, BlockSize: size, Buffer: size})
				if err != nil {
					t.Fatal(err)
				}
				give := []func(*disk.Tier, disk.ID, int64, uint32, []byte){(*disk.Tier).PutWait, (*disk.Tier).Offer}[i]
				data, hits, all := make([]byte, size), 0, 0
				for k, a := range tr.trace {
					id, block := disk.ID{Volume: [16]byte{1}, Nonce: 1, Num: a.key >> 9, Kind: 1}, uint32(a.key&511)
					hit := d.Get(id, block, 0, data)
					if !hit {
						give(d, id, 512*size, block, data)
						if d.Has(id, block) {
							d.PutWait(id, 512*size, block, data) // has nothing to do, and waits for the only buffer: what waits for its write would be a cache of its own
						}
					}
					if k >= len(tr.trace)/4 && !a.scan {
						all++
						if hit {
							hits++
						}
					}
				}
				if err := d.Close(); err != nil { // writes what waits
					t.Fatal(err)
				}
				m := d.Metrics()
				ratio[i], written[i] = 100*float64(hits)/float64(all), m.Written
				if m.Declined > 0 {
					t.Errorf("%d blocks were declined: this proves nothing", m.Declined)
				}
			}
			t.Logf("%-22s cache %2d %%: %.2f %% with %d writes, all taken: %.2f %% with %d", tr.name, percent, ratio[1], written[1], ratio[0], written[0])
			if ratio[1] < ratio[0]-1 || written[1] > written[0]/2 {
				t.Error("want half of the writes for at most a point")
			}
		}
	}
}
