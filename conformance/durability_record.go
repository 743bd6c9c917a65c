package conformance

import (
	"cmp"
	"context"
	"hash/fnv"
	"io"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/mem"
)

// mutation is one request that changed a store.
type mutation struct {
	start, end int64
	seen       int64 // when somebody first found the object there, before the request returned; never: nobody did
	remove     bool
	ifAbsent   bool
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

	removing map[string]int         // deletions of a key that were begun and have not succeeded
	putting  map[string][]*mutation // puts of a key that were begun, and have not returned or were given up
}

// wrap records what is changed through s.
func (r *recording) wrap(s driver.Store) driver.Store { return &recordStore{s, r} }

type recordStore struct {
	driver.Store
	r *recording
}

func (s *recordStore) Unwrap() driver.Store { return s.Store }

func (s *recordStore) Put(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
	m := &mutation{start: s.r.clock.tick(), seen: never, ifAbsent: o.IfAbsent, keys: []string{key}, data: slices.Clone(data)}
	s.r.sent(m)
	s.r.travel(key)
	err := s.Store.Put(ctx, key, data, o)
	s.r.travel(key)
	return s.r.note(m, err)
}

func (s *recordStore) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	r, err := s.Store.Get(ctx, key, off, n)
	if err == nil {
		s.r.see(key)
	}
	return r, err
}

func (s *recordStore) Stat(ctx context.Context, key string) (driver.Info, error) {
	i, err := s.Store.Stat(ctx, key)
	if err == nil {
		s.r.see(key)
	}
	return i, err
}

func (s *recordStore) List(ctx context.Context, prefix, after string) iter.Seq2[driver.Info, error] {
	return func(yield func(driver.Info, error) bool) {
		for i, err := range s.Store.List(ctx, prefix, after) {
			if err == nil {
				s.r.see(i.Key)
			}
			if !yield(i, err) {
				return
			}
		}
	}
}

func (s *recordStore) Delete(ctx context.Context, keys []string) error {
	m := &mutation{start: s.r.clock.tick(), seen: never, remove: true, keys: slices.Clone(keys)}
	s.r.begun(m.keys, 1)
	s.r.travel("delete")
	err := s.r.note(m, s.Store.Delete(ctx, keys))
	if err == nil {
		s.r.begun(m.keys, -1)
	}
	return err
}

func (r *recording) sent(m *mutation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.putting == nil {
		r.putting = map[string][]*mutation{}
	}
	r.putting[m.keys[0]] = append(r.putting[m.keys[0]], m)
}

// see notes that an object was found: what puts it has landed, though its sender does not know yet. Who has seen it builds on it, the next owner of a volume on
// the last frame of the one before: a crash after that leaves no store without it.
func (r *recording) see(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.putting[key] {
		if m.seen == never {
			m.seen = r.clock.tick()
		}
	}
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
		if unknown[k] || r.removing[k] > 0 || len(r.putting[k]) > 0 {
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
	if driver.KindOf(err) == driver.KindExist {
		r.see(m.keys[0]) // of somebody else's put
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	m.end = r.clock.tick()
	if !m.remove && !driver.IsCanceled(err) {
		key := m.keys[0]
		if r.putting[key] = slices.DeleteFunc(r.putting[key], func(x *mutation) bool { return x == m }); len(r.putting[key]) == 0 {
			delete(r.putting, key)
		}
	}
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

// ordered are the changes in the order of their returns: copies, as what was given up may still be seen.
func (r *recording) ordered() []*mutation {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.inOrder()
	for i, m := range all {
		c := *m
		all[i] = &c
	}
	return all
}

// crashPoint is the moment just before a change returned. All that returned before have landed, and so have those of which somebody knew; of the others that were
// under way any may have.
type crashPoint struct{ known, under []*mutation }

// pointAt is the moment just before the i-th of the changes, in their order, returned.
func pointAt(all []*mutation, i int) (p crashPoint) {
	moment := all[i].end
	for _, x := range all[i:] {
		switch {
		case x.seen < moment:
			p.known = append(p.known, x)
		case x.start < moment:
			p.under = append(p.under, x)
		}
	}
	return p
}

// eachPoint gives every crash point of a recording in its order, with what had landed by then.
func (e *fsEnv) eachPoint(muts []*mutation, fn func(i int, m *mutation, at crashPoint, landed *mem.Bucket)) {
	landed := mem.NewBucket(nil)
	all, err := landed.Open("")
	e.must(err)
	for i, m := range muts {
		if m.end == never {
			break
		}
		fn(i, m, pointAt(muts, i), landed)
		e.must(m.land(all))
	}
}

// found is the store that a crash leaves when this part of what was under way has landed.
func (e *fsEnv) found(landed *mem.Bucket, at crashPoint, part []*mutation) *mem.Bucket {
	b := landed.Snapshot()
	st, err := b.Open("")
	e.must(err)
	e.must(at.land(st, part))
	return b
}

// land makes what is known and a part of what was under way happen in a store.
func (p crashPoint) land(s *mem.Store, part []*mutation) error {
	for _, m := range slices.Concat(p.known, part) {
		if err := m.land(s); err != nil {
			return err
		}
	}
	return nil
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
	err := s.Put(ctx, m.keys[0], m.data, driver.PutOptions{IfAbsent: m.ifAbsent})
	if driver.KindOf(err) == driver.KindExist { // one that was given up, and came second
		return nil
	}
	return err
}
