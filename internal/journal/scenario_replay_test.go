package journal

import (
	"errors"
	"fmt"
	"strings"
	"testing/synctest"
	"time"

	"github.com/forst-go/forst/forstfs/driver"
)

func replayScenarios() []scenario {
	// forged plants a data frame that differs from a right one in one thing, and a right one behind it: exactly the latter
	// counts.
	forged := func(change func(f *Frame)) func(l *lab) error {
		return func(l *lab) error {
			a := l.opened()
			a.must("a1")
			right := Frame{Kind: FrameData, Epoch: 1, Nonce: a.Nonce(), Prev: l.frame(5).Ref()}
			f := right
			f.Seq, f.Ops = 6, []byte("forged\n")
			change(&f)
			l.plant(f)
			right.Seq, right.Ops = 7, []byte("right\n")
			l.plant(right)
			b := l.process()
			return first(b.open(), b.has("a1", "right"), b.commit("b1"), l.holds("a1", "right", "b1"))
		}
	}
	// refused opens and reads, wants the error from both, and that nothing was changed.
	refused := func(l *lab, want error) error {
		p := l.process()
		before := strings.Join(l.keys(""), " ")
		err := p.open()
		if p.changes() != 0 || strings.Join(l.keys(""), " ") != before {
			return fmt.Errorf("refused (%v) after it had changed something", err)
		}
		_, rerr := OpenReader(l.ctx, p.tap, &log{}, nil)
		return first(is(err, want), is(rerr, want))
	}
	return []scenario{
		{"a frame of another volume is void", []string{"volume-id-unchecked"}, forged(func(f *Frame) { f.Volume = VolumeID{9} })},
		{"a frame with another predecessor is void", []string{"predecessor-unchecked"}, forged(func(f *Frame) { f.Prev.ID.CRC++ })},
		{"a frame of another writer is void", []string{"nonce-unchecked"}, forged(func(f *Frame) { f.Nonce++ })},
		{"a frame of another epoch is void", nil, forged(func(f *Frame) { f.Epoch++ })},
		{"a fence of the same epoch is void", []string{"equal-fence-effective"}, forged(func(f *Frame) {
			f.Kind, f.Nonce, f.Ops = FrameFence, f.Nonce+1, nil
		})},
		{"a fence of another volume is void", []string{"volume-id-unchecked"}, forged(func(f *Frame) {
			f.Kind, f.Epoch, f.Nonce, f.Ops, f.Volume = FrameFence, f.Epoch+5, f.Nonce+1, nil, VolumeID{9}
		})},
		{"nothing is effective behind a dropped fence", []string{"effective-behind-drop"}, func(l *lab) error {
			c := newCursor(l.root)
			f := &Frame{Kind: FrameFence, Volume: l.root.Volume, Epoch: 1, Nonce: 1, Seq: 1}
			f.Encode()
			c.step(f)
			d := &Frame{Kind: FrameDropped, Volume: l.root.Volume, Epoch: 1, Nonce: 1, Seq: 2, Prev: f.Ref()}
			d.Encode()
			if v := c.step(d); v != effectiveDropped {
				return fmt.Errorf("verdict %d", v)
			}
			for _, f := range []*Frame{
				{Kind: FrameData, Volume: l.root.Volume, Epoch: 1, Nonce: 1, Seq: 3, Prev: d.Ref()},
				{Kind: FrameFence, Volume: l.root.Volume, Epoch: 2, Nonce: 2, Seq: 4, Prev: d.Ref()},
			} {
				f.Encode()
				if v := c.step(f); v != void {
					return fmt.Errorf("%s frame behind the drop: verdict %d", f.Kind, v)
				}
			}
			return nil
		}},
		{"a damaged frame in the middle", []string{"damaged-frame-void", "damaged-frame-ends"}, func(l *lab) error {
			l.opened().must("a1", "a2", "a3")
			l.spoil(FrameKey(6))
			return refused(l, ErrDamaged)
		}},
		{"a damaged last frame", []string{"damaged-frame-void", "damaged-frame-ends"}, func(l *lab) error {
			l.opened().must("a1", "a2", "a3")
			l.spoil(FrameKey(7))
			return refused(l, ErrDamaged)
		}},
		{"a frame under another's number", nil, func(l *lab) error {
			l.opened().must("a1", "a2", "a3")
			b, err := readAll(l, FrameKey(6))
			if err != nil {
				return err
			}
			l.put(FrameKey(7), b)
			return refused(l, ErrDamaged)
		}},
		{"a frame of a newer version", nil, func(l *lab) error {
			l.opened().must("a1", "a2", "a3")
			b, err := readAll(l, FrameKey(6))
			if err != nil {
				return err
			}
			b[8] = 2
			l.put(FrameKey(6), sealed(b))
			return refused(l, ErrFormat)
		}},
		{"a lost frame with others far behind", []string{"far-frames-ignored"}, func(l *lab) error {
			l.opened().must("a1", "a2", "a3", "a4", "a5", "a6", "a7")
			l.remove(FrameKey(6))
			return refused(l, ErrDamaged)
		}},
		{"a lost frame just before the last one", []string{"near-frames-ignored", "far-frames-ignored"}, func(l *lab) error {
			l.opened().must("a1", "a2", "a3")
			l.remove(FrameKey(6))
			return refused(l, ErrDamaged)
		}},
		{"a lost frame right before the fences of the next owner", []string{"gap-one-too-wide", "far-frames-ignored"}, func(l *lab) error {
			l.opened().must("a1", "a2")
			l.opened()
			l.remove(FrameKey(6)) // and 7 to 10 are fences: none of them was sent before 6 was settled
			return refused(l, ErrDamaged)
		}},
		{"an unknown feature", []string{"unknown-feature-ignored"}, func(l *lab) error {
			r := l.root
			r.Features = []string{"r:from-the-future"}
			l.put(RootKey, r.Encode())
			err := refused(l, ErrFormat)
			p := l.process()
			if e := p.open(); err == nil && !strings.Contains(e.Error(), "from-the-future") {
				err = fmt.Errorf("the feature is not named: %w", e)
			}
			p.opt.Features = []string{"r:from-the-future"}
			return first(err, p.open())
		}},
		{"a feature for writers does not stop a reader", []string{"unknown-feature-ignored"}, func(l *lab) error {
			r := l.root
			r.Features = []string{"w:from-the-future"}
			l.put(RootKey, r.Encode())
			_, err := OpenReader(l.ctx, l.store, &log{}, nil)
			return first(err, is(l.process().open(), ErrFormat))
		}},
		{"a root of a newer version", nil, func(l *lab) error {
			b := l.root.Encode()
			b[8] = 7
			l.put(RootKey, sealed(b))
			return refused(l, ErrFormat)
		}},
		{"a root that is none", nil, func(l *lab) error {
			l.put(RootKey, []byte("this is somebody else's object"))
			return refused(l, ErrDamaged)
		}},
		{"no volume", nil, func(l *lab) error {
			l.remove(RootKey)
			return refused(l, ErrNoVolume)
		}},
		{"a root that cannot be read is not absent", []string{"root-error-is-no-volume"}, func(l *lab) error {
			for _, k := range []driver.Kind{driver.KindTransient, driver.KindPermission, driver.KindNoStore, driver.KindOther} {
				p := l.process()
				p.add(rule{op: "get", prefix: RootKey, before: &driver.Error{Op: "get", Kind: k}})
				err := p.open()
				if errors.Is(err, ErrNoVolume) || driver.KindOf(err) != k {
					return fmt.Errorf("%v: %v", k, err)
				}
			}
			return nil
		}},
		{"a tombstone", nil, func(l *lab) error {
			r := l.root
			r.Tombstone = true
			l.put(RootKey, r.Encode())
			return refused(l, ErrDropped)
		}},
		{"a reader at a trimmed number", []string{"gap-ends-reader"}, func(l *lab) error {
			a := l.opened()
			p, m := l.process(), &log{}
			slow := p.stall("list", JournalPrefix)
			done := make(chan error, 1)
			go func() {
				_, err := OpenReader(l.ctx, p.tap, m, &p.opt)
				done <- err
			}()
			<-slow.hit
			synctest.Wait() // it has listed the images
			a.must("a1")
			a.image()
			a.must("a2")
			a.image()
			a.trim()
			l.slowFence(5)
			slow.release()
			p.m = m
			return first(<-done, p.has("a1", "a2"))
		}},
		{"a follower at a trimmed number", []string{"gap-ends-reader", "follower-applies-first"}, func(l *lab) error {
			a := l.opened()
			p, m := l.process(), &log{}
			r, err := OpenReader(l.ctx, p.tap, m, &p.opt)
			if err != nil {
				return err
			}
			p.m = m
			for _, op := range []string{"a1", "a2"} {
				a.must(op)
				a.image()
				a.trim()
			}
			l.slowFence(5) // the follower's next number, which is trimmed
			p.add(rule{op: "list", prefix: ImagePrefix, before: lost("list", "x")})
			if _, err := r.Refresh(l.ctx); err == nil {
				return errors.New("refresh: no error")
			}
			if r.Epoch() != 1 || len(m.fences) != 1 {
				return fmt.Errorf("epoch %d after a failed refresh, fences %v", r.Epoch(), m.fences)
			}
			changed, err := r.Refresh(l.ctx)
			if err != nil || !changed {
				return fmt.Errorf("changed %v, %v", changed, err)
			}
			return p.has("a1", "a2")
		}},
		{"a follower never goes back", nil, func(l *lab) error {
			a := l.opened()
			a.must("a1")
			p, m := l.process(), &log{}
			r, err := OpenReader(l.ctx, p.tap, m, &p.opt)
			if err != nil {
				return err
			}
			p.m = m
			a.image()
			a.must("a2")
			if _, err := r.Refresh(l.ctx); err != nil {
				return err
			}
			a.must("a3")
			l.spoil(a.image().Key)
			before := m.resets
			_, err = r.Refresh(l.ctx)
			if m.resets != before {
				return errors.New("the state was reset")
			}
			a.must("a4")
			_, err2 := r.Refresh(l.ctx)
			return first(err, err2, p.has("a1", "a2", "a3", "a4"), r.Close(), is(second(r.Refresh(l.ctx)), ErrClosed))
		}},
		{"a follower far behind", nil, func(l *lab) error {
			a := l.opened()
			p, m := l.process(), &log{}
			r, err := OpenReader(l.ctx, p.tap, m, &p.opt)
			if err != nil {
				return err
			}
			p.m = m
			var want []string
			for i := range 3*chunk + 5 {
				a.must(fmt.Sprint(i))
				want = append(want, fmt.Sprint(i))
			}
			_, err = r.Refresh(l.ctx)
			return first(err, p.has(want...))
		}},
		{"an open makes four sequential requests", nil, func(l *lab) error {
			a := l.opened()
			a.must("a1")
			a.image()
			for i := range 20 {
				a.must(fmt.Sprint(i))
			}
			b := l.process()
			b.tap = newTap(l.store)
			b.latency = time.Second
			b.opt.FrameConcurrency = 32
			if err := b.open(); err != nil {
				return err
			}
			if took := time.Since(b.start); took != 4*time.Second {
				return fmt.Errorf("%v with a second for each request:\n%s", took, b.phases())
			}
			return golden("open", b.phases())
		}},
		{"a follower with nothing to do makes two requests", nil, func(l *lab) error {
			l.opened().must("a1")
			p := l.process()
			r, err := OpenReader(l.ctx, p.tap, &log{}, &p.opt)
			if err != nil {
				return err
			}
			p.trace = nil
			_, err = r.Refresh(l.ctx)
			return first(err, golden("refresh", p.phases()))
		}},
	}
}

func second[T any](_ T, err error) error { return err }
