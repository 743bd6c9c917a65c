package pebblev2_test

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/cockroachdb/pebble/v2"

	"github.com/forst-go/forst/engineadapter/pebblev2"
	"github.com/forst-go/forst/forstfs"
)

// TestRequests compares the requests that Pebble's steps make of the store with testdata/requests: one more is a difference.
// Run it with -rewrite after a change that is meant to change them, and read the difference.
//
// Requests are counted by operation, kind of object and component, because those of one step may go out in parallel. What is
// done in the background is left out: when it comes is up to chance. That is the collection of garbage and the fetching of what will be
// read soon; where the latter would change the number of reads, "no-reads" leaves them out, too.
func TestRequests(t *testing.T) {
	h := memHome()
	var c *counter
	var vol *forstfs.FS
	var db *pebble.DB
	next := 0
	dir := t.TempDir()
	commit := func(n, size int) {
		b := db.NewBatch()
		for range n {
			ok(t, b.Set(fmt.Appendf(nil, "key%06d", next), []byte(strings.Repeat("x", size)), nil))
			next++
		}
		ok(t, b.Commit(pebble.Sync))
	}
	datadriven.RunTest(t, "testdata/requests", func(t *testing.T, d *datadriven.TestData) string {
		switch d.Cmd {
		case "open-volume":
			c = count(h.Open(t))
			o := quiet()
			if d.HasArg("ordered") {
				o.DirSync = forstfs.Ordered
			}
			if d.HasArg("disk") {
				o.CacheDir, o.CacheDiskBytes, o.CacheReserve = dir, 64<<20, -1
			}
			vol = openVol(t, c, o)
		case "open-db":
			o := pebblev2.Tune(&pebble.Options{FS: pebblev2.New(vol), DisableAutomaticCompactions: true, DisableTableStats: true})
			db = openDB(t, "/db", o)
		case "set": // one commit
			n, size := 1, 100
			d.MaybeScanArgs(t, "n", &n)
			d.MaybeScanArgs(t, "size", &size)
			commit(n, size)
		case "flush":
			ok(t, db.Flush())
		case "compact":
			ok(t, db.Compact(context.Background(), []byte("a"), []byte("z"), false))
		case "get":
			var i int
			d.ScanArgs(t, "key", &i)
			_, closer, err := db.Get(fmt.Appendf(nil, "key%06d", i))
			ok(t, err)
			ok(t, closer.Close())
		case "scan":
			equal(t, "keys", len(contents(t, db)), next)
		case "ingest":
			ingest(t, pebblev2.New(vol), db, fmt.Sprintf("key%06d", next), "x")
			next++
		case "checkpoint-db":
			ok(t, db.Checkpoint("/cp", pebble.WithFlushedWAL()))
		case "close-db":
			ok(t, db.Close())
			db = nil
		case "close-volume":
			ok(t, vol.Close())
		default:
			d.Fatalf(t, "unknown command %s", d.Cmd)
		}
		if db != nil {
			db.TestOnlyWaitForCleaning() // its removals go out with the next sync
		}
		n := c.take()
		maps.DeleteFunc(n, func(k string, _ int) bool {
			return strings.HasSuffix(k, "(gc)") || strings.HasSuffix(k, "(readahead)") || d.HasArg("no-reads") && strings.HasPrefix(k, "get data ")
		})
		return format(n)
	})
}
