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

// Drop ends the volume for ever: from its return on no process can use it, and its objects are deleted. What a clone borrows is given back. While clones need
// a snapshot of the volume it refuses with ErrHeld, and names them. The prefix is not used
// again. The volume is closed for everything but Close. After an error it may be dropped or not: call Drop again; another process, for which Open
// says ErrDropped, calls FinishDrop.
func (v *FS) Drop(ctx context.Context) error {
	if err := v.writable(); err != nil && !errors.Is(err, ErrDropped) {
		return err
	}
	if err := v.packer.lock(ctx); err != nil {
		return err
	}
	defer v.packer.unlock()
	ctx = driver.WithComponent(ctx, driver.CompGC)
	if err := v.unheld(ctx); err != nil {
		return storeErr(fmt.Errorf("drop: %w", err))
	}
	if err := v.journal.Drop(ctx); err != nil {
		return storeErr(fmt.Errorf("drop: %w", err))
	}
	// Uploads that are under way would land behind the deletion, and nobody would ever sweep them.
	for range cap(v.uploads) {
		select {
		case v.uploads <- struct{}{}:
			defer func() { <-v.uploads }()
		case <-ctx.Done():
			return fmt.Errorf("the volume is dropped, but objects are still on their way to it: %w", ctx.Err())
		}
	}
	return deleteData(ctx, v.store, v.o)
}

// FinishDrop deletes what is left of a volume whose Drop was interrupted: one for which Open says ErrDropped. It refuses any other with ErrNotDropped, may run beside another one, and
// may be repeated. The store stays the caller's.
func FinishDrop(ctx context.Context, store driver.Store, o *Options) error {
	if err := o.Validate(); err != nil {
		return err
	}
	d := o.EnsureDefaults()
	ctx = driver.WithComponent(ctx, driver.CompGC)
	err := journal.FinishDrop(ctx, store, &journal.Options{RetryBudget: d.RetryBudget, Nonce: d.Nonce, Logger: d.Logger})
	if err != nil {
		return fmt.Errorf("volume %s: %w", o.named(store), storeErr(err))
	}
	return deleteData(ctx, store, d)
}

// unheld refuses while clones need a snapshot: what they read would go. It first looks, and changes nothing then; when nobody is seen it dooms all snapshots and looks
// again, because a cloner may have come meanwhile.
func (v *FS) unheld(ctx context.Context) error {
	if v.journal.Err() != nil { // dropped before: it was asked then
		return nil
	}
	if mutant.On(mutDropHeld) {
		return nil
	}
	if err := v.held(ctx); err != nil {
		return err
	}
	v.mu.Lock()
	v.dropping = true // no snapshot is begun or committed any more
	v.mu.Unlock()
	err := v.doomAll(ctx)
	if err == nil {
		if err = v.held(ctx); err != nil {
			err = fmt.Errorf("%w (the volume lives on, but its snapshots are doomed)", err)
		}
	}
	if err != nil {
		v.mu.Lock()
		v.dropping = false
		v.mu.Unlock()
	}
	return err
}

// held refuses if anybody holds a snapshot of the acknowledged namespace.
func (v *FS) held(ctx context.Context) error {
	hs, err := listHolds(ctx, v.store, "")
	if err != nil {
		return err
	}
	v.machine.mu.Lock()
	hs = slices.DeleteFunc(hs, func(h held) bool {
		id, ok := parseSnapshotID(h.snapshot)
		if ok {
			_, ok = v.machine.acked.Snapshot(id)
		}
		return !ok
	})
	v.machine.mu.Unlock()
	if len(hs) == 0 {
		return nil
	}
	return heldBy(ctx, v.store, "nothing was dropped", hs)
}

func (v *FS) doomAll(ctx context.Context) error {
	if err := v.wait(ctx); err != nil {
		return err
	}
	all, err := v.committed()
	if err != nil || len(all) == 0 {
		return err
	}
	var dooms []*namespace.Op
	for _, s := range all {
		dooms = append(dooms, &namespace.Op{Kind: namespace.SnapDoom, Snap: &namespace.SnapOp{ID: s.ID}})
	}
	return v.journal.Wait(ctx, v.enqueue(dooms...))
}

// deleteData deletes all data objects, bodies of snapshots, holds that came too late, and requests of a dropped volume, and gives back what it borrows.
func deleteData(ctx context.Context, store driver.Store, o *Options) error {
	var keys []string
	for _, prefix := range []string{journal.DataPrefix, journal.SnapshotPrefix, journal.HoldPrefix, journal.RequestPrefix} {
		for info, err := range store.List(ctx, prefix, "") {
			if err != nil {
				return fmt.Errorf("the volume is dropped, but its objects are not all deleted: %w", storeErr(err))
			}
			keys = append(keys, info.Key)
		}
	}
	if len(keys) > 0 {
		if err := store.Delete(ctx, keys); err != nil {
			return fmt.Errorf("the volume is dropped, but its objects are not all deleted: %w", storeErr(err))
		}
	}
	return giveAll(ctx, store, o)
}
