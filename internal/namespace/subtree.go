package namespace

import (
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"slices"
)

// filesBelow gives each file with a name below d, once.
func filesBelow(d *dir) iter.Seq[*file] {
	return func(yield func(*file) bool) {
		seen := make(map[*file]struct{})
		for todo := []*dir{d}; len(todo) > 0; {
			d, todo = todo[len(todo)-1], todo[:len(todo)-1]
			for _, n := range d.entries {
				if n.d != nil {
					todo = append(todo, n.d)
					continue
				}
				if _, again := seen[n.f]; again {
					continue
				}
				seen[n.f] = struct{}{}
				if !yield(n.f) {
					return
				}
			}
		}
	}
}

// graft makes path, which may be missing, a directory with copies of what is below d, in the place of what was there.
func (s *State) graft(path string, d *dir, number func(*file) Inode) {
	if path != "/" {
		s.mkdir(path)
	}
	n, _ := s.find(path)
	for _, e := range n.d.entries {
		s.dropTree(e)
	}
	n.d.entries = nil
	copies := make(map[*file]*file)
	type pair struct{ from, to *dir }
	for todo := []pair{{d, n.d}}; len(todo) > 0; {
		p := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if len(p.from.entries) > 0 {
			p.to.entries = make(map[string]node, len(p.from.entries))
		}
		for base, e := range p.from.entries {
			if e.d != nil {
				sub := &dir{}
				p.to.entries[base] = node{d: sub}
				s.dirs++
				todo = append(todo, pair{e.d, sub})
				continue
			}
			f := copies[e.f]
			if f == nil {
				f = &file{ino: number(e.f), kind: e.f.kind, time: e.f.time, extents: make([]Extent, 0, len(e.f.extents))}
				for _, x := range e.f.extents {
					s.add(f, x)
				}
				copies[e.f] = f
				s.files[f.ino] = f
				s.next = max(s.next, f.ino+1)
			}
			f.links++
			s.names++
			p.to.entries[base] = node{f: f}
		}
	}
}

// planRestore wants a directory, or nothing where one can be made, and a tree that has one of that name.
func (s *State) planRestore(op *Op) (p plan, err error) {
	if op.Snap == nil {
		return p, fmt.Errorf("restore without a tree: %w", fs.ErrInvalid)
	}
	if p, err = s.planMkdir(&Op{Kind: op.Kind, Path: op.Path}); err != nil {
		return p, err
	}
	p.nothing = false
	t, err := Decode(op.Snap.Tree)
	if err != nil {
		return p, pathErr(op, op.Path, fmt.Errorf("%w: %w", fs.ErrInvalid, err))
	}
	if len(t.owners) > len(s.owners) || len(t.snaps) > 0 || !slices.EqualFunc(t.owners, s.owners[:len(t.owners)], func(a, b Owner) bool { return a.Volume == b.Volume }) {
		return p, pathErr(op, op.Path, fmt.Errorf("%w: the tree is of another volume", fs.ErrInvalid))
	}
	for c := range t.containers {
		if c.Kind == Frame {
			return p, pathErr(op, op.Path, fmt.Errorf("%w: the tree has bytes in frames", fs.ErrInvalid))
		}
	}
	if p.now, err = t.find(op.Path); err == nil && p.now.d == nil {
		err = ErrNotDir
	}
	if err != nil {
		return p, pathErr(op, op.Path, fmt.Errorf("%w: the tree: %v", fs.ErrInvalid, err))
	}
	n := Inode(len(t.files))
	if op.Inode == 0 || op.Inode > maxInode || n > maxInode-op.Inode+1 {
		return p, pathErr(op, op.Path, fmt.Errorf("%w: %d inodes from %d on", fs.ErrInvalid, n, op.Inode))
	}
	for i := range n {
		if s.files[op.Inode+i] != nil {
			return p, pathErr(op, op.Path, fmt.Errorf("inode %d is in use: %w", op.Inode+i, fs.ErrInvalid))
		}
	}
	p.tree = t
	return p, nil
}

// restore gives the files of the tree new inodes, in the order of those that they have in the tree.
func (s *State) restore(op *Op, p *plan) {
	order := slices.Sorted(maps.Keys(p.tree.files))
	s.graft(op.Path, p.now.d, func(f *file) Inode {
		i, _ := slices.BinarySearch(order, f.ino)
		return op.Inode + Inode(i)
	})
	s.next = max(s.next, op.Inode+Inode(len(order)))
}
