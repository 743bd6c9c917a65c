package conformance

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/mem"
)

// What the workload did is read back from the store that it ran on, after each owner; see readBack. A crash point is a moment just before a change of the store returns: all changes that returned before have landed, of those under way any
// may have, but for those that somebody has seen, which have. The state of the store at that moment is built anew in memory, opened, and held against the oracle.

var crashCases = []DurabilityCase{
	{"crash/every-point-of-one-writer", false, func(e *fsEnv) { e.everyCrashPoint(scenario{seed: 1, workers: 1, steps: 400, owners: 1}) }},
	{"crash/every-point-with-checkpoints", false, func(e *fsEnv) {
		e.everyCrashPoint(scenario{seed: 2, workers: 1, steps: 250, owners: 1, house: 12, slow: 200 * time.Microsecond})
	}},
	{"crash/every-point-of-concurrent-writers", false, func(e *fsEnv) {
		e.everyCrashPoint(scenario{seed: 3, workers: 4, steps: 80, owners: 1, house: 25, slow: 300 * time.Microsecond})
	}},
	{"crash/every-point-with-an-operation-per-frame", false, func(e *fsEnv) {
		e.everyCrashPoint(scenario{seed: 6, workers: 1, steps: 250, owners: 1, frame: 40, most: 60})
	}},
	{"crash/every-point-with-deletions-in-time", true, func(e *fsEnv) {
		// What is removed is deleted in the background a little later: steps take their time, so that it happens among them.
		e.everyCrashPoint(scenario{seed: 7, workers: 2, steps: 150, owners: 1, house: 30, pause: 150 * time.Millisecond})
	}},
	{"crash/every-point-of-takeovers", false, func(e *fsEnv) {
		e.everyCrashPoint(scenario{seed: 4, workers: 1, steps: 30, owners: 7, house: 9, slow: 100 * time.Microsecond})
	}},
	{"crash/every-point-of-takeovers-after-close", false, func(e *fsEnv) {
		e.everyCrashPoint(scenario{seed: 5, workers: 3, steps: 30, owners: 5, house: 9, close: true, slow: 200 * time.Microsecond})
	}},
}

// scenario is a workload that is the same each time, as far as goroutines are.
type scenario struct {
	seed    uint64
	workers int
	steps   int  // of each worker and owner
	owners  int  // processes that follow each other
	house   int  // a Checkpoint or Sweep after this many steps of worker 0
	close   bool // each owner closes the volume
	mixed   bool // every second one does
	slow    time.Duration
	pause   time.Duration // between steps, where time is virtual
	frame   int           // limit of a frame in bytes
	most    int           // bytes of a write
}

// chain is what the owners of a volume did, in their order.
type chain struct {
	clock  clock
	seeds  atomic.Uint64
	owners []*history
}

// at gives the owner whose operations a crash at the moment may have cut off.
func (c *chain) at(moment int64) *history {
	h := c.owners[0]
	for _, x := range c.owners[1:] {
		if x.from < moment {
			h = x
		}
	}
	return h
}

// play runs a scenario on the volumes that mount gives, and reads back what each owner has left. Owners that are not to close are left to be fenced.
func (e *fsEnv) play(s scenario, c *chain, rec *recording, mount func(owner int) *forstfs.FS) {
	e.Helper()
	dirs := workDirs(s.workers)
	begin := emptyTrees(s.workers)
	for owner := range s.owners {
		v := mount(owner)
		if owner > 0 {
			last := c.owners[owner-1]
			f, err := take(e.ctx, v)
			e.must(err)
			trees, err := last.explain(f, never, never)
			if err != nil {
				e.Fatalf("owner %d: %v", owner, err)
			}
			begin = inherit(trees, f)
		}
		h := newHistory(&c.clock, v.Epoch(), dirs, begin)
		c.owners = append(c.owners, h)
		var wg sync.WaitGroup
		for w := range s.workers {
			k := newWorker(e.ctx, h, w, v, s.seed*1000+uint64(owner), &c.seeds)
			if s.most > 0 {
				k.most = s.most
			}
			wg.Go(func() { e.work(k, s) })
		}
		wg.Wait()
		if e.Failed() {
			return
		}
		if s.close || s.mixed && owner%2 == 1 {
			o := &op{kind: opNone, ack: true}
			e.last.Delete(v)
			e.must(h.call(0, o, v.Close))
		}
		if err := e.readBack(h, rec); err != nil {
			e.Fatalf("reading back what owner %d has left: %v", owner, err)
		}
	}
}

func (e *fsEnv) work(k *worker, s scenario) {
	for i := range s.steps {
		if e.virtual {
			time.Sleep(s.pause)
		}
		err := k.step()
		if err == nil && k.w == 0 && s.house > 0 && i%s.house == s.house-1 {
			err = k.house(i / s.house)
		}
		if err != nil {
			e.Errorf("worker %d, step %d: %v", k.w, i, err)
			return
		}
	}
}

// house does what a volume otherwise does by itself now and then.
func (k *worker) house(i int) error {
	if i%3 == 2 {
		_, err := k.v.Sweep(k.ctx)
		return k.soft("sweep", err)
	}
	o := &op{kind: opNone, ack: true}
	return k.soft("checkpoint", k.h.call(k.w, o, func() error { return k.v.Checkpoint(k.ctx) }))
}

// everyCrashPoint records a scenario and recovers from each of its crash points.
func (e *fsEnv) everyCrashPoint(s scenario) {
	var c chain
	rec := &recording{clock: &c.clock, slow: s.slow}
	o := smallOptions()
	if s.frame > 0 {
		o.FrameLimit = s.frame
	}
	e.play(s, &c, rec, func(int) *forstfs.FS { return e.mountOn(rec.wrap(e.store()), o) })
	if e.Failed() {
		return
	}
	if rec.fails > 0 {
		e.Fatalf("%d requests failed on a healthy store", rec.fails)
	}
	muts := rec.ordered()
	points := 0
	e.eachPoint(muts, func(i int, m *mutation, at crashPoint, landed *mem.Bucket) {
		under := at.under
		for variant := range 4 {
			part := e.choose(under, variant, uint64(i))
			if variant >= 2 && len(under) < 2 || variant > 0 && part == nil {
				continue
			}
			b := e.found(landed, at, part)
			points++
			if err := e.recoverFrom(b, &c, m.end, points); err != nil {
				e.Fatalf("crash point %d of %d (moment %d, variant %d, %d of %d requests under way have landed): %v", i, len(muts), m.end, variant, len(part), len(under), err)
			}
		}
	})
	e.Logf("%d crash points, %d changes of the store, %d owners", points, len(muts), len(c.owners))
	if points < 100 {
		e.Errorf("only %d crash points", points)
	}
}

// choose gives the requests under way that have landed: none, all, then parts in any order.
func (e *fsEnv) choose(under []*mutation, variant int, seed uint64) []*mutation {
	switch variant {
	case 0:
		return nil
	case 1:
		return under
	}
	var part []*mutation
	r := rand.New(rand.NewPCG(seed, uint64(variant)))
	for _, i := range r.Perm(len(under)) {
		if r.IntN(2) == 0 {
			part = append(part, under[i])
		}
	}
	return part
}

// recoverFrom opens the volume that a crash has left and checks it, and now and then whether one can go on with it.
func (e *fsEnv) recoverFrom(b *mem.Bucket, c *chain, moment int64, n int) error {
	ctx := e.ctx
	h := c.at(moment)
	if n%3 == 0 {
		if err := e.readFrom(b, h, moment); err != nil {
			return fmt.Errorf("read-only: %w", err)
		}
	}
	st, err := b.Open("")
	e.must(err)
	v, f, err := recovered(ctx, st, smallOptions())
	if err != nil {
		return err
	}
	if _, err = h.explain(f, moment, moment); err != nil {
		return errors.Join(err, v.Close())
	}
	if n%8 != 0 {
		return v.Close()
	}
	return e.goOn(b, v, f)
}

func (e *fsEnv) readFrom(b *mem.Bucket, h *history, moment int64) error {
	st, err := b.Open("")
	e.must(err)
	r, err := forstfs.OpenReadOnly(e.ctx, st, smallOptions())
	if errors.Is(err, forstfs.ErrNoVolume) && len(h.ops[0]) == 0 {
		return nil
	}
	if err != nil {
		// Before the root landed there is no volume yet, and nobody can have been acknowledged.
		if errors.Is(err, forstfs.ErrNoVolume) && moment < h.from {
			return nil
		}
		return err
	}
	f, err := take(e.ctx, r)
	if err == nil {
		_, err = h.explain(f, moment, moment)
	}
	return errors.Join(err, r.Close())
}

// goOn works with a recovered volume: everything in it stays, with checkpoints and sweeps, and nothing is left over.
func (e *fsEnv) goOn(b *mem.Bucket, v *forstfs.FS, f found) error {
	ctx := e.ctx
	fresh, err := v.Create(ctx, "/fresh.log", nil)
	if err == nil {
		_, err = fresh.Write([]byte("fresh"))
		err = errors.Join(err, fresh.Sync(), fresh.Close())
	}
	if err == nil {
		err = errors.Join(v.Checkpoint(ctx), second(v.Sweep(ctx)), v.Remove(ctx, "/fresh.log"), v.Sync(ctx), v.Checkpoint(ctx), v.Close())
	}
	if err != nil {
		return fmt.Errorf("working with the recovered volume: %w", err)
	}
	st, err := b.Open("")
	e.must(err)
	inv, err := takeInventory(ctx, st)
	if err == nil {
		err = errors.Join(inv.checkNeeded(ctx, st), inv.checkExact(ctx, st))
	}
	if err != nil {
		return err
	}
	w, again, err := recovered(ctx, st, smallOptions())
	if err != nil {
		return err
	}
	if !again.equal(f) {
		err = fmt.Errorf("the state changes from one recovery to the next: %s, before %s", again, f)
	}
	return errors.Join(err, w.Close())
}

func (f found) equal(g found) bool {
	if len(f) != len(g) {
		return false
	}
	for p, x := range f {
		y, ok := g[p]
		if !ok || x.dir != y.dir || x.inode != y.inode || string(x.data) != string(y.data) {
			return false
		}
	}
	return true
}
