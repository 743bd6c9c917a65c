package forstfs

import (
	"context"
	"errors"
	"fmt"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/journal"
)

// Drop ends the volume for ever: from its return on no process can use it, and its objects are deleted. The prefix is not used
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

// deleteData deletes all data objects of a dropped volume.
func deleteData(ctx context.Context, store driver.Store) error {
	var keys []string
	for info, err := range store.List(ctx, journal.DataPrefix, "") {
		if err != nil {
			return fmt.Errorf("the volume is dropped, but its data objects are not all deleted: %w", storeErr(err))
		}
		keys = append(keys, info.Key)
	}
	if len(keys) == 0 {
		return nil
	}
	if err := store.Delete(ctx, keys); err != nil {
		return fmt.Errorf("the volume is dropped, but its data objects are not all deleted: %w", storeErr(err))
	}
	return nil
}
