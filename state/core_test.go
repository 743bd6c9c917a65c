package state

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Requests on one key run in the order in which they were issued, whatever their state and kind; each is one step.
func TestOrderOfAKey(t *testing.T) {
	b := create(t, roots[0].new(t), small())
	l := must(NewList(b, ListDescriptor[int64]{Name: "l", Codec: Int64}))(t)
	v := must(NewValue(b, ValueDescriptor[int64]{Name: "v", Codec: Int64}))(t)
	var wg sync.WaitGroup
	for k := range int64(8) {
		wg.Go(func() {
			var last *Future[None]
			var seen []*Future[Maybe[int64]]
			for i := range int64(300) {
				last = l.AddAsync(ctx, IntKey(k), i)
				if i%3 == 0 {
					v.PutAsync(ctx, IntKey(k), i)
				} else {
					v.UpdateAsync(ctx, IntKey(k), func(old int64, ok bool) (int64, bool) {
						if old != i-1 || !ok && i > 0 {
							t.Errorf("key %d, step %d: it was %d %v", k, i, old, ok)
						}
						return i, true
					})
				}
				seen = append(seen, v.GetAsync(ctx, IntKey(k)))
			}
			if err := wait(ctx, last); err != nil {
				t.Error(err)
			}
			for i, f := range seen {
				if m, err := f.Wait(ctx); err != nil || m.V != int64(i) {
					t.Errorf("key %d: get %d saw %v %v", k, i, m, err)
				}
			}
			got, err := l.Get(ctx, IntKey(k))
			if err != nil || len(got) != 300 {
				t.Errorf("key %d: %d elements, %v", k, len(got), err)
			}
			for i, g := range got {
				if g != int64(i) {
					t.Errorf("key %d: element %d is %d", k, i, g)
				}
			}
		})
	}
	wg.Wait()
}

// Many goroutines add to few keys: no update is lost.
func TestNoLostUpdates(t *testing.T) {
	b := create(t, roots[0].new(t), small())
	r := must(NewReducing(b, ReducingDescriptor[int64]{Name: "r", Codec: Int64, Reduce: func(a, b int64) int64 { return a + b }}))(t)
	const workers, each, keys = 16, 200, 5
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				if err := r.Add(ctx, IntKey(int64((w+i)%keys)), 1); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	var sum int64
	for k := range int64(keys) {
		n, _, err := r.Get(ctx, IntKey(k))
		ok(t, err)
		sum += n
	}
	equal(t, "sum", sum, workers*each)
}

// gate is a function of the user that waits, so that requests stay under way as long as a test wants.
type gate struct {
	entered atomic.Int64
	open    chan struct{}
	once    sync.Once
}

func newGate() *gate { return &gate{open: make(chan struct{})} }

// letGo ends the waiting, also for a test that has failed.
func (g *gate) letGo() { g.once.Do(func() { close(g.open) }) }

func (g *gate) reduce(a, b int64) int64 {
	g.entered.Add(1)
	<-g.open
	return a + b
}

func until(t testing.TB, what string, f func() bool) {
	t.Helper()
	for begin := time.Now(); !f(); runtime.Gosched() {
		if time.Since(begin) > time.Minute {
			t.Fatalf("waited a minute for: %s", what)
		}
		time.Sleep(100 * time.Microsecond)
	}
}

func stuck(t *testing.T, o *Options) (b *Backend, r *Reducing[int64], g *gate) {
	t.Helper()
	g = newGate()
	b = create(t, roots[0].new(t), o)
	r = must(NewReducing(b, ReducingDescriptor[int64]{Name: "r", Codec: Int64, Reduce: g.reduce}))(t)
	return b, r, g
}

// A slow key does not hold up other keys, and those behind it on its key wait.
func TestSlowKeysHoldUpNobodyElse(t *testing.T) {
	_, r, g := stuck(t, small())
	ok(t, r.Add(ctx, IntKey(0), 1))
	slow := r.AddAsync(ctx, IntKey(0), 1) // reduces, and waits
	behind := r.GetAsync(ctx, IntKey(0))
	until(t, "the reducer runs", func() bool { return g.entered.Load() == 1 })
	for i := range int64(100) {
		ok(t, r.Add(ctx, IntKey(i+1), 1))
		_, _, err := r.Get(ctx, IntKey(i+1))
		ok(t, err)
	}
	select {
	case <-behind.Done():
		t.Fatal("a request overtook one on its key")
	case <-slow.Done():
		t.Fatal("the gate is closed")
	default:
	}
	g.letGo()
	m := must(behind.Wait(ctx))(t)
	equal(t, "sum", m.V, 2)
}

// No more than InFlight requests are admitted, no more than Active are with the executors; a caller that waits can give up.
func TestLimits(t *testing.T) {
	o := small()
	o.InFlight, o.Active = 10, 4
	b, r, g := stuck(t, o)
	ok(t, r.Add(ctx, IntKey(0), 1))
	var fs []*Future[Maybe[int64]]
	for range 10 { // nine of them behind the first, on one key
		fs = append(fs, r.AddAsync(ctx, IntKey(0), 1))
	}
	until(t, "the reducer runs", func() bool { return g.entered.Load() == 1 })
	c, cancel := context.WithCancel(ctx)
	refused := make(chan error)
	for range 3 {
		go func() { refused <- r.Add(c, IntKey(5), 1) }()
	}
	until(t, "three wait", func() bool { return b.Metrics().Waiting == 3 })
	equal(t, "in flight", b.Metrics().InFlight, 10)
	cancel()
	for range 3 {
		if err := <-refused; !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	waiting := r.AddAsync
	done := make(chan error)
	go func() { done <- wait(ctx, waiting(ctx, IntKey(6), 1)) }()
	until(t, "one waits", func() bool { return b.Metrics().Waits >= 4 })
	g.letGo()
	ok(t, <-done)
	for _, f := range fs {
		must(f.Wait(ctx))(t)
	}
	n, _, err := r.Get(ctx, IntKey(0))
	ok(t, err)
	equal(t, "sum", n, 11)
	m := b.Metrics()
	equal(t, "in flight at the end", m.InFlight+m.Active+m.Waiting, 0)
}

func TestActiveLimit(t *testing.T) {
	o := small()
	o.Active, o.ReadExecutors, o.Batch = 3, 8, 1
	b, r, g := stuck(t, o)
	for k := range int64(8) {
		ok(t, r.Add(ctx, IntKey(k), 1))
	}
	var fs []*Future[Maybe[int64]]
	for k := range int64(8) {
		fs = append(fs, r.AddAsync(ctx, IntKey(k), 1))
	}
	until(t, "three run", func() bool { return g.entered.Load() == 3 })
	equal(t, "active", b.Metrics().Active, 3)
	g.letGo()
	for _, f := range fs {
		must(f.Wait(ctx))(t)
	}
}

// A cancelled request that has not begun is not carried out; Wait with a context of its own gives up alone.
func TestCancellation(t *testing.T) {
	_, r, g := stuck(t, small())
	ok(t, r.Add(ctx, IntKey(0), 1))
	first := r.AddAsync(ctx, IntKey(0), 1)
	until(t, "the reducer runs", func() bool { return g.entered.Load() == 1 })
	c, cancel := context.WithCancel(ctx)
	second := r.AddAsync(c, IntKey(0), 100)
	gone, giveUp := context.WithCancel(ctx)
	giveUp()
	if _, err := first.Wait(gone); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	cancel()
	g.letGo()
	if _, err := second.Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	m := must(first.Wait(ctx))(t)
	equal(t, "the first", m.V, 2)
	n, _, err := r.Get(ctx, IntKey(0))
	ok(t, err)
	equal(t, "sum", n, 2)
}

// One request's error is nobody else's.
func TestErrorsStayWithTheirRequest(t *testing.T) {
	b := create(t, roots[0].new(t), small())
	v := must(NewValue(b, ValueDescriptor[int64]{Name: "v", Codec: Int64}))(t)
	ok(t, v.Put(ctx, Key("a"), 1))
	err := v.Update(ctx, Key("a"), func(int64, bool) (int64, bool) { panic("a bug of the user") })
	if err == nil || !strings.Contains(err.Error(), "a bug of the user") {
		t.Fatalf("panic: %v", err)
	}
	// A record that is none.
	group, s, err := b.find(Key("bad").Key)
	ok(t, err)
	ok(t, s.db.Set(b.o.Keys.appendScope(nil, group, 1, Key("bad")), []byte{1, 2, 3}, s.write))
	if _, _, err := v.Get(ctx, Key("bad")); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("corrupt record: %v", err)
	}
	got, _, err := v.Get(ctx, Key("a"))
	ok(t, err)
	equal(t, "the rest", got, 1)
	equal(t, "errors", b.Metrics().States[0].Errors, 2)
}

// Close lets what was admitted finish, refuses the rest, and nothing runs after it.
func TestCloseDrains(t *testing.T) {
	before := runtime.NumGoroutine()
	o := small()
	o.InFlight, o.SweepEvery, o.FlushTimeout = 50, time.Millisecond, time.Millisecond
	b, r, g := stuck(t, o)
	ok(t, r.Add(ctx, IntKey(0), 1))
	var fs []*Future[Maybe[int64]]
	for range 50 {
		fs = append(fs, r.AddAsync(ctx, IntKey(0), 1))
	}
	refused := make(chan error)
	go func() { refused <- r.Add(ctx, IntKey(1), 1) }()
	until(t, "one waits", func() bool { return b.Metrics().Waiting == 1 })
	closed := make(chan error)
	go func() { closed <- b.Close() }()
	if err := <-refused; !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
	select {
	case err := <-closed:
		t.Fatalf("closed with requests under way: %v", err)
	default:
	}
	if err := r.Add(ctx, IntKey(1), 1); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
	g.letGo()
	ok(t, <-closed)
	for i, f := range fs {
		m := must(f.Wait(ctx))(t)
		equal(t, fmt.Sprint("future ", i), m.V, int64(i+2))
	}
	ok(t, b.Close())
	until(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= before })
	_ = b.Metrics().String()
}

// Any number of backends come and go; nothing is left.
func TestNothingIsLeft(t *testing.T) {
	root := roots[0].new(t)
	round := func() {
		b, err := Create(ctx, root, small())
		ok(t, err)
		m := must(NewMap(b, MapDescriptor[int64, []byte]{Name: "m", Key: Int64, Codec: Bytes}))(t)
		for i := range int64(200) {
			m.PutAsync(ctx, IntKey(i%7), i, make([]byte, 100))
		}
		for range m.All(ctx, IntKey(1)) {
			break
		}
		ok(t, b.Close())
	}
	round()
	before := runtime.NumGoroutine()
	for range 10 {
		round()
	}
	until(t, "goroutines are back at the baseline", func() bool { return runtime.NumGoroutine() <= before })
}

// Random requests from many goroutines, each on keys of its own, against a map.
func TestIsolation(t *testing.T) {
	for _, timeout := range []time.Duration{0, 200 * time.Microsecond} {
		o := small()
		o.FlushTimeout, o.WriteExecutors, o.InFlight, o.Active = timeout, 2, 40, 20
		b := create(t, roots[0].new(t), o)
		v := must(NewValue(b, ValueDescriptor[int64]{Name: "v", Codec: Int64}))(t)
		m := must(NewMap(b, MapDescriptor[int64, int64]{Name: "m", Key: Int64, Codec: Int64}))(t)
		var wg sync.WaitGroup
		for w := range 8 {
			wg.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(w), 1))
				vals, maps := map[int64]int64{}, map[int64]map[int64]int64{}
				for i := range int64(300) {
					k := int64(w) + 8*rng.Int64N(4)
					switch rng.IntN(5) {
					case 0:
						vals[k] = i
						v.PutAsync(ctx, IntKey(k), i)
					case 1:
						if maps[k] == nil {
							maps[k] = map[int64]int64{}
						}
						maps[k][i%5] = i
						m.PutAsync(ctx, IntKey(k), i%5, i)
					case 2:
						maps[k] = nil
						m.ClearAsync(ctx, IntKey(k))
					case 3:
						got, found, err := v.Get(ctx, IntKey(k))
						if want, has := vals[k]; err != nil || got != want || found != has {
							t.Errorf("key %d: %d %v %v, want %d %v", k, got, found, err, want, has)
						}
					default:
						n := 0
						for e, err := range m.All(ctx, IntKey(k)) {
							if want, has := maps[k][e.Key]; err != nil || want != e.Value || !has {
								t.Errorf("key %d: entry %v, want %d %v (%v)", k, e, want, has, err)
							}
							n++
						}
						if n != len(maps[k]) {
							t.Errorf("key %d: %d entries, want %d", k, n, len(maps[k]))
						}
					}
				}
			})
		}
		wg.Wait()
	}
}
