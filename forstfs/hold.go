package forstfs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/journal"
)

// The rules of docs/protocol.md, "Clones and holders":
//
//	cloner:  put the hold; then look in the lender's journal whether the snapshot is there and not doomed; then create the root.
//	deleter: doom the snapshot in the journal; then list the holds; only if there is none remove it; then delete.
//
// The doom is one-way, and it is in the one order of the journal: either the cloner sees it, or it came after the hold was durable, and the list shows the hold.

// ErrHeld means that clones borrow from a snapshot of this volume. Detach or drop them first; the error names them.
var ErrHeld = errors.New("clones need it")

// held is a hold beside a snapshot, by its key.
type held struct {
	snapshot string
	key      string
}

// listHolds lists the holds beside one snapshot, or beside all.
func listHolds(ctx context.Context, store driver.Store, snapshot string) ([]held, error) {
	prefix := journal.HoldPrefix
	if snapshot != "" {
		prefix += snapshot + "/"
	}
	var hs []held
	for info, err := range store.List(ctx, prefix, "") {
		if err != nil {
			return nil, fmt.Errorf("list the holds: %w", storeErr(err))
		}
		// Whatever lies there counts, understood or not.
		s, _, _ := strings.Cut(strings.TrimPrefix(info.Key, journal.HoldPrefix), "/")
		hs = append(hs, held{s, info.Key})
	}
	return hs, nil
}

// putAgain puts an object under a name that only this object ever has, again and again while the store is out of reach.
func putAgain(ctx context.Context, store driver.Store, key string, data []byte, budget time.Duration) error {
	deadline := time.Now().Add(budget)
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		err := store.Put(ctx, key, data, driver.PutOptions{})
		if err == nil || !retryable(err) || time.Now().Add(wait).After(deadline) {
			return storeErr(err)
		}
		if err := pause(ctx, wait); err != nil {
			return err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// heldBy is an error that names the holders.
func heldBy(ctx context.Context, store driver.Store, what string, hs []held) error {
	const most = 5
	var names []string
	for _, h := range hs[:min(len(hs), most)] {
		name := "hold " + h.key
		if b, err := driver.ReadAll(ctx, store, h.key); err == nil {
			if r, err := journal.DecodeHold(b); err == nil {
				name = fmt.Sprintf("the clone at %s (volume %s, by snapshot %s)", r.From, r.Clone, r.Snapshot)
			}
		}
		names = append(names, name)
	}
	if len(hs) > most {
		names = append(names, fmt.Sprintf("%d more", len(hs)-most))
	}
	slices.Sort(names)
	return fmt.Errorf("%s: %w: %s: detach or drop them first (a clone that was never born is given up by forst gc --abandoned)", what, ErrHeld, strings.Join(names, ", "))
}
