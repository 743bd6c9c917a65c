package conformance

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/mem"
)

var engineCrashCases = []EngineCase{
	{"crash/one-writer", func(e *fsEnv, eng Engine) { e.engineCrashPoints(eng, 11, 1, 120) }},
	{"crash/concurrent-writers", func(e *fsEnv, eng Engine) { e.engineCrashPoints(eng, 12, 4, 40) }},
}

// engineOptions are those of a volume below an engine: everything happens often, and nothing is sent that nobody asked for.
func engineOptions() *forstfs.Options {
	o := smallOptions()
	o.FrameLimit, o.ImageFrames, o.ImageBytes = 16<<10, 40, 1<<20
	o.RetryBudget = watchdog
	return o
}

// portion is how many of n things a run looks at: at night all of them in memory, and more of them than by day where requests take real time.
func (e *fsEnv) portion(n, most int) int {
	switch {
	case os.Getenv("FORST_NIGHTLY") == "" && testing.Short(): // the run with the race detector
		most = max(2, most/5)
	case os.Getenv("FORST_NIGHTLY") == "":
	case e.volatile():
		return n
	default:
		most *= 8
	}
	return min(n, most)
}

// owners runs lives one after the other, each of which closes the database; the last one is left as it is.
func (e *fsEnv) engineOwners(eng Engine, rec *recording, seed uint64, workers, steps, owners int) []*engineHistory {
	e.Helper()
	base := make([]int, workers)
	var all []*engineHistory
	for owner := range owners {
		l, err := live(e.ctx, eng, rec.wrap(e.store()), engineOptions(), owner > 0)
		e.must(err)
		h := newEngineHistory(rec.clock, seed, base)
		all = append(all, h)
		var wg sync.WaitGroup
		for w := range workers {
			wg.Go(func() {
				if err := h.engineWork(l, w, steps); err != nil {
					e.Errorf("owner %d: %v", owner, err)
				}
			})
		}
		wg.Wait()
		if e.Failed() {
			l.die()
			e.Fatalf("seed %d: the work itself failed", seed)
		}
		if owner == owners-1 {
			l.die()
			break
		}
		e.must(h.closeWell(l))
		for w := range base {
			base[w] += steps
		}
	}
	return all
}

// engineCrashPoints records the work of two owners and recovers from its crash points: another machine opens the database there and must find
// a state that the history allows, and dies in turn, and the next one finds the same or what was added.
func (e *fsEnv) engineCrashPoints(eng Engine, seed uint64, workers, steps int) {
	points := 25
	if !e.volatile() { // recording takes long there, and what is checked is the same
		steps, points = steps/2, 12
	}
	c := &clock{}
	rec := &recording{clock: c, slow: 200 * time.Microsecond}
	owners := e.engineOwners(eng, rec, seed, workers, steps, 2)
	muts := rec.ordered()
	n := 0
	for _, m := range muts {
		if m.end != never {
			n++
		}
	}
	chosen := map[int]bool{}
	for _, i := range rand.New(rand.NewPCG(seed, 1)).Perm(n)[:e.portion(n, points)] {
		chosen[i] = true
	}
	landed := mem.NewBucket(nil)
	all, err := landed.Open("")
	e.must(err)
	checked := 0
	for i, m := range muts[:n] {
		if chosen[i] {
			at := pointAt(muts, i)
			under := at.under
			for variant := range 3 {
				part := e.choose(under, variant, uint64(i))
				if variant == 2 && len(under) < 2 || variant > 0 && part == nil {
					continue
				}
				b := landed.Snapshot()
				st, err := b.Open("")
				e.must(err)
				e.must(at.land(st, part))
				checked++
				if err := e.engineRecover(eng, b, owners, m.end); err != nil {
					e.Fatalf("seed %d, crash point %d of %d (moment %d, %d of %d requests under way have landed): %v", seed, i, n, m.end, len(part), len(under), err)
				}
			}
		}
		e.must(m.land(all))
	}
	e.Logf("%d crash points checked, %d changes of the store", checked, len(muts))
	if checked < e.portion(n, points) {
		e.Errorf("only %d crash points", checked)
	}
}

// engineRecover opens what a crash has left, twice: the first one to do so works a little and dies.
func (e *fsEnv) engineRecover(eng Engine, b *mem.Bucket, owners []*engineHistory, moment int64) error {
	h := owners[0]
	for _, x := range owners[1:] {
		for w := range x.workers {
			if c := x.workers[w].commits; len(c) > 0 && c[0].start < moment {
				h = x
			}
		}
	}
	st, err := b.Open("")
	e.must(err)
	mustExist := false
	for w := range h.workers {
		mustExist = mustExist || h.workers[w].base > 0
		for _, c := range h.workers[w].commits {
			mustExist = mustExist || c.durable < moment
		}
	}
	l, err := live(e.ctx, eng, st, engineOptions(), mustExist)
	if err != nil {
		return err
	}
	got, err := l.scan()
	if err != nil {
		return err
	}
	found, err := h.judge(got, moment)
	if err != nil {
		return err
	}
	// What comes after the crash is a history of its own.
	next := newEngineHistory(h.clock, h.seed, found)
	if err := next.engineWork(l, len(found)-1, 3); err != nil {
		return fmt.Errorf("working with what was recovered: %w", err)
	}
	l.die()
	st, err = b.Open("")
	e.must(err)
	l, err = live(e.ctx, eng, st, engineOptions(), true)
	if err != nil {
		return fmt.Errorf("the second recovery: %w", err)
	}
	if got, err = l.scan(); err == nil {
		_, err = next.judge(got, never)
	}
	if err != nil {
		return fmt.Errorf("the second recovery: %w", err)
	}
	return errors.Join(l.Close())
}
