package conformance

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/mem"
)

// The environment of RunSimulation.
const (
	EnvSimSeed  = "FORST_SIM_SEED"  // run this seed only
	EnvSimRuns  = "FORST_SIM_RUNS"  // how many seeds
	EnvSimFirst = "FORST_SIM_FIRST" // the first of them, instead of 1
)

// RunSimulation runs schedules of several processes that open, write, check, image, sweep, follow, crash, stop and go on over one bucket in memory behind
// a hostile network, in virtual time. A failure prints its seed, which FORST_SIM_SEED runs again.
func RunSimulation(t *testing.T, runs int) {
	first := uint64(1)
	if s := os.Getenv(EnvSimFirst); s != "" {
		n, err := strconv.ParseUint(s, 0, 64)
		if err != nil {
			t.Fatalf("%s: %v", EnvSimFirst, err)
		}
		first = n
	}
	if s := os.Getenv(EnvSimSeed); s != "" {
		n, err := strconv.ParseUint(s, 0, 64)
		if err != nil {
			t.Fatalf("%s: %v", EnvSimSeed, err)
		}
		first, runs = n, 1
	} else if s := os.Getenv(EnvSimRuns); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatalf("%s: %v", EnvSimRuns, err)
		}
		runs = n
	}
	// One processor: what runs at the same instant then runs in nearly the same order each time.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	total := map[string]int{}
	start := time.Now()
	for seed := first; seed < first+uint64(runs); seed++ {
		synctest.Test(t, func(t *testing.T) {
			for what, n := range Simulate(t, seed) {
				total[what] += n
			}
		})
		if t.Failed() {
			t.Fatalf("the simulation fails: run it again with %s=%d", EnvSimSeed, seed)
		}
	}
	var lines []string
	for what, n := range total {
		lines = append(lines, fmt.Sprintf("%s %d", what, n))
	}
	slices.Sort(lines)
	t.Logf("%d schedules in %v: %s", runs, time.Since(start).Round(time.Millisecond), strings.Join(lines, ", "))
}

// simulation is one schedule.
type simulation struct {
	tb    TB
	ctx   context.Context
	seed  uint64
	r     *rand.Rand
	net   *simNet
	chain chain
	dirs  []string

	mu       sync.Mutex
	owners   []*simOwner
	samples  []sample
	opened   []*forstfs.FS
	failed   error
	vandal   bool // images get damaged
	dropping simDrop
	snaps    simSnaps
	exists   atomic.Bool // some Open has succeeded: the volume exists for ever
	ids      atomic.Uint64
	disks    *simDisks      // nil: no caches on disk
	ghosts   sync.WaitGroup // what dead processes still wait for
}

// simOwner is a process that has taken the volume over and read all of it.
type simOwner struct {
	epoch   uint64
	begin   found
	h       *history
	closing *op // the Close of the volume
}

// sample is what a reader saw.
type sample struct {
	since int64 // everything acknowledged before this moment must be in it
	epoch uint64
	all   found
}

// Simulate runs the schedule of a seed in the bubble of testing/synctest that the caller is in. It returns how often what happened.
func Simulate(tb TB, seed uint64) map[string]int {
	s := &simulation{tb: tb, ctx: context.Background(), seed: seed, r: rand.New(rand.NewPCG(seed, 77))}
	s.dirs = workDirs(1 + s.r.IntN(3))
	s.dropping.on = rand.New(rand.NewPCG(seed, 78)).IntN(4) == 0
	s.snaps.on = !s.dropping.on && rand.New(rand.NewPCG(seed, 79)).IntN(3) == 0
	s.net = &simNet{seed: seed, rough: s.r.IntN(4), bucket: mem.NewBucket(nil), clock: &s.chain.clock, end: make(chan struct{}), stats: map[string]int{}}
	if seed%6 == 0 {
		var err error
		if s.disks, err = newSimDisks(seed, s.net.note); err != nil {
			tb.Errorf("seed %d: %v", seed, err)
			return nil
		}
	}
	var wg sync.WaitGroup
	slots := 1 + s.r.IntN(3)
	lives := 2 + s.r.IntN(4)
	for slot := range slots {
		seed := s.r.Uint64()
		wg.Go(func() { s.slot(rand.New(rand.NewPCG(seed, uint64(slot))), lives) })
	}
	over := make(chan struct{})
	if s.vandal = s.r.IntN(6) == 0; s.vandal {
		seed := s.r.Uint64()
		s.ghosts.Go(func() { s.vandalise(rand.New(rand.NewPCG(seed, 6)), over) })
	}
	if s.r.IntN(3) == 0 {
		seed := s.r.Uint64()
		wg.Go(func() { s.reader(rand.New(rand.NewPCG(seed, 5))) })
	}
	wg.Wait()
	close(over)
	s.finish()
	close(s.net.end)
	s.ghosts.Wait()
	for _, v := range s.opened {
		_ = v.Close()
	}
	s.net.wg.Wait()
	if s.disks != nil {
		s.fail(s.disks.close())
	}
	if s.failed == nil {
		s.fail(s.judge())
	}
	if s.failed != nil {
		tb.Errorf("seed %d: %v", seed, s.failed)
	}
	return s.net.stats
}

func (s *simulation) fail(err error) {
	if err == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed == nil {
		s.failed = err
	}
}

func (s *simulation) over() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed != nil
}

func (s *simulation) options(r *rand.Rand) *forstfs.Options {
	o := smallOptions()
	o.FlushDelay = []time.Duration{-1, 20 * time.Millisecond, time.Second}[r.IntN(3)]
	o.ImageFrames = 3 + r.IntN(30)
	o.Force = r.IntN(2) == 0
	o.CacheBytes = []int64{-1, 128 << 10}[r.IntN(2)]
	if s.disks != nil {
		var err error
		if o.Cache, err = s.disks.next(); err != nil {
			s.fail(fmt.Errorf("the cache of a process: %w", err))
		}
	}
	o.RetryBudget = []time.Duration{20 * time.Second, 5 * time.Minute}[r.IntN(2)]
	nonces := rand.New(rand.NewPCG(r.Uint64(), 3))
	var mu sync.Mutex
	o.Nonce = func() uint64 {
		mu.Lock()
		defer mu.Unlock()
		return nonces.Uint64()
	}
	o.Listener = &forstfs.EventListener{Damaged: func(what string, err error) {
		if !s.vandal {
			s.fail(unexpected("damage where there is none: %s: %w", what, err))
		}
		s.net.note("damage met")
	}}
	return o
}

// slot is a place where processes live one after the other.
func (s *simulation) slot(r *rand.Rand, lives int) {
	for range lives {
		time.Sleep(millis(r, 0, 3000))
		if s.over() {
			return
		}
		s.life(r)
	}
}

// openSim opens the volume as a process; nil if that did not work out, for a reason that is one.
func (s *simulation) openSim(p *simProc, o *forstfs.Options, readOnly bool) *forstfs.FS {
	existed := s.exists.Load()
	began := s.chain.clock.tick()
	open := forstfs.Open
	if readOnly {
		open = forstfs.OpenReadOnly
	}
	v, err := open(s.ctx, p.store(), o)
	if err == nil {
		s.mu.Lock()
		s.opened = append(s.opened, v)
		s.mu.Unlock()
		s.exists.Store(true)
		s.fail(s.dropping.opened(began, "Open"))
		return v
	}
	select {
	case <-p.dead:
		return nil
	default:
	}
	if errors.Is(err, forstfs.ErrDropped) {
		s.net.note("dropped met")
		s.fail(s.dropping.told(&s.chain.clock))
		if !readOnly && s.dice(p).IntN(2) == 0 {
			_ = s.finishDrop(p, o)
		}
		return nil
	}
	s.net.note("open failed")
	missing := errors.Is(err, forstfs.ErrNoVolume) || errors.Is(err, fs.ErrNotExist)
	if missing && (existed || !readOnly) || errors.Is(err, forstfs.ErrForeign) || errors.Is(err, forstfs.ErrDamaged) || errors.Is(err, forstfs.ErrFormat) {
		s.fail(unexpected("Open: %w", err))
	}
	return nil
}

// life is one process: it opens the volume, reads all of it, works, and ends.
func (s *simulation) life(r *rand.Rand) {
	p := s.net.proc(s.ids.Add(1))
	o := s.options(r)
	// How it ends is decided in advance: by a crash at any moment, by Close, or after having been stopped for a while.
	crashAt := time.Duration(-1)
	if r.IntN(2) == 0 {
		crashAt = millis(r, 1, 8000)
		timer := time.AfterFunc(crashAt, p.crash)
		defer timer.Stop()
	}
	if r.IntN(3) == 0 {
		stop, long := millis(r, 1, 5000), millis(r, 100, 120_000)
		time.AfterFunc(stop, func() { p.stop(long) })
	}
	own := rand.New(rand.NewPCG(r.Uint64(), r.Uint64())) // a crashed process may still draw while the next one lives
	if crashAt >= 0 {
		// A dead process is waited for by nobody, until the end of the world.
		s.ghosts.Go(func() { s.run(own, p, o) })
		select {
		case <-p.dead:
			s.net.note("crash")
		case <-time.After(crashAt + time.Millisecond):
		}
		return
	}
	s.run(own, p, o)
}

func (s *simulation) run(r *rand.Rand, p *simProc, o *forstfs.Options) {
	what := s.dice(p)
	if s.dropping.on && what.IntN(8) == 0 {
		s.finishOfLiving(p, o)
	}
	v := s.openSim(p, o, false)
	if v == nil {
		return
	}
	all, err := take(s.ctx, v)
	if err != nil {
		s.readFailed(p, v, err)
		return
	}
	owner := s.own(v, all)
	if owner == nil {
		return
	}
	s.net.note("owner")
	var wg sync.WaitGroup
	for w := range s.dirs {
		steps, seed := 4+r.IntN(22), r.Uint64()
		wg.Go(func() { s.work(p, owner.h, w, v, steps, seed) })
	}
	if s.snaps.on {
		seed := what.Uint64()
		wg.Go(func() { s.snapper(p, owner, v, rand.New(rand.NewPCG(seed, 4))) })
	}
	drops, beside := s.dropping.on && what.IntN(4) == 0, what.IntN(2) == 0
	if drops && beside {
		wait := millis(what, 0, 4000)
		wg.Go(func() {
			time.Sleep(wait)
			s.drop(p, owner, v)
		})
	}
	wg.Wait()
	if drops && !beside {
		s.drop(p, owner, v)
	}
	select {
	case <-p.dead:
		return
	default:
	}
	s.closeSim(owner, v)
}

// readFailed judges why an owner could not read what it took over.
func (s *simulation) readFailed(p *simProc, v *forstfs.FS, err error) {
	select {
	case <-p.dead:
		return
	default:
	}
	if errors.Is(err, fs.ErrNotExist) || errors.As(err, new(errUnexpected)) {
		s.fail(unexpected("reading what was taken over: %w", err))
	}
	if errors.Is(err, forstfs.ErrStale) || errors.Is(err, forstfs.ErrDamaged) {
		// Right only if somebody else has taken over meanwhile: this process must then learn that it is fenced.
		if f, cerr := v.Create(s.ctx, "/probe", nil); cerr == nil {
			if serr := f.Sync(); serr == nil {
				s.fail(unexpected("the owner cannot read what it took over: %w", err))
			}
		}
	}
	s.net.note("could not read")
}

// own makes the process an owner whose operations count.
func (s *simulation) own(v *forstfs.FS, all found) *simOwner {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := &simOwner{epoch: v.Epoch(), begin: all}
	for _, x := range s.owners {
		if x.epoch == o.epoch && s.failed == nil {
			s.failed = unexpected("two owners have the epoch %d", o.epoch)
			return nil
		}
	}
	o.h = newHistory(&s.chain.clock, o.epoch, s.dirs, treesOf(s.dirs, all))
	s.owners = append(s.owners, o)
	return o
}

// treesOf describes what was found.
func treesOf(dirs []string, all found) []*tree {
	trees := make([]*tree, len(dirs))
	for i, d := range dirs {
		t := newTree()
		texts := map[uint64]*fileText{}
		for p, e := range all.below(d) {
			if e.dir {
				t.dirs[p] = true
				continue
			}
			text := texts[e.inode]
			if text == nil {
				text = &fileText{known: notNil(e.data), inode: e.inode, written: int64(len(e.data)), bulk: forstfs.Classify(p).Bulk()}
				texts[e.inode] = text
				t.least[text] = text.written
			}
			t.names[p] = text
		}
		trees[i] = t
	}
	return trees
}

func (s *simulation) work(p *simProc, h *history, w int, v *forstfs.FS, steps int, seed uint64) {
	k := newWorker(s.ctx, h, w, v, seed, &s.chain.seeds)
	k.most = 2500
	k.tolerate = func(err error) bool { return !errors.Is(err, forstfs.ErrDamaged) }
	for i := range steps {
		if k.r.IntN(3) == 0 {
			time.Sleep(millis(k.r, 0, 800))
		}
		err := k.step()
		if err == nil && w == 0 && k.r.IntN(12) == 0 {
			err = k.house(k.r.IntN(3))
		}
		select {
		case <-p.dead:
			return // what a dead process thinks does not matter
		default:
		}
		if err != nil {
			s.stopped(fmt.Sprintf("epoch %d, worker %d, step %d", h.epoch, w, i), err)
			return
		}
	}
}

// stopped judges why a worker ended early.
func (s *simulation) stopped(who string, err error) {
	switch {
	case errors.As(err, new(errUnexpected)) && !errors.Is(err, errInjected):
		s.fail(fmt.Errorf("%s: %w", who, err))
	case errors.Is(err, forstfs.ErrFenced):
		s.net.note("fenced")
	case errors.Is(err, forstfs.ErrDropped):
		s.net.note("worker dropped")
		s.fail(s.dropping.told(&s.chain.clock))
	default:
		s.net.note("failed")
	}
}

// closeSim ends a process in order.
func (s *simulation) closeSim(o *simOwner, v *forstfs.FS) {
	failed := v.Err()
	o.closing = &op{kind: opNone, ack: true}
	err := o.h.call(0, o.closing, v.Close)
	switch {
	case err == nil && errors.Is(failed, forstfs.ErrDropped): // what is dropped has nothing left to lose
	case err == nil && failed != nil:
		s.fail(unexpected("Close of a volume that has failed with %v returns nil", failed))
	case err == nil:
		s.net.note("close")
	case !ended(err) && !errors.Is(err, errInjected):
		s.fail(unexpected("Close: %w", err))
	}
}

// reader follows the volume.
func (s *simulation) reader(r *rand.Rand) {
	time.Sleep(millis(r, 0, 2000))
	p := s.net.proc(s.ids.Add(1))
	since := s.chain.clock.tick()
	v := s.openSim(p, s.options(r), true)
	if v == nil {
		return
	}
	for range 2 + r.IntN(5) {
		epoch := v.Epoch()
		all, err := take(s.ctx, v)
		switch {
		case err == nil:
			s.mu.Lock()
			s.samples = append(s.samples, sample{since, epoch, all})
			s.mu.Unlock()
			s.net.note("sample")
		case errors.Is(err, fs.ErrNotExist), errors.As(err, new(errUnexpected)), errors.Is(err, forstfs.ErrDamaged):
			s.fail(unexpected("a reader: %w", err))
		}
		time.Sleep(millis(r, 0, 4000))
		for {
			since = s.chain.clock.tick()
			_, err := v.Refresh(s.ctx)
			if err == nil {
				break
			}
			if errors.Is(err, forstfs.ErrDropped) {
				s.fail(s.dropping.told(&s.chain.clock))
				return
			}
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, forstfs.ErrDamaged) || errors.Is(err, forstfs.ErrNoVolume) {
				s.fail(unexpected("Refresh: %w", err))
				return
			}
			time.Sleep(millis(r, 0, 4000))
			if s.over() {
				return
			}
		}
	}
}
