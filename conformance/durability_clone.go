package conformance

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/mem"
	"github.com/forst-go/forst/internal/journal"
)

// What is held against the promises here: a clone whose call has returned nil is there, until its drop is asked for, with exactly the files of the snapshot, whatever
// becomes of its lender, its cloner or the store; one that is there at all has them; and when nobody needs a snapshot any more, nothing of it stays.

var cloneCases = []DurabilityCase{
	{"clone/every-crash-point", false, func(e *fsEnv) { e.everyCloneCrash() }},
	{"clone/every-request-error-before", true, func(e *fsEnv) { e.everyCloneFault(faultBefore) }},
	{"clone/every-request-lost-reply", true, func(e *fsEnv) { e.everyCloneFault(faultAfter) }},
	{"clone/every-request-lands-late", true, func(e *fsEnv) { e.everyCloneFault(faultLate) }},
	{"clone/every-request-lands-twice", true, func(e *fsEnv) { e.everyCloneFault(faultTwice) }},
	{"clone/dead-from-every-request", true, func(e *fsEnv) { e.everyCloneFault(faultDead) }},
	{"clone/cloner-stalled-before-every-request", false, func(e *fsEnv) { e.everyCloneStall(false) }},
	{"clone/cloner-stalled-after-every-request", false, func(e *fsEnv) { e.everyCloneStall(true) }},
}

// cloneRecord is what was asked for and answered. Moments are of the clock; 0: not yet.
type cloneRecord struct {
	place                 string
	asked, done, dropping int64
}

// cloneScript is the life of a lender, "a", and of its clones.
type cloneScript struct {
	ctx    context.Context
	clock  *clock
	open   func(ctxType) (driver.Store, error) // of the root that the places lie below
	clones []*cloneRecord

	snapped int64 // when the snapshot that "b" takes of itself was acknowledged; 0: not yet
}

var lent = content{"/1.sst": string(bytesOf(9000, 1)), "/2.log": string(bytesOf(700, 2))}

func (s *cloneScript) options() *forstfs.Options {
	o := smallOptions()
	o.CacheBytes, o.RequestInterval, o.OpenStore = -1, -1, lenders(s.open)
	return o
}

func (s *cloneScript) mount(name string) (*forstfs.FS, error) {
	st, err := under(s.open, name)(s.ctx)
	if err != nil {
		return nil, err
	}
	return forstfs.Open(s.ctx, st, s.options())
}

// fill writes the files that snapshots have.
func (s *cloneScript) fill(v *forstfs.FS) error {
	for _, name := range []string{"/1.sst", "/2.log"} {
		f, err := v.Create(s.ctx, name, nil)
		if err != nil {
			return err
		}
		_, err = f.Write([]byte(lent[name]))
		if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

func (s *cloneScript) clone(wrap func(driver.Store) driver.Store, snapshot, to string) error {
	src, err := under(s.open, "a")(s.ctx)
	if err != nil {
		return err
	}
	dst, err := under(s.open, to)(s.ctx)
	if err != nil {
		return errors.Join(err, src.Close())
	}
	defer src.Close()
	defer dst.Close()
	r := &cloneRecord{place: to, asked: s.clock.tick()}
	s.clones = append(s.clones, r)
	o := s.options()
	o.RetryBudget = 30 * time.Second
	_, err = forstfs.Clone(s.ctx, wrap(src), snapshot, wrap(dst), &forstfs.CloneOptions{Options: o, SourceURL: "../a", CloneURL: "../" + to})
	if err == nil {
		r.done = s.clock.tick()
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = unexpected("the error looks like a missing file: %w", err)
	}
	return err
}

func plain(s driver.Store) driver.Store { return s }

// live is the whole life, without a mishap. The first error ends it.
func (s *cloneScript) live() (err error) {
	a, err := s.mount("a")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	if err := errors.Join(s.fill(a), second(a.Snapshot(s.ctx, "s", nil)), second(a.Snapshot(s.ctx, "t", nil))); err != nil {
		return err
	}
	if err := s.clone(plain, "s", "b"); err != nil {
		return err
	}
	b, err := s.mount("b")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	if err := errors.Join(b.MkdirAll(s.ctx, "/own"), b.Sync(s.ctx), b.Checkpoint(s.ctx), second(b.Snapshot(s.ctx, "of-b", nil))); err != nil {
		return err
	}
	s.snapped = s.clock.tick()
	if err := errors.Join(a.RemoveAll(s.ctx, "/1.sst"), a.RemoveSnapshot(s.ctx, "s"), a.Checkpoint(s.ctx), second(a.Sweep(s.ctx))); err != nil {
		return err
	}
	if err := s.clone(plain, "t", "c"); err != nil {
		return err
	}
	if err := second(b.Detach(s.ctx, nil)); err != nil {
		return err
	}
	if err := errors.Join(a.Checkpoint(s.ctx), second(a.Sweep(s.ctx)), b.Checkpoint(s.ctx)); err != nil {
		return err
	}
	c, err := s.mount("c")
	if err != nil {
		return err
	}
	s.clones[1].dropping = s.clock.tick()
	err = errors.Join(c.Drop(s.ctx), c.Close())
	return errors.Join(err, a.RemoveSnapshot(s.ctx, "t"), second(a.Sweep(s.ctx)))
}

// verify holds what is there after a crash at the moment against what was done, makes the lender do its worst, holds it again, and demands that nothing stays.
func (s *cloneScript) verify(moment int64) error {
	alive, err := s.births(moment)
	if err != nil {
		return err
	}
	a, err := s.mount("a")
	if err != nil {
		if len(s.clones) == 0 || s.clones[0].asked >= moment {
			return nil // it was being made
		}
		return fmt.Errorf("the lender: %w", err)
	}
	defer a.Close()
	if err := s.empty(a); err != nil {
		return fmt.Errorf("the lender, in the end: %w", err)
	}
	for _, name := range alive {
		if err := s.whole(name); err != nil {
			return fmt.Errorf("after the worst that the lender can do: %w", err)
		}
	}
	for _, name := range alive {
		v, err := s.mount(name)
		if err != nil {
			return err
		}
		d, err := v.Detach(s.ctx, nil)
		if err == nil && d.Still > 0 {
			err = fmt.Errorf("%d holds stay: %s", d.Still, d.Why)
		}
		if err = errors.Join(err, second(v.Sweep(s.ctx)), v.Checkpoint(s.ctx), v.Close()); err != nil {
			return fmt.Errorf("detach of %s: %w", name, err)
		}
	}
	if err := s.empty(a); err != nil {
		return err
	}
	for _, prefix := range []string{"data/", journal.SnapshotPrefix, journal.HoldPrefix} {
		st, err := under(s.open, "a")(s.ctx)
		if err != nil {
			return err
		}
		left, err := driver.ListAll(s.ctx, st, prefix, "")
		if err = errors.Join(err, st.Close()); err != nil || len(left) > 0 {
			return errors.Join(err, fmt.Errorf("leak: of the lender, which nobody needs, %v is left", left))
		}
	}
	if s.snapped > 0 && s.snapped < moment {
		if err := s.wholeSnapshot("b", "of-b"); err != nil {
			return fmt.Errorf("detached: %w", err)
		}
	}
	for _, name := range alive {
		if err := s.whole(name); err != nil {
			return fmt.Errorf("detached: %w", err)
		}
		st, err := under(s.open, name)(s.ctx)
		if err != nil {
			return err
		}
		r, err := forstfs.Fsck(s.ctx, st, &forstfs.FsckOptions{Options: s.options(), Verify: true})
		if err = errors.Join(err, st.Close()); err == nil && (r.Damaged() || r.Orphans > 0) {
			err = fmt.Errorf("%v", r.Findings)
		}
		if err != nil {
			return fmt.Errorf("fsck of %s: %w", name, err)
		}
	}
	return nil
}

// births looks which clones are alive, and demands that it is those that must be.
func (s *cloneScript) births(moment int64) (alive []string, err error) {
	for _, r := range s.clones {
		if r.asked >= moment {
			continue
		}
		v, err := s.mountRead(r.place)
		must := r.done > 0 && r.done < moment && (r.dropping == 0 || r.dropping >= moment)
		switch {
		case err == nil:
			if err := v.Close(); err != nil {
				return nil, err
			}
			if err := s.whole(r.place); err != nil {
				return nil, err
			}
			alive = append(alive, r.place)
		case must:
			return nil, fmt.Errorf("the clone %s was acknowledged, and is gone: %w", r.place, err)
		case errors.Is(err, forstfs.ErrDropped):
			if r.dropping > 0 { // the dropper has died; somebody finishes it
				st, oerr := under(s.open, r.place)(s.ctx)
				if oerr != nil {
					return nil, oerr
				}
				if err := errors.Join(forstfs.FinishDrop(s.ctx, st, s.options()), st.Close()); err != nil {
					return nil, err
				}
			}
		case !errors.Is(err, forstfs.ErrNoVolume) && !errors.Is(err, forstfs.ErrForeign):
			return nil, fmt.Errorf("the clone %s, which is not there, is something: %w", r.place, err)
		}
	}
	return alive, nil
}

func (s *cloneScript) mountRead(name string) (*forstfs.FS, error) {
	st, err := under(s.open, name)(s.ctx)
	if err != nil {
		return nil, err
	}
	return forstfs.OpenReadOnly(s.ctx, st, s.options())
}

// whole demands that a clone has exactly the files of the snapshot, but for its own.
func (s *cloneScript) whole(name string) error {
	return s.wholeSnapshot(name, "")
}

// wholeSnapshot is whole for a snapshot of a clone; "" is the clone itself.
func (s *cloneScript) wholeSnapshot(name, snapshot string) error {
	st, err := under(s.open, name)(s.ctx)
	if err != nil {
		return err
	}
	o := s.options()
	o.Snapshot = snapshot
	v, err := forstfs.OpenReadOnly(s.ctx, st, o)
	if err != nil {
		return fmt.Errorf("clone %s, snapshot %q: %w", name, snapshot, err)
	}
	got, err := contentOf(s.ctx, v)
	if err = errors.Join(err, v.Close()); err != nil {
		return fmt.Errorf("clone %s: %w", name, err)
	}
	for p, want := range lent {
		if got[p] != want {
			return fmt.Errorf("clone %s: %s has %d bytes, or the wrong ones; %d are wanted", name, p, len(got[p]), len(want))
		}
	}
	return nil
}

// empty removes everything of the lender, gives up whoever was never born, and sweeps.
func (s *cloneScript) empty(a *forstfs.FS) error {
	all, err := a.Snapshots(s.ctx)
	if err != nil {
		return err
	}
	err = errors.Join(a.RemoveAll(s.ctx, "/1.sst"), a.RemoveAll(s.ctx, "/2.log"))
	for _, x := range all {
		err = errors.Join(err, a.RemoveSnapshot(s.ctx, x.ID))
	}
	st, oerr := under(s.open, "a")(s.ctx)
	if err = errors.Join(err, oerr); err != nil {
		return err
	}
	_, err = forstfs.CollectHolds(s.ctx, st, &forstfs.HoldsOptions{Options: s.options(), Abandon: true})
	if err = errors.Join(err, st.Close()); err != nil {
		return err
	}
	for i := range 2 {
		dir := fmt.Sprintf("/house%d", i)
		if err := errors.Join(a.MkdirAll(s.ctx, dir), a.Checkpoint(s.ctx), a.Remove(s.ctx, dir), second(a.Sweep(s.ctx))); err != nil {
			return err
		}
	}
	return a.Checkpoint(s.ctx)
}

// everyCloneCrash records the life and recovers from each of its crash points.
func (e *fsEnv) everyCloneCrash() {
	clk := &clock{}
	rec := &recording{clock: clk}
	s := &cloneScript{ctx: e.ctx, clock: clk, open: func(ctx ctxType) (driver.Store, error) {
		st, err := e.open(ctx)
		if err != nil {
			return nil, err
		}
		return rec.wrap(st), nil
	}}
	e.must(s.live())
	muts := rec.ordered()
	points := 0
	e.eachPoint(muts, func(i int, m *mutation, at crashPoint, landed *mem.Bucket) {
		if i < 8 {
			return // the lender is being made
		}
		for variant := range 2 {
			b := e.found(landed, at, e.choose(at.under, variant, uint64(i)))
			points++
			t := *s
			t.open = func(ctxType) (driver.Store, error) { return b.Open("") }
			if err := t.verify(m.end); err != nil {
				e.Fatalf("crash point %d of %d (moment %d, variant %d, %v): %v", i, len(muts), m.end, variant, m.keys, err)
			}
		}
	})
	e.Logf("%d crash points", points)
	if points < 60 {
		e.Errorf("only %d crash points", points)
	}
}

// everyCloneFault lives the life with the fault at the first request, the second, and so on.
func (e *fsEnv) everyCloneFault(what fault) {
	step, unit := 1, time.Second
	if !e.virtual {
		step, unit = 61, 10*time.Millisecond
	}
	e.untilUnmet(what, step, 60, func(at, run int) (bool, error) { return e.cloneFault(what, at, unit, run) })
}

func (e *fsEnv) cloneFault(what fault, at int, unit time.Duration, run int) (hit bool, err error) {
	open := under(e.open, fmt.Sprintf("run%d", run))
	raw, err := open(e.ctx)
	if err != nil {
		return false, err
	}
	defer raw.Close()
	i := &ill{what: what, at: at, raw: raw, unit: unit}
	s := &cloneScript{ctx: e.ctx, clock: &clock{}, open: func(ctx ctxType) (driver.Store, error) {
		st, err := open(ctx)
		if err != nil {
			return nil, err
		}
		return i.wrap(st), nil
	}}
	if lerr := s.live(); lerr != nil {
		var bad errUnexpected
		if errors.As(lerr, &bad) || strings.Contains(lerr.Error(), "is damaged") {
			return false, lerr
		}
	}
	i.late.Wait()
	_, hit = i.requests()
	i.heal()
	s.open = open
	return hit, s.verify(never)
}

// everyCloneStall stops a cloner at each of its requests. Meanwhile the lender removes the snapshot, somebody gives the clone up, another one clones to the same
// place, and everything is swept. Then the cloner goes on: it has a clone that is whole, or an error.
func (e *fsEnv) everyCloneStall(after bool) {
	step := 1
	if !e.handle().Capabilities().Volatile {
		step = 5
	}
	born, refused := 0, 0
	for at := 0; ; at += step {
		hit := false
		for how := range 3 {
			var err, cerr error
			hit, cerr, err = e.cloneStall(at, after, how)
			if err != nil {
				e.Fatalf("stopped at request %d, %d: %v (the cloner: %v)", at, how, err, cerr)
			}
			if cerr == nil {
				born++
			} else {
				refused++
			}
		}
		if !hit {
			break
		}
	}
	e.Logf("%d clones, %d cloners gave up", born, refused)
	if born < 3 || refused < 3 {
		e.Errorf("%d clones, %d cloners gave up: too few of one", born, refused)
	}
}

func (e *fsEnv) cloneStall(at int, after bool, how int) (hit bool, cloned, err error) {
	s := &cloneScript{ctx: e.ctx, clock: &clock{}, open: under(e.open, fmt.Sprintf("stall%d-%d-%v", at, how, after))}
	a, err := s.mount("a")
	if err != nil {
		return false, nil, err
	}
	defer a.Close()
	if err := errors.Join(s.fill(a), second(a.Snapshot(s.ctx, "s", nil)), second(a.Snapshot(s.ctx, "t", nil))); err != nil {
		return false, nil, err
	}
	stop := newStall(at, after, true)
	over := make(chan error, 1)
	go func() {
		over <- s.clone(func(st driver.Store) driver.Store { return &stallStore{st, stop} }, "s", "b")
	}()
	select {
	case <-stop.hit:
		hit = true
		rival := &cloneScript{ctx: s.ctx, clock: s.clock, open: s.open}
		switch how {
		case 0: // the snapshot goes, as far as it may
			err = errors.Join(a.RemoveSnapshot(s.ctx, "s"), a.RemoveAll(s.ctx, "/1.sst"), a.RemoveAll(s.ctx, "/2.log"), a.RemoveSnapshot(s.ctx, "t"))
			err = errors.Join(err, a.Checkpoint(s.ctx), second(a.Sweep(s.ctx)))
		case 1: // and the clone is given up
			err = rival.empty(a)
		case 2: // somebody else clones to the same place
			if cerr := rival.clone(plain, "t", "b"); cerr != nil && !errors.Is(cerr, forstfs.ErrExists) {
				err = cerr
			}
		}
		close(stop.free)
		cloned = <-over
	case cloned = <-over:
	}
	if err != nil {
		return hit, cloned, err
	}
	if cloned != nil && errors.Is(cloned, fs.ErrNotExist) {
		return hit, cloned, errors.New("it looks like a missing file")
	}
	if cloned != nil && how == 2 { // the place is the other's
		s.clones = append(s.clones, &cloneRecord{place: "b", asked: s.clock.tick(), done: s.clock.tick()})
	}
	_ = a.Close() // verify takes it over
	return hit, cloned, s.verify(never)
}
