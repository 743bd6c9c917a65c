package state

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"
)

func TestTimers(t *testing.T) {
	each(t, small, func(t *testing.T, b *Backend) {
		event := must(NewTimers(b, "event time"))(t)
		other := must(NewTimers(b, "processing time"))(t)
		at := func(ms int64) time.Time { return time.UnixMilli(ms) }
		_, some, err := event.Next(ctx)
		ok(t, err)
		equal(t, "a timer before", some, false)
		for i := range int64(50) {
			ok(t, event.Register(ctx, IntKey(i), at(1000-7*i)))
			ok(t, event.Register(ctx, IntKey(i), at(1000-7*i))) // again
		}
		ok(t, event.Register(ctx, Key("early").In([]byte("w")), at(-5)))
		ok(t, other.Register(ctx, Key("x"), at(1)))
		ok(t, event.Delete(ctx, IntKey(49), at(1000-7*49)))
		ok(t, event.Delete(ctx, IntKey(1000), at(1)))
		next, _, err := event.Next(ctx)
		ok(t, err)
		equal(t, "next", next.UnixMilli(), -5)
		equal(t, "nothing is due", len(must(event.Poll(ctx, at(-6), 10))(t)), 0)
		due := must(event.Poll(ctx, at(1000-7*47), 10))(t)
		equal(t, "due", fmt.Sprint(names(due)), "[-5:early/w 664:48 671:47]")
		due = must(event.Poll(ctx, at(5000), 5))(t)
		equal(t, "limited", fmt.Sprint(names(due)), "[678:46 685:45 692:44 699:43 706:42]")
		due = must(event.Poll(ctx, at(5000), 500))(t)
		equal(t, "the rest", len(due), 42)
		if !slices.IsSortedFunc(due, func(a, b Timer) int { return a.Time.Compare(b.Time) }) {
			t.Error("not in order")
		}
		equal(t, "other timers", len(must(other.Poll(ctx, at(5000), 500))(t)), 1)
	})
}

func names(ts []Timer) (out []string) {
	for _, t := range ts {
		s := string(t.Scope.Key) + "/" + string(t.Scope.Namespace)
		if len(t.Scope.Namespace) == 0 {
			s = fmt.Sprint(readInt64(t.Scope.Key))
		}
		out = append(out, fmt.Sprintf("%d:%s", t.Time.UnixMilli(), s))
	}
	return out
}

// More timers than are kept in memory, registered, deleted and polled side by side: each comes once, and in order where nobody adds.
func TestManyTimers(t *testing.T) {
	o := small()
	o.Keys = AllKeys(3)
	b := create(t, roots[0].new(t), o)
	tm := must(NewTimers(b, "t"))(t)
	const workers, perWorker = 4, 500
	var mu sync.Mutex
	want := map[string]int{}
	var wg sync.WaitGroup
	for w := range int64(workers) {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 5))
			for i := range int64(perWorker) {
				at, key := time.UnixMilli(rng.Int64N(3000)), w*perWorker+i
				if err := tm.Register(ctx, IntKey(key), at); err != nil {
					t.Error(err)
				}
				if rng.IntN(4) == 0 {
					if err := tm.Delete(ctx, IntKey(key), at); err != nil {
						t.Error(err)
					}
					continue
				}
				mu.Lock()
				want[fmt.Sprintf("%d:%d", at.UnixMilli(), key)] = 1
				mu.Unlock()
			}
		})
	}
	got := map[string]int{}
	poll := func(now int64, limit int) int {
		due := must(tm.Poll(ctx, time.UnixMilli(now), limit))(t)
		for _, n := range names(due) {
			got[n]++
		}
		return len(due)
	}
	for range 20 { // beside the others; a timer that is deleted later may come
		poll(1000, 10)
	}
	wg.Wait()
	for poll(5000, 300) > 0 {
	}
	for n := range want {
		if got[n] != 1 {
			t.Errorf("timer %s came %d times", n, got[n])
		}
	}
	for n, c := range got {
		if c != 1 {
			t.Errorf("timer %s came %d times", n, c)
		}
	}
	// A backend that reads them from the database finds the same.
	for i := range int64(1000) {
		tm.RegisterAsync(ctx, IntKey(i), time.UnixMilli(i*37%1000))
	}
	ok(t, b.core.drain(ctx))
	b.core.resume()
	tm.mu.Lock()
	for _, g := range tm.groups {
		g.keys, g.complete = nil, false
		tm.fix(g)
	}
	tm.mu.Unlock()
	for last, n := int64(-1), 0; n < 1000; n++ {
		due := must(tm.Poll(ctx, time.UnixMilli(5000), 1))(t)
		if len(due) != 1 || due[0].Time.UnixMilli() < last {
			t.Fatalf("timer %d: %v behind %d", n, due, last)
		}
		last = due[0].Time.UnixMilli()
	}
}

// A Poll that is given up loses no timer.
func TestCancelledPollLosesNothing(t *testing.T) {
	b := create(t, roots[0].new(t), small())
	tm := must(NewTimers(b, "t"))(t)
	for i := range int64(100) {
		ok(t, tm.Register(ctx, IntKey(i), time.UnixMilli(i)))
	}
	total := 0
	for i := range 50 {
		c, cancel := context.WithCancel(ctx)
		go func() {
			for range i * 20 {
				_ = b.Metrics().InFlight
			}
			cancel()
		}()
		due, err := tm.Poll(c, time.UnixMilli(1000), 2)
		cancel()
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		total += len(due)
	}
	for n := 1; n > 0; total += n {
		n = len(must(tm.Poll(ctx, time.UnixMilli(1000), 7))(t))
	}
	equal(t, "timers", total, 100)
}
