package journal

import (
	"fmt"
	"testing/synctest"
	"time"
)

// The journal is listed beside the images, before anybody knows which image is the newest.
func earlyScenarios() []scenario {
	// long is a journal with more names than an early list takes, and an image before most of them.
	long := func(l *lab) (a *process, want []string) {
		a = l.opened()
		a.must("a1")
		a.image()
		want = append(want, "a1")
		for i := range earlyNames {
			op := fmt.Sprint(i)
			a.must(op)
			want = append(want, op)
		}
		return a, want
	}
	return []scenario{
		{"an open of a long journal lists it again, behind the image", []string{"early-list-cut"}, func(l *lab) error {
			_, want := long(l)
			b := l.process()
			b.tap = newTap(l.store)
			b.latency = time.Second
			b.opt.FrameConcurrency = earlyNames
			if err := b.open(); err != nil {
				return err
			}
			if took := time.Since(b.start); took != 5*time.Second {
				return fmt.Errorf("%v with a second for each request", took)
			}
			b.must("b1")
			want = append(want, "b1")
			return first(b.has(want...), l.holds(want...))
		}},
		{"a reader of a long journal sees its end", []string{"early-list-cut"}, func(l *lab) error {
			_, want := long(l)
			return l.holds(want...)
		}},
		{"a store that lists folders is not asked for many of them", nil, func(l *lab) error {
			for i := range uint64(earlyFolders + 2) {
				l.plant(Frame{Kind: FrameFence, Epoch: i + 1, Nonce: 1, Seq: i*framesPerFolder + 1})
			}
			got, err := listEarly(l.ctx, l.store)
			if err == nil && (got.all || len(got.numbers) > earlyFolders+1) {
				err = fmt.Errorf("%+v", got)
			}
			return err
		}},
		{"the journal was listed before its newest image", nil, func(l *lab) error {
			a := l.opened()
			a.must("a1")
			b := l.process()
			slow := b.stall("list", ImagePrefix)
			b.begin()
			<-slow.hit
			synctest.Wait() // it has listed the journal: a1 is the last frame
			a.must("a2")
			a.image()
			a.must("a3", "a4")
			slow.release()
			if err := b.await(); err != nil {
				return err
			}
			b.must("b1")
			return first(b.has("a1", "a2", "a3", "a4", "b1"), l.holds("a1", "a2", "a3", "a4", "b1"), is(a.commit("a5"), ErrFenced))
		}},
		{"a reader listed the journal, then all it had seen was trimmed", []string{"gap-ends-reader"}, func(l *lab) error {
			a := l.opened()
			a.must("a1")
			p, m := l.process(), &log{}
			p.m = m
			slow := p.stall("get", FrameKey(1)) // it has both lists
			done := make(chan error, 1)
			go func() {
				_, err := OpenReader(l.ctx, p.tap, m, &p.opt)
				done <- err
			}()
			<-slow.hit
			synctest.Wait()
			for _, op := range []string{"a2", "a3"} { // behind the list
				a.must(op)
				a.image()
			}
			a.trim()
			l.slowFence(6) // where the list ended
			slow.release()
			return first(<-done, p.has("a1", "a2", "a3"))
		}},
		{"an image that was read ahead of is damaged", nil, func(l *lab) error {
			a := l.opened()
			a.must("a1")
			a.image()
			a.must("a2", "a3")
			k := a.image().Key
			a.must("a4", "a5")
			l.spoil(k)
			b := l.process()
			if err := b.open(); err != nil {
				return err
			}
			b.must("b1")
			return first(b.has("a1", "a2", "a3", "a4", "a5", "b1"), l.holds("a1", "a2", "a3", "a4", "a5", "b1"))
		}},
	}
}
