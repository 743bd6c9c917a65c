package conformance

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
)

// simSnaps is what a schedule knows of the snapshots and clones of its volume. In every third schedule owners take and remove snapshots of the whole volume beside their
// work, processes clone them, read them and work in the clones, and all of them crash, are stopped and are fenced as everybody is. What is held against them:
// a snapshot that was acknowledged is there until somebody asks for its removal, with a state that the volume had between the call's begin and return; a clone that was born keeps
// it for ever, whatever becomes of the snapshot; and when everything is removed, nothing is left.
type simSnaps struct {
	on     bool
	mu     sync.Mutex
	n      int
	all    []*simSnap
	clones []*simClone
}

type simSnap struct {
	name     string
	h        *history
	asked    int64
	done     int64 // 0: nobody was told that it is there
	removing bool  // somebody has asked for its removal
}

type simClone struct {
	root string
	of   *simSnap
	born bool          // somebody was told so
	busy chan struct{} // capacity 1: held by the process that has it open
	mine bool          // /mine was acknowledged
	kept []string      // snapshots of the clone that were acknowledged
	n    int           // snapshots of it that were asked for
}

// simSource is the root of the volume; clones lie beside it.
const simSource = "src"

// open is Options.OpenStore of a process.
func (p *simProc) open(_ context.Context, location string) (driver.Store, error) {
	return p.storeAt(strings.TrimPrefix(location, "sim:")), nil
}

// some picks a snapshot; nil if there is none. With done it is one that was acknowledged.
func (x *simSnaps) some(r *rand.Rand, done bool) *simSnap {
	x.mu.Lock()
	defer x.mu.Unlock()
	var from []*simSnap
	for _, q := range x.all {
		if !done || q.done != 0 {
			from = append(from, q)
		}
	}
	if len(from) == 0 {
		return nil
	}
	return from[r.IntN(len(from))]
}

// known gives the snapshots and clones so far. Crashed processes may still go on beside, and find that they are dead.
func (x *simSnaps) known() ([]*simSnap, []*simClone) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Clone(x.all), slices.Clone(x.clones)
}

// told gives what somebody was told of a clone: that it was born, and the snapshots of it that are there.
func (x *simSnaps) told(c *simClone) (born bool, kept []string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return c.born, slices.Clone(c.kept)
}

// there reports whether the snapshot must be there now.
func (x *simSnaps) there(q *simSnap) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return q.done != 0 && !q.removing
}

// snapper is what an owner's process does with snapshots beside its work.
func (s *simulation) snapper(p *simProc, o *simOwner, v *forstfs.FS, r *rand.Rand) {
	x := &s.snaps
	for range 2 + r.IntN(6) {
		time.Sleep(millis(r, 0, 1500))
		var err error
		switch k := r.IntN(20); {
		case k < 7:
			err = s.takeSnapshot(o, v)
		case k < 9:
			err = s.removeSnapshot(x.some(r, false), func(name string) error { return v.RemoveSnapshot(s.ctx, name) })
		case k < 10: // as another process does, which only leaves a request
			err = s.removeSnapshot(x.some(r, false), func(name string) error {
				return forstfs.RequestRemoveSnapshot(s.ctx, p.store(), s.snapOptions(p, r), name)
			})
		case k < 12:
			s.clone(p, r, x.some(r, false))
			s.workInClone(p, r)
		case k < 15:
			err = s.cloneBeside(p, v, r)
		case k < 16:
			s.workInClone(p, r)
		case k < 17:
			_, err = forstfs.CollectHolds(s.ctx, p.store(), &forstfs.HoldsOptions{Options: s.snapOptions(p, r), Abandon: r.IntN(2) == 0})
		default:
			if q := x.some(r, r.IntN(3) > 0); q != nil { // also one that is not committed: then it is not there, or whole
				s.lookAt(p, r, q)
			}
		}
		select {
		case <-p.dead:
			return
		default:
		}
		if s.over() {
			return
		}
		switch {
		case ended(err):
			return
		case errors.Is(err, fs.ErrNotExist) || errors.As(err, new(errUnexpected)) || errors.Is(err, forstfs.ErrDamaged) && !s.vandal:
			s.fail(unexpected("snapshots, epoch %d: %w", o.epoch, err))
			return
		}
	}
}

func (s *simulation) snapOptions(p *simProc, r *rand.Rand) *forstfs.Options {
	o := s.options(r)
	o.OpenStore = p.open
	return o
}

func (s *simulation) takeSnapshot(o *simOwner, v *forstfs.FS) error {
	x := &s.snaps
	x.mu.Lock()
	q := &simSnap{name: fmt.Sprintf("s%d", x.n), h: o.h, asked: s.chain.clock.tick()}
	x.n++
	x.all = append(x.all, q)
	x.mu.Unlock()
	_, err := v.Snapshot(s.ctx, q.name, nil)
	if err == nil {
		s.net.note("snapshot")
		x.mu.Lock()
		q.done = s.chain.clock.tick()
		x.mu.Unlock()
	}
	return err
}

func (s *simulation) removeSnapshot(q *simSnap, remove func(string) error) error {
	if q == nil {
		return nil
	}
	s.snaps.mu.Lock()
	first := !q.removing && q.done != 0
	q.removing = true
	s.snaps.mu.Unlock()
	err := remove(q.name)
	if err == nil {
		s.net.note("snapshot removed")
	}
	if errors.Is(err, forstfs.ErrNoSnapshot) && !first {
		return nil
	}
	return err
}

// lookAt reads a snapshot, as any process may.
func (s *simulation) lookAt(p *simProc, r *rand.Rand, q *simSnap) {
	there := s.snaps.there(q)
	v, err := forstfs.OpenSnapshot(s.ctx, p.store(), q.name, s.snapOptions(p, r))
	var all found
	if err == nil {
		all, err = take(s.ctx, v)
		defer v.Close()
	}
	s.judgeSnapshot(p, "reading the snapshot "+q.name, q, all, err, there && s.snaps.there(q))
}

// judgeSnapshot holds what a process has read of a snapshot against what its owner did.
func (s *simulation) judgeSnapshot(p *simProc, what string, q *simSnap, all found, err error, must bool) {
	select {
	case <-p.dead:
		return
	default:
	}
	if err == nil {
		s.net.note("snapshot read")
		s.fail(s.explainSnapshot(what, q, all))
		return
	}
	gone := errors.Is(err, forstfs.ErrNoSnapshot) || errors.Is(err, forstfs.ErrSnapshotDoomed) || errors.Is(err, forstfs.ErrStale) || errors.Is(err, forstfs.ErrSourceGone)
	if must && gone || errors.Is(err, fs.ErrNotExist) || errors.As(err, new(errUnexpected)) || errors.Is(err, forstfs.ErrDamaged) {
		s.fail(unexpected("%s: %w", what, err))
	}
}

// explainSnapshot: it is a state of the volume with everything that had returned before the call began, and nothing that was begun after it returned.
func (s *simulation) explainSnapshot(what string, q *simSnap, all found) error {
	s.snaps.mu.Lock()
	done := q.done
	s.snaps.mu.Unlock()
	if done == 0 {
		done = never
	}
	if _, err := q.h.explainSince(all, q.asked, done, q.asked); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// cloneBeside clones a snapshot that the volume's owner removes meanwhile, after having given the cloner up, now and then. Whatever comes first: there is no clone, or
// one that is whole.
func (s *simulation) cloneBeside(p *simProc, v *forstfs.FS, r *rand.Rand) error {
	q := s.snaps.some(r, true)
	if q == nil {
		return nil
	}
	s.net.note("clone beside a removal")
	abandon, wait, o := r.IntN(2) == 0, millis(r, 0, 600), s.snapOptions(p, r)
	over := make(chan error, 1)
	go func() {
		time.Sleep(wait)
		if abandon {
			_, _ = forstfs.CollectHolds(s.ctx, p.store(), &forstfs.HoldsOptions{Options: o, Abandon: true})
		}
		over <- s.removeSnapshot(q, func(name string) error { return v.RemoveSnapshot(s.ctx, name) })
	}()
	s.clone(p, r, q)
	return <-over
}

// clone makes a clone of a snapshot in a place of its own.
func (s *simulation) clone(p *simProc, r *rand.Rand, q *simSnap) {
	x := &s.snaps
	if q == nil {
		return
	}
	there := x.there(q)
	x.mu.Lock()
	c := &simClone{root: fmt.Sprintf("clone%d", len(x.clones)), of: q, busy: make(chan struct{}, 1)}
	x.clones = append(x.clones, c)
	x.mu.Unlock()
	o := &forstfs.CloneOptions{Options: s.snapOptions(p, r), SourceURL: "sim:" + simSource}
	if r.IntN(4) > 0 {
		o.CloneURL = "sim:" + c.root
	}
	_, err := forstfs.Clone(s.ctx, p.store(), q.name, p.storeAt(c.root), o)
	select {
	case <-p.dead:
		return
	default:
	}
	switch {
	case err == nil:
		s.net.note("clone")
		x.mu.Lock()
		c.born = true
		x.mu.Unlock()
	case (errors.Is(err, forstfs.ErrNoSnapshot) || errors.Is(err, forstfs.ErrSnapshotDoomed)) && there && x.there(q):
		s.fail(unexpected("Clone of a snapshot that is there: %w", err))
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, forstfs.ErrDamaged):
		s.fail(unexpected("Clone: %w", err))
	default:
		s.net.note("clone failed")
	}
}

// workInClone opens a clone as its owner, reads it, writes a little, and sometimes makes it stand alone.
func (s *simulation) workInClone(p *simProc, r *rand.Rand) {
	x := &s.snaps
	x.mu.Lock()
	var c *simClone
	if len(x.clones) > 0 {
		c = x.clones[r.IntN(len(x.clones))]
	}
	x.mu.Unlock()
	if c == nil {
		return
	}
	select {
	case c.busy <- struct{}{}:
		defer func() { <-c.busy }()
	default:
		return
	}
	born, _ := x.told(c)
	o := s.snapOptions(p, r)
	o.Create = forstfs.MustExist
	v, err := forstfs.Open(s.ctx, p.storeAt(c.root), o)
	if err == nil {
		s.mu.Lock()
		s.opened = append(s.opened, v)
		s.mu.Unlock()
		if err = s.readClone(c, v); err == nil {
			s.net.note("clone used")
			err = s.writeClone(c, v, r)
		}
		_ = v.Close()
	}
	select {
	case <-p.dead:
		return
	default:
	}
	switch {
	case errors.Is(err, forstfs.ErrNoVolume):
		if born {
			s.fail(unexpected("the clone %s was born and is not there: %w", c.root, err))
		}
	case errors.As(err, new(errUnexpected)), errors.Is(err, forstfs.ErrDamaged), errors.Is(err, fs.ErrNotExist), errors.Is(err, forstfs.ErrSourceGone):
		s.fail(unexpected("the clone %s of %s: %w", c.root, c.of.name, err))
	}
}

// readClone checks that a clone has all that the snapshot has, and what was acknowledged in it.
func (s *simulation) readClone(c *simClone, v *forstfs.FS) error {
	all, err := take(s.ctx, v)
	if err != nil {
		return err
	}
	s.snaps.mu.Lock()
	mine := c.mine
	s.snaps.mu.Unlock()
	if e, ok := all["/mine"]; mine && (!ok || string(e.data) != "mine") {
		return unexpected("/mine was acknowledged; there is %q (there: %v)", e.data, ok)
	}
	delete(all, "/mine")
	if err := s.explainSnapshot("what the clone has", c.of, all); err != nil {
		return errUnexpected{err}
	}
	return nil
}

func (s *simulation) writeClone(c *simClone, v *forstfs.FS, r *rand.Rand) error {
	f, err := v.Open(s.ctx, "/mine", nil)
	if errors.Is(err, fs.ErrNotExist) {
		if f, err = v.Create(s.ctx, "/mine", nil); err == nil {
			_, err = f.Write([]byte("mine"))
			err = errors.Join(err, f.Sync())
		}
		if err == nil {
			s.snaps.mu.Lock()
			c.mine = true
			s.snaps.mu.Unlock()
		}
	}
	if err == nil {
		err = f.Close()
	}
	if err == nil {
		err = v.Checkpoint(s.ctx)
	}
	if err == nil && r.IntN(3) == 0 { // it needs what the clone has borrowed, also when the clone itself does not any more
		err = s.keepClone(c, v)
	}
	if err == nil && r.IntN(3) == 0 {
		if _, err = v.Detach(s.ctx, nil); err == nil {
			s.net.note("clone detached")
		}
	}
	return err
}

// keepClone takes a snapshot of a clone.
func (s *simulation) keepClone(c *simClone, v *forstfs.FS) error {
	s.snaps.mu.Lock()
	name := fmt.Sprintf("keep%d", c.n)
	c.n++
	s.snaps.mu.Unlock()
	_, err := v.Snapshot(s.ctx, name, nil)
	if err == nil {
		s.net.note("snapshot of a clone")
		s.snaps.mu.Lock()
		c.kept = append(c.kept, name)
		s.snaps.mu.Unlock()
	}
	return err
}
