package conformance

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
)

// Each fault of the suite for volumes, at requests all over the work of two owners. Time is real: an engine waits with locks in its hands, and virtual time
// stands still then.
var engineFaultCases = []EngineCase{
	{"fault/error-before", func(e *fsEnv, eng Engine) { e.engineFaults(eng, faultBefore) }},
	{"fault/lost-reply", func(e *fsEnv, eng Engine) { e.engineFaults(eng, faultAfter) }},
	{"fault/lands-late", func(e *fsEnv, eng Engine) { e.engineFaults(eng, faultLate) }},
	{"fault/hangs", func(e *fsEnv, eng Engine) { e.engineFaults(eng, faultHang) }},
	{"fault/lands-twice", func(e *fsEnv, eng Engine) { e.engineFaults(eng, faultTwice) }},
	{"fault/refused-once", func(e *fsEnv, eng Engine) { e.engineFaults(eng, faultRefused) }},
	{"fault/outage", func(e *fsEnv, eng Engine) { e.engineFaults(eng, faultOutage) }},
	{"fault/dead", func(e *fsEnv, eng Engine) { e.engineFaults(eng, faultDead) }},
	{"fault/short-read", func(e *fsEnv, eng Engine) { e.engineFaults(eng, faultShort) }},
	{"fault/flipped-bit", func(e *fsEnv, eng Engine) { e.engineFaults(eng, faultFlipped) }},
}

// engineFaults runs the same work with the fault at one request after the other, in steps that reach all over the run.
func (e *fsEnv) engineFaults(eng Engine, what fault) {
	most, total := 9, engineFaultRequests
	if e.volatile() {
		var hit bool
		var err error
		if total, hit, err = e.engineFaultRun(eng, what, noRequest, 0); err != nil || hit { // to count the requests
			e.Fatalf("without a fault: %v, or the fault was met", err)
		}
	} else {
		most = 2
	}
	n := e.portion(total, most)
	var met atomic.Int64
	err := concurrently(n, func(i int) error {
		at := i * total / n // the first request is always one of them: on a busy machine a run may make far fewer than were counted
		_, hit, err := e.engineFaultRun(eng, what, at, i+1)
		if err != nil {
			return fmt.Errorf("%s at request %d of about %d: %w", faultNames[what], at, total, err)
		}
		if hit {
			met.Add(1)
		}
		return nil
	})
	if err != nil {
		e.Fatalf("%v", err)
	}
	e.Logf("about %d requests, %d runs, %d met the fault", total, n, met.Load())
	if met.Load() < 1 && e.volatile() {
		e.Errorf("no run met the fault")
	}
}

// engineFaultRequests is about how many requests a run makes, and how many of those that are reads, where counting them would take long.
const engineFaultRequests = 80

// noRequest is the number of a request that no run reaches.
const noRequest = 1 << 30

func (e *fsEnv) volatile() bool { return e.handle().Capabilities().Volatile }

// concurrently makes n runs, several at once, as they spend most of their time waiting.
func concurrently(n int, run func(i int) error) error {
	errs := make([]error, n)
	turns := make(chan struct{}, 6)
	var wg sync.WaitGroup
	for i := range n {
		turns <- struct{}{}
		wg.Go(func() {
			errs[i] = run(i)
			<-turns
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// engineFaultRun is one run: two owners, and a third when the fault is over.
func (e *fsEnv) engineFaultRun(eng Engine, what fault, at, run int) (requests int, hit bool, err error) {
	open := under(e.open, fmt.Sprintf("run%d", run))
	raw, err := open(e.ctx)
	if err != nil {
		return 0, false, err
	}
	defer raw.Close()
	i := &ill{what: what, at: at, raw: raw, unit: 2 * time.Millisecond}
	f := &engineFaulty{fsEnv: e, eng: eng, open: open, ill: i, clock: &clock{}, base: []int{0, 0}}
	if what == faultDead && eng.EndsProcess {
		f.silent = newStall(at, false, true) // what waits there waits for ever
	}
	for owner := range 2 {
		if err := f.own(); err != nil {
			return 0, false, fmt.Errorf("owner %d: %w", owner, err)
		}
	}
	i.late.Wait()
	n, hit := i.requests()
	if f.silent != nil {
		n, hit = f.silent.requests()
		f.silent.stop()
	}
	i.heal()
	if err := f.own(); err != nil {
		return 0, false, fmt.Errorf("the owner after the fault: %w", err)
	}
	return n, hit, nil
}

type engineFaulty struct {
	*fsEnv
	eng   Engine
	open  func(ctxType) (driver.Store, error)
	ill   *ill
	clock *clock
	last  *engineHistory
	base  []int

	silent *stall                    // instead of a fault: from a request on there are no answers
	gate   atomic.Pointer[gateStore] // of the last one who opened the store then
}

// options let a dead store be given up soon, and a sick one never: how long a retry takes is up to the machine. Nor is a store given up that only stays silent: its
// volume must not end, because the engine would end this process.
func (f *engineFaulty) options() *forstfs.Options {
	o := engineOptions()
	o.CacheBytes = -1 // reads reach the store
	if f.ill.kills() && f.silent == nil {
		o.RetryBudget = 50 * time.Millisecond
	}
	return o
}

// enter opens the database, which the fault may make fail, but not as if there were no database.
func (f *engineFaulty) enter(mustExist bool) (*life, map[string]string, error) {
	var errs []error
	for attempt := range 5 {
		if attempt == 4 {
			f.ill.heal() // a store that is dead for good
		}
		s, err := f.Open()
		if err != nil {
			return nil, nil, err
		}
		l, err := live(f.ctx, f.spared(), s, f.options(), mustExist)
		if err == nil {
			var got map[string]string
			if got, err = l.scan(); err == nil {
				return l, got, nil
			}
			l.die()
		}
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, forstfs.ErrNoVolume) || errors.Is(err, forstfs.ErrForeign) {
			return nil, nil, unexpected("a fault of the store looks like something missing: %w", err)
		}
		errs = append(errs, err)
		time.Sleep(3 * f.ill.unit)
	}
	return nil, nil, errors.Join(errs...)
}

// spared is the engine without faults for what it reads while it opens, if it is one that ends its process: to fail then, with work in the background, may
// do so.
func (f *engineFaulty) spared() Engine {
	eng := f.eng
	if eng.EndsProcess {
		eng.Open = func(vol *forstfs.FS, dir string, o EngineOptions) (Database, error) {
			f.ill.spareReads(true)
			defer f.ill.spareReads(false)
			return f.eng.Open(vol, dir, o)
		}
	}
	return eng
}

// Open opens the store with the fault in it.
func (f *engineFaulty) Open() (driver.Store, error) {
	s, err := f.open(f.ctx)
	if err != nil {
		return nil, err
	}
	if f.silent != nil {
		g := &gateStore{Store: &stallStore{s, f.silent}}
		f.gate.Store(g)
		return g, nil
	}
	return f.ill.wrap(s), nil
}

// enterUnlessSilent is enter; the answers may stop under it, and then there is no life.
func (f *engineFaulty) enterUnlessSilent() (*life, map[string]string, error) {
	mustExist := f.last != nil && f.last.acked()+f.base[0] > 0 // here: who stands still in there for ever reads nothing that changes
	if f.silent == nil {
		return f.enter(mustExist)
	}
	type entered struct {
		l   *life
		got map[string]string
		err error
	}
	done := make(chan entered, 1)
	go func() {
		l, got, err := f.enter(mustExist)
		done <- entered{l, got, err}
	}()
	var hit chan struct{}
	if _, met := f.silent.requests(); !met {
		hit = f.silent.hit
	}
	select {
	case x := <-done:
		return x.l, x.got, x.err
	case <-hit:
		f.gate.Load().shut()
		return nil, nil, nil
	}
}

// own takes the database over, judges what the owner before has left, works, and closes it.
func (f *engineFaulty) own() error {
	l, got, err := f.enterUnlessSilent()
	if err != nil || l == nil {
		return err
	}
	if f.last != nil {
		if f.base, err = f.last.judge(got, never); err != nil {
			l.die()
			return err
		}
	} else if len(got) > 0 {
		return fmt.Errorf("a new database holds %d keys", len(got))
	}
	h := newEngineHistory(f.clock, 21, f.base)
	f.last = h
	var wg sync.WaitGroup
	errs := make([]error, len(f.base))
	if f.silent != nil {
		defer l.endWith(f.silent.hit)()
	}
	for w := range f.base {
		wg.Go(func() { errs[w] = h.engineWork(l, w, 14) })
	}
	wg.Wait()
	err = errors.Join(errs...)
	if err == nil {
		err = h.closeWell(l)
	}
	if err == nil {
		return nil
	}
	l.die()
	_, met := f.ill.requests()
	if f.silent != nil {
		_, met = f.silent.requests()
		f.silent.stop()
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return unexpected("a fault of the store looks like a missing file: %w", err)
	case f.silent == nil && f.ill.kills(): // also before the fault: a busy store may need longer than what a dead one is given
		if met {
			f.ill.heal()
		}
		return nil
	case !met:
		return unexpected("an error without a fault: %w", err)
	case f.ill.what == faultDead:
		return nil
	case f.ill.metRead(): // an engine may give up for a read that fails; the next owner finds everything
		return nil
	}
	return unexpected("the database did not survive the fault: %w", err)
}
