package pebblev2_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/forst-go/forst/engineadapter/pebblev2"
	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/local"
	"github.com/forst-go/forst/forstfs/mem"
	"github.com/forst-go/forst/forstfs/s3"
	"github.com/forst-go/forst/internal/testenv"
)

func key(i int) []byte { return fmt.Appendf(nil, "key-%06d", i) }

// load writes keys [from, to) with incompressible values.
func load(t testing.TB, db *pebble.DB, from, to int) {
	t.Helper()
	r := rand.New(rand.NewPCG(uint64(from), 7))
	v := make([]byte, 200)
	for i := from; i < to; i++ {
		for k := range v {
			v[k] = byte(r.Uint32())
		}
		o := pebble.NoSync
		if i == to-1 {
			o = pebble.Sync
		}
		ok(t, db.Set(key(i), append(key(i), v...), o))
	}
}

// holds demands exactly the keys [from, to) of the sequence.
func holds(t testing.TB, it interface {
	First() bool
	Next() bool
	Key() []byte
	Value() []byte
	Error() error
	Close() error
}, from, to int) {
	t.Helper()
	i := from
	for valid := it.First(); valid; valid = it.Next() {
		if string(it.Key()) != string(key(i)) || !strings.HasPrefix(string(it.Value()), string(key(i))) {
			t.Fatalf("key %q where %q should be", it.Key(), key(i))
		}
		i++
	}
	ok(t, it.Error())
	ok(t, it.Close())
	equal(t, "keys up to", i, to)
}

type twin struct {
	open   places
	dir    string
	place  forstfs.Placement
	maxLag time.Duration
}

// places opens stores that lie beside each other.
type places func(name string) (driver.Store, error)

func inMemory() places {
	b := mem.NewBucket(nil)
	return func(name string) (driver.Store, error) { return b.Open(name) }
}

func (w *twin) opts() *forstfs.Options {
	o := volOptions(&forstfs.Options{Placement: w.place, MaxLag: w.maxLag, OpenStore: func(_ context.Context, url string) (driver.Store, error) { return w.open(url) }})
	if w.place != forstfs.PlaceDurable {
		o.LocalDir = w.dir
	}
	return o
}

// restored opens the database of a snapshot in a clone, on a machine with nothing on its disk.
func (w *twin) restored(t testing.TB, snapshot, name, dir string) (*pebble.DB, *forstfs.FS) {
	t.Helper()
	ctx := context.Background()
	src, dst := must(w.open("db"))(t), must(w.open(name))(t)
	must(forstfs.Clone(ctx, src, snapshot, dst, &forstfs.CloneOptions{SourceURL: "db", CloneURL: name, Options: w.opts()}))(t)
	vol := openVol(t, must(w.open(name))(t), (&twin{open: w.open}).opts())
	return openDB(t, dir, options(pebblev2.New(vol))), vol
}

func TestCheckpoint(t *testing.T) {
	for _, c := range []struct {
		name   string
		place  forstfs.Placement
		maxLag time.Duration
		copies bool
	}{
		{"Durable", forstfs.PlaceDurable, 0, false},
		{"LocalWAL that follows", forstfs.PlaceLocalWAL, time.Second, false},
		{"LocalWAL", forstfs.PlaceLocalWAL, 0, true},
		{"ForSt", forstfs.PlaceForSt, 0, true},
		{"tables on the disk", forstfs.PlaceForSt | forstfs.PlaceLocally(forstfs.ClassSST), 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx := context.Background()
			w := &twin{open: inMemory(), dir: t.TempDir(), place: c.place, maxLag: c.maxLag}
			vol := openVol(t, must(w.open("db"))(t), w.opts())
			o := options(pebblev2.New(vol))
			o.DisableAutomaticCompactions = true
			db := openDB(t, "/db", o)
			load(t, db, 0, 1500)
			ok(t, db.Flush())
			load(t, db, 1500, 1600)
			var said strings.Builder
			before := vol.Metrics().Store
			info := must(pebblev2.Checkpoint(ctx, db, vol, "one", &pebblev2.CheckpointOptions{
				Dir: "/db", Meta: []byte("offset 7"), Logger: slog.New(slog.NewTextHandler(&said, nil))}))(t)
			// What is sent are small files, and the bytes of logs that the journal still holds: Pebble keeps a few logs that it no longer needs.
			moved := vol.Metrics().Store.Sub(before)
			sent, flushed := moved.Sum("put", "").Out, moved.Sum("put", driver.CompFlush).Out
			load(t, db, 1600, 1700)
			equal(t, "Meta", string(info.Snapshot.Meta), "offset 7")
			tables := db.Metrics().DiskSpaceUsage()
			t.Logf("linked %d, copied %d (tables %d), sent %d bytes of %d", info.BytesLinked, info.BytesCopied, info.TablesCopied, sent, tables)
			switch loud := c.place.Local(forstfs.ClassSST); {
			case !c.copies && info.BytesLinked+info.BytesCopied != 0, c.copies && info.BytesCopied == 0, c.copies && !loud && info.BytesLinked < 300_000:
				t.Fatalf("%+v", info)
			case loud != (info.TablesCopied > 0), loud != strings.Contains(said.String(), "had to copy tables"):
				t.Fatalf("%d bytes of tables were copied, and the log says %q", info.TablesCopied, said.String())
			case !loud && (flushed != 0 || sent > 250_000):
				t.Fatalf("%d bytes were sent; the tables have %d", sent, tables)
			}
			if _, err := vol.Stat(ctx, "/checkpoints/one"); err == nil {
				t.Fatalf("the directory of the checkpoint is still there")
			}
			restored, cvol := w.restored(t, "one", "clone", info.Snapshot.Dir)
			holds(t, must(restored.NewIter(nil))(t), 0, 1600)
			ok(t, restored.Close())
			ok(t, cvol.Close())

			_, err := pebblev2.Checkpoint(ctx, db, vol, "one", &pebblev2.CheckpointOptions{Dir: "/db"})
			if err == nil {
				t.Fatalf("a second checkpoint of the same name")
			}
			must(pebblev2.Checkpoint(ctx, db, vol, "two", &pebblev2.CheckpointOptions{Dir: "/db", Flush: true}))(t)
			ok(t, db.Close())
			ok(t, vol.Close())
			vol = openVol(t, must(w.open("db"))(t), w.opts())
			db = openDB(t, "/db", options(pebblev2.New(vol)))
			holds(t, must(db.NewIter(nil))(t), 0, 1700)
			ok(t, db.Close())
			ok(t, vol.Close())
		})
	}
}

// A machine with a ForSt database is lost: the error names what is lost and the checkpoint to go back to, and that one is whole.
func TestForStMachineIsLost(t *testing.T) {
	ctx := context.Background()
	w := &twin{open: inMemory(), dir: t.TempDir(), place: forstfs.PlaceForSt}
	vol := openVol(t, must(w.open("db"))(t), w.opts())
	db := openDB(t, "/db", options(pebblev2.New(vol)))
	load(t, db, 0, 500)
	info := must(pebblev2.Checkpoint(ctx, db, vol, "last", &pebblev2.CheckpointOptions{Dir: "/db"}))(t)
	load(t, db, 500, 600)

	w.dir = t.TempDir()
	_, err := forstfs.Open(ctx, must(w.open("db"))(t), w.opts())
	for _, want := range []string{"MANIFEST", `"last"`, "AcceptLoss"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Fatalf("opened without its disk: %v; want a word about %s", err, want)
		}
	}
	load(t, db, 600, 601) // nobody was fenced
	restored, _ := w.restored(t, "last", "clone", info.Snapshot.Dir)
	holds(t, must(restored.NewIter(nil))(t), 0, 500)
	ok(t, restored.Close())
	ok(t, db.Close())
}

func TestRestrictAndSpanReader(t *testing.T) {
	t.Run("mem", func(t *testing.T) { restrictAndRead(t, inMemory()) })
	t.Run("local", func(t *testing.T) {
		dir := t.TempDir()
		restrictAndRead(t, func(name string) (driver.Store, error) {
			return local.Open(context.Background(), filepath.Join(dir, name), &local.Options{Create: true})
		})
	})
	t.Run("s3", func(t *testing.T) {
		server := testenv.S3(t)
		bucket := server.Bucket(t)
		restrictAndRead(t, func(name string) (driver.Store, error) {
			u, err := url.Parse(server.URLIn(bucket, name))
			if err != nil {
				return nil, err
			}
			return s3.OpenURL(context.Background(), u)
		})
	})
}

func restrictAndRead(t *testing.T, open places) {
	ctx := context.Background()
	w := &twin{open: open}
	vol := openVol(t, must(w.open("db"))(t), w.opts())
	db := openDB(t, "/db", options(pebblev2.New(vol)))
	load(t, db, 0, 3000)
	ok(t, db.Flush())
	must(pebblev2.Checkpoint(ctx, db, vol, "c", &pebblev2.CheckpointOptions{Dir: "/db"}))(t)
	var parts []pebblev2.Part
	for i, span := range []pebble.KeyRange{{Start: key(2000), End: []byte("key-9")}, {Start: key(0), End: key(1001)}, {Start: key(1001), End: key(2000)}} {
		part, cvol := w.restored(t, "c", fmt.Sprintf("part%d", i), "/db")
		before := cvol.Metrics().Store
		ok(t, pebblev2.Restrict(ctx, part, []pebble.KeyRange{span}, nil))
		d := cvol.Metrics().Store.Sub(before)
		for _, comp := range []driver.Component{driver.CompFlush, driver.CompCompaction} {
			if c := d.Sum("put", comp); c.Out != 0 {
				t.Fatalf("Restrict wrote %d bytes of data by %s", c.Out, comp)
			}
		}
		if out := d.Sum("put", "").Out; out > 20_000 {
			t.Fatalf("Restrict sent %d bytes", out)
		}
		from, to := []int{2000, 0, 1001}[i], []int{3000, 1001, 2000}[i]
		holds(t, must(part.NewIter(nil))(t), from, to)
		parts = append(parts, pebblev2.Part{Span: span, DB: part})
	}
	r := must(pebblev2.NewSpanReader(parts, nil))(t)
	holds(t, r.NewIter(ctx, nil, nil), 0, 3000)
	holds(t, r.NewIter(ctx, key(990), key(2010)), 990, 2010)
	holds(t, r.NewIter(ctx, key(1001), key(2000)), 1001, 2000)
	for i := 0; i < 3000; i += 101 {
		v, c, err := r.Get(key(i))
		ok(t, err)
		if !strings.HasPrefix(string(v), string(key(i))) {
			t.Fatalf("Get %q: %q", key(i), v)
		}
		ok(t, c.Close())
	}
	if _, _, err := r.Get([]byte("zzz")); err != pebble.ErrNotFound {
		t.Fatalf("Get outside of all parts: %v", err)
	}
	// Every move against the one database that all parts come from.
	one, it := must(db.NewIter(nil))(t), r.NewIter(ctx, nil, nil)
	rnd := rand.New(rand.NewPCG(5, 5))
	for step := range 3000 {
		k := key(rnd.IntN(3100) - 50)
		var a, b bool
		switch rnd.IntN(6) {
		case 0:
			a, b = one.SeekGE(k), it.SeekGE(k)
		case 1:
			a, b = one.SeekLT(k), it.SeekLT(k)
		case 2:
			a, b = one.First(), it.First()
		case 3:
			a, b = one.Last(), it.Last()
		case 4:
			if step > 0 {
				a, b = one.Next(), it.Next()
			}
		case 5:
			if step > 0 {
				a, b = one.Prev(), it.Prev()
			}
		}
		if a != b || a && string(one.Key()) != string(it.Key()) {
			t.Fatalf("step %d: %v %v", step, a, b)
		}
	}
	ok(t, one.Close())
	ok(t, it.Close())
	for _, bad := range [][]pebblev2.Part{nil, {{Span: pebble.KeyRange{Start: key(0), End: key(2)}, DB: db}, {Span: pebble.KeyRange{Start: key(1), End: key(3)}, DB: db}},
		{{Span: pebble.KeyRange{Start: key(3), End: key(3)}, DB: db}}, {{Span: pebble.KeyRange{Start: key(3), End: key(4)}}}} {
		if _, err := pebblev2.NewSpanReader(bad, nil); err == nil {
			t.Fatalf("a reader of %v", bad)
		}
	}
	for _, p := range parts {
		ok(t, p.DB.(io.Closer).Close())
	}
	ok(t, db.Close())
}
