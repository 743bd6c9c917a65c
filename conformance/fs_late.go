package conformance

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"time"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/journal"
)

// refusedDeletes refuses the first few deletions of data objects.
type refusedDeletes struct {
	driver.Store
	left atomic.Int64
}

func (s *refusedDeletes) Delete(ctx context.Context, keys []string) error {
	for _, key := range keys {
		if strings.HasPrefix(key, journal.DataPrefix) && s.left.Add(-1) >= 0 {
			return &driver.Error{Op: "delete", Path: key, Kind: driver.KindTransient, Err: errInjected}
		}
	}
	return s.Store.Delete(ctx, keys)
}

// Cases in which something ends while what belongs to it is still on its way, or is needed by somebody else.
var fsLateCases = []FSCase{
	{"handle/removed-while-its-bytes-are-on-their-way", func(e *fsEnv) {
		// The frame that names the bytes is sent when the file loses its name. They become the handle's, and nobody's any more when it is closed.
		e.both(func(name string) {
			s, hold := e.held(false, isPut(journal.JournalPrefix))
			v := e.mountOn(s, uncached())
			f := e.create(v, name)
			e.must(v.Sync(e.ctx))
			want := bytesOf(9000, 1)
			e.write(f, want)
			hold.start()
			got := make(chan error, 1)
			go func() { got <- f.Sync() }()
			<-hold.hit
			e.must(v.Remove(e.ctx, name))
			close(hold.free)
			e.must(<-got)
			for i := range 3 {
				e.put(v, "/else.log", bytesOf(10, uint64(i)), true)
				e.must(v.Checkpoint(e.ctx))
			}
			e.must(second(v.Sweep(e.ctx)))
			e.sameHandle(f, want)
			e.must(f.Close())
			e.close(v)
			e.exact()
		})
	}},
	{"handle/two-files-of-one-object", func(e *fsEnv) {
		// A pack has put the bytes of both into one object. It stays while one of them is read.
		v := e.mountOn(e.store(), uncached())
		e.put(v, "/a.log", bytesOf(900, 1), true)
		e.put(v, "/b.log", bytesOf(900, 2), true)
		e.must(v.Checkpoint(e.ctx))
		f, g := e.openFile(v, "/a.log"), e.openFile(v, "/b.log")
		e.must(errors.Join(v.Remove(e.ctx, "/a.log"), v.Remove(e.ctx, "/b.log"), v.Sync(e.ctx)))
		e.must(f.Close())
		e.must(second(v.Sweep(e.ctx)))
		e.sameHandle(g, bytesOf(900, 2))
		e.must(g.Close())
		e.close(v)
		e.exact()
	}},
	{"garbage/refused-deletes-come-again", func(e *fsEnv) {
		s := &refusedDeletes{Store: e.store()}
		v := e.mountOn(s, smallOptions())
		e.put(v, "/a.sst", bytesOf(9000, 1), true)
		e.must(v.Remove(e.ctx, "/a.sst"))
		s.left.Store(2)
		e.must(v.Sync(e.ctx))
		for range 3 {
			_, _ = v.Sweep(e.ctx) // an error, if it was this one that was refused
		}
		if n := s.left.Load(); n >= 0 {
			e.Fatalf("%d refusals are left: what was refused did not come again", n)
		}
		e.close(v)
		e.exact()
	}},
	{"snapshot/given-up-leaves-nothing", func(e *fsEnv) {
		// Its caller goes away while the begin is sent, or the body. The name is free again, frames and objects are nobody's, without a takeover.
		for _, at := range []string{journal.JournalPrefix, journal.SnapshotPrefix} {
			s, hold := e.held(false, isPut(at))
			v := e.mountOn(s, uncached())
			e.put(v, "/a.log", bytesOf(900, 1), true)
			hold.start()
			ctx, cancel := context.WithCancel(e.ctx)
			got := make(chan error, 1)
			go func() { got <- second(v.Snapshot(ctx, "s", nil)) }()
			<-hold.hit
			cancel()
			e.want("Snapshot whose context has ended", <-got, context.Canceled)
			if at == journal.SnapshotPrefix {
				for range 20 { // what does not wait for the body has been done before it lands
					e.must(errors.Join(v.Sync(e.ctx), second(v.Sweep(e.ctx))))
					time.Sleep(time.Millisecond)
				}
			}
			close(hold.free)
			var err error
			for range 3000 { // it is taken back in the background
				if _, err = v.Snapshot(e.ctx, "s", nil); err == nil {
					break
				}
				e.want("the same name", err, forstfs.ErrSnapshotExists)
				time.Sleep(time.Millisecond)
			}
			e.must(err)
			e.must(v.RemoveSnapshot(e.ctx, "s"))
			e.must(v.RemoveAll(e.ctx, "/a.log"))
			e.tidy(v)
			e.close(v)
			if keys := e.keys(journal.SnapshotPrefix); len(keys) > 0 {
				e.Errorf("bodies are left: %q", keys)
			}
			e.exact()
		}
	}},
	{"snapshot/restored-beside-its-removal", func(e *fsEnv) {
		// The restore has read what the snapshot has, and has not said yet that the volume needs it.
		hold := newStall(0, true, false)
		hold.match = func(what, key string) bool { return what == "get" && strings.HasPrefix(key, journal.SnapshotPrefix) }
		e.stalls = append(e.stalls, hold)
		v := e.mountOn(&stallStore{e.store(), hold}, uncached())
		e.put(v, "/1.sst", bytesOf(9000, 1), true)
		e.snap(v, "s", nil)
		e.must(v.Remove(e.ctx, "/1.sst"))
		hold.start()
		restored, removed := make(chan error, 1), make(chan error, 1)
		go func() { restored <- v.Restore(e.ctx, "s") }()
		<-hold.hit
		go func() { removed <- v.RemoveSnapshot(e.ctx, "s") }()
		var err error
		early := false
		select {
		case err = <-removed:
			early = true
			e.must(second(v.Sweep(e.ctx)))
		case <-time.After(patience):
		}
		close(hold.free)
		e.must(<-restored)
		if !early {
			err = <-removed
		}
		e.must(err)
		e.same(v, "/1.sst", bytesOf(9000, 1))
		e.tidy(v)
		e.same(v, "/1.sst", bytesOf(9000, 1))
		e.close(v)
		e.exact()
	}},
	{"clone/of-a-clone-of-a-clone", func(e *fsEnv) {
		// Each holds what it needs in every volume that it borrows from.
		v := e.lender()
		e.clone("a", "s", "b")
		b := e.mountAt("b")
		e.put(b, "/3.sst", bytesOf(9000, 3), true)
		e.snap(b, "t", nil)
		e.clone("b", "t", "c")
		c := e.mountAt("c")
		e.put(c, "/4.sst", bytesOf(9000, 4), true)
		e.snap(c, "u", nil)
		if info := e.clone("c", "u", "d"); info.Lenders != 3 {
			e.Errorf("%+v", info)
		}
		e.wantHolds("a", 3, 0)
		e.wantHolds("b", 2, 1)
		e.wantHolds("c", 1, 2)
		e.wantHolds("d", 0, 3)
		e.vanish(v)
		d := e.mountAt("d")
		e.sameAsLender(d)
		e.same(d, "/3.sst", bytesOf(9000, 3))
		e.same(d, "/4.sst", bytesOf(9000, 4))
		e.whole("a", "b", "c", "d")
	}},
	{"clone/detach-beside-a-removal", func(e *fsEnv) {
		// The files have moved to their copies, and are removed before a snapshot moves there, too.
		e.lender()
		e.clone("a", "s", "b")
		var b *forstfs.FS
		b = e.mountOn(e.when(e.place("b"), func(what, key string) bool { return what == "get" && strings.HasPrefix(key, journal.SnapshotPrefix) }, func() {
			e.must(errors.Join(b.RemoveAll(e.ctx, "/1.sst"), b.RemoveAll(e.ctx, "/2.log"), b.Sync(e.ctx), second(b.Sweep(e.ctx))))
		}), e.cloneOptions())
		e.snap(b, "t", nil)
		d, err := b.Detach(e.ctx, nil)
		if e.must(err); d.Snapshots != 1 || d.Still != 0 {
			e.Errorf("%+v", d)
		}
		e.names(b, "/")
		e.must(second(b.Sweep(e.ctx))) // deletes what was let go
		s, err := forstfs.OpenSnapshot(e.ctx, e.place("b"), "t", e.cloneOptions())
		e.must(err)
		e.sameAsLender(s)
		e.must(s.Close())
		e.whole("a", "b")
	}},
}
