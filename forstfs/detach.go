package forstfs

import (
	"context"
	"fmt"
	"slices"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/journal"
	"github.com/forst-go/forst/internal/mutant"
	"github.com/forst-go/forst/internal/namespace"
)

// DetachInfo says what Detach did.
type DetachInfo struct {
	Objects   int   // copied
	Bytes     int64 // in them
	Snapshots int   // that were moved to the copies
	Given     int   // holds given back
	Still     int   // holds that stay; Why says for what
	Why       string
}

// Detach makes a clone stand alone: it copies what files and snapshots of the volume still borrow, and then gives the holds back: no object of another volume is needed any more, by the volume, by its
// snapshots, or by clones of these, which have holds of their own. The volume can be used meanwhile. nil means: what could be given back is; see DetachInfo.Still. It may be interrupted and repeated; what was
// moved to its copy stays there. progress, which may be nil, is given bytes.
func (v *FS) Detach(ctx context.Context, progress func(done, total int64)) (DetachInfo, error) {
	d := &detacher{v: v, progress: progress, copies: map[namespace.Container]namespace.Container{}}
	if err := v.writable(); err != nil {
		return d.info, err
	}
	if progress == nil {
		d.progress = func(int64, int64) {}
	}
	err := d.run(driver.WithComponent(ctx, driver.CompSnapshot))
	if err != nil {
		return d.info, fmt.Errorf("detach: %w", storeErr(err))
	}
	return d.info, nil
}

// detacher is one Detach. Its order: copies are durable; then a pack or a move names them; when that is acknowledged and nothing borrowed is needed, the holds go. Whoever dies in between
// leaves copies that nobody needs, for the sweep of the next takeover, and everything that is named is named completely.
type detacher struct {
	v        *FS
	info     DetachInfo
	progress func(done, total int64)
	copies   map[namespace.Container]namespace.Container // each is pinned: what was moved there may be removed, and restored, meanwhile
}

func (d *detacher) run(ctx context.Context) error {
	v := d.v
	if err := v.Sync(ctx); err != nil {
		return err
	}
	before, err := readBorrows(ctx, v.store)
	if err != nil {
		return err
	}
	err = d.moveAll(ctx)
	d.release(err == nil)
	if err != nil {
		return err
	}
	still, err := v.giveBack(ctx)
	if err != nil {
		return err
	}
	d.info.Given, d.info.Still = len(before)-len(still), len(still)
	if len(still) > 0 {
		d.info.Why = v.whyBorrowing()
	}
	return nil
}

// moveAll moves files, then snapshots, until nothing that is acknowledged borrows: a restore of an older snapshot brings borrowed extents back.
func (d *detacher) moveAll(ctx context.Context) error {
	for {
		if err := d.moveFiles(ctx); err != nil {
			return err
		}
		if mutant.On(mutDetachFilesOnly) {
			return nil
		}
		n, err := d.moveSnapshots(ctx)
		if err != nil || n == 0 {
			return err
		}
	}
}

// moveFiles copies every borrowed container that files of the acknowledged namespace refer to, and moves the files' extents there by packs.
func (d *detacher) moveFiles(ctx context.Context) error {
	v := d.v
	for {
		v.machine.mu.Lock()
		placed := v.machine.acked.Borrowed()
		v.machine.mu.Unlock()
		if len(placed) == 0 {
			return nil
		}
		var need []namespace.Container
		for _, p := range placed {
			need = append(need, p.Extent.Container)
		}
		if err := d.copy(ctx, need); err != nil {
			return err
		}
		var pos uint64
		for len(placed) > 0 {
			k := min(len(placed), packOpExtents)
			op := &namespace.Op{Kind: namespace.Pack}
			for _, p := range placed[:k] {
				to := p.Extent
				to.Container = d.copies[p.Extent.Container]
				op.Packs = append(op.Packs, namespace.Repack{Inode: p.Inode, FileOff: p.FileOff, Old: p.Extent, New: to})
			}
			placed = placed[k:]
			pos = v.enqueue(op)
		}
		if err := v.journal.Wait(ctx, pos); err != nil {
			return err
		}
	}
}

// moveSnapshots moves every committed snapshot that borrows, one after the other, and says how many there were.
func (d *detacher) moveSnapshots(ctx context.Context) (n int, err error) {
	all, err := d.v.committed()
	if err != nil {
		return 0, err
	}
	for i := range all {
		if len(borrowedBy(&all[i])) == 0 {
			continue
		}
		n++
		if all[i].Doomed { // perhaps nobody holds it any more
			if gone, err := d.v.removeSnapshot(ctx, all[i].ID); err != nil || gone {
				if err != nil {
					return n, err
				}
				continue
			}
		}
		if err := d.copy(ctx, borrowedBy(&all[i])); err != nil {
			return n, err
		}
		if err := d.moveSnapshot(ctx, all[i].ID); err != nil {
			return n, fmt.Errorf("snapshot %q: %w", all[i].Name, err)
		}
	}
	return n, nil
}

func borrowedBy(s *namespace.Snapshot) []namespace.Container {
	return slices.DeleteFunc(slices.Clone(s.Containers), func(c namespace.Container) bool { return c.Owner == 0 })
}

// moveSnapshot copies what a snapshot borrows, writes a body that names the copies, and puts both into the place of the old ones by one operation. The snapshot keeps its id, and with it the holds of
// clones; its old body stays as long as it does. No restore or removal runs meanwhile.
func (d *detacher) moveSnapshot(ctx context.Context, id namespace.SnapshotID) error {
	v := d.v
	if err := v.snapTurn(ctx); err != nil {
		return err
	}
	defer v.snapDone()
	v.machine.mu.Lock()
	s, ok := v.machine.acked.Snapshot(id)
	v.machine.mu.Unlock()
	need := borrowedBy(&s)
	if !ok || len(need) == 0 {
		return nil // it was removed, or moved by another Detach
	}
	if err := d.copy(ctx, need); err != nil {
		return err
	}
	old, tree, err := loadBody(ctx, v.store, v.id, &s)
	if err != nil {
		return err
	}
	if err := tree.MoveBorrowed(func(c namespace.Container) namespace.Container { return d.copies[c] }); err != nil {
		return err
	}
	body := &journal.SnapshotBody{Volume: v.id, Epoch: v.journal.Epoch(), Nonce: v.journal.Nonce(), Num: v.counter.Add(1), Frame: old.Frame, Created: old.Created,
		Name: old.Name, Dir: old.Dir, Meta: old.Meta, State: tree.Encode()}
	data, crc := body.Encode()
	op := &namespace.Op{Kind: namespace.SnapMove, Snap: &namespace.SnapOp{ID: id, BodyID: namespace.SnapshotID{Epoch: body.Epoch, Nonce: body.Nonce, Num: body.Num},
		Body: namespace.BodyRef{Head: uint32(body.Head()), CRC: crc, Size: int64(len(data))}}}
	for _, c := range need {
		op.Snap.Moves = append(op.Snap.Moves, namespace.Move{Old: c, New: d.copies[c]})
	}
	if mutant.On(mutMoveBeforeBody) {
		_ = v.journal.Wait(ctx, v.enqueue(op))
		return v.putObject(ctx, body.Key(), data)
	}
	if err := v.putObject(ctx, body.Key(), data); err != nil {
		return fmt.Errorf("put %s: %w", body.Key(), err)
	}
	if err := v.journal.Wait(ctx, v.enqueue(op)); err != nil {
		return err
	}
	d.info.Snapshots++
	v.machine.mu.Lock()
	defer v.machine.mu.Unlock()
	if now := (&namespace.Snapshot{BodyID: op.Snap.BodyID, Body: op.Snap.Body}).BodyContainer(); !v.machine.acked.Needs(now) { // it expired
		v.gc.add(now)
	}
	return nil
}

// copy makes copies of containers that have none yet.
func (d *detacher) copy(ctx context.Context, need []namespace.Container) error {
	v := d.v
	var todo []moved
	var done, total int64
	v.mu.Lock()
	for _, c := range need {
		if _, ok := d.copies[c]; ok {
			continue
		}
		_, to := v.newObject(int64(c.CRC))
		d.copies[c] = to
		if !mutant.On(mutCopiesUnpinned) {
			v.pins[to]++
		}
		todo = append(todo, moved{from: c, to: to})
		total += int64(c.CRC)
	}
	v.mu.Unlock()
	if len(todo) == 0 {
		return nil
	}
	d.progress(0, total)
	tell := make(chan struct{}, 1)
	memory := newBudget(copyMemory)
	return parallel(todo, func(m moved) error {
		defer memory.release(int64(m.from.CRC))
		for at, ok := memory.tryAt(int64(m.from.CRC)); !ok; at, ok = memory.tryAt(int64(m.from.CRC)) {
			memory.wait(at)
		}
		var err error
		if m.store, err = v.storeOf(ctx, m.from); err != nil {
			return err
		}
		err = v.get(ctx, m.from, func(driver.Store) error { return m.copy(ctx, v.store, v.o) })
		if err == nil {
			err = v.Err() // a dead volume gets nothing any more
		}
		if err != nil {
			return err
		}
		tell <- struct{}{}
		d.info.Objects++
		d.info.Bytes += int64(m.from.CRC)
		done += int64(m.from.CRC)
		d.progress(done, total)
		<-tell
		return nil
	})
}

// release lets the copies go. Those that nobody needs are deleted, if everything that may name them is acknowledged; else they wait for the sweep of the next takeover. A copy may have been let go
// with its file, and be needed by a snapshot that was moved there since: it stays.
func (d *detacher) release(settled bool) {
	v := d.v
	v.machine.mu.Lock()
	defer v.machine.mu.Unlock()
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, to := range d.copies {
		if !mutant.On(mutCopyLetGo) {
			delete(v.deferred, to)
		}
		if settled && !v.machine.acked.Needs(to) {
			v.deferred[to] = true
		}
		v.unpin([]namespace.Extent{{Container: to}})
	}
}

// whyBorrowing names what still needs a lender.
func (v *FS) whyBorrowing() string {
	v.mu.Lock()
	handles := 0
	for c := range v.pins {
		if c.Owner != 0 {
			handles++
		}
	}
	v.mu.Unlock()
	v.machine.mu.Lock()
	defer v.machine.mu.Unlock()
	why := ""
	if handles > 0 {
		why = "open handles of removed files"
	}
	for _, s := range v.machine.acked.Snapshots() {
		if len(borrowedBy(&s)) > 0 {
			if why != "" {
				why += ", "
			}
			why += fmt.Sprintf("snapshot %q", s.Name)
			if !s.Committed {
				why += ", which is being taken: detach once more"
			}
		}
	}
	return why
}
