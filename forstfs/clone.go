package forstfs

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/journal"
	"github.com/forst-go/forst/internal/mutant"
	"github.com/forst-go/forst/internal/namespace"
	"github.com/forst-go/forst/internal/probe"
)

// CloneOptions change Clone.
type CloneOptions struct {
	// Options of the process that clones: Name (of the clone, for messages), RetryBudget, Clock, Nonce, Logger, SkipProbe, and OpenStore, which is needed when the source is a
	// clone itself; its locations are those that the source has recorded.
	Options *Options
	// SourceURL is what the clone records as the place of its source: a URL, or a place relative to the clone's own ("../prod"). Needed unless Copy.
	SourceURL string
	// CloneURL is what the source records as the place of the clone, the same way round: without it nobody can find out from the source whether the
	// clone was ever born, and its hold stays until the clone gives it back.
	CloneURL string
	// Copy copies every byte: the clone then borrows nothing, and the stores need not know each other.
	Copy bool
	// Progress of a copy in bytes, one call at a time.
	Progress func(done, total int64)
}

// CloneInfo says what was made.
type CloneInfo struct {
	VolumeID [16]byte
	Source   [16]byte // volume id
	Snapshot string   // id
	Files    int
	Bytes    int64 // sum of the sizes of the files
	Copied   int64 // bytes that were copied: 0 without Copy
	Lenders  int   // volumes that the clone borrows from
}

// Clone makes a new volume in dst, an empty place, that begins with the files of a committed snapshot of the volume in src, found by its name or id. It
// moves no bytes: the clone borrows what the snapshot has, from the source and from those the source borrows from itself, owns what it writes, and never deletes
// what it does not own. The source is not fenced and not otherwise disturbed; its snapshot stays until no clone needs it (FS.Detach, FS.Drop). Six
// sequential round trips, more when the source is a clone. Both stores stay the caller's.
//
// nil means: the clone is there, durable, and can be opened. After an error it is not, unless the error says that the outcome is unknown; what is left
// in dst is no volume, and Clone may be called again with the same place. Clone may run beside anything, other cloners to the same place and the removal of the
// snapshot too: one wins, the others get an error.
//
// Errors: ErrNoSnapshot, ErrSnapshotDoomed, ErrExists and ErrForeign for dst, those of OpenReadOnly for src.
func Clone(ctx context.Context, src driver.Store, snapshot string, dst driver.Store, o *CloneOptions) (CloneInfo, error) {
	if o == nil {
		o = &CloneOptions{}
	}
	if err := o.Options.Validate(); err != nil {
		return CloneInfo{}, err
	}
	c := &cloner{src: src, dst: dst, co: o, o: o.Options.EnsureDefaults()}
	switch {
	case o.SourceURL == "" && !o.Copy:
		return CloneInfo{}, errors.New("clone: CloneOptions.SourceURL is not set: the clone would not find what it borrows")
	case len(o.SourceURL) > journal.MaxLocation || len(o.CloneURL) > journal.MaxLocation:
		return CloneInfo{}, fmt.Errorf("clone: a place of more than %d bytes", journal.MaxLocation)
	}
	defer c.close()
	info, err := c.run(driver.WithComponent(ctx, driver.CompSnapshot), snapshot)
	if err != nil {
		return CloneInfo{}, fmt.Errorf("clone %s: %w", c.o.named(dst), err)
	}
	return info, nil
}

// cloner is one attempt to make a clone.
type cloner struct {
	src, dst driver.Store
	co       *CloneOptions
	o        *Options

	id      [16]byte // of the clone
	source  [16]byte
	snap    namespace.Snapshot
	view    *names // of the source
	reader  *journal.Reader
	borrows []*journal.Hold // of the source
	tree    *namespace.State
	lenders []*pledge
	made    []string // keys in dst that go again if the clone is not born
	copied  int64
}

// pledge is a hold with the store that it lies in.
type pledge struct {
	hold  *journal.Hold
	name  string // of the snapshot, for messages
	store driver.Store
	ours  bool // opened by the cloner
}

func (c *cloner) close() {
	if c.reader != nil {
		_ = c.reader.Close()
	}
	for _, p := range c.lenders {
		if p.ours {
			_ = p.store.Close()
		}
	}
}

// each calls fn for all lenders at once and waits for all.
func (c *cloner) each(fn func(*pledge) error) error {
	errs := make([]error, len(c.lenders))
	var wg sync.WaitGroup
	for i, p := range c.lenders {
		wg.Go(func() { errs[i] = fn(p) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// both runs two steps at once.
func both(f, g func() error) error {
	var wg sync.WaitGroup
	var err error
	wg.Go(func() { err = f() })
	return errors.Join(g(), func() error { wg.Wait(); return err }())
}

func (c *cloner) run(ctx context.Context, snapshot string) (CloneInfo, error) {
	if _, err := rand.Read(c.id[:]); err != nil {
		return CloneInfo{}, err
	}
	err := both(
		func() error { return c.find(ctx, snapshot) },
		func() error {
			return both(func() error { return emptyPlace(ctx, c.dst) }, func() (err error) {
				c.borrows, err = readBorrows(ctx, c.src)
				return err
			})
		})
	if err == nil && c.co.Copy && !c.o.SkipProbe {
		err = c.probe(ctx)
	}
	if err == nil {
		err = c.pledge(ctx)
	}
	if err == nil {
		// The holds, and the names meanwhile. From here on what was made is undone when the clone is not born.
		if mutant.On(mutLookFirst) {
			err = c.look(ctx)
		}
		err = errors.Join(err, both(
			func() error {
				return c.each(func(p *pledge) error {
					return putAgain(ctx, p.store, p.hold.HeldKey(), p.hold.Encode(), c.o.RetryBudget)
				})
			},
			func() (err error) {
				if _, c.tree, err = loadBody(ctx, c.src, c.source, &c.snap); errors.Is(err, ErrStale) {
					err = fmt.Errorf("%w: %w", ErrSnapshotDoomed, err) // it was removed a moment ago
				}
				return err
			}))
	}
	if err == nil && c.co.Copy {
		err = c.look(ctx) // before much is copied
	}
	if err == nil {
		err = both(func() error {
			if c.co.Copy || mutant.On(mutLookFirst) {
				return nil
			}
			return c.look(ctx)
		}, func() error { return c.furnish(ctx) })
	}
	if err != nil {
		c.undo(ctx)
		return CloneInfo{}, err
	}
	if err := c.bear(ctx); err != nil {
		return CloneInfo{}, err
	}
	info := CloneInfo{VolumeID: c.id, Source: c.source, Snapshot: c.snap.ID.String(), Files: c.snap.Files, Bytes: c.snap.Bytes, Copied: c.copied}
	if c.co.Copy {
		c.give(ctx) // a hold that stays is given back by the clone itself, or found by forst gc
	} else {
		info.Lenders = len(c.lenders)
	}
	return info, nil
}

// probe looks whether the store of a copy keeps the contract; that of a clone that borrows is its source's kind.
func (c *cloner) probe(ctx context.Context) error {
	switch _, err := probe.Probe(driver.WithComponent(ctx, driver.CompProbe), c.dst); {
	case errors.Is(err, probe.ErrUnsafe):
		return fmt.Errorf("%w: %w", ErrUnsafeStore, err)
	case err != nil:
		return fmt.Errorf("probe the store of the clone: %w", storeErr(err))
	}
	return nil
}

// find takes the snapshot from the replayed namespace, and from nowhere else: what is in the store alone may not be committed. The last look is left to the one
// behind the hold, which decides; it comes here if the snapshot is not there.
func (c *cloner) find(ctx context.Context, snapshot string) (err error) {
	if c.view, c.reader, err = glance(ctx, c.src, c.reading("of the source"), true); err != nil {
		return err
	}
	c.source = c.reader.Volume()
	s, err := readableIn(c.view.state, snapshot)
	if err != nil {
		if _, rerr := c.reader.Refresh(ctx); rerr != nil {
			return rerr
		}
		if s, err = readableIn(c.view.state, snapshot); err != nil {
			return err
		}
	}
	c.snap = s
	owners := c.view.state.Owners()
	c.lenders = []*pledge{{name: s.Name, store: c.src, hold: &journal.Hold{Lender: c.source, Snapshot: s.ID.String(), At: c.co.SourceURL, From: c.co.CloneURL}}}
	seen := map[uint32]bool{}
	for _, x := range s.Containers {
		if x.Owner == 0 || seen[x.Owner] || mutant.On(mutTwoLenders) && len(c.lenders) == 2 {
			continue
		}
		seen[x.Owner] = true
		o := owners[x.Owner-1]
		at, err := ResolveLocation(c.co.SourceURL, o.URL)
		if err != nil {
			return fmt.Errorf("the place of volume %x, which the source borrows from: %w", o.Volume, err)
		}
		p := &pledge{name: "a snapshot that the source borrows from", hold: &journal.Hold{Lender: o.Volume, At: at}}
		p.hold.From = o.URL // replaced when the place of the clone is known from there
		c.lenders = append(c.lenders, p)
	}
	return nil
}

// pledge opens the volumes that the source borrows from, and gives each hold its id and the snapshot that it is for: the one that the source itself holds.
func (c *cloner) pledge(ctx context.Context) error {
	for i, p := range c.lenders {
		h := p.hold
		h.Clone, h.Copies, h.Created = c.id, c.co.Copy, c.o.Clock().UnixNano()
		if _, err := rand.Read(h.ID[:]); err != nil {
			return err
		}
		if i == 0 {
			continue
		}
		place := h.From
		h.From = ""
		for _, b := range c.borrows {
			if b.Lender == h.Lender && b.Clone == c.source {
				h.Snapshot = b.Snapshot
				if from, err := ResolveLocation(b.From, c.co.CloneURL); err == nil && c.co.CloneURL != "" {
					h.From = from
				}
			}
		}
		if h.Snapshot == "" {
			if _, err := c.reader.Refresh(ctx); err != nil {
				return err
			}
			if s, ok := c.view.state.Snapshot(c.snap.ID); !ok || len(borrowedBy(&s)) == 0 {
				return fmt.Errorf("%w: the source was detached, or the snapshot removed, at this moment; clone it again", ErrBusy)
			}
			return fmt.Errorf("%w: the source borrows from volume %s and has no hold there: run forst fsck", ErrDamaged, h.Lender)
		}
		if c.o.OpenStore == nil {
			return fmt.Errorf("the source borrows from volume %s at %s: set Options.OpenStore, so that the clone can hold that, too", h.Lender, place)
		}
		s, err := c.o.OpenStore(ctx, place)
		if err != nil {
			return fmt.Errorf("open the store of volume %s at %s, which the source borrows from: %w", h.Lender, place, storeErr(err))
		}
		p.store, p.ours = s, true
	}
	return nil
}

// reading are the options with which a lender is read.
func (c *cloner) reading(name string) *Options {
	return &Options{Name: name, RetryBudget: c.o.RetryBudget, Nonce: c.o.Nonce, Logger: c.o.Logger}
}

// look looks, when every hold is durable, whether each snapshot is still there to be held.
func (c *cloner) look(ctx context.Context) error {
	if mutant.On(mutNoLook) {
		return nil
	}
	return c.each(func(p *pledge) error {
		if !p.ours {
			if _, err := c.reader.Refresh(ctx); err != nil {
				return err
			}
			return holdable(c.view.state, p)
		}
		m, r, err := look(ctx, p.store, c.reading(p.hold.At))
		if err != nil {
			return err
		}
		if err = errors.Join(holdable(m.state, p), r.Close()); err != nil {
			err = fmt.Errorf("%w; the source borrows from volume %s: detach the source (forst detach), take a new snapshot of it and clone that", err, p.hold.Lender)
		}
		return err
	})
}

// holdable says whether the snapshot of a hold is there in a namespace, and not doomed.
func holdable(st *namespace.State, p *pledge) error {
	epoch, nonce, num, _ := journal.ParseSnapshotKey(journal.SnapshotPrefix + p.hold.Snapshot)
	s, ok := st.Snapshot(namespace.SnapshotID{Epoch: epoch, Nonce: nonce, Num: num})
	switch {
	case !ok:
		return fmt.Errorf("%w, and is done: %s", ErrSnapshotDoomed, p.name)
	case s.Doomed && !mutant.On(mutLookName):
		return fmt.Errorf("%w: %s", ErrSnapshotDoomed, p.name)
	}
	return nil
}

// furnish puts what the clone is born with, which is no volume yet.
func (c *cloner) furnish(ctx context.Context) error {
	lent, err := c.tree.Lend(namespace.Owner{Volume: c.source, URL: c.co.SourceURL}, func(o namespace.Owner) namespace.Owner {
		for _, p := range c.lenders {
			if p.hold.Lender == o.Volume {
				o.URL = p.hold.At
			}
		}
		return o
	})
	if err != nil {
		return err
	}
	if c.co.Copy {
		if err := c.copyAll(ctx, lent); err != nil {
			return err
		}
	}
	records := func() error {
		return c.each(func(p *pledge) error {
			return putAgain(ctx, c.dst, p.hold.BorrowKey(), p.hold.Encode(), c.o.RetryBudget)
		})
	}
	for _, p := range c.lenders {
		c.made = append(c.made, p.hold.BorrowKey())
	}
	return both(records, func() error {
		keys, err := journal.BirthImages(ctx, c.dst, c.id, lent.Encode(), c.o.RetryBudget, c.o.Nonce)
		c.made = append(c.made, keys...)
		return err
	})
}

// bear creates the root: the clone is born with it, or never.
func (c *cloner) bear(ctx context.Context) error {
	root, err := journal.CreateRoot(ctx, c.dst, journal.RootOptions{Volume: c.id, Created: c.o.Clock(), Budget: c.o.RetryBudget, Nonce: c.o.Nonce})
	switch {
	case err == nil:
		return nil
	case !errors.Is(err, ErrExists):
		return fmt.Errorf("the outcome is unknown, so the hold stays: open the place, clone to it again, or give it up with forst gc --abandoned on the source: %w", storeErr(err))
	}
	c.undo(ctx) // the root of somebody else never goes, so ours never comes
	if root.Tombstone {
		return fmt.Errorf("%w: the clone was given up as abandoned while it was being made: choose another place", ErrDropped)
	}
	return err
}

// undo removes what was made for a clone that will not be born. What cannot be removed is no volume, and is found by forst gc.
func (c *cloner) undo(ctx context.Context) {
	ctx = driver.WithComponent(context.WithoutCancel(ctx), driver.CompGC)
	c.give(ctx)
	if len(c.made) > 0 && !mutant.On(mutUndoForgets) {
		if err := c.dst.Delete(ctx, c.made); err != nil {
			c.o.Logger.Warn("what an unfinished clone leaves behind is no volume", "volume", c.o.named(c.dst), "err", err)
		}
	}
}

// give gives the holds back.
func (c *cloner) give(ctx context.Context) {
	err := c.each(func(p *pledge) error {
		if p.store == nil {
			return nil
		}
		return p.store.Delete(ctx, []string{p.hold.HeldKey()})
	})
	if err == nil && c.co.Copy {
		err = c.each(func(p *pledge) error { return c.dst.Delete(ctx, []string{p.hold.BorrowKey()}) })
	}
	if err != nil {
		c.o.Logger.Warn("a hold could not be given back; forst gc finds it", "volume", c.o.named(c.dst), "err", err)
	}
}

// emptyPlace refuses a place where anything is but what cloners leave that did not get to the end: without a root it is nobody's.
func emptyPlace(ctx context.Context, dst driver.Store) error {
	for info, err := range dst.List(ctx, "", "") {
		switch {
		case err != nil:
			return fmt.Errorf("look whether the place of the clone is empty: %w", storeErr(err))
		case !unborn(info.Key):
			if _, err := dst.Stat(ctx, journal.RootKey); err == nil {
				return fmt.Errorf("%w: choose another place", ErrExists)
			}
			return fmt.Errorf("%w (the first is %q): choose an empty place", ErrForeign, info.Key)
		}
	}
	return nil
}

// unborn reports whether a key is one that a clone has before it is born.
func unborn(key string) bool {
	if n, _, ok := journal.ParseImageKey(key); ok {
		return n == 0
	}
	if epoch, _, _, ok := journal.ParseDataKey(key); ok {
		return epoch == 0
	}
	_, ok := journal.ParseBorrowKey(key)
	return ok || strings.HasPrefix(key, probe.Folder)
}

// readBorrows reads the holds that a volume has in others.
func readBorrows(ctx context.Context, store driver.Store) ([]*journal.Hold, error) {
	var keys []string
	for info, err := range store.List(ctx, journal.BorrowPrefix, "") {
		if err != nil {
			return nil, fmt.Errorf("list what the volume borrows: %w", storeErr(err))
		}
		if _, ok := journal.ParseBorrowKey(info.Key); ok {
			keys = append(keys, info.Key)
		}
	}
	holds := make([]*journal.Hold, len(keys))
	at := make([]int, len(keys))
	for i := range at {
		at[i] = i
	}
	if len(at) == 0 {
		return nil, nil
	}
	err := parallel(at, func(i int) error {
		b, err := driver.ReadAll(ctx, store, keys[i])
		if driver.KindOf(err) == driver.KindNotExist {
			return nil // given back meanwhile
		}
		if err == nil {
			holds[i], err = journal.DecodeHold(b)
		}
		if err == nil && holds[i].BorrowKey() != keys[i] {
			err = fmt.Errorf("%w: it is hold %s", ErrDamaged, holds[i].ID)
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", keys[i], storeErr(err))
		}
		return nil
	})
	var there []*journal.Hold
	for _, h := range holds {
		if h != nil {
			there = append(there, h)
		}
	}
	return there, err
}
