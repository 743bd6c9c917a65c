package conformance

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"sync"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
)

var allAccess = []forstfs.Access{forstfs.AccessDefault, forstfs.AccessRandom, forstfs.AccessSequential}

var fsReadCases = []FSCase{
	{"read/every-hint-gives-the-same-bytes", func(e *fsEnv) {
		v := e.mount()
		e.both(func(name string) { e.put(v, name, bytesOf(60_000, 4), false) })
		for _, how := range []string{"close", "checkpoint"} {
			v = e.reopen(v, how)
			e.both(func(name string) {
				for _, a := range allAccess {
					f, err := v.Open(e.ctx, name, &forstfs.OpenOptions{Access: a})
					e.must(err)
					e.randomReads(f, bytesOf(60_000, 4), 500)
					e.must(f.Close())
				}
			})
		}
	}},
	{"read/hints-may-change", func(e *fsEnv) {
		v := e.mount()
		want := bytesOf(60_000, 4)
		e.both(func(name string) {
			e.put(v, name, want, true)
			f := e.openFile(v, name)
			for i := range 20 {
				f.SetAccess(allAccess[i%3])
				e.must(f.Prefetch(int64(i)*1000, 5000))
				e.randomReads(f, want, 20)
				p := make([]byte, 2000)
				if _, err := f.ReadAt(p, int64(i)*2000); err != nil || !bytes.Equal(p, want[i*2000:i*2000+2000]) {
					e.Fatalf("ReadAt: %v", err)
				}
			}
			e.must(f.Prefetch(59_000, 5000)) // past the end
			e.must(f.Prefetch(90_000, 5000))
			e.must(f.Close())
		})
	}},
	{"read/small-buffers", func(e *fsEnv) {
		v := e.mount()
		want := bytesOf(20_000, 6)
		e.both(func(name string) {
			e.put(v, name, want, true)
			for _, k := range []int{1, 7, 256, 512, 5000} {
				f := e.openFile(v, name)
				var got []byte
				p := make([]byte, k)
				for {
					n, err := f.Read(p)
					got = append(got, p[:n]...)
					if err == io.EOF {
						break
					}
					e.must(err)
					if n == 0 {
						e.Fatalf("Read of %d bytes gave none and no error", k)
					}
				}
				if !bytes.Equal(got, want) {
					e.Fatalf("Read in steps of %d: %s", k, difference(got, want))
				}
				e.must(f.Close())
			}
		})
	}},
	{"read/positions-are-the-handles-own", func(e *fsEnv) {
		v := e.mount()
		want := bytesOf(9000, 6)
		e.both(func(name string) {
			e.put(v, name, want, true)
			f, g := e.openFile(v, name), e.openFile(v, name)
			step := func(f *forstfs.File, n int) []byte {
				p := make([]byte, n)
				_, err := io.ReadFull(f, p)
				e.must(err)
				return p
			}
			a := step(f, 1000)
			b := step(g, 10)
			if _, err := f.ReadAt(make([]byte, 100), 8000); err != nil { // does not move the position
				e.Fatalf("ReadAt: %v", err)
			}
			a = append(a, step(f, 1000)...)
			b = append(b, step(g, 10)...)
			if !bytes.Equal(a, want[:2000]) || !bytes.Equal(b, want[:20]) {
				e.Fatalf("two handles do not read independently")
			}
			e.must(f.Close())
			b = append(b, step(g, 100)...)
			if !bytes.Equal(b, want[:120]) {
				e.Fatalf("Close of one handle disturbs the other")
			}
			e.must(g.Close())
		})
	}},
	{"read/many-at-once", func(e *fsEnv) {
		v := e.mount()
		want := bytesOf(50_000, 6)
		e.both(func(name string) { e.put(v, name, want, true) })
		v = e.again(v)
		e.both(func(name string) {
			for _, a := range allAccess {
				f, err := v.Open(e.ctx, name, &forstfs.OpenOptions{Access: a})
				e.must(err)
				var wg sync.WaitGroup
				for w := range 8 {
					wg.Go(func() {
						r := rand.New(rand.NewPCG(uint64(w), 1))
						for range 40 {
							off := r.IntN(len(want))
							p := make([]byte, 1+r.IntN(min(9000, len(want)-off)))
							if n, err := f.ReadAt(p, int64(off)); n != len(p) || err != nil || !bytes.Equal(p, want[off:off+n]) {
								e.Errorf("ReadAt(%d at %d) = %d, %v", len(p), off, n, err)
								return
							}
						}
					})
				}
				wg.Wait()
				e.must(f.Close())
			}
		})
	}},
	{"read/refusals", func(e *fsEnv) {
		v := e.mount()
		e.mkdir(v, "/d")
		e.put(v, "/f", []byte("x"), false)
		_, err := v.Open(e.ctx, "/missing", nil)
		e.want("Open of a missing file", err, fs.ErrNotExist)
		_, err = v.Open(e.ctx, "/f/below", nil)
		e.want("Open below a file", err, fs.ErrNotExist)
		d := e.openFile(v, "/d")
		_, err = d.Read(make([]byte, 1))
		e.want("Read of a directory", err, forstfs.ErrIsDir)
		_, err = d.ReadAt(make([]byte, 1), 0)
		e.want("ReadAt of a directory", err, forstfs.ErrIsDir)
		e.must(d.Close())
		f := e.openFile(v, "/f")
		e.must(f.Close())
		_, err = f.Read(make([]byte, 1))
		e.want("Read after Close", err, fs.ErrClosed)
		_, err = f.ReadAt(make([]byte, 1), 0)
		e.want("ReadAt after Close", err, fs.ErrClosed)
		_, err = f.Stat()
		e.want("Stat after Close", err, fs.ErrClosed)
	}},
	{"read/what-was-written-is-there-at-once", func(e *fsEnv) {
		v := e.mount()
		e.both(func(name string) {
			f := e.create(v, name)
			g := e.openFile(v, name)
			var want []byte
			for i := range 50 {
				p := bytesOf(i*37, uint64(i))
				e.write(f, p)
				want = append(want, p...)
				switch i % 10 {
				case 3:
					e.must(f.Sync())
				case 6:
					e.must(f.SyncHint())
				case 8:
					e.must(v.Checkpoint(e.ctx))
				}
				e.sameHandle(g, want)
				info, err := g.Stat()
				e.must(err)
				if info.Size() != int64(len(want)) {
					e.Fatalf("%s: Stat says %d bytes of %d", name, info.Size(), len(want))
				}
				e.sameHandle(f, want) // the writer's own handle reads, too
			}
			e.must(f.Close())
			e.must(g.Close())
			e.same(v, name, want)
		})
	}},
	{"read/a-handle-follows-the-file-that-grows", func(e *fsEnv) {
		v := e.mount()
		e.both(func(name string) {
			f := e.create(v, name)
			g := e.openFile(v, name)
			var got []byte
			for i := range 30 {
				p := make([]byte, 400)
				fillBytes(p, int64(i)*400, 8)
				e.write(f, p)
				b, err := io.ReadAll(g)
				e.must(err)
				got = append(got, b...)
				if i == 10 {
					e.must(f.Sync())
				}
			}
			if !bytes.Equal(got, bytesOf(30*400, 8)) {
				e.Fatalf("%s: %s", name, difference(got, bytesOf(30*400, 8)))
			}
			e.must(f.Close())
			e.must(g.Close())
		})
	}},
	{"handle/outlives-the-name", func(e *fsEnv) {
		// However the name goes, an open handle reads on, and so do the bytes' frames and objects.
		ends := map[string]func(v *forstfs.FS, name string) error{
			"remove":    func(v *forstfs.FS, name string) error { return v.Remove(e.ctx, name) },
			"removeall": func(v *forstfs.FS, name string) error { return v.RemoveAll(e.ctx, "/d") },
			"create": func(v *forstfs.FS, name string) error {
				f, err := v.Create(e.ctx, name, nil)
				return errors.Join(err, f.Close())
			},
			"rename": func(v *forstfs.FS, name string) error { return v.Rename(e.ctx, "/other", name) },
			"reuse": func(v *forstfs.FS, name string) error {
				f, err := v.ReuseForWrite(e.ctx, name, "/d/new", nil)
				return errors.Join(err, f.Close())
			},
		}
		for how, end := range ends {
			for _, name := range []string{"/d/x.log", "/d/x.sst"} {
				v := e.mountOn(e.store(), uncached())
				e.must(v.RemoveAll(e.ctx, "/d"))
				e.mkdir(v, "/d")
				e.put(v, "/other", []byte("other"), false)
				want := bytesOf(9000, 11)
				e.put(v, name, want, true)
				f := e.openFile(v, name)
				if err := end(v, name); err != nil {
					e.Fatalf("%s %s: %v", how, name, err)
				}
				for range 3 {
					e.must(v.Checkpoint(e.ctx))
					e.put(v, "/tick.log", []byte("tick"), true)
					e.same(v, "/tick.log", []byte("tick")) // so that it is not f's frame that was read last
					e.sameHandle(f, want)
				}
				_, err := v.Sweep(e.ctx)
				e.must(err)
				e.sameHandle(f, want)
				e.must(f.Close())
				e.close(v)
			}
		}
	}},
	{"handle/a-writer-outlives-the-name", func(e *fsEnv) {
		v := e.mount()
		for _, name := range []string{"/x.log", "/x.sst"} {
			f := e.create(v, name)
			e.write(f, bytesOf(6000, 1))
			e.must(f.Sync())
			e.write(f, bytesOf(6000, 2))
			e.must(v.Remove(e.ctx, name))
			e.write(f, bytesOf(6000, 3))
			want := bytes.Join([][]byte{bytesOf(6000, 1), bytesOf(6000, 2), bytesOf(6000, 3)}, nil)
			e.sameHandle(f, want)
			e.must(f.Sync()) // it is nobody's any more
			e.must(v.Checkpoint(e.ctx))
			e.must(v.Checkpoint(e.ctx))
			e.sameHandle(f, want)
			e.must(f.Close())
			e.missing(v, name)
		}
		e.close(v)
		if n := e.dataObjects(); n != 0 {
			e.Fatalf("%d data objects are left of removed files", n)
		}
	}},
	{"handle/survives-rename-and-pack", func(e *fsEnv) {
		v := e.mount()
		for _, name := range []string{"/x.log", "/x.sst"} {
			want := bytesOf(7000, 11)
			e.put(v, name, want, true)
			f := e.openFile(v, name)
			e.must(v.Checkpoint(e.ctx))
			e.must(v.Rename(e.ctx, name, name+".moved"))
			e.must(v.Checkpoint(e.ctx))
			e.must(v.Checkpoint(e.ctx))
			e.sameHandle(f, want)
			e.must(f.Close())
			e.same(v, name+".moved", want)
		}
	}},
	{"cache/never-serves-other-bytes", func(e *fsEnv) {
		// The cache is small, files come and go under the same names, and another process takes over in between.
		o := smallOptions()
		o.CacheBytes = 128 << 10
		v := e.mountOn(e.store(), o)
		r := rand.New(rand.NewPCG(5, 5))
		content := map[string][]byte{}
		for i := range 120 {
			name := []string{"/a.sst", "/b.sst", "/c.log", "/d.log"}[r.IntN(4)]
			content[name] = bytesOf(r.IntN(20_000), uint64(i))
			e.put(v, name, content[name], false)
			if i%40 == 39 {
				e.close(v)
				v = e.mountOn(e.store(), o)
			}
			if i%25 == 24 {
				e.must(v.Checkpoint(e.ctx))
			}
			for name, want := range content {
				e.same(v, name, want)
			}
		}
	}},
	{"cache/off", func(e *fsEnv) {
		o := smallOptions()
		o.CacheBytes = -1
		v := e.mountOn(e.store(), o)
		for _, n := range sizes() {
			e.put(v, sizeName(n, "log"), bytesOf(n, 1), true)
			e.put(v, sizeName(n, "sst"), bytesOf(n, 2), true)
			e.same(v, sizeName(n, "log"), bytesOf(n, 1))
			e.same(v, sizeName(n, "sst"), bytesOf(n, 2))
		}
		e.must(v.Checkpoint(e.ctx))
		for _, n := range sizes() {
			e.same(v, sizeName(n, "log"), bytesOf(n, 1))
		}
	}},
	{"read/a-missing-object-is-no-missing-file", func(e *fsEnv) {
		// Somebody deletes what files need: the reads fail, and neither as "not exist" nor as the end of the file.
		v := e.mount()
		e.put(v, "/a.sst", bytesOf(9000, 1), true)
		e.put(v, "/b.log", bytesOf(900, 1), true)
		e.put(v, "/c.log", bytesOf(900, 2), true)
		e.close(v)
		o := smallOptions()
		o.CacheBytes = -1
		v = e.mountOn(e.store(), o)
		s := e.handle()
		e.same(v, "/c.log", bytesOf(900, 2)) // so that the frame of b.log is not the one that was read last
		e.must(s.Delete(e.ctx, append(e.keys("data/"), e.dataFrames()...)))
		for _, name := range []string{"/a.sst", "/b.log"} {
			f := e.openFile(v, name)
			n, err := f.ReadAt(make([]byte, 700), 0)
			if err == nil {
				e.Fatalf("%s: its bytes are gone, and a read gives some", name)
			}
			if n != 0 || err == io.EOF || isNotExist(err) || errors.Is(err, fs.ErrNotExist) || driver.KindOf(err) == driver.KindNotExist {
				e.Fatalf("%s: its bytes are gone: %d bytes, %v", name, n, err)
			}
			e.want("reading "+name, err, forstfs.ErrStale)
			e.must(f.Close())
		}
	}},
}

// randomReads compares n random reads with the content.
func (e *fsEnv) randomReads(f *forstfs.File, want []byte, n int) {
	e.Helper()
	r := rand.New(rand.NewPCG(uint64(n), 9))
	buf := make([]byte, 9000)
	for i := range n {
		off := r.IntN(len(want))
		if i%7 == 0 {
			off = min(off, len(want)/9) // runs of neighbouring reads
		}
		for range 1 + i%4 {
			p := buf[:1+r.IntN(min(len(buf), len(want)-off))]
			if got, err := f.ReadAt(p, int64(off)); got != len(p) || err != nil {
				e.Fatalf("%s: ReadAt(%d bytes at %d of %d) = %d, %v", f.Name(), len(p), off, len(want), got, err)
			}
			if !bytes.Equal(p, want[off:off+len(p)]) {
				e.Fatalf("%s: wrong bytes in %d at %d", f.Name(), len(p), off)
			}
			if off += len(p); off >= len(want) {
				break
			}
		}
	}
}
