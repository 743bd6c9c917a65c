package forstfs

import (
	"fmt"
	"sync"

	"github.com/forst-go/forst/cache"
	"github.com/forst-go/forst/internal/journal"
	"github.com/forst-go/forst/internal/mutant"
	"github.com/forst-go/forst/internal/namespace"
)

// machine is what the journal drives: the acknowledged namespace. FS.live is ahead of it by the names that were issued but not
// acknowledged yet; bytes reach both at the same moment, here.
//
// Images, packs, trimming and deletions look at the acknowledged namespace only.
type machine struct {
	v *FS

	mu     sync.Mutex // taken before FS.mu, never while FS.mu is held
	acked  *namespace.State
	taking map[namespace.SnapshotID]*taking // snapshots that this process has begun
}

func (m *machine) Reset() { m.replace(namespace.New()) }

func (m *machine) Restore(body []byte) error {
	st, err := namespace.Decode(body)
	if err != nil {
		return err
	}
	m.replace(st)
	return nil
}

func (m *machine) replace(st *namespace.State) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.acked = st
	m.v.liveBytes.Store(st.Stats().Bytes)
	v := m.v
	v.lend(st.Owners())
	if !v.readOnly {
		return // a writer's live namespace is made when it owns the volume
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for ino, n := range v.nodes { // a reader that starts again from a newer image
		if f, ok := v.live.File(ino); ok && !n.orphan {
			if _, still := st.File(ino); !still {
				v.orphaned(f)
			}
		}
		n.hasView.Store(nil)
		if f, ok := st.File(ino); ok && !n.orphan && !mutant.On(mutReaderSize) {
			n.resize(f.Size)
		}
	}
	v.live = st
}

// frameContainer names a frame as the container of its inline bytes.
func frameContainer(f *journal.Frame) namespace.Container {
	return namespace.Container{Kind: namespace.Frame, CRC: f.CRC, Epoch: f.Epoch, Nonce: f.Nonce, Num: f.Seq}
}

// Apply takes an effective frame: during replay, and when an own frame is acknowledged.
func (m *machine) Apply(f *journal.Frame) error {
	v := m.v
	c := frameContainer(f)
	if len(f.Inline) > 0 { // what was just written or replayed is what an engine reads back first
		if v.id == (journal.VolumeID{}) {
			v.id = f.Volume // Open has not returned yet: the cache must know the frames by the name under which they are read later
		}
		v.keepFrame(f)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	off := f.InlineOffset()
	var inline int64
	err := namespace.DecodeOps(f.Ops, func(op *namespace.Op) error {
		ext := namespace.Extent{Container: c, Off: off + inline, Len: op.Len}
		if op.Kind == namespace.Append {
			inline += op.Len
			if inline > int64(len(f.Inline)) {
				return fmt.Errorf("%w: frame %d names more inline bytes than it has", ErrDamaged, f.Seq)
			}
		}
		if v.readOnly {
			return v.followOp(op, ext)
		}
		if err := m.acked.Apply(op, ext); err != nil {
			return err
		}
		if op.Kind == namespace.SnapBegin {
			if err := m.begun(op, f.Seq); err != nil {
				return err
			}
		}
		if v.live != nil {
			return v.ackedOp(op, ext)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("frame %d: %w", f.Seq, err)
	}
	v.liveBytes.Store(m.acked.Stats().Bytes)
	v.gc.released(m.acked.TakeReleased())
	v.reap(m.acked)
	v.packer.poke()
	return nil
}

// ackedOp brings the bytes of an acknowledged operation into the live namespace, which has its names already.
func (v *FS) ackedOp(op *namespace.Op, inline namespace.Extent) (err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch op.Kind {
	case namespace.Append, namespace.Extend:
		// A file that has lost its last name is not in the live namespace; its node, if it is open, takes the bytes all the same.
		err = v.live.Apply(op, inline)
		if n := v.nodes[op.Inode]; n != nil {
			exts := op.Extents
			if op.Kind == namespace.Append {
				exts = []namespace.Extent{inline}
			}
			v.journaled(n, exts)
		}
	case namespace.Pack:
		err = v.live.Apply(op, inline)
		for i := range op.Packs {
			if n := v.nodes[op.Packs[i].Inode]; n != nil && !n.orphan {
				n.hasView.Store(nil)
			}
		}
	case namespace.Touch:
		err = v.live.Apply(op, inline)
	}
	v.live.TakeReleased() // only the acknowledged namespace decides what goes
	return err
}

// followOp applies an operation to the one namespace of a read-only volume. The machine is locked.
func (v *FS) followOp(op *namespace.Op, inline namespace.Extent) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	defer v.live.TakeReleased()
	return v.applyLive(op, inline)
}

// applyLive applies an operation to the live namespace and keeps the content of open files that lose their last name.
// FS.mu is held.
func (v *FS) applyLive(op *namespace.Op, inline namespace.Extent) error {
	before := v.victims(op)
	if err := v.live.Apply(op, inline); err != nil {
		return err
	}
	for _, f := range before {
		if _, ok := v.live.File(f.Inode); !ok {
			v.orphaned(f)
		}
	}
	if v.readOnly { // a writer does this when the operation is acknowledged
		v.changed(op.Inode)
		for i := range op.Packs {
			v.changed(op.Packs[i].Inode)
		}
	}
	return nil
}

// changed makes the open handles of a file see what a follower has learned of it. FS.mu is held.
func (v *FS) changed(ino namespace.Inode) {
	n := v.nodes[ino]
	if n == nil || n.orphan {
		return
	}
	n.hasView.Store(nil)
	if f, ok := v.live.File(ino); ok {
		n.resize(f.Size)
	}
}

// victims are the open files that may lose their last name by op.
func (v *FS) victims(op *namespace.Op) []namespace.File {
	var fs []namespace.File
	add := func(path string) {
		if e, ok := v.live.Lookup(path); ok && !e.Dir && v.nodes[e.Inode] != nil {
			if f, ok := v.live.File(e.Inode); ok {
				fs = append(fs, f)
			}
		}
	}
	switch op.Kind {
	case namespace.Create, namespace.Remove:
		add(op.Path)
	case namespace.Rename:
		if op.Path != op.Path2 {
			add(op.Path2)
		}
	case namespace.RemoveAll, namespace.Restore:
		for ino := range v.nodes {
			if f, ok := v.live.File(ino); ok {
				fs = append(fs, f)
			}
		}
	}
	return fs
}

// Fence is an effective fence: what an earlier writer began is void.
func (m *machine) Fence(uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.v.readOnly { // one namespace, and readers of it
		m.v.mu.Lock()
		defer m.v.mu.Unlock()
	}
	m.acked.Fence()
	if m.v.readOnly {
		m.acked.TakeReleased()
	}
}

// Image is the body of an image of the acknowledged namespace.
func (m *machine) Image() ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if mutant.On(mutImageLive) && m.v.live != nil {
		m.v.mu.Lock()
		defer m.v.mu.Unlock()
		return m.v.live.Encode(), nil
	}
	return m.acked.Encode(), nil
}

// FirstLive is the first frame that the acknowledged namespace, a snapshot that was begun, or an open handle needs.
func (m *machine) FirstLive() (uint64, bool) {
	m.mu.Lock()
	first, ok := m.acked.FirstFrame()
	m.mu.Unlock()
	m.v.mu.Lock()
	defer m.v.mu.Unlock()
	for c := range m.v.pins {
		if c.Kind == namespace.Frame && !mutant.On(mutFirstLivePins) && c.Owner == 0 && (!ok || c.Num < first) {
			first, ok = c.Num, true
		}
	}
	return first, ok
}

// cacheID names a container in the cache: by the owning volume, so that clones share hits.
func (v *FS) cacheID(c namespace.Container) cache.ID {
	if mutant.On(mutCacheKey) {
		return cache.ID{Volume: v.id, Kind: uint8(c.Kind), Num: c.Num}
	}
	return cache.ID{Volume: v.ownerID(c), Kind: uint8(c.Kind), Epoch: c.Epoch, Nonce: c.Nonce, Num: c.Num, CRC: c.CRC}
}
