package conformance

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"time"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/journal"
)

// held mounts with the first request that matches held back, before or after it is carried out, until it is let go. Requests count from
// start on.
func (e *fsEnv) held(after bool, match func(what, key string) bool) (driver.Store, *stall) {
	e.Helper()
	s := newStall(0, after, false)
	s.match = match
	e.stalls = append(e.stalls, s)
	return &stallStore{e.store(), s}, s
}

// letGo lets go what is held: whatever happens, nobody waits for ever. It runs before the cleanups, which close volumes.
func (e *fsEnv) letGo() {
	for _, s := range e.stalls {
		select {
		case <-s.free:
		default:
			close(s.free)
		}
	}
}

// patience is how long a call that must wait is watched. One that does not wait has returned by then, even on a busy machine.
const patience = 150 * time.Millisecond

// uncached are options with which every read reaches the store.
func uncached() *forstfs.Options {
	o := smallOptions()
	o.CacheBytes = -1
	return o
}

// Cases in which one request takes longer than what happens beside it.
var fsTimingCases = []FSCase{
	{"read/overtaken-by-a-pack", func(e *fsEnv) {
		// While a read fetches a frame, the bytes are packed and the frame is trimmed. The read looks again.
		s, hold := e.held(false, func(what, key string) bool { return what == "get" && strings.HasPrefix(key, journal.JournalPrefix) })
		v := e.mountOn(s, uncached())
		e.put(v, "/a.log", bytesOf(900, 1), true)
		e.put(v, "/b.log", bytesOf(900, 2), true)
		e.same(v, "/b.log", bytesOf(900, 2))
		f := e.openFile(v, "/a.log")
		hold.start()
		got := make(chan error, 1)
		p := make([]byte, 900)
		go func() { _, err := f.ReadAt(p, 0); got <- err }()
		<-hold.hit
		for i := range 3 {
			e.put(v, "/c.log", bytesOf(10, uint64(i)), true)
			e.must(v.Checkpoint(e.ctx))
		}
		close(hold.free)
		e.must(<-got)
		if string(p) != string(bytesOf(900, 1)) {
			e.Fatalf("wrong bytes")
		}
		e.must(f.Close())
	}},
	{"garbage/pack-that-came-too-late", func(e *fsEnv) {
		// The file goes while its bytes are being packed: the pack changes nothing, and its object must go, too.
		s, hold := e.held(false, func(what, key string) bool { return what == "put" && strings.HasPrefix(key, journal.DataPrefix) })
		v := e.mountOn(s, uncached())
		e.put(v, "/a.log", bytesOf(900, 1), true)
		hold.start()
		got := make(chan error, 1)
		go func() { got <- v.Checkpoint(e.ctx) }()
		<-hold.hit
		e.must(v.Remove(e.ctx, "/a.log"))
		e.must(v.Sync(e.ctx))
		close(hold.free)
		e.must(<-got)
		e.close(v)
		e.exact()
	}},
	{"garbage/sweep-spares-what-a-handle-reads", func(e *fsEnv) {
		// Of an earlier owner, removed by this one, and still open.
		v := e.mount()
		e.put(v, "/a.sst", bytesOf(9000, 1), true)
		e.put(v, "/a.log", bytesOf(900, 1), true)
		e.must(v.Checkpoint(e.ctx))
		e.close(v)
		v = e.mountOn(e.store(), uncached())
		f, g := e.openFile(v, "/a.sst"), e.openFile(v, "/a.log")
		e.must(v.Remove(e.ctx, "/a.sst"))
		e.must(v.Remove(e.ctx, "/a.log"))
		e.must(v.Sync(e.ctx))
		e.must(v.Checkpoint(e.ctx))
		_, err := v.Sweep(e.ctx)
		e.must(err)
		e.sameHandle(f, bytesOf(9000, 1))
		e.sameHandle(g, bytesOf(900, 1))
		e.must(f.Close())
		e.must(g.Close())
		e.close(v)
		e.exact()
	}},
	{"close/a-failed-upload-is-an-error", func(e *fsEnv) {
		v := e.mountOn(&noData{e.store()}, smallOptions())
		f := e.create(v, "/a.sst")
		_, werr := f.Write(bytesOf(9000, 1))
		if err := errors.Join(werr, f.Close()); err == nil {
			e.Fatalf("Close of a file whose bytes the store refused returns nil")
		} else if errors.Is(err, fs.ErrNotExist) {
			e.Fatalf("a refused upload looks like a missing file: %v", err)
		}
		_ = v.Close()
		e.last.Delete(v)
		w := e.mount()
		if _, err := w.Stat(e.ctx, "/a.sst"); err == nil {
			if got := e.read(w, "/a.sst"); len(got) > 0 {
				e.Fatalf("%d bytes of a file that was never stored", len(got))
			}
		}
	}},
	{"sync/returns-when-it-is-durable", func(e *fsEnv) {
		s, hold := e.held(false, func(what, key string) bool { return what == "put" && strings.HasPrefix(key, journal.JournalPrefix) })
		v := e.mountOn(s, smallOptions())
		f := e.create(v, "/a.log")
		e.write(f, bytesOf(100, 1))
		hold.start()
		got := make(chan error, 3)
		go func() { got <- f.Sync() }()
		go func() { got <- v.Sync(e.ctx) }()
		go func() {
			d, err := v.OpenDir(e.ctx, "/")
			got <- errors.Join(err, d.Sync())
		}()
		<-hold.hit
		select {
		case err := <-got:
			e.Fatalf("a Sync returns (%v) while its frame is on its way", err)
		case <-time.After(patience):
		}
		close(hold.free)
		for range 3 {
			e.must(<-got)
		}
	}},
	{"sync/who-gives-up-harms-nobody", func(e *fsEnv) {
		// The context of one who waits ends; the frame goes its way, and so does the volume.
		s, hold := e.held(false, func(what, key string) bool { return what == "put" && strings.HasPrefix(key, journal.JournalPrefix) })
		v := e.mountOn(s, smallOptions())
		e.mkdir(v, "/d")
		hold.start()
		ctx, cancel := context.WithCancel(e.ctx)
		got := make(chan error, 1)
		go func() { got <- v.Sync(ctx) }()
		<-hold.hit
		cancel()
		e.want("Sync whose context has ended", <-got, context.Canceled)
		close(hold.free)
		e.must(v.Sync(e.ctx))
		e.must(v.Err())
		w := e.mount()
		e.names(w, "/", "d")
	}},
	{"open/while-it-is-being-created", func(e *fsEnv) {
		// One process has looked for the root, twice, and found none, when another creates the volume and works with it.
		s, hold := e.held(true, func(what, key string) bool { return what == "get" && key == journal.RootKey })
		hold.at = 1
		hold.start()
		type opened struct {
			v   *forstfs.FS
			err error
		}
		got := make(chan opened, 1)
		go func() {
			v, err := forstfs.Open(e.ctx, s, smallOptions())
			got <- opened{v, err}
		}()
		<-hold.hit
		v := e.mount()
		e.put(v, "/a", []byte("x"), true)
		close(hold.free)
		o := <-got
		e.must(o.err)
		e.owned(o.v)
		e.same(o.v, "/a", []byte("x"))
	}},
	{"write/goes-on-while-a-table-travels", func(e *fsEnv) {
		// A log's Sync does not wait for a bulk file's upload.
		s, hold := e.held(false, func(what, key string) bool { return what == "put" && strings.HasPrefix(key, journal.DataPrefix) })
		v := e.mountOn(s, smallOptions())
		hold.start()
		f := e.create(v, "/a.sst")
		closed := make(chan error, 1)
		go func() {
			_, err := f.Write(bytesOf(5000, 1))
			closed <- errors.Join(err, f.Close())
		}()
		<-hold.hit
		e.put(v, "/b.log", bytesOf(100, 2), true)
		e.must(v.Link(e.ctx, "/a.sst", "/c.sst")) // and neither do names
		e.must(v.Rename(e.ctx, "/a.sst", "/d.sst"))
		e.syncDir(v, "/")
		select {
		case err := <-closed:
			e.Fatalf("Close of a bulk file returns (%v) while its bytes are on their way", err)
		case <-time.After(patience):
		}
		close(hold.free)
		e.must(<-closed)
		e.must(v.Sync(e.ctx))
		v = e.mount()
		e.names(v, "/", "b.log", "c.sst", "d.sst")
		e.same(v, "/d.sst", bytesOf(5000, 1))
	}},
}

// noData is a store that refuses data objects for good.
type noData struct{ driver.Store }

func (s *noData) Put(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
	if strings.HasPrefix(key, journal.DataPrefix) {
		return &driver.Error{Op: "put", Path: key, Kind: driver.KindOther, Err: errInjected}
	}
	return s.Store.Put(ctx, key, data, o)
}
