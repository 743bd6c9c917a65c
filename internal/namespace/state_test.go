package namespace

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"
)

func frame(n uint64) Container {
	return Container{Kind: Frame, Epoch: 1, Nonce: 7, Num: n, CRC: uint32(n * 3)}
}
func object(n uint64) Container {
	return Container{Kind: Object, Epoch: 1, Nonce: 7, Num: n, CRC: 1<<32 - 1}
}

// must applies ops; an Append takes its bytes from its only entry in Extents, as a shorthand of these tests.
func must(t testing.TB, s *State, ops ...Op) {
	t.Helper()
	for i := range ops {
		op := ops[i]
		var inline Extent
		if op.Kind == Append {
			inline, op.Extents = op.Extents[0], nil
			op.Len = inline.Len
		}
		if err := s.Apply(&op, inline); err != nil {
			t.Fatalf("operation %d, %s %s %s: %v", i, op.Kind, op.Path, op.Path2, err)
		}
	}
	if err := s.Verify(); err != nil {
		t.Fatal(err)
	}
}

func paths(s *State) (out []string) {
	for p, e := range s.Paths() {
		if e.Dir {
			p += "/"
		}
		out = append(out, p)
	}
	return out
}

// tree: /d/e/x (inode 1, two inline extents in frame 1 and 2), /d/y (inode 2, an object), /z (inode 3, empty).
func tree(t testing.TB) *State {
	s := New()
	must(t, s,
		Op{Kind: Mkdir, Path: "/d/e"},
		Op{Kind: Create, Path: "/d/e/x", Inode: 1, Time: 10},
		Op{Kind: Append, Inode: 1, Extents: []Extent{{frame(1), 100, 5}}},
		Op{Kind: Append, Inode: 1, Extents: []Extent{{frame(2), 100, 7}}},
		Op{Kind: Create, Path: "/d/y", Inode: 2, File: Bulk, Time: 20},
		Op{Kind: Extend, Inode: 2, Extents: []Extent{{object(1), 0, 1 << 20}, {object(2), 0, 9}}},
		Op{Kind: Create, Path: "/z", Inode: 3, Time: 30},
	)
	return s
}

func TestErrors(t *testing.T) {
	for _, c := range []struct {
		name string
		op   Op
		want []error // none: legal
	}{
		{"mkdir existing", Op{Kind: Mkdir, Path: "/d"}, nil},
		{"mkdir root", Op{Kind: Mkdir, Path: "/"}, nil},
		{"mkdir over a file", Op{Kind: Mkdir, Path: "/z"}, []error{ErrNotDir, fs.ErrExist}},
		{"mkdir below a file", Op{Kind: Mkdir, Path: "/z/a"}, []error{ErrNotDir}},
		{"mkdir unclean", Op{Kind: Mkdir, Path: "/a//b"}, []error{fs.ErrInvalid}},
		{"mkdir relative", Op{Kind: Mkdir, Path: "a"}, []error{fs.ErrInvalid}},
		{"mkdir dots", Op{Kind: Mkdir, Path: "/a/../b"}, []error{fs.ErrInvalid}},
		{"mkdir NUL", Op{Kind: Mkdir, Path: "/a\x00"}, []error{fs.ErrInvalid}},
		{"mkdir too long", Op{Kind: Mkdir, Path: strings.Repeat("/a", MaxPath/2) + "b"}, []error{fs.ErrInvalid}},
		{"mkdir as long as may be", Op{Kind: Mkdir, Path: strings.Repeat("/a", MaxPath/2)}, nil},
		{"mkdir without path", Op{Kind: Mkdir}, []error{fs.ErrInvalid}},
		{"create", Op{Kind: Create, Path: "/d/new", Inode: 9}, nil},
		{"create with an unclean name", Op{Kind: Create, Path: "/a/", Inode: 9}, []error{fs.ErrInvalid}},
		{"create over a file", Op{Kind: Create, Path: "/z", Inode: 9}, nil},
		{"create over a directory", Op{Kind: Create, Path: "/d", Inode: 9}, []error{ErrIsDir}},
		{"create over the root", Op{Kind: Create, Path: "/", Inode: 9}, []error{ErrIsDir}},
		{"create without parent", Op{Kind: Create, Path: "/no/a", Inode: 9}, []error{fs.ErrNotExist}},
		{"create below a file", Op{Kind: Create, Path: "/z/a", Inode: 9}, []error{ErrNotDir}},
		{"create deep below a file", Op{Kind: Create, Path: "/z/a/b", Inode: 9}, []error{ErrNotDir}},
		{"create with an inode in use", Op{Kind: Create, Path: "/a", Inode: 3}, []error{fs.ErrInvalid}},
		{"create with inode 0", Op{Kind: Create, Path: "/a"}, []error{fs.ErrInvalid}},
		{"create with a huge inode", Op{Kind: Create, Path: "/a", Inode: 1 << 63}, []error{fs.ErrInvalid}},
		{"create of an unknown kind", Op{Kind: Create, Path: "/a", Inode: 9, File: 3}, []error{fs.ErrInvalid}},
		{"create before 1970", Op{Kind: Create, Path: "/a", Inode: 9, Time: -1}, []error{fs.ErrInvalid}},
		{"link", Op{Kind: Link, Path: "/z", Path2: "/d/z"}, nil},
		{"link of nothing", Op{Kind: Link, Path: "/no", Path2: "/a"}, []error{fs.ErrNotExist}},
		{"link below a file", Op{Kind: Link, Path: "/z/a", Path2: "/a"}, []error{ErrNotDir}},
		{"link of a directory", Op{Kind: Link, Path: "/d", Path2: "/a"}, []error{ErrIsDir}},
		{"link of the root", Op{Kind: Link, Path: "/", Path2: "/a"}, []error{ErrIsDir}},
		{"link to a file", Op{Kind: Link, Path: "/z", Path2: "/d/y"}, []error{fs.ErrExist}},
		{"link to itself", Op{Kind: Link, Path: "/z", Path2: "/z"}, []error{fs.ErrExist}},
		{"link to a directory", Op{Kind: Link, Path: "/z", Path2: "/d"}, []error{fs.ErrExist}},
		{"link to the root", Op{Kind: Link, Path: "/z", Path2: "/"}, []error{fs.ErrExist}},
		{"link into nothing", Op{Kind: Link, Path: "/z", Path2: "/no/a"}, []error{fs.ErrNotExist}},
		{"link into a file", Op{Kind: Link, Path: "/z", Path2: "/z/a"}, []error{ErrNotDir}},
		{"link to an unclean name", Op{Kind: Link, Path: "/z", Path2: "/a/"}, []error{fs.ErrInvalid}},
		{"rename", Op{Kind: Rename, Path: "/z", Path2: "/d/z"}, nil},
		{"rename to itself", Op{Kind: Rename, Path: "/z", Path2: "/z"}, nil},
		{"rename onto a file", Op{Kind: Rename, Path: "/z", Path2: "/d/y"}, nil},
		{"rename a directory to itself", Op{Kind: Rename, Path: "/d", Path2: "/d"}, nil},
		{"rename a directory", Op{Kind: Rename, Path: "/d", Path2: "/dd"}, nil},
		{"rename a directory upwards", Op{Kind: Rename, Path: "/d/e", Path2: "/e"}, nil},
		{"rename nothing", Op{Kind: Rename, Path: "/no", Path2: "/a"}, []error{fs.ErrNotExist}},
		{"rename nothing to itself", Op{Kind: Rename, Path: "/no", Path2: "/no"}, []error{fs.ErrNotExist}},
		{"rename the root", Op{Kind: Rename, Path: "/", Path2: "/a"}, []error{fs.ErrInvalid}},
		{"rename the root to itself", Op{Kind: Rename, Path: "/", Path2: "/"}, []error{fs.ErrInvalid}},
		{"rename a file to the root", Op{Kind: Rename, Path: "/z", Path2: "/"}, []error{ErrIsDir}},
		{"rename a directory to the root", Op{Kind: Rename, Path: "/d/e", Path2: "/"}, []error{fs.ErrExist}},
		{"rename into nothing", Op{Kind: Rename, Path: "/z", Path2: "/no/a"}, []error{fs.ErrNotExist}},
		{"rename a file into itself", Op{Kind: Rename, Path: "/z", Path2: "/z/a"}, []error{ErrNotDir}},
		{"rename below a file", Op{Kind: Rename, Path: "/d", Path2: "/z/a"}, []error{ErrNotDir}},
		{"rename a file onto a directory", Op{Kind: Rename, Path: "/z", Path2: "/d"}, []error{ErrIsDir}},
		{"rename a directory onto a file", Op{Kind: Rename, Path: "/d", Path2: "/z"}, []error{ErrNotDir}},
		{"rename a directory onto its parent", Op{Kind: Rename, Path: "/d/e", Path2: "/d"}, []error{fs.ErrExist}},
		{"rename a directory into itself", Op{Kind: Rename, Path: "/d", Path2: "/d/a"}, []error{fs.ErrInvalid}},
		{"rename a directory deep into itself", Op{Kind: Rename, Path: "/d", Path2: "/d/e/a"}, []error{fs.ErrInvalid}},
		{"rename a directory into nothing in itself", Op{Kind: Rename, Path: "/d", Path2: "/d/no/a"}, []error{fs.ErrInvalid}},
		{"remove", Op{Kind: Remove, Path: "/z"}, nil},
		{"remove nothing", Op{Kind: Remove, Path: "/no"}, []error{fs.ErrNotExist}},
		{"remove below a file", Op{Kind: Remove, Path: "/z/a"}, []error{ErrNotDir}},
		{"remove the root", Op{Kind: Remove, Path: "/"}, []error{fs.ErrInvalid}},
		{"remove a full directory", Op{Kind: Remove, Path: "/d"}, []error{ErrNotEmpty}},
		{"removeall", Op{Kind: RemoveAll, Path: "/d"}, nil},
		{"removeall of nothing", Op{Kind: RemoveAll, Path: "/no/a"}, nil},
		{"removeall below a file", Op{Kind: RemoveAll, Path: "/z/a"}, nil},
		{"removeall of the root", Op{Kind: RemoveAll, Path: "/"}, []error{fs.ErrInvalid}},
		{"removeall of an unclean name", Op{Kind: RemoveAll, Path: "/a/./b"}, []error{fs.ErrInvalid}},
		{"append to nothing", Op{Kind: Append, Inode: 77, Len: 5}, nil},
		{"append nothing", Op{Kind: Append, Inode: 1}, []error{fs.ErrInvalid}},
		{"append too much", Op{Kind: Append, Inode: 1, Len: 1<<63 - 5}, []error{fs.ErrInvalid}},
		{"extend by nothing", Op{Kind: Extend, Inode: 1}, nil},
		{"extend by an empty extent", Op{Kind: Extend, Inode: 1, Extents: []Extent{{object(1), 0, 0}}}, []error{fs.ErrInvalid}},
		{"extend from before the object", Op{Kind: Extend, Inode: 1, Extents: []Extent{{object(1), -1, 1}}}, []error{fs.ErrInvalid}},
		{"extend past the largest offset", Op{Kind: Extend, Inode: 1, Extents: []Extent{{object(1), 1<<63 - 1, 1}}}, []error{fs.ErrInvalid}},
		{"extend past the largest size", Op{Kind: Extend, Inode: 77, Extents: []Extent{{frame(1), 0, 1 << 62}, {frame(1), 0, 1 << 62}}}, []error{fs.ErrInvalid}},
		{"extend past the largest size of a file", Op{Kind: Extend, Inode: 1, Extents: []Extent{{frame(1), 0, 1<<63 - 1}}}, []error{fs.ErrInvalid}},
		{"extend from no container", Op{Kind: Extend, Inode: 1, Extents: []Extent{{Container{}, 0, 1}}}, []error{fs.ErrInvalid}},
		{"extend past the end of the object", Op{Kind: Extend, Inode: 1, Extents: []Extent{{Container{Kind: Object, CRC: 1}, 0, 2}}}, []error{fs.ErrInvalid}},
		{"extend from an unknown volume", Op{Kind: Extend, Inode: 1, Extents: []Extent{{Container{Kind: Object, Owner: 1}, 0, 1}}}, []error{fs.ErrInvalid}},
		{"pack of nothing", Op{Kind: Pack}, nil},
		{"pack of another length", Op{Kind: Pack, Packs: []Repack{{1, 0, Extent{frame(1), 0, 5}, Extent{object(9), 0, 4}}}}, []error{fs.ErrInvalid}},
		{"pack before the file", Op{Kind: Pack, Packs: []Repack{{1, -1, Extent{frame(1), 0, 5}, Extent{object(9), 0, 5}}}}, []error{fs.ErrInvalid}},
		{"pack from no container", Op{Kind: Pack, Packs: []Repack{{1, 0, Extent{Container{}, 0, 5}, Extent{object(9), 0, 5}}}}, []error{fs.ErrInvalid}},
		{"pack into no container", Op{Kind: Pack, Packs: []Repack{{1, 0, Extent{frame(1), 0, 5}, Extent{Container{}, 0, 5}}}}, []error{fs.ErrInvalid}},
		{"touch", Op{Kind: Touch, Inode: 1, Time: 5}, nil},
		{"touch nothing", Op{Kind: Touch, Inode: 77, Time: 5}, nil},
		{"touch before 1970", Op{Kind: Touch, Inode: 1, Time: -5}, []error{fs.ErrInvalid}},
		{"no operation", Op{}, []error{fs.ErrInvalid}},
		{"unknown operation", Op{Kind: 11}, []error{fs.ErrInvalid}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := tree(t)
			before := s.Encode()
			err := s.Check(&c.op)
			if !slices.Equal(s.Encode(), before) {
				t.Fatal("Check has changed the state")
			}
			inline := Extent{frame(3), 88, c.op.Len}
			applied := s.Apply(&c.op, inline)
			if err := s.Verify(); err != nil {
				t.Fatal(err)
			}
			if len(c.want) == 0 {
				if err != nil || applied != nil {
					t.Fatalf("Check: %v, Apply: %v; want nil", err, applied)
				}
				return
			}
			for _, want := range c.want {
				if !errors.Is(err, want) || !errors.Is(applied, want) {
					t.Errorf("Check: %v, Apply: %v; want %v", err, applied, want)
				}
			}
			for _, other := range []error{fs.ErrNotExist, fs.ErrExist, fs.ErrInvalid, ErrIsDir, ErrNotDir, ErrNotEmpty} {
				if errors.Is(err, other) && !slices.Contains(c.want, other) {
					t.Errorf("Check: %v matches %v, too", err, other)
				}
			}
			if !errors.Is(applied, ErrCorrupt) || errors.Is(err, ErrCorrupt) {
				t.Errorf("Check: %v, Apply: %v; only Apply calls the journal corrupt", err, applied)
			}
			if !slices.Equal(s.Encode(), before) {
				t.Error("a refused operation has changed the state")
			}
		})
	}
}
