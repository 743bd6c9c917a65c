package state

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
)

// mess writes what tidy must take away again, so that something is lost or comes back if a write to one of them gets lost.
func (j *job) mess(t testing.TB, n int64) {
	t.Helper()
	for k := range n {
		if s := IntKey(k); mine(j.b, k) {
			ok(t, j.v.Put(ctx, s, -1))
			ok(t, j.l.Add(ctx, s, "old", "older"))
			for i := range int64(5) {
				ok(t, j.m.Put(ctx, s, i-2, "old"))
			}
			ok(t, j.r.Add(ctx, s.In([]byte("w")), 1000))
			ok(t, j.t.Register(ctx, s, time.UnixMilli(k-1000)))
		}
	}
}

func (j *job) tidy(t testing.TB, n int64) {
	t.Helper()
	for k := range n {
		if s := IntKey(k); mine(j.b, k) {
			ok(t, j.v.Clear(ctx, s))
			ok(t, j.l.Clear(ctx, s))
			ok(t, j.m.Clear(ctx, s))
			ok(t, j.r.Clear(ctx, s.In([]byte("w"))))
			ok(t, j.t.Delete(ctx, s, time.UnixMilli(k-1000)))
		}
	}
}

// messes is the checkpoint 1 of three instances.
func messes(t testing.TB, root driver.Store, n int64) {
	t.Helper()
	for i := range 3 {
		a := declareJob(t, create(t, root, instance(i, 3, "a")), TTL{})
		a.mess(t, n)
		snapshot(t, a.b, 1, "")
		ok(t, a.b.Close())
	}
}

// rescaled is one backend out of that. stops is told each time that its Consolidate has copied something, and waits for an answer.
func rescaled(t testing.TB, root driver.Store, run string) (j *job, stops chan chan bool) {
	t.Helper()
	stops = make(chan chan bool)
	o := instance(0, 1, run)
	gone := make(chan struct{}) // the test has failed
	o.Listener = &EventListener{Consolidating: func(ConsolidateStats) {
		answer := make(chan bool)
		select {
		case stops <- answer:
		case <-gone:
			return
		}
		select {
		case <-answer:
		case <-gone:
		}
	}}
	j = declareJob(t, restore(t, root, 1, o), TTL{})
	t.Cleanup(func() { close(gone) }) // before the backend is closed
	equal(t, "databases", len(j.b.Metrics().Shards), 3)
	return j, stops
}

// consolidate runs f at each stop.
func consolidate(ctx context.Context, b *Backend, stops chan chan bool, f func(stop int)) (ConsolidateStats, error) {
	var s ConsolidateStats
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		s, err = b.Consolidate(ctx)
	}()
	for n := 0; ; n++ {
		select {
		case answer := <-stops:
			f(n)
			close(answer)
		case <-done:
			return s, err
		}
	}
}

// shardsOf counts the shards of a run that are not dropped.
func shardsOf(t testing.TB, root driver.Store, run string) (n int) {
	t.Helper()
	for name := ""; ; {
		var err error
		if name, err = nextShard(ctx, root, name); err != nil || name == "" {
			ok(t, err)
			return n
		}
		if !strings.HasPrefix(name, run+"-") {
			continue
		}
		v, err := forstfs.OpenReadOnly(ctx, below(root, shardPrefix(name)), &forstfs.Options{OpenStore: siblings(root)})
		if errors.Is(err, forstfs.ErrDropped) {
			continue
		}
		ok(t, err)
		ok(t, v.Close())
		n++
	}
}

// Everything that is written while a backend is consolidated, before and behind what is being copied, is in the new database; snapshots within it and before it can be restored; and
// at the end nothing of the checkpoint it came from is needed.
func TestConsolidate(t *testing.T) {
	for _, r := range roots {
		t.Run(r.name, func(t *testing.T) {
			root := r.new(t)
			const n = 30
			messes(t, root, n)
			j, stops := rescaled(t, root, "b")
			id := uint64(1)
			s, err := consolidate(ctx, j.b, stops, func(stop int) {
				j.mess(t, n)
				j.tidy(t, n)
				j.fill(t, n)
				id++
				snapshot(t, j.b, id, "")
				if r.name == "mem" || stop == 1 { // as after a crash at this moment
					c := restore(t, root, id, instance(0, 1, fmt.Sprint("c", stop)))
					equal(t, "keys", declareJob(t, c, TTL{}).check(t, n), n)
					ok(t, c.Close())
				}
				if stop < 2 { // the last: from here on nothing sets right what the new database lacks
					j.mess(t, n)
				}
			})
			ok(t, err)
			equal(t, "databases", fmt.Sprint(s.Before, s.After, s.Reason), "3 1")
			if len(j.b.Metrics().Shards) != 1 || j.b.Metrics().Consolidated != 1 || s.Records < n || id != 4 {
				t.Fatalf("%v; %d snapshots", j.b.Metrics(), id-1)
			}
			snapshot(t, j.b, 9, "")
			equal(t, "keys", j.check(t, n), n) // polls the timers, behind the snapshot
			for i := range 2 {
				c := restore(t, root, 9, instance(i, 2, "d"))
				declareJob(t, c, TTL{}).check(t, n)
				ok(t, c.Close())
			}
			for old := id; old == id || r.name == "mem" && old > 1; old-- { // named still
				c := restore(t, root, old, instance(0, 1, "e"))
				declareJob(t, c, TTL{}).check(t, n)
				ok(t, c.Close())
			}
			// The clones of the tests are dropped, then the old shards go with the last checkpoint that names them, then the ones they borrowed from.
			must(Clean(ctx, root, "a", "b"))(t)
			var wg sync.WaitGroup
			errs := make([]error, 3)
			for i := range errs { // one drops a volume that another is looking into
				wg.Go(func() { errs[i] = j.b.Subsume(ctx, 9) })
			}
			wg.Wait()
			ok(t, errors.Join(errs...))
			ok(t, RemoveCheckpoint(ctx, root, 1, "a"))
			done := must(Clean(ctx, root, "b"))(t)
			equal(t, "kept", fmt.Sprint(done.Kept, len(j.b.bases.old)), "[] 0")
			ok(t, j.b.Close())
			again := declareJob(t, restore(t, root, 9, instance(0, 1, "f")), TTL{})
			equal(t, "keys", again.check(t, n), n)
			equal(t, "databases after the restore", len(again.b.Metrics().Shards), 1)
		})
	}
}

// No append of a list gets lost beside a consolidation, whatever it is about to copy.
func TestConsolidateBesideWriters(t *testing.T) {
	root := roots[0].new(t)
	messes(t, root, 20)
	j, stops := rescaled(t, root, "b")
	stop := make(chan struct{})
	counts := make([]int, 8)
	var wg sync.WaitGroup
	for w := range 4 {
		rnd := rand.New(rand.NewPCG(1, uint64(w)))
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				k := w*2 + rnd.IntN(2) // each key has one writer
				if err := j.l.Add(ctx, IntKey(int64(100+k)), fmt.Sprint(counts[k])); err != nil {
					t.Error(err)
					return
				}
				counts[k]++
			}
		})
	}
	until(t, "all are writing", func() bool { return j.b.Metrics().States[1].Merges > 200 })
	_, err := consolidate(ctx, j.b, stops, func(int) {})
	close(stop)
	wg.Wait()
	ok(t, err)
	for k, n := range counts {
		l := must(j.l.Get(ctx, IntKey(int64(100+k))))(t)
		for i := range n {
			if i >= len(l) || l[i] != fmt.Sprint(i) {
				t.Fatalf("key %d: element %d of %d is missing", k, i, n)
			}
		}
	}
}

// A consolidation that is given up, at any stop, leaves the backend as it was, and can be repeated. One that Close ends leaves garbage at most.
func TestConsolidateIsGivenUp(t *testing.T) {
	root := roots[0].new(t)
	const n = 20
	messes(t, root, n)
	j, stops := rescaled(t, root, "b")
	for at := range 3 {
		run, cancel := context.WithCancel(ctx)
		_, err := consolidate(run, j.b, stops, func(stop int) {
			j.tidy(t, n)
			j.fill(t, n)
			if stop == at {
				cancel()
			}
		})
		cancel()
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("given up at %d: %v", at, err)
		}
		equal(t, "databases", len(j.b.Metrics().Shards), 3)
		equal(t, "shards", shardsOf(t, root, "b"), 3)
		equal(t, "keys", j.check(t, n), n)
		j.mess(t, n)
	}
	ok(t, j.b.Close())
	baseline := runtime.NumGoroutine()
	j, stops = rescaled(t, root, "z")
	closed := make(chan error, 1)
	_, err := consolidate(ctx, j.b, stops, func(stop int) {
		if stop == 1 {
			go func() { closed <- j.b.Close() }()
			<-j.b.alive.Done()
		}
	})
	if !errors.Is(err, ErrClosed) {
		t.Fatalf("ended by Close: %v", err)
	}
	ok(t, <-closed)
	if _, err := j.b.Consolidate(ctx); !errors.Is(err, ErrClosed) {
		t.Fatalf("after Close: %v", err)
	}
	until(t, "goroutines are back at the baseline", func() bool { return runtime.NumGoroutine() <= baseline })
	equal(t, "shards and garbage", shardsOf(t, root, "z"), 4)
	must(Clean(ctx, root, "a"))(t)
	equal(t, "shards after Clean", fmt.Sprint(shardsOf(t, root, "a"), shardsOf(t, root, "b"), shardsOf(t, root, "z")), "3 0 0")
	again := declareJob(t, restore(t, root, 1, instance(0, 1, "y")), TTL{})
	again.tidy(t, n)
	again.fill(t, n)
	equal(t, "keys", again.check(t, n), n)
}

// filled is the checkpoint 1 of so many instances.
func filled(t testing.TB, root driver.Store, n int64, instances int) {
	t.Helper()
	for i := range instances {
		a := declareJob(t, create(t, root, instance(i, instances, "a")), TTL{})
		a.fill(t, n)
		snapshot(t, a.b, 1, "")
		ok(t, a.b.Close())
	}
}

// A single clone copies what it borrows.
func TestConsolidateOne(t *testing.T) {
	root := roots[0].new(t)
	const n = 30
	filled(t, root, n, 1)
	o := instance(0, 1, "b")
	o.ConsolidateAfter = time.Nanosecond
	ended := make(chan error, 1)
	var stats ConsolidateStats
	o.Listener = &EventListener{Consolidated: func(s ConsolidateStats, err error) { stats = s; ended <- err }}
	b := declareJob(t, restore(t, root, 1, o), TTL{})
	ok(t, <-ended)
	if stats.Before != 1 || stats.After != 1 || stats.Reason != "" || stats.Detached == 0 || stats.Records != 0 {
		t.Fatal(stats)
	}
	ok(t, RemoveCheckpoint(ctx, root, 1, "a"))
	equal(t, "kept", fmt.Sprint(must(Clean(ctx, root, "b"))(t).Kept), "[]")
	equal(t, "keys", b.check(t, n), n)
}

// A durable backend stays in its databases, which stand alone then; Open finds them.
func TestConsolidateDurable(t *testing.T) {
	root := roots[0].new(t)
	const n = 30
	filled(t, root, n, 2)
	o := instance(0, 1, "b")
	o.Durable, o.Name = true, "it"
	b := restore(t, root, 1, o)
	s := must(b.Consolidate(ctx))(t)
	if s.Before != 2 || s.After != 2 || s.Reason == "" || s.Detached == 0 {
		t.Fatal(s)
	}
	ok(t, RemoveCheckpoint(ctx, root, 1, "a"))
	equal(t, "kept", fmt.Sprint(must(Clean(ctx, root, "b"))(t).Kept), "[]")
	ok(t, b.Close())
	again, err := Open(ctx, root, o)
	ok(t, err)
	equal(t, "keys", declareJob(t, again, TTL{}).check(t, n), n)
	ok(t, again.Close())
}

// States that only one instance knew do not keep databases from being joined, whatever is declared later; other numbers for the same states do.
func TestConsolidateSchemas(t *testing.T) {
	for _, c := range []struct {
		first, second []string
		want          string
	}{{[]string{"y", "x"}, []string{"y"}, "2 1 true"}, {[]string{"x", "y"}, []string{"y", "x"}, "2 2 false"}} {
		t.Run(fmt.Sprint(c.first, c.second), func(t *testing.T) {
			root := roots[0].new(t)
			const n = 30
			declared := func(b *Backend, names ...string) map[string]*Value[int64] {
				all := map[string]*Value[int64]{}
				for _, name := range names {
					all[name] = must(NewValue(b, ValueDescriptor[int64]{Name: name, Codec: Int64}))(t)
				}
				return all
			}
			for i := range 2 {
				b := create(t, root, instance(i, 2, "a"))
				y := declared(b, [][]string{c.first, c.second}[i]...)["y"]
				for k := range int64(n) {
					if mine(b, k) {
						ok(t, y.Put(ctx, IntKey(k), k))
					}
				}
				snapshot(t, b, 1, "")
				ok(t, b.Close())
			}
			b := restore(t, root, 1, instance(0, 1, "b"))
			all := declared(b, "z", "y")
			for k := range int64(n) {
				ok(t, all["z"].Put(ctx, IntKey(k), -k))
			}
			s := must(b.Consolidate(ctx))(t)
			equal(t, "consolidated", fmt.Sprint(s.Before, s.After, s.Reason == ""), c.want)
			late := declared(b, "late", "x")["late"]
			for k := range int64(n) {
				equal(t, "y", fmt.Sprint(must(all["y"].GetAsync(ctx, IntKey(k)).Wait(ctx))(t)), fmt.Sprint(Maybe[int64]{k, true}))
				equal(t, "z", fmt.Sprint(must(all["z"].GetAsync(ctx, IntKey(k)).Wait(ctx))(t)), fmt.Sprint(Maybe[int64]{-k, true}))
				ok(t, late.Put(ctx, IntKey(k), 1))
			}
			snapshot(t, b, 2, "")
			ok(t, b.Close())
			ok(t, RemoveCheckpoint(ctx, root, 1, "a"))
			equal(t, "kept", len(must(Clean(ctx, root))(t).Kept), s.After)
			declared(restore(t, root, 2, instance(0, 1, "c")), "x", "y", "z", "late")
		})
	}
}

// A snapshot that was begun before its files were moved does not keep a detached backend borrowing.
func TestConsolidateBesideASnapshot(t *testing.T) {
	inner := roots[0].new(t)
	const n = 30
	filled(t, inner, n, 1)
	root := &holding{Store: inner, open: make(chan struct{})}
	o := instance(0, 1, "b")
	moved := make(chan struct{}, 100)
	o.Listener = &EventListener{Consolidating: func(ConsolidateStats) { moved <- struct{}{} }}
	b := declareJob(t, restore(t, root, 1, o), TTL{})
	root.on("/snapshot/") // the body of the volume's snapshot
	s := must(b.b.Snapshot(ctx, 2, nil))(t)
	root.wait(t)
	ended := make(chan error, 1)
	go func() {
		_, err := b.b.Consolidate(ctx)
		ended <- err
	}()
	<-moved
	until(t, "the first pass waits for the snapshot", func() bool { return b.b.want.Load() > 0 })
	root.release()
	ok(t, <-ended)
	must(s.Wait(ctx))(t)
	ok(t, RemoveCheckpoint(ctx, root, 1, "a"))
	equal(t, "kept", fmt.Sprint(must(Clean(ctx, root, "b"))(t).Kept), "[]")
	equal(t, "keys", b.check(t, n), n)
}
