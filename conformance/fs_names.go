package conformance

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"sync/atomic"

	"github.com/forst-go/forst/forstfs"
)

var errNotExist = fs.ErrNotExist

var fsNameCases = []FSCase{
	{"link/one-file-two-names", func(e *fsEnv) {
		for _, how := range ways {
			v := e.mount()
			e.both(func(name string) {
				want := bytesOf(7000, 1)
				e.put(v, name, want, false)
				e.must(v.Link(e.ctx, name, name+".2"))
				e.must(v.Link(e.ctx, name+".2", name+".3"))
				a, err := v.Stat(e.ctx, name)
				e.must(err)
				b, err := v.Stat(e.ctx, name+".3")
				e.must(err)
				if a.Inode() != b.Inode() || a.Inode() == 0 {
					e.Fatalf("two names of one file: inodes %d and %d", a.Inode(), b.Inode())
				}
				e.must(v.Remove(e.ctx, name)) // as Pebble does after an ingest
				e.same(v, name+".2", want)
			})
			e.must(v.Sync(e.ctx))
			v = e.reopen(v, how)
			e.both(func(name string) {
				e.missing(v, name)
				e.same(v, name+".2", bytesOf(7000, 1))
				e.same(v, name+".3", bytesOf(7000, 1))
				e.must(v.Remove(e.ctx, name+".2"))
				e.must(v.Checkpoint(e.ctx))
				e.same(v, name+".3", bytesOf(7000, 1))
				e.must(v.Remove(e.ctx, name+".3"))
			})
			e.close(v)
		}
	}},
	{"link/to-a-file-that-is-being-written", func(e *fsEnv) {
		v := e.mount()
		e.both(func(name string) {
			f := e.create(v, name)
			e.write(f, bytesOf(3000, 1))
			e.must(v.Link(e.ctx, name, name+".2"))
			e.write(f, bytesOf(3000, 2))
			want := append(bytesOf(3000, 1), bytesOf(3000, 2)...)
			e.same(v, name+".2", want)
			e.must(f.Close())
			e.must(v.Remove(e.ctx, name))
			e.same(v, name+".2", want)
		})
		v = e.again(v)
		e.both(func(name string) { e.same(v, name+".2", append(bytesOf(3000, 1), bytesOf(3000, 2)...)) })
	}},
	{"link/refusals", func(e *fsEnv) {
		v := e.mount()
		e.mkdir(v, "/d")
		e.put(v, "/a", []byte("a"), false)
		e.put(v, "/b", []byte("b"), false)
		for _, c := range []struct {
			from, to string
			want     error
		}{
			{"/a", "/b", fs.ErrExist}, {"/a", "/a", fs.ErrExist}, {"/a", "/d", fs.ErrExist}, {"/missing", "/c", fs.ErrNotExist},
			{"/a", "/missing/c", fs.ErrNotExist}, {"/a", "/b/c", forstfs.ErrNotDir}, {"/d", "/e", forstfs.ErrIsDir},
		} {
			e.want(fmt.Sprintf("Link(%s, %s)", c.from, c.to), v.Link(e.ctx, c.from, c.to), c.want)
		}
		e.names(v, "/", "a", "b", "d")
		e.same(v, "/b", []byte("b"))
	}},
	{"rename/replaces-at-once", func(e *fsEnv) {
		for _, how := range ways {
			v := e.mount()
			e.both(func(name string) {
				e.put(v, name, bytesOf(6000, 1), false)
				e.put(v, name+".new", bytesOf(7000, 2), false)
				e.must(v.Link(e.ctx, name, name+".keep"))
				e.must(v.Rename(e.ctx, name+".new", name))
				e.missing(v, name+".new")
				e.same(v, name, bytesOf(7000, 2))
				e.same(v, name+".keep", bytesOf(6000, 1))
			})
			e.must(v.Sync(e.ctx))
			v = e.reopen(v, how)
			e.names(v, "/", "x.log", "x.log.keep", "x.sst", "x.sst.keep")
			e.both(func(name string) {
				e.same(v, name, bytesOf(7000, 2))
				e.same(v, name+".keep", bytesOf(6000, 1))
				e.must(v.Remove(e.ctx, name))
				e.must(v.Remove(e.ctx, name+".keep"))
			})
			e.close(v)
		}
	}},
	{"rename/never-none-and-never-a-mix", func(e *fsEnv) {
		// Readers of a name that is replaced again and again see the old or the new file, whole.
		v := e.mount()
		const size = 3000
		e.put(v, "/CURRENT", bytesOf(size, 0), false)
		var stop atomic.Bool
		var writers, readers sync.WaitGroup
		for w := range 3 {
			writers.Go(func() {
				for i := range 25 {
					tmp := fmt.Sprintf("/tmp.%d", w)
					f, err := v.Create(e.ctx, tmp, nil)
					if err == nil {
						_, err = f.Write(bytesOf(size, uint64(1+w*100+i)))
						err = errors.Join(err, f.Close(), v.Rename(e.ctx, tmp, "/CURRENT"))
					}
					if err != nil {
						e.Errorf("writer: %v", err)
						return
					}
				}
			})
		}
		for range 3 {
			readers.Go(func() {
				for !stop.Load() {
					f, err := v.Open(e.ctx, "/CURRENT", nil)
					if err != nil {
						e.Errorf("reader: %v", err)
						return
					}
					b, err := io.ReadAll(f)
					_ = f.Close()
					if err != nil || len(b) != size || !isText(b, 301) {
						e.Errorf("reader: %d bytes of one of the files, %v", len(b), err)
						return
					}
				}
			})
		}
		writers.Wait()
		stop.Store(true)
		readers.Wait()
		v = e.again(v)
		e.names(v, "/", "CURRENT")
		if b := e.read(v, "/CURRENT"); len(b) != size || !isText(b, 301) {
			e.Fatalf("the last file is none of those that were renamed")
		}
	}},
	{"rename/of-a-file-that-is-being-written", func(e *fsEnv) {
		v := e.mount()
		e.both(func(name string) {
			f := e.create(v, name)
			e.write(f, bytesOf(3000, 1))
			e.must(v.Rename(e.ctx, name, name+".moved"))
			e.write(f, bytesOf(3000, 2))
			e.must(f.Sync())
			e.missing(v, name)
		})
		v = e.mount()
		e.both(func(name string) { e.same(v, name+".moved", append(bytesOf(3000, 1), bytesOf(3000, 2)...)) })
	}},
	{"rename/directory-with-all-below", func(e *fsEnv) {
		v := e.mount()
		e.mkdir(v, "/a/b/c")
		e.put(v, "/a/f.sst", bytesOf(9000, 1), false)
		e.put(v, "/a/b/c/g.log", bytesOf(900, 2), false)
		f := e.create(v, "/a/b/open.log")
		e.write(f, []byte("be"))
		e.must(v.Rename(e.ctx, "/a", "/z"))
		e.write(f, []byte("hind"))
		e.must(f.Sync())
		e.missing(v, "/a")
		e.missing(v, "/a/b/c/g.log")
		e.must(v.Rename(e.ctx, "/z/b", "/moved"))
		v = e.again(v)
		e.names(v, "/", "moved", "z")
		e.names(v, "/z", "f.sst")
		e.names(v, "/moved", "c", "open.log")
		e.same(v, "/z/f.sst", bytesOf(9000, 1))
		e.same(v, "/moved/c/g.log", bytesOf(900, 2))
		e.same(v, "/moved/open.log", []byte("behind"))
	}},
	{"rename/onto-itself", func(e *fsEnv) {
		v := e.mount()
		e.put(v, "/a", bytesOf(100, 1), false)
		e.mkdir(v, "/d")
		e.must(v.Link(e.ctx, "/a", "/b"))
		e.must(v.Rename(e.ctx, "/a", "/a"))
		e.must(v.Rename(e.ctx, "/a", "/b")) // two names of one file: nothing happens, as POSIX says
		e.must(v.Rename(e.ctx, "/d", "/d"))
		v = e.again(v)
		e.names(v, "/", "a", "b", "d")
		e.same(v, "/a", bytesOf(100, 1))
	}},
	{"rename/refusals", func(e *fsEnv) {
		v := e.mount()
		e.mkdir(v, "/d/sub")
		e.mkdir(v, "/empty")
		e.put(v, "/f", []byte("f"), false)
		for _, c := range []struct {
			from, to string
			want     error
		}{
			{"/missing", "/x", fs.ErrNotExist}, {"/missing", "/f", fs.ErrNotExist}, {"/f", "/missing/x", fs.ErrNotExist},
			{"/f", "/f/x", forstfs.ErrNotDir}, {"/d", "/f/x", forstfs.ErrNotDir}, {"/f", "/d", forstfs.ErrIsDir}, {"/d", "/f", forstfs.ErrNotDir},
			{"/d", "/d/sub/x", fs.ErrInvalid}, {"/empty", "/d", fs.ErrExist}, {"/", "/x", fs.ErrInvalid},
		} {
			e.want(fmt.Sprintf("Rename(%s, %s)", c.from, c.to), v.Rename(e.ctx, c.from, c.to), c.want)
			e.names(v, "/", "d", "empty", "f")
		}
		v = e.again(v)
		e.names(v, "/", "d", "empty", "f")
		e.names(v, "/d", "sub")
		e.same(v, "/f", []byte("f"))
	}},
	{"remove/refusals", func(e *fsEnv) {
		v := e.mount()
		e.mkdir(v, "/d/empty")
		e.put(v, "/d/f", []byte("f"), false)
		for name, want := range map[string]error{"/missing": fs.ErrNotExist, "/d": forstfs.ErrNotEmpty, "/d/f/x": forstfs.ErrNotDir, "/": fs.ErrInvalid} {
			e.want("Remove("+name+")", v.Remove(e.ctx, name), want)
		}
		if err := v.Remove(e.ctx, "/missing"); !isNotExist(err) {
			e.Fatalf("Remove of a missing file: %v", err)
		}
		e.names(v, "/d", "empty", "f")
		e.must(v.Remove(e.ctx, "/d/empty"))
		e.must(v.Remove(e.ctx, "/d/f"))
		e.must(v.Remove(e.ctx, "/d"))
		_, err := v.Open(e.ctx, "/d/f", nil)
		e.want("Open of a removed file", err, fs.ErrNotExist)
		e.want("second Remove", v.Remove(e.ctx, "/d"), fs.ErrNotExist)
		v = e.again(v)
		e.names(v, "/")
	}},
	{"removeall/the-whole-subtree", func(e *fsEnv) {
		for _, how := range ways {
			v := e.mount()
			e.mkdir(v, "/d/a/b/c/d")
			e.mkdir(v, "/keep")
			for i, p := range []string{"/d/1.sst", "/d/a/2.log", "/d/a/b/c/d/3.sst", "/keep/4.sst"} {
				e.put(v, p, bytesOf(6000, uint64(i)), false)
			}
			e.must(v.Link(e.ctx, "/d/a/b/c/d/3.sst", "/keep/3.sst"))
			e.must(v.RemoveAll(e.ctx, "/d"))
			e.must(v.RemoveAll(e.ctx, "/d"))
			e.must(v.RemoveAll(e.ctx, "/missing/deep"))
			e.must(v.RemoveAll(e.ctx, "/keep/4.sst/below"))
			e.must(v.Sync(e.ctx))
			v = e.reopen(v, how)
			e.names(v, "/", "keep")
			e.same(v, "/keep/3.sst", bytesOf(6000, 2))
			e.same(v, "/keep/4.sst", bytesOf(6000, 3))
			e.must(v.RemoveAll(e.ctx, "/keep/4.sst"))
			e.must(v.RemoveAll(e.ctx, "/keep"))
			e.names(v, "/")
			e.close(v)
		}
		v := e.mount()
		e.want("RemoveAll of the root", v.RemoveAll(e.ctx, "/"), fs.ErrInvalid)
	}},
}

// isText reports whether b is the text of one of the seeds below n.
func isText(b []byte, n uint64) bool {
	for seed := range n {
		if string(b) == string(bytesOf(len(b), seed)) {
			return true
		}
	}
	return false
}

var fsDirCases = []FSCase{
	{"mkdir/idempotent-with-parents", func(e *fsEnv) {
		v := e.mount()
		for range 2 {
			e.mkdir(v, "/a/b/c")
			e.mkdir(v, "/a/b/c/")
			e.mkdir(v, "/a")
			e.mkdir(v, "/")
			e.mkdir(v, "")
		}
		e.names(v, "/a/b/c")
		e.must(v.Remove(e.ctx, "/a/b/c")) // parents stay
		e.names(v, "/a/b")
		v = e.again(v)
		e.names(v, "/a", "b")
		e.put(v, "/f", nil, false)
		e.want("MkdirAll over a file", v.MkdirAll(e.ctx, "/f"), fs.ErrExist)
		e.want("MkdirAll below a file", v.MkdirAll(e.ctx, "/f/d/e"), forstfs.ErrNotDir)
		e.names(v, "/", "a", "f")
	}},
	{"list/direct-children-by-base-name", func(e *fsEnv) {
		v := e.mount()
		e.mkdir(v, "/db/sub/deep")
		for _, n := range []string{"/db/b", "/db/a.sst", "/db/sub/x", "/dbx", "/db/c"} {
			e.put(v, n, []byte(n), false)
		}
		e.names(v, "/db", "a.sst", "b", "c", "sub")
		e.names(v, "/db/", "a.sst", "b", "c", "sub")
		e.names(v, "/", "db", "dbx")
		infos, err := v.ReadDir(e.ctx, "/db")
		e.must(err)
		if len(infos) != 4 {
			e.Fatalf("ReadDir gives %d entries", len(infos))
		}
		for _, i := range infos { // the list says what Stat says
			s, err := v.Stat(e.ctx, "/db/"+i.Name())
			e.must(err)
			if s != i {
				e.Fatalf("ReadDir says %+v, Stat %+v", i, s)
			}
		}
		_, err = v.List(e.ctx, "/db/b")
		e.want("List of a file", err, forstfs.ErrNotDir)
		_, err = v.List(e.ctx, "/missing")
		e.want("List of a missing directory", err, fs.ErrNotExist)
		_, err = v.ReadDir(e.ctx, "/missing")
		e.want("ReadDir of a missing directory", err, fs.ErrNotExist)
	}},
	{"list/thousands-of-names", func(e *fsEnv) {
		v := e.mount()
		var want []string
		for i := range 2500 {
			n := fmt.Sprintf("%06d.sst", i)
			want = append(want, n)
			e.must(e.create(v, "/"+n).Close())
		}
		e.names(v, "/", want...)
		v = e.again(v)
		e.names(v, "/", want...)
		e.must(v.Checkpoint(e.ctx))
		v = e.again(v)
		e.names(v, "/", want...)
	}},
	{"list/what-changed-shows-at-once", func(e *fsEnv) {
		v := e.mount()
		for i := range 20 {
			a, b := fmt.Sprintf("/a%d", i), fmt.Sprintf("/b%d", i)
			e.put(v, a, nil, false)
			e.names(v, "/", a[1:])
			e.must(v.Rename(e.ctx, a, b))
			e.names(v, "/", b[1:])
			e.must(v.Remove(e.ctx, b))
			e.names(v, "/")
		}
	}},
	{"stat/what-is-missing-does-not-exist", func(e *fsEnv) {
		v := e.mount()
		e.mkdir(v, "/db")
		e.put(v, "/db/f", nil, false)
		for _, p := range []string{"/missing", "MANIFEST-000001", "/db/f/x", "/db/missing/x", "../..", "/a\x00b"} {
			_, err := v.Stat(e.ctx, p)
			if !isNotExist(err) {
				e.Errorf("Stat(%q) = %v, want not exist", p, err)
			}
		}
	}},
	{"lock/excludes-within-the-process", func(e *fsEnv) {
		v := e.mount()
		e.mkdir(v, "/db")
		l, err := v.Lock(e.ctx, "/db/LOCK")
		e.must(err)
		if _, err := v.Lock(e.ctx, "db/LOCK"); err == nil {
			e.Fatalf("a lock was given twice")
		}
		m, err := v.Lock(e.ctx, "/db/OTHER")
		e.must(err)
		e.must(l.Close())
		if l.Close() == nil {
			e.Errorf("a lock was given back twice")
		}
		l, err = v.Lock(e.ctx, "/db/LOCK")
		e.must(err)
		_, err = v.Lock(e.ctx, "/missing/LOCK")
		e.want("Lock in a missing directory", err, fs.ErrNotExist)
		e.must(m.Close())
		e.must(v.Sync(e.ctx))
		w := e.mount() // a lock does not survive its process
		l2, err := w.Lock(e.ctx, "/db/LOCK")
		e.must(err)
		e.must(l2.Close())
		e.must(l.Close())
	}},
}
