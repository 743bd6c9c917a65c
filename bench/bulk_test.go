package bench

import (
	"context"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/forst-go/forst/engineadapter/pebblev2"
	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/local"
)

var ctx = context.Background()

// records is the size of the data set: FORST_BENCH_RECORDS, or a million.
func records() int {
	if n, err := strconv.Atoi(os.Getenv("FORST_BENCH_RECORDS")); err == nil {
		return n
	}
	return 1_000_000
}

func tuned(fs vfs.FS) *pebble.Options {
	o := &pebble.Options{FS: fs}
	pebblev2.Tune(o)
	o.Logger = quiet{}
	return o
}

type quiet struct{}

func (quiet) Infof(string, ...any)           {}
func (quiet) Errorf(string, ...any)          {}
func (quiet) Fatalf(format string, a ...any) { panic(format) }

// plain is Pebble with the same options on the local disk.
func plain(b testing.TB) *pebble.DB {
	b.Helper()
	db, err := pebble.Open(b.TempDir(), tuned(vfs.Default))
	if err != nil {
		b.Fatal(err)
	}
	return db
}

func volume(b testing.TB, s driver.Store, o *forstfs.Options) *forstfs.FS {
	b.Helper()
	if o == nil {
		o = &forstfs.Options{}
	}
	o.Create = forstfs.CreateIfMissing
	v, err := forstfs.Open(ctx, s, o)
	if err != nil {
		b.Fatal(err)
	}
	return v
}

func onVolume(b testing.TB, v *forstfs.FS) *pebble.DB {
	b.Helper()
	db, err := pebble.Open("/db", tuned(pebblev2.New(v)))
	if err != nil {
		b.Fatal(err)
	}
	return db
}

func localStore(b testing.TB) driver.Store {
	b.Helper()
	s, err := local.Open(ctx, b.TempDir(), nil)
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// bothModes runs with directory syncs that wait and with those that rely on the order.
func bothModes(b *testing.B, mk func(testing.TB) driver.Store) {
	b.Run("durable", func(b *testing.B) { loadBoth(b, mk, forstfs.Durable) })
	b.Run("ordered", func(b *testing.B) { loadBoth(b, mk, forstfs.Ordered) })
}

// loadBoth loads the same records on the plain disk and on a volume over the store that mk makes, in turns.
func loadBoth(b *testing.B, mk func(testing.TB) driver.Store, sync forstfs.DirSyncMode) {
	n := records()
	var onDisk, onVol time.Duration
	var last forstfs.Metrics
	for i := 0; b.Loop(); i++ {
		onDisk += timeLoad(b, plain(b), nil, n, uint64(i))
		v := volume(b, mk(b), &forstfs.Options{DirSync: sync})
		onVol += timeLoad(b, onVolume(b, v), v, n, uint64(i))
		last = v.Metrics()
		if err := v.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(onDisk)/float64(onVol), "x-local")
	b.ReportMetric(float64(n)*float64(b.N)/onVol.Seconds(), "records/s")
	report(b, last)
}

func timeLoad(b *testing.B, db *pebble.DB, v *forstfs.FS, n int, seed uint64) time.Duration {
	b.Helper()
	start := time.Now()
	if err := Load(db, n, 100, seed); err != nil {
		b.Fatal(err)
	}
	took := time.Since(start)
	if err := db.Close(); err != nil {
		b.Fatal(err)
	}
	return took
}

func report(b *testing.B, m forstfs.Metrics) {
	for _, r := range m.Store {
		b.ReportMetric(float64(r.Requests), string(r.Component)+"-"+r.Op+"s")
		if bytes := r.In + r.Out; bytes > 1<<20 {
			b.ReportMetric(float64(bytes>>20), string(r.Component)+"-"+r.Op+"-MiB")
		}
	}
}

// BenchmarkBulkLoadLocal: 1M keys of 100 B into file:///; target >= 0.8 x the plain local disk.
func BenchmarkBulkLoadLocal(b *testing.B) { bothModes(b, localStore) }

// BenchmarkBulkLoadInjected: the same over a store in memory with 28 ms PUT, 24 ms GET and 90 MB/s per connection; target >= 0.8 x the plain
// local disk.
func BenchmarkBulkLoadInjected(b *testing.B) {
	bothModes(b, injected)
}

// BenchmarkBulkLoadMinIO: the same on a real MinIO, which shares the machine; reported.
func BenchmarkBulkLoadMinIO(b *testing.B) { bothModes(b, onMinio) }
