package forstfs

import (
	"context"
	"fmt"
	"time"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/mutant"
)

// Refresh brings a read-only volume up to what is acknowledged now, and says whether anything changed: a GET and a LIST if nothing did. A writable volume is
// always up to date, one that shows a snapshot never changes.
func (v *FS) Refresh(ctx context.Context) (changed bool, err error) {
	if err := v.usable(); err != nil {
		return false, err
	}
	if !v.readOnly || v.frozen {
		return false, nil
	}
	select {
	case v.refreshing <- struct{}{}:
		defer func() { <-v.refreshing }()
	case <-ctx.Done():
		return false, ctx.Err()
	}
	return v.refresh(ctx)
}

// ShowsSnapshot reports whether the volume was opened by OpenSnapshot: it shows what was, and never changes.
func (v *FS) ShowsSnapshot() bool { return v.frozen }

// refresh is held by one at a time. What was acknowledged before it began is what it promises.
func (v *FS) refresh(ctx context.Context) (bool, error) {
	began := time.Since(v.opened)
	changed, err := v.reader.Refresh(driver.WithComponent(ctx, driver.CompOpen))
	if err == nil {
		if mutant.On(mutStaleLater) {
			began = time.Since(v.opened)
		}
		v.refreshed.Store(int64(began))
	}
	if err == nil && changed && v.local.Load() {
		err = v.fillLocal(ctx)
	}
	return changed, err
}

// staleness is how old the state of a follower may be: the time since its last successful refresh began.
func (v *FS) staleness() time.Duration {
	if !v.readOnly || v.frozen {
		return 0
	}
	return time.Since(v.opened) - time.Duration(v.refreshed.Load())
}

// fresh is called before a follower looks at names or bytes: with Options.MaxStaleness it refreshes first when the state is older. Those who come
// meanwhile wait for the same refresh. No lock is held.
func (v *FS) fresh(ctx context.Context) error {
	limit := v.o.MaxStaleness
	if limit <= 0 || v.staleness() <= limit || v.closed.Load() {
		return nil
	}
	select {
	case v.refreshing <- struct{}{}:
		defer func() { <-v.refreshing }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if v.staleness() <= limit {
		return nil
	}
	if _, err := v.refresh(ctx); err != nil {
		return fmt.Errorf("the state is %v old, MaxStaleness is %v: %w", v.staleness().Round(time.Millisecond), limit, storeErr(err))
	}
	return nil
}
