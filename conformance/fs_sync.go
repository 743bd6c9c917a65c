package conformance

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/forst-go/forst/forstfs"
)

func (e *fsEnv) syncDir(v *forstfs.FS, dir string) {
	e.Helper()
	d, err := v.OpenDir(e.ctx, dir)
	e.must(err)
	e.must(d.Sync())
	e.must(d.Close())
}

var fsSyncCases = []FSCase{
	{"sync/bytes-are-durable", func(e *fsEnv) {
		for _, n := range sizes() {
			for _, ext := range []string{"log", "sst"} {
				v := e.mount()
				name := sizeName(n, ext)
				f := e.create(v, name)
				e.write(f, bytesOf(n, 1))
				e.must(f.Sync())
				e.write(f, bytesOf(10, 2))
				w := e.mount() // the first process is dead
				got := e.read(w, name)
				if len(got) < n {
					e.Fatalf("%s: %d bytes of %d that were synced", name, len(got), n)
				}
				want := append(bytesOf(n, 1), bytesOf(10, 2)...)
				if string(got) != string(want[:len(got)]) {
					e.Fatalf("%s: bytes that were not written: %s", name, difference(got, want))
				}
				e.must(w.Remove(e.ctx, name))
				e.close(w)
			}
		}
	}},
	{"sync/again-and-with-nothing-new", func(e *fsEnv) {
		v := e.mount()
		e.both(func(name string) {
			f := e.create(v, name)
			e.must(f.Sync())
			for i := range 10 {
				e.write(f, []byte(fmt.Sprint(i)))
				e.must(f.Sync())
				e.must(f.Sync())
			}
			e.must(f.Close())
		})
		v = e.mount()
		e.both(func(name string) { e.same(v, name, []byte("0123456789")) })
	}},
	{"sync/carries-every-operation-before-it", func(e *fsEnv) {
		// One Sync of one file makes all names durable that were issued before, in any directory.
		v := e.mount()
		e.mkdir(v, "/a/b")
		e.put(v, "/a/gone", bytesOf(100, 1), false)
		e.put(v, "/a/moved", bytesOf(5000, 2), false)
		e.put(v, "/a/t.sst", bytesOf(9000, 3), false)
		e.must(v.Link(e.ctx, "/a/t.sst", "/a/b/t.sst"))
		e.must(v.Rename(e.ctx, "/a/moved", "/a/b/here"))
		e.must(v.Remove(e.ctx, "/a/gone"))
		e.mkdir(v, "/c")
		e.put(v, "/wal.log", []byte("commit"), true)
		w := e.mount()
		e.names(w, "/", "a", "c", "wal.log")
		e.names(w, "/a", "b", "t.sst")
		e.names(w, "/a/b", "here", "t.sst")
		e.same(w, "/a/b/here", bytesOf(5000, 2))
		e.same(w, "/a/b/t.sst", bytesOf(9000, 3))
		e.same(w, "/wal.log", []byte("commit"))
	}},
	{"sync/dir", func(e *fsEnv) {
		for _, dir := range []string{"/db/sub", "/db", "/", "", "."} {
			v := e.mount()
			e.must(v.RemoveAll(e.ctx, "/db"))
			e.mkdir(v, "/db/sub")
			e.must(e.create(v, "/db/sub/marker.x").Close())
			e.syncDir(v, dir)
			w := e.mount()
			e.names(w, "/db/sub", "marker.x")
			e.close(w)
		}
		v := e.mount()
		_, err := v.OpenDir(e.ctx, "/missing")
		if !isNotExist(err) {
			e.Fatalf("OpenDir of a missing directory: %v", err)
		}
		_, err = v.OpenDir(e.ctx, "/db/sub/marker.x")
		e.want("OpenDir of a file", err, forstfs.ErrNotDir)
	}},
	{"sync/volume", func(e *fsEnv) {
		v := e.mount()
		e.put(v, "/a.log", bytesOf(500, 1), false)
		e.put(v, "/b.sst", bytesOf(9000, 2), false)
		e.must(v.Sync(e.ctx))
		v = e.mount()
		e.same(v, "/a.log", bytesOf(500, 1))
		e.same(v, "/b.sst", bytesOf(9000, 2))
	}},
	{"sync/hint-syncs-what-is-not-bulk", func(e *fsEnv) {
		v := e.mount()
		f := e.create(v, "/a.log")
		e.write(f, bytesOf(500, 1))
		e.must(f.SyncHint())
		g := e.create(v, "/b.sst")
		e.write(g, bytesOf(9000, 1))
		e.must(g.SyncHint()) // promises nothing, and must not fail
		v = e.mount()
		e.same(v, "/a.log", bytesOf(500, 1))
	}},
	{"sync/of-a-removed-file", func(e *fsEnv) {
		v := e.mount()
		e.both(func(name string) {
			f := e.create(v, name)
			e.write(f, bytesOf(5000, 1))
			e.must(v.Remove(e.ctx, name))
			e.must(f.Sync())
			e.must(f.Close())
		})
		e.must(v.Sync(e.ctx))
		v = e.mount()
		e.names(v, "/")
	}},
	{"sync/many-at-once", func(e *fsEnv) {
		v := e.mount()
		var wg sync.WaitGroup
		for w := range 12 {
			wg.Go(func() {
				name := fmt.Sprintf("/%02d.log", w)
				f, err := v.Create(e.ctx, name, nil)
				if err != nil {
					e.Errorf("Create: %v", err)
					return
				}
				for i := range 15 {
					p := make([]byte, 100)
					fillBytes(p, int64(i)*100, uint64(w))
					if _, err = f.Write(p); err == nil {
						err = f.Sync()
					}
					if err != nil {
						e.Errorf("%s: %v", name, err)
						return
					}
				}
			})
		}
		wg.Wait()
		u := e.mount()
		for w := range 12 {
			e.same(u, fmt.Sprintf("/%02d.log", w), bytesOf(1500, uint64(w)))
		}
	}},
	{"sync/a-closed-log-precedes-the-next-one", func(e *fsEnv) {
		// Pebble takes a log for damaged that is cut although a later one exists.
		v := e.mount()
		f := e.create(v, "/1.log")
		e.write(f, bytesOf(3000, 1))
		e.must(f.Close())
		g := e.create(v, "/2.log")
		e.write(g, bytesOf(10, 2))
		e.must(g.Sync())
		v = e.mount()
		e.same(v, "/1.log", bytesOf(3000, 1))
		e.same(v, "/2.log", bytesOf(10, 2))
	}},
	{"sync/no-byte-of-a-rename-is-missing", func(e *fsEnv) {
		v := e.mount()
		e.put(v, "/CURRENT", []byte("old"), true)
		f := e.create(v, "/CURRENT.dbtmp")
		e.write(f, []byte("new content"))
		e.must(v.Rename(e.ctx, "/CURRENT.dbtmp", "/CURRENT")) // still open, never synced
		g := e.create(v, "/linked.from")
		e.write(g, []byte("linked content"))
		e.must(v.Link(e.ctx, "/linked.from", "/linked.to"))
		e.syncDir(v, "/")
		v = e.mount()
		e.same(v, "/CURRENT", []byte("new content"))
		e.same(v, "/linked.to", []byte("linked content"))
	}},
	{"close/bulk-bytes-are-in-the-store", func(e *fsEnv) {
		// After Close the next Sync of anything makes the file durable, and the file's bytes have been uploaded.
		v := e.mount()
		f := e.create(v, "/a.sst")
		e.write(f, bytesOf(30_000, 1))
		e.must(f.Close())
		if n := e.dataObjects(); n == 0 {
			e.Fatalf("no data object after Close of a bulk file of 30,000 bytes")
		}
		e.put(v, "/MANIFEST-000001", []byte("edit"), true)
		v = e.mount()
		e.same(v, "/a.sst", bytesOf(30_000, 1))
	}},
	{"close/of-a-clean-file-costs-nothing", func(e *fsEnv) {
		v := e.mount()
		f := e.create(v, "/MANIFEST-000001")
		e.write(f, bytesOf(100, 1))
		e.must(f.Sync())
		before := v.Metrics().Journal.Frames
		e.must(f.Close())
		e.must(v.Sync(e.ctx))
		if after := v.Metrics().Journal.Frames; after != before {
			e.Fatalf("Close of a clean file wrote %d frames", after-before)
		}
	}},
	{"close/of-the-volume-is-a-sync", func(e *fsEnv) {
		v := e.mount()
		e.mkdir(v, "/d")
		e.put(v, "/d/a.log", bytesOf(3000, 1), false)
		e.put(v, "/d/b.sst", bytesOf(9000, 2), false)
		e.must(v.Rename(e.ctx, "/d/a.log", "/d/c.log"))
		v = e.again(v)
		e.names(v, "/d", "b.sst", "c.log")
		e.same(v, "/d/c.log", bytesOf(3000, 1))
		e.same(v, "/d/b.sst", bytesOf(9000, 2))
	}},
	{"close/twice-and-use-after-it", func(e *fsEnv) {
		v := e.mount()
		e.put(v, "/f", []byte("x"), true)
		f := e.openFile(v, "/f")
		w := e.create(v, "/g")
		e.close(v)
		e.want("second Close", v.Close(), forstfs.ErrClosed)
		for what, err := range map[string]error{
			"Sync": v.Sync(e.ctx), "MkdirAll": v.MkdirAll(e.ctx, "/d"), "Remove": v.Remove(e.ctx, "/f"), "Rename": v.Rename(e.ctx, "/f", "/h"),
			"Link": v.Link(e.ctx, "/f", "/h"), "RemoveAll": v.RemoveAll(e.ctx, "/f"), "Checkpoint": v.Checkpoint(e.ctx), "Err": v.Err(),
			"List": second(v.List(e.ctx, "/")), "Stat": second(v.Stat(e.ctx, "/f")), "Open": second(v.Open(e.ctx, "/f", nil)),
			"Create": second(v.Create(e.ctx, "/h", nil)), "Sweep": second(v.Sweep(e.ctx)),
			"Read": second(f.Read(make([]byte, 1))), "Write": second(w.Write([]byte("x"))),
		} {
			if !errors.Is(err, forstfs.ErrClosed) {
				e.Errorf("%s after Close: %v, want ErrClosed", what, err)
			}
			if errors.Is(err, errNotExist) {
				e.Errorf("%s after Close looks like a missing file: %v", what, err)
			}
		}
	}},
	{"close/waits-for-those-who-wait", func(e *fsEnv) {
		// Syncs that run when the volume is closed either return nil, and their bytes are there, or they fail.
		for round := range 5 {
			v := e.mount()
			var wg sync.WaitGroup
			var acked [8]atomic.Int64
			var started sync.WaitGroup
			started.Add(8)
			for w := range 8 {
				f := e.create(v, fmt.Sprintf("/%d-%d.log", round, w))
				wg.Go(func() {
					defer func() { _ = f.Close() }()
					for i := 0; ; i++ {
						p := make([]byte, 50)
						fillBytes(p, int64(i)*50, uint64(w))
						_, err := f.Write(p)
						if err == nil {
							err = f.Sync()
						}
						if i == 2 || err != nil && i < 2 {
							started.Done()
						}
						if err != nil {
							return
						}
						acked[w].Store(int64(i+1) * 50)
					}
				})
			}
			started.Wait()
			e.close(v)
			wg.Wait()
			v = e.mount()
			for w := range 8 {
				got := e.read(v, fmt.Sprintf("/%d-%d.log", round, w))
				if int64(len(got)) < acked[w].Load() || string(got) != string(bytesOf(len(got), uint64(w))) {
					e.Fatalf("%d bytes, %d were acknowledged; %s", len(got), acked[w].Load(), difference(got, bytesOf(len(got), uint64(w))))
				}
			}
			e.close(v)
		}
	}},
}

func second[T any](_ T, err error) error { return err }
