package conformance

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/mem"
	"github.com/forst-go/forst/internal/localdisk/memdisk"
)

// PlacedCase is a promise about volumes with files on a local disk.
type PlacedCase struct {
	Name string
	run  func(*placedEnv)
}

// placedEnv is what a case runs in: a store, more of them, and how files are placed.
type placedEnv struct {
	*fsEnv
	p     Placed
	fresh func() func(context.Context) (driver.Store, error)
}

// PlacedCases lists the cases of RunPlacement in their order.
func PlacedCases() []PlacedCase { return placedCases }

var placedCases = []PlacedCase{
	{"place/power-loss-at-every-point", powerLoss},
	{"place/every-disk-error", diskErrors},
	{"place/a-lost-disk-is-refused", lostDisk},
	{"place/renames-and-links-cross", crossings},
	{"place/sync-honours-the-lag", lagBound},
	{"place/a-fenced-log-learns-of-it", fencedLog},
}

// RunPlacement checks what is promised about volumes with files on a local disk: the machine loses power at each moment, each operation on the disk fails, the disk is lost, files
// change sides. The disk is one in memory that knows what was synced; the store is the maker's.
func RunPlacement(t *testing.T, m Maker, p Placed) {
	for _, c := range placedCases {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), watchdog)
			t.Cleanup(cancel)
			c.run(&placedEnv{&fsEnv{TB: t, ctx: ctx, open: m.Fresh(t), last: new(sync.Map)}, p, func() func(context.Context) (driver.Store, error) { return m.Fresh(t) }})
		})
	}
}

// frozen lets moments be copied in which no change of the store is under way.
type frozen struct {
	driver.Store
	world  *sync.RWMutex
	before func()
}

func (f *frozen) Put(ctx context.Context, key string, p []byte, o driver.PutOptions) error {
	f.before()
	f.world.RLock()
	defer f.world.RUnlock()
	return f.Store.Put(ctx, key, p, o)
}

func (f *frozen) Delete(ctx context.Context, keys []string) error {
	f.before()
	f.world.RLock()
	defer f.world.RUnlock()
	return f.Store.Delete(ctx, keys)
}

// moment is a state of the world.
type moment struct {
	plan  *placedPlan
	disk  *memdisk.Disk
	store *mem.Bucket
	what  string
}

// powerLoss loses power before each operation on the disk and each change of the store: what was promised then is found, with the disk that is left, on which
// some or all of what was not synced has arrived.
func powerLoss(e *placedEnv) {
	seed := uint64(time.Now().UnixNano())
	defer func() {
		if e.Failed() {
			e.Logf("seed %d", seed)
		}
	}()
	r := rand.New(rand.NewPCG(seed, 1))
	raw := e.handle()
	var world sync.RWMutex
	var moments []moment
	s := newPlacedScript(e.fsEnv, e.p)
	disk, n := memdisk.New(), 0
	every := 1
	if !e.volatile() || testing.Short() {
		every = 9
	}
	skip := r.IntN(every)
	look := func(what string) {
		world.Lock()
		defer world.Unlock()
		if n++; (n+skip)%every != 0 {
			return
		}
		s.mu.Lock()
		m := moment{plan: s.plan.clone(), what: what}
		s.mu.Unlock()
		m.store = e.copied(raw)
		m.disk = disk.Crash(r)
		all := m
		all.plan, all.disk, all.store, all.what = m.plan.clone(), disk.Killed(), m.store.Snapshot(), what+", with all that was written"
		moments = append(moments, m, all)
	}
	disk.Before = func(op, name string) error { look(op + " " + name); return nil }
	for gen := range 2 {
		e.must(s.mount(&frozen{e.store(), &world, func() { look("store") }}, disk))
		e.must(s.life(gen + 1))
		e.must(s.v.Close())
		s.covered()
	}
	look("the end")
	for i, m := range moments {
		st := func() driver.Store {
			st, err := m.store.Open("")
			e.must(err)
			return st
		}
		if err := s.judge(st, m.disk, m.plan); err != nil {
			e.Fatalf("moment %d of %d, before %s: %v", i, len(moments), m.what, err)
		}
	}
	if least := 160 / every; len(moments) < least {
		e.Errorf("only %d moments", len(moments))
	}
}

// copied is what a store holds, in memory.
func (e *fsEnv) copied(from driver.Store) *mem.Bucket {
	to := mem.NewBucket(nil)
	st, err := to.Open("")
	e.must(err)
	for info, err := range from.List(e.ctx, "", "") {
		e.must(err)
		data, err := driver.ReadAll(e.ctx, from, info.Key)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		e.must(err)
		e.must(st.Put(e.ctx, info.Key, data, driver.PutOptions{}))
	}
	return to
}

// diskErrors lets each operation on the disk fail, once or from then on. Nothing that was acknowledged is lost, not even what is acknowledged after the error, and the error says what it is.
func diskErrors(e *placedEnv) {
	every := 1
	if !e.volatile() || testing.Short() {
		every = 7
	}
	for _, why := range []syscall.Errno{syscall.ENOSPC, syscall.EIO} {
		for _, once := range []bool{true, false} {
			for at := 0; ; at += every {
				if !diskError(e, why, once, at) {
					break
				}
			}
		}
	}
}

// diskError is a run with one error; false: it did not come to it.
func diskError(e *placedEnv, why syscall.Errno, once bool, at int) bool {
	run := *e.fsEnv
	run.open = e.fresh()
	s := newPlacedScript(&run, e.p)
	disk := memdisk.New()
	var mu sync.Mutex
	n, met := 0, false
	disk.Before = func(op, name string) error {
		mu.Lock()
		defer mu.Unlock()
		n++
		if op == "remove" || n <= at || once && met || why == syscall.ENOSPC && op == "rename" {
			return nil
		}
		met = true
		return why
	}
	what := fmt.Sprintf("%v at operation %d (once: %v)", why, at, once)
	failed := s.mount(run.store(), disk)
	if failed == nil {
		failed = s.life(1)
		for name := range s.open { // an engine might go on
			if err := s.sync(name); err != nil && errors.Is(err, fs.ErrNotExist) {
				e.Fatalf("%s: it looks like a missing file: %v", what, err)
			}
		}
		_ = s.v.Close() // its error is that of the disk, if anything depends on it
	}
	mu.Lock()
	hit := met
	mu.Unlock()
	switch {
	case !hit && failed != nil:
		e.Fatalf("%s: an error without a fault: %v", what, failed)
	case failed != nil && errors.Is(failed, fs.ErrNotExist):
		e.Fatalf("%s: it looks like a missing file: %v", what, failed)
	case failed != nil && (!errors.Is(failed, why) || !strings.Contains(failed.Error(), "local directory")):
		e.Fatalf("%s: the error does not say what failed where: %v", what, failed)
	}
	left := disk.Crash(rand.New(rand.NewPCG(uint64(at), 3)))
	if err := s.judge(run.store, left, s.plan); err != nil {
		e.Fatalf("%s, which gave %v: %v", what, failed, err)
	}
	return hit
}
