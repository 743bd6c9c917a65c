package namespace

import (
	"fmt"
	"slices"
)

// Lend gives the namespace of a clone: the same names, inodes and bytes, of which the clone owns nothing. What s owns belongs to the volume self there; what s
// borrows itself still belongs to whom it belongs, with the place that where gives. Owners that no extent needs are left out. An extent in a frame is an
// error: frames are never lent. s must have no snapshots. The two share nothing that either may modify.
func (s *State) Lend(self Owner, where func(Owner) Owner) (*State, error) {
	t := s.Clone()
	t.owners, t.containers = nil, make(map[Container]Use, len(s.containers))
	clear(t.released)
	number := make(map[uint32]uint32)
	for _, f := range t.files {
		for i := range f.extents {
			e := &f.extents[i]
			if e.Container.Kind == Frame {
				return nil, fmt.Errorf("%w: inode %d has bytes in frame %d, which cannot be lent", ErrCorrupt, f.ino, e.Container.Num)
			}
			e.Container.Owner = s.lent(t, number, e.Container.Owner, self, where)
			u := t.containers[e.Container]
			t.containers[e.Container] = Use{u.Bytes + e.Len, u.Refs + 1}
		}
	}
	return t, nil
}

// lent numbers an owner in t as it is met first.
func (s *State) lent(t *State, number map[uint32]uint32, owner uint32, self Owner, where func(Owner) Owner) uint32 {
	if n := number[owner]; n > 0 {
		return n
	}
	o := self
	if owner > 0 {
		o = where(s.owners[owner-1])
	}
	number[owner] = t.AddOwner(o)
	return number[owner]
}

// Borrowed gives every extent that lies in a container of another volume, in the order of inodes and offsets: what a detach moves.
func (s *State) Borrowed() []Placed {
	var all []Placed
	for f := range s.Files() {
		var off int64
		for _, e := range f.Extents {
			if e.Container.Owner != 0 {
				all = append(all, Placed{f.Inode, off, e})
			}
			off += e.Len
		}
	}
	return slices.Clip(all)
}

// MoveBorrowed gives every extent that lies in a container of another volume the same place in the one that to names, which is a copy of it: for a copy of a namespace that is about
// to be encoded. Neighbours are joined as by a pack.
func (s *State) MoveBorrowed(to func(Container) Container) error {
	var moves []Repack
	for _, at := range s.Borrowed() {
		r := Repack{Inode: at.Inode, FileOff: at.FileOff, Old: at.Extent, New: at.Extent}
		r.New.Container = to(at.Extent.Container)
		if err := s.checkRepack(&r); err != nil {
			return err
		}
		moves = append(moves, r)
	}
	s.pack(moves)
	return nil
}

// Own gives every container that is borrowed the place that to names, which holds the same bytes at the same offsets: for a copy of a
// namespace before it is encoded. The owners are forgotten.
func (s *State) Own(to func(Container) Container) {
	s.containers = make(map[Container]Use, len(s.containers))
	for _, f := range s.files {
		f.extents = slices.Clone(f.extents)
		for i := range f.extents {
			e := &f.extents[i]
			if e.Container.Owner != 0 {
				e.Container = to(e.Container)
			}
			u := s.containers[e.Container]
			s.containers[e.Container] = Use{u.Bytes + e.Len, u.Refs + 1}
		}
	}
	s.owners = nil
}
