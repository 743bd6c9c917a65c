package namespace

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/forst-go/forst/internal/mutant"
)

// Apply performs op. For an Append, inline is where its bytes lie: an extent of op.Len bytes in a frame; of a SnapBegin the
// number of its container is that of the frame; for all others it is not looked at. An operation that is not legal now (see Check) gives an error that matches ErrCorrupt and changes nothing,
// because the journal holds legal operations only. The State keeps nothing of op's slices and strings.
func (s *State) Apply(op *Op, inline Extent) error {
	p, err := s.plan(op)
	if err == nil && op.Kind == Append {
		err = s.checkInline(op, &inline)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if p.nothing {
		return nil
	}
	switch op.Kind {
	case Mkdir:
		s.mkdir(op.Path)
	case Create:
		s.create(op, &p)
	case Link:
		p.now.f.links++
		s.names++
		p.d2.put(p.base2, p.now)
		if mutant.On(mutLinkIsRename) {
			p.d.take(p.base)
			s.drop(p.now.f)
		}
	case Rename:
		if f := p.now2.f; f != nil && !mutant.On(mutRenameKeepsLinks) {
			s.drop(f)
		}
		p.d.take(p.base)
		p.d2.put(p.base2, p.now)
	case Remove, RemoveAll:
		p.d.take(p.base)
		s.dropTree(p.now)
	case Append:
		s.add(p.f, inline)
	case Extend:
		p.f.extents = slices.Grow(p.f.extents, len(op.Extents))
		for _, e := range op.Extents {
			s.add(p.f, e)
		}
	case Pack:
		s.pack(op.Packs)
	case Touch:
		p.f.time = op.Time
	case SnapBegin:
		s.begin(op, &p, inline.Container.Num)
	case SnapCommit:
		s.commit(s.snapshot(op.Snap.ID), op.Snap.Body)
	case SnapDoom:
		s.snapshot(op.Snap.ID).Doomed = true
	case SnapRemove:
		s.unsnap(s.snapshot(op.Snap.ID))
	case Restore:
		s.restore(op, &p)
	case SnapMove:
		s.moveSnapshot(s.snapshot(op.Snap.ID), op.Snap)
	}
	return nil
}

func (s *State) checkInline(op *Op, e *Extent) error {
	if err := s.checkExtent(e); err != nil {
		return err
	}
	if e.Container.Kind != Frame || e.Len != op.Len {
		return fmt.Errorf("append of %d bytes, which are %d in a container of kind %d: %w", op.Len, e.Len, e.Container.Kind, fs.ErrInvalid)
	}
	return nil
}

func (s *State) mkdir(path string) {
	d := s.root
	for seg := range strings.SplitSeq(path[1:], "/") {
		n := d.entries[seg]
		if n.d == nil {
			n.d = &dir{}
			d.put(seg, n)
			s.dirs++
		}
		d = n.d
	}
}

func (s *State) create(op *Op, p *plan) {
	f := &file{ino: op.Inode, kind: op.File, time: op.Time, links: 1}
	if old := p.now.f; old != nil {
		if mutant.On(mutCreateKeepsBytes) {
			for _, e := range old.extents {
				s.add(f, e)
			}
		}
		s.drop(old)
	}
	s.files[f.ino] = f
	s.names++
	p.d.put(p.base, node{f: f})
	if f.ino >= s.next && !mutant.On(mutNextForgotten) {
		s.next = f.ino + 1
	}
}

// drop takes one name from f; with the last one the file goes and its extents are released.
func (s *State) drop(f *file) {
	s.names--
	f.links--
	if f.links > 0 {
		if mutant.On(mutRemoveFrees) {
			for _, e := range f.extents {
				s.released[e.Container] = struct{}{}
			}
		}
		return
	}
	for _, e := range f.extents {
		s.unref(f, e)
	}
	s.bytes -= f.size
	delete(s.files, f.ino)
}

// dropTree drops a file, or a directory with all below it. It does not recurse: a tree may be deeper than a stack.
func (s *State) dropTree(n node) {
	todo := []node{n}
	for len(todo) > 0 {
		n = todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if n.f != nil {
			s.drop(n.f)
			continue
		}
		s.dirs--
		for _, m := range n.d.entries {
			if m.d != nil && mutant.On(mutRemoveAllShallow) {
				s.dirs--
				continue
			}
			todo = append(todo, m)
		}
	}
}
