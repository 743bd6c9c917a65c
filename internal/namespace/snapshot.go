package namespace

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/forst-go/forst/internal/mutant"
)

// SnapshotID names a snapshot for ever: it is given by the writer and never used twice in a volume. It names the body, too.
type SnapshotID struct {
	Epoch, Nonce, Num uint64
}

// String is the last part of the key of the body.
func (id SnapshotID) String() string {
	return fmt.Sprintf("%08x-%016x-%08x", id.Epoch, id.Nonce, id.Num)
}

// BodyRef is what the commit of a snapshot says about its body.
type BodyRef struct {
	Head uint32 // header and inline bytes: extents end here
	CRC  uint32 // the checksum at its end
	Size int64  // bytes of the object
}

// SnapOp is the part of an operation that only those on snapshots have.
type SnapOp struct {
	ID      SnapshotID
	Name    string     // SnapBegin
	Expires int64      // SnapBegin: Unix nanoseconds; 0: never
	Meta    []byte     // SnapBegin: the user's
	Body    BodyRef    // SnapCommit, SnapMove
	BodyID  SnapshotID // SnapMove: the name of the new body
	Moves   []Move     // SnapMove: ascending by Old
	Tree    []byte     // Restore: what Encode gives for a State that holds what Path becomes
}

// Move says that a container of another volume was copied, with its layout, into an object of this one.
type Move struct{ Old, New Container }

// The limits of a snapshot.
const (
	MaxSnapshotName = 255     // bytes
	MaxSnapshotMeta = 1 << 20 // bytes
)

// Snapshot describes a snapshot.
type Snapshot struct {
	ID        SnapshotID
	Name      string
	Dir       string // clean; "/" for the whole volume
	Time      int64  // Unix nanoseconds
	Expires   int64  // the same; 0: never
	Meta      []byte // must not be modified
	Frame     uint64 // number of the frame that began it
	Files     int
	Bytes     int64 // sum of the sizes of the files
	Committed bool
	Doomed    bool       // its removal has begun, and cannot be taken back
	Body      BodyRef    // if committed
	BodyID    SnapshotID // names the body; ID, until the snapshot is moved

	// Containers are those that it pins, ascending; when it is committed, its body is one more. Must not be modified.
	Containers []Container
}

// BodyContainer is the body of a committed snapshot as the container of bytes.
func (s *Snapshot) BodyContainer() Container {
	return Container{Kind: Body, CRC: s.Body.Head, Epoch: s.BodyID.Epoch, Nonce: s.BodyID.Nonce, Num: s.BodyID.Num}
}

// pins calls fn for everything that the snapshot keeps from deletion.
func (s *Snapshot) pins(fn func(Container)) {
	for _, c := range s.Containers {
		fn(c)
	}
	if s.Committed {
		fn(s.BodyContainer())
	}
}

// Snapshots gives all snapshots in the order in which they began, unfinished and doomed ones, too. The caller owns the slice.
func (s *State) Snapshots() []Snapshot {
	out := make([]Snapshot, len(s.snaps))
	for i, p := range s.snaps {
		out[i] = *p
	}
	return out
}

// Snapshot finds a snapshot by its id.
func (s *State) Snapshot(id SnapshotID) (Snapshot, bool) {
	if p := s.snapshot(id); p != nil {
		return *p, true
	}
	return Snapshot{}, false
}

func (s *State) snapshot(id SnapshotID) *Snapshot {
	for _, p := range s.snaps {
		if p.ID == id {
			return p
		}
	}
	return nil
}

// SnapshotNamed finds the snapshot that has a name: there is at most one that is not doomed; else the last doomed one.
func (s *State) SnapshotNamed(name string) (found Snapshot, ok bool) {
	for _, p := range s.snaps {
		if p.Name == name && (!ok || !p.Doomed) {
			found, ok = *p, true
			if !p.Doomed {
				break
			}
		}
	}
	return found, ok
}

// Pinned says how many snapshots need a container, whether files do or not.
func (s *State) Pinned(c Container) int { return int(s.pinned[c]) }

// Needs reports whether a file or a snapshot needs a container.
func (s *State) Needs(c Container) bool {
	return s.containers[c].Refs > 0 || s.pinned[c] > 0 && !mutant.On(mutPinsUnseen)
}

// Needed gives every container that a file or a snapshot needs, in the order of Container.Compare.
func (s *State) Needed() iter.Seq2[Container, Use] {
	return func(yield func(Container, Use) bool) {
		all := maps.Clone(s.containers)
		for c := range s.pinned {
			if _, ok := all[c]; !ok && !mutant.On(mutPinsUnseen) {
				all[c] = Use{}
			}
		}
		for _, c := range slices.SortedFunc(maps.Keys(all), Container.Compare) {
			if !yield(c, all[c]) {
				return
			}
		}
	}
}

// EachNeeded calls fn for what Needed gives, in no order and without a copy; fn must not change the State.
func (s *State) EachNeeded(fn func(Container, Use)) {
	for c, use := range s.containers {
		fn(c, use)
	}
	for c := range s.pinned {
		if _, ok := s.containers[c]; !ok && !mutant.On(mutPinsUnseen) {
			fn(c, Use{})
		}
	}
}

// Fence drops the snapshots that an earlier writer began and did not commit.
func (s *State) Fence() {
	if mutant.On(mutFenceKeeps) {
		return
	}
	for _, p := range slices.Clone(s.snaps) {
		if !p.Committed {
			s.unsnap(p)
		}
	}
}

// Forget drops all snapshots and what they alone need, without reporting it as released: for a copy that is only a view of the files.
func (s *State) Forget() {
	s.snaps, s.pinned = nil, map[Container]int32{}
}

func (s *State) planSnapshot(op *Op) (p plan, err error) {
	switch {
	case op.Snap == nil:
		err = fmt.Errorf("no snapshot: %w", fs.ErrInvalid)
	case op.Kind == SnapBegin:
		p, err = s.planBegin(op)
	case op.Kind == SnapMove:
		p, err = s.planMoveSnapshot(op.Snap)
	case op.Kind == SnapCommit && (op.Snap.Body.Size < int64(op.Snap.Body.Head) || op.Snap.Body.Head == 0):
		err = fmt.Errorf("body of %d bytes with a head of %d: %w", op.Snap.Body.Size, op.Snap.Body.Head, fs.ErrInvalid)
	default:
		q := s.snapshot(op.Snap.ID)
		p.nothing = q == nil || op.Kind == SnapCommit && q.Committed || op.Kind == SnapDoom && (q.Doomed || !q.Committed)
	}
	if err != nil {
		return p, fmt.Errorf("%s: %w", op.Kind, err)
	}
	return p, nil
}

// planBegin refuses what no writer sends. A name that is taken, and a directory that is none, are nothing: the writer learns of it when it looks for its
// snapshot.
func (s *State) planBegin(op *Op) (p plan, err error) {
	o := op.Snap
	switch {
	case !validPath(op.Path):
		return p, errPath
	case o.Name == "" || len(o.Name) > MaxSnapshotName:
		return p, fmt.Errorf("name of %d bytes: %w", len(o.Name), fs.ErrInvalid)
	case len(o.Meta) > MaxSnapshotMeta:
		return p, fmt.Errorf("%d bytes of the user's: %w", len(o.Meta), fs.ErrInvalid)
	case op.Time < 0 || o.Expires < 0:
		return p, errTime
	case s.snapshot(o.ID) != nil:
		return p, fmt.Errorf("id %s is in use: %w", o.ID, fs.ErrInvalid)
	}
	n, err := s.find(op.Path)
	p.now = n
	p.nothing = err != nil || n.d == nil
	if q, ok := s.SnapshotNamed(o.Name); ok && !q.Doomed {
		p.nothing = true
	}
	return p, nil
}

// begin pins what the files of the directory have, frames included.
func (s *State) begin(op *Op, p *plan, frame uint64) {
	o := op.Snap
	q := &Snapshot{ID: o.ID, BodyID: o.ID, Name: strings.Clone(o.Name), Dir: strings.Clone(op.Path), Time: op.Time, Expires: o.Expires, Meta: slices.Clone(o.Meta), Frame: frame}
	if p.now.d == s.root {
		q.Files, q.Bytes = len(s.files), s.bytes
		q.Containers = slices.AppendSeq(make([]Container, 0, len(s.containers)), maps.Keys(s.containers))
	} else {
		use := make(map[Container]struct{})
		for f := range filesBelow(p.now.d) {
			q.Files++
			q.Bytes += f.size
			for i := range f.extents {
				use[f.extents[i].Container] = struct{}{}
			}
		}
		q.Containers = slices.AppendSeq(make([]Container, 0, len(use)), maps.Keys(use))
	}
	slices.SortFunc(q.Containers, Container.Compare)
	if mutant.On(mutBeginPinsNothing) {
		q.Containers = nil
	}
	s.snaps = append(s.snaps, q)
	if len(s.pinned) == 0 {
		s.pinned = make(map[Container]int32, len(q.Containers)) // at once: it does not grow step by step while the volume waits
	}
	q.pins(s.pin)
}

// commit leaves the frames to the journal: their bytes are in the body from here on.
func (s *State) commit(q *Snapshot, body BodyRef) {
	var kept []Container
	var gone []Container
	for _, c := range q.Containers {
		if c.Kind == Frame && !mutant.On(mutCommitKeepsFrames) {
			gone = append(gone, c)
		} else {
			kept = append(kept, c)
		}
	}
	q.Containers, q.Committed, q.Body = kept, true, body
	s.pin(q.BodyContainer())
	for _, c := range gone {
		s.unpin(c)
	}
}

// planMoveSnapshot refuses copies that are not this volume's own. What is not there any more, or not committed, is not moved.
func (s *State) planMoveSnapshot(o *SnapOp) (p plan, err error) {
	if o.Body.Size < int64(o.Body.Head) || o.Body.Head == 0 {
		return p, fmt.Errorf("body of %d bytes with a head of %d: %w", o.Body.Size, o.Body.Head, fs.ErrInvalid)
	}
	for i := range o.Moves {
		m := &o.Moves[i]
		switch {
		case m.Old.Owner == 0 || m.Old.Kind == Frame || m.New.Owner != 0 || m.New.Kind != Object:
			err = fs.ErrInvalid
		case i > 0 && o.Moves[i-1].Old.Compare(m.Old) >= 0:
			err = fmt.Errorf("out of order: %w", fs.ErrInvalid)
		default:
			err = errors.Join(s.checkContainer(&m.Old), s.checkContainer(&m.New))
		}
		if err != nil {
			return p, fmt.Errorf("container %d: %w", i, err)
		}
	}
	q := s.snapshot(o.ID)
	p.nothing = q == nil || !q.Committed
	if !p.nothing && s.pinned[bodyContainer(o.BodyID, o.Body)] > 0 {
		return p, fmt.Errorf("body %s is in use: %w", o.BodyID, fs.ErrInvalid)
	}
	return p, nil
}

func bodyContainer(id SnapshotID, b BodyRef) Container {
	return (&Snapshot{BodyID: id, Body: b}).BodyContainer()
}

// moveSnapshot gives a snapshot another body and copies of what it borrowed. The body that it had stays pinned: its inline bytes are where the new one refers to, and
// clones that were made before need it.
func (s *State) moveSnapshot(q *Snapshot, o *SnapOp) {
	was := *q
	to := make(map[Container]Container, len(o.Moves))
	for _, m := range o.Moves {
		to[m.Old] = m.New
	}
	use := make(map[Container]struct{}, len(q.Containers)+1)
	if !mutant.On(mutMoveDropsBody) {
		use[q.BodyContainer()] = struct{}{}
	}
	for _, c := range q.Containers {
		if n, ok := to[c]; ok {
			c = n
		}
		use[c] = struct{}{}
	}
	q.Containers, q.Body, q.BodyID = slices.SortedFunc(maps.Keys(use), Container.Compare), o.Body, o.BodyID
	q.pins(s.pin)
	was.pins(s.unpin)
}

func (s *State) unsnap(q *Snapshot) {
	s.snaps = slices.DeleteFunc(slices.Clone(s.snaps), func(p *Snapshot) bool { return p == q })
	q.pins(s.unpin)
}

func (s *State) pin(c Container) {
	s.pinned[c]++
	delete(s.released, c)
}

func (s *State) unpin(c Container) {
	if s.pinned[c]--; s.pinned[c] > 0 {
		return
	}
	delete(s.pinned, c)
	if s.containers[c].Refs == 0 {
		s.released[c] = struct{}{}
	}
}

// AllocInodes gives the first of n inode numbers in a row that nothing has used before.
func (s *State) AllocInodes(n int) Inode {
	ino := s.next
	s.next += Inode(n)
	return ino
}

// MoveFrames gives every extent that lies in a frame the place that to names, which must hold the same bytes: for a copy that is about to be
// encoded without the journal. Neighbours are joined as by a pack.
func (s *State) MoveFrames(to func(Placed) Extent) error {
	var moves []Repack
	for ino, at := range s.Inline() {
		r := Repack{Inode: ino, FileOff: at.FileOff, Old: at.Extent, New: to(at)}
		if err := s.checkRepack(&r); err != nil {
			return err
		}
		moves = append(moves, r)
	}
	s.pack(moves)
	return nil
}

// verifySnapshots is the part of Verify about snapshots.
func (s *State) verifySnapshots() error {
	pinned := make(map[Container]int32)
	names := make(map[string]bool)
	ids := make(map[SnapshotID]bool)
	for _, q := range s.snaps {
		if ids[q.ID] || names[q.Name] && !q.Doomed || q.Doomed && !q.Committed {
			return fmt.Errorf("snapshot %s %q: id or name are used twice, or it is doomed and not committed", q.ID, q.Name)
		}
		ids[q.ID] = true
		names[q.Name] = names[q.Name] || !q.Doomed
		q.pins(func(c Container) { pinned[c]++ })
		if !slices.IsSortedFunc(q.Containers, Container.Compare) {
			return fmt.Errorf("snapshot %s: containers out of order", q.ID)
		}
		for _, c := range q.Containers {
			if c.Kind == Frame && q.Committed && !mutant.On(mutCommitKeepsFrames) {
				return fmt.Errorf("snapshot %s is committed and pins frame %d", q.ID, c.Num)
			}
		}
	}
	if !maps.Equal(pinned, s.pinned) {
		return errors.New("pins are not those of the snapshots")
	}
	for c := range s.released {
		if pinned[c] > 0 {
			return fmt.Errorf("container %+v is released and pinned", c)
		}
	}
	return nil
}

// Compare orders ids by epoch, nonce, number.
func (id SnapshotID) Compare(o SnapshotID) int {
	return cmp.Or(cmp.Compare(id.Epoch, o.Epoch), cmp.Compare(id.Nonce, o.Nonce), cmp.Compare(id.Num, o.Num))
}
