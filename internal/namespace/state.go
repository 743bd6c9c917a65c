package namespace

import (
	"cmp"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/forst-go/forst/internal/mutant"
)

// State is a namespace. The zero State is not usable: see New and Decode.
type State struct {
	root       *dir
	files      map[Inode]*file
	containers map[Container]Use      // Refs >= 1
	released   map[Container]struct{} // lost the last reference since the last TakeReleased, never in containers or pinned
	snaps      []*Snapshot            // in the order in which they began
	pinned     map[Container]int32    // how many snapshots need it; at least 1
	next       Inode
	owners     []Owner

	dirs, names, extents int
	bytes, inlineBytes   int64
}

// dir is a directory. It does not know its own name, so that a rename moves it as a whole.
type dir struct {
	entries map[string]node // nil while empty
}

// node is what a name stands for: exactly one of the two, or nothing.
type node struct {
	f *file
	d *dir
}

func (n node) missing() bool { return n.f == nil && n.d == nil }

func (n node) entry() Entry {
	if n.d != nil {
		return Entry{Dir: true}
	}
	return Entry{Inode: n.f.ino, Time: n.f.time}
}

// file is an inode with at least one name.
type file struct {
	ino     Inode
	size    int64
	time    int64
	links   int32
	frames  int32    // extents that lie in frames
	extents []Extent // the elements below any length that was handed out never change
	kind    FileKind
}

func (f *file) public() File {
	return File{Inode: f.ino, Kind: f.kind, Size: f.size, Time: f.time, Links: int(f.links),
		Extents: f.extents[:len(f.extents):len(f.extents)]}
}

// New gives the namespace of a new volume: an empty root directory.
func New() *State {
	return &State{
		root:       &dir{},
		files:      make(map[Inode]*file),
		containers: make(map[Container]Use),
		released:   make(map[Container]struct{}),
		pinned:     make(map[Container]int32),
		next:       1,
	}
}

// AllocInode gives an inode number that neither AllocInode nor any operation has used before.
func (s *State) AllocInode() Inode {
	ino := s.next
	s.next++
	return ino
}

// NextInode is what the next AllocInode will give.
func (s *State) NextInode() Inode { return s.next }

// Owners is the table of foreign volumes that Container.Owner points into. The caller may keep and modify the slice.
func (s *State) Owners() []Owner { return slices.Clone(s.owners) }

// AddOwner enters a foreign volume and gives its Container.Owner; one that is there already keeps its number and URL.
func (s *State) AddOwner(o Owner) uint32 {
	i := slices.IndexFunc(s.owners, func(p Owner) bool { return p.Volume == o.Volume })
	if i < 0 {
		i = len(s.owners)
		s.owners = append(s.owners, o)
	}
	return uint32(i) + 1
}

// find walks a clean absolute path. When it ends early, err is fs.ErrNotExist or ErrNotDir; n is missing in both cases.
func (s *State) find(path string) (n node, err error) {
	n.d = s.root
	if path == "/" {
		return n, nil
	}
	for rest, more := path[1:], true; more; {
		var seg string
		seg, rest, more = strings.Cut(rest, "/")
		if n.d == nil {
			return node{}, ErrNotDir
		}
		n = n.d.entries[seg]
		if n.missing() {
			return n, fs.ErrNotExist
		}
	}
	return n, nil
}

// parent finds the directory that holds, or would hold, a clean path that is not the root, and what is there now.
func (s *State) parent(path string) (d *dir, base string, now node, err error) {
	up, base := split(path)
	p, err := s.find(up)
	switch {
	case err != nil:
		return nil, base, node{}, err
	case p.d == nil:
		return nil, base, node{}, ErrNotDir
	}
	return p.d, base, p.d.entries[base], nil
}

// Lookup tells what a clean path stands for; see Clean. It does not allocate.
func (s *State) Lookup(path string) (Entry, bool) {
	if len(path) == 0 || path[0] != '/' {
		return Entry{}, false
	}
	n, err := s.find(path)
	if err != nil {
		return Entry{}, false
	}
	return n.entry(), true
}

// File describes an inode that has a name.
func (s *State) File(ino Inode) (File, bool) {
	f := s.files[ino]
	if f == nil {
		return File{}, false
	}
	return f.public(), true
}

// ReadDir lists a directory in the byte order of the names. A missing one gives fs.ErrNotExist, a file ErrNotDir. The
// caller owns the slice.
func (s *State) ReadDir(path string) ([]Name, error) {
	if len(path) == 0 || path[0] != '/' {
		return nil, &fs.PathError{Op: "readdir", Path: path, Err: fs.ErrInvalid}
	}
	n, err := s.find(path)
	if err == nil && n.d == nil {
		err = ErrNotDir
	}
	if err != nil {
		return nil, &fs.PathError{Op: "readdir", Path: path, Err: err}
	}
	names := make([]Name, 0, len(n.d.entries))
	for base, e := range n.d.entries {
		names = append(names, Name{base, e.entry()})
	}
	slices.SortFunc(names, func(a, b Name) int { return cmp.Compare(a.Base, b.Base) })
	return names, nil
}

// Use says how many live extents refer to c, and how many bytes they have. A container that an Extend or a Pack named and that
// has no reference after it (its file was removed in between) never shows up in TakeReleased: ask here.
func (s *State) Use(c Container) Use { return s.containers[c] }

// TakeReleased gives the containers, own and foreign, whose last reference, of a file or a snapshot, went away since the last call and that have
// none now, in the order of Compare. Deleting them is safe only when the operations applied so far are acknowledged.
func (s *State) TakeReleased() []Container {
	if len(s.released) == 0 {
		return nil
	}
	out := slices.SortedFunc(maps.Keys(s.released), Container.Compare)
	clear(s.released)
	return out
}

// ref counts one extent more of its container.
func (s *State) ref(f *file, e Extent) {
	c := e.Container
	u := s.containers[c]
	if u.Refs == 0 && !mutant.On(mutReleasedStays) {
		delete(s.released, c)
	}
	s.containers[c] = Use{u.Bytes + e.Len, u.Refs + 1}
	s.extents++
	if c.Kind == Frame {
		f.frames++
		s.inlineBytes += e.Len
	}
}

// unref counts one extent less.
func (s *State) unref(f *file, e Extent) {
	c := e.Container
	u := s.containers[c]
	if u.Refs == 1 {
		delete(s.containers, c)
		if s.pinned[c] == 0 || mutant.On(mutPinsIgnored) {
			s.released[c] = struct{}{}
		}
	} else {
		s.containers[c] = Use{u.Bytes - e.Len, u.Refs - 1}
	}
	s.extents--
	if c.Kind == Frame {
		f.frames--
		s.inlineBytes -= e.Len
	}
}

// add gives f one extent more at its end.
func (s *State) add(f *file, e Extent) {
	s.ref(f, e)
	f.extents = append(f.extents, e)
	f.size += e.Len
	s.bytes += e.Len
}

// put makes base stand for n, which is new there.
func (d *dir) put(base string, n node) {
	if d.entries == nil {
		d.entries = make(map[string]node, 1)
	}
	d.entries[strings.Clone(base)] = n // the path that base is a part of may be much longer
}

// take makes base stand for nothing.
func (d *dir) take(base string) {
	delete(d.entries, base)
	if len(d.entries) == 0 {
		d.entries = nil // a map never shrinks
	}
}
