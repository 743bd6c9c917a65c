package conformance

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing/fstest"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
)

var fsVolumeCases = []FSCase{
	{"volume/later-open-fences-the-earlier", func(e *fsEnv) {
		v := e.mount()
		e.put(v, "/a", []byte("1"), true)
		f := e.create(v, "/mine.log")
		e.write(f, []byte("not synced"))
		w := e.mount()
		if w.Epoch() <= v.Epoch() {
			e.Fatalf("epoch %d after %d", w.Epoch(), v.Epoch())
		}
		e.want("Sync of the earlier writer", f.Sync(), forstfs.ErrFenced)
		<-v.Failed()
		for what, err := range map[string]error{
			"File.Sync again": f.Sync(), "Sync": v.Sync(e.ctx), "Create": second(v.Create(e.ctx, "/c", nil)), "Remove": v.Remove(e.ctx, "/a"),
			"Rename": v.Rename(e.ctx, "/a", "/b"), "Link": v.Link(e.ctx, "/a", "/b"), "MkdirAll": v.MkdirAll(e.ctx, "/d"),
			"Checkpoint": v.Checkpoint(e.ctx), "Sweep": second(v.Sweep(e.ctx)), "Write": second(f.Write([]byte("x"))), "Err": v.Err(),
			"Drop": v.Drop(e.ctx), "Close": v.Close(), // Close last: it ends the volume
		} {
			if !errors.Is(err, forstfs.ErrFenced) && !(errors.Is(err, forstfs.ErrClosed) && what != "Close") {
				e.Errorf("%s of a fenced volume: %v, want ErrFenced", what, err)
			}
		}
		e.last.Delete(v)
		e.same(w, "/a", []byte("1"))
		e.missing(w, "/mine.log")
		e.put(w, "/b", []byte("2"), true)
		u := e.again(w)
		e.same(u, "/b", []byte("2"))
	}},
	{"volume/a-fenced-one-still-reads-what-it-knew", func(e *fsEnv) {
		v := e.mount()
		e.put(v, "/a.sst", bytesOf(9000, 1), true)
		e.mount()
		e.must(v.Sync(e.ctx)) // nothing to send
		f := e.create(v, "/b")
		e.want("Sync", f.Sync(), forstfs.ErrFenced)
		e.same(v, "/a.sst", bytesOf(9000, 1))
		e.names(v, "/", "a.sst", "b")
	}},
	{"volume/checkpoint-changes-nothing", func(e *fsEnv) {
		v := e.mount()
		want := map[string][]byte{}
		for i := range 40 {
			name := fmt.Sprintf("/%02d.%s", i, []string{"log", "sst"}[i%2])
			want[name] = bytesOf(i*301, uint64(i))
			e.put(v, name, want[name], i%3 == 0)
			if i%8 == 7 {
				e.must(v.Checkpoint(e.ctx))
			}
			if i%5 == 4 {
				gone := fmt.Sprintf("/%02d.%s", i-3, []string{"log", "sst"}[(i-3)%2])
				e.must(v.Remove(e.ctx, gone))
				delete(want, gone)
			}
		}
		e.must(v.Checkpoint(e.ctx))
		e.must(v.Checkpoint(e.ctx))
		for range 2 {
			for name, b := range want {
				e.same(v, name, b)
			}
			names, err := v.List(e.ctx, "/")
			e.must(err)
			if len(names) != len(want) {
				e.Fatalf("%d names, want %d", len(names), len(want))
			}
			v = e.mount()
		}
	}},
	{"volume/checkpoints-run-by-themselves-and-bound-the-journal", func(e *fsEnv) {
		o := smallOptions()
		o.ImageFrames = 20
		v := e.mountOn(e.store(), o)
		f := e.create(v, "/wal.log")
		n := 0
		short := func() bool { return len(e.keys("journal/")) < 60 && len(e.keys("image/")) == 2 }
		for n = 0; n < 100 || !short(); n++ { // the images are written in the background: for how long does not matter
			if n == 20_000 {
				e.Fatalf("%d frames and %d images after %d syncs and an image every 20 frames", len(e.keys("journal/")), len(e.keys("image/")), n)
			}
			for range 30 {
				e.write(f, []byte{byteAt(int64(n), 3)})
				n++
				e.must(f.Sync())
			}
			n--
		}
		e.same(v, "/wal.log", bytesOf(n, 3))
		v = e.again(v)
		e.same(v, "/wal.log", bytesOf(n, 3))
	}},
	{"volume/checkpoints-beside-everything-else", func(e *fsEnv) {
		v := e.mount()
		var wg sync.WaitGroup
		stop := make(chan struct{})
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := v.Checkpoint(e.ctx); err != nil {
					e.Errorf("Checkpoint: %v", err)
					return
				}
			}
		})
		var work sync.WaitGroup
		for w := range 4 {
			work.Go(func() { e.churn(v, fmt.Sprintf("/w%d", w), 60) })
		}
		work.Wait()
		close(stop)
		wg.Wait()
		v = e.again(v)
		for w := range 4 {
			e.churned(v, fmt.Sprintf("/w%d", w), 60)
		}
	}},
	{"volume/two-writers-race-to-create-it", func(e *fsEnv) {
		// Both find nothing. Whatever the order, the prefix ends up as one volume, and nobody takes the other's objects for
		// something foreign.
		for round := range 12 {
			open := e.open
			if round > 0 { // a fresh prefix for each round
				prefix := fmt.Sprintf("r%d", round)
				open = under(e.open, prefix)
			}
			var wg sync.WaitGroup
			var vs [4]*forstfs.FS
			var errs [4]error
			for i := range vs {
				wg.Go(func() {
					s, err := open(e.ctx)
					if err == nil {
						o := smallOptions()
						o.SkipProbe = round%2 == 0 // what the probe makes must not be taken for something foreign either
						vs[i], err = forstfs.Open(e.ctx, s, o)
					}
					errs[i] = err
				})
			}
			wg.Wait()
			owners := 0
			for i, v := range vs {
				if errs[i] != nil {
					if !errors.Is(errs[i], forstfs.ErrBusy) {
						e.Errorf("round %d: a racing Open: %v", round, errs[i])
					}
					continue
				}
				e.owned(v)
				f, err := v.Create(e.ctx, fmt.Sprintf("/%d", i), nil)
				if err == nil {
					err = f.Sync()
				}
				switch {
				case err == nil:
					owners++
				case !errors.Is(err, forstfs.ErrFenced):
					e.Errorf("round %d: %v", round, err)
				}
			}
			if owners > 1 {
				e.Errorf("round %d: %d writers were acknowledged at the end", round, owners)
			}
			s, err := open(e.ctx)
			e.must(err)
			v := e.mountOn(s, smallOptions())
			for i := range vs {
				if vs[i] != nil && vs[i].VolumeID() != v.VolumeID() {
					e.Errorf("round %d: two volumes under one prefix", round)
				}
			}
		}
	}},
	{"volume/iofs", func(e *fsEnv) {
		v := e.mount()
		e.mkdir(v, "/db/deep/er")
		e.put(v, "/db/a.sst", bytesOf(20_000, 3), false)
		e.put(v, "/db/deep/b", bytesOf(10, 3), false)
		e.put(v, "/top", nil, false)
		e.must(fstest.TestFS(v.IOFS(e.ctx), "db/a.sst", "db/deep/b", "top", "db/deep/er"))
	}},
	{"volume/walk", func(e *fsEnv) {
		v := e.mount()
		e.mkdir(v, "/db/sub")
		e.put(v, "/db/a.sst", bytesOf(20_000, 3), false)
		e.put(v, "/z", nil, false)
		var got []string
		e.must(v.Walk(e.ctx, func(p string, i forstfs.FileInfo) error {
			got = append(got, fmt.Sprintf("%s %d %v", p, i.Size(), i.IsDir()))
			return nil
		}))
		want := []string{"/db 0 true", "/db/a.sst 20000 false", "/db/sub 0 true", "/z 0 false"}
		if len(got) > 0 && strings.HasPrefix(got[0], "/ ") {
			got = got[1:]
		}
		if !slices.Equal(got, want) {
			e.Fatalf("Walk gives %q, want %q", got, want)
		}
		stop := errors.New("stop")
		e.want("Walk", v.Walk(e.ctx, func(string, forstfs.FileInfo) error { return stop }), stop)
	}},
	{"readonly/follows-the-writer", func(e *fsEnv) {
		v := e.mount()
		e.put(v, "/a", []byte("1"), true)
		r := e.mountReadOnly()
		e.same(r, "/a", []byte("1"))
		for what, err := range map[string]error{
			"Create": second(r.Create(e.ctx, "/x", nil)), "Remove": r.Remove(e.ctx, "/a"), "MkdirAll": r.MkdirAll(e.ctx, "/d"),
			"Rename": r.Rename(e.ctx, "/a", "/b"), "Link": r.Link(e.ctx, "/a", "/b"), "RemoveAll": r.RemoveAll(e.ctx, "/a"),
			"Checkpoint": r.Checkpoint(e.ctx), "Sweep": second(r.Sweep(e.ctx)), "Drop": r.Drop(e.ctx),
			"ReuseForWrite": second(r.ReuseForWrite(e.ctx, "/a", "/b", nil)),
		} {
			e.want(what+" on a read-only volume", err, forstfs.ErrReadOnly)
		}
		for i := range 25 {
			name := fmt.Sprintf("/f%d.%s", i, []string{"sst", "log"}[i%2])
			e.put(v, name, bytesOf(500*i, uint64(i)), true)
			if i%6 == 5 {
				e.must(v.Checkpoint(e.ctx))
			}
			changed, err := r.Refresh(e.ctx)
			e.must(err)
			if !changed {
				e.Fatalf("Refresh has not noticed an acknowledged file")
			}
			e.same(r, name, bytesOf(500*i, uint64(i)))
		}
		changed, err := r.Refresh(e.ctx)
		e.must(err)
		if changed {
			e.Fatalf("Refresh without news says that there are some")
		}
		e.put(v, "/last", []byte("2"), true) // and it does not disturb the writer
	}},
	{"readonly/open-handles-follow", func(e *fsEnv) {
		// Whether the reader replays frames or goes on from a newer image, an open handle sees the file's bytes up to its size.
		for _, jump := range []bool{false, true} {
			v := e.mount()
			e.both(func(name string) {
				f := e.create(v, name)
				e.write(f, bytesOf(1000, 1))
				e.must(f.Sync())
				r := e.mountReadOnly()
				h := e.openFile(r, name)
				e.sameHandle(h, bytesOf(1000, 1))
				for i := 2; i < 8; i++ {
					p := make([]byte, 1000)
					fillBytes(p, int64(i-1)*1000, 1)
					e.write(f, p)
					e.must(f.Sync())
					if jump {
						e.must(v.Checkpoint(e.ctx))
						e.put(v, "/other", nil, true)
						e.must(v.Checkpoint(e.ctx))
					}
					_, err := r.Refresh(e.ctx)
					e.must(err)
					e.sameHandle(h, bytesOf(i*1000, 1))
					info, err := h.Stat()
					e.must(err)
					if info.Size() != int64(i)*1000 {
						e.Fatalf("%s: Stat of the open handle says %d bytes of %d (jump %v)", name, info.Size(), i*1000, jump)
					}
				}
				e.must(h.Close())
				e.must(f.Close())
				e.close(r)
			})
			e.must(v.RemoveAll(e.ctx, "/x.log"))
			e.close(v)
		}
	}},
	{"readonly/what-a-writer-removed-is-stale", func(e *fsEnv) {
		v := e.mount()
		e.both(func(name string) { e.put(v, name, bytesOf(9000, 1), true) })
		e.must(v.Checkpoint(e.ctx))
		o := smallOptions()
		o.CacheBytes = -1
		r, err := forstfs.OpenReadOnly(e.ctx, e.store(), o)
		e.must(err)
		e.owned(r)
		e.both(func(name string) { e.must(v.Remove(e.ctx, name)) })
		e.must(v.Checkpoint(e.ctx))
		e.put(v, "/other", nil, true)
		e.must(v.Checkpoint(e.ctx))
		e.close(v)
		e.both(func(name string) {
			f := e.openFile(r, name) // the reader has not refreshed: it knows the file
			n, err := f.ReadAt(make([]byte, 100), 0)
			if n != 0 || err == io.EOF {
				e.Fatalf("%s: read of an object that is gone: %d, %v", name, n, err)
			}
			e.want("reading "+name, err, forstfs.ErrStale)
			e.must(f.Close())
		})
		_, err = r.Refresh(e.ctx)
		e.must(err)
		e.names(r, "/", "other")
	}},
}

// churn makes, replaces, moves and removes files below dir, in an order that churned knows.
func (e *fsEnv) churn(v *forstfs.FS, dir string, n int) {
	fail := func(err error) bool {
		if err != nil {
			e.Errorf("%s: %v", dir, err)
		}
		return err != nil
	}
	if fail(v.MkdirAll(e.ctx, dir)) {
		return
	}
	for i := range n {
		name := churnName(dir, i)
		f, err := v.Create(e.ctx, name, nil)
		if err == nil {
			_, err = f.Write(bytesOf(i*53, uint64(i)))
		}
		if err == nil && i%4 == 0 {
			err = f.Sync()
		}
		if fail(err) || fail(f.Close()) {
			return
		}
		if i >= 5 && fail(v.Rename(e.ctx, churnName(dir, i-5), churnName(dir, i-5)+".moved")) {
			return
		}
		if i >= 10 && fail(v.Remove(e.ctx, churnName(dir, i-10)+".moved")) {
			return
		}
	}
	fail(v.Sync(e.ctx))
}

func churnName(dir string, i int) string {
	return fmt.Sprintf("%s/%03d.%s", dir, i, []string{"log", "sst", "sst"}[i%3])
}

func (e *fsEnv) churned(v *forstfs.FS, dir string, n int) {
	e.Helper()
	var want []string
	for i := n - 10; i < n; i++ {
		name := churnName(dir, i)
		if i < n-5 {
			name += ".moved"
		}
		want = append(want, name[len(dir)+1:])
		e.same(v, name, bytesOf(i*53, uint64(i)))
	}
	e.names(v, dir, want...)
}

// under gives the stores of a prefix.
func under(open func(ctxType) (driver.Store, error), prefix string) func(ctxType) (driver.Store, error) {
	return func(ctx ctxType) (driver.Store, error) {
		s, err := open(ctx)
		if err != nil {
			return nil, err
		}
		return &prefixStore{Store: s, prefix: prefix + "/"}, nil
	}
}
