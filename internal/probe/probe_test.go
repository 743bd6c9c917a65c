package probe_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/fault"
	"github.com/forst-go/forst/forstfs/local"
	"github.com/forst-go/forst/forstfs/mem"
	"github.com/forst-go/forst/internal/probe"
)

// store replaces the methods that are set.
type store struct {
	driver.Store
	put    func(key string, data []byte, o driver.PutOptions) error
	get    func(key string, off, n int64) (io.ReadCloser, error)
	stat   func(key string) (driver.Info, error)
	list   func(prefix, after string) ([]driver.Info, error)
	delete func(keys []string) error
}

func (s *store) Put(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
	if s.put != nil {
		return s.put(key, data, o)
	}
	return s.Store.Put(ctx, key, data, o)
}

func (s *store) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	if s.get != nil {
		return s.get(key, off, n)
	}
	return s.Store.Get(ctx, key, off, n)
}

func (s *store) Stat(ctx context.Context, key string) (driver.Info, error) {
	if s.stat != nil {
		return s.stat(key)
	}
	return s.Store.Stat(ctx, key)
}

func (s *store) List(ctx context.Context, prefix, after string) iter.Seq2[driver.Info, error] {
	if s.list == nil {
		return s.Store.List(ctx, prefix, after)
	}
	return func(yield func(driver.Info, error) bool) {
		list, err := s.list(prefix, after)
		for _, i := range list {
			if !yield(i, nil) {
				return
			}
		}
		if err != nil {
			yield(driver.Info{}, err)
		}
	}
}

func (s *store) Delete(ctx context.Context, keys []string) error {
	if s.delete != nil {
		return s.delete(keys)
	}
	return s.Store.Delete(ctx, keys)
}

func check(t *testing.T, s driver.Store) (probe.Report, error) {
	t.Helper()
	tr := &fault.Trace{}
	rep, err := probe.Probe(t.Context(), fault.New(s, &fault.Options{Trace: tr}))
	if tr.Len() > probe.MaxRequests || tr.Len() != rep.Requests {
		t.Errorf("%d requests were made, %d reported, %d are the limit:\n%s", tr.Len(), rep.Requests, probe.MaxRequests, tr)
	}
	for _, c := range tr.Calls() {
		if !strings.HasPrefix(c.Key, rep.Prefix) || c.Component != driver.CompProbe {
			t.Errorf("a request outside of %s: %+v", rep.Prefix, c)
		}
	}
	return rep, err
}

func TestHonestStores(t *testing.T) {
	l, err := local.Open(t.Context(), t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, s := range []driver.Store{mem.New(nil), l} {
		rep, err := check(t, s)
		if err != nil || len(rep.Passed) != 9 || len(rep.Warnings) != 0 || rep.Took <= 0 {
			t.Errorf("%+v, %v", rep, err)
		}
		if infos, err := driver.ListAll(t.Context(), s, "", ""); err != nil || len(infos) > 0 {
			t.Errorf("left behind: %v, %v", infos, err)
		}
	}
}

// TestUnsafeStores: each row is a store that breaks one promise, and the check that must say so.
func TestUnsafeStores(t *testing.T) {
	ctx := context.Background()
	exists := func(s driver.Store, key string) bool { _, err := s.Stat(ctx, key); return err == nil }
	refused := func(key string) error { return &driver.Error{Op: "put", Path: key, Kind: driver.KindExist} }
	for _, tt := range []struct {
		name  string
		check string
		make  func(s *store)
	}{
		{"if-absent ignored", "create if absent, two at once", func(s *store) {
			s.put = func(key string, data []byte, _ driver.PutOptions) error {
				return s.Store.Put(ctx, key, data, driver.PutOptions{})
			}
		}},
		{"checked, then put", "create if absent, two at once", func(s *store) {
			var both sync.WaitGroup
			both.Add(2)
			s.put = func(key string, data []byte, o driver.PutOptions) error {
				if o.IfAbsent && exists(s.Store, key) {
					return refused(key)
				}
				both.Done()
				both.Wait() // both have looked
				return s.Store.Put(ctx, key, data, driver.PutOptions{})
			}
		}},
		{"if-absent ignored unless at the same time", "create if absent, over an object", func(s *store) {
			var mu sync.Mutex
			n := 0
			s.put = func(key string, data []byte, o driver.PutOptions) error {
				mu.Lock()
				defer mu.Unlock()
				n++
				return s.Store.Put(ctx, key, data, driver.PutOptions{IfAbsent: o.IfAbsent && n == 2})
			}
		}},
		{"refuses and overwrites", "read after write", func(s *store) {
			s.put = func(key string, data []byte, o driver.PutOptions) error {
				err := s.Store.Put(ctx, key, data, o)
				_ = s.Store.Put(ctx, key, data, driver.PutOptions{})
				return err
			}
		}},
		{"if-absent unknown", "create if absent, two at once", func(s *store) {
			s.put = func(key string, data []byte, o driver.PutOptions) error {
				return &driver.Error{Op: "put", Path: key, Kind: driver.KindUnsupported, Err: errors.New("501 NotImplemented")}
			}
		}},
		{"everything exists", "missing object", func(s *store) {
			s.stat = func(key string) (driver.Info, error) { return driver.Info{Key: key}, nil }
		}},
		{"missing is invalid", "missing object", func(s *store) {
			s.stat = func(key string) (driver.Info, error) { return driver.Info{}, &driver.Error{Kind: driver.KindInvalid} }
		}},
		{"fresh objects cannot be read", "read after write", func(s *store) {
			s.get = func(key string, _, _ int64) (io.ReadCloser, error) {
				return nil, &driver.Error{Op: "get", Path: key, Kind: driver.KindNotExist}
			}
		}},
		{"other bytes", "read after write", func(s *store) {
			s.get = func(string, int64, int64) (io.ReadCloser, error) {
				return io.NopCloser(strings.NewReader("<html>")), nil
			}
		}},
		{"ranges ignored", "range", func(s *store) {
			s.get = func(key string, _, _ int64) (io.ReadCloser, error) { return s.Store.Get(ctx, key, 0, -1) }
		}},
		{"ranges shifted", "range", func(s *store) {
			s.get = func(key string, off, n int64) (io.ReadCloser, error) { return s.Store.Get(ctx, key, max(0, off-1), n) }
		}},
		{"short read without an error", "range", func(s *store) {
			s.get = func(key string, off, n int64) (io.ReadCloser, error) { return s.Store.Get(ctx, key, off, min(n, 50)) }
		}},
		{"ranges unsupported", "range", func(s *store) {
			s.get = func(key string, off, n int64) (io.ReadCloser, error) {
				if n > 0 {
					return nil, &driver.Error{Op: "get", Path: key, Kind: driver.KindUnsupported}
				}
				return s.Store.Get(ctx, key, off, n)
			}
		}},
		{"behind the end is empty", "range past the end", func(s *store) {
			s.get = func(key string, off, n int64) (io.ReadCloser, error) {
				r, err := s.Store.Get(ctx, key, off, n)
				if driver.KindOf(err) == driver.KindRange {
					return io.NopCloser(bytes.NewReader(nil)), nil
				}
				return r, err
			}
		}},
		{"behind the end is missing", "range past the end", func(s *store) {
			s.get = func(key string, off, n int64) (io.ReadCloser, error) {
				r, err := s.Store.Get(ctx, key, off, n)
				if driver.KindOf(err) == driver.KindRange {
					err = &driver.Error{Op: "get", Path: key, Kind: driver.KindNotExist}
				}
				return r, err
			}
		}},
		{"fresh keys are not listed", "list after write", func(s *store) {
			s.list = func(string, string) ([]driver.Info, error) { return nil, nil }
		}},
		{"unordered", "list after write", func(s *store) {
			s.list = func(prefix, after string) ([]driver.Info, error) {
				list, err := driver.ListAll(ctx, s.Store, prefix, after)
				slices.Reverse(list)
				return list, err
			}
		}},
		{"wrong sizes", "list after write", func(s *store) {
			s.list = func(prefix, after string) ([]driver.Info, error) {
				list, err := driver.ListAll(ctx, s.Store, prefix, after)
				for i := range list {
					list[i].Size = 0
				}
				return list, err
			}
		}},
		{"start-after ignored", "start after", func(s *store) {
			s.list = func(prefix, _ string) ([]driver.Info, error) { return driver.ListAll(ctx, s.Store, prefix, "") }
		}},
		{"start-after ends the list", "start after", func(s *store) {
			s.list = func(prefix, after string) ([]driver.Info, error) {
				if after != "" {
					return nil, nil
				}
				return driver.ListAll(ctx, s.Store, prefix, after)
			}
		}},
		{"deletes nothing", "delete", func(s *store) { s.delete = func([]string) error { return nil } }},
		{"deletes one", "delete", func(s *store) {
			s.delete = func(keys []string) error { return s.Store.Delete(ctx, keys[:1]) }
		}},
		{"a missing key cannot be deleted", "delete", func(s *store) {
			s.delete = func(keys []string) error {
				for _, key := range keys {
					if !exists(s.Store, key) {
						return &driver.Error{Op: "delete", Path: key, Kind: driver.KindNotExist}
					}
				}
				return s.Store.Delete(ctx, keys)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &store{Store: mem.New(nil)}
			tt.make(s)
			_, err := check(t, s)
			var u *probe.Unsafe
			if !errors.Is(err, probe.ErrUnsafe) || !errors.As(err, &u) {
				t.Fatalf("not found: %v", err)
			}
			if u.Check != tt.check {
				t.Errorf("found by %q, want %q: %v", u.Check, tt.check, err)
			}
			if tt.name == "refuses and overwrites" && !strings.Contains(u.Saw, "refused has overwritten") {
				t.Errorf("another diagnosis: %v", err)
			}
			for _, part := range []string{u.Saw, u.Risk, u.Do} {
				if part == "" || !strings.Contains(err.Error(), part) {
					t.Errorf("the message lacks a part: %v", err)
				}
			}
			t.Log(err)
			if left, _ := driver.ListAll(ctx, s.Store, "", ""); len(left) > 0 && s.delete == nil {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// TestTroubleIsNotUnsafe: a network or a key that does not work says nothing about the store.
func TestTroubleIsNotUnsafe(t *testing.T) {
	denied := &driver.Error{Kind: driver.KindPermission, Err: errors.New("403")}
	for i := range probe.MaxRequests {
		for _, cause := range []error{denied, nil} {
			inner := mem.New(nil)
			s := fault.New(inner, &fault.Options{Rules: []fault.Rule{{Nth: i + 1, Do: fault.Fail(cause)}}})
			rep, err := check(t, s)
			if err == nil || errors.Is(err, probe.ErrUnsafe) || !errors.Is(err, fault.ErrInjected) {
				t.Errorf("request %d fails: %v", i+1, err)
			}
			if cause != nil && !errors.Is(err, fs.ErrPermission) {
				t.Errorf("the kind is lost: %v", err)
			}
			if left, _ := driver.ListAll(t.Context(), inner, "", ""); len(left) > 0 {
				t.Errorf("request %d fails: %v is left behind", i+1, left)
			}
			if len(rep.Passed) > 8 {
				t.Errorf("passed: %v", rep.Passed)
			}
		}
	}
	// What cannot be removed is said.
	s := fault.New(mem.New(nil), &fault.Options{Rules: []fault.Rule{
		{Ops: []fault.Op{fault.Delete}, Do: fault.Fail(denied)}, {Ops: []fault.Op{fault.Get}, Do: fault.Fail(nil)}}})
	rep, err := check(t, s)
	if err == nil || !strings.Contains(err.Error(), "could not be removed") || !strings.Contains(err.Error(), rep.Prefix) {
		t.Errorf("%v", err)
	}
}

// TestLostReplies: a create whose first reply was lost is told "exists" by the driver's second attempt. That is legal.
func TestLostReplies(t *testing.T) {
	s := &store{Store: mem.New(nil)}
	n := 0
	var mu sync.Mutex
	s.put = func(key string, data []byte, o driver.PutOptions) error {
		err := s.Store.Put(context.Background(), key, data, o)
		mu.Lock()
		defer mu.Unlock()
		if n++; n <= 2 && err == nil {
			return &driver.Error{Op: "put", Path: key, Kind: driver.KindExist}
		}
		return err
	}
	if _, err := check(t, s); err != nil {
		t.Error(err)
	}
}

func TestCancelledProbeCleansUp(t *testing.T) {
	inner := mem.New(nil)
	ctx, cancel := context.WithCancel(t.Context())
	s := fault.New(inner, &fault.Options{After: func(_ context.Context, c fault.Call, err error) error {
		if c.Op == fault.List {
			cancel()
		}
		return err
	}})
	if _, err := probe.Probe(ctx, s); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if left, _ := driver.ListAll(t.Context(), inner, "", ""); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

type warning struct{ driver.Store }

func (warning) Warnings(context.Context) []string { return []string{"objects expire after 30 days"} }

func TestWarnings(t *testing.T) {
	rep, err := probe.Probe(t.Context(), fault.New(warning{mem.New(nil)}, nil))
	if err != nil || len(rep.Warnings) != 1 {
		t.Errorf("%+v, %v", rep, err)
	}
}
