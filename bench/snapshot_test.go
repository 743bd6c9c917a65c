package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/forst-go/forst/engineadapter/pebblev2"
	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/fault"
	"github.com/forst-go/forst/forstfs/mem"
)

// TestSnapshotAnySize measures in virtual time, over 28 ms PUTs and 24 ms GETs, what a checkpoint of a database costs that has everything in its volume: a synced log record and a
// snapshot. The small volume has 1 table of 16 MiB, the large one 4 (with FORST_NIGHTLY=1 64: 1 GiB) and 1,024 names that link to them (as many as 16 GiB have).
func TestSnapshotAnySize(t *testing.T) {
	measure := func(tables, links int) (took time.Duration, sent int64) {
		synctest.Test(t, func(t *testing.T) {
			v := volume(t, injected(t), &forstfs.Options{CacheBytes: -1})
			for i := range tables {
				if err := table(v, fmt.Sprintf("%06d.sst", i), 16<<20); err != nil {
					t.Fatal(err)
				}
			}
			for i := range links {
				if err := v.Link(ctx, fmt.Sprintf("%06d.sst", i%tables), fmt.Sprintf("1%05d.sst", i)); err != nil {
					t.Fatal(err)
				}
			}
			wal, err := v.Create(ctx, "000001.log", nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := wal.Write(make([]byte, 1000)); err != nil {
				t.Fatal(err)
			}
			if err := v.Checkpoint(ctx); err != nil {
				t.Fatal(err)
			}
			before, start := v.Metrics().Store, time.Now()
			if err := wal.Sync(); err != nil {
				t.Fatal(err)
			}
			if _, err := v.Snapshot(ctx, "s", nil); err != nil {
				t.Fatal(err)
			}
			took = time.Since(start)
			sent = v.Metrics().Store.Sub(before).Sum("put", "").Out
			if err := wal.Close(); err != nil {
				t.Fatal(err)
			}
			if err := v.Close(); err != nil {
				t.Fatal(err)
			}
		})
		return took, sent
	}
	small, smallSent := measure(1, 0)
	tables := 4
	if os.Getenv("FORST_NIGHTLY") != "" {
		tables = 64
	}
	large, largeSent := measure(tables, 1024)
	t.Logf("16 MiB: %v, %d bytes sent; %d MiB and 1,024 links: %v, %d bytes sent", small, smallSent, tables*16, large, largeSent)
	if large > small*6/5 || large > 5*28*time.Millisecond {
		t.Errorf("the large one takes %v, the small one %v", large, small)
	}
	if largeSent > 1<<20 {
		t.Errorf("%d bytes were sent", largeSent)
	}
}

// TestCloneAnySize measures in virtual time, over 28 ms PUTs and 24 ms GETs, what a clone of a volume with 1 table of 16 MiB costs, and of one with 4 and 1,024 names that link to them.
func TestCloneAnySize(t *testing.T) {
	measure := func(tables, links int) (took time.Duration, copied int64) {
		synctest.Test(t, func(t *testing.T) {
			b := mem.NewBucket(nil)
			at := func(name string) driver.Store {
				s, err := b.Open(name)
				check(t, err)
				return fault.New(s, &fault.Options{Latency: fault.FixedLatency(28*time.Millisecond, 24*time.Millisecond, 90e6)})
			}
			v := volume(t, at("a"), &forstfs.Options{CacheBytes: -1})
			for i := range tables {
				check(t, table(v, fmt.Sprintf("%06d.sst", i), 16<<20))
			}
			for i := range links {
				check(t, v.Link(ctx, fmt.Sprintf("%06d.sst", i%tables), fmt.Sprintf("1%05d.sst", i)))
			}
			_, err := v.Snapshot(ctx, "s", nil)
			check(t, err)
			src, dst := at("a"), at("b")
			start := time.Now()
			info, err := forstfs.Clone(ctx, src, "s", dst, &forstfs.CloneOptions{SourceURL: "../a", CloneURL: "../b"})
			check(t, err)
			took, copied = time.Since(start), info.Copied
			check(t, src.Close())
			check(t, dst.Close())
			check(t, v.Close())
		})
		return took, copied
	}
	small, smallCopied := measure(1, 0)
	large, largeCopied := measure(4, 1024)
	t.Logf("clone of 16 MiB: %v; of 64 MiB and 1,024 links: %v", small, large)
	if large > small*6/5 || large > 9*28*time.Millisecond {
		t.Errorf("a clone of the large one takes %v, of the small one %v", large, small)
	}
	if smallCopied+largeCopied != 0 {
		t.Errorf("%d and %d bytes were copied", smallCopied, largeCopied)
	}
}

// connections run so many transfers at a time.
type connections struct {
	free chan struct{}
	mu   sync.Mutex
	errs []error
}

func newConnections(n int) *connections { return &connections{free: make(chan struct{}, n)} }

func (c *connections) do(fn func() error) {
	c.free <- struct{}{}
	go func() {
		defer func() { <-c.free }()
		if err := fn(); err != nil {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.errs = append(c.errs, err)
		}
	}()
}

// wait waits for what was begun.
func (c *connections) wait() error {
	for range cap(c.free) {
		c.free <- struct{}{}
	}
	for range cap(c.free) {
		<-c.free
	}
	return errors.Join(c.errs...)
}

// upload puts the files of a directory that are not in seen yet, by some connections, as backups do.
func upload(tb testing.TB, s driver.Store, dir string, seen map[string]bool, n int) (bytes int64) {
	entries, err := os.ReadDir(dir)
	check(tb, err)
	g := newConnections(n)
	var sent atomic.Int64
	for _, e := range entries {
		if e.IsDir() || seen[e.Name()] {
			continue
		}
		if strings.HasSuffix(e.Name(), ".sst") {
			seen[e.Name()] = true // all else may change under its name
		}
		g.do(func() error {
			data, err := os.ReadFile(filepath.Join(dir, e.Name()))
			if err != nil {
				return err
			}
			sent.Add(int64(len(data)))
			return s.Put(ctx, "backup/"+filepath.Base(dir)+"/"+e.Name(), data, driver.PutOptions{})
		})
	}
	check(tb, g.wait())
	return sent.Load()
}

// BenchmarkCheckpointAgainstUpload: a checkpoint of a database on a volume, against db.Checkpoint to a local directory and the upload of the files that are new since the
// last one, in turns; both have FORST_BENCH_RECORDS new records of 1,000 bytes each time (default: 100,000). Target: 94 % shorter.
func BenchmarkCheckpointAgainstUpload(b *testing.B) {
	n := records() / 10
	for _, connections := range []int{4, 8} {
		b.Run(fmt.Sprintf("connections=%d", connections), func(b *testing.B) {
			root := b.TempDir()
			home := tuned(vfs.Default)
			home.DisableAutomaticCompactions = true
			local, err := pebble.Open(filepath.Join(root, "db"), home)
			check(b, err)
			v := volume(b, injected(b), nil)
			there := tuned(pebblev2.New(v))
			there.DisableAutomaticCompactions = true
			db, err := pebble.Open("/db", there)
			check(b, err)
			backup := injected(b)
			seen := map[string]bool{}
			var ours, theirs time.Duration
			var sent int64
			for i := 0; b.Loop(); i++ {
				check(b, Load(local, n, 1000, uint64(i)))
				check(b, Load(db, n, 1000, uint64(i)))
				start := time.Now()
				_, err := pebblev2.Checkpoint(ctx, db, v, fmt.Sprintf("c%d", i), &pebblev2.CheckpointOptions{Dir: "/db"})
				check(b, err)
				ours += time.Since(start)
				dir := filepath.Join(root, fmt.Sprintf("c%d", i))
				start = time.Now()
				check(b, local.Checkpoint(dir, pebble.WithFlushedWAL()))
				sent += upload(b, backup, dir, seen, connections)
				theirs += time.Since(start)
			}
			b.ReportMetric(100*(1-float64(ours)/float64(theirs)), "%-shorter")
			b.ReportMetric(float64(ours.Milliseconds())/float64(b.N), "checkpoint-ms")
			b.ReportMetric(float64(theirs.Milliseconds())/float64(b.N), "upload-ms")
			b.ReportMetric(float64(sent)/float64(b.N)/1e6, "new-MB")
			check(b, local.Close())
			check(b, db.Close())
			check(b, v.Close())
			check(b, backup.Close())
		})
	}
}

// BenchmarkRestore measures the time on an empty machine until the first read of a database of FORST_BENCH_RECORDS records of 1,000 bytes, in four ways, and how much sooner that
// is than the download of 16 GiB over 8 connections of 90 MB/s, from the rate of 256 MiB that is measured here. Target: 49 times.
func BenchmarkRestore(b *testing.B) {
	bucket := mem.NewBucket(nil)
	at := func(name string, slow bool) driver.Store {
		s, err := bucket.Open(name)
		check(b, err)
		if !slow {
			return s
		}
		return fault.New(s, &fault.Options{Latency: fault.FixedLatency(28*time.Millisecond, 24*time.Millisecond, 90e6)})
	}
	v := volume(b, at("db", false), nil)
	quietly := tuned(pebblev2.New(v))
	quietly.DisableAutomaticCompactions = true
	db, err := pebble.Open("/db", quietly)
	check(b, err)
	check(b, Load(db, records()/10, 1000, 1))
	_, err = pebblev2.Checkpoint(ctx, db, v, "c", &pebblev2.CheckpointOptions{Dir: "/db"})
	check(b, err)
	check(b, db.Close())
	check(b, v.Close())

	raw := at("raw", true)
	const object, objects = 16 << 20, 16
	p := make([]byte, object)
	for i := range objects {
		check(b, raw.Put(ctx, fmt.Sprint(i), p, driver.PutOptions{}))
	}
	g := newConnections(8)
	download := time.Duration(1 << 62)
	for range 3 { // the fastest of three, because the machine is shared
		start := time.Now()
		for i := range objects {
			g.do(func() error { _, err := driver.ReadAll(ctx, raw, fmt.Sprint(i)); return err })
		}
		check(b, g.wait())
		download = min(download, time.Since(start)*(16<<30/(objects*object)))
	}
	check(b, raw.Close())

	opener := func(_ context.Context, url string) (driver.Store, error) {
		return at(strings.TrimPrefix(url, "../"), true), nil
	}
	for _, sync := range []forstfs.DirSyncMode{forstfs.Durable, forstfs.Ordered} {
		for _, how := range []string{"takeover", "in-place", "snapshot", "clone"} {
			b.Run(fmt.Sprintf("%s/ordered=%v", how, sync == forstfs.Ordered), func(b *testing.B) {
				var took time.Duration
				for i := 0; b.Loop(); i++ {
					o := &forstfs.Options{DirSync: sync, OpenStore: opener}
					start := time.Now()
					var v *forstfs.FS
					var err error
					switch how {
					case "takeover":
						v, err = forstfs.Open(ctx, at("db", true), o)
					case "in-place":
						o.Restore = "c"
						v, err = forstfs.Open(ctx, at("db", true), o)
					case "snapshot":
						v, err = forstfs.OpenSnapshot(ctx, at("db", true), "c", o)
					case "clone":
						name := fmt.Sprintf("clone-%v-%d", sync, i)
						src, dst := at("db", true), at(name, true)
						_, err = forstfs.Clone(ctx, src, "c", dst, &forstfs.CloneOptions{SourceURL: "../db", CloneURL: "../" + name, Options: o})
						check(b, err)
						v, err = forstfs.Open(ctx, at(name, true), o)
					}
					check(b, err)
					po := tuned(pebblev2.New(v))
					po.ReadOnly, po.DisableAutomaticCompactions = how == "snapshot", true
					db, err := pebble.Open("/db", po)
					check(b, err)
					it, err := db.NewIter(nil)
					check(b, err)
					if !it.First() {
						b.Fatal("there is nothing")
					}
					took += time.Since(start)
					b.ReportMetric(download.Seconds(), "download-s")
					check(b, it.Close())
					check(b, db.Close())
					check(b, v.Close())
				}
				b.ReportMetric(float64(took.Milliseconds())/float64(b.N), "until-read-ms")
				b.ReportMetric(float64(download)*float64(b.N)/float64(took), "x-sooner")
			})
		}
	}
}
