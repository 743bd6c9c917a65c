package conformance

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"runtime"
	"slices"
	"strings"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/journal"
)

type ctxType = context.Context

// prefixStore is a part of a store.
type prefixStore struct {
	driver.Store
	prefix string
}

func (p *prefixStore) Put(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
	return p.Store.Put(ctx, p.prefix+key, data, o)
}

func (p *prefixStore) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	return p.Store.Get(ctx, p.prefix+key, off, n)
}

func (p *prefixStore) Stat(ctx context.Context, key string) (driver.Info, error) {
	i, err := p.Store.Stat(ctx, p.prefix+key)
	i.Key = strings.TrimPrefix(i.Key, p.prefix)
	return i, err
}

func (p *prefixStore) List(ctx context.Context, prefix, after string) iter.Seq2[driver.Info, error] {
	if after != "" {
		after = p.prefix + after
	}
	return func(yield func(driver.Info, error) bool) {
		for i, err := range p.Store.List(ctx, p.prefix+prefix, after) {
			i.Key = strings.TrimPrefix(i.Key, p.prefix)
			if !yield(i, err) {
				return
			}
		}
	}
}

func (p *prefixStore) Delete(ctx context.Context, keys []string) error {
	full := make([]string, len(keys))
	for i, k := range keys {
		full[i] = p.prefix + k
	}
	return p.Store.Delete(ctx, full)
}

// cannot demands that the volume does not open, for this reason, and that trying changes nothing in the store.
func (e *fsEnv) cannot(what string, want error, o *forstfs.Options) {
	e.Helper()
	before := e.picture()
	for _, readOnly := range []bool{false, true} {
		open := forstfs.Open
		if readOnly {
			open = forstfs.OpenReadOnly
		}
		v, err := open(e.ctx, e.store(), o)
		if err == nil {
			_ = v.Close()
			e.Fatalf("%s: Open (read-only %v) succeeds", what, readOnly)
		}
		if !errors.Is(err, want) {
			e.Errorf("%s: Open (read-only %v): %v, want %v", what, readOnly, err, want)
		}
		if errors.Is(err, forstfs.ErrNoVolume) != (want == forstfs.ErrNoVolume) {
			e.Errorf("%s: the error must not look like a missing volume: %v", what, err)
		}
	}
	if after := e.picture(); !slices.Equal(before, after) {
		e.Errorf("%s: an Open that fails has changed the store: %q, before %q", what, after, before)
	}
}

// picture is all keys.
func (e *fsEnv) picture() []string { e.Helper(); return e.keys("") }

// spoil changes one byte of an object.
func (e *fsEnv) spoil(key string, at int) {
	e.Helper()
	s := e.handle()
	b, err := driver.ReadAll(e.ctx, s, key)
	e.must(err)
	b = bytes.Clone(b)
	b[(at+len(b))%len(b)] ^= 0x10
	e.must(s.Put(e.ctx, key, b, driver.PutOptions{}))
}

// dataFrames are the keys of frames that are no fences.
func (e *fsEnv) dataFrames() (keys []string) {
	e.Helper()
	s := e.handle()
	for _, k := range e.keys(journal.JournalPrefix) {
		b, err := driver.ReadAll(e.ctx, s, k)
		e.must(err)
		f, err := journal.DecodeFrame(b)
		e.must(err)
		if f.Kind == journal.FrameData {
			keys = append(keys, k)
		}
	}
	return keys
}

// some makes a volume with a few frames and closes it.
func (e *fsEnv) some() {
	e.Helper()
	v := e.mount()
	for i := range 6 {
		e.put(v, sizeName(i, "log"), bytesOf(500, uint64(i)), true)
	}
	e.close(v)
}

var fsOpenCases = []FSCase{
	{"open/nothing-there", func(e *fsEnv) {
		o := smallOptions()
		o.Create = forstfs.MustExist
		e.cannot("an empty prefix", forstfs.ErrNoVolume, o)
		e.cannot("an empty prefix", forstfs.ErrNoVolume, nil)
	}},
	{"open/something-else-there", func(e *fsEnv) {
		s := e.handle()
		e.must(s.Put(e.ctx, "photo", []byte("x"), driver.PutOptions{}))
		for _, m := range []forstfs.CreateMode{forstfs.MustExist, forstfs.CreateIfMissing, forstfs.CreateNew} {
			o := smallOptions()
			o.Create = m
			if m == forstfs.CreateNew {
				_, err := forstfs.Open(e.ctx, e.store(), o)
				e.want("CreateNew on a foreign prefix", err, forstfs.ErrForeign)
				continue
			}
			e.cannot("a foreign prefix", forstfs.ErrForeign, o)
		}
		if got := e.picture(); !slices.Equal(got, []string{"photo"}) {
			e.Fatalf("the prefix holds %q", got)
		}
	}},
	{"open/create-new-refuses-a-volume", func(e *fsEnv) {
		e.some()
		before := e.picture()
		o := smallOptions()
		o.Create = forstfs.CreateNew
		_, err := forstfs.Open(e.ctx, e.store(), o)
		e.want("CreateNew on a volume", err, forstfs.ErrExists)
		if !slices.Equal(before, e.picture()) {
			e.Fatalf("a refused CreateNew has changed the store")
		}
		v := e.mount()
		e.same(v, sizeName(3, "log"), bytesOf(500, 3))
	}},
	{"open/options-are-checked", func(e *fsEnv) {
		for _, o := range []*forstfs.Options{{Create: 9}, {ObjectSize: 5}, {ObjectSize: -1}, {MaxInflight: -1}, {FrameLimit: -1}, {DirSync: 7}, {Placement: 99}, {RetryBudget: -1}} {
			if v, err := forstfs.Open(e.ctx, e.store(), o); err == nil {
				_ = v.Close()
				e.Errorf("options %+v are taken", o)
			}
		}
		if got := e.picture(); len(got) != 0 {
			e.Fatalf("wrong options have made %q", got)
		}
	}},
	{"open/damaged-root", func(e *fsEnv) {
		e.some()
		e.spoil(journal.RootKey, 20)
		e.cannot("a damaged root", forstfs.ErrDamaged, smallOptions())
	}},
	{"open/unknown-feature", func(e *fsEnv) {
		// Of a volume that needs what this version does not know: refuse before the fence.
		_, err := journal.CreateRoot(e.ctx, e.handle(), journal.RootOptions{Features: []string{"r:from-the-future"}})
		e.must(err)
		e.cannot("an unknown feature", forstfs.ErrFormat, smallOptions())
	}},
	{"open/unknown-writer-feature", func(e *fsEnv) {
		_, err := journal.CreateRoot(e.ctx, e.handle(), journal.RootOptions{Features: []string{"w:from-the-future"}})
		e.must(err)
		before := e.picture()
		_, err = forstfs.Open(e.ctx, e.store(), smallOptions())
		e.want("a feature for writers", err, forstfs.ErrFormat)
		if !slices.Equal(before, e.picture()) {
			e.Fatalf("a refused Open has changed the store")
		}
		e.mountReadOnly() // a reader need not know it
	}},
	{"open/damaged-frame", func(e *fsEnv) {
		for _, at := range []int{0, 50, 100, -1} {
			e.some()
			frames := e.dataFrames()
			e.spoil(frames[len(frames)/2], at)
			e.cannot("a damaged frame in the middle", forstfs.ErrDamaged, smallOptions())
			e.spoil(frames[len(frames)/2], at)
			e.spoil(frames[len(frames)-1], at) // the last one is no torn tail: frames are never torn
			e.cannot("a damaged last frame", forstfs.ErrDamaged, smallOptions())
			e.spoil(frames[len(frames)-1], at)
		}
		v := e.mount()
		e.same(v, sizeName(5, "log"), bytesOf(500, 5))
	}},
	{"open/missing-frames", func(e *fsEnv) {
		v := e.mount()
		for i := range 8 {
			e.put(v, sizeName(i, "log"), bytesOf(500, uint64(i)), true)
		}
		e.close(v)
		frames := e.dataFrames()
		e.must(e.handle().Delete(e.ctx, frames[2:3]))
		e.cannot("a gap with frames behind it", forstfs.ErrDamaged, smallOptions())
	}},
	{"open/newest-image-damaged", func(e *fsEnv) {
		// The older image and the frames behind it give the same state, loudly; the next image replaces the damaged one.
		v := e.mount()
		for i := range 5 {
			e.put(v, sizeName(i, "log"), bytesOf(700, uint64(i)), true)
			e.put(v, sizeName(i, "sst"), bytesOf(7000, uint64(i)), true)
			e.must(v.Checkpoint(e.ctx))
		}
		e.close(v)
		images := e.keys(journal.ImagePrefix)
		e.spoil(images[len(images)-1], 130)
		var heard []string
		o := smallOptions()
		o.Listener = &forstfs.EventListener{Damaged: func(what string, err error) { heard = append(heard, what) }}
		v = e.mountOn(e.store(), o)
		if len(heard) == 0 {
			e.Errorf("nobody was told of the damaged image")
		}
		check := func() {
			e.Helper()
			for i := range 5 {
				e.same(v, sizeName(i, "log"), bytesOf(700, uint64(i)))
				e.same(v, sizeName(i, "sst"), bytesOf(7000, uint64(i)))
			}
		}
		check()
		e.put(v, "/more.log", bytesOf(10, 1), true)
		e.must(v.Checkpoint(e.ctx))
		if slices.Contains(e.keys(journal.ImagePrefix), images[len(images)-1]) {
			e.Errorf("the damaged image is still there after the next one")
		}
		v = e.again(v)
		check()
		// And once more: the two images that are left are sound, so one of them may be damaged again.
		e.put(v, "/more.log", bytesOf(20, 1), true)
		e.must(v.Checkpoint(e.ctx))
		e.close(v)
		images = e.keys(journal.ImagePrefix)
		e.spoil(images[len(images)-1], 10)
		v = e.mount()
		check()
		e.same(v, "/more.log", bytesOf(20, 1))
	}},
	{"open/all-images-damaged", func(e *fsEnv) {
		v := e.mount()
		for i := range 3 {
			e.put(v, sizeName(i, "log"), bytesOf(700, uint64(i)), true)
			e.must(v.Checkpoint(e.ctx))
		}
		e.close(v)
		for _, k := range e.keys(journal.ImagePrefix) {
			e.spoil(k, 130)
		}
		e.cannot("all images damaged", forstfs.ErrDamaged, smallOptions())
	}},
	{"open/frame-of-another-volume", func(e *fsEnv) {
		// A late frame of a volume that had the prefix before: void, not replayed.
		e.some()
		var root journal.Root
		b, err := driver.ReadAll(e.ctx, e.handle(), journal.RootKey)
		e.must(err)
		root, err = journal.DecodeRoot(b)
		e.must(err)
		frames := e.dataFrames()
		b, err = driver.ReadAll(e.ctx, e.handle(), frames[len(frames)-1])
		e.must(err)
		f, err := journal.DecodeFrame(bytes.Clone(b))
		e.must(err)
		root.Volume[3] ^= 0xff
		late := &journal.Frame{Kind: journal.FrameData, Volume: root.Volume, Epoch: f.Epoch, Nonce: f.Nonce, Seq: f.Seq + 1, Prev: f.Ref(), Ops: f.Ops, Inline: f.Inline}
		e.must(e.handle().Put(e.ctx, journal.FrameKey(late.Seq), late.Encode(), driver.PutOptions{IfAbsent: true}))
		v := e.mount()
		e.same(v, sizeName(5, "log"), bytesOf(500, 5))
		e.put(v, "/next", []byte("x"), true)
		v = e.again(v)
		e.same(v, "/next", []byte("x"))
	}},
	{"drop/is-for-ever", func(e *fsEnv) {
		v := e.mount()
		e.put(v, "/a.sst", bytesOf(9000, 1), true)
		e.must(v.Checkpoint(e.ctx))
		e.put(v, "/b.log", bytesOf(900, 1), true)
		w := e.create(v, "/c.log")
		e.must(v.Drop(e.ctx))
		e.want("Sync after Drop", v.Sync(e.ctx), forstfs.ErrDropped)
		e.want("File.Sync after Drop", w.Sync(), forstfs.ErrDropped)
		e.want("Create after Drop", second(v.Create(e.ctx, "/d", nil)), forstfs.ErrDropped)
		_ = v.Close()
		e.last.Delete(v)
		e.cannot("a dropped volume", forstfs.ErrDropped, smallOptions())
		if n := e.dataObjects(); n != 0 {
			e.Errorf("%d data objects are left of a dropped volume", n)
		}
		o := smallOptions()
		o.Create = forstfs.CreateNew
		_, err := forstfs.Open(e.ctx, e.store(), o)
		if err == nil {
			e.Fatalf("the prefix of a dropped volume is used again")
		}
	}},
}

var fsGarbageCases = []FSCase{
	{"garbage/what-nobody-needs-goes", func(e *fsEnv) {
		v := e.mount()
		for i := range 10 {
			e.put(v, sizeName(i, "sst"), bytesOf(9000, uint64(i)), false)
			e.put(v, sizeName(i, "log"), bytesOf(3000, uint64(i)), true)
			e.must(v.Checkpoint(e.ctx))
		}
		v = e.again(v)
		for i := range 10 {
			e.must(v.Remove(e.ctx, sizeName(i, "sst")))
			e.must(v.Remove(e.ctx, sizeName(i, "log")))
		}
		e.must(v.Checkpoint(e.ctx))
		e.put(v, "/x", nil, true)
		e.must(v.Checkpoint(e.ctx))
		e.close(v)
		if left := e.keys("data/"); len(left) != 0 {
			e.Errorf("data objects are left: %q", left)
		}
		if n := len(e.dataFrames()); n > 4 {
			e.Errorf("%d data frames are left", n)
		}
		if n := len(e.keys("image/")); n != 2 {
			e.Errorf("%d images", n)
		}
	}},
	{"garbage/sweep-takes-orphans-only", func(e *fsEnv) {
		v := e.mount()
		e.put(v, "/keep.sst", bytesOf(9000, 1), true)
		f := e.create(v, "/lost.sst") // never closed: its process dies
		e.write(f, bytesOf(30_000, 2))
		e.put(v, "/a.log", bytesOf(10, 1), true)
		g := e.create(v, "/half.sst")
		e.write(g, bytesOf(9000, 3))
		e.must(g.Close()) // in the store, its name not synced
		w := e.mountOn(e.store(), uncached())
		e.last.Delete(v)
		e.want("Close of the earlier writer", v.Close(), forstfs.ErrFenced) // what it was still uploading has landed now
		own := func() (n int) {
			for _, k := range e.keys("data/") {
				if epoch, _, _, ok := journal.ParseDataKey(k); ok && epoch == w.Epoch() {
					n++
				}
			}
			return n
		}
		h := e.create(w, "/own.sst") // the new owner's own upload is none
		e.write(h, bytesOf(9000, 4))
		for own() == 0 { // until a part of it is there
			runtime.Gosched()
		}
		_, err := w.Sweep(e.ctx)
		e.must(err)
		e.must(h.Close())
		e.must(w.Sync(e.ctx))
		r, err := w.Sweep(e.ctx)
		e.must(err)
		if r.Orphans != 0 {
			e.Errorf("a second sweep finds %d orphans", r.Orphans)
		}
		e.same(w, "/keep.sst", bytesOf(9000, 1))
		e.same(w, "/own.sst", bytesOf(9000, 4))
		e.close(w)
		e.exact()
	}},
	{"garbage/fences-stay", func(e *fsEnv) {
		for range 4 {
			v := e.mount()
			e.put(v, "/f", bytesOf(100, 1), true)
			e.must(v.Checkpoint(e.ctx))
			e.put(v, "/g", bytesOf(100, 1), true)
			e.must(v.Checkpoint(e.ctx))
			_, err := v.Sweep(e.ctx)
			e.must(err)
			e.close(v)
		}
		fences := 0
		for _, k := range e.keys(journal.JournalPrefix) {
			b, err := driver.ReadAll(e.ctx, e.handle(), k)
			e.must(err)
			f, err := journal.DecodeFrame(b)
			e.must(err)
			if f.Kind == journal.FrameFence {
				fences++
			}
		}
		if fences != 4*journal.DefaultRun {
			e.Fatalf("%d fences after 4 takeovers, want %d: a fence run is never deleted", fences, 4*journal.DefaultRun)
		}
	}},
}
