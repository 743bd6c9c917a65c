package conformance

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/internal/journal"
)

// Churn takes snapshots, clones, drops, detaches and kills at random, for many steps, and in the end the store holds what is needed and nothing else.

// churn is many volumes below one root, of which processes die again and again.
type churn struct {
	*cloneScript
	r      *rand.Rand
	vols   map[string]*churned
	next   int
	size   int // of a file
	counts map[string]int
	budget time.Duration // for which a dead store is tried
}

// churned is a volume with what it must hold. Snapshots are by name.
type churned struct {
	v     *forstfs.FS
	ill   *ill
	files content
	snaps map[string]content
}

// open opens a place with a store that dies after some more requests, or never.
func (c *churn) mountChurned(name string) error {
	raw, err := under(c.cloneScript.open, name)(c.ctx)
	if err != nil {
		return err
	}
	m := c.vols[name]
	if m == nil {
		m = &churned{files: content{}, snaps: map[string]content{}}
		c.vols[name] = m
	}
	at := 1 << 30
	if c.r.IntN(3) > 0 {
		at = 8 + c.r.IntN(40)
	}
	m.ill = &ill{what: faultDead, at: at, raw: raw, unit: time.Millisecond}
	o := c.options()
	o.RetryBudget = c.budget
	if c.size >= largeChurn {
		o.ObjectSize = 256 << 10
	}
	m.v, err = forstfs.Open(c.ctx, m.ill.wrap(raw), o)
	if err != nil {
		c.counts["kills"]++
		m.ill.heal()
		return fmt.Errorf("volume %s: %w", name, err)
	}
	return nil
}

// reborn opens a volume anew whose process has died, and learns what of the last step happened.
func (c *churn) reborn(name string) error {
	m := c.vols[name]
	_ = m.v.Close()
	m.ill.late.Wait()
	c.counts["kills"]++
	for {
		err := c.mountChurned(name)
		if err == nil {
			break
		}
		if errors.Is(err, forstfs.ErrDropped) || errors.Is(err, forstfs.ErrNoVolume) || errors.Is(err, forstfs.ErrDamaged) {
			return err
		}
	}
	got, err := contentOf(c.ctx, m.v)
	if err != nil {
		if m.v.Err() != nil || m.ill.dead() {
			return c.reborn(name)
		}
		return err
	}
	m.files = got
	all, err := m.v.Snapshots(c.ctx)
	if err != nil {
		return err
	}
	here := map[string]bool{}
	for _, s := range all {
		here[s.Name] = here[s.Name] || !s.Doomed
	}
	maps.DeleteFunc(m.snaps, func(n string, _ content) bool { return !here[n] })
	return nil
}

func (i *ill) dead() bool { _, hit := i.requests(); return hit }

// step does one thing to one volume. An error of a volume that died on the way is none.
func (c *churn) step() error {
	names := slices.Sorted(maps.Keys(c.vols))
	name := names[c.r.IntN(len(names))]
	m := c.vols[name]
	err := c.act(name, m)
	if err == nil || !m.ill.dead() {
		return err
	}
	if c.vols[name] == nil {
		return nil
	}
	return c.reborn(name)
}

func (c *churn) act(name string, m *churned) error {
	file := fmt.Sprintf("/%d.sst", c.r.IntN(4))
	snap := ""
	if len(m.snaps) > 0 {
		names := slices.Sorted(maps.Keys(m.snaps))
		snap = names[c.r.IntN(len(names))]
	}
	switch k := c.r.IntN(20); {
	case k < 4:
		data := bytesOf(c.size/2+c.r.IntN(c.size/2), c.r.Uint64())
		f, err := m.v.Create(c.ctx, file, nil)
		if err != nil {
			return err
		}
		_, err = f.Write(data)
		if err = errors.Join(err, f.Close(), m.v.Sync(c.ctx)); err == nil {
			m.files[file] = string(data)
		}
		return err
	case k < 9:
		s := fmt.Sprintf("s%d", c.next)
		c.next++
		_, err := m.v.Snapshot(c.ctx, s, nil)
		if err == nil {
			m.snaps[s] = maps.Clone(m.files)
			c.counts["snapshots"]++
		}
		return err
	case k < 12 && snap != "" && len(m.snaps) > 2:
		err := m.v.RemoveSnapshot(c.ctx, snap)
		if err == nil || m.ill.dead() {
			delete(m.snaps, snap)
		}
		return err
	case k < 15 && snap != "" && len(c.vols) < 5:
		to := fmt.Sprintf("p%d", c.next)
		c.next++
		return c.cloneChurned(name, snap, to)
	case k < 17 && name != "a":
		err := m.v.Drop(c.ctx)
		switch {
		case errors.Is(err, forstfs.ErrHeld):
			clear(m.snaps) // a race with a cloner would doom them; here nobody races
			all, serr := m.v.Snapshots(c.ctx)
			for _, s := range all {
				if !s.Doomed {
					m.snaps[s.Name] = nil
				}
			}
			return serr
		case err == nil || errors.Is(m.v.Err(), forstfs.ErrDropped):
			c.counts["drops"]++
			_ = m.v.Close()
			m.ill.late.Wait()
			delete(c.vols, name)
			if err != nil {
				return c.finish(name)
			}
		case m.ill.dead():
			_ = m.v.Close()
			m.ill.late.Wait()
			if ferr := c.finish(name); ferr == nil {
				c.counts["drops"]++
				delete(c.vols, name)
				return nil
			}
		}
		return err
	case k < 18 && name != "a":
		c.counts["detached"]++
		return second(m.v.Detach(c.ctx, nil))
	case k < 19:
		return m.v.Checkpoint(c.ctx)
	default:
		return second(m.v.Sweep(c.ctx))
	}
}

// finish finishes a drop that died; an error means that the volume was not dropped.
func (c *churn) finish(name string) error {
	st, err := under(c.cloneScript.open, name)(c.ctx)
	if err != nil {
		return err
	}
	return errors.Join(forstfs.FinishDrop(c.ctx, st, c.options()), st.Close())
}

// cloneChurned clones, now and then with a cloner that dies on the way.
func (c *churn) cloneChurned(from, snap, to string) error {
	src, err := under(c.cloneScript.open, from)(c.ctx)
	if err != nil {
		return err
	}
	dst, err := under(c.cloneScript.open, to)(c.ctx)
	if err != nil {
		return err
	}
	at := 1 << 30
	if c.r.IntN(3) == 0 {
		at = c.r.IntN(14)
	}
	is, id := &ill{what: faultDead, at: at, raw: src, unit: time.Millisecond}, &ill{what: faultDead, at: at, raw: dst, unit: time.Millisecond}
	o := c.options()
	o.RetryBudget = c.budget
	_, err = forstfs.Clone(c.ctx, is.wrap(src), snap, id.wrap(dst), &forstfs.CloneOptions{Options: o, SourceURL: "../" + from, CloneURL: "../" + to})
	is.late.Wait()
	id.late.Wait()
	died := is.dead() || id.dead()
	if died {
		c.counts["dead cloners"]++
	}
	if cerr := errors.Join(src.Close(), dst.Close()); cerr != nil {
		return cerr
	}
	switch {
	case err == nil || died: // after a death the root may be there
		if err != nil {
			if _, rerr := c.mountRead(to); rerr != nil {
				return nil
			}
		}
		c.counts["clones"]++
		want := c.vols[from].snaps[snap]
		for {
			merr := c.mountChurned(to)
			if merr == nil {
				break
			}
			if errors.Is(merr, forstfs.ErrNoVolume) || errors.Is(merr, forstfs.ErrForeign) || errors.Is(merr, forstfs.ErrDropped) {
				return fmt.Errorf("the clone %s is gone: %w", to, merr)
			}
		}
		if want != nil {
			c.vols[to].files = maps.Clone(want)
		}
		got, gerr := contentOf(c.ctx, c.vols[to].v)
		if gerr != nil && c.vols[to].ill.dead() {
			return c.reborn(to)
		}
		if gerr == nil && want != nil && !maps.Equal(got, want) {
			gerr = fmt.Errorf("the clone %s does not have what the snapshot %s had", to, snap)
		}
		c.vols[to].files = got
		return gerr
	case errors.Is(err, forstfs.ErrSnapshotDoomed):
		return nil // the source borrows from a snapshot whose removal has begun
	}
	return err
}

// end brings everything to rest and counts what is left.
func (c *churn) end() (needed, stored int64, err error) {
	names := slices.Sorted(maps.Keys(c.vols))
	for _, name := range names {
		m := c.vols[name]
		_ = m.v.Close()
		m.ill.late.Wait()
	}
	for round := range 3 { // holds go first, then what they held
		for _, name := range names {
			st, err := under(c.cloneScript.open, name)(c.ctx)
			if err != nil {
				return 0, 0, err
			}
			_, err = forstfs.CollectHolds(c.ctx, st, &forstfs.HoldsOptions{Options: c.options(), Abandon: true})
			if err = errors.Join(err, st.Close()); err != nil {
				return 0, 0, err
			}
			v, err := c.mount(name)
			if err != nil {
				return 0, 0, err
			}
			dir := fmt.Sprintf("/end%d", round)
			err = errors.Join(second(v.Sweep(c.ctx)), v.MkdirAll(c.ctx, dir), v.Checkpoint(c.ctx), v.Remove(c.ctx, dir), v.Checkpoint(c.ctx), second(v.Sweep(c.ctx)))
			if err == nil && round == 2 {
				var got content
				got, err = contentOf(c.ctx, v)
				if err == nil && !maps.Equal(got, c.vols[name].files) {
					err = fmt.Errorf("the files of %s are not those that were acknowledged", name)
				}
			}
			if err = errors.Join(err, v.Close()); err != nil {
				return 0, 0, fmt.Errorf("volume %s, in the end: %w", name, err)
			}
		}
	}
	for _, name := range names {
		st, err := under(c.cloneScript.open, name)(c.ctx)
		if err != nil {
			return 0, 0, err
		}
		r, err := forstfs.Fsck(c.ctx, st, &forstfs.FsckOptions{Options: c.options(), Verify: true})
		if err = errors.Join(err, st.Close()); err == nil && (len(r.Findings) > 0 || r.Orphans+r.Pending > 0) {
			err = fmt.Errorf("%d orphans, %d pending, %v", r.Orphans, r.Pending, r.Findings)
		}
		if err != nil {
			return 0, 0, fmt.Errorf("fsck of %s: %w", name, err)
		}
		needed += r.Needed
	}
	root, err := c.cloneScript.open(c.ctx)
	if err != nil {
		return 0, 0, err
	}
	defer root.Close()
	var data int64
	for i, err := range root.List(c.ctx, "", "") {
		if err != nil {
			return 0, 0, err
		}
		stored += i.Size
		_, key, _ := strings.Cut(i.Key, "/")
		if strings.HasPrefix(key, journal.DataPrefix) || strings.HasPrefix(key, journal.SnapshotPrefix) {
			data += i.Size
		}
	}
	if data != needed {
		err = fmt.Errorf("data objects and bodies have %d bytes, %d are needed", data, needed)
	}
	return needed, stored, err
}

// Churn makes steps on fresh stores until so many snapshots, clones and drops were made, of files of up to size bytes, with processes that die at random; then it
// demands that the stores hold what is needed and nothing else.
func Churn(tb TB, m Maker, seed uint64, goal, size int) {
	tb.Helper()
	DurabilityCase{"clone/churn", false, func(e *fsEnv) { e.churnFor(seed, goal, size) }}.Run(tb, m)
}

// churnFor makes steps until so many snapshots, clones and drops were made.
func (e *fsEnv) churnFor(seed uint64, goal, size int) {
	c := &churn{cloneScript: &cloneScript{ctx: e.ctx, clock: &clock{}, open: e.open}, r: rand.New(rand.NewPCG(seed, 3)), vols: map[string]*churned{}, size: size,
		counts: map[string]int{}, budget: 5 * time.Millisecond}
	if !e.volatile() && os.Getenv("FORST_NIGHTLY") != "" {
		c.budget = 5 * time.Second // a server may be busy
	}
	for c.mountChurned("a") != nil {
	}
	for step := 0; c.counts["snapshots"]+c.counts["clones"]+c.counts["drops"] < goal; step++ {
		if err := c.step(); err != nil {
			e.Fatalf("seed %d, step %d: %v", seed, step, err)
		}
	}
	needed, stored, err := c.end()
	if err != nil {
		e.Fatalf("seed %d: %v", seed, err)
	}
	e.Logf("seed %d: %v; %d bytes are needed, %d are stored: %.3f %% more", seed, c.counts, needed, stored, 100*float64(stored-needed)/float64(needed))
	if size >= largeChurn && float64(stored) > 1.01*float64(needed) {
		e.Errorf("%d bytes are stored for %d", stored, needed)
	}
}

// largeChurn is the size of files from which on what is not data is less than a hundredth of what is.
const largeChurn = 512 << 10

var churnCases = []DurabilityCase{
	{"clone/churn", false, func(e *fsEnv) {
		goal := 60
		if e.volatile() {
			goal = 150
		}
		e.churnFor(1, goal, 6000)
	}},
}
