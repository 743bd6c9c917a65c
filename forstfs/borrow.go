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
