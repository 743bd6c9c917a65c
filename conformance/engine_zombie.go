package conformance

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
)

var engineZombieCases = []EngineCase{
	{"zombie/stalled-before-a-request", func(e *fsEnv, eng Engine) { e.engineStalls(eng, false) }},
	{"zombie/stalled-after-a-request", func(e *fsEnv, eng Engine) { e.engineStalls(eng, true) }},
}

// engineStalls stops a database at requests all over its work, opens it from elsewhere, works there, and lets the first go on. It must not be acknowledged any
// more, and change nothing.
func (e *fsEnv) engineStalls(eng Engine, after bool) {
	most := 12
	if !e.volatile() {
		most = 3
	}
	const steps = 40
	total := 2 * steps
	n := e.portion(total, most)
	var hits atomic.Int64
	err := concurrently(n, func(i int) error {
		z := &engineZombie{fsEnv: e, eng: eng, clock: &clock{}, stall: newStall(i*total/n, after, false)}
		z.open = under(e.open, fmt.Sprintf("run%d", i))
		hit, err := z.run(steps)
		if hit {
			hits.Add(1)
		}
		if err != nil {
			return fmt.Errorf("stopped at request %d: %w", z.stall.at, err)
		}
		return nil
	})
	if err != nil {
		e.Fatalf("%v", err)
	}
	e.Logf("%d runs, stopped in %d", n, hits.Load())
	if hits.Load() < 1 {
		e.Errorf("the database was never stopped")
	}
}

type engineZombie struct {
	*fsEnv
	eng   Engine
	open  func(ctxType) (driver.Store, error)
	clock *clock
	stall *stall
}

func (z *engineZombie) live(s *stall, mustExist bool) (*life, error) {
	st, err := z.open(z.ctx)
	if err != nil {
		return nil, err
	}
	if s != nil {
		st = &stallStore{st, s}
	}
	o := engineOptions()
	o.Force = true
	return live(z.ctx, z.eng, st, o, mustExist)
}

func (z *engineZombie) run(steps int) (hit bool, err error) {
	first, err := z.live(z.stall, false)
	if err != nil {
		return false, err
	}
	defer first.die()
	h := newEngineHistory(z.clock, 31, []int{0})
	if err := h.engineWork(first, 0, 3); err != nil { // so that there is a database to take over
		return false, err
	}
	z.stall.start()
	over := make(chan error, 1)
	go func() { over <- h.engineWork(first, 0, steps) }()
	select {
	case <-z.stall.hit:
		hit = true
	case err := <-over:
		z.stall.stop()
		select {
		case <-z.stall.hit: // something in the background
			hit = true
			over <- err
		default:
			if err != nil {
				return false, err
			}
		}
	}
	if hit && z.eng.EndsProcess {
		// RunEngineZombies lets it go on. Here it must not even make its other requests from now on: it would learn that it is fenced, and end this process.
		first.die()
	}
	free := func() {
		if hit {
			close(z.stall.free)
		}
	}
	next, err := z.live(nil, true)
	if err != nil {
		free()
		return hit, fmt.Errorf("taking over: %w", err)
	}
	defer next.die()
	got, err := next.scan()
	var found []int
	if err == nil {
		found, err = h.judge(got, never)
	}
	if err != nil {
		free()
		return hit, err
	}
	h2 := newEngineHistory(z.clock, h.seed, found)
	err = h2.engineWork(next, 0, 15)
	free()
	if err != nil {
		return hit, fmt.Errorf("the new owner: %w", err)
	}
	if hit && !z.eng.EndsProcess {
		if err := z.settle(first, over); err != nil {
			return hit, err
		}
	}
	if err := h2.engineWork(next, 0, 5); err != nil {
		return hit, fmt.Errorf("the new owner, after the first went on: %w", err)
	}
	if _, err := h.judge(got, never); err != nil { // with what the first was told after it went on
		return hit, fmt.Errorf("after the first went on: %w", err)
	}
	if err := h2.closeWell(next); err != nil {
		return hit, fmt.Errorf("the new owner was disturbed: %w", err)
	}
	last, err := z.live(nil, true)
	if err != nil {
		return hit, err
	}
	if got, err = last.scan(); err == nil {
		_, err = h2.judge(got, never)
	}
	if err != nil {
		return hit, err
	}
	return hit, last.Close()
}

// settle waits until the first owner knows that it is fenced, or has ended its work. It learns it at its next durable write; a database that has nothing left
// to write need not.
func (z *engineZombie) settle(first *life, over chan error) error {
	select {
	case <-first.vol.Failed():
		if err := first.vol.Err(); !errors.Is(err, forstfs.ErrFenced) {
			return unexpected("the first owner's volume says %w", err)
		}
	case err := <-over:
		if err != nil && errors.As(err, new(errUnexpected)) {
			return err
		}
	case <-time.After(watchdog):
		return errors.New("the first owner goes on for ever")
	}
	return nil
}
