package state

import (
	"context"
	"errors"
	"testing"
	"time"
)

// A blocking call is carried out by its caller when nothing speaks against it, and by the executors otherwise; the result is the same.
func TestCallersCarryOutTheirRequests(t *testing.T) {
	b := create(t, roots[0].new(t), small())
	v := must(NewValue(b, ValueDescriptor[int64]{Name: "v", Codec: Int64}))(t)
	c := b.core
	n := int64(0)
	// call makes an update and says whether it was carried out here.
	call := func() bool {
		t.Helper()
		before := b.Metrics().Here
		ok(t, v.Update(ctx, Key("k"), func(old int64, _ bool) (int64, bool) { return old + 1, true }))
		n++
		return b.Metrics().Here > before
	}
	fast := func() { c.readers.nanos.Store(0) } // whatever the machine made of the reads before
	fast()
	equal(t, "in the caller's goroutine", call(), true)

	c.readers.nanos.Store(int64(time.Second))
	equal(t, "here, with slow reads", call(), false)
	before := b.Metrics().Here
	ok(t, v.Put(ctx, Key("other"), 1))
	equal(t, "a write without a read", b.Metrics().Here-before, 1)

	fast()
	c.mu.Lock()
	c.here += maxHere
	c.mu.Unlock()
	equal(t, "here, with too many others", call(), false)
	c.mu.Lock()
	c.here -= maxHere
	c.mu.Unlock()

	fast()
	b.shards[0].window.begin()
	equal(t, "here, while a snapshot is captured", call(), false)
	b.shards[0].window.end(0)
	fast()
	equal(t, "here again", call(), true)

	gone, cancel := context.WithCancel(ctx)
	cancel()
	if err := v.Put(gone, Key("k"), -1); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	got, _, err := v.Get(ctx, Key("k"))
	ok(t, err)
	equal(t, "updates", got, n)
	until(t, "nothing is in flight", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.inflight+c.active+c.here+len(c.tails) == 0
	})
}

// A call that is carried out by its caller holds the key like any other: what is issued meanwhile follows it.
func TestOrderBehindACaller(t *testing.T) {
	b := create(t, roots[0].new(t), small())
	v := must(NewValue(b, ValueDescriptor[int64]{Name: "v", Codec: Int64}))(t)
	b.core.readers.nanos.Store(0)
	entered, open := make(chan bool), make(chan bool)
	done := make(chan error)
	go func() {
		done <- v.Update(ctx, Key("k"), func(int64, bool) (int64, bool) {
			entered <- true
			<-open
			return 1, true
		})
	}()
	<-entered
	equal(t, "here", b.core.here, 1)
	behind := v.UpdateAsync(ctx, Key("k"), func(old int64, _ bool) (int64, bool) { return old * 10, true })
	ok(t, v.Put(ctx, Key("another key"), 5))
	select {
	case <-behind.Done():
		t.Fatal("a request overtook one on its key")
	default:
	}
	close(open)
	ok(t, <-done)
	equal(t, "the second", must(behind.Wait(ctx))(t).V, 10)
}

// A blocking call waits behind what was issued on its key before, though reads are fast.
func TestCallersWaitTheirTurn(t *testing.T) {
	b := create(t, roots[0].new(t), small())
	v := must(NewValue(b, ValueDescriptor[int64]{Name: "v", Codec: Int64}))(t)
	entered, open := make(chan bool), make(chan bool)
	first := v.UpdateAsync(ctx, Key("k"), func(int64, bool) (int64, bool) {
		entered <- true
		<-open
		return 1, true
	})
	<-entered
	b.core.readers.nanos.Store(0)
	done := make(chan error, 1)
	go func() { done <- v.Put(ctx, Key("k"), 2) }()
	until(t, "the call is under way", func() bool { return b.Metrics().InFlight == 2 || len(done) > 0 })
	if len(done) > 0 {
		t.Error("a caller overtook a request on its key")
	}
	close(open)
	must(first.Wait(ctx))(t)
	ok(t, <-done)
	got, _, err := v.Get(ctx, Key("k"))
	ok(t, err)
	equal(t, "the last", got, 2)
}

// What a Put costs beside the engine: the request with its result, its key, its function and its record.
func TestAllocations(t *testing.T) {
	b := create(t, roots[0].new(t), &Options{SweepEvery: -1})
	v := must(NewValue(b, ValueDescriptor[int64]{Name: "v", Codec: Int64}))(t)
	sc := Key("k")
	n := testing.AllocsPerRun(200, func() {
		if err := v.Put(ctx, sc, 1); err != nil {
			t.Error(err)
		}
	})
	t.Logf("%.0f allocations", n)
	if n > 8 {
		t.Errorf("a Put allocates %.0f times", n)
	}
}
