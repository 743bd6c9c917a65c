package bench

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/forst-go/forst/engineadapter/pebblev2"
	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/fault"
	"github.com/forst-go/forst/forstfs/mem"
)

// BenchmarkWarmGets compares random Gets on a volume with those of the same Pebble on the plain local disk, in turns of 2,000: with a block cache of 8 MiB, where
// they come from the disk cache (target: at least 0.9 x), and with all of it in the block cache (target: at least 0.98 x).
func BenchmarkWarmGets(b *testing.B) {
	b.Run("disk", func(b *testing.B) { warmGets(b, 8<<20) })
	b.Run("block-cache", func(b *testing.B) { warmGets(b, 512<<20) })
}

func warmGets(b *testing.B, blocks int64) {
	options := func(fs vfs.FS) *pebble.Options {
		o := tuned(fs)
		o.CacheSize = blocks
		o.DisableAutomaticCompactions = true
		return o
	}
	fill := func(db *pebble.DB) {
		if err := Load(db, coldRecords, coldSize, 1); err != nil {
			b.Fatal(err)
		}
		if err := db.Compact(ctx, []byte{0}, []byte{255, 255}, true); err != nil {
			b.Fatal(err)
		}
	}
	local, err := pebble.Open(b.TempDir(), options(vfs.Default))
	if err != nil {
		b.Fatal(err)
	}
	fill(local)
	// The store answers as S3 does: a read that reaches it shows.
	bucket := mem.NewBucket(nil)
	v := volume(b, fault.New(handle(b, bucket), &fault.Options{Latency: fault.FixedLatency(0, getLatency, bandwidth)}), &forstfs.Options{
		CacheDir: b.TempDir(), CacheReserve: -1, CacheDiskBytes: 1 << 30, CacheBytes: 1 << 20, CacheMode: forstfs.CacheLocalOnly,
	})
	db, err := pebble.Open("/db", options(pebblev2.New(v)))
	if err != nil {
		b.Fatal(err)
	}
	fill(db)
	keys := loadedKeys(coldRecords, coldSize)
	for _, k := range keys { // to the end of warming up
		getKey(b, db, k)
		getKey(b, local, k)
	}
	const turn = 2000
	var ours, theirs span
	var ratios, work []float64
	r := rand.New(rand.NewPCG(9, 9))
	before := foreground(v)
	for b.Loop() {
		at := make([]int, turn)
		for i := range at {
			at[i] = r.IntN(len(keys))
		}
		gets := func(db *pebble.DB) span {
			start := started()
			for _, i := range at {
				getKey(b, db, keys[i])
			}
			return start.end()
		}
		var took, plain span
		if len(ratios)%2 == 0 { // whoever is second has the processor's caches of the first
			plain, took = gets(local), gets(db)
		} else {
			took, plain = gets(db), gets(local)
		}
		ours.add(took)
		theirs.add(plain)
		ratios = append(ratios, float64(plain.wall)/float64(took.wall))
		work = append(work, float64(plain.cpu)/float64(took.cpu))
	}
	slices.Sort(ratios)
	slices.Sort(work)
	per := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 / float64(b.N*turn) }
	b.ReportMetric(ratios[len(ratios)/2], "x-plain") // the median of the turns: others on the machine disturb some
	b.ReportMetric(work[len(work)/2], "x-plain-cpu") // of the process's processors, which others disturb less
	b.ReportMetric(per(ours.wall), "us/get")
	b.ReportMetric(per(theirs.wall), "us/get-plain")
	b.ReportMetric(per(ours.cpu), "cpu-us/get")
	b.ReportMetric(per(theirs.cpu), "cpu-us/get-plain")
	b.ReportMetric(float64(foreground(v)-before), "GETs")
	shut(b, v, db)
	if err := local.Close(); err != nil {
		b.Fatal(err)
	}
}
