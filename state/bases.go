package state

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/internal/mutant"
)

// bases are the databases below a backend's shards, and the volumes of those whose place another one has taken.
type bases struct {
	mu          sync.Mutex
	now         []*database // never changed in place
	old         []*database // closed; their volumes have snapshots that checkpoints name
	windowWaits int64       // of old ones; Backend.life
	removing    sync.Mutex  // one removal of old snapshots and volumes at a time: who looks for a snapshot finds its volume open
}

func (b *bases) add(d *database) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now = append(b.now[:len(b.now):len(b.now)], d)
}

// current are the databases in use, in the order of their key groups.
func (b *bases) current() []*database {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now
}

// replace puts one database in the place of all.
func (b *bases) replace(by *database) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.old = append(b.old, b.now...)
	b.now = []*database{by}
}

// volume finds a volume of the backend by the name of its shard; nil: it has none.
func (b *bases) volume(name string) *forstfs.FS {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, d := range slices.Concat(b.now, b.old) {
		if d.name == name {
			return d.vol
		}
	}
	return nil
}

// reap drops the old volumes that have no snapshot any more: no checkpoint names them, and none that is being made will. That gives back what they
// borrow. After an error it may be called again.
func (b *bases) reap(ctx context.Context) error {
	b.removing.Lock()
	defer b.removing.Unlock()
	return b.reapLocked(ctx)
}

func (b *bases) reapLocked(ctx context.Context) error {
	b.mu.Lock()
	all := slices.Clone(b.old)
	b.mu.Unlock()
	var errs []error
	for _, d := range all {
		snaps, err := d.vol.Snapshots(ctx)
		if err == nil && len(snaps) > 0 && !mutant.On(mutDropNamed) {
			continue
		}
		if err == nil {
			err = d.vol.Drop(ctx)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("dropping shard %s, whose place another one has taken: %w", d.name, err))
			continue
		}
		b.mu.Lock()
		b.old = slices.DeleteFunc(b.old, func(o *database) bool { return o == d })
		b.mu.Unlock()
		errs = append(errs, d.vol.Close())
	}
	return errors.Join(errs...)
}

func (b *bases) close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	var errs []error
	for _, d := range b.now {
		errs = append(errs, d.close())
	}
	for _, d := range b.old {
		errs = append(errs, d.vol.Close())
	}
	return errors.Join(errs...)
}

// keysIn is the range of the shards that have their records in a database. Snapshots of the backend are kept out, or life is held.
func (b *Backend) keysIn(d *database) (k KeyGroups) {
	for _, s := range b.shards {
		switch {
		case s.database != d:
		case k == KeyGroups{}:
			k = s.keys
		default:
			k.Lo, k.Hi = min(k.Lo, s.keys.Lo), max(k.Hi, s.keys.Hi)
		}
	}
	return k
}
