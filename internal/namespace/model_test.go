package namespace

import (
	"cmp"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
)

// model is the same thing as State, made as simply as possible: a flat map of paths, files as bytes, everything else computed by
// looking at all of it.
type model struct {
	dirs     map[string]bool
	names    map[string]*mfile
	released map[Container]bool
	next     Inode
	owners   int
	snaps    []*msnap
}

// msnap is a snapshot: what it says, and what it pins.
type msnap struct {
	Snapshot
	pins map[Container]bool
}

type mfile struct {
	ino   Inode
	kind  FileKind
	time  int64
	cells []cell
}

// cell is one byte of a file: where it lies, and whether an extent begins with it.
type cell struct {
	c     Container
	off   int64
	start bool
}

func newModel(owners int) *model {
	return &model{map[string]bool{"/": true}, map[string]*mfile{}, map[Container]bool{}, 1, owners, nil}
}

func cells(e Extent) (out []cell) {
	for i := range e.Len {
		out = append(out, cell{e.Container, e.Off + i, i == 0})
	}
	return out
}

// extents is the other way round.
func (f *mfile) extents() (out []Extent) {
	for _, c := range f.cells {
		if c.start {
			out = append(out, Extent{c.c, c.off, 0})
		}
		out[len(out)-1].Len++
	}
	return out
}

func (m *model) files() []*mfile {
	seen := map[*mfile]bool{}
	for _, f := range m.names {
		seen[f] = true
	}
	return slices.SortedFunc(maps.Keys(seen), func(a, b *mfile) int { return cmp.Compare(a.ino, b.ino) })
}

func (m *model) file(ino Inode) *mfile {
	for _, f := range m.names {
		if f.ino == ino {
			return f
		}
	}
	return nil
}

func (m *model) use() map[Container]Use {
	use := map[Container]Use{}
	for _, f := range m.files() {
		for _, c := range f.cells {
			u := use[c.c]
			u.Bytes++
			if c.start {
				u.Refs++
			}
			use[c.c] = u
		}
	}
	return use
}

// need is what files or snapshots need.
func (m *model) need() map[Container]bool {
	need := map[Container]bool{}
	for c := range m.use() {
		need[c] = true
	}
	for _, q := range m.snaps {
		for c := range q.pins {
			need[c] = true
		}
	}
	return need
}

// step performs one change and keeps the account of released containers.
func (m *model) step(change func()) {
	before := m.need()
	change()
	after := m.need()
	for c := range before {
		if !after[c] {
			m.released[c] = true
		}
	}
	for c := range after {
		delete(m.released, c)
	}
}

func (m *model) exists(p string) bool { return m.dirs[p] || m.names[p] != nil }

// reach says what stands in the way of entering something as p.
func (m *model) reach(p string) error {
	for i := 1; i < len(p); i++ {
		if p[i] == '/' && m.names[p[:i]] != nil {
			return ErrNotDir
		}
	}
	if up := p[:max(1, strings.LastIndexByte(p, '/'))]; !m.dirs[up] {
		return fs.ErrNotExist
	}
	return nil
}

func (m *model) below(p string) (dirs, names []string) {
	for d := range m.dirs {
		if strings.HasPrefix(d, p+"/") {
			dirs = append(dirs, d)
		}
	}
	for n := range m.names {
		if strings.HasPrefix(n, p+"/") {
			names = append(names, n)
		}
	}
	return dirs, names
}

// do is the rule book: it performs op or says why not. Operations come with clean paths and sane numbers.
func (m *model) do(op *Op, inline Extent) error {
	switch op.Kind {
	case Mkdir:
		for i := range op.Path {
			if i > 0 && op.Path[i] == '/' && m.names[op.Path[:i]] != nil {
				return ErrNotDir
			}
		}
		if m.names[op.Path] != nil {
			return errFileInTheWay
		}
		for i := range op.Path {
			if i > 0 && op.Path[i] == '/' {
				m.dirs[op.Path[:i]] = true
			}
		}
		m.dirs[op.Path] = true
	case Create:
		if op.Path == "/" {
			return ErrIsDir
		}
		if m.file(op.Inode) != nil {
			return fs.ErrInvalid
		}
		if err := m.reach(op.Path); err != nil {
			return err
		}
		if m.dirs[op.Path] {
			return ErrIsDir
		}
		m.step(func() { m.names[op.Path] = &mfile{ino: op.Inode, kind: op.File, time: op.Time} })
		m.next = max(m.next, op.Inode+1)
	case Link:
		if m.dirs[op.Path] {
			return ErrIsDir
		}
		if m.names[op.Path] == nil {
			return cmp.Or(m.reach(op.Path), fs.ErrNotExist)
		}
		if m.exists(op.Path2) {
			return fs.ErrExist
		}
		if err := m.reach(op.Path2); err != nil {
			return err
		}
		m.names[op.Path2] = m.names[op.Path]
	case Rename:
		return m.rename(op.Path, op.Path2)
	case Remove, RemoveAll:
		if op.Path == "/" {
			return fs.ErrInvalid
		}
		if !m.exists(op.Path) {
			if op.Kind == RemoveAll {
				return nil
			}
			return cmp.Or(m.reach(op.Path), fs.ErrNotExist)
		}
		dirs, names := m.below(op.Path)
		if op.Kind == Remove && len(dirs)+len(names) > 0 {
			return ErrNotEmpty
		}
		m.step(func() {
			for _, p := range append(dirs, op.Path) {
				delete(m.dirs, p)
			}
			for _, p := range append(names, op.Path) {
				delete(m.names, p)
			}
		})
	case Append, Extend:
		if f := m.file(op.Inode); f != nil {
			ext := op.Extents
			if op.Kind == Append {
				ext = []Extent{inline}
			}
			m.step(func() {
				for _, e := range ext {
					f.cells = append(f.cells, cells(e)...)
				}
			})
		}
	case Touch:
		if f := m.file(op.Inode); f != nil {
			f.time = op.Time
		}
	case Pack:
		m.pack(op.Packs)
	case Restore:
		return m.restore(op)
	default:
		return m.snapshot(op, inline)
	}
	return nil
}

func (m *model) rename(from, to string) error {
	if from == "/" {
		return fs.ErrInvalid
	}
	if !m.exists(from) {
		return cmp.Or(m.reach(from), fs.ErrNotExist)
	}
	isDir := m.dirs[from]
	switch {
	case from == to:
		return nil
	case isDir && strings.HasPrefix(to, from+"/"):
		return fs.ErrInvalid
	case isDir && m.dirs[to]:
		return fs.ErrExist
	case isDir && m.names[to] != nil:
		return ErrNotDir
	case m.dirs[to]:
		return ErrIsDir
	}
	if err := m.reach(to); err != nil {
		return err
	}
	if !isDir && m.names[from] == m.names[to] {
		return nil
	}
	m.step(func() {
		if !isDir {
			m.names[to] = m.names[from]
			delete(m.names, from)
			return
		}
		dirs, names := m.below(from)
		for _, p := range append(dirs, from) {
			delete(m.dirs, p)
			m.dirs[to+p[len(from):]] = true
		}
		for _, p := range names {
			f := m.names[p]
			delete(m.names, p)
			m.names[to+p[len(from):]] = f
		}
	})
	return nil
}

func (m *model) pack(packs []Repack) {
	changed := map[*mfile]bool{}
	for _, r := range packs {
		f := m.file(r.Inode)
		end := r.FileOff + r.Old.Len
		if f == nil || end > int64(len(f.cells)) || !slices.Equal(f.cells[r.FileOff:end], cells(r.Old)) {
			continue
		}
		if end < int64(len(f.cells)) && !f.cells[end].start {
			continue
		}
		m.step(func() { copy(f.cells[r.FileOff:], cells(r.New)) })
		changed[f] = true
	}
	for f := range changed {
		for i := 1; i < len(f.cells); i++ {
			if a, b := f.cells[i-1], &f.cells[i]; b.c.Kind == Object && a.c == b.c && a.off+1 == b.off {
				b.start = false
			}
		}
	}
}

// classes are the errors that a caller can tell apart.
var classes = []error{fs.ErrNotExist, fs.ErrExist, fs.ErrInvalid, ErrIsDir, ErrNotDir, ErrNotEmpty}

// differs compares everything that a State shows with the model, and says what is not the same.
func (m *model) differs(s *State, universe []string) error {
	if err := s.Verify(); err != nil {
		return err
	}
	if err := m.differNames(s, universe); err != nil {
		return err
	}
	var want []File
	var placed []Placed
	var sum Stats
	for _, f := range m.files() {
		links := 0
		for _, g := range m.names {
			if g == f {
				links++
			}
		}
		ext := f.extents()
		want = append(want, File{f.ino, f.kind, int64(len(f.cells)), f.time, links, ext})
		var off int64
		for _, e := range ext {
			if e.Container.Kind == Frame {
				placed = append(placed, Placed{f.ino, off, e})
				sum.InlineBytes += e.Len
			}
			off += e.Len
		}
		sum.Bytes += off
		sum.Extents += len(ext)
		got, ok := s.File(f.ino)
		if !ok || !equalFile(got, want[len(want)-1]) {
			return fmt.Errorf("File(%d) = %+v, %v; want %+v", f.ino, got, ok, want[len(want)-1])
		}
	}
	if got := slices.Collect(s.Files()); !slices.EqualFunc(got, want, equalFile) {
		return fmt.Errorf("Files() = %+v; want %+v", got, want)
	}
	var inline []Placed
	for ino, p := range s.Inline() {
		if ino != p.Inode {
			return fmt.Errorf("Inline gives inode %d with %+v", ino, p)
		}
		inline = append(inline, p)
	}
	if !slices.Equal(inline, placed) {
		return fmt.Errorf("Inline() = %+v; want %+v", inline, placed)
	}
	use := m.use()
	sum.Files, sum.Dirs, sum.Names, sum.Containers = len(want), len(m.dirs)-1, len(m.names), len(use)
	sum.Snapshots = len(m.snaps)
	if got := s.Stats(); got != sum {
		return fmt.Errorf("Stats() = %+v; want %+v", got, sum)
	}
	if err := m.differSnapshots(s); err != nil {
		return err
	}
	return m.differContainers(s, use)
}

func equalFile(a, b File) bool {
	return a.Inode == b.Inode && a.Kind == b.Kind && a.Size == b.Size && a.Time == b.Time && a.Links == b.Links &&
		slices.Equal(a.Extents, b.Extents)
}

func (m *model) differNames(s *State, universe []string) error {
	all := map[string]Entry{}
	for d := range m.dirs {
		all[d] = Entry{Dir: true}
	}
	for n, f := range m.names {
		all[n] = Entry{Inode: f.ino, Time: f.time}
	}
	for _, p := range universe {
		got, ok := s.Lookup(p)
		if want, there := all[p]; ok != there || got != want {
			return fmt.Errorf("Lookup(%q) = %+v, %v; want %+v, %v", p, got, ok, want, there)
		}
		list, err := s.ReadDir(p)
		if (err == nil) != m.dirs[p] {
			return fmt.Errorf("ReadDir(%q) gives the error %v", p, err)
		}
		if err != nil {
			continue
		}
		var want []Name
		for q, e := range all {
			if up, base := split(q); q != "/" && up == p {
				want = append(want, Name{base, e})
			}
		}
		slices.SortFunc(want, func(a, b Name) int { return strings.Compare(a.Base, b.Base) })
		if !slices.Equal(list, want) {
			return fmt.Errorf("ReadDir(%q) = %+v; want %+v", p, list, want)
		}
	}
	delete(all, "/")
	// A directory before what it holds, names in byte order: the order of the lists of segments.
	want := slices.SortedFunc(maps.Keys(all), func(a, b string) int {
		return slices.Compare(strings.Split(a, "/"), strings.Split(b, "/"))
	})
	var got []string
	for p, e := range s.Paths() {
		got = append(got, p)
		if all[p] != e {
			return fmt.Errorf("Paths() gives %q as %+v; want %+v", p, e, all[p])
		}
	}
	if !slices.Equal(got, want) {
		return fmt.Errorf("Paths() = %q; want %q", got, want)
	}
	return nil
}

func (m *model) differContainers(s *State, use map[Container]Use) error {
	var order []Container
	for c, u := range s.Containers() {
		order = append(order, c)
		if use[c] != u || s.Use(c) != u {
			return fmt.Errorf("Containers() gives %+v as %+v, Use as %+v; want %+v", c, u, s.Use(c), use[c])
		}
	}
	if !slices.IsSortedFunc(order, Container.Compare) || len(order) != len(use) {
		return fmt.Errorf("Containers() = %+v; want those of %+v, sorted", order, use)
	}
	var low uint64
	found := false
	need := m.need()
	for c := range need {
		if c.Kind == Frame && c.Owner == 0 && (!found || c.Num < low) {
			low, found = c.Num, true
		}
	}
	if n, ok := s.FirstFrame(); n != low || ok != found {
		return fmt.Errorf("FirstFrame() = %d, %v; want %d, %v", n, ok, low, found)
	}
	var needed []Container
	for c, u := range s.Needed() {
		needed = append(needed, c)
		if !need[c] || !s.Needs(c) || u != use[c] {
			return fmt.Errorf("Needed() gives %+v with %+v; want %v, %+v", c, u, need[c], use[c])
		}
	}
	if !slices.IsSortedFunc(needed, Container.Compare) || len(needed) != len(need) {
		return fmt.Errorf("Needed() = %+v; want those of %+v, sorted", needed, need)
	}
	if got := s.NextInode(); got != m.next {
		return fmt.Errorf("NextInode() = %d; want %d", got, m.next)
	}
	return nil
}
