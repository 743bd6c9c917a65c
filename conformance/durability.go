package conformance

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
)

// DurabilityCase is one way to break a process or a store, with the check that a volume keeps its promises.
type DurabilityCase struct {
	Name  string
	waits bool // it spends most of its time waiting
	run   func(*fsEnv)
}

// Run checks one case on fresh stores. A case that spends its time waiting takes virtual time when tb is a *testing.T and the store is volatile; elsewhere it
// does a part of its work, in real time.
func (c DurabilityCase) Run(tb TB, m Maker) {
	tb.Helper()
	run := func(tb TB, virtual bool) {
		c.run(&fsEnv{TB: tb, ctx: context.WithoutCancel(tb.Context()), open: m.Fresh(tb), last: new(sync.Map), virtual: virtual})
	}
	if t, ok := tb.(*testing.T); ok && c.waits && m.volatile(tb) {
		synctest.Test(t, func(t *testing.T) { run(t, true) })
		return
	}
	run(tb, false)
}

func (m Maker) volatile(tb TB) bool {
	s, err := m.Fresh(tb)(tb.Context())
	if err != nil {
		tb.Fatalf("opening the store: %v", err)
	}
	defer s.Close()
	return s.Capabilities().Volatile
}

// DurabilityCases lists all cases in the order in which RunDurability runs them. Those that need several processes are in RunKills, those with
// virtual time in RunSimulation.
func DurabilityCases() []DurabilityCase {
	return slices.Concat(readBackCases, crashCases, faultCases, zombieCases, snapshotCases, cloneCases, churnCases)
}

// RunDurability checks that a volume on the stores of m keeps its promises: whatever is acknowledged is there after a crash at
// any moment and any fault of the store, and what is there is a state that was.
func RunDurability(t *testing.T, m Maker) {
	for _, c := range DurabilityCases() {
		t.Run(c.Name, func(t *testing.T) { c.Run(t, m) })
	}
}

// recovered opens a volume as the next process would and reads all of it.
func recovered(ctx context.Context, s driver.Store, o *forstfs.Options) (*forstfs.FS, found, error) {
	v, err := forstfs.Open(ctx, s, o)
	if err != nil {
		return nil, nil, err
	}
	f, err := take(ctx, v)
	if err != nil {
		_ = v.Close()
		return nil, nil, err
	}
	return v, f, nil
}
