package forstfs

import (
	"context"
	"errors"
	"fmt"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/mutant"
	"github.com/forst-go/forst/internal/namespace"
)

// lender is a volume that this one borrows containers from without owning them. Its store is opened when its first byte is wanted.
type lender struct {
	v     *FS
	owner namespace.Owner

	turn  chan struct{} // capacity 1: guards what follows
	store driver.Store
}

// lend makes the table of lenders that of the namespace. The owners of a volume keep their numbers for ever, so what is open stays.
func (v *FS) lend(owners []namespace.Owner) {
	for {
		old := v.lenders.Load()
		var have []*lender
		if old != nil {
			have = *old
		}
		if len(owners) <= len(have) {
			return
		}
		table := have[:len(have):len(have)]
		for _, o := range owners[len(have):] {
			table = append(table, &lender{v: v, owner: o, turn: make(chan struct{}, 1)})
		}
		if v.lenders.CompareAndSwap(old, &table) {
			return
		}
	}
}

// lender gives the volume that owns a container; nil if it is this one, or if there is none of this number.
func (v *FS) lender(c namespace.Container) *lender {
	if t := v.lenders.Load(); t != nil && c.Owner > 0 && int(c.Owner) <= len(*t) {
		return (*t)[c.Owner-1]
	}
	return nil
}

// ownerID is the id of the volume that owns a container.
func (v *FS) ownerID(c namespace.Container) [16]byte {
	if c.Owner == 0 || mutant.On(mutCacheOwner) {
		return v.id
	}
	if l := v.lender(c); l != nil {
		return l.owner.Volume
	}
	return [16]byte{}
}

// storeOf gives the store that holds a container.
func (v *FS) storeOf(ctx context.Context, c namespace.Container) (driver.Store, error) {
	if c.Owner == 0 {
		return v.store, nil
	}
	l := v.lender(c)
	if l == nil {
		return nil, fmt.Errorf("%w: container %+v is of a foreign volume that the namespace does not name", ErrDamaged, c)
	}
	return l.open(ctx)
}

func (l *lender) open(ctx context.Context) (driver.Store, error) {
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	switch {
	case l.store != nil:
		return l.store, nil
	case l.v.closed.Load():
		return nil, ErrClosed
	case l.v.o.OpenStore == nil:
		return nil, l.gone(errors.New("Options.OpenStore is not set, so it cannot be reached; forst.Open sets it"))
	}
	s, err := l.v.o.OpenStore(ctx, l.owner.URL)
	switch {
	case driver.KindOf(err) == driver.KindNoStore || driver.KindOf(err) == driver.KindNotExist:
		return nil, l.gone(err)
	case err != nil:
		return nil, fmt.Errorf("open the store of volume %x at %s, which this clone borrows from: %w", l.owner.Volume, l.owner.URL, storeErr(err))
	}
	l.store = l.v.counts.meter.Also(s)
	return l.store, nil
}

// gone is what it means that a lender, or an object of it, is not there. It never looks like a missing file.
func (l *lender) gone(err error) error {
	if mutant.On(mutGoneNotExist) {
		return err
	}
	gone := fmt.Errorf("%w: volume %x at %s: %v", ErrSourceGone, l.owner.Volume, l.owner.URL, err)
	if l.v.readOnly { // a follower may be behind: its writer detached, and gave the hold back
		return errors.Join(ErrStale, gone)
	}
	return gone
}

// get is a Get of a container's object, wherever it is.
func (v *FS) get(ctx context.Context, c namespace.Container, do func(driver.Store) error) error {
	s, err := v.storeOf(ctx, c)
	if err != nil {
		return err
	}
	err = do(s)
	if l := v.lender(c); l != nil {
		switch driver.KindOf(err) {
		case driver.KindNotExist, driver.KindNoStore:
			return l.gone(err)
		}
	}
	return err
}

// closeLenders closes the stores of the volumes that this one borrows from; nobody reads any more.
func (v *FS) closeLenders() error {
	t := v.lenders.Load()
	if t == nil {
		return nil
	}
	var errs []error
	for _, l := range *t {
		l.turn <- struct{}{}
		if l.store != nil {
			errs = append(errs, l.store.Close())
		}
		<-l.turn
	}
	return errors.Join(errs...)
}
