package pebblev2_test

import (
	"context"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/forst-go/forst/engineadapter/pebblev2"
	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
)

// counter counts the requests to a store by what they are for: "put journal (commit)".
type counter struct {
	driver.Store
	mu    sync.Mutex
	n     map[string]int
	noted sync.Cond
}

func count(s driver.Store) *counter {
	c := &counter{Store: s, n: map[string]int{}}
	c.noted.L = &c.mu
	return c
}

func (c *counter) note(ctx context.Context, op, key string) {
	kind, _, _ := strings.Cut(key, "/")
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n[fmt.Sprintf("%s %s (%s)", op, kind, driver.ComponentOf(ctx))]++
	c.noted.Broadcast()
}

// await returns when a request of the kind has been made.
func (c *counter) await(kind string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.n[kind] == 0 {
		c.noted.Wait()
	}
}

// take gives the counts since the last take.
func (c *counter) take() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.n
	c.n = map[string]int{}
	return n
}

// sum adds up the counts of what begins with prefix.
func sum(n map[string]int, prefix string) int {
	total := 0
	for k, v := range n {
		if strings.HasPrefix(k, prefix) {
			total += v
		}
	}
	return total
}

func format(n map[string]int) string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(n)) {
		fmt.Fprintf(&b, "%3d %s\n", n[k], k)
	}
	if b.Len() == 0 {
		return "no request\n"
	}
	return b.String()
}

func (c *counter) Unwrap() driver.Store { return c.Store }

func (c *counter) Put(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
	c.note(ctx, "put", key)
	return c.Store.Put(ctx, key, data, o)
}

func (c *counter) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	c.note(ctx, "get", key)
	return c.Store.Get(ctx, key, off, n)
}

func (c *counter) Stat(ctx context.Context, key string) (driver.Info, error) {
	c.note(ctx, "stat", key)
	return c.Store.Stat(ctx, key)
}

func (c *counter) List(ctx context.Context, prefix, after string) iter.Seq2[driver.Info, error] {
	c.note(ctx, "list", prefix)
	return c.Store.List(ctx, prefix, after)
}

func (c *counter) Delete(ctx context.Context, keys []string) error {
	if len(keys) > 0 {
		c.note(ctx, "delete", keys[0])
	}
	return c.Store.Delete(ctx, keys)
}

// quiet options leave no request to chance: nothing is sent that nobody asked for.
func quiet() *forstfs.Options { return &forstfs.Options{FlushDelay: -1} }

// Pebble syncs a table every 1.5 MB while it is written, because Fd is invalid. That must not cost requests, and Close must not
// leave anything behind.
func TestSyncDataOfATableIsAHint(t *testing.T) {
	c := count(memHome().Open(t))
	o := quiet()
	o.ObjectSize = 1 << 20
	fs := pebblev2.New(openVol(t, c, o))
	c.take()
	table := func(f vfs.File, sync func() error) int {
		t.Helper()
		chunk := make([]byte, 32<<10)
		for range 128 {
			must(f.Write(chunk))(t)
			ok(t, sync())
		}
		ok(t, sync())
		ok(t, f.Close())
		n := c.take()
		if got := sum(n, "put journal"); got != 0 {
			t.Errorf("a table without a Sync wrote %d frames", got)
		}
		return sum(n, "put data")
	}
	plain := table(create(t, fs, "000001.sst"), func() error { return nil })
	f := create(t, fs, "000002.sst")
	equal(t, "objects of a table with a SyncData after every Write", table(f, f.SyncData), plain)
	f = vfs.NewSyncingFile(create(t, fs, "000003.sst"), vfs.SyncingFileOptions{BytesPerSync: 64 << 10})
	equal(t, "objects of a table as Pebble writes it", table(f, func() error { return nil }), plain)
	d := must(fs.OpenDir("/"))(t)
	ok(t, d.Sync())
	equal(t, "frames of the directory's Sync", sum(c.take(), "put journal"), 1)
	ok(t, d.Close())
}

func TestSyncOfALogIsOnePut(t *testing.T) {
	c := count(memHome().Open(t))
	fs := pebblev2.New(openVol(t, c, quiet()))
	c.take()
	f := create(t, fs, "000001.log")
	for i, sync := range []func() error{f.SyncData, f.Sync, f.SyncData} {
		must(f.Write([]byte("record")))(t)
		ok(t, sync())
		n := c.take()
		if len(n) != 1 || sum(n, "put journal") != 1 {
			t.Errorf("sync %d made\n%s", i, format(n))
		}
	}
	ok(t, f.Close())
	if n := c.take(); len(n) != 0 {
		t.Errorf("Close of a synced file made\n%s", format(n))
	}
}

// What SyncData and Sync acknowledge is there on another machine, whatever happens to this one.
func TestSyncedBytesSurvive(t *testing.T) {
	h := memHome()
	machine, fs := start(t, h, quiet())
	ok(t, fs.MkdirAll("/db", 0o755))
	log := create(t, fs, "/db/000001.log")
	must(log.Write([]byte("acknowledged")))(t)
	ok(t, log.SyncData())
	table := create(t, fs, "/db/000002.sst")
	must(table.Write([]byte("table")))(t)
	ok(t, table.Sync()) // a real Sync also makes the bytes of a table durable
	must(log.Write([]byte(" lost")))(t)
	marker := create(t, fs, "/db/marker.x.000001.y")
	ok(t, marker.Close())
	d := must(fs.OpenDir("/db"))(t)
	ok(t, d.Sync())
	write(t, fs, "/db/unsynced", "lost")

	machine.Die()
	fs2 := pebblev2.New(openVol(t, h.Open(t), nil))
	equalNames(t, "List", must(fs2.List("/db"))(t), "000001.log", "000002.sst", "marker.x.000001.y")
	equal(t, "table", read(t, fs2, "/db/000002.sst"), "table")
	if got := read(t, fs2, "/db/000001.log"); !strings.HasPrefix(got, "acknowledged") || !strings.HasPrefix("acknowledged lost", got) {
		t.Errorf("log: %q", got)
	}
}

// The hints that Pebble gives with Open and Prefetch decide what is read from the store.
func TestReadHints(t *testing.T) {
	h := memHome()
	const size = 4 << 20
	vol := openVol(t, h.Open(t), nil)
	write(t, pebblev2.New(vol), "000001.sst", strings.Repeat("0123456789abcdef", size/16))
	ok(t, vol.Close())

	blocks := func(f vfs.File, upTo int64) {
		t.Helper()
		p := make([]byte, 4<<10)
		for off := int64(0); off < upTo; off += int64(len(p)) {
			must(f.ReadAt(p, off))(t)
		}
		ok(t, f.Close())
	}
	const read, ahead = "get data (read)", "get data (readahead)"
	for _, c := range []struct {
		what  string
		opts  []vfs.OpenOption
		reads func(f vfs.File, c *counter)
		check func(n map[string]int) bool
	}{
		{"random reads never read ahead", []vfs.OpenOption{vfs.RandomReadsOption},
			func(f vfs.File, _ *counter) { blocks(f, 512<<10) },
			func(n map[string]int) bool { return n[ahead] == 0 && n[read] > 0 }},
		{"sequential reads are read ahead from the first one", []vfs.OpenOption{vfs.SequentialReadsOption},
			func(f vfs.File, _ *counter) { blocks(f, size) },
			func(n map[string]int) bool { return n[read] == 0 && n[ahead] > 0 && n[ahead] < 32 }},
		{"without a hint, reads in order are noticed", nil,
			func(f vfs.File, _ *counter) { blocks(f, size) },
			func(n map[string]int) bool { return n[read] > 0 && n[read] < 8 && n[ahead] > 0 }},
		{"what was prefetched needs no read", []vfs.OpenOption{vfs.RandomReadsOption},
			func(f vfs.File, c *counter) {
				ok(t, f.Prefetch(0, 256<<10))
				c.await(ahead)
				blocks(f, 256<<10)
			},
			func(n map[string]int) bool { return n[read] == 0 && n[ahead] > 0 }},
	} {
		counted := count(h.Open(t))
		fs := pebblev2.New(openVol(t, counted, quiet())) // the cache is cold
		counted.take()
		c.reads(must(fs.Open("000001.sst", c.opts...))(t), counted)
		if n := counted.take(); !c.check(n) {
			t.Errorf("%s:\n%s", c.what, format(n))
		}
	}
}
