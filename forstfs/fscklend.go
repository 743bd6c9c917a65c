package forstfs

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/journal"
	"github.com/forst-go/forst/internal/mutant"
	"github.com/forst-go/forst/internal/namespace"
)

// checkLenders looks whether everything that is borrowed is there, and whether the lenders know.
func (k *checker) checkLenders(ctx context.Context) error {
	borrowed := map[uint32][]namespace.Container{}
	for c := range k.m.state.Needed() {
		if c.Owner != 0 {
			borrowed[c.Owner] = append(borrowed[c.Owner], c)
			if c.Kind == namespace.Frame {
				k.found(Damage, "", 0, k.pathsOf(c), "bytes in frame %d of another volume: a clone cannot have them", c.Num)
			}
		}
	}
	holds, err := readBorrows(ctx, k.store)
	if err != nil {
		return err
	}
	byLender := map[journal.VolumeID]*journal.Hold{}
	for _, h := range holds {
		if h.Clone == k.reader.Volume() {
			byLender[h.Lender] = h
		} else {
			k.found(Leak, h.BorrowKey(), 0, nil, "record of a clone that was never born here")
		}
	}
	for i, owner := range k.m.state.Owners() {
		cs := borrowed[uint32(i)+1]
		h := byLender[owner.Volume]
		delete(byLender, owner.Volume)
		switch {
		case len(cs) == 0 && h != nil:
			k.found(Leak, h.BorrowKey(), 0, nil, "hold in volume %s, which the clone needs no more: its writer gives it back at its next sweep", h.Lender)
		case len(cs) == 0:
		case h == nil && !mutant.On(mutFsckHolds):
			k.found(Damage, "", 0, k.pathsOf(cs[0]), "the clone borrows from volume %x at %s without a hold: the lender may delete what it needs", owner.Volume, owner.URL)
		}
		if len(cs) > 0 && k.o.OpenStore != nil {
			if err := k.checkLender(ctx, owner, h, cs); err != nil {
				return err
			}
		} else if len(cs) > 0 {
			k.found(Note, "", 0, nil, "not looked at volume %x at %s, which lends: Options.OpenStore is not set", owner.Volume, owner.URL)
		}
	}
	return nil
}

// checkLender looks into one lender.
func (k *checker) checkLender(ctx context.Context, owner namespace.Owner, h *journal.Hold, cs []namespace.Container) error {
	store, err := k.o.OpenStore(ctx, owner.URL)
	switch driver.KindOf(err) {
	case driver.KindNoStore, driver.KindNotExist:
		k.found(Damage, "", 0, k.pathsOf(cs[0]), "the place %s of volume %x, which lends, is gone: %v", owner.URL, owner.Volume, err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("open the store of volume %x at %s: %w", owner.Volume, owner.URL, err)
	}
	defer store.Close()
	sizes := map[string]int64{}
	for _, prefix := range []string{journal.DataPrefix, journal.SnapshotPrefix, journal.HoldPrefix} {
		for info, err := range store.List(ctx, prefix, "") {
			if err != nil {
				return fmt.Errorf("list volume %x at %s: %w", owner.Volume, owner.URL, err)
			}
			sizes[info.Key] = info.Size
		}
	}
	for _, c := range cs {
		key := objectKey(c)
		size, ok := sizes[key]
		switch {
		case !ok:
			k.found(Damage, key, 0, k.pathsOf(c), "borrowed object is missing in volume %x at %s", owner.Volume, owner.URL)
		case c.Kind == namespace.Object && size != int64(c.CRC), c.Kind == namespace.Body && size < int64(c.CRC):
			k.found(Damage, key, size, k.pathsOf(c), "borrowed object of %d bytes in volume %x at %s, want %d", size, owner.Volume, owner.URL, c.CRC)
		}
	}
	if h == nil {
		return nil
	}
	if _, ok := sizes[h.HeldKey()]; !ok {
		k.found(Damage, h.HeldKey(), 0, nil, "the hold is missing in volume %x at %s, which may delete what the clone needs", owner.Volume, owner.URL)
	}
	m, r, err := look(ctx, store, &Options{Name: owner.URL, RetryBudget: k.o.RetryBudget, Logger: k.o.Logger})
	if err != nil {
		k.found(Damage, "", 0, nil, "volume %x at %s, which lends, cannot be read: %v", owner.Volume, owner.URL, err)
		return nil
	}
	defer r.Close()
	epoch, nonce, num, _ := journal.ParseSnapshotKey(journal.SnapshotPrefix + h.Snapshot)
	s, ok := m.state.Snapshot(namespace.SnapshotID{Epoch: epoch, Nonce: nonce, Num: num})
	switch {
	case r.Volume() != owner.Volume:
		k.found(Damage, "", 0, nil, "at %s is volume %s, the clone borrows from %x", owner.URL, r.Volume(), owner.Volume)
	case !ok || !s.Committed:
		k.found(Damage, h.HeldKey(), 0, nil, "volume %x at %s does not have snapshot %s, which the clone holds", owner.Volume, owner.URL, h.Snapshot)
	default:
		for _, c := range cs {
			own := c
			own.Owner = 0
			if !slices.Contains(s.Containers, own) && own != s.BodyContainer() && !mutant.On(mutFsckKept) {
				k.found(Damage, objectKey(c), 0, k.pathsOf(c), "snapshot %s of volume %x at %s does not keep this object for the clone", h.Snapshot, owner.Volume, owner.URL)
			}
		}
	}
	return nil
}

// checkHolds looks whether who holds a snapshot of this volume is there, and whether what is held is.
func (k *checker) checkHolds(ctx context.Context) error {
	hs, err := CollectHolds(ctx, k.store, &HoldsOptions{Options: k.fo.Options, DryRun: true})
	if err != nil {
		return err
	}
	for _, h := range hs {
		epoch, nonce, num, _ := journal.ParseSnapshotKey(journal.SnapshotPrefix + h.Snapshot)
		_, there := k.m.state.Snapshot(namespace.SnapshotID{Epoch: epoch, Nonce: nonce, Num: num})
		switch {
		case h.State == HoldAlive && !there && !mutant.On(mutFsckHeld):
			k.found(Damage, h.Key, 0, nil, "the clone at %s lives and holds snapshot %s, which is gone", h.Place, h.Snapshot)
		case h.State.over():
			k.found(Leak, h.Key, 0, nil, "hold of a clone at %s that needs nothing any more (%s)", h.Place, h.State)
		case h.State == HoldUnborn:
			k.found(Note, h.Key, 0, nil, "hold of a clone at %s that is not born yet, since %s: its cloner is at work or died", h.Place, h.Created.Format("2006-01-02T15:04:05Z"))
		case h.State == HoldUnknown:
			k.found(Note, h.Key, 0, nil, "hold of a clone at %q, of which nothing is known: %v", h.Place, errors.Join(h.Err))
		}
	}
	return nil
}
