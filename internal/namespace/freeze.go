package namespace

import (
	"io/fs"
	"slices"
)

// Frozen is a directory as it was in one moment. Whoever holds a lock over a State takes it under the lock, in one pass that makes no map and no file, and builds the
// State of it when the lock is free.
type Frozen struct {
	path   string
	next   Inode
	owners []Owner
	files  int
	dirs   [][]frozenName // the first one is that of path; each stands behind the one that names it
}

type frozenName struct {
	base string
	sub  int // of a directory: its place in dirs; else 0
	f    file
}

// Freeze takes a directory, its parents and all below it, under the same names and inodes, and nothing else; no snapshots. What the State does later does not
// change it. A missing directory gives fs.ErrNotExist, a file ErrNotDir.
func (s *State) Freeze(path string) (*Frozen, error) {
	if !validPath(path) {
		return nil, &fs.PathError{Op: "freeze", Path: path, Err: errPath}
	}
	n, err := s.find(path)
	if err == nil && n.d == nil {
		err = ErrNotDir
	}
	if err != nil {
		return nil, &fs.PathError{Op: "freeze", Path: path, Err: err}
	}
	z := &Frozen{path: path, next: s.next, owners: slices.Clone(s.owners), dirs: make([][]frozenName, 1)}
	todo := []*dir{n.d}
	for i := 0; i < len(todo); i++ {
		names := make([]frozenName, 0, len(todo[i].entries))
		for base, e := range todo[i].entries {
			if e.d != nil {
				names = append(names, frozenName{base: base, sub: len(todo)})
				todo = append(todo, e.d)
				continue
			}
			f := *e.f
			names = append(names, frozenName{base: base, f: f}) // with its extents: those that are there now never change
			z.files++
		}
		z.dirs[i] = names
		z.dirs = append(z.dirs, make([][]frozenName, len(todo)-len(z.dirs))...)
	}
	return z, nil
}

// State builds what was frozen. It shares nothing that either may modify, and may be called again.
func (z *Frozen) State() *State {
	t := New()
	t.next, t.owners = z.next, slices.Clone(z.owners)
	if z.path != "/" {
		t.mkdir(z.path)
	}
	top, _ := t.find(z.path)
	dirs := make([]*dir, len(z.dirs))
	dirs[0] = top.d
	t.files = make(map[Inode]*file, z.files)
	for i, names := range z.dirs {
		d := dirs[i]
		if len(names) > 0 {
			d.entries = make(map[string]node, len(names))
		}
		for j := range names {
			n := &names[j]
			if n.sub > 0 {
				dirs[n.sub] = &dir{}
				d.entries[n.base] = node{d: dirs[n.sub]}
				t.dirs++
				continue
			}
			f := t.files[n.f.ino]
			if f == nil { // not another name of one that is there
				f = &file{ino: n.f.ino, kind: n.f.kind, time: n.f.time, extents: make([]Extent, 0, len(n.f.extents))}
				for _, x := range n.f.extents {
					t.add(f, x)
				}
				t.files[f.ino] = f
			}
			f.links++
			t.names++
			d.entries[n.base] = node{f: f}
		}
	}
	return t
}

// Subtree is Freeze and State in one.
func (s *State) Subtree(path string) (*State, error) {
	z, err := s.Freeze(path)
	if err != nil {
		return nil, err
	}
	return z.State(), nil
}
