package conformance

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/forst-go/forst/cache"
	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/journal"
)

// What is promised of clones, in the words of forstfs.Clone.

var fsCloneCases = []FSCase{
	{"clone/has-what-the-snapshot-has", func(e *fsEnv) {
		v := e.lender()
		e.put(v, "/later", []byte("later"), true)
		info := e.clone("a", "s", "b")
		if info.Files != 2 || info.Bytes != 20_900 || info.Copied != 0 || info.Lenders != 1 {
			e.Errorf("%+v", info)
		}
		if infos, err := driver.ListAll(e.ctx, e.peek("b"), "data/", ""); err != nil || len(infos) > 0 {
			e.Errorf("the clone has data objects of its own: %v, %v", infos, err)
		}
		e.must(v.Err())
		c := e.mountAt("b")
		e.names(c, "/", "1.sst", "2.log")
		e.sameAsLender(c)
		e.whole("a", "b")
		e.want("a place that is taken", second(e.cloneOn(e.place("a"), "a", "s", e.place("b"), "b")), forstfs.ErrExists)
		e.want("no such snapshot", second(e.cloneOn(e.place("a"), "a", "nope", e.place("c"), "c")), forstfs.ErrNoSnapshot)
		e.must(e.peek("d").Put(e.ctx, "else", []byte("x"), driver.PutOptions{}))
		e.want("a place of something else", second(e.cloneOn(e.place("a"), "a", "s", e.place("d"), "d")), forstfs.ErrForeign)
		e.want("no source", second(e.cloneOn(e.place("e"), "e", "s", e.place("f"), "f")), forstfs.ErrNoVolume)
		e.wantHolds("a", 1, 0)
	}},
	{"clone/each-goes-its-own-way", func(e *fsEnv) {
		v := e.lender()
		e.clone("a", "s", "b")
		c := e.mountAt("b")
		e.put(c, "/own.sst", bytesOf(9000, 3), true)
		e.must(c.Remove(e.ctx, "/2.log"))
		e.tidy(c)
		e.vanish(v)
		e.must(v.Close())
		v = e.mountAt("a")
		e.tidy(v)
		for _, how := range ways {
			e.same(c, "/1.sst", bytesOf(20_000, 1))
			e.same(c, "/own.sst", bytesOf(9000, 3))
			if how == ways[0] {
				e.close(c)
			}
			c = e.mountAt("b")
		}
		e.names(v, "/")
		e.close(v)
		e.close(c)
		e.whole("a", "b")
	}},
	{"clone/detach-ends-it", func(e *fsEnv) {
		v := e.lender()
		e.clone("a", "s", "b")
		c := e.mountAt("b")
		e.must(c.Link(e.ctx, "/1.sst", "/link.sst"))
		h := e.openFile(c, "/1.sst")
		d, err := c.Detach(e.ctx, nil)
		e.must(err)
		if d.Given != 1 || d.Still != 0 || d.Objects == 0 || d.Bytes < 20_000 {
			e.Errorf("%+v", d)
		}
		e.wantHolds("a", 0, 0)
		e.wantHolds("b", 0, 0)
		e.vanish(v)
		e.must(v.Drop(e.ctx))
		e.sameHandle(h, bytesOf(20_000, 1))
		e.must(h.Close())
		e.sameAsLender(c)
		e.close(c)
		c = e.mountAt("b")
		e.sameAsLender(c)
		e.same(c, "/link.sst", bytesOf(20_000, 1))
		e.whole("b")
		d, err = c.Detach(e.ctx, nil)
		if e.must(err); d.Objects != 0 {
			e.Errorf("a second time: %+v", d)
		}
	}},
	{"clone/a-hold-stays-while-a-handle-needs-it", func(e *fsEnv) {
		v := e.lender()
		e.clone("a", "s", "b")
		c := e.mountAt("b")
		h := e.openFile(c, "/1.sst")
		e.must(errors.Join(c.RemoveAll(e.ctx, "/1.sst"), c.RemoveAll(e.ctx, "/2.log")))
		e.tidy(c)
		e.wantHolds("a", 1, 0)
		e.vanish(v)
		e.sameHandle(h, bytesOf(20_000, 1))
		e.must(h.Close())
		e.tidy(c)
		e.wantHolds("a", 0, 0)
		e.wantHolds("b", 0, 0)
		e.vanish(v)
		e.close(c)
		e.close(v)
		if infos, err := driver.ListAll(e.ctx, e.peek("a"), "data/", ""); err != nil || len(infos) > 0 {
			e.Errorf("what nobody needs any more is there: %v, %v", infos, err)
		}
		e.whole("a", "b")
	}},
	{"clone/a-hold-stays-until-the-removal-is-acknowledged", func(e *fsEnv) {
		v := e.lender()
		e.clone("a", "s", "b")
		c := e.mountAt("b")
		e.must(errors.Join(c.RemoveAll(e.ctx, "/1.sst"), c.RemoveAll(e.ctx, "/2.log")))
		e.must(second(c.Sweep(e.ctx))) // nothing of it has been sent
		e.vanish(v)
		c = e.mountAt("b") // as after a crash
		e.sameAsLender(c)
	}},
	{"clone/of-a-clone", func(e *fsEnv) {
		v := e.lender()
		e.clone("a", "s", "b")
		b := e.mountAt("b")
		e.put(b, "/3.sst", bytesOf(9000, 3), true)
		e.snap(b, "t", nil)
		if info := e.clone("b", "t", "c"); info.Lenders != 2 {
			e.Errorf("%+v", info)
		}
		e.wantHolds("a", 2, 0)
		e.wantHolds("b", 1, 1)
		e.must(b.RemoveAll(e.ctx, "/1.sst"))
		e.must(b.RemoveAll(e.ctx, "/2.log"))
		e.tidy(b)
		e.wantHolds("a", 2, 0) // its own snapshot still needs it
		e.vanish(v)
		e.want("Drop of b", b.Drop(e.ctx), forstfs.ErrHeld)
		c := e.mountAt("c")
		e.sameAsLender(c)
		e.same(c, "/3.sst", bytesOf(9000, 3))
		e.whole("c")
		d, err := c.Detach(e.ctx, nil)
		if e.must(err); d.Given != 2 || d.Still != 0 {
			e.Errorf("%+v", d)
		}
		e.must(b.RemoveSnapshot(e.ctx, "t"))
		e.tidy(b)
		e.wantHolds("a", 0, 0)
		e.vanish(v)
		e.must(b.Drop(e.ctx))
		e.must(v.Drop(e.ctx))
		e.sameAsLender(c)
		e.same(c, "/3.sst", bytesOf(9000, 3))
		e.close(c)
		e.whole("c")
	}},
	{"clone/a-snapshot-of-a-clone-keeps-the-hold", func(e *fsEnv) {
		v := e.lender()
		e.clone("a", "s", "b")
		b := e.mountAt("b")
		e.snap(b, "t", nil)
		e.must(errors.Join(b.RemoveAll(e.ctx, "/1.sst"), b.RemoveAll(e.ctx, "/2.log")))
		e.tidy(b)
		e.vanish(v)
		o := e.cloneOptions()
		s, err := forstfs.OpenSnapshot(e.ctx, e.place("b"), "t", o)
		e.must(err)
		e.sameAsLender(s)
		e.must(s.Close())
		e.must(b.Restore(e.ctx, "t"))
		e.sameAsLender(b)
		e.must(b.RemoveSnapshot(e.ctx, "t"))
		d, err := b.Detach(e.ctx, nil)
		if e.must(err); d.Still != 0 || d.Snapshots != 0 {
			e.Errorf("without the snapshot: %+v", d)
		}
		e.vanish(v)
		e.sameAsLender(b)
	}},
	{"clone/detach-takes-its-snapshots-along", func(e *fsEnv) {
		v := e.lender()
		e.clone("a", "s", "b")
		b := e.mountAt("b")
		e.put(b, "/own.log", bytesOf(500, 7), true) // inline in the body of the snapshot
		e.snap(b, "t", nil)
		e.snap(b, "u", nil)
		e.clone("b", "t", "c") // before the detach: it needs the body that the snapshot has now, and holds the first lender itself
		e.must(errors.Join(b.RemoveAll(e.ctx, "/1.sst"), b.RemoveAll(e.ctx, "/own.log"), b.RemoveSnapshot(e.ctx, "u")))
		d, err := b.Detach(e.ctx, nil)
		e.must(err)
		if d.Snapshots != 1 || d.Still != 0 || d.Given != 1 {
			e.Errorf("%+v", d)
		}
		if d, err = b.Detach(e.ctx, nil); err != nil || d.Snapshots+d.Objects != 0 {
			e.Errorf("once more: %+v, %v", d, err)
		}
		e.tidy(b)
		for range 2 { // as it is, and from an image
			e.close(b)
			b = e.mountAt("b")
			e.must(b.Checkpoint(e.ctx))
		}
		is := func(f *forstfs.FS) {
			e.Helper()
			e.sameAsLender(f)
			e.same(f, "/own.log", bytesOf(500, 7))
		}
		c := e.mountAt("c")
		is(c)
		e.whole("a", "b", "c")
		d, err = c.Detach(e.ctx, nil)
		if e.must(err); d.Still != 0 || d.Given != 2 {
			e.Errorf("the clone of the clone: %+v", d)
		}
		e.vanish(v)
		is(c)
		s, err := forstfs.OpenSnapshot(e.ctx, e.place("b"), "t", e.cloneOptions())
		e.must(err)
		is(s)
		e.must(s.Close())
		e.clone("b", "t", "d") // behind the detach: one lender
		is(e.mountAt("d"))
		e.must(b.Restore(e.ctx, "t"))
		is(b)
		e.whole("b", "c", "d")
		if keys, err := driver.ListAll(e.ctx, e.peek("a"), "data/", ""); err != nil || len(keys) > 0 {
			e.Errorf("nobody needs the first lender, and of its data is left: %v, %v", keys, err)
		}
	}},
	{"clone/drop-gives-back", func(e *fsEnv) {
		v := e.lender()
		e.clone("a", "s", "b")
		err := v.Drop(e.ctx)
		e.want("Drop of a lender", err, forstfs.ErrHeld)
		if err != nil && !strings.Contains(err.Error(), "../b") {
			e.Errorf("the error does not name the holder: %v", err)
		}
		if all, serr := v.Snapshots(e.ctx); serr != nil || len(all) != 1 || all[0].Doomed {
			e.Errorf("a Drop that was refused changed something: %+v, %v", all, serr)
		}
		c := e.mountAt("b")
		e.must(c.Drop(e.ctx))
		e.wantHolds("a", 0, 0)
		e.sameAsLender(v)
		e.must(v.Drop(e.ctx))
	}},
	{"clone/a-doomed-snapshot-takes-no-hold", func(e *fsEnv) {
		v := e.lender()
		e.clone("a", "s", "b")
		e.must(v.RemoveSnapshot(e.ctx, "s"))
		e.want("Clone", second(e.cloneOn(e.place("a"), "a", "s", e.place("c"), "c")), forstfs.ErrSnapshotDoomed)
		e.wantHolds("a", 1, 0)
		c := e.mountAt("b")
		e.sameAsLender(c)
	}},
	{"clone/removed-before-the-hold", func(e *fsEnv) {
		// The cloner has found the snapshot. Before its hold is there the snapshot goes, with all that it kept.
		e.removedMeanwhile(true, isPut(journal.HoldPrefix))
	}},
	{"clone/removed-behind-the-hold", func(e *fsEnv) {
		// The hold is there, and keeps what the clone needs; the doom tells the cloner to go away.
		e.removedMeanwhile(true, func(what, key string) bool {
			return what == "get" && strings.HasPrefix(key, journal.JournalPrefix) && e.held1("a")
		})
	}},
	{"clone/removed-before-it-is-born", func(e *fsEnv) {
		// The cloner has looked. From here on the hold keeps the snapshot, doomed or not.
		e.removedMeanwhile(false, isPut(journal.RootKey))
	}},
	{"clone/two-cloners-to-one-place", func(e *fsEnv) {
		v := e.lender()
		e.put(v, "/3.sst", bytesOf(5000, 3), true)
		e.snap(v, "t", nil)
		for round, at := range []func(what, key string) bool{isPut(journal.HoldPrefix), isPut(journal.ImagePrefix), isPut(journal.RootKey)} {
			to := fmt.Sprintf("to%d", round)
			var inner forstfs.CloneInfo
			match := at
			src, dst := e.place("a"), e.place(to)
			fn := func() {
				var err error
				inner, err = e.cloneOn(e.place("a"), "a", "t", e.place(to), to)
				if err != nil {
					e.Errorf("the fast cloner: %v", err)
				}
			}
			if round == 0 {
				src = e.when(src, match, fn)
			} else {
				dst = e.when(dst, match, fn)
			}
			_, err := e.cloneOn(src, "a", "s", dst, to)
			e.want("the slow cloner", err, forstfs.ErrExists)
			c := e.mountAt(to)
			if c.VolumeID() != inner.VolumeID {
				e.Errorf("the place has volume %x, the cloner that won made %x", c.VolumeID(), inner.VolumeID)
			}
			e.sameAsLender(c)
			e.same(c, "/3.sst", bytesOf(5000, 3))
			e.tidy(c)
			e.close(c)
			e.whole(to)
			e.wantHolds("a", round+1, 0)
		}
	}},
	{"clone/an-abandoned-hold-goes-behind-a-tombstone", func(e *fsEnv) {
		// A cloner is stopped before it creates the root. It is given up; then it goes on.
		v := e.lender()
		collect := func(o forstfs.HoldsOptions) []forstfs.HoldInfo {
			o.Options = e.cloneOptions()
			hs, err := forstfs.CollectHolds(e.ctx, e.peek("a"), &o)
			e.must(err)
			return hs
		}
		dst := e.when(e.place("b"), isPut(journal.RootKey), func() {
			if hs := collect(forstfs.HoldsOptions{}); len(hs) != 1 || hs[0].State != forstfs.HoldUnborn || hs[0].Removed {
				e.Errorf("before it is given up: %+v", hs)
			}
			if hs := collect(forstfs.HoldsOptions{Abandon: true, AbandonAfter: time.Hour}); len(hs) != 1 || hs[0].Removed {
				e.Errorf("it is young: %+v", hs)
			}
			if hs := collect(forstfs.HoldsOptions{Abandon: true, DryRun: true}); len(hs) != 1 || hs[0].Removed {
				e.Errorf("a dry run: %+v", hs)
			}
			if hs := collect(forstfs.HoldsOptions{Abandon: true}); len(hs) != 1 || !hs[0].Removed {
				e.Errorf("given up: %+v", hs)
			}
			e.vanish(v)
		})
		_, err := e.cloneOn(e.place("a"), "a", "s", dst, "b")
		e.want("the cloner that goes on", err, forstfs.ErrDropped)
		e.want("Open of a tombstone", second(forstfs.Open(e.ctx, e.place("b"), e.cloneOptions())), forstfs.ErrDropped)
		if infos, err := driver.ListAll(e.ctx, e.peek("b"), "", ""); err != nil || len(infos) != 1 {
			e.Errorf("the tombstone is not alone: %v, %v", infos, err)
		}
		e.wantHolds("a", 0, 0)
	}},
	{"clone/what-a-dead-cloner-leaves-is-no-volume", func(e *fsEnv) {
		v := e.lender()
		dead := errors.New("dead")
		for _, prefix := range []string{journal.HoldPrefix, journal.ImagePrefix, journal.BorrowPrefix, journal.RootKey} {
			o := e.cloneOptions()
			o.RetryBudget = time.Millisecond
			src, dst := e.place("a"), e.place("b")
			_, err := forstfs.Clone(e.ctx, &brokenPut{src, prefix, dead}, "s", &brokenPut{dst, prefix, dead}, &forstfs.CloneOptions{Options: o, SourceURL: "../a", CloneURL: "../b"})
			e.must(errors.Join(src.Close(), dst.Close()))
			if err == nil {
				e.Fatalf("a clone without %s", prefix)
			}
			if prefix != journal.RootKey { // with the root nobody knows, so everything stays
				if keys := e.keysAt("b", ""); len(keys) > 0 {
					e.Errorf("a clone without %s leaves %q", prefix, keys)
				}
				e.wantHolds("a", 0, 0)
			}
			if _, err := forstfs.OpenReadOnly(e.ctx, e.place("b"), e.cloneOptions()); !errors.Is(err, forstfs.ErrNoVolume) && !errors.Is(err, forstfs.ErrForeign) {
				e.Errorf("what is left opens: %v", err)
			}
		}
		e.clone("a", "s", "b") // over what is left
		given, err := forstfs.CollectHolds(e.ctx, e.peek("a"), &forstfs.HoldsOptions{Options: e.cloneOptions(), DryRun: true})
		e.must(err)
		if n := len(slices.DeleteFunc(given, func(h forstfs.HoldInfo) bool { return h.State != forstfs.HoldAbandoned })); n != 1 {
			e.Errorf("%d holds are known to be of clones that cannot be born any more, want that of the dead cloner", n)
		}
		c := e.mountAt("b")
		e.sameAsLender(c)
		e.tidy(c)
		e.close(c)
		c = e.mountAt("b")
		e.tidy(c)
		e.close(c)
		e.whole("b")
		hs, err := forstfs.CollectHolds(e.ctx, e.peek("a"), &forstfs.HoldsOptions{Options: e.cloneOptions()})
		e.must(err)
		left := slices.DeleteFunc(hs, func(h forstfs.HoldInfo) bool { return h.Removed })
		if len(left) != 1 || left[0].State != forstfs.HoldAlive {
			e.Errorf("holds: %+v", left)
		}
		e.vanish(v)
		c = e.mountAt("b")
		e.sameAsLender(c)
	}},
	{"clone/copy-borrows-nothing", func(e *fsEnv) {
		v := e.lender()
		src, dst := e.place("a"), e.place("b")
		var mu sync.Mutex
		var last, of int64
		info, err := forstfs.Clone(e.ctx, src, "s", dst, &forstfs.CloneOptions{Options: e.cloneOptions(), Copy: true, CloneURL: "../b", Progress: func(done, total int64) {
			mu.Lock()
			defer mu.Unlock()
			last, of = max(last, done), total
		}})
		e.must(errors.Join(err, src.Close(), dst.Close()))
		if info.Copied < 20_900 || info.Lenders != 0 || last != of || of != info.Copied {
			e.Errorf("%+v, progress %d of %d", info, last, of)
		}
		e.wantHolds("a", 0, 0)
		e.vanish(v)
		e.must(v.Drop(e.ctx))
		c := e.mountAt("b")
		e.sameAsLender(c)
		e.whole("b")
	}},
	{"clone/shares-the-cache", func(e *fsEnv) {
		v := e.lender()
		e.clone("a", "s", "b")
		shared, err := cache.New(&cache.Options{Memory: 1 << 20})
		e.must(err)
		o := e.cloneOptions()
		o.Cache, o.CacheBytes = shared, 0
		e.close(v)
		r, err := forstfs.OpenReadOnly(e.ctx, e.place("a"), o)
		e.must(err)
		e.same(r, "/1.sst", bytesOf(20_000, 1))
		e.must(r.Close())
		c, err := forstfs.OpenReadOnly(e.ctx, e.place("b"), o)
		e.must(err)
		e.same(c, "/1.sst", bytesOf(20_000, 1))
		if n := c.Metrics().Store.Sum("get", driver.CompRead).Calls; n > 0 {
			e.Errorf("%d GETs for what the lender's reader has read", n)
		}
		e.must(c.Close())
		e.must(shared.Close())
	}},
	{"clone/a-source-that-is-gone-is-no-missing-file", func(e *fsEnv) {
		v := e.lender()
		e.clone("a", "s", "b")
		e.close(v)
		infos, err := driver.ListAll(e.ctx, e.peek("a"), "data/", "")
		e.must(err)
		var keys []string
		for _, i := range infos {
			keys = append(keys, i.Key)
		}
		e.must(e.peek("a").Delete(e.ctx, keys))
		for _, readOnly := range []bool{false, true} {
			c, err := forstfs.OpenReadOnly(e.ctx, e.place("b"), e.cloneOptions())
			if !readOnly {
				e.must(errors.Join(err, c.Close()))
				c, err = forstfs.Open(e.ctx, e.place("b"), e.cloneOptions())
			}
			e.must(err)
			f := e.openFile(c, "/1.sst")
			_, err = f.ReadAt(make([]byte, 100), 0)
			e.want("ReadAt", err, forstfs.ErrSourceGone)
			if errors.Is(err, fs.ErrNotExist) {
				e.Errorf("it looks like a missing file: %v", err)
			}
			e.must(errors.Join(f.Close(), c.Close()))
		}
		if r := e.check("b"); !r.Damaged() {
			e.Errorf("fsck of the clone found nothing: %v", r.Findings)
		}
	}},
}
