package forstfs

import (
	"context"
	"errors"
	"fmt"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/journal"
	"github.com/forst-go/forst/internal/mutant"
	"github.com/forst-go/forst/internal/namespace"
)

// A clone gives a hold back when nothing of it needs the lender any more: no file and no snapshot of the acknowledged namespace, and no open handle of this
// process. First the hold in the lender goes, then the record of it here; both may be repeated. What is not needed once is never needed again, so a writer that
// was fenced meanwhile does no harm.

// borrowing counts, for each lender, the containers that somebody here needs.
func (v *FS) borrowing() map[journal.VolumeID]int {
	need := map[journal.VolumeID]int{}
	count := func(c namespace.Container) {
		if l := v.lender(c); l != nil {
			need[l.owner.Volume]++
		}
	}
	v.machine.mu.Lock()
	needed := v.machine.acked.Needed
	if mutant.On(mutHoldOfFiles) {
		needed = v.machine.acked.Containers
	}
	if !mutant.On(mutHoldIssued) {
		for c := range needed() {
			count(c)
		}
	}
	v.machine.mu.Unlock()
	v.mu.Lock()
	if mutant.On(mutHoldIssued) {
		for c := range v.live.Needed() {
			count(c)
		}
	}
	for c := range v.pins {
		if !mutant.On(mutHoldOfHandles) {
			count(c)
		}
	}
	v.mu.Unlock()
	return need
}

// giveBack gives back the holds that this volume needs no more. It returns those that it still has.
func (v *FS) giveBack(ctx context.Context) (still []*journal.Hold, err error) {
	if err := v.writable(); err != nil {
		return nil, err
	}
	holds, err := readBorrows(ctx, v.store)
	if err != nil {
		return nil, err
	}
	need := v.borrowing()
	var errs []error
	for _, h := range holds {
		switch {
		case h.Clone != v.id:
			// A cloner that lost the race for this place left it; what it holds in the lender is found there.
			errs = append(errs, v.store.Delete(ctx, []string{h.BorrowKey()}))
		case need[h.Lender] > 0:
			still = append(still, h)
		default:
			errs = append(errs, giveHold(ctx, v.store, h, v.o.OpenStore))
		}
	}
	err = storeErr(errors.Join(errs...))
	v.gave.Store(err == nil && len(still) == 0)
	return still, err
}

// giveHold removes a hold from its lender, then the record of it.
func giveHold(ctx context.Context, store driver.Store, h *journal.Hold, open func(context.Context, string) (driver.Store, error)) error {
	if open == nil {
		return fmt.Errorf("give back the hold in volume %s at %s: Options.OpenStore is not set", h.Lender, h.At)
	}
	lender, err := open(ctx, h.At)
	switch driver.KindOf(err) {
	case driver.KindNoStore, driver.KindNotExist: // nobody is left who keeps anything for us
	default:
		if err == nil {
			err = errors.Join(lender.Delete(ctx, []string{h.HeldKey()}), lender.Close())
		}
		if err != nil {
			return fmt.Errorf("give back the hold in volume %s at %s: %w", h.Lender, h.At, storeErr(err))
		}
	}
	if err := store.Delete(ctx, []string{h.BorrowKey()}); err != nil {
		return fmt.Errorf("forget the hold in volume %s: %w", h.Lender, storeErr(err))
	}
	return nil
}

// giveAll gives back everything that a dropped volume holds.
func giveAll(ctx context.Context, store driver.Store, o *Options) error {
	holds, err := readBorrows(ctx, store)
	if err != nil {
		return fmt.Errorf("the volume is dropped, but what it borrows is not given back: %w", err)
	}
	var errs []error
	for _, h := range holds {
		errs = append(errs, giveHold(ctx, store, h, o.OpenStore))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("the volume is dropped, but what it borrows is not all given back: repeat it: %w", err)
	}
	return nil
}

// DetachInfo says what Detach did.
type DetachInfo struct {
	Objects int   // copied
	Bytes   int64 // in them
	Given   int   // holds given back
	Still   int   // holds that stay; Why says for what
	Why     string
}

// Detach makes a clone stand alone: it copies what files of the volume still borrow, on the server where the store can, and then gives the holds back. The
// volume can be used meanwhile. nil means: what could be given back is; see DetachInfo.Still. It may be interrupted and repeated; what was copied stays copied.
// progress, which may be nil, is given bytes.
func (v *FS) Detach(ctx context.Context, progress func(done, total int64)) (DetachInfo, error) {
	var info DetachInfo
	if err := v.writable(); err != nil {
		return info, err
	}
	ctx = driver.WithComponent(ctx, driver.CompSnapshot)
	err := v.detach(ctx, &info, progress)
	if err != nil {
		return info, fmt.Errorf("detach: %w", storeErr(err))
	}
	return info, nil
}

func (v *FS) detach(ctx context.Context, info *DetachInfo, progress func(done, total int64)) error {
	if progress == nil {
		progress = func(int64, int64) {}
	}
	if err := v.Sync(ctx); err != nil {
		return err
	}
	before, err := readBorrows(ctx, v.store)
	if err != nil {
		return err
	}
	copies := map[namespace.Container]namespace.Container{}
	if err := v.copyBorrowed(ctx, copies, info, progress); err != nil {
		return err
	}
	still, err := v.giveBack(ctx)
	if err != nil {
		return err
	}
	info.Given, info.Still = len(before)-len(still), len(still)
	if len(still) > 0 {
		info.Why = v.whyBorrowing()
	}
	return nil
}

// copyBorrowed copies every borrowed container that files of the acknowledged namespace refer to, and moves the files' extents there. Whoever removes a file meanwhile
// makes a copy unnecessary: it goes again.
func (v *FS) copyBorrowed(ctx context.Context, copies map[namespace.Container]namespace.Container, info *DetachInfo, progress func(done, total int64)) error {
	for { // a Restore of an older snapshot may bring borrowed extents back
		v.machine.mu.Lock()
		placed := v.machine.acked.Borrowed()
		v.machine.mu.Unlock()
		if len(placed) == 0 {
			return nil
		}
		if err := v.copyContainers(ctx, placed, copies, info, progress); err != nil {
			return err
		}
		if err := v.moveExtents(ctx, placed, copies); err != nil {
			return err
		}
	}
}

// copyContainers copies the containers of extents that have no copy yet.
func (v *FS) copyContainers(ctx context.Context, placed []namespace.Placed, copies map[namespace.Container]namespace.Container, info *DetachInfo, progress func(done, total int64)) error {
	var todo []moved
	var done, total int64
	for _, p := range placed {
		c := p.Extent.Container
		if _, ok := copies[c]; ok {
			continue
		}
		_, to := v.newObject(int64(c.CRC))
		copies[c] = to
		todo = append(todo, moved{from: c, to: to})
		total += int64(c.CRC)
	}
	progress(0, total)
	tell := make(chan struct{}, 1)
	memory := newBudget(copyMemory)
	return parallel(todo, func(m moved) error {
		defer memory.release(int64(m.from.CRC))
		for at, ok := memory.tryAt(int64(m.from.CRC)); !ok; at, ok = memory.tryAt(int64(m.from.CRC)) {
			memory.wait(at)
		}
		var err error
		if m.store, err = v.storeOf(ctx, m.from); err != nil {
			return err
		}
		err = v.get(ctx, m.from, func(driver.Store) error { return m.copy(ctx, v.store, v.o) })
		if err == nil {
			err = v.Err() // a dead volume gets nothing any more
		}
		if err != nil {
			return err
		}
		tell <- struct{}{}
		info.Objects++
		info.Bytes += int64(m.from.CRC)
		done += int64(m.from.CRC)
		progress(done, total)
		<-tell
		return nil
	})
}

// moveExtents puts packs into the order that move extents to the copies, and waits for them.
func (v *FS) moveExtents(ctx context.Context, placed []namespace.Placed, copies map[namespace.Container]namespace.Container) error {
	var pos uint64
	for len(placed) > 0 {
		k := min(len(placed), packOpExtents)
		op := namespace.Op{Kind: namespace.Pack}
		for _, p := range placed[:k] {
			to := p.Extent
			to.Container = copies[p.Extent.Container]
			op.Packs = append(op.Packs, namespace.Repack{Inode: p.Inode, FileOff: p.FileOff, Old: p.Extent, New: to})
		}
		placed = placed[k:]
		v.mu.Lock()
		pos = v.journal.Enqueue(op.AppendTo(nil), nil)
		v.mu.Unlock()
	}
	if err := v.journal.Wait(ctx, pos); err != nil {
		return err
	}
	v.machine.mu.Lock()
	var unused []namespace.Container
	for _, to := range copies {
		if !v.machine.acked.Needs(to) {
			unused = append(unused, to)
		}
	}
	v.machine.mu.Unlock()
	v.mu.Lock()
	for _, c := range unused {
		if v.pins[c] == 0 {
			v.gc.add(c)
		}
	}
	v.mu.Unlock()
	for from, to := range copies {
		for _, c := range unused {
			if c == to {
				delete(copies, from)
			}
		}
	}
	return nil
}

// whyBorrowing names what still needs a lender.
func (v *FS) whyBorrowing() string {
	v.mu.Lock()
	handles := 0
	for c := range v.pins {
		if c.Owner != 0 {
			handles++
		}
	}
	v.mu.Unlock()
	v.machine.mu.Lock()
	defer v.machine.mu.Unlock()
	why := ""
	if handles > 0 {
		why = "open handles of removed files"
	}
	for _, s := range v.machine.acked.Snapshots() {
		for _, c := range s.Containers {
			if c.Owner != 0 {
				if why != "" {
					why += ", "
				}
				why += fmt.Sprintf("snapshot %q", s.Name)
				break
			}
		}
	}
	return why
}
