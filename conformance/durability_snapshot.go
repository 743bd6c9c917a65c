package conformance

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/mem"
)

// What is held against the promises here: a snapshot whose call has returned nil is there, until its removal is asked for, with exactly the content of the
// moment of the call; one that is there at all has that content; a removed one is gone for ever; a restore happens as a whole or not at all; and nothing
// that anybody needs is deleted, nor anything kept that nobody needs.

var snapshotCases = []DurabilityCase{
	{"snapshot/every-crash-point", false, func(e *fsEnv) { e.everySnapshotCrash(11, 45, 0) }},
	{"snapshot/every-crash-point-while-requests-overlap", false, func(e *fsEnv) { e.everySnapshotCrash(12, 35, 200*time.Microsecond) }},
	{"snapshot/every-request-error-before", true, func(e *fsEnv) { e.everySnapshotFault(faultBefore) }},
	{"snapshot/every-request-lost-reply", true, func(e *fsEnv) { e.everySnapshotFault(faultAfter) }},
	{"snapshot/every-request-lands-late", true, func(e *fsEnv) { e.everySnapshotFault(faultLate) }},
	{"snapshot/every-request-lands-twice", true, func(e *fsEnv) { e.everySnapshotFault(faultTwice) }},
	{"snapshot/dead-from-every-request", true, func(e *fsEnv) { e.everySnapshotFault(faultDead) }},
	{"snapshot/writer-stalled-before-every-request", false, func(e *fsEnv) { e.everySnapshotStall(false) }},
	{"snapshot/writer-stalled-after-every-request", false, func(e *fsEnv) { e.everySnapshotStall(true) }},
	{"snapshot/packed-for-it-alone", true, func(e *fsEnv) { e.packedForSnapshot() }},
}

// everySnapshotCrash records the script and recovers from each of its crash points.
func (e *fsEnv) everySnapshotCrash(seed uint64, steps int, slow time.Duration) {
	clk := &clock{}
	rec := &recording{clock: clk, slow: slow}
	s := &snapScript{ctx: e.ctx, clock: clk}
	v := e.mountOn(rec.wrap(e.store()), smallOptions())
	e.must(s.run(v, content{}, seed, steps))
	e.must(v.Err())
	e.close(v)
	muts := rec.ordered()
	points := 0
	e.eachPoint(muts, func(i int, m *mutation, at crashPoint, landed *mem.Bucket) {
		for variant := range 2 {
			if i < 8 && variant == 0 {
				continue // the volume is being made
			}
			b := e.found(landed, at, e.choose(at.under, variant, uint64(i)))
			points++
			open := func(context.Context) (driver.Store, error) { return b.Open("") }
			if points%3 == 0 { // who only reads sees the same, before a new owner's fence
				rs, err := b.Open("")
				e.must(err)
				r, err := forstfs.OpenReadOnly(e.ctx, rs, smallOptions())
				if err == nil {
					err = errors.Join(s.verify(r, open, m.end), r.Close())
				}
				if err != nil {
					e.Fatalf("crash point %d of %d (moment %d, variant %d), read-only: %v", i, len(muts), m.end, variant, err)
				}
			}
			st, err := b.Open("")
			e.must(err)
			w, err := forstfs.Open(e.ctx, st, smallOptions())
			if err == nil {
				if err = s.verify(w, open, m.end); err == nil && points%6 == 0 {
					err = s.goOn(w, open, m.end)
				}
				err = errors.Join(err, w.Close())
			}
			if err != nil {
				e.Fatalf("crash point %d of %d (moment %d, variant %d): %v", i, len(muts), m.end, variant, err)
			}
		}
	})
	e.Logf("%d crash points, %d snapshots, %d restores", points, len(s.snaps), len(s.restores))
	if points < 60 || len(s.snaps) < 5 || len(s.restores) < 2 {
		e.Errorf("only %d crash points with %d snapshots and %d restores", points, len(s.snaps), len(s.restores))
	}
}

// everySnapshotFault runs the script with the fault at the first request, the second, and so on.
func (e *fsEnv) everySnapshotFault(what fault) {
	step, unit := 1, time.Second
	if testing.Short() {
		step = 4
	}
	if !e.virtual {
		step, unit = 41, 10*time.Millisecond
	}
	e.untilUnmet(what, step, 30, func(at, run int) (bool, error) { return e.snapshotFault(what, at, unit, run) })
}

func (e *fsEnv) snapshotFault(what fault, at int, unit time.Duration, run int) (hit bool, err error) {
	open := under(e.open, fmt.Sprintf("run%d", run))
	raw, err := open(e.ctx)
	if err != nil {
		return false, err
	}
	defer raw.Close()
	i := &ill{what: what, at: at, raw: raw, unit: unit}
	o := smallOptions()
	o.RetryBudget, o.CacheBytes, o.RequestInterval = budgetFor(what, unit), -1, -1
	f := &faultOwner{fsEnv: e, open: open, ill: i, o: o, chain: &chain{}}
	v, err := f.mountIll()
	if err != nil {
		return false, err
	}
	s := &snapScript{ctx: e.ctx, clock: &clock{}, dying: what == faultDead}
	if err := s.run(v, content{}, 13, 24); err != nil {
		return false, errors.Join(err, v.Close())
	}
	failed := v.Err()
	cerr := v.Close()
	i.late.Wait()
	_, hit = i.requests()
	i.heal()
	if what != faultDead && (failed != nil || cerr != nil) {
		return hit, unexpected("the volume did not survive the fault: %w", errors.Join(failed, cerr))
	}
	st, err := open(e.ctx)
	if err != nil {
		return hit, err
	}
	w, err := forstfs.Open(e.ctx, st, smallOptions())
	if err != nil {
		return hit, err
	}
	if err = s.verify(w, open, never); err == nil {
		err = s.goOn(w, open, never)
	}
	return hit, errors.Join(err, w.Close())
}

// everySnapshotStall stops a writer at each of its requests, lets another one take over and work, and lets the first go on.
func (e *fsEnv) everySnapshotStall(after bool) {
	step := 1
	if testing.Short() {
		step = 3
	}
	if !e.handle().Capabilities().Volatile {
		step = 17
	}
	runs := 0
	for at := 0; ; at += step {
		hit, err := e.snapshotStall(at, after, runs)
		if err != nil {
			e.Fatalf("stopped at request %d: %v", at, err)
		}
		runs++
		if !hit {
			break
		}
	}
	e.Logf("%d runs", runs)
	if runs < 2 || step == 1 && runs < 20 {
		e.Errorf("only %d runs: the process was hardly stopped", runs)
	}
}

func (e *fsEnv) snapshotStall(at int, after bool, run int) (hit bool, err error) {
	open := under(e.open, fmt.Sprintf("run%d", run))
	st, err := open(e.ctx)
	if err != nil {
		return false, err
	}
	stop := newStall(at, after, false)
	o := smallOptions()
	o.CacheBytes, o.RequestInterval = -1, -1
	v, err := forstfs.Open(e.ctx, &stallStore{st, stop}, o)
	if err != nil {
		return false, err
	}
	s := &snapScript{ctx: e.ctx, clock: &clock{}}
	stop.start()
	over := make(chan error, 1)
	go func() { over <- s.run(v, content{}, 14, 22) }()
	select {
	case <-stop.hit:
		hit = true
	case err := <-over:
		stop.stop()
		select {
		case <-stop.hit: // in the background
			close(stop.free)
		default:
		}
		if err = errors.Join(err, v.Close()); err != nil {
			return false, err
		}
	}
	st2, err := open(e.ctx)
	if err != nil {
		return hit, err
	}
	w, err := forstfs.Open(e.ctx, st2, o)
	if err != nil {
		return hit, err
	}
	live, err := contentOf(e.ctx, w)
	if err == nil {
		delete(live, "/")
		theirs := &snapScript{ctx: e.ctx, clock: s.clock, n: 1000}
		err = errors.Join(w.MkdirAll(e.ctx, "/a"), w.MkdirAll(e.ctx, "/b"))
		live["/a/"], live["/b/"] = "", ""
		for range 3 {
			err = errors.Join(err, theirs.snapshot(w, live, ""), w.Checkpoint(e.ctx), second(w.Sweep(e.ctx)))
			f, ferr := w.Create(e.ctx, "/a/0.log", nil)
			if err = errors.Join(err, ferr); err != nil {
				break
			}
			live["/a/0.log"] = "theirs"
			_, werr := f.Write([]byte("theirs"))
			err = errors.Join(werr, f.Close())
		}
		if hit {
			close(stop.free)
			if oerr := <-over; oerr != nil && !ended(oerr) {
				err = errors.Join(err, fmt.Errorf("the first one, which went on: %w", oerr))
			}
			if cerr := v.Close(); cerr != nil && !ended(cerr) {
				err = errors.Join(err, fmt.Errorf("Close of the first: %w", cerr))
			}
		}
		s.snaps = append(s.snaps, theirs.snaps...)
		s.restores = nil // what is live is the second one's by now
	}
	if err == nil {
		err = s.verify(w, open, never)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		return hit, err
	}
	st3, err := open(e.ctx) // a late body of the first may have come after the second one's sweeps
	if err != nil {
		return hit, err
	}
	u, err := forstfs.Open(e.ctx, st3, o)
	if err != nil {
		return hit, err
	}
	if err = s.verify(u, open, never); err == nil {
		err = s.goOn(u, open, never)
	}
	return hit, errors.Join(err, u.Close())
}

// packedForSnapshot: the file goes in the very frame in which a pack has moved its bytes and a snapshot has begun. The object of the pack is the
// snapshot's alone, from its first moment on.
func (e *fsEnv) packedForSnapshot() {
	stop := newStall(0, false, false)
	stop.match = func(what, key string) bool { return what == "put" && strings.HasPrefix(key, "journal/") }
	v := e.mountOn(&stallStore{e.store(), stop}, smallOptions())
	f := e.create(v, "/1.log")
	var want []byte
	for i := range 12 {
		want = append(want, bytesOf(1500, uint64(i))...)
		e.write(f, want[len(want)-1500:])
		e.must(f.Sync())
	}
	e.must(f.Close())
	e.mkdir(v, "/d")
	stop.start()
	over := make(chan error, 2)
	go func() { over <- v.Sync(e.ctx) }() // its frame is stopped, and all else waits behind it
	<-stop.hit
	go func() { over <- second(v.Snapshot(e.ctx, "s", nil)) }()
	if e.virtual {
		synctest.Wait() // the pack and the begin are in the order
	} else {
		for len(e.keys("data/")) == 0 {
			e.must(e.ctx.Err())
		}
	}
	e.must(v.Remove(e.ctx, "/1.log"))
	close(stop.free)
	e.must(errors.Join(<-over, <-over))
	e.must(v.Sync(e.ctx))
	if e.virtual {
		time.Sleep(time.Minute) // what is to be deleted is
	}
	for range 2 {
		s, err := forstfs.OpenSnapshot(e.ctx, e.store(), "s", smallOptions())
		e.must(err)
		all, err := contentOf(e.ctx, s)
		e.must(errors.Join(err, s.Close()))
		if got := all["/1.log"]; got != string(want) && (e.virtual || len(all) > 1) {
			e.Fatalf("the file in the snapshot: %s", difference([]byte(got), want))
		}
		e.must(v.Checkpoint(e.ctx))
		e.must(second(v.Sweep(e.ctx)))
	}
	e.close(v)
	e.exact()
}
