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
	"github.com/forst-go/forst/internal/namespace"
)

// RemoveSnapshot removes a snapshot, by name or id. nil means: durable; nobody can open, restore or clone it any more, and its name is free. If clones need
// it, it stays, doomed, until a look at their holds shows none; the writer looks when an image is written and every RequestInterval. Its objects are deleted
// in the background, after the removal is acknowledged. A removal cannot be taken back.
//
// Errors: ErrNoSnapshot, those of FS.Sync, or what the store said to the LIST of holds; in the last case the removal has begun.
func (v *FS) RemoveSnapshot(ctx context.Context, name string) error {
	if err := v.writable(); err != nil {
		return err
	}
	s, err := v.find(name)
	if err == nil {
		_, err = v.removeSnapshot(driver.WithComponent(ctx, driver.CompSnapshot), s.ID)
	}
	if err != nil {
		return fmt.Errorf("remove snapshot %q: %w", name, storeErr(err))
	}
	return nil
}

// removeSnapshot dooms a snapshot, and removes it if nobody holds it. The order is that of the holders' model: the doom is acknowledged before the LIST of the
// holds, and a cloner looks for the doom after its hold is durable; so one of the two sees the other.
func (v *FS) removeSnapshot(ctx context.Context, id namespace.SnapshotID) (gone bool, err error) {
	if err := v.snapTurn(ctx); err != nil {
		return false, err
	}
	defer v.snapDone()
	doom := &namespace.Op{Kind: namespace.SnapDoom, Snap: &namespace.SnapOp{ID: id}}
	remove := &namespace.Op{Kind: namespace.SnapRemove, Snap: &namespace.SnapOp{ID: id}}
	v.machine.mu.Lock()
	s, ok := v.machine.acked.Snapshot(id)
	v.machine.mu.Unlock()
	if !ok {
		return true, nil
	}
	if !s.Doomed && !mutant.On(mutSnapNoDoom) {
		if err := v.journal.Wait(ctx, v.enqueue(doom)); err != nil {
			return false, err
		}
	}
	holds, err := v.holds(ctx, id.String())
	if err != nil {
		return false, fmt.Errorf("its removal has begun, but its holds could not be listed: %w", err)
	}
	if len(holds) > 0 && !mutant.On(mutSnapHolds) {
		return false, nil
	}
	if mutant.On(mutSnapEarlyDelete) {
		v.gc.add(s.BodyContainer())
		for _, c := range s.Containers {
			if v.machine.acked.Use(c).Refs == 0 {
				v.gc.add(c)
			}
		}
		_ = v.gc.drain(ctx)
	}
	return true, v.journal.Wait(ctx, v.enqueue(remove))
}

// snapTurn lets one restore or removal run at a time: what a restore is about to refer to must not go meanwhile.
func (v *FS) snapTurn(ctx context.Context) error {
	select {
	case v.snapBusy <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (v *FS) snapDone() { <-v.snapBusy }

// Retention says which snapshots stay: the newest KeepLast, and those younger than KeepFor. At least one of the two must be set.
type Retention struct {
	KeepLast int
	KeepFor  time.Duration
	Prefix   string // only snapshots whose names begin so are counted and removed
}

// Retain removes the snapshots that r does not keep, oldest first, and returns their names. With an error, these are the ones removed so far.
func (v *FS) Retain(ctx context.Context, r Retention) (removed []string, err error) {
	if r.KeepLast < 0 || r.KeepFor < 0 || r.KeepLast == 0 && r.KeepFor == 0 {
		return nil, errors.New("retain: set KeepLast or KeepFor; otherwise every snapshot would be removed")
	}
	if err := v.writable(); err != nil {
		return nil, err
	}
	all, err := v.committed()
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(s namespace.Snapshot) bool { return s.Doomed || !strings.HasPrefix(s.Name, r.Prefix) })
	slices.SortStableFunc(all, func(a, b namespace.Snapshot) int { return int(min(max(a.Time-b.Time, -1), 1)) })
	young := v.now() - int64(r.KeepFor)
	for i, s := range all {
		if len(all)-i <= r.KeepLast || r.KeepFor > 0 && s.Time > young {
			continue
		}
		if _, err := v.removeSnapshot(driver.WithComponent(ctx, driver.CompSnapshot), s.ID); err != nil {
			return removed, fmt.Errorf("retain: remove snapshot %q: %w", s.Name, storeErr(err))
		}
		removed = append(removed, s.Name)
	}
	return removed, nil
}

// Restore makes the directory of a snapshot, or the whole volume, what it was: in one step of the order, so that after any crash it is either as before
// or restored. nil means that it is durable. No bytes of data objects are moved. Files that are there now lose their names; open handles go on reading them.
// A lock held by this process below the directory is an error: close the database first.
//
// Errors: ErrNoSnapshot, ErrSnapshotDoomed, ErrDamaged, those of FS.Sync.
func (v *FS) Restore(ctx context.Context, snapshot string) error {
	if err := v.writable(); err != nil {
		return err
	}
	if err := v.restore(driver.WithComponent(ctx, driver.CompSnapshot), snapshot); err != nil {
		return fmt.Errorf("restore snapshot %q: %w", snapshot, storeErr(err))
	}
	return nil
}

func (v *FS) restore(ctx context.Context, name string) error {
	if !mutant.On(mutRestoreBeside) {
		if err := v.snapTurn(ctx); err != nil {
			return err
		}
		defer v.snapDone()
	}
	s, err := v.findReadable(name)
	if err != nil {
		return err
	}
	body, tree, err := loadBody(ctx, v.store, v.id, &s)
	if err != nil {
		return err
	}
	if mutant.On(mutRestoreTwoSteps) && s.Dir != "/" {
		_ = v.RemoveAll(ctx, s.Dir)
		_ = v.wait(ctx)
	}
	pos, err := v.issueRestore(&s, body, tree)
	if err != nil {
		return err
	}
	return v.journal.Wait(ctx, pos)
}

// issueRestore puts a restore into the order; whoever removes snapshots is kept out meanwhile.
func (v *FS) issueRestore(s *namespace.Snapshot, body *journal.SnapshotBody, tree *namespace.State) (pos uint64, err error) {
	v.keepBody(s, body)
	op := &namespace.Op{Kind: namespace.Restore, Path: s.Dir, Snap: &namespace.SnapOp{Tree: body.State}}
	v.mu.Lock()
	defer v.mu.Unlock()
	err = v.unlockedBelow(s.Dir)
	if err == nil {
		err = v.wholeBelow(s.Dir, "remove them first, as what is restored does not go with them")
	}
	if err != nil {
		return 0, err
	}
	op.Inode = v.live.AllocInodes(tree.Stats().Files)
	ops := []*namespace.Op{op}
	if s.Dir == "/" {
		ops = append(ops, v.recordOps()...)
	}
	err = v.issue(ops...)
	return v.journal.Position(), err
}

// unlockedBelow refuses while this process holds a lock in a directory or below. FS.mu is held.
func (v *FS) unlockedBelow(dir string) error {
	for p := range v.locks {
		if dir == "/" || strings.HasPrefix(p, dir+"/") {
			return fmt.Errorf("%s is locked by this process: close the database first", p)
		}
	}
	return nil
}

// errandTime is how often a writer looks for requests and for what has expired, besides when it writes an image.
const errandTime = 10 * time.Minute

// errands does what others have asked for, removes what has expired, and finishes removals that clones held up.
func (v *FS) errands(ctx context.Context, r requests) error {
	ctx = driver.WithComponent(ctx, driver.CompGC)
	errs := []error{r.err, v.serveRequests(ctx, r.keys)}
	if v.lenders.Load() != nil && !v.gave.Load() {
		_, err := v.giveBack(ctx)
		errs = append(errs, err)
	}
	all, err := v.committed()
	errs = append(errs, err)
	now := v.now()
	for _, s := range all {
		if !s.Doomed && (s.Expires == 0 || s.Expires > now) {
			continue
		}
		if _, err := v.removeSnapshot(ctx, s.ID); err != nil {
			errs = append(errs, fmt.Errorf("remove snapshot %q: %w", s.Name, err))
		}
	}
	return errors.Join(errs...)
}

// requests are what a LIST of request/ shows.
type requests struct {
	keys []string
	err  error
}

func (v *FS) listRequests(ctx context.Context) (r requests) {
	for info, err := range v.store.List(driver.WithComponent(ctx, driver.CompGC), journal.RequestPrefix, "") {
		if err != nil {
			return requests{err: fmt.Errorf("list requests: %w", err)}
		}
		r.keys = append(r.keys, info.Key)
	}
	return r
}

// lookForRequests lists them beside what the caller does; the function that it returns waits for the list.
func (v *FS) lookForRequests(ctx context.Context) func() requests {
	c := make(chan requests, 1)
	if !v.spawn(func() { c <- v.listRequests(ctx) }) {
		c <- requests{err: ErrClosed}
	}
	return func() requests { return <-c }
}

// serveRequests reads requests, does what they ask for, and deletes them. One that fails is tried again the next time.
func (v *FS) serveRequests(ctx context.Context, keys []string) error {
	var errs []error
	var served []string
	collect := false
	for _, key := range keys {
		r, err := v.readRequest(ctx, key)
		switch {
		case errors.Is(err, journal.ErrDamaged):
			v.listen().Damaged(key, err) // nobody can know what it was
		case err != nil:
			errs = append(errs, err)
			continue
		case r.Volume != v.id: // of a volume that was here before
		case r.Kind == journal.RequestCollect:
			collect = true
		default:
			if _, err := v.removeSnapshot(ctx, namespace.SnapshotID{Epoch: r.Epoch, Nonce: r.Nonce, Num: r.Num}); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", key, err))
				continue
			}
		}
		served = append(served, key)
	}
	if collect {
		_, err := v.checkpoint(ctx)
		if err == nil {
			_, err = v.Sweep(ctx)
		}
		if err != nil {
			return errors.Join(append(errs, fmt.Errorf("collect: %w", err))...)
		}
	}
	if len(served) > 0 {
		if err := v.store.Delete(ctx, served); err != nil {
			errs = append(errs, fmt.Errorf("delete requests that were served: %w", err))
		}
	}
	return errors.Join(errs...)
}

func (v *FS) readRequest(ctx context.Context, key string) (*journal.Request, error) {
	b, err := driver.ReadAll(ctx, v.store, key)
	if driver.KindOf(err) == driver.KindCorrupt {
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	r, err := journal.DecodeRequest(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return r, nil
}

// runErrands does errands from time to time until the volume closes.
func (v *FS) runErrands() {
	if v.o.RequestInterval < 0 {
		return
	}
	tick := time.NewTicker(v.o.RequestInterval)
	defer tick.Stop()
	for {
		select {
		case <-v.packer.ctx.Done():
			return
		case <-v.Failed():
			return
		case <-tick.C:
		}
		v.tryErrands(v.packer.ctx, v.listRequests(v.packer.ctx))
	}
}

// tryErrands does errands and says what went wrong; nothing depends on them, and the next time comes.
func (v *FS) tryErrands(ctx context.Context, r requests) {
	if err := v.errands(ctx, r); err != nil && ctx.Err() == nil && v.Err() == nil {
		v.o.Logger.Warn("requests, expired or doomed snapshots are left for the next time", "volume", v.o.Name, "err", err)
	}
}

// RequestRemoveSnapshot asks the process that owns a volume to remove a snapshot, by name or id. nil means that the request is durable; the owner
// serves it when it writes its next image, within RequestInterval, or when it next opens the volume and does one of these. Nobody is fenced. The
// store stays the caller's. Errors: ErrNoSnapshot, those of OpenReadOnly.
func RequestRemoveSnapshot(ctx context.Context, store driver.Store, o *Options, name string) error {
	return request(ctx, store, o, func(v *FS, r *journal.Request) error {
		s, err := v.find(name)
		r.Kind, r.Epoch, r.Nonce, r.Num = journal.RequestRemove, s.ID.Epoch, s.ID.Nonce, s.ID.Num
		return err
	})
}

// RequestCollect asks the process that owns a volume to write an image, trim the journal and sweep everything. It returns as
// RequestRemoveSnapshot does.
func RequestCollect(ctx context.Context, store driver.Store, o *Options) error {
	return request(ctx, store, o, func(_ *FS, r *journal.Request) error {
		r.Kind = journal.RequestCollect
		return nil
	})
}

func request(ctx context.Context, store driver.Store, o *Options, fill func(*FS, *journal.Request) error) error {
	v, err := OpenReadOnly(ctx, keepOpen{store}, o)
	if err != nil {
		return err
	}
	defer v.Close()
	nonce := v.o.Nonce
	if nonce == nil {
		nonce = journal.NewNonce
	}
	r := &journal.Request{Volume: v.id, Created: v.now()}
	if err := fill(v, r); err != nil {
		return err
	}
	key := journal.RequestKey(nonce())
	if err := store.Put(driver.WithComponent(ctx, driver.CompSnapshot), key, r.Encode(), driver.PutOptions{IfAbsent: true}); err != nil {
		return fmt.Errorf("leave the request %s: %w", key, storeErr(err))
	}
	return nil
}
