package conformance

import (
	"cmp"
	"context"
	"hash/fnv"
	"slices"
	"sync"
	"time"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/mem"
)

// mutation is one request that changed a store.
type mutation struct {
	start, end int64
	remove     bool
	keys       []string
	data       []byte
}

// recording keeps every change of the stores that it wraps, with the moments when it began and returned.
type recording struct {
	clock *clock
	slow  time.Duration // at most this long a request travels, each way; 0 not at all
	mu    sync.Mutex
	all   []*mutation
	fails int // requests whose outcome is unknown

	removing map[string]int // deletions of a key that were begun and have not succeeded
}

// wrap records what is changed through s.
func (r *recording) wrap(s driver.Store) driver.Store { return &recordStore{s, r} }

type recordStore struct {
	driver.Store
	r *recording
}

func (s *recordStore) Unwrap() driver.Store { return s.Store }

func (s *recordStore) Put(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
	m := &mutation{start: s.r.clock.tick(), keys: []string{key}, data: slices.Clone(data)}
	s.r.travel(key)
	err := s.Store.Put(ctx, key, data, o)
	s.r.travel(key)
	return s.r.note(m, err)
}

func (s *recordStore) Delete(ctx context.Context, keys []string) error {
	m := &mutation{start: s.r.clock.tick(), remove: true, keys: slices.Clone(keys)}
	s.r.begun(m.keys, 1)
	s.r.travel("delete")
	err := s.r.note(m, s.Store.Delete(ctx, keys))
	if err == nil {
		s.r.begun(m.keys, -1)
	}
	return err
}

func (r *recording) begun(keys []string, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.removing == nil {
		r.removing = map[string]int{}
	}
	for _, k := range keys {
		r.removing[k] += n
	}
}

// last gives for each key the last change of it, but for keys whose outcome is not known now: a change is under way, or the last two were
// under way at once, such as a put of a writer that has been taken over and the sweep of the next owner.
func (r *recording) last() map[string]*mutation {
	r.mu.Lock() // for both looks: a deletion that ends between them would be in neither
	defer r.mu.Unlock()
	last := map[string]*mutation{}
	unknown := map[string]bool{}
	for _, m := range r.inOrder() {
		for _, k := range m.keys {
			before := last[k]
			unknown[k] = m.end == never || before != nil && before.end > m.start
			last[k] = m
		}
	}
	for k := range last {
		if unknown[k] || r.removing[k] > 0 {
			delete(last, k)
		}
	}
	return last
}

// travel gives other requests time to be under way at once with this one.
func (r *recording) travel(key string) {
	if r.slow == 0 {
		return
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(key))
	time.Sleep(time.Duration(h.Sum64() % uint64(r.slow)))
}

func (r *recording) note(m *mutation, err error) error {
	m.end = r.clock.tick()
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err == nil:
		r.all = append(r.all, m)
	case driver.IsCanceled(err): // it may land at any later time
		m.end = never
		r.all = append(r.all, m)
	case driver.KindOf(err) != driver.KindExist: // that one changed nothing
		r.fails++
	}
	return err
}

// ordered are the changes in the order of their returns.
func (r *recording) ordered() []*mutation {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.inOrder()
}

// inOrder is ordered; r.mu is held.
func (r *recording) inOrder() []*mutation {
	all := slices.Clone(r.all)
	slices.SortFunc(all, func(a, b *mutation) int { return cmp.Compare(a.end, b.end) })
	return all
}

// land makes the change in a bucket.
func (m *mutation) land(s *mem.Store) error {
	ctx := context.Background()
	if m.remove {
		return s.Delete(ctx, m.keys)
	}
	return s.Put(ctx, m.keys[0], m.data, driver.PutOptions{})
}
