package namespace

import (
	"cmp"
	"fmt"
	"io/fs"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// snapshot is the rule book of the operations on snapshots.
func (m *model) snapshot(op *Op, at Extent) error {
	at1 := slices.IndexFunc(m.snaps, func(q *msnap) bool { return q.ID == op.Snap.ID })
	if op.Kind == SnapBegin {
		if at1 >= 0 {
			return fs.ErrInvalid
		}
		taken := slices.ContainsFunc(m.snaps, func(q *msnap) bool { return q.Name == op.Snap.Name && !q.Doomed })
		if taken || !m.dirs[op.Path] {
			return nil
		}
		q := &msnap{Snapshot{ID: op.Snap.ID, BodyID: op.Snap.ID, Name: op.Snap.Name, Dir: op.Path, Time: op.Time, Expires: op.Snap.Expires, Meta: op.Snap.Meta, Frame: at.Container.Num}, map[Container]bool{}}
		for _, f := range m.under(op.Path) {
			q.Files++
			q.Bytes += int64(len(f.cells))
			for _, c := range f.cells {
				q.pins[c.c] = true
			}
		}
		m.snaps = append(m.snaps, q)
		return nil
	}
	if at1 < 0 {
		return nil
	}
	q := m.snaps[at1]
	if op.Kind == SnapMove && q.Committed {
		o := op.Snap
		body := (&Snapshot{BodyID: o.BodyID, Body: o.Body}).BodyContainer()
		if slices.ContainsFunc(m.snaps, func(q *msnap) bool { return q.pins[body] }) {
			return fs.ErrInvalid
		}
		m.step(func() {
			pins := map[Container]bool{body: true}
			for c := range q.pins {
				if i := slices.IndexFunc(o.Moves, func(m Move) bool { return m.Old == c }); i >= 0 {
					c = o.Moves[i].New
				}
				pins[c] = true // the body it had among them
			}
			q.pins, q.Body, q.BodyID = pins, o.Body, o.BodyID
		})
		return nil
	}
	switch {
	case op.Kind == SnapCommit && !q.Committed:
		m.step(func() {
			maps.DeleteFunc(q.pins, func(c Container, _ bool) bool { return c.Kind == Frame })
			q.Committed, q.Body = true, op.Snap.Body
			q.pins[Container{Kind: Body, CRC: q.Body.Head, Epoch: q.ID.Epoch, Nonce: q.ID.Nonce, Num: q.ID.Num}] = true
		})
	case op.Kind == SnapDoom && q.Committed:
		q.Doomed = true
	case op.Kind == SnapRemove:
		m.step(func() { m.snaps = slices.Delete(slices.Clone(m.snaps), at1, at1+1) })
	}
	return nil
}

// fence is what a new writer does to the snapshots of the old one.
func (m *model) fence() {
	m.step(func() {
		m.snaps = slices.DeleteFunc(slices.Clone(m.snaps), func(q *msnap) bool { return !q.Committed })
	})
}

// under are the files with a name below a directory.
func (m *model) under(dir string) []*mfile {
	seen := map[*mfile]bool{}
	for p, f := range m.names {
		if dir == "/" || strings.HasPrefix(p, dir+"/") {
			seen[f] = true
		}
	}
	return slices.SortedFunc(maps.Keys(seen), func(a, b *mfile) int { return cmp.Compare(a.ino, b.ino) })
}

// restore reads the tree with Decode, which has its own tests, and enters it name by name.
func (m *model) restore(op *Op) error {
	for i := range op.Path {
		if i > 0 && op.Path[i] == '/' && m.names[op.Path[:i]] != nil {
			return ErrNotDir
		}
	}
	if m.names[op.Path] != nil {
		return errFileInTheWay
	}
	t, err := Decode(op.Snap.Tree)
	if err != nil {
		return fs.ErrInvalid
	}
	if e, ok := t.Lookup(op.Path); !ok || !e.Dir {
		return fs.ErrInvalid
	}
	for c := range t.Containers() {
		if c.Kind == Frame {
			return fs.ErrInvalid
		}
	}
	var inos []Inode
	for f := range t.Files() {
		inos = append(inos, f.Inode)
	}
	for i := range inos {
		if m.file(op.Inode+Inode(i)) != nil {
			return fs.ErrInvalid
		}
	}
	m.step(func() {
		for i := range op.Path {
			if i > 0 && op.Path[i] == '/' {
				m.dirs[op.Path[:i]] = true
			}
		}
		m.dirs[op.Path] = true
		prefix := strings.TrimSuffix(op.Path, "/") + "/"
		maps.DeleteFunc(m.dirs, func(p string, _ bool) bool { return p != "/" && strings.HasPrefix(p, prefix) })
		maps.DeleteFunc(m.names, func(p string, _ *mfile) bool { return strings.HasPrefix(p, prefix) })
		made := map[Inode]*mfile{}
		for p, e := range t.Paths() {
			if !strings.HasPrefix(p, prefix) {
				continue
			}
			if e.Dir {
				m.dirs[p] = true
				continue
			}
			f := made[e.Inode]
			if f == nil {
				old, _ := t.File(e.Inode)
				f = &mfile{ino: op.Inode + Inode(slices.Index(inos, e.Inode)), kind: old.Kind, time: old.Time}
				for _, x := range old.Extents {
					f.cells = append(f.cells, cells(x)...)
				}
				made[e.Inode] = f
			}
			m.names[p] = f
		}
	})
	m.next = max(m.next, op.Inode+Inode(len(inos)))
	return nil
}

func (m *model) differSnapshots(s *State) error {
	got := s.Snapshots()
	if len(got) != len(m.snaps) {
		return fmt.Errorf("%d snapshots; want %d", len(got), len(m.snaps))
	}
	for i, q := range m.snaps {
		want := q.Snapshot
		for c := range q.pins {
			if c != want.BodyContainer() {
				want.Containers = append(want.Containers, c)
			}
		}
		slices.SortFunc(want.Containers, Container.Compare)
		g := got[i]
		if len(g.Containers) == 0 {
			g.Containers = nil
		}
		if !reflect.DeepEqual(g, want) {
			return fmt.Errorf("snapshot %d is %+v; want %+v", i, g, want)
		}
		if byID, ok := s.Snapshot(want.ID); !ok || byID.Name != want.Name {
			return fmt.Errorf("Snapshot(%s) = %+v, %v", want.ID, byID, ok)
		}
		if named, ok := s.SnapshotNamed(want.Name); !ok || named.ID != want.ID && !want.Doomed {
			return fmt.Errorf("SnapshotNamed(%q) = %+v, %v", want.Name, named, ok)
		}
	}
	return nil
}

// snapOp makes an operation on snapshots, or a restore.
func (r *run) snapOp() (op Op, at Extent) {
	at = r.extent(Frame)
	id := SnapshotID{1, 5, uint64(1 + r.ch.below(4))}
	if len(r.m.snaps) > 0 && r.ch.below(3) > 0 {
		id = pick(r.ch, r.m.snaps).ID
	}
	switch r.ch.below(9) {
	case 0, 1, 2:
		op = Op{Kind: SnapBegin, Path: r.there(), Time: int64(r.ch.below(1000)), Snap: &SnapOp{ID: id, Name: pick(r.ch, []string{"s", "t"})}}
		if r.ch.below(2) == 0 {
			op.Path = pick(r.ch, slices.Sorted(maps.Keys(r.m.dirs)))
			op.Snap.ID.Num = uint64(5 + r.ch.below(100))
		}
		if r.ch.below(2) == 0 {
			op.Snap.Meta, op.Snap.Expires = []byte("m"), 9
		}
	case 3, 4:
		op = Op{Kind: SnapCommit, Snap: &SnapOp{ID: id, Body: BodyRef{Head: 64, CRC: 7, Size: 90}}}
	case 5:
		op = Op{Kind: SnapDoom, Snap: &SnapOp{ID: id}}
	case 6:
		op = Op{Kind: SnapRemove, Snap: &SnapOp{ID: id}}
	case 8:
		op = Op{Kind: SnapMove, Snap: &SnapOp{ID: id, BodyID: SnapshotID{1, 5, uint64(1000 + r.ch.below(1000))}, Body: BodyRef{Head: 64, CRC: 8, Size: 91}}}
		if s, ok := r.s.Snapshot(id); ok {
			for _, c := range s.Containers {
				if c.Owner != 0 && c.Kind != Frame && r.ch.below(4) > 0 {
					op.Snap.Moves = append(op.Snap.Moves, Move{c, Container{Kind: Object, Epoch: 1, Nonce: 5, Num: uint64(5000 + r.ch.below(1000)), CRC: c.CRC}})
				}
			}
		}
	case 7:
		op = Op{Kind: Restore, Path: r.path(), Inode: r.m.next + Inode(r.ch.below(2)), Snap: &SnapOp{}}
		if r.ch.below(8) == 0 {
			op.Inode = r.inode()
		}
		if r.tree == nil || r.ch.below(2) == 0 {
			dir := pick(r.ch, slices.Sorted(maps.Keys(r.m.dirs)))
			r.tree, _ = r.s.Subtree(dir)
			if r.ch.below(8) > 0 {
				n := int64(0)
				_ = r.tree.MoveFrames(func(p Placed) Extent {
					n = (n + 4) % 40
					return Extent{Container{Kind: Body, Epoch: 1, Nonce: 5, Num: 3, CRC: 64}, n, p.Extent.Len}
				})
			}
			if r.ch.below(3) > 0 {
				op.Path = dir
			}
		}
		op.Snap.Tree = r.tree.Encode()
	}
	return op, at
}
