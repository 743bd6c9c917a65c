package conformance

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/journal"
)

// Clones live in places beside each other, below the root of a case: "a", "b", ...; one finds the other as "../a".

// place opens a place.
func (e *fsEnv) place(name string) driver.Store {
	e.Helper()
	s, err := under(e.open, name)(e.ctx)
	if err != nil {
		e.Fatalf("opening the store: %v", err)
	}
	return s
}

// peek is place for looking into it; it is closed with the case.
func (e *fsEnv) peek(name string) driver.Store {
	e.Helper()
	return openHandle(e.TB, e.ctx, under(e.open, name))
}

// lenders is Options.OpenStore of every volume of the case.
func lenders(open func(ctxType) (driver.Store, error)) func(ctxType, string) (driver.Store, error) {
	return func(ctx ctxType, location string) (driver.Store, error) {
		name, ok := strings.CutPrefix(location, "../")
		if !ok {
			return nil, fmt.Errorf("%q is no place of a test", location)
		}
		return under(open, name)(ctx)
	}
}

// cloneOptions are smallOptions without a cache: everything that is read comes from the store.
func (e *fsEnv) cloneOptions() *forstfs.Options {
	o := smallOptions()
	o.CacheBytes, o.OpenStore, o.RequestInterval = -1, lenders(e.open), -1
	return o
}

func (e *fsEnv) mountAt(name string) *forstfs.FS {
	e.Helper()
	return e.mountOn(e.place(name), e.cloneOptions())
}

// cloneOn clones over the given stores, which it closes.
func (e *fsEnv) cloneOn(src driver.Store, from, snapshot string, dst driver.Store, to string) (forstfs.CloneInfo, error) {
	o := e.cloneOptions()
	info, err := forstfs.Clone(e.ctx, src, snapshot, dst, &forstfs.CloneOptions{Options: o, SourceURL: "../" + from, CloneURL: "../" + to})
	return info, errors.Join(err, src.Close(), dst.Close())
}

func (e *fsEnv) clone(from, snapshot, to string) forstfs.CloneInfo {
	e.Helper()
	info, err := e.cloneOn(e.place(from), from, snapshot, e.place(to), to)
	e.must(err)
	return info
}

// check is the report of fsck with verify.
func (e *fsEnv) check(name string) *forstfs.FsckReport {
	e.Helper()
	r, err := forstfs.Fsck(e.ctx, e.peek(name), &forstfs.FsckOptions{Options: e.cloneOptions(), Verify: true})
	e.must(err)
	return r
}

// whole demands that fsck finds nothing: nothing damaged, nothing left over.
func (e *fsEnv) whole(names ...string) {
	e.Helper()
	for _, name := range names {
		if r := e.check(name); len(r.Findings) > 0 || r.Orphans > 0 {
			e.Errorf("fsck of %s: %v", name, r.Findings)
		}
	}
}

// holds are the keys of what is held, or borrowed, in a place.
func (e *fsEnv) holds(name string) (held, borrowed []string) {
	e.Helper()
	for _, prefix := range []string{journal.HoldPrefix, journal.BorrowPrefix} {
		infos, err := driver.ListAll(e.ctx, e.peek(name), prefix, "")
		e.must(err)
		for _, i := range infos {
			if prefix == journal.HoldPrefix {
				held = append(held, i.Key)
			} else {
				borrowed = append(borrowed, i.Key)
			}
		}
	}
	return held, borrowed
}

func (e *fsEnv) wantHolds(name string, held, borrowed int) {
	e.Helper()
	if h, b := e.holds(name); len(h) != held || len(b) != borrowed {
		e.Errorf("in %s are the holds %q and the records %q, want %d and %d", name, h, b, held, borrowed)
	}
}

// lender makes the volume "a" with a table and a log, and the snapshot "s".
func (e *fsEnv) lender() *forstfs.FS {
	e.Helper()
	v := e.mountAt("a")
	e.put(v, "/1.sst", bytesOf(20_000, 1), true)
	e.put(v, "/2.log", bytesOf(900, 2), true)
	e.snap(v, "s", nil)
	return v
}

func (e *fsEnv) sameAsLender(v *forstfs.FS) {
	e.Helper()
	e.same(v, "/1.sst", bytesOf(20_000, 1))
	e.same(v, "/2.log", bytesOf(900, 2))
}

// vanish makes the lender do its worst: remove the files and the snapshot, image, trim and sweep.
func (e *fsEnv) vanish(v *forstfs.FS) {
	e.Helper()
	e.must(errors.Join(v.RemoveAll(e.ctx, "/1.sst"), v.RemoveAll(e.ctx, "/2.log")))
	if err := v.RemoveSnapshot(e.ctx, "s"); err != nil && !errors.Is(err, forstfs.ErrNoSnapshot) {
		e.must(err)
	}
	e.tidy(v)
}

// when gives a store that calls fn once, just before the first request that matches.
func (e *fsEnv) when(s driver.Store, match func(what, key string) bool, fn func()) driver.Store {
	stop := newStall(0, false, true)
	stop.match = match
	over := make(chan struct{})
	e.Cleanup(func() { close(over) })
	go func() {
		defer close(stop.free)
		select {
		case <-stop.hit:
			fn()
		case <-over:
		}
	}()
	return &stallStore{s, stop}
}

func isPut(prefix string) func(what, key string) bool {
	return func(what, key string) bool { return what == "put" && strings.HasPrefix(key, prefix) }
}

// held1 reports whether anybody holds a snapshot of the volume in a place.
func (e *fsEnv) held1(name string) bool {
	h, _ := e.holds(name)
	return len(h) > 0
}

// removedMeanwhile removes the snapshot while a cloner is at the request, and demands that it then gives up, or has a clone that is whole.
func (e *fsEnv) removedMeanwhile(mustFail bool, match func(what, key string) bool) {
	v := e.lender()
	src, dst := e.place("a"), e.place("b")
	hit := false
	stop := func(s driver.Store) driver.Store {
		return e.when(s, match, func() { hit = true; e.vanish(v) })
	}
	if match("put", journal.RootKey) {
		dst = stop(dst)
	} else {
		src = stop(src)
	}
	_, err := e.cloneOn(src, "a", "s", dst, "b")
	if !hit {
		e.Fatalf("the request was not met")
	}
	if mustFail {
		e.want("Clone", err, forstfs.ErrSnapshotDoomed)
	} else {
		e.must(err)
	}
	e.vanish(v)
	e.tidy(v)
	if err == nil {
		c := e.mountAt("b")
		e.sameAsLender(c)
		e.must(c.Drop(e.ctx))
	}
	e.wantHolds("a", 0, 0)
	e.tidy(v)
	e.close(v)
	e.whole("a")
	if infos, err := driver.ListAll(e.ctx, e.peek("a"), "data/", ""); err != nil || len(infos) > 0 {
		e.Errorf("left of the lender: %v, %v", infos, err)
	}
}

// brokenPut refuses puts below a prefix.
type brokenPut struct {
	driver.Store
	prefix string
	err    error
}

func (s *brokenPut) Put(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
	if strings.HasPrefix(key, s.prefix) {
		return &driver.Error{Op: "put", Path: key, Kind: driver.KindPermission, Err: s.err}
	}
	return s.Store.Put(ctx, key, data, o)
}
