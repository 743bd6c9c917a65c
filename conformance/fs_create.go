package conformance

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/forst-go/forst/forstfs"
)

func isNotExist(err error) bool { return errors.Is(err, fs.ErrNotExist) && os.IsNotExist(err) }

var fsCreateCases = []FSCase{
	{"create/an-empty-file-exists-without-write-or-sync", func(e *fsEnv) {
		// That is how Pebble makes its markers: create, close, sync the directory.
		for _, how := range ways {
			v := e.mount()
			e.mkdir(v, "/db")
			e.must(e.create(v, "/db/marker.manifest.000001.MANIFEST-000001").Close())
			e.must(e.create(v, "/db/empty.sst").Close())
			e.names(v, "/db", "empty.sst", "marker.manifest.000001.MANIFEST-000001")
			e.syncDir(v, "/db")
			v = e.reopen(v, how)
			e.names(v, "/db", "empty.sst", "marker.manifest.000001.MANIFEST-000001")
			e.same(v, "/db/empty.sst", nil)
			e.close(v)
		}
	}},
	{"create/visible-at-once", func(e *fsEnv) {
		v := e.mount()
		e.both(func(name string) {
			f := e.create(v, name)
			info, err := v.Stat(e.ctx, name)
			e.must(err)
			if info.Size() != 0 || info.IsDir() || info.Name() != name[1:] {
				e.Fatalf("Stat of a new file: %q, %d bytes, dir %v", info.Name(), info.Size(), info.IsDir())
			}
			names, err := v.List(e.ctx, "/")
			e.must(err)
			if !slices.Contains(names, name[1:]) {
				e.Fatalf("List = %q without the new file %s", names, name)
			}
			g := e.openFile(v, name)
			e.write(f, bytesOf(5000, 1))
			e.sameHandle(g, bytesOf(5000, 1))
			e.must(g.Close())
			e.must(f.Close())
		})
	}},
	{"create/a-new-file-each-time", func(e *fsEnv) {
		v := e.mount()
		e.both(func(name string) {
			old, next := bytesOf(7000, 1), bytesOf(300, 2)
			e.put(v, name, old, true)
			e.must(v.Link(e.ctx, name, name+".old"))
			h := e.openFile(v, name)
			before, err := v.Stat(e.ctx, name)
			e.must(err)
			e.put(v, name, next, true)
			after, err := v.Stat(e.ctx, name)
			e.must(err)
			if before.Inode() == after.Inode() {
				e.Fatalf("Create over %s gave the old file", name)
			}
			e.same(v, name, next)
			e.same(v, name+".old", old)
			e.sameHandle(h, old)
			e.must(h.Close())
		})
		v = e.again(v)
		e.both(func(name string) {
			e.same(v, name, bytesOf(300, 2))
			e.same(v, name+".old", bytesOf(7000, 1))
		})
	}},
	{"create/over-a-file-that-is-being-written", func(e *fsEnv) {
		v := e.mount()
		e.both(func(name string) {
			f := e.create(v, name)
			e.write(f, bytesOf(9000, 1))
			g := e.create(v, name)
			e.write(g, bytesOf(200, 2))
			e.write(f, bytesOf(10, 3))
			e.must(g.Close())
			e.must(f.Sync())
			e.must(f.Close())
			e.same(v, name, bytesOf(200, 2))
		})
		v = e.again(v)
		e.both(func(name string) { e.same(v, name, bytesOf(200, 2)) })
	}},
	{"create/refusals", func(e *fsEnv) {
		v := e.mount()
		e.mkdir(v, "/d/full")
		e.put(v, "/d/full/f", []byte("x"), false)
		e.mkdir(v, "/d/empty")
		for name, want := range map[string]error{
			"/missing/f": fs.ErrNotExist, "/d/full/f/below": forstfs.ErrNotDir, "/d/full/f/below/more": forstfs.ErrNotDir,
			"/d/full": forstfs.ErrIsDir, "/d/empty": forstfs.ErrIsDir, "/": forstfs.ErrIsDir, "": forstfs.ErrIsDir,
			"/a\x00b": fs.ErrInvalid, "/" + strings.Repeat("n", 5000): fs.ErrInvalid, "../up": fs.ErrInvalid,
		} {
			f, err := v.Create(e.ctx, name, nil)
			if err == nil {
				f.Close()
			}
			e.want("Create("+name[:min(len(name), 20)]+")", err, want)
			var pe *fs.PathError
			if !errors.As(err, &pe) {
				e.Errorf("Create(%s): %T is no *fs.PathError", name, err)
			}
		}
		e.names(v, "/", "d")
		e.same(v, "/d/full/f", []byte("x"))
	}},
	{"create/names-are-bytes", func(e *fsEnv) {
		v := e.mount()
		names := []string{" ", "\xff\xfe", "a b", "ä", "日本", "..x", "-", strings.Repeat("n", 255)}
		for i, n := range names {
			e.put(v, "/"+n, bytesOf(10, uint64(i)), false)
		}
		v = e.again(v)
		slices.Sort(names)
		e.names(v, "/", names...)
	}},
	{"create/path-forms", func(e *fsEnv) {
		v := e.mount()
		e.mkdir(v, "db/sub/")
		e.put(v, "db/sub/f", []byte("1"), false)
		for _, p := range []string{"/db/sub/f", "db/sub/f", "./db/sub/f", "/db//sub/f", "/db/./sub/f", "/db/x/../sub/f", "/db/sub/f/"} {
			e.same(v, p, []byte("1"))
		}
		for _, root := range []string{"", ".", "/", "//", "./."} {
			e.names(v, root, "db")
			info, err := v.Stat(e.ctx, root)
			e.must(err)
			if !info.IsDir() {
				e.Fatalf("Stat(%q) is no directory", root)
			}
		}
	}},
	{"write/content-and-size-are-exact", func(e *fsEnv) {
		for _, how := range ways {
			v := e.mount()
			for _, n := range sizes() {
				for _, ext := range []string{"log", "sst"} {
					e.put(v, sizeName(n, ext), bytesOf(n, uint64(n)), n%2 == 0)
					e.same(v, sizeName(n, ext), bytesOf(n, uint64(n)))
				}
			}
			e.must(v.Sync(e.ctx))
			v = e.reopen(v, how)
			for _, n := range sizes() {
				e.same(v, sizeName(n, "log"), bytesOf(n, uint64(n)))
				e.same(v, sizeName(n, "sst"), bytesOf(n, uint64(n)))
			}
			e.close(v)
		}
	}},
	{"write/the-callers-buffer-is-its-own", func(e *fsEnv) {
		v := e.mount()
		e.both(func(name string) {
			f := e.create(v, name)
			p := make([]byte, 700)
			for i := range 30 {
				fillBytes(p, int64(i)*700, 5)
				e.write(f, p)
				clear(p)
			}
			e.must(f.Close())
		})
		v = e.again(v)
		e.both(func(name string) { e.same(v, name, bytesOf(30*700, 5)) })
	}},
	{"write/one-large-write", func(e *fsEnv) {
		v := e.mount()
		e.both(func(name string) {
			f := e.create(v, name)
			e.write(f, bytesOf(20*objectSize+5, 5)) // more than may be in memory at once
			e.must(f.Close())
		})
		v = e.again(v)
		e.both(func(name string) { e.same(v, name, bytesOf(20*objectSize+5, 5)) })
	}},
	{"write/a-long-tail-goes-in-parts", func(e *fsEnv) {
		o := uncached()
		o.ObjectSize = 16 << 20
		v := e.mountOn(e.store(), o)
		want := bytesOf(7<<19, 1) // less than an object, and more than travels in one piece when it is to be durable
		e.put(v, "/a.sst", want, true)
		e.same(v, "/a.sst", want)
		e.close(v)
		e.same(e.mountOn(e.store(), uncached()), "/a.sst", want)
		if n := e.dataObjects(); n < 2 {
			e.Errorf("%d objects", n)
		}
	}},
	{"write/many-open-bulk-files-share-the-memory", func(e *fsEnv) {
		v := e.mount()
		var fs []*forstfs.File
		for i := range 12 { // three times as many as objects may be in memory
			fs = append(fs, e.create(v, sizeName(i, "sst")))
		}
		for round := range 10 {
			for i, f := range fs {
				p := make([]byte, 900)
				fillBytes(p, int64(round)*900, uint64(i))
				e.write(f, p)
			}
		}
		for _, f := range fs {
			e.must(f.Close())
		}
		v = e.again(v)
		for i := range fs {
			e.same(v, sizeName(i, "sst"), bytesOf(9000, uint64(i)))
		}
	}},
	{"write/refusals", func(e *fsEnv) {
		v := e.mount()
		e.both(func(name string) {
			f := e.create(v, name)
			e.must(f.Close())
			_, err := f.Write([]byte("x"))
			e.want("Write after Close", err, fs.ErrClosed)
			e.want("Sync after Close", f.Sync(), fs.ErrClosed)
			e.want("second Close", f.Close(), fs.ErrClosed)
			g := e.openFile(v, name)
			if _, err := g.Write([]byte("x")); err == nil {
				e.Fatalf("Write on a handle that was opened for reading")
			}
			e.must(g.Close())
			e.same(v, name, nil)
		})
	}},
	{"reuse/old-goes-new-comes", func(e *fsEnv) {
		v := e.mount()
		e.put(v, "/1.log", bytesOf(900, 1), true)
		h := e.openFile(v, "/1.log")
		f, err := v.ReuseForWrite(e.ctx, "/1.log", "/2.log", nil)
		e.must(err)
		info, err := f.Stat() // Pebble asks at once
		e.must(err)
		if info.Name() != "2.log" || info.Size() != 0 {
			e.Fatalf("Stat of a reused file: %q, %d bytes", info.Name(), info.Size())
		}
		e.names(v, "/", "2.log")
		e.write(f, bytesOf(30, 2))
		e.must(f.Sync())
		e.must(f.Close())
		e.sameHandle(h, bytesOf(900, 1))
		e.must(h.Close())
		f, err = v.ReuseForWrite(e.ctx, "/2.log", "/2.log", nil)
		e.must(err)
		e.write(f, []byte("again"))
		e.must(f.Close())
		_, err = v.ReuseForWrite(e.ctx, "/missing", "/3.log", nil)
		e.want("ReuseForWrite of a missing file", err, fs.ErrNotExist)
		e.mkdir(v, "/d")
		_, err = v.ReuseForWrite(e.ctx, "/d", "/3.log", nil)
		e.want("ReuseForWrite of a directory", err, forstfs.ErrIsDir)
		v = e.again(v)
		e.names(v, "/", "2.log", "d")
		e.same(v, "/2.log", []byte("again"))
	}},
	{"reuse/a-refused-one-changes-nothing", func(e *fsEnv) {
		v := e.mount()
		e.put(v, "/1.log", bytesOf(900, 1), true)
		e.mkdir(v, "/d")
		for to, want := range map[string]error{"/missing/2.log": fs.ErrNotExist, "/d": forstfs.ErrIsDir, "/1.log/2.log": forstfs.ErrNotDir} {
			_, err := v.ReuseForWrite(e.ctx, "/1.log", to, nil)
			e.want("ReuseForWrite to "+to, err, want)
			e.names(v, "/", "1.log", "d")
		}
		v = e.again(v)
		e.same(v, "/1.log", bytesOf(900, 1))
	}},
	{"read/end-of-file", func(e *fsEnv) {
		v := e.mount()
		e.both(func(name string) {
			for _, n := range []int{1, 100, objectSize, 9000} {
				e.put(v, name, bytesOf(n, 1), n%2 == 0)
				f := e.openFile(v, name)
				for _, k := range []int{1, n/2 + 1, n} { // a full read that ends at the end is no end
					p := make([]byte, k)
					if got, err := f.ReadAt(p, int64(n-k)); got != k || err != nil {
						e.Fatalf("%s: ReadAt of the last %d of %d bytes: %d, %v", name, k, n, got, err)
					}
				}
				for off, want := range map[int64]int{0: n, int64(n - 1): 1, int64(n): 0, int64(n + 1): 0, int64(n + 5000): 0} {
					p := make([]byte, n+20)
					if got, err := f.ReadAt(p, off); got != want || err != io.EOF {
						e.Fatalf("%s of %d bytes: ReadAt(%d bytes at %d) = %d, %v; want %d and io.EOF", name, n, len(p), off, got, err, want)
					}
				}
				if got, err := f.ReadAt(nil, 0); got != 0 || err != nil {
					e.Fatalf("ReadAt of nothing: %d, %v", got, err)
				}
				_, err := f.ReadAt(make([]byte, 1), -1)
				e.want("ReadAt at a negative offset", err, fs.ErrInvalid)
				if b, err := io.ReadAll(f); err != nil || len(b) != n {
					e.Fatalf("io.ReadAll: %d bytes, %v", len(b), err)
				}
				if got, err := f.Read(make([]byte, 5)); got != 0 || err != io.EOF {
					e.Fatalf("Read at the end: %d, %v", got, err)
				}
				e.must(f.Close())
			}
		})
	}},
}
