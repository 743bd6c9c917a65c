// Package meter counts the requests that pass to a store, by operation and by the component that made them. It adds a few
// atomic additions to a request and no lock to its way.
package meter

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/forst-go/forst/forstfs/driver"
)

// Counts are the totals of one operation and component.
type Counts struct {
	Op        string // "put", "get", "stat", "list", "delete", "copy"
	Component driver.Component
	Calls     int64 // calls of the method
	// Requests is what the store is asked for, as its Capabilities say: one for each page of a list and each batch of a
	// delete. Repetitions inside the driver are not in it.
	Requests int64
	Keys     int64 // keys listed or deleted
	In       int64 // bytes read
	Out      int64 // bytes written, sent and not necessarily taken
	Errors   int64 // calls that failed; of a get also a failing reader. A create that lost and a missing object are no failures
	Misses   int64 // answers "not exist" and "exists"
	Canceled int64 // calls that ended because their context did
}

// Snapshot is a list of counts in the order of operation and component. Rows without a call are left out.
type Snapshot []Counts

// Store is the counting wrapper. It implements driver.Store, and driver.Copier for driver.As if the wrapped store does.
type Store struct {
	inner driver.Store
	page  int64
	batch int64
	rows  *sync.Map // rowKey -> *row
}

type rowKey struct {
	op   string
	comp driver.Component
}

type row struct {
	calls, requests, keys, in, out, errors, misses, canceled atomic.Int64
}

// New wraps inner, which Close closes.
func New(inner driver.Store) *Store {
	c := inner.Capabilities()
	return &Store{inner: inner, page: int64(c.ListPage), batch: int64(c.DeleteBatch), rows: new(sync.Map)}
}

// Also wraps another store and counts its requests into the same totals.
func (s *Store) Also(inner driver.Store) *Store {
	w := New(inner)
	w.rows = s.rows
	return w
}

// Snapshot gives the totals so far. Requests under way may be in it in part.
func (s *Store) Snapshot() Snapshot {
	var snap Snapshot
	s.rows.Range(func(k, v any) bool {
		key, r := k.(rowKey), v.(*row)
		snap = append(snap, Counts{key.op, key.comp, r.calls.Load(), r.requests.Load(), r.keys.Load(), r.in.Load(), r.out.Load(),
			r.errors.Load(), r.misses.Load(), r.canceled.Load()})
		return true
	})
	slices.SortFunc(snap, func(a, b Counts) int {
		return cmp.Or(strings.Compare(a.Op, b.Op), strings.Compare(string(a.Component), string(b.Component)))
	})
	return snap
}

// Sum adds up the rows of op and component; an empty one means all.
func (snap Snapshot) Sum(op string, comp driver.Component) Counts {
	t := Counts{Op: op, Component: comp}
	for _, c := range snap {
		if (op == "" || c.Op == op) && (comp == "" || c.Component == comp) {
			t.Calls += c.Calls
			t.Requests += c.Requests
			t.Keys += c.Keys
			t.In += c.In
			t.Out += c.Out
			t.Errors += c.Errors
			t.Misses += c.Misses
			t.Canceled += c.Canceled
		}
	}
	return t
}

// Sub gives what happened since an earlier snapshot.
func (snap Snapshot) Sub(earlier Snapshot) Snapshot {
	var diff Snapshot
	for _, c := range snap {
		for _, e := range earlier {
			if e.Op == c.Op && e.Component == c.Component {
				c.Calls -= e.Calls
				c.Requests -= e.Requests
				c.Keys -= e.Keys
				c.In -= e.In
				c.Out -= e.Out
				c.Errors -= e.Errors
				c.Misses -= e.Misses
				c.Canceled -= e.Canceled
			}
		}
		if c.Calls != 0 || c.In != 0 || c.Errors != 0 { // a reader of an earlier call may have gone on
			diff = append(diff, c)
		}
	}
	return diff
}

// String is a table with one line for each operation and component, and a line of totals.
func (snap Snapshot) String() string {
	var b strings.Builder
	line := func(op, comp string, c Counts) {
		fmt.Fprintf(&b, "%-7s %-10s %9d %9d %9d %12d %12d %7d %7d %9d\n", op, comp, c.Calls, c.Requests, c.Keys, c.In, c.Out,
			c.Misses, c.Errors, c.Canceled)
	}
	fmt.Fprintf(&b, "%-7s %-10s %9s %9s %9s %12s %12s %7s %7s %9s\n", "op", "component", "calls", "requests", "keys", "bytes in",
		"bytes out", "misses", "errors", "cancelled")
	for _, c := range snap {
		line(c.Op, string(c.Component), c)
	}
	line("total", "", snap.Sum("", ""))
	return b.String()
}

func (s *Store) row(ctx context.Context, op string) *row {
	key := rowKey{op, driver.ComponentOf(ctx)}
	if r, ok := s.rows.Load(key); ok {
		return r.(*row)
	}
	r, _ := s.rows.LoadOrStore(key, &row{})
	return r.(*row)
}

// call counts one call that has its answer.
func (r *row) call(requests int64, err error) {
	r.calls.Add(1)
	r.requests.Add(requests)
	r.fail(err)
}

func (r *row) fail(err error) {
	if err == nil {
		return
	}
	switch kind := driver.KindOf(err); {
	case driver.IsCanceled(err):
		r.canceled.Add(1)
	case kind == driver.KindNotExist || kind == driver.KindExist:
		r.misses.Add(1)
	default:
		r.errors.Add(1)
	}
}

// Put counts and passes on.
func (s *Store) Put(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
	r := s.row(ctx, "put")
	err := s.inner.Put(ctx, key, data, o)
	r.out.Add(int64(len(data)))
	r.call(1, err)
	return err
}

// Get counts and passes on; bytes are counted when they are read.
func (s *Store) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	r := s.row(ctx, "get")
	in, err := s.inner.Get(ctx, key, off, n)
	r.call(1, err)
	if err != nil {
		return nil, err
	}
	return &reader{in, r}, nil
}

type reader struct {
	in  io.ReadCloser
	row *row
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.in.Read(p)
	r.row.in.Add(int64(n))
	if err != nil && err != io.EOF {
		r.row.fail(err)
	}
	return n, err
}

func (r *reader) Close() error { return r.in.Close() }

// Stat counts and passes on.
func (s *Store) Stat(ctx context.Context, key string) (driver.Info, error) {
	r := s.row(ctx, "stat")
	info, err := s.inner.Stat(ctx, key)
	r.call(1, err)
	return info, err
}

// List counts and passes on; a page is counted when its first key is read.
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[driver.Info, error] {
	return func(yield func(driver.Info, error) bool) {
		r := s.row(ctx, "list")
		r.calls.Add(1)
		r.requests.Add(1)
		n := int64(0)
		for info, err := range s.inner.List(ctx, prefix, after) {
			if err != nil {
				r.fail(err)
			} else {
				if s.page > 0 && n > 0 && n%s.page == 0 {
					r.requests.Add(1)
				}
				n++
				r.keys.Add(1)
			}
			if !yield(info, err) {
				return
			}
		}
	}
}

// Delete counts and passes on.
func (s *Store) Delete(ctx context.Context, keys []string) error {
	r := s.row(ctx, "delete")
	err := s.inner.Delete(ctx, keys)
	n := int64(len(keys))
	r.keys.Add(n)
	batch := max(s.batch, 1)
	r.call((n+batch-1)/batch, err)
	return err
}

// Capabilities are those of the wrapped store.
func (s *Store) Capabilities() driver.Capabilities { return s.inner.Capabilities() }

// Close closes the wrapped store. The counts stay.
func (s *Store) Close() error { return s.inner.Close() }

// Unwrap gives the wrapped store, with counts for its Copy if it has one.
func (s *Store) Unwrap() driver.Store {
	if c, ok := driver.As[driver.Copier](s.inner); ok {
		return copier{s.inner, s, c}
	}
	return s.inner
}

// copier is a layer that only driver.As meets: it is there if, and only if, the wrapped store can copy.
type copier struct {
	driver.Store
	s  *Store
	in driver.Copier
}

func (c copier) Unwrap() driver.Store { return c.Store }

// Copy counts and passes on. No bytes pass through this process.
func (c copier) Copy(ctx context.Context, src, dst string) error {
	r := c.s.row(ctx, "copy")
	err := c.in.Copy(ctx, src, dst)
	r.call(1, err)
	return err
}
