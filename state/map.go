package state

import (
	"context"
	"iter"
)

// MapDescriptor declares a Map. A TTL is that of each entry.
type MapDescriptor[K, V any] struct {
	Name    string
	Key     Codec[K] // iteration is in the order of its bytes
	Codec   Codec[V]
	Version uint32 // of V
	TTL     TTL
	Upgrade func(from Schema, old []byte) (V, error)
}

// Map is a map for each key and namespace, which may be larger than memory.
type Map[K, V any] struct {
	k    handle
	key  Codec[K]
	c    coder[V]
	here *Map[K, V] // the same, for calls that block
}

// Entry is one entry of a map.
type Entry[K, V any] struct {
	Key   K
	Value V
}

// NewMap declares the state in the backend; see NewValue.
func NewMap[K, V any](b *Backend, d MapDescriptor[K, V]) (*Map[K, V], error) {
	k, err := b.declare(d.Name, KindMap, Schema{Codec: d.Codec.Name(), Version: d.Version, MapKey: d.Key.Name()}, d.TTL, d.Upgrade != nil)
	if err != nil {
		return nil, err
	}
	s := &Map[K, V]{handle{keyed: k}, d.Key, coder[V]{d.Codec, d.Upgrade}, nil}
	here := *s
	here.k.here = true
	s.here = &here
	return s, nil
}

// at makes a request and the keys of entries.
func (s *Map[K, V]) at(ctx context.Context, sc Scope, keys []K) (*request, [][]byte, error) {
	r, prefix, err := s.k.at(ctx, sc)
	if err != nil {
		return nil, nil, err
	}
	out := make([][]byte, len(keys))
	for i, k := range keys {
		if out[i], err = s.key.Append(prefix[:len(prefix):len(prefix)], k); err != nil {
			return nil, nil, err
		}
	}
	return r, out, nil
}

// Get reads one entry; ok is false if there is none.
func (s *Map[K, V]) Get(ctx context.Context, sc Scope, key K) (v V, ok bool, err error) {
	m, err := s.here.GetAsync(ctx, sc, key).Wait(ctx)
	return m.V, m.OK, err
}

// GetAsync is Get with a future.
func (s *Map[K, V]) GetAsync(ctx context.Context, sc Scope, key K) *Future[Maybe[V]] {
	return entries(ctx, s, sc, []K{key}, func(all []Maybe[V]) Maybe[V] { return all[0] })
}

// GetAll reads several entries of one map as one request; the results are in the order of the keys.
func (s *Map[K, V]) GetAll(ctx context.Context, sc Scope, keys ...K) ([]Maybe[V], error) {
	return s.here.GetAllAsync(ctx, sc, keys...).Wait(ctx)
}

// GetAllAsync is GetAll with a future.
func (s *Map[K, V]) GetAllAsync(ctx context.Context, sc Scope, keys ...K) *Future[[]Maybe[V]] {
	return entries(ctx, s, sc, keys, func(all []Maybe[V]) []Maybe[V] { return all })
}

func entries[K, V, T any](ctx context.Context, s *Map[K, V], sc Scope, keys []K, as func([]Maybe[V]) T) *Future[T] {
	r, dbKeys, err := s.at(ctx, sc, keys)
	if err != nil {
		return failed[T](err)
	}
	r.get(dbKeys...)
	return issue(r, func(r *request) (none T, err error) {
		out := make([]Maybe[V], len(dbKeys))
		now := s.k.b.now()
		for i, raw := range r.vals {
			v, h, ok, err := s.c.record(s.k.keyed, r.shard, raw, now)
			if err != nil {
				return none, err
			}
			if ok {
				out[i] = Maybe[V]{v, true}
				if fresh := s.k.renewed(h, raw, now); fresh != nil {
					r.set(dbKeys[i], fresh)
				}
			}
		}
		return as(out), nil
	})
}

// Contains says whether there is an entry. It does not renew it.
func (s *Map[K, V]) Contains(ctx context.Context, sc Scope, key K) (bool, error) {
	return s.here.ContainsAsync(ctx, sc, key).Wait(ctx)
}

// ContainsAsync is Contains with a future.
func (s *Map[K, V]) ContainsAsync(ctx context.Context, sc Scope, key K) *Future[bool] {
	r, dbKeys, err := s.at(ctx, sc, []K{key})
	if err != nil {
		return failed[bool](err)
	}
	r.get(dbKeys...)
	return issue(r, func(r *request) (bool, error) {
		if r.vals[0] == nil {
			return false, nil
		}
		h, _, err := cutHead(r.vals[0])
		return err == nil && !s.k.ttl.expired(h, s.k.b.now()), err
	})
}

// IsEmpty says whether the map has no entry.
func (s *Map[K, V]) IsEmpty(ctx context.Context, sc Scope) (bool, error) {
	return s.here.IsEmptyAsync(ctx, sc).Wait(ctx)
}

// IsEmptyAsync is IsEmpty with a future.
func (s *Map[K, V]) IsEmptyAsync(ctx context.Context, sc Scope) *Future[bool] {
	r, prefix, err := s.k.at(ctx, sc)
	if err != nil {
		return failed[bool](err)
	}
	r.scan = &scan{lower: prefix, upper: prefixEnd(prefix), limit: 1, skip: s.dead()}
	return issue(r, func(r *request) (bool, error) { return len(r.scan.keys) == 0, nil })
}

// dead leaves out expired entries. What is corrupt is left in, for the decoder to complain about.
func (s *Map[K, V]) dead() func([]byte) bool {
	if s.k.ttl.After == 0 {
		return nil
	}
	now := s.k.b.now()
	return func(raw []byte) bool {
		h, _, err := cutHead(raw)
		return err == nil && s.k.ttl.expired(h, now)
	}
}

// Put sets one entry.
func (s *Map[K, V]) Put(ctx context.Context, sc Scope, key K, v V) error {
	return wait(ctx, s.here.PutAsync(ctx, sc, key, v))
}

// PutAsync is Put with a future.
func (s *Map[K, V]) PutAsync(ctx context.Context, sc Scope, key K, v V) *Future[None] {
	return s.PutAllAsync(ctx, sc, Entry[K, V]{key, v})
}

// PutAll sets several entries as one step.
func (s *Map[K, V]) PutAll(ctx context.Context, sc Scope, es ...Entry[K, V]) error {
	return wait(ctx, s.here.PutAllAsync(ctx, sc, es...))
}

// PutAllAsync is PutAll with a future. Entries are encoded before it returns.
func (s *Map[K, V]) PutAllAsync(ctx context.Context, sc Scope, es ...Entry[K, V]) *Future[None] {
	keys := make([]K, len(es))
	payloads := make([][]byte, len(es))
	for i, e := range es {
		keys[i] = e.Key
		p, err := s.c.codec.Append(nil, e.Value)
		if err != nil {
			return failed[None](err)
		}
		payloads[i] = p
	}
	r, dbKeys, err := s.at(ctx, sc, keys)
	if err != nil {
		return failed[None](err)
	}
	return issue(r, func(r *request) (None, error) {
		h := s.k.head(r.shard)
		for i, p := range payloads {
			r.set(dbKeys[i], append(appendHead(make([]byte, 0, 9+len(p)), h), p...))
		}
		return None{}, nil
	})
}

// Remove removes entries as one step.
func (s *Map[K, V]) Remove(ctx context.Context, sc Scope, keys ...K) error {
	return wait(ctx, s.here.RemoveAsync(ctx, sc, keys...))
}

// RemoveAsync is Remove with a future.
func (s *Map[K, V]) RemoveAsync(ctx context.Context, sc Scope, keys ...K) *Future[None] {
	r, dbKeys, err := s.at(ctx, sc, keys)
	if err != nil {
		return failed[None](err)
	}
	return issue(r, func(r *request) (None, error) {
		for _, k := range dbKeys {
			r.remove(k)
		}
		return None{}, nil
	})
}

// Update replaces one entry by what f makes of it, as one step; see Value.Update.
func (s *Map[K, V]) Update(ctx context.Context, sc Scope, key K, f func(old V, ok bool) (v V, keep bool)) error {
	r, dbKeys, err := s.here.at(ctx, sc, []K{key})
	if err != nil {
		return err
	}
	r.get(dbKeys...)
	return wait(ctx, issue(r, func(r *request) (None, error) {
		old, _, ok, err := s.c.record(s.k.keyed, r.shard, r.vals[0], s.k.b.now())
		if err != nil {
			return None{}, err
		}
		v, keep := f(old, ok)
		if !keep {
			r.remove(dbKeys[0])
			return None{}, nil
		}
		raw, err := s.c.append(s.k.keyed, r.shard, v, len(r.vals[0]))
		r.set(dbKeys[0], raw)
		return None{}, err
	}))
}

// Clear removes all entries: one range delete, however many there are.
func (s *Map[K, V]) Clear(ctx context.Context, sc Scope) error {
	return wait(ctx, s.here.ClearAsync(ctx, sc))
}

// ClearAsync is Clear with a future.
func (s *Map[K, V]) ClearAsync(ctx context.Context, sc Scope) *Future[None] {
	r, prefix, err := s.k.at(ctx, sc)
	if err != nil {
		return failed[None](err)
	}
	return issue(r, func(r *request) (None, error) {
		r.removeRange(prefix, prefixEnd(prefix))
		return None{}, nil
	})
}

// All iterates over the entries in the order of the bytes of their keys. It fetches a page at a time (Options.Page), each as a request
// of its own, so entries that are written meanwhile may or may not be seen; between pages it holds nothing. An error is the last
// pair. Reading in this way does not renew entries. The body may use the map.
func (s *Map[K, V]) All(ctx context.Context, sc Scope) iter.Seq2[Entry[K, V], error] {
	return func(yield func(Entry[K, V], error) bool) {
		var zero Entry[K, V]
		_, prefix, err := s.k.at(ctx, sc)
		if err != nil {
			yield(zero, err)
			return
		}
		lower, upper := prefix, prefixEnd(prefix)
		for {
			page, last, err := s.page(ctx, sc, prefix, lower, upper)
			if err != nil {
				yield(zero, err)
				return
			}
			for _, e := range page {
				if !yield(e, nil) {
					return
				}
			}
			if last == nil {
				return
			}
			lower = append(last, 0)
		}
	}
}

// page reads one page; last is nil behind the last one.
func (s *Map[K, V]) page(ctx context.Context, sc Scope, prefix, lower, upper []byte) (es []Entry[K, V], last []byte, err error) {
	r, _, err := s.here.k.at(ctx, sc)
	if err != nil {
		return nil, nil, err
	}
	r.scan = &scan{lower: lower, upper: upper, limit: s.k.b.o.Page, skip: s.dead()}
	es, err = issue(r, func(r *request) (es []Entry[K, V], err error) {
		for i, raw := range r.scan.vals {
			key, err := s.key.Decode(r.scan.keys[i][len(prefix):])
			if err != nil {
				return nil, err
			}
			h, payload, err := cutHead(raw)
			if err != nil {
				return nil, err
			}
			v, err := s.c.decode(s.k.keyed, r.shard, h, payload)
			if err != nil {
				return nil, err
			}
			es = append(es, Entry[K, V]{key, v})
		}
		return es, nil
	}).Wait(ctx)
	if err == nil && r.scan.more {
		last = r.scan.keys[len(r.scan.keys)-1]
	}
	return es, last, err
}
