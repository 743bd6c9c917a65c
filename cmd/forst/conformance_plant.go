package main

import (
	"context"
	"io"
	"iter"
	"sync"

	"github.com/forst-go/forst/forstfs/driver"
)

// A check that cannot fail proves nothing. forst conformance --plant puts one of these faults between the suites and the store,
// and must exit with status 1. The flag is hidden, but anybody may use it.
const (
	plantIgnoreIfAbsent  = "ignore-if-absent"  // create-if-absent replaces, as on servers that do not know the header
	plantShortRead       = "short-read"        // a read of a range ends early, without an error
	plantListMissesFresh = "list-misses-fresh" // a list lacks the object that was put last
	plantForgetPuts      = "forget-puts"       // every 5th create-if-absent is acknowledged and not carried out
	plantForgetLater     = "forget-later"      // now and then an object is gone after 40 more puts, as with a rule that expires keys
)

func confPlants() []string {
	return []string{plantIgnoreIfAbsent, plantShortRead, plantListMissesFresh, plantForgetPuts, plantForgetLater}
}

// plantWorld is what the handles on one root share.
type plantWorld struct {
	plant   string
	mu      sync.Mutex
	creates int
	last    string
	put     []string // what was put, for forget-later
}

func newPlantWorld(plant string) *plantWorld { return &plantWorld{plant: plant} }

// wrap gives s itself when nothing is planted.
func (w *plantWorld) wrap(s driver.Store) driver.Store {
	if w.plant == "" {
		return s
	}
	return &planted{s, w}
}

type planted struct {
	driver.Store
	w *plantWorld
}

// note counts a put and says whether it is to be forgotten.
func (w *plantWorld) note(key string, create bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last = key
	if create {
		w.creates++
	}
	return create && w.plant == plantForgetPuts && w.creates%5 == 0
}

// expired is a key that is to be forgotten now that this one is put, or "".
func (w *plantWorld) expired(key string) string {
	if w.plant != plantForgetLater {
		return ""
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.put = append(w.put, key)
	if n := len(w.put); n > 40 && n%5 == 0 {
		return w.put[n-41]
	}
	return ""
}

func (p *planted) Put(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
	if p.w.note(key, o.IfAbsent) {
		return nil
	}
	if p.w.plant == plantIgnoreIfAbsent {
		o.IfAbsent = false
	}
	err := p.Store.Put(ctx, key, data, o)
	if old := p.w.expired(key); err == nil && old != "" {
		err = p.Delete(ctx, []string{old})
	}
	return err
}

func (p *planted) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	if p.w.plant == plantShortRead && n > 8 {
		n -= n / 8
	}
	return p.Store.Get(ctx, key, off, n)
}

func (p *planted) List(ctx context.Context, prefix, after string) iter.Seq2[driver.Info, error] {
	if p.w.plant != plantListMissesFresh {
		return p.Store.List(ctx, prefix, after)
	}
	p.w.mu.Lock()
	last := p.w.last
	p.w.mu.Unlock()
	return func(yield func(driver.Info, error) bool) {
		for info, err := range p.Store.List(ctx, prefix, after) {
			if err == nil && info.Key == last {
				continue
			}
			if !yield(info, err) {
				return
			}
		}
	}
}
