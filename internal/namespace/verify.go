package namespace

import (
	"fmt"
	"maps"
	"slices"
)

// Verify checks the State against itself and names what does not fit: links against names, sizes, reference counts and totals
// against extents, no file without a name, no container both in use and released. It walks through everything.
func (s *State) Verify() error {
	links := make(map[*file]int32)
	var dirs, names int
	queue := []*dir{s.root}
	for len(queue) > 0 {
		d := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		for base, n := range d.entries {
			switch {
			case !validBase(base):
				return fmt.Errorf("name %q is not legal", base)
			case (n.f == nil) == (n.d == nil):
				return fmt.Errorf("name %q is neither a file nor a directory", base)
			case n.d != nil:
				dirs++
				queue = append(queue, n.d)
			default:
				names++
				links[n.f]++
			}
		}
	}
	use := make(map[Container]Use)
	var sum Stats
	for ino, f := range s.files {
		if f.ino != ino || ino == 0 || ino >= s.next || f.kind > Local || f.time < 0 {
			return fmt.Errorf("inode %d is entered as %d (next %d, kind %d, time %d)", f.ino, ino, s.next, f.kind, f.time)
		}
		if f.links < 1 || links[f] != f.links {
			return fmt.Errorf("inode %d counts %d links and has %d names", ino, f.links, links[f])
		}
		delete(links, f)
		var size int64
		var frames int32
		for i := range f.extents {
			e := &f.extents[i]
			if err := s.checkExtent(e); err != nil {
				return fmt.Errorf("inode %d: %w", ino, err)
			}
			u := use[e.Container]
			use[e.Container] = Use{u.Bytes + e.Len, u.Refs + 1}
			size += e.Len
			if e.Container.Kind == Frame {
				frames++
				sum.InlineBytes += e.Len
			}
		}
		if size != f.size || frames != f.frames {
			return fmt.Errorf("inode %d says %d bytes and %d inline extents, has %d and %d", ino, f.size, f.frames, size, frames)
		}
		sum.Bytes += size
		sum.Extents += len(f.extents)
	}
	for f := range links {
		return fmt.Errorf("inode %d has a name and is not entered", f.ino)
	}
	if !maps.Equal(use, s.containers) {
		return fmt.Errorf("containers in use: counted %d, entered %d, or with other totals", len(use), len(s.containers))
	}
	for c := range s.released {
		if use[c].Refs > 0 {
			return fmt.Errorf("container %+v is released and in use", c)
		}
	}
	if err := s.verifySnapshots(); err != nil {
		return err
	}
	sum.Snapshots = len(s.snaps)
	sum.Files, sum.Dirs, sum.Names, sum.Containers = len(s.files), dirs, names, len(use)
	if got := s.Stats(); got != sum {
		return fmt.Errorf("totals are %+v, should be %+v", got, sum)
	}
	return nil
}

// Clone copies the State; the two share no memory that either may modify.
func (s *State) Clone() *State {
	t := *s
	t.files = make(map[Inode]*file, len(s.files))
	for ino, f := range s.files {
		g := *f
		g.extents = slices.Clone(f.extents)
		t.files[ino] = &g
	}
	t.containers = maps.Clone(s.containers)
	t.released = maps.Clone(s.released)
	t.owners = slices.Clone(s.owners)
	t.pinned = maps.Clone(s.pinned)
	t.snaps = make([]*Snapshot, len(s.snaps))
	for i, q := range s.snaps {
		r := *q
		t.snaps[i] = &r
	}
	type pair struct{ from, to *dir }
	t.root = &dir{}
	for todo := []pair{{s.root, t.root}}; len(todo) > 0; {
		p := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if p.from.entries == nil {
			continue
		}
		p.to.entries = make(map[string]node, len(p.from.entries))
		for base, n := range p.from.entries {
			if n.f != nil {
				p.to.entries[base] = node{f: t.files[n.f.ino]}
				continue
			}
			sub := &dir{}
			p.to.entries[base] = node{d: sub}
			todo = append(todo, pair{n.d, sub})
		}
	}
	return &t
}
