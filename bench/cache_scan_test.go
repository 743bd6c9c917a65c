package bench

import (
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/fault"
	"github.com/forst-go/forst/forstfs/mem"
)

// What follows runs in virtual time, where the processor costs nothing: the times are those that the requests take, one after the other, and the same on every
// machine.

// TestColdReadLatency compares reads of 32 KiB, the size of a block of a table, at random places of a cold file with raw GETs of as many bytes. The cache's own
// blocks are not aligned to the table's, so that twice the bytes are fetched.
func TestColdReadLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := mem.NewBucket(nil)
		v := volume(t, handle(t, b), nil)
		const size = 64 << 20
		if err := table(v, "/000001.sst", size); err != nil {
			t.Fatal(err)
		}
		if err := v.Close(); err != nil {
			t.Fatal(err)
		}
		s := fault.New(handle(t, b), &fault.Options{Latency: fault.FixedLatency(28*time.Millisecond, getLatency, bandwidth)})
		v = volume(t, s, &forstfs.Options{CacheBytes: 16 << 20})
		f, err := v.Open(ctx, "/000001.sst", &forstfs.OpenOptions{Access: forstfs.AccessRandom})
		if err != nil {
			t.Fatal(err)
		}
		var ours, raw Latencies
		p := make([]byte, 32<<10)
		r := rand.New(rand.NewPCG(1, 1))
		for range 300 {
			off := r.Int64N(size - 32<<10)
			g := foreground(v)
			start := time.Now()
			if _, err := f.ReadAt(p, off); err != nil {
				t.Fatal(err)
			}
			if foreground(v) > g {
				ours.Add(time.Since(start))
			}
		}
		raw.Add(getLatency + (32<<10)*time.Second/bandwidth)
		ratio := float64(ours.Quantile(.5)) / float64(raw.Quantile(.5))
		t.Logf("cold reads: %v; raw GET: %v; p50 ratio %.3f", &ours, raw.Quantile(.5), ratio)
		if ratio > 1.1 {
			t.Error("want at most 1.1 x")
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if err := v.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestColdScan reads a large file from start to end and compares with raw ranged GETs, as many at once and as large. Nightly it has 1 GiB.
func TestColdScan(t *testing.T) {
	size := 128 << 20
	if os.Getenv("FORST_NIGHTLY") != "" {
		size = 1 << 30
	}
	synctest.Test(t, func(t *testing.T) {
		b := mem.NewBucket(nil)
		v := volume(t, handle(t, b), nil)
		if err := table(v, "/000001.sst", size); err != nil {
			t.Fatal(err)
		}
		if err := v.Close(); err != nil {
			t.Fatal(err)
		}
		s := fault.New(handle(t, b), &fault.Options{Latency: fault.FixedLatency(28*time.Millisecond, getLatency, bandwidth)})
		v = volume(t, s, nil)
		f, err := v.Open(ctx, "/000001.sst", &forstfs.OpenOptions{Access: forstfs.AccessSequential})
		if err != nil {
			t.Fatal(err)
		}
		p := make([]byte, 256<<10)
		most := int64(0)
		start := time.Now()
		for off := int64(0); off < int64(size); off += int64(len(p)) {
			if _, err := f.ReadAt(p, off); err != nil {
				t.Fatal(err)
			}
			most = max(most, v.Metrics().AheadMemory)
		}
		ours := time.Since(start)
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		const deep, part = 3, 8 << 20 // as the read-ahead
		raw := rawRanges(t, s, size, deep, part)
		t.Logf("%d MiB: %v, raw ranged GETs %v: %.2f x their speed; at most %d bytes read ahead", size>>20, ours, raw, float64(raw)/float64(ours), most)
		if float64(raw)/float64(ours) < 0.9 || most > deep*part {
			t.Errorf("want at least 0.9 x, and at most %d bytes", deep*part)
		}
		if err := v.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// rawRanges fetches as many bytes from the data objects in ranges, some at once, without a volume.
func rawRanges(t testing.TB, s driver.Store, size, deep, part int) time.Duration {
	t.Helper()
	type rng struct {
		key    string
		off, n int64
	}
	work := make(chan rng, size/part*4+1000)
	left := int64(size)
	for info, err := range s.List(ctx, "data/", "") {
		if err != nil {
			t.Fatal(err)
		}
		for off := int64(0); off < info.Size && left > 0; off += int64(part) {
			n := min(int64(part), info.Size-off, left)
			left -= n
			work <- rng{info.Key, off, n}
		}
	}
	close(work)
	var wg sync.WaitGroup
	start := time.Now()
	for range deep {
		wg.Go(func() {
			for w := range work {
				p := make([]byte, w.n)
				if err := driver.ReadFull(ctx, s, w.key, w.off, p); err != nil {
					panic(fmt.Sprint(err))
				}
			}
		})
	}
	wg.Wait()
	return time.Since(start)
}

// BenchmarkColdScanPebble reads a cold database of 80 MB from its first key to its last, in real time, beside raw ranged GETs of as many bytes in turns. There is no
// target: Pebble opens one table after the other and says how far it reads ahead.
func BenchmarkColdScanPebble(b *testing.B) {
	home := coldHome(b)
	raw := fault.New(handle(b, home), &fault.Options{Latency: fault.FixedLatency(28*time.Millisecond, getLatency, bandwidth)})
	var ours, theirs time.Duration
	var bytes int64
	rows := 0
	for b.Loop() {
		v, db := cold(b, home, true, 8<<20, nil)
		before := v.Metrics().Store.Sum("get", "").In
		start := time.Now()
		it, err := db.NewIter(nil)
		if err != nil {
			b.Fatal(err)
		}
		for ok := it.First(); ok; ok = it.Next() {
			rows++
		}
		if err := it.Close(); err != nil {
			b.Fatal(err)
		}
		ours += time.Since(start)
		fetched := v.Metrics().Store.Sum("get", "").In - before
		bytes += fetched
		shut(b, v, db)
		theirs += rawRanges(b, raw, int(fetched), 3, 8<<20)
	}
	if rows != b.N*coldRecords {
		b.Fatalf("%d rows, want %d", rows, b.N*coldRecords)
	}
	b.ReportMetric(float64(theirs)/float64(ours), "x-raw")
	b.ReportMetric(float64(bytes)/1e6/float64(b.N), "MB")
	if err := raw.Close(); err != nil {
		b.Fatal(err)
	}
}
