package namespace

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"
)

// TestGoneInode: what acts on an inode that is gone does nothing, and says so through Use.
func TestGoneInode(t *testing.T) {
	s := tree(t)
	must(t, s, Op{Kind: Remove, Path: "/d/y"})
	if got, want := s.TakeReleased(), []Container{object(1), object(2)}; !slices.Equal(got, want) {
		t.Fatalf("released %+v; want %+v", got, want)
	}
	before := s.Encode()
	must(t, s,
		Op{Kind: Append, Inode: 2, Extents: []Extent{{frame(9), 88, 5}}},
		Op{Kind: Extend, Inode: 2, Extents: []Extent{{object(9), 0, 5}}},
		Op{Kind: Touch, Inode: 2, Time: 99},
		Op{Kind: Pack, Packs: []Repack{{2, 0, Extent{object(1), 0, 1 << 20}, Extent{object(8), 0, 1 << 20}}}},
	)
	if !slices.Equal(before, s.Encode()) {
		t.Error("the state has changed")
	}
	if got := s.TakeReleased(); got != nil {
		t.Errorf("released %+v", got)
	}
	if u := s.Use(object(9)); u != (Use{}) {
		t.Errorf("Use of an object that nothing refers to: %+v", u)
	}
}

func TestAppendWantsItsBytesInAFrame(t *testing.T) {
	for name, e := range map[string]Extent{
		"object":       {object(1), 0, 5},
		"other length": {frame(1), 0, 4},
		"nowhere":      {},
	} {
		s := tree(t)
		err := s.Apply(&Op{Kind: Append, Inode: 1, Len: 5}, e)
		if !errors.Is(err, ErrCorrupt) || !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestReleasedOnlyWithoutReference: a container that a later operation refers to again is not reported.
func TestReleasedOnlyWithoutReference(t *testing.T) {
	s := tree(t)
	must(t, s,
		Op{Kind: Link, Path: "/d/y", Path2: "/second"},
		Op{Kind: Remove, Path: "/d/y"},
	)
	if got := s.TakeReleased(); got != nil {
		t.Fatalf("another name exists, released %+v", got)
	}
	must(t, s,
		Op{Kind: Create, Path: "/second", Inode: 8},
		Op{Kind: Extend, Inode: 8, Extents: []Extent{{object(2), 3, 3}}},
	)
	if got, want := s.TakeReleased(), []Container{object(1)}; !slices.Equal(got, want) {
		t.Fatalf("released %+v; want %+v", got, want)
	}
	if got := s.TakeReleased(); got != nil {
		t.Fatalf("reported twice: %+v", got)
	}
}

// TestRenameOverReleases: a file replaced by a rename goes with its containers.
func TestRenameOverReleases(t *testing.T) {
	s := tree(t)
	must(t, s, Op{Kind: Rename, Path: "/z", Path2: "/d/y"})
	if _, ok := s.File(2); ok {
		t.Error("the replaced file is still there")
	}
	if got, want := s.TakeReleased(), []Container{object(1), object(2)}; !slices.Equal(got, want) {
		t.Errorf("released %+v; want %+v", got, want)
	}
	if e, ok := s.Lookup("/d/y"); !ok || e.Inode != 3 {
		t.Errorf("/d/y is %+v, %v", e, ok)
	}
	if _, ok := s.Lookup("/z"); ok {
		t.Error("the old name is still there")
	}
}

// TestRenameOfOneFileToItsOtherName does nothing, as POSIX says: both names stay.
func TestRenameOfOneFileToItsOtherName(t *testing.T) {
	s := tree(t)
	must(t, s, Op{Kind: Link, Path: "/z", Path2: "/zz"}, Op{Kind: Rename, Path: "/z", Path2: "/zz"})
	if f, _ := s.File(3); f.Links != 2 {
		t.Errorf("%d links", f.Links)
	}
}

// TestPackReplacesExactExtentsOnly is the checked model's rule: repaired pack against "by file" and "by offset".
func TestPackReplacesExactExtentsOnly(t *testing.T) {
	obj := object(50)
	collected := []Repack{
		{1, 0, Extent{frame(1), 100, 5}, Extent{obj, 0, 5}},
		{1, 5, Extent{frame(2), 100, 7}, Extent{obj, 5, 7}},
	}
	for _, c := range []struct {
		name   string
		before []Op
		packs  []Repack
		want   []Extent // of the file at /d/e/x
	}{
		{"nothing happened", nil, collected, []Extent{{obj, 0, 12}}},
		{"the file grew", []Op{{Kind: Append, Inode: 1, Extents: []Extent{{frame(3), 88, 2}}}}, collected,
			[]Extent{{obj, 0, 12}, {frame(3), 88, 2}}},
		{"the file was made anew", []Op{
			{Kind: Create, Path: "/d/e/x", Inode: 9},
			{Kind: Append, Inode: 9, Extents: []Extent{{frame(1), 100, 5}}},
		}, collected, []Extent{{frame(1), 100, 5}}},
		{"another pack was first", []Op{{Kind: Pack, Packs: []Repack{{1, 0, Extent{frame(1), 100, 5}, Extent{object(7), 9, 5}}}}}, collected,
			[]Extent{{object(7), 9, 5}, {obj, 5, 7}}},
		{"another pack was first and joined", []Op{{Kind: Pack, Packs: []Repack{
			{1, 0, Extent{frame(1), 100, 5}, Extent{object(7), 9, 5}},
			{1, 5, Extent{frame(2), 100, 7}, Extent{object(7), 14, 7}},
		}}}, collected, []Extent{{object(7), 9, 12}}},
		{"another offset", nil, []Repack{{1, 5, Extent{frame(1), 100, 5}, Extent{obj, 0, 5}}, {1, 2, Extent{frame(1), 102, 3}, Extent{obj, 0, 3}}},
			[]Extent{{frame(1), 100, 5}, {frame(2), 100, 7}}},
		{"a part", nil, []Repack{{1, 0, Extent{frame(1), 100, 4}, Extent{obj, 0, 4}}}, []Extent{{frame(1), 100, 5}, {frame(2), 100, 7}}},
		{"another frame of the number", nil, []Repack{{1, 0, Extent{Container{Kind: Frame, CRC: 99, Epoch: 1, Nonce: 7, Num: 1}, 100, 5}, Extent{obj, 0, 5}}},
			[]Extent{{frame(1), 100, 5}, {frame(2), 100, 7}}},
		{"past the end", nil, []Repack{{1, 12, Extent{frame(1), 100, 5}, Extent{obj, 0, 5}}}, []Extent{{frame(1), 100, 5}, {frame(2), 100, 7}}},
		{"not adjacent in the object", nil, []Repack{collected[0], {1, 5, collected[1].Old, Extent{obj, 6, 7}}}, []Extent{{obj, 0, 5}, {obj, 6, 7}}},
		{"backwards", nil, []Repack{collected[1], collected[0]}, []Extent{{obj, 0, 12}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := tree(t)
			must(t, s, c.before...)
			held, _ := s.File(1)
			saw := slices.Clone(held.Extents)
			must(t, s, Op{Kind: Pack, Packs: c.packs})
			e, _ := s.Lookup("/d/e/x")
			f, _ := s.File(e.Inode)
			if !slices.Equal(f.Extents, c.want) {
				t.Errorf("extents %+v; want %+v", f.Extents, c.want)
			}
			if !slices.Equal(held.Extents, saw) {
				t.Error("a slice that was handed out has changed")
			}
		})
	}
}

// TestFirstFrame: foreign frames do not hold this volume's journal back, and packs move the mark on.
func TestFirstFrame(t *testing.T) {
	s := tree(t)
	o := s.AddOwner(Owner{URL: "mem:///x"})
	foreign := frame(1)
	foreign.Owner, foreign.Num = o, 0
	must(t, s, Op{Kind: Extend, Inode: 3, Extents: []Extent{{foreign, 88, 3}}})
	if n, ok := s.FirstFrame(); n != 1 || !ok {
		t.Errorf("first frame %d, %v; want 1", n, ok)
	}
	must(t, s, Op{Kind: Pack, Packs: []Repack{{1, 0, Extent{frame(1), 100, 5}, Extent{object(5), 0, 5}}}})
	if n, ok := s.FirstFrame(); n != 2 || !ok {
		t.Errorf("first frame %d, %v; want 2", n, ok)
	}
	must(t, s, Op{Kind: Remove, Path: "/d/e/x"})
	if n, ok := s.FirstFrame(); ok {
		t.Errorf("first frame %d; want none", n)
	}
}

func TestAddOwner(t *testing.T) {
	s := New()
	a, b := s.AddOwner(Owner{[16]byte{1}, "a"}), s.AddOwner(Owner{[16]byte{2}, "b"})
	again := s.AddOwner(Owner{[16]byte{1}, "elsewhere"})
	if a != 1 || b != 2 || again != 1 {
		t.Errorf("owners %d, %d, %d; want 1, 2, 1", a, b, again)
	}
	o := s.Owners()
	o[0].URL = "scribbled"
	if s.Owners()[0].URL != "a" {
		t.Error("Owners shares its slice")
	}
}

func TestAllocInode(t *testing.T) {
	s := New()
	a := s.AllocInode()
	must(t, s, Op{Kind: Create, Path: "/a", Inode: 50}, Op{Kind: Create, Path: "/b", Inode: a})
	if n := s.AllocInode(); a != 1 || n != 51 || s.NextInode() != 52 {
		t.Errorf("inodes %d, %d, then %d; want 1, 51, then 52", a, n, s.NextInode())
	}
	s, err := Decode(s.Encode())
	if err != nil || s.NextInode() != 52 {
		t.Errorf("after Decode next is %d, %v", s.NextInode(), err)
	}
}

// TestBigTree moves and removes a tree of many files, and one that is deeper than any path.
func TestBigTree(t *testing.T) {
	s := New()
	const dirs, files = 200, 100
	for d := range dirs {
		p := fmt.Sprintf("/big/%03d/sub", d)
		ops := []Op{{Kind: Mkdir, Path: p}}
		for f := range files {
			ino := s.AllocInode()
			ops = append(ops, Op{Kind: Create, Path: fmt.Sprintf("%s/%03d", p, f), Inode: ino},
				Op{Kind: Extend, Inode: ino, Extents: []Extent{{object(uint64(ino)), 0, 10}}})
		}
		for i := range ops {
			if err := s.Apply(&ops[i], Extent{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	must(t, s,
		Op{Kind: Create, Path: "/keep", Inode: s.AllocInode()},
		Op{Kind: Link, Path: "/big/007/sub/042", Path2: "/kept"},
		Op{Kind: Rename, Path: "/big", Path2: "/moved"},
	)
	if st := s.Stats(); st.Files != dirs*files+1 || st.Dirs != 2*dirs+1 || st.Names != dirs*files+2 {
		t.Fatalf("%+v", st)
	}
	if _, ok := s.Lookup("/moved/199/sub/099"); !ok {
		t.Fatal("a file is not where its directory went")
	}
	if _, ok := s.Lookup("/big/199/sub/099"); ok {
		t.Fatal("a file is where its directory was")
	}
	must(t, s, Op{Kind: RemoveAll, Path: "/moved"})
	if got, want := paths(s), []string{"/keep", "/kept"}; !slices.Equal(got, want) {
		t.Errorf("left: %q; want %q", got, want)
	}
	if n := len(s.TakeReleased()); n != dirs*files-1 {
		t.Errorf("%d containers released; want %d", n, dirs*files-1)
	}
}

// TestDeepTree: renames can make a tree deeper than a path is long; it is still listed, encoded, cloned and removed.
func TestDeepTree(t *testing.T) {
	s := New()
	chain := strings.Repeat("/d", MaxPath/2)
	const grafts = 5
	must(t, s, Op{Kind: Mkdir, Path: "/top"}, Op{Kind: Create, Path: "/top/file", Inode: 1})
	for range grafts { // each puts all that was made so far below a new chain
		must(t, s,
			Op{Kind: Mkdir, Path: chain},
			Op{Kind: Rename, Path: "/top", Path2: chain[:len(chain)-1] + "t"},
			Op{Kind: Rename, Path: "/d", Path2: "/top"})
	}
	dirs := grafts*(MaxPath/2) + 1
	if got := s.Stats().Dirs; got != dirs {
		t.Fatalf("%d directories; want %d", got, dirs)
	}
	s, err := Decode(s.Encode())
	if err != nil {
		t.Fatal(err)
	}
	s = s.Clone()
	if err := s.Verify(); err != nil {
		t.Fatal(err)
	}
	var last string
	for last = range s.Paths() {
	}
	if len(last) < grafts*(MaxPath-2) || !strings.HasSuffix(last, "/file") {
		t.Errorf("the last path has %d bytes and ends in %q", len(last), last[max(0, len(last)-10):])
	}
	if _, ok := s.Lookup(last); !ok {
		t.Error("Lookup does not find the deepest file")
	}
	must(t, s, Op{Kind: RemoveAll, Path: "/top"})
	if s.Stats() != (Stats{}) {
		t.Errorf("left: %+v", s.Stats())
	}
}

// TestSequencesStop: a range over any sequence may end early.
func TestSequencesStop(t *testing.T) {
	s := tree(t)
	n := 0
	for range s.Files() {
		n++
		break
	}
	for range s.Paths() {
		n++
		break
	}
	for range s.Containers() {
		n++
		break
	}
	for range s.Inline() {
		n++
		break
	}
	if n != 4 {
		t.Errorf("%d steps; want 4", n)
	}
}

func TestReadDirErrors(t *testing.T) {
	s := tree(t)
	for path, want := range map[string]error{
		"/no": fs.ErrNotExist, "/z": ErrNotDir, "/z/a": ErrNotDir, "": fs.ErrInvalid, "d": fs.ErrInvalid,
	} {
		if _, err := s.ReadDir(path); !errors.Is(err, want) {
			t.Errorf("ReadDir(%q): %v; want %v", path, err, want)
		}
	}
	for _, path := range []string{"", "d", "/d/", "//", "/d/./e"} {
		if e, ok := s.Lookup(path); ok {
			t.Errorf("Lookup(%q) = %+v", path, e)
		}
	}
}

// TestReadersInParallel is for the race detector: what does not change the State runs in parallel.
func TestReadersInParallel(t *testing.T) {
	s := tree(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 20 {
				_ = s.Encode()
				_ = s.Clone()
				_ = s.Check(&Op{Kind: Remove, Path: "/z"})
				_, _ = s.ReadDir("/d")
				_, _ = s.File(1)
				_, _ = s.FirstFrame()
				_, _, _ = s.Stats(), s.Owners(), s.NextInode()
				for range s.Inline() {
				}
				for range s.Paths() {
				}
				if err := s.Verify(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func TestLookupDoesNotAllocate(t *testing.T) {
	s := tree(t)
	if n := testing.AllocsPerRun(100, func() { s.Lookup("/d/e/x"); s.File(1) }); n != 0 {
		t.Errorf("Lookup and File allocate %v times", n)
	}
	op := &Op{Kind: Append, Inode: 1, Len: 5}
	if n := testing.AllocsPerRun(100, func() { _ = s.Check(op) }); n != 0 {
		t.Errorf("Check of an append allocates %v times", n)
	}
}

// TestVerifyFindsDamage breaks a State in each way that Verify speaks of.
func TestVerifyFindsDamage(t *testing.T) {
	for name, damage := range map[string]func(s *State){
		"links":         func(s *State) { s.files[1].links++ },
		"lost name":     func(s *State) { s.root.take("z") },
		"lost inode":    func(s *State) { delete(s.files, 3) },
		"size":          func(s *State) { s.files[1].size++ },
		"inline":        func(s *State) { s.files[1].frames-- },
		"reference":     func(s *State) { s.containers[frame(1)] = Use{5, 2} },
		"no reference":  func(s *State) { delete(s.containers, frame(1)) },
		"old reference": func(s *State) { s.containers[frame(70)] = Use{5, 1} },
		"released":      func(s *State) { s.released[frame(1)] = struct{}{} },
		"next inode":    func(s *State) { s.next = 3 },
		"bad name":      func(s *State) { s.root.put("a/b", node{d: &dir{}}) },
		"empty node":    func(s *State) { s.root.put("n", node{}) },
		"bad extent":    func(s *State) { s.files[1].extents[0].Off = -1 },
		"dirs":          func(s *State) { s.dirs++ },
		"names":         func(s *State) { s.names++ },
		"bytes":         func(s *State) { s.bytes-- },
		"inline bytes":  func(s *State) { s.inlineBytes-- },
		"extents":       func(s *State) { s.extents-- },
	} {
		s := tree(t)
		damage(s)
		if err := s.Verify(); err == nil {
			t.Errorf("%s: not noticed", name)
		}
	}
}

// TestCloneIsDeep changes each copy and looks at the other.
func TestCloneIsDeep(t *testing.T) {
	change := []Op{
		{Kind: Append, Inode: 1, Extents: []Extent{{frame(4), 88, 1}}},
		{Kind: Mkdir, Path: "/d/e/new"},
		{Kind: Remove, Path: "/d/y"},
		{Kind: Touch, Inode: 3, Time: 77},
		{Kind: Rename, Path: "/d", Path2: "/dd"},
	}
	a := tree(t)
	must(t, a, Op{Kind: Append, Inode: 1, Extents: []Extent{{frame(3), 88, 1}}}) // the slice has room for one more
	b := a.Clone()
	before := a.Encode()
	must(t, a, change...)
	if !slices.Equal(b.Encode(), before) || b.TakeReleased() != nil {
		t.Error("the copy has changed with the original")
	}
	c := b.Clone()
	must(t, c, change...)
	if !slices.Equal(b.Encode(), before) || b.TakeReleased() != nil {
		t.Error("the original has changed with the copy")
	}
	must(t, b, Op{Kind: Append, Inode: 1, Extents: []Extent{{frame(6), 88, 1}}})
	after := a.Encode()
	must(t, c, Op{Kind: Append, Inode: 1, Extents: []Extent{{frame(5), 88, 1}}})
	if !slices.Equal(a.Encode(), after) {
		t.Error("two copies share the room behind a slice")
	}
	if err := errors.Join(a.Verify(), b.Verify(), c.Verify()); err != nil {
		t.Error(err)
	}
}
