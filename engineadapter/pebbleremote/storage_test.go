package pebbleremote_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/objstorage/remote"

	"github.com/forst-go/forst/engineadapter/internal/enginetest"
	"github.com/forst-go/forst/engineadapter/pebbleremote"
	"github.com/forst-go/forst/forstfs/driver"
)

var ctx = context.Background()

// TestContract is what remote.Storage promises, on every kind of store.
func TestContract(t *testing.T) {
	onHomes(t, func(t *testing.T, h enginetest.Home) {
		store := h.Open(t)
		defer store.Close()
		s := newStorage(t, store, nil)
		data := pattern(300<<10, 1)
		create(t, s, "a", data)
		create(t, s, "b/4", []byte("four"))
		create(t, s, "b/5", nil)
		create(t, s, "bc", []byte("x"))

		for _, st := range []*pebbleremote.Storage{s, newStorage(t, store, nil)} { // the writer, and somebody else
			r, size, err := st.ReadObject(ctx, "a")
			ok(t, err)
			if size != int64(len(data)) {
				t.Fatalf("size %d, want %d", size, len(data))
			}
			var wg sync.WaitGroup
			for _, at := range [][2]int{{0, 10}, {len(data) - 53, 53}, {0, len(data)}, {40000, 70000}, {len(data), 0}} {
				wg.Go(func() {
					p := make([]byte, at[1])
					if err := r.ReadAt(ctx, p, int64(at[0])); err != nil || !bytes.Equal(p, data[at[0]:at[0]+at[1]]) {
						t.Errorf("%d bytes at %d: %v, or other bytes", at[1], at[0], err)
					}
				})
			}
			wg.Wait()
			for _, at := range [][2]int{{len(data) - 1, 2}, {len(data) + 1, 0}, {-1, 1}} {
				if err := r.ReadAt(ctx, make([]byte, at[1]), int64(at[0])); err == nil || st.IsNotExistError(err) {
					t.Errorf("%d bytes at %d: %v", at[1], at[0], err)
				}
			}
			ok(t, r.Close())
			for _, want := range []struct {
				prefix, delimiter string
				names             []string
			}{
				{"", "", []string{"a", "b/4", "b/5", "bc"}},
				{"", "/", []string{"a", "b", "bc"}},
				{"b", "", []string{"b/4", "b/5", "bc"}},
				{"b/", "/", []string{"b/4", "b/5"}},
				{"b", "/", []string{"b/4", "b/5", "bc"}},
				{"zz", "", []string{}},
			} {
				names, err := st.List(want.prefix, want.delimiter)
				slices.Sort(names)
				if err != nil || !slices.Equal(names, want.names) {
					t.Errorf("List(%q, %q) = %q, %v; want %q", want.prefix, want.delimiter, names, err, want.names)
				}
			}
			n, err := st.Size("b/4")
			if err != nil || n != 4 {
				t.Errorf("Size: %d, %v", n, err)
			}
			_, _, err = st.ReadObject(ctx, "none")
			if !st.IsNotExistError(err) {
				t.Errorf("ReadObject of nothing: %v", err)
			}
			if _, err = st.Size("none"); !st.IsNotExistError(err) {
				t.Errorf("Size of nothing: %v", err)
			}
			ok(t, st.Delete("none"))
		}
		ok(t, s.Delete("a"))
		if _, _, err := s.ReadObject(ctx, "a"); !s.IsNotExistError(err) {
			t.Errorf("ReadObject of what was deleted: %v", err)
		}
	})
}

// TestReplaced: nobody gets bytes of two objects, and what is deleted is gone for its readers, too.
func TestReplaced(t *testing.T) {
	store := enginetest.MemHome().Open(t)
	s := newStorage(t, store, nil)
	one, two := pattern(200<<10, 1), pattern(200<<10, 77)
	read := func(s *pebbleremote.Storage) []byte {
		r, n, err := s.ReadObject(ctx, "x")
		ok(t, err)
		p := make([]byte, n)
		ok(t, r.ReadAt(ctx, p, 0))
		return p
	}
	create(t, s, "x", one)
	old, _, err := s.ReadObject(ctx, "x")
	ok(t, err)
	other := newStorage(t, store, nil)
	if !bytes.Equal(read(s), one) || !bytes.Equal(read(other), one) {
		t.Fatal("other bytes than were written")
	}
	create(t, s, "x", two)
	if !bytes.Equal(read(s), two) {
		t.Error("the replaced object's bytes are still read")
	}
	if err := old.ReadAt(ctx, make([]byte, 10), 0); !s.IsNotExistError(err) {
		t.Errorf("a reader of the replaced object: %v", err)
	}
	// Somebody else replaced it with one of another size.
	create(t, s, "x", two[:100<<10])
	if !bytes.Equal(read(other), two[:100<<10]) {
		t.Error("somebody else's object is not noticed")
	}
	r, _, err := s.ReadObject(ctx, "x")
	ok(t, err)
	ok(t, s.Delete("x"))
	if err := r.ReadAt(ctx, make([]byte, 10), 0); !s.IsNotExistError(err) {
		t.Errorf("a reader of the deleted object: %v", err)
	}
}

// TestRequests: one GET for what is not cached, none for what is, none for what was just written.
func TestRequests(t *testing.T) {
	c := count(enginetest.MemHome().Open(t))
	expect := func(what string, want string) {
		t.Helper()
		n := c.take()
		var got []string
		for _, op := range []string{"put", "get", "stat", "delete"} {
			got = append(got, strings.Repeat(op+" ", n[op]))
		}
		if g := strings.Join(strings.Fields(strings.Join(got, "")), " "); g != want {
			t.Errorf("%s: %q, want %q", what, g, want)
		}
	}
	data := pattern(5<<20, 3)
	w := newStorage(t, c, nil)
	create(t, w, "x", data)
	expect("create", "put")
	p := make([]byte, 1000)
	r, _, err := w.ReadObject(ctx, "x")
	ok(t, err)
	ok(t, r.ReadAt(ctx, p, 3<<20))
	expect("read of what was just written", "")

	cold := newStorage(t, c, nil)
	r, size, err := cold.ReadObject(ctx, "x")
	ok(t, err)
	expect("open", "stat")
	ok(t, r.ReadAt(ctx, p, size-int64(len(p))))
	expect("the end", "get")
	ok(t, r.ReadAt(ctx, p, size-200<<10))
	expect("what stands before the end", "")
	big := make([]byte, 3<<20)
	ok(t, r.ReadAt(ctx, big, 100))
	expect("a read of many blocks", "get")
	if !bytes.Equal(big, data[100:100+len(big)]) {
		t.Error("other bytes")
	}
	ok(t, r.ReadAt(ctx, big[:1<<20], 0))
	expect("a miss", "get")
	ok(t, r.ReadAt(ctx, p, 500<<10))
	expect("a hit", "")
	ok(t, cold.Delete("x"))
	expect("delete", "delete")
}

// TestGivenUp: what Pebble does not finish, what is too large and what the store did not acknowledge leaves nothing.
func TestGivenUp(t *testing.T) {
	c := count(enginetest.MemHome().Open(t))
	s := newStorage(t, c, &pebbleremote.Options{MaxObject: 10000})
	empty := func(what string) {
		t.Helper()
		if names, err := s.List("", ""); err != nil || len(names) != 0 {
			t.Errorf("%s: left %q, %v", what, names, err)
		}
	}
	begun := func(name string, n int) (func() error, error) {
		w, err := s.CreateObject(name)
		ok(t, err)
		_, err = w.Write(pattern(n, 1))
		return w.Close, err
	}
	for _, n := range []int{0, 5, 9000} {
		finish, err := begun("0000-1-000005.sst", n)
		ok(t, err)
		empty("begun")
		if err := finish(); !errors.Is(err, pebbleremote.ErrUnfinished) {
			t.Errorf("Close of %d bytes of a table: %v", n, err)
		}
		empty("a table without an end")
	}
	finish, err := begun("large", 10001)
	for _, err := range []error{err, finish()} {
		if driver.KindOf(err) != driver.KindInvalid || !strings.Contains(err.Error(), "TargetFileSizes") {
			t.Errorf("too large: %v", err)
		}
	}
	empty("too large")

	lost := errors.New("the reply was lost")
	c.put = func(key string) error {
		return &driver.Error{Op: "put", Path: key, Kind: driver.KindTransient, Err: lost}
	}
	finish, err = begun("unsure", 100)
	ok(t, err)
	if err := finish(); !errors.Is(err, lost) || s.IsNotExistError(err) {
		t.Errorf("a put without an answer: %v", err)
	}
	empty("a put without an answer")
	c.put = nil

	for _, name := range []string{"", ".hidden", "a//b", "a b"} {
		if _, err := s.CreateObject(name); driver.KindOf(err) != driver.KindInvalid {
			t.Errorf("CreateObject(%q): %v", name, err)
		}
	}
}

func TestClose(t *testing.T) {
	store := enginetest.MemHome().Open(t)
	s := newStorage(t, store, nil)
	create(t, s, "x", []byte("bytes"))
	r, _, err := s.ReadObject(ctx, "x")
	ok(t, err)
	w, err := s.CreateObject("y")
	ok(t, err)
	ok(t, s.Close())
	ok(t, s.Close())
	_, _, open := s.ReadObject(ctx, "x")
	_, size := s.Size("x")
	_, list := s.List("", "")
	_, begin := s.CreateObject("z")
	for what, err := range map[string]error{"read": r.ReadAt(ctx, make([]byte, 1), 0), "finish": w.Close(), "open": open, "size": size, "list": list,
		"create": begin, "delete": s.Delete("x")} {
		if !errors.Is(err, fs.ErrClosed) || s.IsNotExistError(err) {
			t.Errorf("%s after Close: %v", what, err)
		}
	}
	if _, err := store.Stat(ctx, "x"); err != nil {
		t.Errorf("the store is the caller's: %v", err)
	}
	if _, err := pebbleremote.New(store, &pebbleremote.Options{MaxObject: -1}); err == nil {
		t.Error("a negative MaxObject is taken")
	}
}

var _ remote.Storage = (*pebbleremote.Storage)(nil)
