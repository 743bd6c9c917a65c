package state

import "context"

// ListDescriptor declares a List. A TTL is that of each element.
type ListDescriptor[T any] struct {
	Name    string
	Codec   Codec[T] // of one element
	Version uint32
	TTL     TTL
	Upgrade func(from Schema, old []byte) (T, error)
}

// List is a list for each key and namespace. Adding does not read.
type List[T any] struct {
	k    handle
	c    coder[T]
	here *List[T] // the same, for calls that block
}

// NewList declares the state in the backend; see NewValue.
func NewList[T any](b *Backend, d ListDescriptor[T]) (*List[T], error) {
	k, err := b.declare(d.Name, KindList, Schema{Codec: d.Codec.Name(), Version: d.Version}, d.TTL, d.Upgrade != nil)
	if err != nil {
		return nil, err
	}
	s := &List[T]{handle{keyed: k}, coder[T]{d.Codec, d.Upgrade}, nil}
	here := *s
	here.k.here = true
	s.here = &here
	return s, nil
}

// Get reads all elements, in order; none is nil.
func (s *List[T]) Get(ctx context.Context, sc Scope) ([]T, error) {
	return s.here.GetAsync(ctx, sc).Wait(ctx)
}

// GetAsync is Get with a future.
func (s *List[T]) GetAsync(ctx context.Context, sc Scope) *Future[[]T] {
	r, key, err := s.k.at(ctx, sc)
	if err != nil {
		return failed[[]T](err)
	}
	r.get(key)
	return issue(r, func(r *request) (out []T, err error) {
		now := s.k.b.now()
		renew := s.k.ttl.Renew && s.k.ttl.After > 0
		var fresh []byte
		for rest := r.vals[0]; len(rest) > 0; {
			var h head
			var payload []byte
			if h, payload, rest, err = cutElement(rest); err != nil {
				return nil, err
			}
			if s.k.ttl.expired(h, now) {
				continue
			}
			v, err := s.c.decode(s.k.keyed, r.shard, h, payload)
			if err != nil {
				return nil, err
			}
			out = append(out, v)
			if renew {
				h.stamped, h.stamp = true, now
				fresh = appendElement(fresh, h, payload)
			}
		}
		if len(fresh) > 0 {
			r.set(key, fresh)
		}
		return out, nil
	})
}

func (s *List[T]) elements(vs []T) ([][]byte, error) {
	out := make([][]byte, len(vs))
	for i, v := range vs {
		p, err := s.c.codec.Append(nil, v)
		if err != nil {
			return nil, err
		}
		out[i] = p
	}
	return out, nil
}

func (s *List[T]) encoded(sh *shard, payloads [][]byte) (raw []byte) {
	h := s.k.head(sh)
	for _, p := range payloads {
		raw = appendElement(raw, h, p)
	}
	return raw
}

// Add appends elements.
func (s *List[T]) Add(ctx context.Context, sc Scope, vs ...T) error {
	return wait(ctx, s.here.AddAsync(ctx, sc, vs...))
}

// AddAsync is Add with a future. The elements are encoded before AddAsync returns.
func (s *List[T]) AddAsync(ctx context.Context, sc Scope, vs ...T) *Future[None] {
	return s.write(ctx, sc, vs, (*request).merge)
}

// Set replaces the list.
func (s *List[T]) Set(ctx context.Context, sc Scope, vs ...T) error {
	return wait(ctx, s.here.SetAsync(ctx, sc, vs...))
}

// SetAsync is Set with a future.
func (s *List[T]) SetAsync(ctx context.Context, sc Scope, vs ...T) *Future[None] {
	if len(vs) == 0 {
		return s.ClearAsync(ctx, sc)
	}
	return s.write(ctx, sc, vs, (*request).set)
}

func (s *List[T]) write(ctx context.Context, sc Scope, vs []T, how func(r *request, key, value []byte)) *Future[None] {
	r, key, err := s.k.at(ctx, sc)
	if err != nil {
		return failed[None](err)
	}
	payloads, err := s.elements(vs)
	if err != nil {
		return failed[None](err)
	}
	return issue(r, func(r *request) (None, error) {
		if len(payloads) > 0 {
			how(r, key, s.encoded(r.shard, payloads))
		}
		return None{}, nil
	})
}

// Clear removes the list.
func (s *List[T]) Clear(ctx context.Context, sc Scope) error {
	return wait(ctx, s.here.ClearAsync(ctx, sc))
}

// ClearAsync is Clear with a future.
func (s *List[T]) ClearAsync(ctx context.Context, sc Scope) *Future[None] {
	return clearRecord(ctx, s.k, sc)
}

// MergeNamespaces appends the lists of the sources, in their order, to the target's and removes the sources, as one step. Elements keep
// their stamps and are not decoded.
func (s *List[T]) MergeNamespaces(ctx context.Context, key []byte, target []byte, sources ...[]byte) error {
	r, keys, err := s.here.k.namespaces(ctx, key, target, sources)
	if err != nil {
		return err
	}
	return wait(ctx, issue(r, func(r *request) (None, error) {
		var all []byte
		for i, raw := range r.vals[1:] {
			if raw != nil {
				all = append(all, raw...)
				r.remove(keys[i+1])
			}
		}
		if len(all) > 0 {
			r.merge(keys[0], all)
		}
		return None{}, nil
	}))
}
