package conformance

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
)

var zombieCases = []DurabilityCase{
	{"zombie/writer-stalled-before-every-request", false, func(e *fsEnv) { e.everyStall(false, stallWriter) }},
	{"zombie/writer-stalled-after-every-request", false, func(e *fsEnv) { e.everyStall(true, stallWriter) }},
	{"zombie/opener-stalled-before-every-request", false, func(e *fsEnv) { e.everyStall(false, stallOpener) }},
	{"zombie/opener-stalled-after-every-request", false, func(e *fsEnv) { e.everyStall(true, stallOpener) }},
	{"zombie/reader-stalled-before-every-request", false, func(e *fsEnv) { e.everyStall(false, stallReader) }},
	{"zombie/takeover-every-few-frames", false, func(e *fsEnv) { e.manyTakeovers() }},
	{"zombie/racing-openers", false, func(e *fsEnv) { e.racingOpeners() }},
}

type stallKind uint8

const (
	stallWriter stallKind = iota
	stallOpener
	stallReader
)

// everyStall stops a process at its first request, its second, ..., lets another one take over, work, image, trim and sweep, and lets the first go on.
func (e *fsEnv) everyStall(after bool, kind stallKind) {
	step := 1
	if !e.handle().Capabilities().Volatile {
		step = 5
	}
	runs := 0
	for at := 0; ; at += step {
		z := &zombie{fsEnv: e, open: under(e.open, fmt.Sprintf("run%d", runs)), stall: newStall(at, after, kind != stallWriter), kind: kind}
		hit, err := z.run()
		if err != nil {
			e.Fatalf("stopped at request %d: %v", at, err)
		}
		runs++
		if !hit {
			break
		}
	}
	e.Logf("%d runs", runs)
	if runs < 2 || step == 1 && runs < 4 {
		e.Errorf("only %d runs: the process was hardly stopped", runs)
	}
}

// zombie is one run: a first owner, then a process that is stopped, and one that takes over meanwhile.
type zombie struct {
	*fsEnv
	open  func(ctxType) (driver.Store, error)
	stall *stall
	kind  stallKind
	first *forstfs.FS
	chain chain
}

func (z *zombie) mountZ(s *stall) (*forstfs.FS, error) {
	st, err := z.open(z.ctx)
	if err != nil {
		return nil, err
	}
	if s != nil {
		st = &stallStore{st, s}
	}
	o := smallOptions()
	o.CacheBytes = -1
	if s != nil && z.kind == stallReader {
		return forstfs.OpenReadOnly(z.ctx, st, o)
	}
	return forstfs.Open(z.ctx, st, o)
}

// adopt reads a volume and makes its owner the next one of the chain.
func (z *zombie) adopt(v *forstfs.FS) (*history, error) {
	all, err := take(z.ctx, v)
	if err != nil {
		return nil, err
	}
	begin := emptyTrees(1)
	if n := len(z.chain.owners); n > 0 {
		trees, err := z.chain.owners[n-1].explain(all, never, never)
		if err != nil {
			return nil, fmt.Errorf("epoch %d: %w", v.Epoch(), err)
		}
		begin = inherit(trees, all)
	}
	h := newHistory(&z.chain.clock, v.Epoch(), workDirs(1), begin)
	z.chain.owners = append(z.chain.owners, h)
	return h, nil
}

func (z *zombie) worker(v *forstfs.FS, h *history) *worker {
	k := newWorker(z.ctx, h, 0, v, uint64(len(z.chain.owners)), &z.chain.seeds)
	k.most = 2500
	k.tolerate = func(err error) bool { return errors.Is(err, forstfs.ErrStale) }
	return k
}

// work makes steps until the volume ends.
func (z *zombie) work(k *worker, steps int) error {
	for i := range steps {
		err := k.step()
		if err == nil && i%7 == 6 {
			err = k.house(i / 7)
		}
		if ended(err) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("epoch %d, step %d: %w", k.h.epoch, i, err)
		}
	}
	return nil
}

// busy is what the second process does: enough that frames and objects of the first go.
func (z *zombie) busy(v *forstfs.FS, h *history) error {
	k := z.worker(v, h)
	err := z.work(k, 10)
	for range 3 {
		if err == nil {
			err = v.Checkpoint(z.ctx)
		}
		if err == nil {
			_, err = v.Sweep(z.ctx)
		}
		if err == nil {
			err = z.work(k, 6)
		}
	}
	return err
}

func (z *zombie) run() (hit bool, err error) {
	first, err := z.mountZ(nil)
	if err != nil {
		return false, err
	}
	h, err := z.adopt(first)
	if err == nil {
		err = z.work(z.worker(first, h), 25)
	}
	z.first = first
	if err != nil {
		return false, errors.Join(err, first.Close())
	}
	switch z.kind {
	case stallWriter:
		return z.runWriter()
	default:
		return z.runOpener()
	}
}

// runWriter: a writer is stopped in the middle of its work. It must not be acknowledged any more, and change nothing.
func (z *zombie) runWriter() (bool, error) {
	v, err := z.mountZ(z.stall)
	if err != nil {
		return false, err
	}
	h, err := z.adopt(v)
	if err != nil {
		return false, errors.Join(err, v.Close())
	}
	z.stall.start()
	over := make(chan error, 1)
	k := z.worker(v, h) // here: the chain of owners grows while the worker is stopped
	go func() { over <- z.work(k, 60) }()
	select {
	case <-z.stall.hit:
	case err := <-over:
		z.stall.stop()
		select {
		case <-z.stall.hit:
			over <- err // a request in the background is stopped; the work is done
		default:
			return false, errors.Join(err, h.call(0, &op{ack: true}, v.Close))
		}
	}
	next, err := z.mountZ(nil)
	if err != nil {
		close(z.stall.free)
		return true, errors.Join(err, <-over)
	}
	all, err := take(z.ctx, next)
	if err != nil {
		close(z.stall.free)
		return true, errors.Join(err, <-over)
	}
	trees, err := h.explain(all, never, never) // before the first goes on
	if err == nil {
		h2 := newHistory(&z.chain.clock, next.Epoch(), workDirs(1), inherit(trees, all))
		z.chain.owners = append(z.chain.owners, h2)
		err = z.busy(next, h2)
	}
	close(z.stall.free)
	err = errors.Join(err, <-over)
	if cerr := h.call(0, &op{kind: opNone, ack: true}, v.Close); cerr != nil && !ended(cerr) {
		err = errors.Join(err, fmt.Errorf("Close of the first: %w", cerr))
	}
	if _, xerr := h.explain(all, never, never); xerr != nil { // with what it was told after it went on
		err = errors.Join(err, fmt.Errorf("after it went on: %w", xerr))
	}
	return true, errors.Join(err, z.last(next))
}

// runOpener: a process is stopped while it opens the volume, others work, and it goes on.
func (z *zombie) runOpener() (bool, error) {
	before := z.chain.owners[len(z.chain.owners)-1]
	since := z.chain.clock.tick()
	type opened struct {
		v   *forstfs.FS
		all found
		err error
	}
	over := make(chan opened, 1)
	go func() {
		v, err := z.mountZ(z.stall)
		o := opened{v: v, err: err}
		if err == nil {
			o.all, o.err = take(z.ctx, v)
		}
		over <- o
	}()
	var slow opened
	hit := true
	select {
	case <-z.stall.hit:
	case slow = <-over:
		hit = false
		z.stall.stop()
		select {
		case <-z.stall.hit: // in the background, after it had opened the volume
			close(z.stall.free)
		default:
		}
	}
	var quick *forstfs.FS
	if hit {
		var err error
		for range 4 { // it meets the fences of the one that is stopped, and tries again above them
			if quick, err = z.mountZ(nil); !errors.Is(err, forstfs.ErrBusy) {
				break
			}
		}
		if err == nil {
			var h *history
			if h, err = z.adopt(quick); err == nil {
				err = z.busy(quick, h)
			}
		}
		close(z.stall.free)
		slow = <-over
		if err != nil {
			return true, errors.Join(fmt.Errorf("the quick process: %w", err), closeIf(slow.v), closeIf(quick))
		}
	}
	err := z.judgeSlow(slow.v, slow.all, slow.err, before, since)
	if slow.v != nil && z.kind == stallOpener && slow.err == nil && err == nil {
		// If it owns the volume, the quick one does not any more.
		f, cerr := slow.v.Create(z.ctx, "/w0/owner", nil)
		if cerr == nil {
			cerr = f.Sync()
		}
		if cerr == nil && quick != nil && quick.Epoch() > slow.v.Epoch() {
			err = unexpected("an opener that was overtaken is acknowledged")
		}
		if cerr != nil && !ended(cerr) {
			err = unexpected("the slow opener: %w", cerr)
		}
		if cerr == nil {
			err = errors.Join(err, slow.v.Remove(z.ctx, "/w0/owner"), slow.v.Sync(z.ctx))
		}
	}
	if cerr := closeIf(slow.v); cerr != nil && !ended(cerr) {
		err = errors.Join(err, cerr)
	}
	if cerr := closeIf(quick); cerr != nil && !ended(cerr) {
		err = errors.Join(err, cerr)
	}
	return hit, errors.Join(err, z.last(nil))
}

func closeIf(v *forstfs.FS) error {
	if v == nil {
		return nil
	}
	return v.Close()
}

// judgeSlow holds what a stopped opener or reader found against the history.
func (z *zombie) judgeSlow(v *forstfs.FS, all found, err error, before *history, since int64) error {
	if err != nil {
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, forstfs.ErrNoVolume), errors.Is(err, forstfs.ErrDamaged), errors.As(err, new(errUnexpected)):
			return unexpected("the stopped process: %w", err)
		}
		return nil // it was overtaken and says so
	}
	// A writer finds what the last owner before it left, with everything that one was ever told; a reader the state of the owner at its epoch, with
	// everything that was acknowledged before it began.
	h, ackBy := before, since
	if z.kind == stallOpener {
		ackBy = never
	}
	for _, o := range z.chain.owners {
		if o.epoch < v.Epoch() || o.epoch == v.Epoch() && z.kind == stallReader {
			h = o
		}
	}
	if _, err := h.explain(all, ackBy, never); err != nil {
		return fmt.Errorf("what the stopped process found at epoch %d: %w", v.Epoch(), err)
	}
	return nil
}

// last opens the volume once more and checks that all is as the last owner left it.
func (z *zombie) last(owner *forstfs.FS) error {
	if owner != nil {
		h := z.chain.owners[len(z.chain.owners)-1]
		if err := h.call(0, &op{kind: opNone, ack: true}, owner.Close); err != nil {
			return fmt.Errorf("the owner was disturbed: %w", err)
		}
	}
	v, err := z.mountZ(nil)
	if err != nil {
		return err
	}
	if _, err := z.adopt(v); err != nil {
		return errors.Join(err, v.Close())
	}
	if z.first != nil { // what it was still uploading has landed when its Close returns
		if err := z.first.Close(); err != nil && !ended(err) {
			return err
		}
	}
	if _, err := v.Sweep(z.ctx); err != nil {
		return err
	}
	if err := v.Close(); err != nil {
		return err
	}
	st, err := z.open(z.ctx)
	if err != nil {
		return err
	}
	defer st.Close()
	inv, err := takeInventory(z.ctx, st)
	if err != nil {
		return err
	}
	return errors.Join(inv.checkNeeded(z.ctx, st), inv.checkExact(z.ctx, st))
}

// manyTakeovers: hundreds of owners, each of which makes a few frames and is then fenced by the next.
func (e *fsEnv) manyTakeovers() {
	rounds := 300
	if !e.handle().Capabilities().Volatile {
		rounds = 60
	}
	z := &zombie{fsEnv: e, open: e.open}
	var old *forstfs.FS
	for i := range rounds {
		v, err := z.mountZ(nil)
		e.must(err)
		h, err := z.adopt(v)
		if err != nil {
			e.Fatalf("round %d: %v", i, err)
		}
		if old != nil {
			if err := old.Close(); err != nil && !ended(err) {
				e.Fatalf("round %d: Close of the one before: %v", i, err)
			}
		}
		old = v
		k := newWorker(e.ctx, h, 0, v, uint64(i), &z.chain.seeds)
		k.most = 500
		for range 4 + i%5 {
			if err := k.step(); err != nil {
				e.Fatalf("round %d: %v", i, err)
			}
		}
		if i%7 == 3 {
			e.must(k.house(i % 3))
		}
		z.chain.owners = z.chain.owners[len(z.chain.owners)-1:] // the rest is settled
	}
	if err := z.last(old); err != nil {
		e.Fatalf("%v", err)
	}
}

// racingOpeners: several processes open the volume at once, again and again. Some get it, in some order; what was acknowledged stays.
func (e *fsEnv) racingOpeners() {
	rounds := 40
	if !e.handle().Capabilities().Volatile {
		rounds = 10
	}
	v := e.mount()
	e.mkdir(v, "/acked")
	e.must(v.Sync(e.ctx))
	want := map[string]bool{}
	for round := range rounds {
		var wg sync.WaitGroup
		var mu sync.Mutex
		for i := range 4 {
			wg.Go(func() {
				s, err := e.open(e.ctx)
				if err != nil {
					e.Errorf("opening the store: %v", err)
					return
				}
				o := smallOptions()
				o.Force = i%2 == 0
				v, err := forstfs.Open(e.ctx, s, o)
				if err != nil {
					if !errors.Is(err, forstfs.ErrBusy) {
						e.Errorf("round %d: Open: %v", round, err)
					}
					return
				}
				name := fmt.Sprintf("%d-%d", round, i)
				f, err := v.Create(e.ctx, "/acked/"+name, nil)
				if err == nil {
					err = f.Sync()
				}
				switch {
				case err == nil:
					mu.Lock()
					want[name] = true
					mu.Unlock()
				case !errors.Is(err, forstfs.ErrFenced):
					e.Errorf("round %d: %v", round, err)
				}
				_ = v.Close()
			})
		}
		wg.Wait()
		if e.Failed() {
			return
		}
		w := e.mount()
		for name := range want {
			if _, err := w.Stat(e.ctx, "/acked/"+name); err != nil {
				e.Fatalf("round %d: %s was acknowledged: %v", round, name, err)
			}
		}
		e.close(w)
	}
}
