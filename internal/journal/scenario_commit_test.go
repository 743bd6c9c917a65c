package journal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync/atomic"
	"testing/synctest"
	"time"

	"github.com/forst-go/forst/forstfs/driver"
)

func commitScenarios() []scenario {
	return []scenario{
		{"a lost reply is resolved by reading back", []string{"error-is-failure"}, func(l *lab) error {
			a := l.opened()
			a.add(rule{op: "put", prefix: FrameKey(5), after: lost("put", "x")})
			a.must("a1")
			if n := len(a.requests("put", FrameKey(5))); n != 1 {
				return fmt.Errorf("%d PUTs", n)
			}
			return first(a.commit("a2"), l.holds("a1", "a2"))
		}},
		{"a request that was lost is sent again", []string{"error-is-failure"}, func(l *lab) error {
			a := l.opened()
			a.add(rule{op: "put", prefix: FrameKey(5), count: 3, before: lost("put", "x")})
			return first(a.commit("a1"), l.holds("a1"))
		}},
		{"the client's own second attempt meets the first", []string{"exist-is-lost"}, func(l *lab) error {
			a := l.opened()
			a.add(rule{op: "put", prefix: FrameKey(5), twice: true})
			return first(a.commit("a1"), a.commit("a2"), l.holds("a1", "a2"))
		}},
		{"the store says that the number is taken, and it is not", []string{"gone-is-own"}, func(l *lab) error {
			a := l.opened()
			a.add(rule{op: "put", prefix: FrameKey(5), before: &driver.Error{Op: "put", Path: FrameKey(5), Kind: driver.KindExist}})
			return first(a.commit("a1"), l.holds("a1"))
		}},
		{"the read-back fails, too", nil, func(l *lab) error {
			a := l.opened()
			a.add(rule{op: "put", prefix: FrameKey(5), after: lost("put", "x")})
			a.add(rule{op: "get", prefix: FrameKey(5), count: 2, before: lost("get", "x")})
			return first(a.commit("a1"), l.holds("a1"))
		}},
		{"a fence whose reply is lost", []string{"error-is-failure"}, func(l *lab) error {
			a := l.process()
			a.add(rule{op: "put", prefix: JournalPrefix, count: 3, after: lost("put", "x")})
			return first(a.open(), a.commit("a1"), l.holds("a1"))
		}},
		{"a retry sends the same bytes", []string{"frame-rebuilt"}, func(l *lab) error {
			a := l.opened()
			slow := a.stall("put", FrameKey(5))
			slow.after = lost("put", "x")
			a.add(rule{op: "get", prefix: FrameKey(5), before: lost("get", "x")})
			r1, r2 := make(chan error, 1), make(chan error, 1)
			go func() { r1 <- a.commit("a1") }()
			<-slow.hit
			go func() { r2 <- a.commit("a2") }()
			synctest.Wait()
			slow.release()
			return first(<-r1, <-r2, l.holds("a1", "a2"))
		}},
		{"permission comes back", []string{"gives-up-at-once"}, func(l *lab) error {
			a := l.opened()
			for _, k := range []driver.Kind{driver.KindPermission, driver.KindNoStore, driver.KindNoSpace, driver.KindOther, driver.KindCorrupt} {
				a.add(rule{op: "put", prefix: JournalPrefix, before: &driver.Error{Op: "put", Kind: k}})
			}
			for i := range 5 {
				if err := a.commit(fmt.Sprint(i)); err != nil {
					return err
				}
			}
			return l.holds("0", "1", "2", "3", "4")
		}},
		{"the retry budget ends", nil, func(l *lab) error {
			a := l.opened()
			a.must("a1")
			a.add(rule{op: "put", prefix: JournalPrefix, count: -1, before: lost("put", "x")})
			start := time.Now()
			err := a.commit("a2")
			took := time.Since(start)
			if took < time.Minute || took > 2*time.Minute {
				return fmt.Errorf("gave up after %v, the budget is a minute", took)
			}
			return first(is(err, ErrFailed), is(a.Wait(l.ctx, 1), ErrFailed), l.holds("a1"))
		}},
		{"a store that never answers", nil, func(l *lab) error {
			a := l.opened()
			a.stall("put", JournalPrefix)
			return is(a.commit("a1"), ErrFailed)
		}},
		{"nothing is acknowledged before it is durable", []string{"ack-before-durable"}, func(l *lab) error {
			a := l.opened()
			slow := a.stall("put", FrameKey(5))
			var done atomic.Bool
			result := make(chan error, 1)
			go func() {
				err := a.commit("a1")
				done.Store(true)
				result <- err
			}()
			<-slow.hit
			synctest.Wait()
			if done.Load() || a.Acked() != 4 {
				return fmt.Errorf("acknowledged (%d) while its PUT is under way", a.Acked())
			}
			slow.release()
			return first(<-result, a.has("a1"))
		}},
		{"waiters are released when the state has their entry", []string{"waiters-before-apply"}, func(l *lab) error {
			a := l.opened()
			var applied atomic.Bool
			a.m.onApply = func(*Frame) { time.Sleep(time.Second); applied.Store(true) }
			err := a.commit("a1")
			if !applied.Load() {
				return errors.New("released before the entry was applied")
			}
			return err
		}},
		{"a waiter that gives up does not take the others with it", []string{"waiter-cancels-put"}, func(l *lab) error {
			a := l.opened()
			slow := a.stall("put", FrameKey(5))
			ctx, cancel := context.WithCancel(l.ctx)
			pos := a.Enqueue([]byte("a1\n"), nil)
			gone, stays := make(chan error, 1), make(chan error, 1)
			go func() { gone <- a.Wait(ctx, pos) }()
			go func() { stays <- a.Wait(l.ctx, pos) }()
			<-slow.hit
			cancel()
			err := is(<-gone, context.Canceled)
			synctest.Wait()
			slow.release()
			return first(err, <-stays, l.holds("a1"))
		}},
		{"close sends what is queued", []string{"close-drops-queue"}, func(l *lab) error {
			a := l.opened()
			a.must("a1")
			a.Enqueue([]byte("a2\n"), nil)
			pos := a.Enqueue([]byte("a3\n"), nil)
			err := first(a.Journal.Close(l.ctx), a.Wait(l.ctx, pos), l.holds("a1", "a2", "a3"))
			late := a.Enqueue([]byte("a4\n"), nil)
			return first(err, is(a.Wait(l.ctx, late), ErrClosed), l.holds("a1", "a2", "a3"), a.Journal.Close(l.ctx))
		}},
		{"close gives up with its context", nil, func(l *lab) error {
			a := l.opened()
			slow := a.stall("put", FrameKey(5))
			pos := a.Enqueue([]byte("a1\n"), nil)
			ctx, cancel := context.WithTimeout(l.ctx, time.Second)
			defer cancel()
			err := a.Journal.Close(ctx)
			<-slow.hit
			return first(is(err, context.DeadlineExceeded), is(a.Wait(l.ctx, pos), ErrClosed), l.holds())
		}},
		{"waiters share frames", nil, func(l *lab) error {
			a := l.opened()
			a.latency = 28 * time.Millisecond
			results := make(chan error, 64)
			for i := range 64 {
				go func() { results <- a.commit(fmt.Sprint(i)) }()
			}
			for range 64 {
				if err := <-results; err != nil {
					return err
				}
			}
			if n := a.Metrics(); n.Frames > 2 || n.Entries != 64 {
				return fmt.Errorf("%d frames for %d entries", n.Frames, n.Entries)
			}
			return atMost(len(a.requests("put", JournalPrefix)), 4+2)
		}},
		{"a frame has a limit", nil, func(l *lab) error {
			p := l.process()
			p.opt.FrameLimit = 1000
			if err := p.open(); err != nil {
				return err
			}
			for range 10 { // three fit into a frame, but nobody waits until a frame is full
				p.Enqueue([]byte(strings.Repeat("x", 300)+"\n"), nil)
			}
			p.Enqueue([]byte(strings.Repeat("y", 5000)+"\n"), nil)
			pos := p.Enqueue([]byte("z\n"), nil)
			if err := p.Wait(l.ctx, pos); err != nil {
				return err
			}
			for n := uint64(5); n <= p.Acked(); n++ {
				if f := l.frame(n); len(f.Ops) > 1000 && len(f.Ops) != 5001 {
					return fmt.Errorf("frame %d has %d bytes", n, len(f.Ops))
				}
			}
			if b, e := p.Queued(); b != 0 || e != 0 || p.Acked() != 10 {
				return fmt.Errorf("queued %d bytes, %d entries, acked %d", b, e, p.Acked())
			}
			return nil
		}},
		{"entries that nobody waits for are sent after a while", nil, func(l *lab) error {
			p := l.process()
			p.opt.FlushDelay = 3 * time.Second
			if err := p.open(); err != nil {
				return err
			}
			p.Enqueue([]byte("a1\n"), nil)
			time.Sleep(2 * time.Second)
			p.Enqueue([]byte("a2\n"), nil)
			synctest.Wait()
			if p.Acked() != 4 {
				return errors.New("sent too early")
			}
			time.Sleep(1001 * time.Millisecond)
			synctest.Wait()
			return first(l.holds("a1", "a2"), atMost(int(p.Acked()), 5))
		}},
		{"a slow answer is no refusal, however small the budget", nil, func(l *lab) error {
			p := l.process()
			p.opt.RetryBudget = time.Millisecond
			if err := p.open(); err != nil {
				return err
			}
			p.latency = 2 * time.Second
			return p.commit("a1")
		}},
		{"steady state: one PUT for each commit and nothing else", nil, func(l *lab) error {
			a := l.opened()
			before := len(a.requests("", ""))
			for i := range 10 {
				a.must(fmt.Sprint(i))
			}
			after := a.requests("", "")[before:]
			for _, r := range after {
				if r.op != "put" || r.comp != driver.CompCommit {
					return fmt.Errorf("request %s", r)
				}
			}
			return atMost(len(after), 10)
		}},
		{"a frame that cannot be applied fails the journal", nil, func(l *lab) error {
			a := l.opened()
			return first(is(a.commit("poison"), ErrFailed), is(a.commit("a2"), ErrFailed))
		}},
		{"a frame is read by its identity", []string{"frame-identity-unchecked", "missing-frame-not-exist"}, func(l *lab) error {
			a := l.opened()
			a.must("a1")
			ref := l.frame(5).Ref()
			f, err := a.ReadFrame(l.ctx, ref)
			if err != nil || string(f.Inline) != "bytes of a1" {
				return fmt.Errorf("%v, %v", f, err)
			}
			other := ref
			other.ID.CRC++
			_, wrong := a.ReadFrame(l.ctx, other)
			l.remove(FrameKey(5))
			_, gone := a.ReadFrame(l.ctx, ref)
			if errors.Is(gone, fs.ErrNotExist) {
				return fmt.Errorf("looks like not exist: %v", gone)
			}
			return first(is(wrong, ErrStale), is(gone, ErrStale))
		}},
	}
}

func readAll(l *lab, key string) ([]byte, error) {
	return driver.ReadAll(context.Background(), l.store, key)
}

func (l *lab) remove(keys ...string) {
	if err := l.store.Delete(context.Background(), keys); err != nil {
		panic(err)
	}
}

func (l *lab) put(key string, b []byte) {
	if err := l.store.Put(context.Background(), key, b, driver.PutOptions{}); err != nil {
		panic(err)
	}
}
