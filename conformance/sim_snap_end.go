package conformance

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/journal"
)

// finishSnaps checks every snapshot and every clone when everything has come to rest: all that must be there is, as it must be, before and after everybody has collected
// garbage. Then everything is removed, and nothing may be left. v is the last owner of the source.
func (s *simulation) finishSnaps(v *forstfs.FS, r *rand.Rand) error {
	p := s.net.proc(s.ids.Add(1))
	listed, err := v.Snapshots(s.ctx)
	if err != nil {
		return err
	}
	found := map[string]forstfs.SnapshotInfo{}
	for _, l := range listed {
		found[l.Name] = l
	}
	whole := ""
	snaps, clones := s.snaps.known()
	for _, q := range snaps {
		l, ok := found[q.name]
		if s.snaps.there(q) && (!ok || l.Doomed) {
			return fmt.Errorf("lost snapshot: %s was acknowledged and is not there (listed %v, doomed %v)", q.name, ok, l.Doomed)
		}
		if ok && !l.Doomed {
			whole = q.name
			s.lookAt(p, r, q)
		}
	}
	if err := errors.Join(v.Checkpoint(s.ctx), second(v.Sweep(s.ctx))); err != nil {
		return err
	}
	if err := s.refusedDrop(p, v, r); err != nil {
		return err
	}
	for _, c := range clones {
		if err := s.finishClone(p, r, c); err != nil {
			return fmt.Errorf("the clone %s of %s: %w", c.root, c.of.name, err)
		}
	}
	if err := s.fsck(p, simSource); err != nil {
		return err
	}
	if whole != "" {
		if err := s.restoreOne(p, v, r, whole); err != nil {
			return fmt.Errorf("restore %s: %w", whole, err)
		}
	}
	return s.removeAllSnaps(p, v, r)
}

// restoreOne: the volume becomes exactly what the snapshot is.
func (s *simulation) restoreOne(p *simProc, v *forstfs.FS, r *rand.Rand, name string) error {
	show, err := forstfs.OpenSnapshot(s.ctx, p.store(), name, s.snapOptions(p, r))
	if err != nil {
		return err
	}
	want, err := take(s.ctx, show)
	if err = errors.Join(err, show.Close(), v.Restore(s.ctx, name)); err != nil {
		return err
	}
	got, err := take(s.ctx, v)
	if err != nil {
		return err
	}
	same := func(x, y foundEntry) bool { return x.dir == y.dir && string(x.data) == string(y.data) }
	if !maps.EqualFunc(got, want, same) {
		return fmt.Errorf("the volume has %s, the snapshot %s", got, want)
	}
	s.net.note("restore")
	return nil
}

// refusedDrop: who lends to a clone that lives cannot be dropped.
func (s *simulation) refusedDrop(p *simProc, v *forstfs.FS, r *rand.Rand) error {
	holds, err := forstfs.CollectHolds(s.ctx, p.store(), &forstfs.HoldsOptions{Options: s.snapOptions(p, r), DryRun: true})
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(holds, func(h forstfs.HoldInfo) bool { return h.State == forstfs.HoldAlive }) {
		return nil
	}
	s.net.note("drop of a lender")
	if err := v.Drop(s.ctx); !errors.Is(err, forstfs.ErrHeld) {
		return unexpected("Drop of a lender that a clone needs: %v", err)
	}
	return nil
}

// finishClone opens a clone once more, if there is one, checks it, and makes it stand alone.
func (s *simulation) finishClone(p *simProc, r *rand.Rand, c *simClone) error {
	o := s.snapOptions(p, r)
	o.Create, o.Force = forstfs.MustExist, true
	v, err := forstfs.Open(s.ctx, p.storeAt(c.root), o)
	born, _ := s.snaps.told(c)
	unborn := errors.Is(err, forstfs.ErrNoVolume) || errors.Is(err, forstfs.ErrDropped) || errors.Is(err, forstfs.ErrForeign)
	switch {
	case err != nil && unborn && !born:
		return nil
	case err != nil:
		return err
	}
	if err := s.readClone(c, v); err != nil {
		return errors.Join(err, v.Close())
	}
	if err := s.fsck(p, c.root); err != nil {
		return errors.Join(err, v.Close())
	}
	if err := s.finishKept(p, r, c, v); err != nil {
		return errors.Join(err, v.Close())
	}
	info, err := v.Detach(s.ctx, nil)
	if err == nil && info.Still > 0 {
		err = fmt.Errorf("%d holds stay: %s", info.Still, info.Why)
	}
	if err == nil {
		err = s.readClone(c, v)
	}
	time.Sleep(time.Minute)
	if err = errors.Join(err, v.Checkpoint(s.ctx), second(v.Sweep(s.ctx)), v.Close()); err != nil {
		return err
	}
	s.net.note("clone at the end")
	return s.exactly(c.root)
}

// finishKept reads the snapshots of a clone, and removes them.
func (s *simulation) finishKept(p *simProc, r *rand.Rand, c *simClone, v *forstfs.FS) error {
	_, kept := s.snaps.told(c)
	for _, name := range kept {
		show, err := forstfs.OpenSnapshot(s.ctx, p.storeAt(c.root), name, s.snapOptions(p, r))
		if err != nil {
			return fmt.Errorf("its snapshot %s: %w", name, err)
		}
		if err := errors.Join(s.readClone(c, show), show.Close()); err != nil {
			return fmt.Errorf("its snapshot %s: %w", name, err)
		}
	}
	left, err := v.Snapshots(s.ctx)
	if err != nil {
		return err
	}
	for _, l := range left {
		if err := v.RemoveSnapshot(s.ctx, l.ID); err != nil {
			return err
		}
	}
	return nil
}

// fsck must find nothing wrong.
func (s *simulation) fsck(p *simProc, root string) error {
	report, err := forstfs.Fsck(s.ctx, p.storeAt(root), &forstfs.FsckOptions{Options: &forstfs.Options{OpenStore: p.open}, Verify: true})
	if err != nil {
		return fmt.Errorf("fsck of %s: %w", root, err)
	}
	if i := slices.IndexFunc(report.Findings, func(f forstfs.Finding) bool { return f.Severity == forstfs.Damage }); i >= 0 {
		return fmt.Errorf("fsck of %s: %v", root, report.Findings[i])
	}
	return nil
}

// removeAllSnaps removes all snapshots, and the holds of clones that were never born.
func (s *simulation) removeAllSnaps(p *simProc, v *forstfs.FS, r *rand.Rand) error {
	holds, err := forstfs.CollectHolds(s.ctx, p.store(), &forstfs.HoldsOptions{Options: s.snapOptions(p, r), Abandon: true})
	if err != nil {
		return err
	}
	// A cloner that told nobody where its clone would lie, and died, leaves a hold for ever: that is what it is warned of.
	st, err := s.net.bucket.Open(simSource)
	if err != nil {
		return err
	}
	for _, h := range holds {
		switch {
		case h.Removed:
			s.net.note("hold collected")
		case h.Place == "":
			s.net.note("hold without a place")
			if err := st.Delete(s.ctx, []string{h.Key}); err != nil {
				return err
			}
		default:
			return fmt.Errorf("the hold %s of %s stays, and nobody needs it: %s, %w", h.Key, h.Place, h.State, h.Err)
		}
	}
	left, err := v.Snapshots(s.ctx)
	if err != nil {
		return err
	}
	for _, l := range left {
		if err := v.RemoveSnapshot(s.ctx, l.ID); err != nil {
			return err
		}
	}
	if left, err = v.Snapshots(s.ctx); err != nil || len(left) > 0 {
		return errors.Join(err, fmt.Errorf("%d snapshots are left after the removal of all", len(left)))
	}
	time.Sleep(time.Minute)
	return second(v.Sweep(s.ctx))
}

// exactly checks that a root holds what its volume needs and nothing else.
func (s *simulation) exactly(root string) error {
	st, err := s.net.bucket.Open(root)
	if err != nil {
		return err
	}
	inv, err := takeInventory(s.ctx, st)
	if err != nil {
		return err
	}
	return errors.Join(inv.checkNeeded(s.ctx, st), inv.checkExact(s.ctx, st))
}

// noSnaps checks that nothing of snapshots and clones is left in the source, but bodies that restored files refer to.
func (s *simulation) noSnaps(st driver.Store, inv *inventory) error {
	if !s.snaps.on {
		return nil
	}
	for _, prefix := range []string{journal.SnapshotPrefix, "hold/", "request/"} {
		all, err := driver.ListAll(s.ctx, st, prefix, "")
		if err != nil {
			return err
		}
		for _, info := range all {
			if !inv.needed[info.Key] {
				return fmt.Errorf("leak: %s is left, and there are no snapshots", info.Key)
			}
		}
	}
	return nil
}
