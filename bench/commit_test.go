package bench

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/forst-go/forst"
	"github.com/forst-go/forst/engineadapter/pebblev2"
	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/fault"
	"github.com/forst-go/forst/forstfs/mem"
	"github.com/forst-go/forst/internal/testenv"
)

// injected is a store in memory behind S3's published median latencies and one connection's bandwidth.
func injected(tb testing.TB) driver.Store {
	return fault.New(mem.New(&mem.Options{}), &fault.Options{Latency: fault.FixedLatency(28*time.Millisecond, 24*time.Millisecond, 90e6)})
}

func onMinio(tb testing.TB) driver.Store {
	tb.Helper()
	testenv.Need(tb, "s3")
	s, err := forst.OpenStore(ctx, testenv.S3(tb).URL(tb))
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// rawPut puts objects of a WAL record's size, as a client without any database would.
func rawPut(s driver.Store, name string, size int, l *Latencies) error {
	data := make([]byte, size)
	start := time.Now()
	err := s.Put(driver.WithComponent(ctx, driver.CompCommit), name, data, driver.PutOptions{IfAbsent: true})
	l.Add(time.Since(start))
	return err
}

// BenchmarkCommitMinIO: one Pebble commit with Sync beside one raw PUT of the same size on the same server, in turns. Targets: exactly 1 PUT for a
// commit, bytes that do not grow with the WAL, p50 <= 1.1 x raw.
func BenchmarkCommitMinIO(b *testing.B) {
	raw := onMinio(b)
	defer raw.Close()
	v := volume(b, onMinio(b), nil)
	db := onVolume(b, v)
	var puts, commits Latencies
	before := v.Metrics().Store
	for i := 0; b.Loop(); i++ {
		if err := rawPut(raw, fmt.Sprintf("raw/%08d", i), 300, &puts); err != nil {
			b.Fatal(err)
		}
		if err := Commit(db, uint64(i), 100, &commits); err != nil {
			b.Fatal(err)
		}
	}
	after := v.Metrics().Store
	n := float64(b.N)
	b.ReportMetric(float64(commits.Quantile(.5))/float64(puts.Quantile(.5)), "p50-x-raw")
	b.ReportMetric(float64(commits.Quantile(.5).Microseconds()), "commit-p50-us")
	b.ReportMetric(float64(puts.Quantile(.5).Microseconds()), "raw-p50-us")
	did := after.Sub(before)
	sent := did.Sum("put", "")
	b.ReportMetric(float64(sent.Requests)/n, "PUTs/commit")
	b.ReportMetric(float64(sent.Out)/n, "B/commit")
	b.ReportMetric(float64(did.Sum("", "").Requests-sent.Requests)/n, "other-requests/commit")
	closeBoth(b, db, v)
}

func closeBoth(b *testing.B, db *pebble.DB, v *forstfs.FS) {
	b.Helper()
	if err := db.Close(); err != nil {
		b.Fatal(err)
	}
	if err := v.Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkCommit64Injected: 64 goroutines that commit with Sync, over 28 ms PUTs. Target >= 0.8 x (64 / raw PUT p50) commits/s.
func BenchmarkCommit64Injected(b *testing.B) {
	raw := injected(b)
	defer raw.Close()
	v := volume(b, injected(b), nil)
	db := onVolume(b, v)
	var puts, commits Latencies
	for i := range 20 {
		if err := rawPut(raw, fmt.Sprintf("raw/%08d", i), 300*64, &puts); err != nil {
			b.Fatal(err)
		}
	}
	var next atomic.Uint64
	var wg sync.WaitGroup
	start := time.Now()
	for range 64 {
		wg.Go(func() {
			for {
				i := next.Add(1)
				if i > uint64(b.N) {
					return
				}
				if err := Commit(db, i, 100, &commits); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	rate := float64(b.N) / time.Since(start).Seconds()
	b.ReportMetric(rate, "commits/s")
	b.ReportMetric(rate/(64/puts.Quantile(.5).Seconds()), "x-ideal")
	b.ReportMetric(float64(commits.Quantile(.5).Microseconds()), "p50-us")
	closeBoth(b, db, v)
}

// BenchmarkCommitDuringLoad: commits with Sync while tables are loaded into the same volume by another database, over the injected store.
// Target: p99 <= 2 x the p99 without the load.
func BenchmarkCommitDuringLoad(b *testing.B) {
	for b.Loop() {
		v := volume(b, injected(b), nil)
		db := onVolume(b, v)
		other, err := pebble.Open("/bulk", tuned(pebblev2.New(v)))
		if err != nil {
			b.Fatal(err)
		}
		var alone, loaded Latencies
		for i := range 300 {
			if err := Commit(db, uint64(i), 100, &alone); err != nil {
				b.Fatal(err)
			}
		}
		done := make(chan error, 1)
		run, cancel := context.WithCancel(ctx)
		go func() {
			var err error
			for seed := uint64(0); run.Err() == nil && err == nil; seed++ {
				err = Load(other, 200_000, 100, seed)
			}
			done <- err
		}()
		for i := range 300 {
			if err := Commit(db, uint64(1000+i), 100, &loaded); err != nil {
				b.Fatal(err)
			}
		}
		cancel()
		if err := <-done; err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(loaded.Quantile(.99))/float64(alone.Quantile(.99)), "p99-x-alone")
		b.ReportMetric(float64(alone.Quantile(.99).Microseconds()), "alone-p99-us")
		b.ReportMetric(float64(loaded.Quantile(.99).Microseconds()), "loaded-p99-us")
		if err := other.Close(); err != nil {
			b.Fatal(err)
		}
		closeBoth(b, db, v)
	}
}
