package conformance

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/journal"
)

// mountSnapshot opens a snapshot for reading, without a cache: everything must be in the store.
func (e *fsEnv) mountSnapshot(name string) *forstfs.FS {
	e.Helper()
	o := smallOptions()
	o.CacheBytes = -1
	v, err := forstfs.OpenSnapshot(e.ctx, e.store(), name, o)
	if err != nil {
		e.Fatalf("opening the snapshot %s: %v", name, err)
	}
	return e.owned(v)
}

func (e *fsEnv) snap(v *forstfs.FS, name string, o *forstfs.SnapshotOptions) forstfs.SnapshotInfo {
	e.Helper()
	info, err := v.Snapshot(e.ctx, name, o)
	e.must(err)
	return info
}

// snapNames demands the snapshots of a volume.
func (e *fsEnv) snapNames(v *forstfs.FS, want ...string) {
	e.Helper()
	all, err := v.Snapshots(e.ctx)
	e.must(err)
	var got []string
	for _, s := range all {
		got = append(got, s.Name)
	}
	if !slices.Equal(got, want) {
		e.Fatalf("Snapshots: %q, want %q", got, want)
	}
}

// tidy images, trims and sweeps until there is nothing left to do.
func (e *fsEnv) tidy(v *forstfs.FS) {
	e.Helper()
	for i := range 3 {
		e.put(v, fmt.Sprintf("/tidy%d.log", i), []byte("x"), true)
		e.must(v.Checkpoint(e.ctx))
		e.must(v.Remove(e.ctx, fmt.Sprintf("/tidy%d.log", i)))
	}
	e.must(v.Sync(e.ctx))
	e.must(second(v.Sweep(e.ctx)))
}

var fsSnapshotCases = []FSCase{
	{"snapshot/keeps-what-was-issued", func(e *fsEnv) {
		v := e.mount()
		e.mkdir(v, "/db")
		e.mkdir(v, "/x")
		log, sst := bytesOf(3000, 1), bytesOf(20_000, 2)
		e.put(v, "/db/1.log", log, false)
		e.put(v, "/db/2.sst", sst, false)
		e.must(v.Link(e.ctx, "/db/2.sst", "/x/2.sst"))
		open := e.create(v, "/db/3.log")
		e.write(open, []byte("synced"))
		e.must(open.Sync())
		e.write(open, []byte(" and not"))
		info := e.snap(v, "s", &forstfs.SnapshotOptions{Meta: []byte("mine")})
		if info.Name != "s" || info.Dir != "/" || info.Files != 3 || info.Bytes != 23_006 || string(info.Meta) != "mine" || info.ID == "" || info.Frame == 0 {
			e.Errorf("%+v", info)
		}
		e.write(open, []byte(", later"))
		e.must(open.Close())
		e.must(v.RemoveAll(e.ctx, "/db"))
		e.put(v, "/x/new", []byte("new"), true)
		check := func() {
			e.Helper()
			s := e.mountSnapshot("s")
			e.same(s, "/db/1.log", log)
			e.same(s, "/x/2.sst", sst)
			e.same(s, "/db/3.log", []byte("synced"))
			e.names(s, "/x", "2.sst")
			e.want("Create in a snapshot", second(s.Create(e.ctx, "/n", nil)), forstfs.ErrReadOnly)
			e.close(s)
		}
		check()
		for _, how := range ways {
			v = e.reopen(v, how)
			e.tidy(v)
			check()
		}
		e.exact()
	}},
	{"snapshot/of-a-directory", func(e *fsEnv) {
		v := e.mount()
		e.mkdir(v, "/a/b")
		e.mkdir(v, "/c")
		e.put(v, "/a/b/1.sst", bytesOf(9000, 1), false)
		e.put(v, "/c/2.sst", bytesOf(9000, 2), false)
		e.snap(v, "ab", &forstfs.SnapshotOptions{Dir: "a/b"})
		e.must(v.RemoveAll(e.ctx, "/a"))
		e.must(v.RemoveAll(e.ctx, "/c"))
		v = e.mount()
		e.tidy(v)
		s := e.mountSnapshot("ab")
		e.names(s, "/", "a")
		e.names(s, "/a/b", "1.sst")
		e.same(s, "/a/b/1.sst", bytesOf(9000, 1))
		e.close(s)
		e.exact()
	}},
	{"snapshot/removal-frees-everything", func(e *fsEnv) {
		v := e.mount()
		e.put(v, "/1.sst", bytesOf(9000, 1), true)
		e.put(v, "/1.log", bytesOf(900, 1), true)
		e.snap(v, "one", nil)
		e.put(v, "/2.sst", bytesOf(9000, 2), true)
		two := e.snap(v, "two", nil)
		e.must(v.Remove(e.ctx, "/1.sst"))
		e.must(v.Remove(e.ctx, "/2.sst"))
		e.must(v.Remove(e.ctx, "/1.log"))
		e.must(v.RemoveSnapshot(e.ctx, "one"))
		e.want("RemoveSnapshot again", v.RemoveSnapshot(e.ctx, "one"), forstfs.ErrNoSnapshot)
		e.tidy(v)
		e.snapNames(v, "two")
		s := e.mountSnapshot(two.ID)
		e.same(s, "/1.sst", bytesOf(9000, 1))
		e.same(s, "/1.log", bytesOf(900, 1))
		e.close(s)
		e.exact()
		e.must(v.RemoveSnapshot(e.ctx, two.ID))
		v = e.again(v)
		e.tidy(v)
		e.close(v)
		if left := append(e.keys("data/"), e.keys("snapshot/")...); len(left) > 0 {
			e.Errorf("left in the store: %q", left)
		}
	}},
	{"snapshot/restore-in-place", func(e *fsEnv) {
		v := e.mount()
		e.mkdir(v, "/db/sub")
		e.put(v, "/db/1.sst", bytesOf(9000, 1), false)
		e.put(v, "/db/sub/1.log", bytesOf(900, 2), false)
		e.put(v, "/beside", []byte("beside"), false)
		e.snap(v, "s", &forstfs.SnapshotOptions{Dir: "/db"})
		e.must(v.Remove(e.ctx, "/db/1.sst"))
		e.put(v, "/db/2.sst", bytesOf(9000, 3), false)
		e.put(v, "/beside", []byte("changed"), true)
		h := e.openFile(v, "/db/2.sst")
		lock, err := v.Lock(e.ctx, "/db/LOCK")
		e.must(err)
		if err := v.Restore(e.ctx, "s"); err == nil {
			e.Errorf("a directory with a lock was restored")
		}
		e.must(lock.Close())
		e.must(v.Restore(e.ctx, "s"))
		check := func() {
			e.Helper()
			e.names(v, "/db", "1.sst", "sub")
			e.same(v, "/db/1.sst", bytesOf(9000, 1))
			e.same(v, "/db/sub/1.log", bytesOf(900, 2))
			e.same(v, "/beside", []byte("changed"))
		}
		check()
		e.sameHandle(h, bytesOf(9000, 3)) // an open handle outlives it
		e.must(h.Close())
		e.must(v.RemoveSnapshot(e.ctx, "s")) // what was restored does not need it
		for _, how := range ways {
			v = e.reopen(v, how)
			e.tidy(v)
			check()
		}
		e.exact()
		f := e.create(v, "/db/more.log") // and the volume works on
		e.write(f, []byte("more"))
		e.must(f.Sync())
		e.must(f.Close())
		v = e.mount()
		e.same(v, "/db/more.log", []byte("more"))
	}},
	{"snapshot/restore-of-everything", func(e *fsEnv) {
		v := e.mount()
		e.snap(v, "empty", nil)
		e.put(v, "/1.sst", bytesOf(9000, 1), true)
		e.snap(v, "full", nil)
		e.must(v.Restore(e.ctx, "empty"))
		e.names(v, "/")
		e.must(v.Restore(e.ctx, "full"))
		e.must(v.Restore(e.ctx, "full"))
		v = e.mount()
		e.same(v, "/1.sst", bytesOf(9000, 1))
		e.must(v.RemoveSnapshot(e.ctx, "full"))
		e.must(v.Remove(e.ctx, "/1.sst"))
		e.tidy(v)
		if n := e.dataObjects(); n != 0 {
			e.Errorf("%d data objects of nobody", n)
		}
	}},
	{"snapshot/open-goes-back", func(e *fsEnv) {
		v := e.mount()
		e.mkdir(v, "/db")
		e.put(v, "/db/1.log", bytesOf(700, 1), true)
		e.put(v, "/db/2.sst", bytesOf(9000, 2), true)
		e.put(v, "/other", bytesOf(10, 3), true)
		info := e.snap(v, "s", &forstfs.SnapshotOptions{Dir: "/db"})
		e.put(v, "/db/1.log", bytesOf(800, 4), true)
		e.must(v.Remove(e.ctx, "/db/2.sst"))
		e.must(v.Sync(e.ctx))
		o := smallOptions()
		o.Restore = "absent"
		_, err := forstfs.Open(e.ctx, e.store(), o)
		e.want("going back to a snapshot that is not there", err, forstfs.ErrNoSnapshot)
		e.put(v, "/other", bytesOf(11, 3), true) // nobody was fenced
		o = smallOptions()
		o.Restore, o.FlushDelay = info.ID, -1
		back := e.mountOn(e.store(), o)
		is := func(v *forstfs.FS, log, other []byte, sst bool) {
			e.Helper()
			e.same(v, "/db/1.log", log)
			e.same(v, "/other", other)
			if sst {
				e.same(v, "/db/2.sst", bytesOf(9000, 2))
			} else {
				e.missing(v, "/db/2.sst")
			}
		}
		is(back, bytesOf(700, 1), bytesOf(11, 3), true)
		is(e.mount(), bytesOf(800, 4), bytesOf(11, 3), false) // it crashed before anything was durable
		o = smallOptions()
		o.Restore, o.FlushDelay = "s", -1
		back = e.mountOn(e.store(), o)
		e.put(back, "/db/3.log", bytesOf(5, 5), true) // whatever is durable first makes it durable
		v = e.mount()
		is(v, bytesOf(700, 1), bytesOf(11, 3), true)
		e.same(v, "/db/3.log", bytesOf(5, 5))
		_, err = forstfs.OpenReadOnly(e.ctx, e.store(), o)
		if err == nil {
			e.Errorf("a read-only volume goes back")
		}
		e.must(v.RemoveSnapshot(e.ctx, "s"))
		e.tidy(v)
		is(e.mount(), bytesOf(700, 1), bytesOf(11, 3), true)
	}},
	{"snapshot/bad-input-is-refused", func(e *fsEnv) {
		v := e.mount()
		e.put(v, "/f", []byte("x"), true)
		e.snap(v, "one", nil)
		for _, name := range []string{"", "a/b", "a b", "-a", ".", "a@b", "a\x00b", "\xff", strings.Repeat("n", 256)} {
			e.want(fmt.Sprintf("Snapshot(%q)", name), second(v.Snapshot(e.ctx, name, nil)), fs.ErrInvalid)
		}
		e.want("a name that is taken", second(v.Snapshot(e.ctx, "one", nil)), forstfs.ErrSnapshotExists)
		e.want("a directory that is not there", second(v.Snapshot(e.ctx, "n", &forstfs.SnapshotOptions{Dir: "/nope"})), fs.ErrNotExist)
		e.want("a file", second(v.Snapshot(e.ctx, "n", &forstfs.SnapshotOptions{Dir: "/f"})), forstfs.ErrNotDir)
		e.want("Restore", v.Restore(e.ctx, "nope"), forstfs.ErrNoSnapshot)
		e.want("RemoveSnapshot", v.RemoveSnapshot(e.ctx, "nope"), forstfs.ErrNoSnapshot)
		e.want("OpenSnapshot", second(forstfs.OpenSnapshot(e.ctx, e.store(), "nope", smallOptions())), forstfs.ErrNoSnapshot)
		r := e.mountReadOnly()
		e.want("Snapshot of a read-only volume", second(r.Snapshot(e.ctx, "n", nil)), forstfs.ErrReadOnly)
		e.snapNames(r, "one")
		e.snapNames(v, "one")
	}},
	{"snapshot/what-a-clone-holds-stays", func(e *fsEnv) {
		v := e.mount()
		e.put(v, "/1.sst", bytesOf(9000, 1), true)
		s := e.snap(v, "s", nil)
		e.must(v.Remove(e.ctx, "/1.sst"))
		hold := journal.HoldPrefix + s.ID + "/00112233445566778899aabbccddeeff"
		e.must(e.handle().Put(e.ctx, hold, []byte("a hold"), driver.PutOptions{}))
		e.must(v.RemoveSnapshot(e.ctx, "s"))
		e.tidy(v)
		v = e.mount()
		e.tidy(v)
		e.want("OpenSnapshot of a doomed one", second(forstfs.OpenSnapshot(e.ctx, e.store(), "s", smallOptions())), forstfs.ErrSnapshotDoomed)
		e.want("Restore of a doomed one", v.Restore(e.ctx, "s"), forstfs.ErrSnapshotDoomed)
		if e.dataObjects() == 0 || len(e.keys("snapshot/")) != 1 {
			e.Errorf("what a clone holds was deleted")
		}
		e.want("Drop", v.Drop(e.ctx), forstfs.ErrHeld)
		e.snap(v, "s", nil) // the name is free
		e.must(v.RemoveSnapshot(e.ctx, "s"))
		e.must(e.handle().Delete(e.ctx, []string{hold}))
		e.tidy(v)
		e.snapNames(v)
		if n := e.dataObjects() + len(e.keys("snapshot/")); n != 0 {
			e.Errorf("%d objects are left", n)
		}
	}},
	{"snapshot/a-doom-is-seen-before-holds-are-listed", func(e *fsEnv) {
		// A cloner whose hold comes after the list must find the doom in the journal.
		listed := make(chan string, 16)
		s := e.mount()
		e.snap(s, "s", nil)
		e.close(s)
		v := e.mountOn(&lookStore{e.store(), func(op, key string) {
			if op == "list" && strings.HasPrefix(key, journal.HoldPrefix) {
				r := e.mountReadOnly()
				all, err := r.Snapshots(e.ctx)
				if err != nil || len(all) != 1 || !all[0].Doomed {
					listed <- fmt.Sprintf("when the holds are listed, others see %+v, %v", all, err)
				}
				e.close(r)
			}
		}}, smallOptions())
		e.must(v.RemoveSnapshot(e.ctx, "s"))
		select {
		case what := <-listed:
			e.Errorf("%s", what)
		default:
		}
	}},
	{"snapshot/requests-are-served", func(e *fsEnv) {
		v := e.mount()
		e.put(v, "/1.sst", bytesOf(9000, 1), true)
		e.snap(v, "s", nil)
		e.must(v.Remove(e.ctx, "/1.sst"))
		e.must(v.Sync(e.ctx))
		h := e.handle()
		e.must(forstfs.RequestRemoveSnapshot(e.ctx, h, nil, "s"))
		e.must(forstfs.RequestCollect(e.ctx, h, nil))
		e.want("a request for what is not there", forstfs.RequestRemoveSnapshot(e.ctx, h, nil, "nope"), forstfs.ErrNoSnapshot)
		e.must(v.Err()) // nobody was fenced
		e.tidy(v)
		e.snapNames(v)
		if left := append(e.keys("request/"), e.keys("data/")...); len(left) > 0 {
			e.Errorf("left: %q", left)
		}
	}},
	{"snapshot/retention-and-expiry", func(e *fsEnv) {
		now := time.Unix(1_800_000_000, 0)
		o := smallOptions()
		o.Clock = func() time.Time { return now }
		v := e.mountOn(e.store(), o)
		for i := range 4 {
			e.snap(v, fmt.Sprint("auto", i), nil)
			now = now.Add(time.Hour)
		}
		e.snap(v, "short", &forstfs.SnapshotOptions{ExpireAfter: time.Minute})
		removed, err := v.Retain(e.ctx, forstfs.Retention{KeepLast: 2, Prefix: "auto"})
		if err != nil || !slices.Equal(removed, []string{"auto0", "auto1"}) {
			e.Errorf("Retain removed %q, %v", removed, err)
		}
		e.tidy(v)
		e.snapNames(v, "auto2", "auto3", "short")
		now = now.Add(time.Minute)
		e.tidy(v)
		e.snapNames(v, "auto2", "auto3")
	}},
	{"snapshot/beside-writers", func(e *fsEnv) {
		v := e.mount()
		e.mkdir(v, "/w")
		stop := make(chan struct{})
		var wg sync.WaitGroup
		fail := make(chan error, 4)
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				f, err := v.Create(e.ctx, fmt.Sprintf("/w/%d.%s", i%4, []string{"sst", "log"}[i%2]), nil)
				if err == nil {
					_, err = f.Write(bytes.Repeat([]byte{byte(i)}, 5000))
					if cerr := f.Close(); err == nil {
						err = cerr
					}
				}
				if err == nil && i%7 == 6 {
					err = v.Checkpoint(e.ctx)
				}
				if err != nil {
					fail <- err
					return
				}
			}
		})
		for i := range 8 {
			name := fmt.Sprint("s", i)
			e.snap(v, name, nil)
			if i%3 == 2 {
				e.must(v.RemoveSnapshot(e.ctx, fmt.Sprint("s", i-1)))
			}
			s := e.mountSnapshot(name)
			names, err := s.List(e.ctx, "/w")
			e.must(err)
			for _, n := range names {
				f := e.openFile(s, "/w/"+n)
				b, err := io.ReadAll(f)
				if err != nil || len(b) != 0 && (len(b) != 5000 || bytes.Count(b, b[:1]) != len(b)) {
					e.Errorf("%s in %s: %d bytes, %v", n, name, len(b), err)
				}
				e.must(f.Close())
			}
			e.close(s)
		}
		close(stop)
		wg.Wait()
		select {
		case err := <-fail:
			e.Errorf("the writer: %v", err)
		default:
		}
	}},
	{"follow/bounded-staleness", func(e *fsEnv) {
		v := e.mount()
		o := smallOptions()
		o.MaxStaleness = time.Nanosecond
		r, err := forstfs.OpenReadOnly(e.ctx, e.store(), o)
		e.must(err)
		e.owned(r)
		for i := range 5 {
			name := fmt.Sprintf("/%d.log", i)
			e.put(v, name, bytesOf(100*i, uint64(i)), true)
			switch i {
			case 0:
				_, err = r.Stat(e.ctx, name)
				e.must(err)
			case 1:
				e.names(r, "/", "0.log", "1.log")
			case 2:
				if n := len(second2(r.ReadDir(e.ctx, "/"))); n != 3 {
					e.Errorf("ReadDir shows %d files, want 3", n)
				}
			default:
				e.same(r, name, bytesOf(100*i, uint64(i)))
			}
		}
		h := e.openFile(r, "/4.log")
		f := e.create(v, "/4.log")
		e.write(f, []byte("another"))
		e.must(f.Sync())
		e.must(f.Close())
		e.same(r, "/4.log", []byte("another"))
		e.must(h.Close())
		if m := r.Metrics(); m.Staleness <= 0 || v.Metrics().Staleness != 0 {
			e.Errorf("staleness of the follower %v, of the writer %v", m.Staleness, v.Metrics().Staleness)
		}
		fixed := e.mountReadOnly()
		e.put(v, "/more.log", []byte("x"), true)
		e.missing(fixed, "/more.log")
		e.must(second(fixed.Refresh(e.ctx)))
		e.same(fixed, "/more.log", []byte("x"))
	}},
}

func second2[T any](x T, _ error) T { return x }

// lookStore shows requests before they are made.
type lookStore struct {
	driver.Store
	look func(op, key string)
}

func (s *lookStore) Unwrap() driver.Store { return s.Store }

func (s *lookStore) List(ctx ctxType, prefix, after string) iter.Seq2[driver.Info, error] {
	s.look("list", prefix)
	return s.Store.List(ctx, prefix, after)
}
