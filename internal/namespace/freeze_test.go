package namespace

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"testing"
)

// freezeRun freezes a directory in the middle of a random run, goes on, and wants the State that a copy in that moment gives.
func freezeRun(seed uint64) error {
	r := newRun(seeded{rand.New(rand.NewPCG(seed, 7))})
	if err := r.all(60); err != nil {
		return err
	}
	for _, path := range []string{"/", "/a", "/d"} {
		n, err := r.s.find(path)
		z, zerr := r.s.Freeze(path)
		if err != nil || n.d == nil {
			if zerr == nil {
				return fmt.Errorf("%s is no directory", path)
			}
			continue
		}
		if zerr != nil {
			return zerr
		}
		want := z.State().Encode()
		if err := r.all(60); err != nil {
			return err
		}
		got := z.State()
		if err := got.Verify(); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if !bytes.Equal(got.Encode(), want) {
			return fmt.Errorf("%s: what was frozen has changed", path)
		}
	}
	return nil
}

func TestFreeze(t *testing.T) {
	for seed := range uint64(12) {
		if err := freezeRun(seed); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
	s := New()
	must(t, s, Op{Kind: Mkdir, Path: "/db"}, Op{Kind: Create, Path: "/db/a", Inode: 1}, Op{Kind: Link, Path: "/db/a", Path2: "/db/b"}, Op{Kind: Create, Path: "/c", Inode: 2})
	z, err := s.Freeze("/db")
	if err != nil {
		t.Fatal(err)
	}
	must(t, s, Op{Kind: Remove, Path: "/db/a"}, Op{Kind: RemoveAll, Path: "/db"})
	got := z.State().Stats()
	if want := (Stats{Files: 1, Dirs: 1, Names: 2}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	for _, path := range []string{"/c", "/db", "db", ""} {
		if _, err := s.Freeze(path); err == nil {
			t.Errorf("%q: no error", path)
		} else if _, ok := err.(*fs.PathError); !ok {
			t.Errorf("%q: %v", path, err)
		}
	}
	for range 2 { // a frozen directory can be built again
		if err := z.State().Verify(); err != nil {
			t.Error(err)
		}
	}
}
