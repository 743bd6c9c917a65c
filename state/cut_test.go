package state

import (
	"errors"
	"testing"
)

// A snapshot waits for a slow request that was issued before it. Meanwhile its caller is free, and so is everybody who reads; only what is written waits, and is not in
// the snapshot. With two active requests, those that are held must not take the places that older ones need.
func TestOnlyNewerWritesWaitForASnapshot(t *testing.T) {
	root := roots[0].new(t)
	o := instance(0, 1, "a")
	o.Active = 2
	g := newGate()
	b := create(t, root, o)
	t.Cleanup(g.letGo)
	r := must(NewReducing(b, ReducingDescriptor[int64]{Name: "r", Codec: Int64, Reduce: g.reduce}))(t)
	v := must(NewValue(b, ValueDescriptor[int64]{Name: "v", Codec: Int64}))(t)
	for k := range int64(20) {
		ok(t, v.Put(ctx, IntKey(k), 1))
	}
	ok(t, r.Add(ctx, IntKey(-1), 1))
	slow := r.AddAsync(ctx, IntKey(-1), 1)
	behind := v.PutAsync(ctx, IntKey(-1), 7) // older, and waits for its key
	until(t, "the reducer runs", func() bool { return g.entered.Load() == 1 })

	s := must(b.Snapshot(ctx, 1, nil))(t)
	var newer []*Future[None]
	var updates []*Future[Maybe[int64]]
	for k := range int64(10) {
		newer = append(newer, v.PutAsync(ctx, IntKey(k), 2))
		updates = append(updates, v.UpdateAsync(ctx, IntKey(10+k), func(old int64, ok bool) (int64, bool) { return old + 1, true }))
	}
	for k := range int64(10) { // on other keys, or a get would wait for its turn
		if n, found, err := v.Get(ctx, IntKey(100+k)); err != nil || found {
			t.Fatalf("get beside a snapshot: %d, %v, %v", n, found, err)
		}
	}
	until(t, "what is written is held", func() bool {
		select {
		case <-newer[0].Done(): // it is not: see below
			return true
		default:
		}
		b.core.mu.Lock()
		defer b.core.mu.Unlock()
		return b.core.cut.held.len() == 20
	})
	for _, f := range newer {
		select {
		case <-f.Done():
			t.Fatal("a newer request has written before the snapshot had its moment")
		case <-s.Done():
			t.Fatal("the snapshot did not wait for an older request")
		default:
		}
	}
	g.letGo()
	must(slow.Wait(ctx))(t)
	must(behind.Wait(ctx))(t)
	st := must(s.Wait(ctx))(t)
	if st.Drain <= st.Sync {
		t.Errorf("%v: the wait is not in Drain", st)
	}
	for i := range newer {
		must(newer[i].Wait(ctx))(t)
		must(updates[i].Wait(ctx))(t)
	}
	for k := range int64(20) {
		n, _, err := v.Get(ctx, IntKey(k))
		ok(t, err)
		equal(t, "a value behind the snapshot", n, 2)
	}
	ok(t, b.Close())

	b = restore(t, root, 1, instance(0, 1, "b"))
	r = must(NewReducing(b, ReducingDescriptor[int64]{Name: "r", Codec: Int64, Reduce: g.reduce}))(t)
	v = must(NewValue(b, ValueDescriptor[int64]{Name: "v", Codec: Int64}))(t)
	for k := range int64(20) {
		n, _, err := v.Get(ctx, IntKey(k))
		ok(t, err)
		equal(t, "a value in the snapshot", n, 1)
	}
	n, _, err := r.Get(ctx, IntKey(-1))
	ok(t, err)
	equal(t, "what the slow request wrote", n, 2)
	n, _, err = v.Get(ctx, IntKey(-1))
	ok(t, err)
	equal(t, "what the request behind it wrote", n, 7)
}

// A snapshot that is aborted, and a backend that is closed, while older requests are under way: what was held is written.
func TestHeldWritesOutliveTheirSnapshot(t *testing.T) {
	for _, how := range []string{"abort", "close"} {
		t.Run(how, func(t *testing.T) {
			b, r, g := stuck(t, small())
			v := must(NewValue(b, ValueDescriptor[int64]{Name: "v", Codec: Int64}))(t)
			ok(t, r.Add(ctx, IntKey(0), 1))
			slow := r.AddAsync(ctx, IntKey(0), 1)
			until(t, "the reducer runs", func() bool { return g.entered.Load() == 1 })
			s := must(b.Snapshot(ctx, 1, nil))(t)
			held := v.PutAsync(ctx, IntKey(1), 2)
			if how == "abort" {
				ok(t, s.Abort())
				must(held.Wait(ctx))(t) // though the slow one goes on
				g.letGo()
				must(slow.Wait(ctx))(t)
				snapshot(t, b, 2, "")
				return
			}
			closed := make(chan error, 1)
			go func() { closed <- b.Close() }()
			until(t, "the backend closes", func() bool {
				_, _, err := v.Get(ctx, IntKey(2))
				return errors.Is(err, ErrClosed)
			})
			g.letGo()
			ok(t, <-closed)
			must(slow.Wait(ctx))(t)
			must(held.Wait(ctx))(t)
			must(s.Wait(ctx))(t)
		})
	}
}
