package forstfs_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/fault"
	"github.com/forst-go/forst/forstfs/mem"
	"github.com/forst-go/forst/internal/journal"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden files in testdata")

// timeline records requests over a store on which each takes exactly one second of virtual time: the second in which a request was sent is the number
// of round trips that came before it.
type timeline struct {
	t     *testing.T
	b     *mem.Bucket
	out   strings.Builder
	mu    sync.Mutex
	begun time.Time
	lines []string
}

func (tl *timeline) store() driver.Store { return tl.wrap("", store(tl.t, tl.b)) }

// wrap records the requests to a store, each with a mark.
func (tl *timeline) wrap(mark string, s driver.Store) driver.Store {
	return fault.New(s, &fault.Options{
		Latency: fault.FixedLatency(time.Second, time.Second, 0),
		Before: func(_ context.Context, c fault.Call) error {
			what := ""
			switch c.Op {
			case fault.Put:
				what = fmt.Sprintf(" %d B", c.Bytes)
				if c.IfAbsent {
					what += " if absent"
				}
			case fault.Get:
				what = fmt.Sprintf(" %d+%d", c.Off, c.N)
			case fault.Delete:
				what = fmt.Sprintf(" %d keys", len(c.Keys))
				c.Key = c.Key[:strings.IndexByte(c.Key, '/')+1] // which of them comes first is chance
			case fault.List:
				what = " after " + short(c.After)
			}
			tl.mu.Lock()
			defer tl.mu.Unlock()
			tl.lines = append(tl.lines, mark+fmt.Sprintf("  %3d  %-10s %-6s %s%s", time.Since(tl.begun)/time.Second, c.Component, c.Op, short(c.Key), what))
			return nil
		},
	})
}

var unique = []*regexp.Regexp{
	regexp.MustCompile(`(data/)../([0-9a-f]+-)[0-9a-f]{16}(-)`),
	regexp.MustCompile(`(image/0*[0-9a-f]+)(-)()[0-9a-f]{16}`),
	regexp.MustCompile(`((?:snapshot|hold)/[0-9a-f]+-)()[0-9a-f]{16}(-.*)`),
	regexp.MustCompile(`(hold/[^/]+/)()()[0-9a-f]{32}`),
	regexp.MustCompile(`(borrow/)()()[0-9a-f]{32}`),
	regexp.MustCompile(`(request/)()()[0-9a-f]{16}`),
	regexp.MustCompile(`(probe/)()()[0-9a-f]{16}`),
}

// short takes what is random out of a key.
func short(key string) string {
	for _, re := range unique {
		key = re.ReplaceAllString(key, "$1$2*$3")
	}
	if n, ok := journal.ParseFrameKey(key); ok {
		return fmt.Sprintf("journal/.../%d", n)
	}
	return key
}

// do runs a step and notes its requests, by round trips, and how many it took. It gives the latter.
func (tl *timeline) do(what string, fn func()) int {
	tl.mu.Lock()
	tl.lines, tl.begun = nil, time.Now()
	tl.mu.Unlock()
	fn()
	trips := int(time.Since(tl.begun) / time.Second)
	time.Sleep(10 * time.Minute) // what goes on in the background belongs to the step
	synctest.Wait()
	tl.mu.Lock()
	defer tl.mu.Unlock()
	slices.Sort(tl.lines) // requests of one batch have no order
	fmt.Fprintf(&tl.out, "%s: %d round trips\n", what, trips)
	for _, l := range tl.lines {
		tl.out.WriteString(l + "\n")
	}
	tl.out.WriteString("\n")
	return trips
}

func (tl *timeline) compare(name string) {
	tl.t.Helper()
	path := filepath.Join("testdata", name)
	got := tl.out.String()
	if *rewrite {
		must(tl.t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	must(tl.t, err)
	if got != string(want) {
		tl.t.Errorf("the requests are not those of %s (go test ./forstfs -run %s -rewrite writes it anew; read the diff):\n%s", path, tl.t.Name(), firstDifference(got, string(want)))
	}
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			from := max(0, i-3)
			return fmt.Sprintf("line %d\ngot:\n%s\nwant:\n%s", i+1, strings.Join(g[from:min(len(g), i+6)], "\n"), strings.Join(w[from:min(len(w), i+6)], "\n"))
		}
	}
	return fmt.Sprintf("got %d lines, want %d", len(g), len(w))
}

// Every request of a volume's life, in its round trip.
func TestRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tl := &timeline{t: t, b: bucket()}
		var v *forstfs.FS
		open := func() {
			o := small()
			o.Create, o.RequestInterval = forstfs.MustExist, -1
			var err error
			v, err = forstfs.Open(ctx, tl.store(), o)
			must(t, err)
		}
		tl.do("create a volume", func() {
			o := small()
			o.Create, o.RequestInterval = forstfs.CreateNew, -1
			var err error
			v, err = forstfs.Open(ctx, tl.store(), o)
			must(t, err)
		})
		var wal, table *forstfs.File
		tl.do("create files: no request", func() {
			must(t, v.MkdirAll(ctx, "/db"))
			wal, table = create(t, v, "/db/1.log", nil), create(t, v, "/db/2.sst", nil)
		})
		tl.do("sync a log three times", func() {
			for range 3 {
				_, err := wal.Write(content(100, 1))
				must(t, err)
				must(t, wal.Sync())
			}
		})
		tl.do("sync what is clean", func() { must(t, wal.Sync()) })
		tl.do("sync a log with more than a frame holds", func() {
			_, err := wal.Write(content(40_000, 1))
			must(t, err)
			must(t, wal.Sync())
		})
		tl.do("write a table and close it", func() {
			_, err := table.Write(content(100_000, 2))
			must(t, err)
			must(t, table.Close())
		})
		tl.do("name the table in a manifest and sync it", func() {
			f := create(t, v, "/db/MANIFEST-000001", content(50, 3))
			must(t, f.Sync())
			must(t, f.Close())
		})
		tl.do("read what was written here", func() {
			same(t, v, "/db/2.sst", content(100_000, 2))
			same(t, v, "/db/MANIFEST-000001", content(50, 3))
		})
		tl.do("checkpoint", func() { must(t, v.Checkpoint(ctx)) })
		tl.do("checkpoint without news", func() { must(t, v.Checkpoint(ctx)) })
		tl.do("link, rename, sync the directory", func() {
			must(t, v.Link(ctx, "/db/2.sst", "/db/3.sst"))
			must(t, v.Rename(ctx, "/db/2.sst", "/db/4.sst"))
			d, err := v.OpenDir(ctx, "/db")
			must(t, err)
			must(t, d.Sync())
			must(t, d.Close())
		})
		tl.do("remove the table", func() {
			must(t, v.Remove(ctx, "/db/4.sst"))
			must(t, v.Remove(ctx, "/db/3.sst"))
			must(t, v.Sync(ctx))
		})
		tl.do("checkpoint that trims", func() { must(t, v.Checkpoint(ctx)) })
		tl.do("close", func() {
			must(t, wal.Close())
			must(t, v.Close())
		})
		tl.do("open an existing volume", open)
		tl.do("read what is packed", func() { same(t, v, "/db/MANIFEST-000001", content(50, 3)) })
		tl.do("write 20 frames", func() {
			for i := range 20 {
				write(t, v, fmt.Sprintf("/db/x%d", i), content(100, uint64(i)), true)
			}
		})
		dead := v // it crashes, and does not know it yet
		if n := tl.do("open after a crash, with frames behind the image", open); n > 6 {
			t.Errorf("%d sequential round trips until the namespace is usable; 6 are promised", n)
		}
		must(t, v.Checkpoint(ctx))
		var r *forstfs.FS
		tl.do("open read-only", func() {
			var err error
			r, err = forstfs.OpenReadOnly(ctx, tl.store(), small())
			must(t, err)
		})
		tl.do("refresh without news", func() { _, err := r.Refresh(ctx); must(t, err) })
		tl.do("two frames", func() {
			write(t, v, "/db/y", content(100, 1), true)
			write(t, v, "/db/z", content(100, 1), true)
		})
		tl.do("refresh with two frames", func() { _, err := r.Refresh(ctx); must(t, err) })
		must(t, r.Close())
		tl.do("a fenced writer learns of it", func() { _ = dead.Remove(ctx, "/db"); _ = dead.RemoveAll(ctx, "/db"); _ = dead.Sync(ctx) })
		tl.do("a fenced writer closes", func() { _ = dead.Close() })
		fresh := func(what string, most int, fn func()) {
			if n := tl.do(what, fn); n > most {
				t.Errorf("%s: %d sequential round trips; %d are promised", what, n, most)
			}
		}
		fresh("snapshot", 5, func() { snap(t, v, "one", nil) })
		fresh("snapshot of a directory", 5, func() { snap(t, v, "two", &forstfs.SnapshotOptions{Dir: "/db"}) })
		long := create(t, v, "/db/long.log", nil)
		for range 7 {
			_, err := long.Write(content(15_000, 1))
			must(t, err)
			must(t, long.Sync())
		}
		time.Sleep(time.Minute)
		fresh("snapshot with much in the journal", 5, func() { snap(t, v, "three", nil) })
		must(t, long.Close())
		tl.do("list the snapshots: no request", func() { _, err := v.Snapshots(ctx); must(t, err) })
		tl.do("list the snapshots with sizes", func() { _, err := v.SnapshotSizes(ctx); must(t, err) })
		fresh("open a snapshot", 5, func() {
			s, err := forstfs.OpenSnapshot(ctx, tl.store(), "two", small())
			must(t, err)
			must(t, s.Close())
		})
		tl.do("restore", func() { must(t, v.Restore(ctx, "two")) })
		before := v
		fresh("open and go back", 5, func() {
			o := small()
			o.RequestInterval, o.Restore = -1, "two"
			var err error
			v, err = forstfs.Open(ctx, tl.store(), o)
			must(t, err)
		})
		_ = before.Close() // it was fenced
		tl.do("remove a snapshot", func() { must(t, v.RemoveSnapshot(ctx, "one")) })
		tl.do("a request from outside", func() { must(t, forstfs.RequestRemoveSnapshot(ctx, tl.store(), small(), "three")) })
		tl.do("checkpoint that serves it", func() { must(t, v.Checkpoint(ctx)) })
		tl.do("sweep", func() { _, err := v.Sweep(ctx); must(t, err) })
		tl.do("drop", func() { must(t, v.Drop(ctx)) })
		tl.do("close after drop", func() { must(t, v.Close()) })
		tl.compare("requests.golden")
	})
}
