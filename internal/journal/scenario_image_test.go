package journal

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/forst-go/forst/forstfs/driver"
)

func imageScenarios() []scenario {
	return []scenario{
		{"an image holds acknowledged frames only", []string{"image-unacked"}, func(l *lab) error {
			a := l.opened()
			a.must("a1")
			slow := a.stall("put", FrameKey(6))
			result := make(chan error, 1)
			go func() { result <- a.commit("a2") }()
			<-slow.hit
			a.image()
			slow.release()
			return first(<-result, l.holds("a1", "a2"))
		}},
		{"the newest image may get damaged", []string{"keep-one-image"}, func(l *lab) error {
			a := l.opened()
			for i := range 3 {
				a.must(fmt.Sprint(i))
				a.image()
				a.trim()
			}
			a.must("3")
			l.spoil(l.newestImage())
			return l.holds("0", "1", "2", "3")
		}},
		{"the first image may get damaged", nil, func(l *lab) error {
			a := l.opened()
			a.must("a1")
			a.image()
			a.trim()
			l.spoil(l.newestImage())
			b := l.process()
			return first(b.open(), b.has("a1"), b.commit("b1"), l.holds("a1", "b1"))
		}},
		{"an image of another volume is void", []string{"other-volumes-image"}, func(l *lab) error {
			// A cloner that lost the race for this place left its images, before the volume had one and again when it has some.
			left := func(nonce uint64) error {
				_, err := BirthImages(l.ctx, l.store, VolumeID{9}, []byte("foreign"), time.Minute, func() uint64 { nonce--; return nonce })
				return err
			}
			if err := left(1 << 63); err != nil {
				return err
			}
			a := l.opened()
			a.must("a1")
			a.image()
			if err := first(left(1<<62), l.holds("a1")); err != nil {
				return err
			}
			b := l.opened()
			b.must("b1")
			b.image()
			b.trim()
			l.spoil(l.newestImage()) // what is void is not one of the two
			return l.holds("a1", "b1")
		}},
		{"both images damaged", nil, func(l *lab) error {
			a := l.opened()
			for i := range 3 {
				a.must(fmt.Sprint(i))
				a.image()
				a.trim()
			}
			for _, key := range l.keys(ImagePrefix) {
				l.spoil(key)
			}
			b := l.process()
			err := b.open()
			return first(is(err, ErrDamaged), atMost(b.changes(), 0))
		}},
		{"a third image is no refuge", []string{"third-image"}, func(l *lab) error {
			a := l.opened()
			a.must("0")
			i := a.image()
			old, err := readAll(l, i.Key)
			if err != nil {
				return err
			}
			for i := range 3 {
				a.must(fmt.Sprint(i + 1))
				a.image()
				a.trim()
			}
			for _, key := range l.keys(ImagePrefix) {
				l.spoil(key)
			}
			l.put(i.Key, old) // its PUT lands again
			l.slowFence(6)
			l.slowFence(7)
			return is(l.process().open(), ErrDamaged)
		}},
		{"a damaged image is read twice before it is believed", nil, func(l *lab) error {
			a := l.opened()
			a.must("a1")
			a.image()
			b := l.process()
			b.add(rule{op: "get", prefix: ImagePrefix, before: &driver.Error{Op: "get", Kind: driver.KindCorrupt}})
			return first(b.open(), b.has("a1"), atMost(int(b.Metrics().DamagedImages), 0))
		}},
		{"a damaged image does not count as one of two", []string{"damaged-image-counts"}, func(l *lab) error {
			a := l.opened()
			a.must("a1")
			a.image()
			a.must("a2")
			l.spoil(a.image().Key)
			b := l.opened() // from the older one
			b.must("b1")
			b.image()
			b.trim()
			b.must("b2")
			l.spoil(l.newestImage())
			return l.holds("a1", "a2", "b1", "b2")
		}},
		{"an image that is gone is not damaged", []string{"missing-image-damaged"}, func(l *lab) error {
			a := l.opened()
			a.must("a1")
			a.image()
			b := l.process()
			slow := b.stall("get", ImagePrefix)
			b.begin()
			<-slow.hit
			for i := range 3 {
				a.must(fmt.Sprint(i))
				a.image()
				a.trim()
			}
			slow.release()
			return first(b.await(), b.has("a1", "0", "1", "2"), atMost(int(b.Metrics().DamagedImages), 0))
		}},
		{"a fenced writer does not trim by its successor's images", []string{"trim-by-any-image"}, func(l *lab) error {
			a := l.opened()
			a.must("a1") // window 0: nothing is live for a
			b := l.process()
			b.m.window = 10
			if err := b.open(); err != nil {
				return err
			}
			b.must("b1")
			b.image()
			b.must("b2")
			b.image()
			a.trim()
			for _, ref := range b.m.liveRefs() {
				if _, err := b.ReadFrame(l.ctx, ref); err != nil {
					return fmt.Errorf("dangling: %w", err)
				}
			}
			return nil
		}},
		{"images that never landed do not count", []string{"trim-by-unlisted-images"}, func(l *lab) error {
			a := l.opened()
			a.must("a1")
			a.image()
			a.add(rule{op: "put", prefix: ImagePrefix, count: -1, before: lost("put", "x")})
			for i := range 3 {
				a.must(fmt.Sprint(i))
				if _, err := a.WriteImage(l.ctx); err == nil {
					return errors.New("an image was written without a store")
				}
				a.trim()
			}
			return l.holds("a1", "0", "1", "2")
		}},
		{"frames with live bytes stay", []string{"trim-live-frames"}, func(l *lab) error {
			a := l.opened()
			a.m.window = 4
			for i := range 10 {
				a.must(fmt.Sprint(i))
				a.image()
				a.trim()
				for _, ref := range a.m.liveRefs() {
					if _, err := a.ReadFrame(l.ctx, ref); err != nil {
						return fmt.Errorf("dangling: %w", err)
					}
				}
			}
			if n := len(l.frames()); n != 4+4 {
				return fmt.Errorf("%d frames, want a fence run and four", n)
			}
			return nil
		}},
		{"names of images are used once", []string{"image-name-reused"}, func(l *lab) error {
			a := l.opened()
			a.must("a1")
			a.image()
			a.must("a2")
			a.trace = nil
			r := a.add(rule{op: "put", prefix: ImagePrefix, count: -1, before: lost("put", "x")})
			if _, err := a.WriteImage(l.ctx); err == nil {
				return errors.New("an image was written without a store")
			}
			a.tap.mu.Lock()
			r.op = "done"
			a.tap.mu.Unlock()
			a.image()
			names := map[string]bool{}
			for _, r := range a.requests("put", ImagePrefix) {
				names[r.key] = true
			}
			if len(names) != 2 {
				return fmt.Errorf("%d names for two images", len(names))
			}
			return l.holds("a1", "a2")
		}},
		{"an image is written once for a state", nil, func(l *lab) error {
			a := l.opened()
			a.must("a1")
			i1 := a.image()
			i2 := a.image()
			if !i1.Written || i2.Written || i1.Key != i2.Key {
				return fmt.Errorf("%+v, %+v", i1, i2)
			}
			if f, b, size := a.SinceImage(); f != 0 || b != 0 || size != i1.Bytes {
				return fmt.Errorf("since image: %d, %d, %d", f, b, size)
			}
			a.must("a2")
			if f, b, _ := a.SinceImage(); f != 1 || b != l.frame(6).Size() {
				return fmt.Errorf("since image: %d frames, %d bytes", f, b)
			}
			b := l.opened()
			if f, by, size := b.SinceImage(); f != 1 || by != l.frame(6).Size() || size != i1.Bytes {
				return fmt.Errorf("since image after an open: %d, %d, %d", f, by, size)
			}
			return nil
		}},
		{"housekeeping makes few requests", nil, func(l *lab) error {
			a := l.opened()
			a.must("a1")
			a.image()
			a.must("a2", "a3")
			a.image()
			a.trim()
			a.must("a4", "a5")
			a.trace = nil
			a.image()
			a.trim()
			var out string
			for _, r := range a.requests("", "") {
				out += r.String() + "\n"
			}
			return golden("housekeeping", out)
		}},
		{"the sweep finds what landed late", nil, func(l *lab) error {
			a := l.opened()
			a.must("a1")
			frame, _ := readAll(l, FrameKey(5))
			image, _ := readAll(l, a.image().Key)
			key := l.newestImage()
			for i := range 3 {
				a.must(fmt.Sprint(i))
				a.image()
				a.trim()
			}
			l.put(FrameKey(5), frame)
			l.put(key, image)
			l.slowFence(6)
			n, err := a.Sweep(l.ctx)
			if err != nil || n != 2 {
				return fmt.Errorf("%d swept, %v", n, err)
			}
			a.must("x")
			return first(l.there(1, 2, 3, 4, 6), l.holds("a1", "0", "1", "2", "x"), atMost(len(l.keys(ImagePrefix)), 2))
		}},
		{"the mark of the sweep survives", nil, func(l *lab) error {
			a := l.opened()
			a.must("a1")
			a.SetSwept(7)
			a.image()
			if b := l.opened(); b.SweptBelow() != 7 {
				return fmt.Errorf("swept below %d", b.SweptBelow())
			}
			return nil
		}},
		{"a dead journal keeps no house", nil, func(l *lab) error {
			a := l.opened()
			a.must("a1")
			l.opened()
			_ = a.commit("a2")
			before := a.changes()
			_, e1 := a.WriteImage(l.ctx)
			_, e2 := a.Trim(l.ctx)
			_, e3 := a.Sweep(l.ctx)
			return first(is(e1, ErrFenced), is(e2, ErrFenced), is(e3, ErrFenced), is(a.Drop(l.ctx), ErrFenced), atMost(a.changes(), before))
		}},
	}
}

func dropScenarios() []scenario {
	return []scenario{
		{"a dropped volume", nil, func(l *lab) error {
			a := l.opened()
			for i := range 3 {
				a.must(fmt.Sprint(i))
				a.image()
			}
			queued := a.Enqueue([]byte("queued\n"), nil)
			err := a.Drop(l.ctx)
			b := l.process()
			_, _, rerr := l.recover()
			if n := len(l.keys("")); n != 1+4+1+1 { // root, fences, dropped fence, last image
				return fmt.Errorf("%d objects stay: %v", n, l.keys(""))
			}
			_, cerr := CreateRoot(l.ctx, l.store, RootOptions{})
			return first(err, is(a.Wait(l.ctx, queued), ErrDropped), is(b.open(), ErrDropped), is(rerr, ErrDropped), is(cerr, ErrExists),
				atMost(b.changes(), 0), a.Drop(l.ctx), a.Journal.Close(l.ctx))
		}},
		{"a slow opener of a dropped volume", []string{"drop-without-image", "no-last-look"}, func(l *lab) error {
			a := l.opened()
			b := l.process()
			slow := b.stall("put", JournalPrefix)
			slow.count = -1
			b.begin()
			<-slow.hit
			a.must("a1")
			if err := a.Drop(l.ctx); err != nil {
				return err
			}
			slow.release()
			err := b.await()
			if err == nil {
				err = fmt.Errorf("opened; commit: %v", b.commit("b1"))
			}
			return is(err, ErrDropped)
		}},
		{"a drop that is interrupted", nil, func(l *lab) error {
			a := l.opened()
			a.must("a1")
			a.add(rule{op: "put", prefix: ImagePrefix, count: -1, before: &driver.Error{Op: "put", Kind: driver.KindPermission}})
			if err := a.Drop(l.ctx); err == nil {
				return errors.New("dropped without an image")
			}
			if err := l.there(5, 6); err != nil {
				return fmt.Errorf("something was deleted: %w", err)
			}
			b := l.process()
			err := first(is(b.open(), ErrDropped), FinishDrop(l.ctx, l.store, &b.opt), FinishDrop(l.ctx, l.store, &b.opt), is(b.open(), ErrDropped))
			if n := len(l.keys("")); n != 1+4+1+1 {
				return fmt.Errorf("%d objects stay: %v", n, l.keys(""))
			}
			return err
		}},
		{"only a dropped volume's drop is finished", nil, func(l *lab) error {
			l.opened().must("a1")
			before := len(l.keys(""))
			if err := FinishDrop(l.ctx, l.store, nil); err == nil || len(l.keys("")) != before {
				return fmt.Errorf("%v, %d keys, %d before", err, len(l.keys("")), before)
			}
			return l.holds("a1")
		}},
		{"a dropper and a finisher side by side", nil, func(l *lab) error {
			a := l.opened()
			a.must("a1")
			slow := a.stall("list", ImagePrefix)
			done := make(chan error, 1)
			go func() { done <- a.Drop(l.ctx) }()
			<-slow.hit // its last image is there
			tomb := l.newestImage()
			l.remove(tomb) // and lands late
			err := FinishDrop(l.ctx, l.store, nil)
			slow.release()
			return first(err, <-done, is(l.process().open(), ErrDropped))
		}},
		{"a drop while another writer takes over", nil, func(l *lab) error {
			a := l.opened()
			a.must("a1")
			b := l.opened()
			return first(is(a.Drop(l.ctx), ErrFenced), b.commit("b1"), l.holds("a1", "b1"))
		}},
	}
}

// endless shows one more, newer image in each LIST, which is gone when it is read.
type endless struct {
	driver.Store
	n *uint64
	l *lab
}

func (e endless) List(ctx context.Context, prefix, after string) iter.Seq2[driver.Info, error] {
	if prefix != ImagePrefix {
		return e.Store.List(ctx, prefix, after)
	}
	*e.n++
	return func(yield func(driver.Info, error) bool) { yield(driver.Info{Key: ImageKey(*e.n, 1)}, nil) }
}
