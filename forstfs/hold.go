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
	"github.com/forst-go/forst/internal/mutant"
)

// The rules of docs/protocol.md, "Clones and holders":
//
//	cloner:  put the hold; look for the flag of the removal, then for the body; create the root.
//	deleter: put the flag; list the holds; only if there is none let the snapshot go; remove the flag behind the body.
//
// The flag is one-way: nobody takes it back while the snapshot exists.

// ErrHeld: clones borrow from a snapshot of this volume. Detach or drop them first; the error names them.
var ErrHeld = errors.New("clones need it")

// held is a hold, or what is known of one, beside a snapshot.
type held struct {
	snapshot string
	id       journal.HoldID
	key      string
}

// holdList is what one LIST says about a volume's snapshots.
type holdList struct {
	holds  []held
	doomed map[string]bool // snapshots with a flag
}

func (l *holdList) of(snapshot string) (hs []held) {
	for _, h := range l.holds {
		if h.snapshot == snapshot {
			hs = append(hs, h)
		}
	}
	return hs
}

// listHolds lists the holds and flags beside one snapshot, or beside all.
func listHolds(ctx context.Context, store driver.Store, snapshot string) (*holdList, error) {
	prefix := journal.HeldPrefix
	if snapshot != "" {
		prefix += snapshot + "/"
	}
	l := &holdList{doomed: map[string]bool{}}
	for info, err := range store.List(ctx, prefix, "") {
		if err != nil {
			return nil, fmt.Errorf("list the holds: %w", storeErr(err))
		}
		s, id, doomed, ok := journal.ParseHeldKey(info.Key)
		switch {
		case !ok:
		case doomed:
			l.doomed[s] = true
		default:
			l.holds = append(l.holds, held{s, id, info.Key})
		}
	}
	return l, nil
}

// flagDoomed puts the flag of a removal, which the acknowledged namespace must know of already, and then says who still holds the snapshot. With nobody
// in the list the snapshot may go: whoever puts a hold from now on sees the flag.
func flagDoomed(ctx context.Context, store driver.Store, volume [16]byte, snapshot string, budget time.Duration) ([]held, error) {
	flag := &journal.Doomed{Volume: volume, Snapshot: snapshot}
	put := func() error {
		return putAgain(ctx, store, journal.DoomedKey(snapshot), flag.Encode(), budget)
	}
	if !mutant.On(mutNoFlag) && !mutant.On(mutFlagLate) {
		if err := put(); err != nil {
			return nil, fmt.Errorf("flag the removal of snapshot %s: %w", snapshot, err)
		}
	}
	l, err := listHolds(ctx, store, snapshot)
	if err != nil {
		return nil, err
	}
	if mutant.On(mutFlagLate) {
		err = put()
	}
	if len(l.holds) > 0 && mutant.On(mutFlagBack) {
		err = store.Delete(ctx, []string{journal.DoomedKey(snapshot)})
	}
	if mutant.On(mutHoldsIgnored) {
		return nil, err
	}
	return l.holds, err
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

// lookDoomed is the cloner's look, after its hold is durable: first for the flag, then for the body. The order matters: the flag goes behind the body.
func lookDoomed(ctx context.Context, store driver.Store, snapshot, name string) error {
	if mutant.On(mutNoLook) {
		return nil
	}
	flag := func() error {
		switch _, err := store.Stat(ctx, journal.DoomedKey(snapshot)); driver.KindOf(err) {
		case driver.KindNotExist:
			return nil
		default:
			if err != nil {
				return fmt.Errorf("look whether snapshot %q is being removed: %w", name, storeErr(err))
			}
			return fmt.Errorf("%w: %q", ErrSnapshotDoomed, name)
		}
	}
	body := func() error {
		switch _, err := store.Stat(ctx, journal.SnapshotPrefix+snapshot); driver.KindOf(err) {
		case driver.KindNotExist:
			return fmt.Errorf("%w: %q, and is done", ErrSnapshotDoomed, name)
		default:
			if err != nil {
				return fmt.Errorf("look for the body of snapshot %q: %w", name, storeErr(err))
			}
			return nil
		}
	}
	switch {
	case mutant.On(mutNoBodyLook):
		return flag()
	case mutant.On(mutBodyFirst):
		if err := body(); err != nil {
			return err
		}
		return flag()
	}
	if err := flag(); err != nil {
		return err
	}
	return body()
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
