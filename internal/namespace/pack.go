package namespace

import (
	"slices"

	"github.com/forst-go/forst/internal/mutant"
)

// packing is a file that a pack works on.
type packing struct {
	f    *file
	offs []int64 // where each extent begins in the file; a replacement has the same length, so these stay
	own  bool    // f.extents is this pack's own copy
}

// pack performs the replacements in their order. One takes place only if its file is still there and has, at exactly that
// offset, exactly the old extent: whatever happened to the file since the extents were collected, the bytes stay the same.
// Joined extents stop matching what was collected before they were joined, which is as good as a file that is gone.
func (s *State) pack(packs []Repack) {
	if mutant.On(mutPackByFile) {
		s.packByFile(packs)
		return
	}
	open := make(map[Inode]*packing)
	for i := range packs {
		r := &packs[i]
		p := open[r.Inode]
		if p == nil {
			f := s.files[r.Inode]
			if f == nil {
				continue
			}
			p = &packing{f: f, offs: make([]int64, len(f.extents))}
			var off int64
			for i := range f.extents {
				p.offs[i] = off
				off += f.extents[i].Len
			}
			open[r.Inode] = p
		}
		at, found := slices.BinarySearch(p.offs, r.FileOff)
		if !found || p.f.extents[at] != r.Old && !mutant.On(mutPackByOffset) {
			continue
		}
		if !p.own && !mutant.On(mutPackInPlace) {
			p.f.extents = slices.Clone(p.f.extents) // the old slice may be in a reader's hands
			p.own = true
		}
		s.ref(p.f, r.New)
		s.unref(p.f, p.f.extents[at])
		p.f.extents[at] = r.New
	}
	for _, p := range open {
		if p.own {
			s.join(p.f)
		}
	}
}

// join makes neighbouring extents one where they follow each other in one data object or body, so that a log with a sync per record
// does not carry an extent per record for ever. Frames are left alone: their extents are what later packs name. The pack
// before owns f.extents. Which extents are joined depends on the sequence of operations only.
func (s *State) join(f *file) {
	n := 0
	for i := range f.extents {
		if i == 0 || !follows(&f.extents[i-1], &f.extents[i]) {
			n++
		}
	}
	if n == len(f.extents) {
		return
	}
	joined := make([]Extent, 0, n)
	for i, e := range f.extents {
		if i == 0 || !follows(&f.extents[i-1], &e) {
			joined = append(joined, e)
			continue
		}
		joined[len(joined)-1].Len += e.Len
		u := s.containers[e.Container]
		s.containers[e.Container] = Use{u.Bytes, u.Refs - 1}
		s.extents--
	}
	f.extents = joined
}

// follows reports whether b continues a in a data object or body.
func follows(a, b *Extent) bool {
	return b.Off == a.Off+a.Len && b.Container == a.Container && b.Container.Kind != Frame
}

// packByFile is a mutant: each file that the pack names gets the extents that were collected.
func (s *State) packByFile(packs []Repack) {
	seen := make(map[Inode]bool)
	for i := range packs {
		f := s.files[packs[i].Inode]
		if f == nil {
			continue
		}
		if !seen[f.ino] {
			seen[f.ino] = true
			for _, e := range f.extents {
				s.unref(f, e)
			}
			s.bytes -= f.size
			f.size, f.extents = 0, nil
		}
		s.add(f, packs[i].New)
	}
}
