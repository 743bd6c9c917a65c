package forstfs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/journal"
	"github.com/forst-go/forst/internal/mutant"
)

// HoldState is what became of a clone that holds a snapshot.
type HoldState string

// The states of a hold, as the place of its clone shows them.
const (
	HoldAlive     HoldState = "alive"     // the clone is there and needs the snapshot
	HoldUnborn    HoldState = "unborn"    // no clone is there: its cloner is at work, or died
	HoldAbandoned HoldState = "abandoned" // the clone was never born and cannot be any more
	HoldDropped   HoldState = "dropped"   // the clone was dropped
	HoldGiven     HoldState = "given"     // the clone is there and does not know of the hold: it has given it back, or copied everything
	HoldUnknown   HoldState = "unknown"   // the place of the clone was not recorded, or cannot be read
)

// over reports whether nobody needs such a hold, for certain and for ever.
func (s HoldState) over() bool { return s == HoldAbandoned || s == HoldDropped || s == HoldGiven }

// HoldInfo describes a hold beside a snapshot of this volume.
type HoldInfo struct {
	Key      string
	Snapshot string // id
	Clone    string // volume id
	Place    string // of the clone, as the source records it
	Created  time.Time
	State    HoldState
	Removed  bool
	Err      error // why the state is unknown
}

// HoldsOptions change CollectHolds.
type HoldsOptions struct {
	// Options: OpenStore opens the places of clones; RetryBudget, Clock.
	Options *Options
	// Abandon gives up clones that were not born within AbandonAfter of their cloner's start, by the clocks of both: it makes their place a tombstone, so that they never can be. That is
	// safe whatever the clocks say; a cloner that is still at work then fails.
	Abandon      bool
	AbandonAfter time.Duration
	// DryRun only looks.
	DryRun bool
}

// CollectHolds looks after every hold beside the snapshots of the volume in store: it removes those of clones that were dropped, have given them back, or can
// never be born. It disturbs no writer. The store stays the caller's and must read, put and delete. An error says that something could not be listed or removed; holds whose
// state is unknown are no error.
func CollectHolds(ctx context.Context, store driver.Store, o *HoldsOptions) ([]HoldInfo, error) {
	if o == nil {
		o = &HoldsOptions{}
	}
	if err := o.Options.Validate(); err != nil {
		return nil, err
	}
	opts := o.Options.EnsureDefaults()
	ctx = driver.WithComponent(ctx, driver.CompGC)
	l, err := listHolds(ctx, store, "")
	if err != nil {
		return nil, err
	}
	infos := make([]HoldInfo, len(l))
	errs := make([]error, len(l))
	at := make([]int, len(l))
	for i := range at {
		at[i] = i
	}
	if len(at) == 0 {
		return nil, nil
	}
	err = parallel(at, func(i int) error {
		infos[i], errs[i] = collectHold(ctx, store, l[i], o, opts)
		return nil
	})
	return infos, errors.Join(append(errs, err)...)
}

func collectHold(ctx context.Context, store driver.Store, h held, o *HoldsOptions, opts *Options) (HoldInfo, error) {
	info := HoldInfo{Key: h.key, Snapshot: h.snapshot, State: HoldUnknown}
	b, err := driver.ReadAll(ctx, store, h.key)
	if driver.KindOf(err) == driver.KindNotExist {
		info.State, info.Removed = HoldGiven, true // at this moment
		return info, nil
	}
	var r *journal.Hold
	if err == nil {
		r, err = journal.DecodeHold(b)
	}
	if err != nil {
		info.Err = fmt.Errorf("read %s: %w", h.key, storeErr(err))
		return info, nil
	}
	info.Clone, info.Place, info.Created = r.Clone.String(), r.From, time.Unix(0, r.Created).UTC()
	switch {
	case r.From == "":
		info.Err = errors.New("the place of the clone was not recorded: it gives the hold back itself")
		return info, nil
	case opts.OpenStore == nil:
		info.Err = errors.New("Options.OpenStore is not set")
		return info, nil
	}
	place, err := opts.OpenStore(ctx, r.From)
	if err != nil {
		info.Err = fmt.Errorf("open the place of the clone: %w", storeErr(err))
		return info, nil
	}
	defer place.Close()
	if info.State, info.Err = holdState(ctx, place, r, opts); info.Err != nil {
		return info, nil
	}
	if info.State == HoldUnborn && o.Abandon && !o.DryRun && opts.Clock().Sub(info.Created) >= o.AbandonAfter {
		if err := abandon(ctx, place, r, opts); err != nil {
			return info, err
		}
		if info.State, info.Err = holdState(ctx, place, r, opts); mutant.On(mutHoldFirst) {
			info.State = HoldAbandoned
		}
	}
	if !info.State.over() || o.DryRun {
		return info, nil
	}
	if err := store.Delete(ctx, []string{h.key}); err != nil {
		return info, fmt.Errorf("remove %s: %w", h.key, storeErr(err))
	}
	info.Removed = true
	return info, nil
}

// holdState looks at the place of a clone.
func holdState(ctx context.Context, place driver.Store, h *journal.Hold, o *Options) (HoldState, error) {
	root, err := journal.ReadRoot(ctx, place)
	switch {
	case errors.Is(err, ErrNoVolume):
		return HoldUnborn, nil
	case err != nil:
		return HoldUnknown, err
	case root.Tombstone || root.Volume != h.Clone && !mutant.On(mutAnyRoot):
		return HoldAbandoned, nil // a root never goes: this clone never comes
	case h.Copies:
		return HoldGiven, nil // born: it has everything
	}
	if _, err := place.Stat(ctx, h.BorrowKey()); driver.KindOf(err) == driver.KindNotExist {
		return HoldGiven, nil // the record was there before the root, and goes only behind the hold
	} else if err != nil {
		return HoldUnknown, err
	}
	r, err := journal.OpenReader(ctx, place, &names{}, &journal.Options{RetryBudget: o.RetryBudget, Nonce: o.Nonce, Logger: o.Logger})
	switch {
	case errors.Is(err, ErrDropped):
		return HoldDropped, nil
	case err != nil:
		return HoldUnknown, err
	}
	return HoldAlive, r.Close()
}

// abandon makes sure that a clone can never be born, and removes what its cloner has left. A root that is there by now is not an error: whose it is decides.
func abandon(ctx context.Context, place driver.Store, h *journal.Hold, o *Options) error {
	if mutant.On(mutHoldFirst) {
		return nil
	}
	_, err := journal.CreateRoot(ctx, place, journal.RootOptions{Tombstone: true, Created: o.Clock(), Budget: o.RetryBudget, Nonce: o.Nonce})
	switch {
	case errors.Is(err, ErrExists):
		return nil
	case err != nil:
		return fmt.Errorf("make %s a tombstone: %w", h.From, storeErr(err))
	}
	return clearUnborn(ctx, place)
}

// clearUnborn deletes everything but the root from a place that is a tombstone: no volume will ever need it.
func clearUnborn(ctx context.Context, place driver.Store) error {
	var keys []string
	for info, err := range place.List(ctx, "", "") {
		if err != nil {
			return fmt.Errorf("list what an unfinished clone has left: %w", storeErr(err))
		}
		if info.Key != journal.RootKey && unborn(info.Key) {
			keys = append(keys, info.Key)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	if err := place.Delete(ctx, keys); err != nil {
		return fmt.Errorf("delete what an unfinished clone has left: %w", storeErr(err))
	}
	return nil
}
