// Package meter counts the requests, bytes and errors that pass to a store, by operation and by the component that made them.
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

// Op is a method of driver.Store that makes requests.
type Op uint8

// The operations.
const (
	Put Op = iota
	Get
	Stat
	List
	Delete
	Copy
	numOps
)

var opNames = [numOps]string{"put", "get", "stat", "list", "delete", "copy"}

func (o Op) String() string { return opNames[o] }

// Count is what one component did with one operation. A LIST counts one request for each page, a DELETE one for each batch; what a driver
// retries by itself is not seen here.
type Count struct {
	Requests int64
	Bytes    int64 // bodies sent or received
	Errors   int64 // but for KindNotExist and KindExist, which are answers
}

type counter struct{ requests, bytes, errors atomic.Int64 }

// Store counts and passes everything on.
type Store struct {
	driver.Store
	caps driver.Capabilities
	mu   sync.Mutex
	by   map[driver.Component]*[numOps]counter
}

// New wraps a store.
func New(s driver.Store) *Store {
	return &Store{Store: s, caps: s.Capabilities(), by: map[driver.Component]*[numOps]counter{}}
}

// Unwrap gives the counted store.
func (s *Store) Unwrap() driver.Store { return s.Store }

func (s *Store) at(ctx context.Context, op Op) *counter {
	c := driver.ComponentOf(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	ops := s.by[c]
	if ops == nil {
		ops = new([numOps]counter)
		s.by[c] = ops
	}
	return &ops[op]
}

func (c *counter) done(err error) {
	switch driver.KindOf(err) {
	case driver.KindNotExist, driver.KindExist:
	default:
		if err != nil {
			c.errors.Add(1)
		}
	}
}

func (s *Store) Put(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
	c := s.at(ctx, Put)
	c.requests.Add(1)
	c.bytes.Add(int64(len(data)))
	err := s.Store.Put(ctx, key, data, o)
	c.done(err)
	return err
}

func (s *Store) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	c := s.at(ctx, Get)
	c.requests.Add(1)
	r, err := s.Store.Get(ctx, key, off, n)
	c.done(err)
	if err != nil {
		return nil, err
	}
	return &reader{r, c}, nil
}

type reader struct {
	io.ReadCloser
	c *counter
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.c.bytes.Add(int64(n))
	if err != nil && err != io.EOF {
		r.c.errors.Add(1)
	}
	return n, err
}

func (s *Store) Stat(ctx context.Context, key string) (driver.Info, error) {
	c := s.at(ctx, Stat)
	c.requests.Add(1)
	info, err := s.Store.Stat(ctx, key)
	c.done(err)
	return info, err
}

func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[driver.Info, error] {
	return func(yield func(driver.Info, error) bool) {
		c := s.at(ctx, List)
		c.requests.Add(1)
		n := 0
		for info, err := range s.Store.List(ctx, prefix, after) {
			if n++; s.caps.ListPage > 0 && n > s.caps.ListPage {
				n = 1
				c.requests.Add(1)
			}
			c.done(err)
			if !yield(info, err) {
				return
			}
		}
	}
}

func (s *Store) Delete(ctx context.Context, keys []string) error {
	c := s.at(ctx, Delete)
	batch := max(1, s.caps.DeleteBatch)
	c.requests.Add(int64((len(keys) + batch - 1) / batch))
	err := s.Store.Delete(ctx, keys)
	c.done(err)
	return err
}

// Row is a line of a Snapshot.
type Row struct {
	Component driver.Component
	Op        Op
	Count
}

// Snapshot is a moment's counts, only those that are not zero, sorted by component and operation.
type Snapshot []Row

// Snapshot takes the counts.
func (s *Store) Snapshot() Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	var rows Snapshot
	for comp, ops := range s.by {
		for op := range ops {
			c := &ops[op]
			if n := (Count{c.requests.Load(), c.bytes.Load(), c.errors.Load()}); n != (Count{}) {
				rows = append(rows, Row{comp, Op(op), n})
			}
		}
	}
	slices.SortFunc(rows, func(a, b Row) int {
		return cmp.Or(cmp.Compare(a.Component, b.Component), cmp.Compare(a.Op, b.Op))
	})
	return rows
}

// Total adds up an operation over all components; with no operation given, all of them.
func (s Snapshot) Total(ops ...Op) Count {
	var t Count
	for _, r := range s {
		hit := len(ops) == 0
		for _, op := range ops {
			hit = hit || r.Op == op
		}
		if hit {
			t.Requests += r.Requests
			t.Bytes += r.Bytes
			t.Errors += r.Errors
		}
	}
	return t
}

func (s Snapshot) String() string {
	var b strings.Builder
	for i, r := range s {
		if i > 0 {
			b.WriteString("; ")
		}
		fmt.Fprintf(&b, "%s %s %d (%d B", r.Component, r.Op, r.Requests, r.Bytes)
		if r.Errors > 0 {
			fmt.Fprintf(&b, ", %d errors", r.Errors)
		}
		b.WriteByte(')')
	}
	return b.String()
}
