package journal

import (
	"errors"
	"fmt"
	"testing/synctest"
	"time"
)

// Frame numbers in these histories: a first opener fences 1 to 4, so its first data frame is 5.

func takeoverScenarios() []scenario {
	return []scenario{
		{"the old writer is fenced", []string{"foreign-is-own", "fenced-goes-on"}, func(l *lab) error {
			a := l.opened()
			a.must("a1")
			b := l.opened()
			b.must("b1")
			return first(is(a.commit("a2"), ErrFenced), is(a.commit("a3"), ErrFenced), b.has("a1", "b1"), l.holds("a1", "b1"))
		}},
		{"after a failure nothing returns nil", []string{"nil-after-failure"}, func(l *lab) error {
			a := l.opened()
			a.must("a1")
			l.opened()
			return first(is(a.commit("a2"), ErrFenced), is(a.Wait(l.ctx, 1), ErrFenced), is(a.Err(), ErrFenced))
		}},
		{"a run is k fences", []string{"run-of-one"}, func(l *lab) error {
			a := l.opened()
			if n := len(l.frames()); n != 4 || a.Acked() != 4 {
				return fmt.Errorf("%d fences, acked %d; want 4", n, a.Acked())
			}
			return nil
		}},
		{"a late frame of a stalled writer meets the fence", []string{"fence-trimmed", "image-forgets-runs"}, func(l *lab) error {
			a := l.opened()
			a.must("a1")
			late := a.stall("put", FrameKey(6))
			result := make(chan error, 1)
			go func() { result <- a.commit("a2") }()
			<-late.hit
			b := l.opened()
			b.must("b1", "b2")
			b.image()
			b.must("b3")
			b.image()
			b.trim()
			c := l.opened() // knows b's run only from the image
			c.must("c1")
			c.image()
			c.must("c2")
			c.image()
			c.trim()
			late.release()
			return first(is(<-result, ErrFenced), l.holds("a1", "b1", "b2", "b3", "c1", "c2"))
		}},
		{"fence runs stay whole", []string{"fence-trimmed", "void-of-run-trimmed", "sweep-deletes-fences"}, func(l *lab) error {
			for range 3 {
				a := l.opened()
				for i := range 3 {
					a.must(fmt.Sprint(i))
					a.image()
					a.trim()
				}
				if _, err := a.Sweep(l.ctx); err != nil {
					return err
				}
			}
			return l.there(1, 2, 3, 4, 8, 9, 10, 11, 15, 16, 17, 18)
		}},
		{"a slow opener lists after a trim", nil, func(l *lab) error {
			a := l.opened()
			b := l.process()
			slow := b.stall("list", JournalPrefix)
			b.begin()
			<-slow.hit
			synctest.Wait() // it has listed the images
			a.must("a1")
			a.image()
			a.must("a2")
			a.image()
			a.trim()
			slow.release()
			err := b.await() // it saw a data frame behind a gap
			return first(err, atMost(int(l.frames()[4]), 6), b.has("a1", "a2"))
		}},
		{"a slow opener fences a trimmed number", []string{"no-last-look"}, func(l *lab) error {
			a, b := slowOpener(l)
			if err := b.await(); err != nil {
				return err
			}
			b.must("b1")
			return first(b.has("a1", "a2", "b1"), l.holds("a1", "a2", "b1"), is(a.commit("a3"), ErrFenced))
		}},
		{"a restarted opener has a new nonce", []string{"restart-same-nonce"}, func(l *lab) error {
			_, b := slowOpener(l)
			if err := b.await(); err != nil {
				return err
			}
			if b.Nonce() == l.frame(5).Nonce {
				return fmt.Errorf("nonce %d again", b.Nonce())
			}
			return nil
		}},
		{"a slow opener believes in a fence in a trimmed number", []string{"no-last-look", "last-look-above-fence"}, func(l *lab) error {
			a := l.opened()
			b := l.process()
			slow := b.stall("list", JournalPrefix)
			b.begin()
			<-slow.hit
			synctest.Wait() // it has listed the images
			a.must("a1")
			a.image()
			a.must("a2")
			a.image()
			a.trim()
			l.slowFence(5)
			slow.release()
			if err := b.await(); err != nil {
				return err
			}
			b.must("b1")
			return first(b.has("a1", "a2", "b1"), l.holds("a1", "a2", "b1"))
		}},
		{"far frames behind a number that was trimmed are no damage", []string{"gap-is-damage-at-once"}, func(l *lab) error {
			a := l.opened()
			b := l.process()
			slow := b.stall("list", JournalPrefix)
			b.begin()
			<-slow.hit
			synctest.Wait() // it has listed the images
			a.must("a1")
			a.image()
			a.must("a2")
			a.image()
			a.trim()
			a.must("a3", "a4", "a5", "a6", "a7")
			slow.release()
			if err := b.await(); err != nil {
				return err
			}
			return b.has("a1", "a2", "a3", "a4", "a5", "a6", "a7")
		}},
		{"a damaged image does not restart an open for ever", []string{"last-look-any", "damaged-image-silent"}, func(l *lab) error {
			a := l.opened()
			a.must("a1")
			a.image()
			a.must("a2")
			l.spoil(a.image().Key)
			b := l.process()
			loud := false
			b.opt.OnEvent = func(e Event) { loud = loud || e.Kind == EventDamagedImage }
			if err := b.open(); err != nil {
				return err
			}
			b.must("b1")
			if !loud {
				return errors.New("no event")
			}
			return first(b.has("a1", "a2", "b1"), l.holds("a1", "a2", "b1"))
		}},
		{"an image below a damaged one lands late", []string{"last-look-above-seen", "no-last-look"}, func(l *lab) error {
			a := l.opened()
			a.must("a1")
			a.image()
			a.must("a2")
			i2 := a.image()
			held, err := readAll(l, i2.Key)
			if err != nil {
				return err
			}
			a.must("a3")
			i3 := a.image()
			l.remove(i2.Key) // as if its PUT were still under way
			l.spoil(i3.Key)
			b := l.process()
			slow := b.stall("get", FrameKey(i2.Seq)) // behind image i1
			b.begin()
			<-slow.hit
			l.put(i2.Key, held)
			a.trim() // does not know that its newest image is damaged
			l.slowFence(i2.Seq)
			slow.release()
			if err := b.await(); err != nil {
				return err
			}
			b.must("b1")
			return first(b.has("a1", "a2", "a3", "b1"), l.holds("a1", "a2", "a3", "b1"))
		}},
		{"two openers at once: one is told", []string{"foreign-fence-ignored"}, func(l *lab) error {
			l.opened().must("a1")
			b := l.process()
			b.latency = time.Millisecond
			slow := b.stall("put", JournalPrefix)
			slow.count = -1
			b.begin()
			<-slow.hit
			c := l.opened()
			c.must("c1")
			slow.release()
			return first(is(b.await(), ErrBusy), c.commit("c2"), l.holds("a1", "c1", "c2"))
		}},
		{"two openers at once: force wins", nil, func(l *lab) error {
			l.opened().must("a1")
			b := l.process()
			b.opt.Force = true
			slow := b.stall("put", JournalPrefix)
			slow.count = -1
			b.begin()
			<-slow.hit
			c := l.opened()
			c.must("c1")
			slow.release()
			if err := b.await(); err != nil {
				return err
			}
			b.must("b1")
			return first(is(c.commit("c2"), ErrFenced), l.holds("a1", "c1", "b1"))
		}},
		{"the run moves on behind frames of the old writer", nil, func(l *lab) error {
			a := l.opened()
			a.must("a1")
			b := l.process()
			slow := b.stall("put", JournalPrefix)
			slow.count = -1
			b.begin()
			<-slow.hit
			a.must("a2", "a3", "a4", "a5", "a6") // more than a whole run
			slow.release()
			if err := b.await(); err != nil {
				return err
			}
			b.must("b1")
			return first(b.has("a1", "a2", "a3", "a4", "a5", "a6", "b1"), is(a.commit("a7"), ErrFenced), l.holds("a1", "a2", "a3", "a4", "a5", "a6", "b1"))
		}},
		{"a run that was interrupted", nil, func(l *lab) error {
			a := l.opened()
			a.must("a1")
			// Of a dead opener only the second and the fourth fence landed.
			l.plant(Frame{Kind: FrameFence, Epoch: 2, Nonce: 77, Seq: 7, Prev: l.frame(5).Ref()})
			l.plant(Frame{Kind: FrameFence, Epoch: 2, Nonce: 77, Seq: 9, Prev: l.frame(5).Ref()})
			b := l.process()
			err := b.open()
			if errors.Is(err, ErrBusy) { // its own first fence is in force at 6, of epoch 2 as well: 7 and 9 are void
				return err
			}
			b.must("b1")
			return first(err, b.has("a1", "b1"), l.holds("a1", "b1"), is(a.commit("a2"), ErrFenced))
		}},
		{"a restart loop ends", nil, func(l *lab) error {
			l.opened().must("a1")
			b := l.process()
			n := uint64(100)
			b.add(rule{op: "list", prefix: ImagePrefix, count: -1, hold: closed()})
			b.tap.Store = endless{l.store, &n, l}
			return first(is(b.open(), ErrBusy), atMost(len(b.requests("list", ImagePrefix)), 4*maxRestarts))
		}},
		{"busy wait", nil, func(l *lab) error {
			a := l.opened()
			a.must("a1")
			b := l.process()
			b.opt.BusyWait = time.Minute
			b.begin()
			synctest.Wait()
			a.must("a2")
			err := first(is(b.await(), ErrBusy), a.commit("a3"))
			if err != nil || b.changes() != 0 {
				return fmt.Errorf("%v, %d changes", err, b.changes())
			}
			c := l.process()
			c.opt.BusyWait = time.Minute
			return first(c.open(), is(a.commit("a4"), ErrFenced))
		}},
		{"two hundred takeovers", []string{"fence-trimmed", "image-forgets-runs"}, takeovers},
	}
}

// slowOpener begins to open before anything is written, and is held before its fences while the owner writes, images and
// trims frame 5.
func slowOpener(l *lab) (a, b *process) {
	a = l.opened()
	b = l.process()
	slow := b.stall("put", JournalPrefix)
	slow.count = -1
	b.begin()
	<-slow.hit
	a.must("a1")
	a.image()
	a.must("a2")
	a.image()
	a.trim()
	slow.release()
	return a, b
}

// takeovers opens again and again with a few frames between, and images and trims now and then. The first writer has a
// frame under way all the time.
func takeovers(l *lab) error {
	old := l.opened()
	late := old.stall("put", FrameKey(5))
	result := make(chan error, 1)
	go func() { result <- old.commit("never") }()
	<-late.hit
	var want []string
	for i := range 200 {
		p := l.opened()
		if err := p.has(want...); err != nil {
			return fmt.Errorf("round %d: %w", i, err)
		}
		for k := range i % 4 {
			op := fmt.Sprintf("%d.%d", i, k)
			p.must(op)
			want = append(want, op)
		}
		if i%3 == 0 {
			p.image()
			p.trim()
		}
		p.Close(l.ctx)
	}
	late.release()
	return first(is(<-result, ErrFenced), l.holds(want...))
}

func closed() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

func atMost(n, most int) error {
	if n > most {
		return fmt.Errorf("%d, at most %d are right", n, most)
	}
	return nil
}
