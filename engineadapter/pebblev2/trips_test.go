package pebblev2_test

import (
	"context"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"github.com/forst-go/forst/engineadapter/pebblev2"
	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/fault"
	"github.com/forst-go/forst/forstfs/mem"
)

// Round trips of a volume's own steps, when frames are behind its newest image. forstfs/testdata/requests.golden and clone.golden have them by virtual time, request by request.
const (
	openTrips     = 4 // Open; with Options.Restore, too
	snapshotTrips = 4 // OpenSnapshot
	cloneTrips    = 6 // Clone
	bornTrips     = 4 // Open of a clone that nobody has opened: there are no frames
)

// TestRoundTrips counts sequential round trips exactly, without a clock: those of the volume's steps are known, and what the engine makes beside them goes one by one. A
// frame goes out when the one before is acknowledged, an upload comes before the frame that names it, and a Get reads one block after the other. What is done in the background
// counts for nothing, but reads that find their bytes there would have waited for it: so one that reads ahead counts as a read.
func TestRoundTrips(t *testing.T) {
	for _, mode := range []struct {
		name   string
		sync   forstfs.DirSyncMode
		engine int // Pebble's own open
	}{
		{"Durable", forstfs.Durable, 7}, // promised are 14 until the first read
		{"Ordered", forstfs.Ordered, 3}, // 11
	} {
		t.Run(mode.name, func(t *testing.T) {
			ctx := t.Context()
			b := mem.NewBucket(nil)
			var c *counter
			opts := func() *forstfs.Options {
				o := volOptions(&forstfs.Options{DirSync: mode.sync, FlushDelay: -1, RequestInterval: -1, ImageFrames: 1 << 20})
				o.OpenStore = func(_ context.Context, url string) (driver.Store, error) {
					s, err := b.Open(url)
					return fault.New(s, &fault.Options{Before: func(ctx context.Context, call fault.Call) error {
						c.note(ctx, string(call.Op), call.Key)
						return nil
					}}), err
				}
				return o
			}
			on := func(name string) driver.Store { c = count(must(b.Open(name))(t)); return c }
			// serial takes the requests since the last call and gives those that wait for each other, and of these the one for small files in the body of a snapshot: they
			// are fetched at once, whoever is first. body is 1 if it was asked for before.
			serial := func(body int) (n, bodies int) {
				for k, v := range c.take() {
					switch {
					case strings.HasSuffix(k, "(gc)"):
					case strings.HasPrefix(k, "get snapshot "):
						body = 1
					default:
						n += v
					}
				}
				return n + body, body
			}
			tune := func(vol *forstfs.FS) *pebble.Options {
				return pebblev2.Tune(&pebble.Options{FS: pebblev2.New(vol), DisableAutomaticCompactions: true, DisableTableStats: true})
			}
			firstRead := func(db *pebble.DB) {
				t.Helper()
				v, closer, err := db.Get(key(7)) // of a table
				ok(t, err)
				if !strings.HasPrefix(string(v), string(key(7))) {
					t.Fatalf("Get: %q", v)
				}
				ok(t, closer.Close())
			}

			vol := openVol(t, on("db"), opts())
			db := openDB(t, "/db", tune(vol))
			load(t, db, 0, 1500)
			ok(t, db.Flush())
			load(t, db, 1500, 1600)
			ok(t, vol.Sync(ctx))
			c.take()
			info := must(pebblev2.Checkpoint(ctx, db, vol, "c", &pebblev2.CheckpointOptions{Dir: "/db"}))(t)
			n := c.take()
			equal(t, "requests and round trips of a checkpoint: the record, begin, body, commit", sum(n, ""), 4)
			equal(t, "frames of a checkpoint", sum(n, "put journal (commit)"), 3)
			equal(t, "bodies of a checkpoint", sum(n, "put snapshot (snapshot)"), 1)
			if info.BytesCopied != 0 || info.BytesLinked != 0 {
				t.Errorf("%+v", info)
			}
			load(t, db, 1600, 1700)
			ok(t, db.Close())
			ok(t, vol.Close())

			// until opens a volume and the database in it, and reads a key of a table.
			until := func(what string, volume int, open func() *forstfs.FS, readOnly bool, engine, total int) {
				t.Helper()
				vol := open()
				early := min(1, sum(c.take(), "get snapshot (readahead)")) // what Pebble reads first may be on its way already
				po := tune(vol)
				po.ReadOnly = readOnly
				db := openDB(t, "/db", po)
				opened, body := serial(early)
				equal(t, what+": round trips of Pebble's open", opened, engine)
				firstRead(db)
				read, again := serial(0)
				if body > 0 { // read ahead by one who came a moment later
					read -= again
				}
				equal(t, what+": round trips until the first read", volume+engine+read, total)
				t.Logf("%s: %d + %d + %d = %d", what, volume, engine, read, total)
				ok(t, db.Close())
				ok(t, vol.Close())
			}
			e := mode.engine
			until("takeover", openTrips, func() *forstfs.FS { return openVol(t, on("db"), opts()) }, false, e, 6+e)
			// Pebble syncs the directory above before anything else, and that is what sends the restore: one more.
			until("restore in place", openTrips, func() *forstfs.FS {
				o := opts()
				o.Restore = "c"
				return openVol(t, on("db"), o)
			}, false, e+1, 7+e)
			until("a snapshot, read-only", snapshotTrips, func() *forstfs.FS {
				return must(forstfs.OpenSnapshot(ctx, on("db"), "c", opts()))(t)
			}, true, 0, 6)
			until("clone and open", cloneTrips+bornTrips, func() *forstfs.FS {
				src, dst := must(b.Open("db"))(t), must(b.Open("clone"))(t)
				got := must(forstfs.Clone(ctx, src, "c", dst, &forstfs.CloneOptions{SourceURL: "db", CloneURL: "clone", Options: opts()}))(t)
				equal(t, "bytes copied by the clone", got.Copied, 0)
				return openVol(t, on("clone"), opts())
			}, false, e+1, 13+e) // and the body is fetched
		})
	}
}
