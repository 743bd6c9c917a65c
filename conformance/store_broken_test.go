package conformance_test

import (
	"bytes"
	"context"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/forst-go/forst/conformance"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/mem"
)

// broken is a store that breaks one promise: the fields that are set replace the methods of an honest one.
type broken struct {
	driver.Store
	w      *world
	put    func(ctx context.Context, key string, data []byte, o driver.PutOptions) error
	get    func(ctx context.Context, key string, off, n int64) (io.ReadCloser, error)
	stat   func(ctx context.Context, key string) (driver.Info, error)
	list   func(ctx context.Context, prefix, after string) iter.Seq2[driver.Info, error]
	delete func(ctx context.Context, keys []string) error
	caps   func() driver.Capabilities
	close  func() error
	copy   func(ctx context.Context, src, dst string) error
}

// world is what all handles on one root share.
type world struct {
	mu   sync.Mutex
	root driver.Store // an honest handle that is never closed
	data map[string][]byte
	keys map[string]bool
	n    int

	asked atomic.Int64 // requests that were begun or have ended, on any handle
}

func (b *broken) Put(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
	defer b.w.ask()()
	if b.put != nil {
		return b.put(ctx, key, data, o)
	}
	return b.Store.Put(ctx, key, data, o)
}

func (b *broken) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	defer b.w.ask()()
	if b.get != nil {
		return b.get(ctx, key, off, n)
	}
	return b.Store.Get(ctx, key, off, n)
}

func (b *broken) Stat(ctx context.Context, key string) (driver.Info, error) {
	defer b.w.ask()()
	if b.stat != nil {
		return b.stat(ctx, key)
	}
	return b.Store.Stat(ctx, key)
}

func (b *broken) List(ctx context.Context, prefix, after string) iter.Seq2[driver.Info, error] {
	defer b.w.ask()()
	if b.list != nil {
		return b.list(ctx, prefix, after)
	}
	return b.Store.List(ctx, prefix, after)
}

func (b *broken) Delete(ctx context.Context, keys []string) error {
	if b.delete != nil {
		return b.delete(ctx, keys)
	}
	return b.Store.Delete(ctx, keys)
}

func (b *broken) Capabilities() driver.Capabilities {
	if b.caps != nil {
		return b.caps()
	}
	return b.Store.Capabilities()
}

func (b *broken) Close() error {
	if b.close != nil {
		return b.close()
	}
	return b.Store.Close()
}

func (b *broken) Copy(ctx context.Context, src, dst string) error {
	if b.copy != nil {
		return b.copy(ctx, src, dst)
	}
	return b.Store.(driver.Copier).Copy(ctx, src, dst)
}

// exists asks the honest store.
func (b *broken) exists(ctx context.Context, key string) bool {
	defer b.w.ask()()
	_, err := b.w.root.Stat(ctx, key)
	return err == nil
}

// filter is a List of the honest store with some infos changed or left out.
func (b *broken) filter(ctx context.Context, prefix, after string, f func(*driver.Info) bool) iter.Seq2[driver.Info, error] {
	return func(yield func(driver.Info, error) bool) {
		for info, err := range b.Store.List(ctx, prefix, after) {
			if err == nil && !f(&info) {
				continue
			}
			if !yield(info, err) {
				return
			}
		}
	}
}

// infos gives a collected list as a List.
func infos(list []driver.Info, err error) iter.Seq2[driver.Info, error] {
	return func(yield func(driver.Info, error) bool) {
		for _, info := range list {
			if !yield(info, nil) {
				return
			}
		}
		if err != nil {
			yield(driver.Info{}, err)
		}
	}
}

// body gives bytes as a reader, with an error at their end.
func body(data []byte, end error) io.ReadCloser {
	if end == nil {
		return io.NopCloser(bytes.NewReader(data))
	}
	return io.NopCloser(io.MultiReader(bytes.NewReader(data), errReader{end}))
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

func fail(op, key string, kind driver.Kind, err error) error {
	return &driver.Error{Op: op, Path: key, Kind: kind, Err: err}
}

// ask counts a request at its begin and, by what it returns, at its end.
func (w *world) ask() func() {
	w.asked.Add(1)
	return func() { w.asked.Add(1) }
}

// pause gives other goroutines the chance to see what is there now: until they have made some requests, or seem not to be going to.
func (b *broken) pause() {
	from := b.w.asked.Load()
	for end := time.Now().Add(40 * time.Millisecond); b.w.asked.Load() < from+24 && time.Now().Before(end); {
		time.Sleep(200 * time.Microsecond)
	}
}

// mutant is one broken store and the case that must catch it.
type mutant struct {
	name  string
	catch string
	make  func(b *broken)
}

func brokenMaker(m mutant) conformance.Maker {
	return conformance.Maker{
		Secrets: []string{"hunter2secret"},
		Fresh: func(conformance.TB) func(context.Context) (driver.Store, error) {
			bucket := mem.NewBucket(nil)
			root, _ := bucket.Open("root")
			w := &world{root: root, data: map[string][]byte{}, keys: map[string]bool{}}
			return func(context.Context) (driver.Store, error) {
				s, err := bucket.Open("root")
				if err != nil {
					return nil, err
				}
				b := &broken{Store: s, w: w}
				m.make(b)
				return b, nil
			}
		},
	}
}

// TestStoreMutants breaks a store in every way of the table and wants the named case to see it.
func TestStoreMutants(t *testing.T) {
	cases := map[string]conformance.StoreCase{}
	for _, c := range conformance.StoreCases() {
		if _, twice := cases[c.Name]; twice {
			t.Errorf("two cases are named %s", c.Name)
		}
		cases[c.Name] = c
	}
	mutants := slices.Concat(putMutants, ifAbsentMutants, readMutants, listMutants, deleteMutants, otherMutants)
	aimed := map[string]bool{}
	for _, m := range mutants {
		aimed[m.catch] = true
		t.Run(m.name, func(t *testing.T) {
			c, ok := cases[m.catch]
			if !ok {
				t.Fatalf("no case is named %q", m.catch)
			}
			rec := conformance.Record(t.Context(), c.Name, t.TempDir, func(tb conformance.TB) { c.Run(tb, brokenMaker(m)) })
			if !rec.Failed() {
				t.Errorf("case %s did not catch this store", m.catch)
			} else {
				t.Logf("caught: %s", strings.Join(rec.Failures()[:1], ""))
			}
		})
	}
	for _, c := range conformance.StoreCases() {
		if !aimed[c.Name] {
			t.Errorf("no mutant is aimed at %s, so nobody knows whether it can fail", c.Name)
		}
	}
}

// TestHonestStoreIsNotCaught shows that the wrapper of the mutants alone breaks nothing.
func TestHonestStoreIsNotCaught(t *testing.T) {
	conformance.RunStore(t, brokenMaker(mutant{make: func(*broken) {}}))
}
