package namespace

import (
	"iter"
	"maps"
	"slices"

	"github.com/forst-go/forst/internal/mutant"
)

// Containers gives every container with a live extent, in the order of Container.Compare.
func (s *State) Containers() iter.Seq2[Container, Use] {
	return func(yield func(Container, Use) bool) {
		for _, c := range slices.SortedFunc(maps.Keys(s.containers), Container.Compare) {
			if !yield(c, s.containers[c]) {
				return
			}
		}
	}
}

// Files gives every file, in the order of the inodes.
func (s *State) Files() iter.Seq[File] {
	return func(yield func(File) bool) {
		for _, ino := range slices.Sorted(maps.Keys(s.files)) {
			if !yield(s.files[ino].public()) {
				return
			}
		}
	}
}

// Paths gives every name below the root, each directory before what it holds and its names in byte order. The root itself
// has no name and is not given.
func (s *State) Paths() iter.Seq2[string, Entry] {
	return func(yield func(string, Entry) bool) {
		type level struct {
			prefix string // of the names, with the slash
			d      *dir
			names  []string
		}
		enter := func(prefix string, d *dir) level { return level{prefix, d, d.sorted()} }
		stack := []level{enter("/", s.root)}
		for len(stack) > 0 {
			top := &stack[len(stack)-1]
			if len(top.names) == 0 {
				stack = stack[:len(stack)-1]
				continue
			}
			base := top.names[0]
			top.names = top.names[1:]
			n, path := top.d.entries[base], top.prefix+base
			if !yield(path, n.entry()) {
				return
			}
			if n.d != nil {
				stack = append(stack, enter(path+"/", n.d))
			}
		}
	}
}

// sorted gives the names of a directory in byte order.
func (d *dir) sorted() []string {
	names := make([]string, 0, len(d.entries))
	for base := range d.entries {
		names = append(names, base)
	}
	slices.Sort(names)
	return names
}

// FirstFrame gives the lowest number of a frame of this volume that holds a live extent, or is pinned by a snapshot: the journal must not be trimmed
// at or above it. It looks at every container.
func (s *State) FirstFrame() (first uint64, found bool) {
	for c := range s.containers {
		if c.Kind == Frame && (c.Owner == 0 || mutant.On(mutFirstFrame)) && (!found || c.Num < first) {
			first, found = c.Num, true
		}
	}
	for c := range s.pinned {
		if c.Kind == Frame && c.Owner == 0 && (!found || c.Num < first) && !mutant.On(mutFirstFramePins) {
			first, found = c.Num, true
		}
	}
	return first, found
}

// Inline gives every live extent that lies in a frame, of this volume or a foreign one, in the order of inodes and
// offsets: what a pack moves. It costs a look at every file, and a walk only through those that have such an extent.
func (s *State) Inline() iter.Seq2[Inode, Placed] {
	return func(yield func(Inode, Placed) bool) {
		var inos []Inode
		for ino, f := range s.files {
			if f.frames > 0 {
				inos = append(inos, ino)
			}
		}
		slices.Sort(inos)
		for _, ino := range inos {
			var off int64
			for _, e := range s.files[ino].extents {
				if e.Container.Kind == Frame && !yield(ino, Placed{ino, off, e}) {
					return
				}
				off += e.Len
			}
		}
	}
}

// Stats gives the totals; it only reads counters.
func (s *State) Stats() Stats {
	return Stats{
		Files: len(s.files), Dirs: s.dirs, Names: s.names,
		Bytes: s.bytes, InlineBytes: s.inlineBytes,
		Extents: s.extents, Containers: len(s.containers), Snapshots: len(s.snaps),
	}
}
