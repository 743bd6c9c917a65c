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

// Drop ends the volume for ever: from its return on no process can use it, and its objects are deleted. While clones need its snapshots it is ErrHeld; then the volume
// lives on, but its snapshots are doomed. The prefix is not used
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
	return deleteData(ctx, v.store)
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
	return deleteData(ctx, store)
}

// unheld dooms all snapshots and refuses with ErrHeld while clones need one of them: what they read would go. The order is that of removeSnapshot.
func (v *FS) unheld(ctx context.Context) error {
	if v.journal.Err() != nil { // dropped before: it was asked then
		return nil
	}
	all, err := v.committed()
	if err != nil || len(all) == 0 {
		return err
	}
	var dooms []*namespace.Op
	for _, s := range all {
		dooms = append(dooms, &namespace.Op{Kind: namespace.SnapDoom, Snap: &namespace.SnapOp{ID: s.ID}})
	}
	if err := v.journal.Wait(ctx, v.enqueue(dooms...)); err != nil {
		return err
	}
	hs, err := listHolds(ctx, v.store, "")
	if err != nil {
		return err
	}
	here := map[string]bool{}
	for _, s := range all {
		here[s.ID.String()] = true
	}
	// A hold of a snapshot that is gone protects nothing: its cloner will find that out.
	hs = slices.DeleteFunc(hs, func(h held) bool { return !here[h.snapshot] })
	if len(hs) > 0 && !mutant.On(mutDropHeld) {
		return heldBy(ctx, v.store, "the volume lives on, its snapshots are doomed", hs)
	}
	return nil
}

// deleteData deletes all data objects, bodies of snapshots, and requests of a dropped volume.
func deleteData(ctx context.Context, store driver.Store) error {
	var keys []string
	for _, prefix := range []string{journal.DataPrefix, journal.SnapshotPrefix, journal.RequestPrefix} {
		for info, err := range store.List(ctx, prefix, "") {
			if err != nil {
				return fmt.Errorf("the volume is dropped, but its objects are not all deleted: %w", storeErr(err))
			}
			keys = append(keys, info.Key)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	if err := store.Delete(ctx, keys); err != nil {
		return fmt.Errorf("the volume is dropped, but its objects are not all deleted: %w", storeErr(err))
	}
	return nil
}
