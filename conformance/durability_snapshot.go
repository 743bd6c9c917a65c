package conformance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/mem"
)

// What is held against the promises here: a snapshot whose call has returned nil is there, until its removal is asked for, with exactly the content of the
// moment of the call; one that is there at all has that content; a removed one is gone for ever; a restore happens as a whole or not at all; and nothing
// that anybody needs is deleted, nor anything kept that nobody needs.

var snapshotCases = []DurabilityCase{
	{"snapshot/every-crash-point", false, func(e *fsEnv) { e.everySnapshotCrash(11, 45, 0) }},
	{"snapshot/every-crash-point-while-requests-overlap", false, func(e *fsEnv) { e.everySnapshotCrash(12, 35, 200*time.Microsecond) }},
	{"snapshot/every-request-error-before", true, func(e *fsEnv) { e.everySnapshotFault(faultBefore) }},
	{"snapshot/every-request-lost-reply", true, func(e *fsEnv) { e.everySnapshotFault(faultAfter) }},
	{"snapshot/every-request-lands-late", true, func(e *fsEnv) { e.everySnapshotFault(faultLate) }},
	{"snapshot/every-request-lands-twice", true, func(e *fsEnv) { e.everySnapshotFault(faultTwice) }},
	{"snapshot/dead-from-every-request", true, func(e *fsEnv) { e.everySnapshotFault(faultDead) }},
	{"snapshot/writer-stalled-before-every-request", false, func(e *fsEnv) { e.everySnapshotStall(false) }},
	{"snapshot/writer-stalled-after-every-request", false, func(e *fsEnv) { e.everySnapshotStall(true) }},
	{"snapshot/packed-for-it-alone", true, func(e *fsEnv) { e.packedForSnapshot() }},
}

// content is that of a volume: path to bytes, directories with a slash and none.
type content map[string]string

// snapRecord is what somebody did with a snapshot. Moments are of the clock; 0: not yet, done never: it failed, and may be there or not.
type snapRecord struct {
	name                           string
	asked, done, removing, removed int64
	want                           content
}

// restoreRecord is a restore: before and after are what the volume may hold while it runs.
type restoreRecord struct {
	asked, done   int64
	before, after content
}

// snapScript is one process at work, and all that was done to the volume's snapshots by whomever.
type snapScript struct {
	ctx      context.Context
	clock    *clock
	snaps    []*snapRecord
	restores []*restoreRecord
	n        int
	dying    bool // the store ends in the middle: calls may say so
}

// run makes steps on a volume, whose content is live, until it ends.
func (s *snapScript) run(v *forstfs.FS, live content, seed uint64, steps int) error {
	r := rand.New(rand.NewPCG(seed, 77))
	for i := range steps {
		if err := s.step(v, live, r, i); err != nil {
			if v.Err() != nil || ended(err) {
				return nil
			}
			if s.dying && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, io.EOF) {
				return nil // an upload of a file has failed, and says so
			}
			return fmt.Errorf("step %d: %w", i, err)
		}
	}
	return nil
}

func (s *snapScript) step(v *forstfs.FS, live content, r *rand.Rand, i int) error {
	ctx := s.ctx
	dir := []string{"/a", "/b"}[r.IntN(2)]
	name := fmt.Sprintf("%s/%d.%s", dir, r.IntN(4), []string{"log", "sst"}[r.IntN(2)])
	if i < 2 {
		live[[]string{"/a/", "/b/"}[i]] = ""
		return v.MkdirAll(ctx, []string{"/a", "/b"}[i])
	}
	switch k := r.IntN(20); {
	case k < 7:
		data := bytesOf(r.IntN(7000), r.Uint64())
		f, err := v.Create(ctx, name, nil)
		if err != nil {
			return err
		}
		live[name] = string(data)
		if _, err = f.Write(data); err == nil && r.IntN(2) == 0 {
			err = f.Sync()
		}
		return errors.Join(err, f.Close())
	case k < 9:
		if _, ok := live[name]; !ok {
			return nil
		}
		delete(live, name)
		return v.Remove(ctx, name)
	case k < 14 || len(s.snaps) == 0:
		return s.snapshot(v, live, []string{"", "/a", "/b"}[r.IntN(3)])
	case k < 16:
		return s.remove(v, s.snaps[r.IntN(len(s.snaps))])
	case k < 18:
		return s.restore(v, live, s.snaps[r.IntN(len(s.snaps))])
	case k < 19:
		return s.soft(v, v.Checkpoint(ctx))
	default:
		return s.soft(v, second(v.Sweep(ctx)))
	}
}

// soft lets a call fail that a fault of the store may end, if the volume lives on.
func (s *snapScript) soft(v *forstfs.FS, err error) error {
	if err != nil && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, io.EOF)) {
		return unexpected("a fault of the store looks like a missing file: %w", err)
	}
	return v.Err()
}

func (s *snapScript) snapshot(v *forstfs.FS, live content, dir string) error {
	q := &snapRecord{name: fmt.Sprintf("s%d", s.n), asked: s.clock.tick(), done: never, want: content{}}
	s.n++
	for p, b := range live {
		if dir == "" || strings.HasPrefix(p, dir+"/") {
			q.want[p] = b
		}
	}
	s.snaps = append(s.snaps, q)
	_, err := v.Snapshot(s.ctx, q.name, &forstfs.SnapshotOptions{Dir: dir, Meta: []byte(q.name)})
	if err == nil {
		q.done = s.clock.tick()
		return nil
	}
	return s.soft(v, err)
}

func (s *snapScript) remove(v *forstfs.FS, q *snapRecord) error {
	if q.removing == 0 {
		q.removing = s.clock.tick()
	}
	err := v.RemoveSnapshot(s.ctx, q.name)
	switch {
	case err == nil:
		q.removed = s.clock.tick()
	case errors.Is(err, forstfs.ErrNoSnapshot) && q.done != never && q.removed == 0 && q.removing == 0:
		return unexpected("the snapshot %s is gone: %w", q.name, err)
	default:
		return s.soft(v, err)
	}
	return nil
}

func (s *snapScript) restore(v *forstfs.FS, live content, q *snapRecord) error {
	if err := v.Sync(s.ctx); err != nil {
		return err
	}
	dir := ""
	after := maps.Clone(live)
	switch {
	case len(q.want) > 0 && q.want["/a/"] == "" && has(q.want, "/a/") && !has(q.want, "/b/"):
		dir = "/a/"
	case has(q.want, "/b/") && !has(q.want, "/a/"):
		dir = "/b/"
	}
	maps.DeleteFunc(after, func(p, _ string) bool { return strings.HasPrefix(p, dir) })
	maps.Copy(after, q.want)
	x := &restoreRecord{asked: s.clock.tick(), done: never, before: maps.Clone(live), after: after}
	s.restores = append(s.restores, x)
	err := v.Restore(s.ctx, q.name)
	if err == nil {
		x.done = s.clock.tick()
		clear(live)
		maps.Copy(live, after)
		return nil
	}
	if err := s.soft(v, err); err != nil {
		return err
	}
	got, err := contentOf(s.ctx, v) // it failed and did nothing, or the answer was lost
	if err != nil {
		return s.soft(v, err)
	}
	if !maps.Equal(got, x.before) && !maps.Equal(got, x.after) {
		return unexpected("a restore that failed left half of it")
	}
	clear(live)
	maps.Copy(live, got)
	x.asked, x.done = never, never // what is live may not be durable yet
	return nil
}

func has(c content, p string) bool { _, ok := c[p]; return ok }

func contentOf(ctx context.Context, v *forstfs.FS) (content, error) {
	c := content{}
	err := v.Walk(ctx, func(p string, info forstfs.FileInfo) error {
		if info.IsDir() {
			c[p+"/"] = ""
			return nil
		}
		f, err := v.Open(ctx, p, nil)
		if err != nil {
			return err
		}
		b, err := io.ReadAll(f)
		c[p] = string(b)
		return errors.Join(err, f.Close())
	})
	return c, err
}

// verify holds a volume, as it is found after a crash at the moment, against what was done. open gives its store.
func (s *snapScript) verify(v *forstfs.FS, open func(context.Context) (driver.Store, error), moment int64) error {
	listed, err := v.Snapshots(s.ctx)
	if err != nil {
		return err
	}
	found := map[string]forstfs.SnapshotInfo{}
	for _, l := range listed {
		if _, twice := found[l.Name]; twice {
			return fmt.Errorf("snapshot %s is listed twice", l.Name)
		}
		found[l.Name] = l
	}
	for _, q := range s.snaps {
		l, ok := found[q.name]
		delete(found, q.name)
		must := q.done < moment && (q.removing == 0 || q.removing > moment)
		may := q.asked < moment && (q.removed == 0 || q.removed > moment)
		switch {
		case must && (!ok || l.Doomed):
			return fmt.Errorf("lost snapshot: %s was acknowledged, and is gone (listed %v, doomed %v)", q.name, ok, l.Doomed)
		case ok && !may:
			return fmt.Errorf("snapshot %s is there, which was removed, or never taken", q.name)
		case !ok || l.Doomed:
			continue
		}
		if string(l.Meta) != q.name {
			return fmt.Errorf("snapshot %s has the meta %q", q.name, l.Meta)
		}
		if err := s.sameContent(open, q); err != nil {
			return fmt.Errorf("snapshot %s: %w", q.name, err)
		}
	}
	for name := range found {
		return fmt.Errorf("snapshot %s was never taken", name)
	}
	for _, x := range s.restores {
		if x.asked >= moment || x.done < moment {
			continue
		}
		got, err := contentOf(s.ctx, v)
		if err != nil {
			return err
		}
		if !maps.Equal(got, x.before) && !maps.Equal(got, x.after) {
			return errors.New("in the middle of a restore the volume is neither as before nor restored")
		}
	}
	return nil
}

func (s *snapScript) sameContent(open func(context.Context) (driver.Store, error), q *snapRecord) error {
	st, err := open(s.ctx)
	if err != nil {
		return err
	}
	o := smallOptions()
	o.CacheBytes = -1
	v, err := forstfs.OpenSnapshot(s.ctx, st, q.name, o)
	if err != nil {
		return err
	}
	got, err := contentOf(s.ctx, v)
	if err = errors.Join(err, v.Close()); err != nil {
		return err
	}
	if !maps.Equal(got, q.want) {
		return fmt.Errorf("it has %d entries, %d are wanted, or the bytes differ", len(got), len(q.want))
	}
	return nil
}

// goOn works with a volume that was found: it is imaged, trimmed and swept, and everything is still right; then everything is removed, and nothing is left.
func (s *snapScript) goOn(v *forstfs.FS, open func(context.Context) (driver.Store, error), moment int64) error {
	ctx := s.ctx
	house := func() error {
		for i := range 3 {
			if err := v.MkdirAll(ctx, fmt.Sprintf("/house%d", i)); err != nil {
				return err
			}
			if err := errors.Join(v.Checkpoint(ctx), second(v.Sweep(ctx))); err != nil {
				return err
			}
		}
		for i := range 3 {
			if err := v.Remove(ctx, fmt.Sprintf("/house%d", i)); err != nil {
				return err
			}
		}
		return errors.Join(v.Checkpoint(ctx), second(v.Sweep(ctx)))
	}
	if err := house(); err != nil {
		return fmt.Errorf("working with what was found: %w", err)
	}
	if err := s.verify(v, open, moment); err != nil {
		return fmt.Errorf("after images, trims and sweeps: %w", err)
	}
	st, err := open(ctx)
	if err != nil {
		return err
	}
	defer st.Close()
	exact := func() error {
		inv, err := takeInventory(ctx, st)
		if err != nil {
			return err
		}
		return errors.Join(inv.checkNeeded(ctx, st), inv.checkExact(ctx, st))
	}
	if err := exact(); err != nil {
		return err
	}
	left, err := v.Snapshots(ctx)
	if err != nil {
		return err
	}
	for _, l := range left {
		if err := v.RemoveSnapshot(ctx, l.ID); err != nil {
			return err
		}
	}
	if err := errors.Join(v.RemoveAll(ctx, "/a"), v.RemoveAll(ctx, "/b"), house()); err != nil {
		return err
	}
	for _, prefix := range []string{"data/", "snapshot/"} {
		all, err := driver.ListAll(ctx, st, prefix, "")
		if err != nil || len(all) > 0 {
			return errors.Join(err, fmt.Errorf("leak: %d objects below %s, and the volume is empty", len(all), prefix))
		}
	}
	return nil
}

// everySnapshotCrash records the script and recovers from each of its crash points.
func (e *fsEnv) everySnapshotCrash(seed uint64, steps int, slow time.Duration) {
	clk := &clock{}
	rec := &recording{clock: clk, slow: slow}
	s := &snapScript{ctx: e.ctx, clock: clk}
	v := e.mountOn(rec.wrap(e.store()), smallOptions())
	e.must(s.run(v, content{}, seed, steps))
	e.must(v.Err())
	e.close(v)
	muts := rec.ordered()
	landed := mem.NewBucket(nil)
	all, err := landed.Open("")
	e.must(err)
	points := 0
	for i, m := range muts {
		if m.end == never {
			break
		}
		var under []*mutation
		for _, x := range muts[i:] {
			if x.start < m.end {
				under = append(under, x)
			}
		}
		for variant := range 2 {
			if i < 8 && variant == 0 {
				continue // the volume is being made
			}
			b := landed.Snapshot()
			st, err := b.Open("")
			e.must(err)
			for _, x := range e.choose(under, variant, uint64(i)) {
				e.must(x.land(st))
			}
			points++
			open := func(context.Context) (driver.Store, error) { return b.Open("") }
			if points%3 == 0 { // who only reads sees the same, before a new owner's fence
				rs, err := b.Open("")
				e.must(err)
				r, err := forstfs.OpenReadOnly(e.ctx, rs, smallOptions())
				if err == nil {
					err = errors.Join(s.verify(r, open, m.end), r.Close())
				}
				if err != nil {
					e.Fatalf("crash point %d of %d (moment %d, variant %d), read-only: %v", i, len(muts), m.end, variant, err)
				}
			}
			w, err := forstfs.Open(e.ctx, st, smallOptions())
			if err == nil {
				if err = s.verify(w, open, m.end); err == nil && points%6 == 0 {
					err = s.goOn(w, open, m.end)
				}
				err = errors.Join(err, w.Close())
			}
			if err != nil {
				e.Fatalf("crash point %d of %d (moment %d, variant %d): %v", i, len(muts), m.end, variant, err)
			}
		}
		e.must(m.land(all))
	}
	e.Logf("%d crash points, %d snapshots, %d restores", points, len(s.snaps), len(s.restores))
	if points < 60 || len(s.snaps) < 5 || len(s.restores) < 2 {
		e.Errorf("only %d crash points with %d snapshots and %d restores", points, len(s.snaps), len(s.restores))
	}
}

// everySnapshotFault runs the script with the fault at the first request, the second, and so on.
func (e *fsEnv) everySnapshotFault(what fault) {
	step, unit := 1, time.Second
	if testing.Short() {
		step = 4
	}
	if !e.virtual {
		step, unit = 41, 10*time.Millisecond
	}
	runs := 0
	for at := 0; ; at += step {
		hit, err := e.snapshotFault(what, at, unit, runs)
		if err != nil {
			e.Fatalf("%s at request %d: %v", faultNames[what], at, err)
		}
		runs++
		if !hit {
			break
		}
	}
	e.Logf("%d runs", runs)
	if runs < 2 || step == 1 && runs < 30 {
		e.Errorf("only %d runs: the fault was not met", runs)
	}
}

func (e *fsEnv) snapshotFault(what fault, at int, unit time.Duration, run int) (hit bool, err error) {
	open := under(e.open, fmt.Sprintf("run%d", run))
	raw, err := open(e.ctx)
	if err != nil {
		return false, err
	}
	defer raw.Close()
	i := &ill{what: what, at: at, raw: raw, unit: unit}
	o := smallOptions()
	o.RetryBudget, o.CacheBytes, o.RequestInterval = 30*unit, -1, -1
	f := &faultOwner{fsEnv: e, open: open, ill: i, o: o, chain: &chain{}}
	v, err := f.mountIll()
	if err != nil {
		return false, err
	}
	s := &snapScript{ctx: e.ctx, clock: &clock{}, dying: what == faultDead}
	if err := s.run(v, content{}, 13, 24); err != nil {
		return false, errors.Join(err, v.Close())
	}
	failed := v.Err()
	cerr := v.Close()
	i.late.Wait()
	_, hit = i.requests()
	i.heal()
	if what != faultDead && (failed != nil || cerr != nil) {
		return hit, unexpected("the volume did not survive the fault: %w", errors.Join(failed, cerr))
	}
	st, err := open(e.ctx)
	if err != nil {
		return hit, err
	}
	w, err := forstfs.Open(e.ctx, st, smallOptions())
	if err != nil {
		return hit, err
	}
	if err = s.verify(w, open, never); err == nil {
		err = s.goOn(w, open, never)
	}
	return hit, errors.Join(err, w.Close())
}

// everySnapshotStall stops a writer at each of its requests, lets another one take over and work, and lets the first go on.
func (e *fsEnv) everySnapshotStall(after bool) {
	step := 1
	if testing.Short() {
		step = 3
	}
	if !e.handle().Capabilities().Volatile {
		step = 17
	}
	runs := 0
	for at := 0; ; at += step {
		hit, err := e.snapshotStall(at, after, runs)
		if err != nil {
			e.Fatalf("stopped at request %d: %v", at, err)
		}
		runs++
		if !hit {
			break
		}
	}
	e.Logf("%d runs", runs)
	if runs < 2 || step == 1 && runs < 20 {
		e.Errorf("only %d runs: the process was hardly stopped", runs)
	}
}

func (e *fsEnv) snapshotStall(at int, after bool, run int) (hit bool, err error) {
	open := under(e.open, fmt.Sprintf("run%d", run))
	st, err := open(e.ctx)
	if err != nil {
		return false, err
	}
	stop := newStall(at, after, false)
	o := smallOptions()
	o.CacheBytes, o.RequestInterval = -1, -1
	v, err := forstfs.Open(e.ctx, &stallStore{st, stop}, o)
	if err != nil {
		return false, err
	}
	s := &snapScript{ctx: e.ctx, clock: &clock{}}
	stop.start()
	over := make(chan error, 1)
	go func() { over <- s.run(v, content{}, 14, 22) }()
	select {
	case <-stop.hit:
		hit = true
	case err := <-over:
		stop.stop()
		select {
		case <-stop.hit: // in the background
			close(stop.free)
		default:
		}
		if err = errors.Join(err, v.Close()); err != nil {
			return false, err
		}
	}
	st2, err := open(e.ctx)
	if err != nil {
		return hit, err
	}
	w, err := forstfs.Open(e.ctx, st2, o)
	if err != nil {
		return hit, err
	}
	live, err := contentOf(e.ctx, w)
	if err == nil {
		delete(live, "/")
		theirs := &snapScript{ctx: e.ctx, clock: s.clock, n: 1000}
		err = errors.Join(w.MkdirAll(e.ctx, "/a"), w.MkdirAll(e.ctx, "/b"))
		live["/a/"], live["/b/"] = "", ""
		for range 3 {
			err = errors.Join(err, theirs.snapshot(w, live, ""), w.Checkpoint(e.ctx), second(w.Sweep(e.ctx)))
			f, ferr := w.Create(e.ctx, "/a/0.log", nil)
			if err = errors.Join(err, ferr); err != nil {
				break
			}
			live["/a/0.log"] = "theirs"
			_, werr := f.Write([]byte("theirs"))
			err = errors.Join(werr, f.Close())
		}
		if hit {
			close(stop.free)
			if oerr := <-over; oerr != nil && !ended(oerr) {
				err = errors.Join(err, fmt.Errorf("the first one, which went on: %w", oerr))
			}
			if cerr := v.Close(); cerr != nil && !ended(cerr) {
				err = errors.Join(err, fmt.Errorf("Close of the first: %w", cerr))
			}
		}
		s.snaps = append(s.snaps, theirs.snaps...)
		s.restores = nil // what is live is the second one's by now
	}
	if err == nil {
		err = s.verify(w, open, never)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		return hit, err
	}
	st3, err := open(e.ctx) // a late body of the first may have come after the second one's sweeps
	if err != nil {
		return hit, err
	}
	u, err := forstfs.Open(e.ctx, st3, o)
	if err != nil {
		return hit, err
	}
	if err = s.verify(u, open, never); err == nil {
		err = s.goOn(u, open, never)
	}
	return hit, errors.Join(err, u.Close())
}

// packedForSnapshot: the file goes in the very frame in which a pack has moved its bytes and a snapshot has begun. The object of the pack is the
// snapshot's alone, from its first moment on.
func (e *fsEnv) packedForSnapshot() {
	stop := newStall(0, false, false)
	stop.match = func(what, key string) bool { return what == "put" && strings.HasPrefix(key, "journal/") }
	v := e.mountOn(&stallStore{e.store(), stop}, smallOptions())
	f := e.create(v, "/1.log")
	var want []byte
	for i := range 12 {
		want = append(want, bytesOf(1500, uint64(i))...)
		e.write(f, want[len(want)-1500:])
		e.must(f.Sync())
	}
	e.must(f.Close())
	e.mkdir(v, "/d")
	stop.start()
	over := make(chan error, 2)
	go func() { over <- v.Sync(e.ctx) }() // its frame is stopped, and all else waits behind it
	<-stop.hit
	go func() { over <- second(v.Snapshot(e.ctx, "s", nil)) }()
	if e.virtual {
		synctest.Wait() // the pack and the begin are in the order
	} else {
		for len(e.keys("data/")) == 0 {
			e.must(e.ctx.Err())
		}
	}
	e.must(v.Remove(e.ctx, "/1.log"))
	close(stop.free)
	e.must(errors.Join(<-over, <-over))
	e.must(v.Sync(e.ctx))
	if e.virtual {
		time.Sleep(time.Minute) // what is to be deleted is
	}
	for range 2 {
		s, err := forstfs.OpenSnapshot(e.ctx, e.store(), "s", smallOptions())
		e.must(err)
		all, err := contentOf(e.ctx, s)
		e.must(errors.Join(err, s.Close()))
		if got := all["/1.log"]; got != string(want) && (e.virtual || len(all) > 1) {
			e.Fatalf("the file in the snapshot: %s", difference([]byte(got), want))
		}
		e.must(v.Checkpoint(e.ctx))
		e.must(second(v.Sweep(e.ctx)))
	}
	e.close(v)
	e.exact()
}
