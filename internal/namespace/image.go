package namespace

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"
)

// The body of an image is a version byte and sections; docs/format.md, "Namespace body", has the tables.
const (
	bodyVersion = 1

	secInodes = 1 // the next inode
	secOwners = 2 // foreign volumes
	secFiles  = 3 // inodes with their extents
	secTree   = 4 // directories and names
	secSnaps  = 5 // snapshots; absent if there are none
	secLast   = secSnaps
)

// Encode gives the body of an image, uncompressed. Equal states give equal bytes. What TakeReleased would give is not a part
// of it: what an image does not refer to and nobody deleted is an orphan, which the sweep finds.
func (s *State) Encode() []byte {
	b := make([]byte, 0, 64+len(s.files)*24+s.names*24+s.extents*24)
	b = append(b, bodyVersion)
	b = section(b, secInodes, func(b []byte) []byte {
		return binary.AppendUvarint(b, uint64(s.next))
	})
	b = section(b, secOwners, func(b []byte) []byte {
		b = binary.AppendUvarint(b, uint64(len(s.owners)))
		for _, o := range s.owners {
			b = append(b, o.Volume[:]...)
			b = appendString(b, o.URL)
		}
		return b
	})
	inos := slices.Sorted(maps.Keys(s.files))
	seen := make(map[Container]uint64, len(s.containers))
	b = section(b, secFiles, func(b []byte) []byte { return s.appendFiles(b, inos, seen) })
	b = section(b, secTree, func(b []byte) []byte { return s.appendTree(b, inos) })
	if len(s.snaps) == 0 {
		return b // what earlier versions read, too
	}
	return section(b, secSnaps, func(b []byte) []byte { return s.appendSnapshots(b, seen) })
}

// section writes a section whose length is known only behind it: the length has a fixed width.
func section(b []byte, id byte, body func([]byte) []byte) []byte {
	b = append(b, id, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	at := len(b)
	b = body(b)
	binary.LittleEndian.PutUint64(b[at-8:], uint64(len(b)-at))
	return b
}

func (s *State) appendFiles(b []byte, inos []Inode, seen map[Container]uint64) []byte {
	b = binary.AppendUvarint(b, uint64(len(inos)))
	var last Inode
	for _, ino := range inos {
		f := s.files[ino]
		b = binary.AppendUvarint(b, uint64(ino-last))
		last = ino
		b = append(b, byte(f.kind))
		b = binary.AppendUvarint(b, uint64(f.time))
		b = binary.AppendUvarint(b, uint64(len(f.extents)))
		for i := range f.extents {
			e := &f.extents[i]
			b = appendRef(b, &e.Container, seen)
			b = binary.AppendUvarint(b, uint64(e.Off))
			b = binary.AppendUvarint(b, uint64(e.Len))
		}
	}
	return b
}

// appendTree writes the directories level by level: each is written behind the one that names it, in the order of naming.
func (s *State) appendTree(b []byte, inos []Inode) []byte {
	queue := []*dir{s.root}
	for len(queue) > 0 {
		d := queue[0]
		queue = queue[1:]
		names := d.sorted()
		b = binary.AppendUvarint(b, uint64(len(names)))
		for _, base := range names {
			b = appendString(b, base)
			n := d.entries[base]
			if n.d != nil {
				b = append(b, 0)
				queue = append(queue, n.d)
				continue
			}
			i, _ := slices.BinarySearch(inos, n.f.ino)
			b = binary.AppendUvarint(b, uint64(i)+1)
		}
	}
	return b
}

// Decode reads the body of an image and verifies it: every file has a name, every name a file. A newer version, or
// a section that may not be skipped, is ErrUnknownBody; all else that is wrong is ErrCorrupt. It keeps nothing of b, and the
// memory used is proportional to len(b).
func Decode(b []byte) (*State, error) {
	s := New()
	r := reader{b: b}
	if v := r.byte(); r.bad {
		return nil, corruptAt(0, "empty body")
	} else if v != bodyVersion {
		return nil, fmt.Errorf("%w: version %d, this program knows %d", ErrUnknownBody, v, bodyVersion)
	}
	var files []*file
	var seen []Container // spelt so far
	last := byte(0)
	for len(r.b) > 0 {
		at := len(b) - len(r.b)
		id, flags, size := r.byte(), r.byte(), r.take(8)
		if r.bad {
			return nil, corruptAt(at, "section is cut short")
		}
		body := reader{b: r.take(binary.LittleEndian.Uint64(size))}
		switch {
		case r.bad:
			return nil, corruptAt(at, "section is cut short")
		case id <= last:
			return nil, corruptAt(at, "sections are out of order")
		case flags&^flagSkip != 0, id > secLast && flags != flagSkip:
			return nil, fmt.Errorf("%w: section %d with flags %#x at byte %d", ErrUnknownBody, id, flags, at)
		case id > secLast:
			last = id
			continue
		case id != last+1:
			return nil, corruptAt(at, fmt.Sprintf("section %d is missing", last+1))
		}
		last = id
		switch id {
		case secInodes:
			if s.next = Inode(body.uvarint()); s.next == 0 || s.next > maxInode+1 {
				body.fail()
			}
		case secOwners:
			body.owners(s)
		case secFiles:
			files, seen = body.files(s)
		case secTree:
			body.tree(s, files)
		case secSnaps:
			body.snapshots(s, seen)
		}
		if body.bad || len(body.b) > 0 {
			return nil, corruptAt(at, fmt.Sprintf("section %d is malformed", id))
		}
	}
	if last < secTree {
		return nil, corruptAt(len(b), fmt.Sprintf("section %d is missing", last+1))
	}
	for _, f := range files {
		if f.links == 0 {
			return nil, fmt.Errorf("%w: inode %d has no name", ErrCorrupt, f.ino)
		}
	}
	return s, nil
}

func (r *reader) owners(s *State) {
	seen := make(map[[16]byte]bool)
	for range r.count(16 + 1) {
		var o Owner
		copy(o.Volume[:], r.take(16))
		o.URL = r.string()
		if r.bad || seen[o.Volume] {
			r.fail()
			return
		}
		seen[o.Volume] = true
		s.owners = append(s.owners, o)
	}
}

func (r *reader) files(s *State) (files []*file, seen []Container) {
	n := r.count(4)
	files = make([]*file, 0, n)
	s.files = make(map[Inode]*file, n)
	var last Inode
	for range n {
		delta := Inode(r.uvarint())
		f := &file{ino: last + delta}
		f.kind = FileKind(r.byte())
		f.time = r.int()
		extents := r.count(3)
		if r.bad || delta == 0 || delta > maxInode || f.ino >= s.next || f.kind > Local {
			r.fail()
			return nil, nil
		}
		last = f.ino
		f.extents = make([]Extent, 0, extents)
		for range extents {
			var e Extent
			if ref := r.uvarint(); ref > uint64(len(seen)) {
				r.fail()
			} else if ref > 0 {
				e.Container = seen[ref-1]
			} else {
				e.Container = r.container()
				if s.containers[e.Container].Refs > 0 {
					r.fail()
				}
				seen = append(seen, e.Container)
			}
			e.Off, e.Len = r.int(), r.int()
			if r.bad || s.checkExtent(&e) != nil || e.Len > math.MaxInt64-f.size {
				r.fail()
				return nil, nil
			}
			s.add(f, e)
		}
		s.files[f.ino] = f
		files = append(files, f)
	}
	return files, seen
}

func (r *reader) tree(s *State, files []*file) {
	queue := []*dir{s.root}
	for len(queue) > 0 {
		d := queue[0]
		queue = queue[1:]
		n := r.count(3)
		if n > 0 {
			d.entries = make(map[string]node, n)
		}
		last := ""
		for range n {
			base, ref := r.string(), r.uvarint()
			if r.bad || base <= last || !validBase(base) || ref > uint64(len(files)) {
				r.fail()
				return
			}
			last = base
			if ref == 0 {
				sub := &dir{}
				d.entries[base] = node{d: sub}
				s.dirs++
				queue = append(queue, sub)
				continue
			}
			f := files[ref-1]
			f.links++
			s.names++
			d.entries[base] = node{f: f}
		}
		if r.bad {
			return
		}
	}
}
