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

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
)

// The script of the cases of snapshots: what a process does with a volume and its snapshots, and what must be found afterwards.

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
