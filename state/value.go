package state

import "context"

// ValueDescriptor declares a Value.
type ValueDescriptor[T any] struct {
	Name    string
	Codec   Codec[T]
	Version uint32 // of T; raise it when the bytes change their meaning
	TTL     TTL
	// Upgrade reads what an older version or another codec wrote.
	Upgrade func(from Schema, old []byte) (T, error)
}

// Value is one value for each key and namespace.
type Value[T any] struct {
	k    handle
	c    coder[T]
	here *Value[T] // the same, for calls that block
}

// Maybe is a value that may be missing.
type Maybe[T any] struct {
	V  T
	OK bool
}

// NewValue declares the state in the backend. It compares the descriptor with what is stored: ErrIncompatible says why it does not fit.
func NewValue[T any](b *Backend, d ValueDescriptor[T]) (*Value[T], error) {
	k, err := b.declare(d.Name, KindValue, Schema{Codec: d.Codec.Name(), Version: d.Version}, d.TTL, d.Upgrade != nil)
	if err != nil {
		return nil, err
	}
	s := &Value[T]{handle{keyed: k}, coder[T]{d.Codec, d.Upgrade}, nil}
	here := *s
	here.k.here = true
	s.here = &here
	return s, nil
}

// Get reads the value; ok is false if there is none.
func (s *Value[T]) Get(ctx context.Context, sc Scope) (v T, ok bool, err error) {
	m, err := s.here.GetAsync(ctx, sc).Wait(ctx)
	return m.V, m.OK, err
}

// GetAsync is Get with a future.
func (s *Value[T]) GetAsync(ctx context.Context, sc Scope) *Future[Maybe[T]] {
	return getRecord(ctx, s.k, s.c, sc)
}

func getRecord[T any](ctx context.Context, k handle, c coder[T], sc Scope) *Future[Maybe[T]] {
	r, key, err := k.at(ctx, sc)
	if err != nil {
		return failed[Maybe[T]](err)
	}
	r.get(key)
	return issue(r, func(r *request) (m Maybe[T], err error) {
		now := k.b.now()
		v, h, ok, err := c.record(k.keyed, r.shard, r.vals[0], now)
		if ok {
			if fresh := k.renewed(h, r.vals[0], now); fresh != nil {
				r.set(key, fresh)
			}
		}
		return Maybe[T]{v, ok}, err
	})
}

// Put sets the value.
func (s *Value[T]) Put(ctx context.Context, sc Scope, v T) error {
	return wait(ctx, s.here.PutAsync(ctx, sc, v))
}

// PutAsync is Put with a future. The value is encoded before PutAsync returns.
func (s *Value[T]) PutAsync(ctx context.Context, sc Scope, v T) *Future[None] {
	r, key, err := s.k.at(ctx, sc)
	if err != nil {
		return failed[None](err)
	}
	payload, err := s.c.codec.Append(nil, v)
	if err != nil {
		return failed[None](err)
	}
	return issue(r, func(r *request) (None, error) {
		r.set(key, append(appendHead(make([]byte, 0, 9+len(payload)), s.k.head(r.shard)), payload...))
		return None{}, nil
	})
}

// Clear removes the value.
func (s *Value[T]) Clear(ctx context.Context, sc Scope) error {
	return wait(ctx, s.here.ClearAsync(ctx, sc))
}

// ClearAsync is Clear with a future.
func (s *Value[T]) ClearAsync(ctx context.Context, sc Scope) *Future[None] {
	return clearRecord(ctx, s.k, sc)
}

func clearRecord(ctx context.Context, k handle, sc Scope) *Future[None] {
	r, key, err := k.at(ctx, sc)
	if err != nil {
		return failed[None](err)
	}
	return issue(r, func(r *request) (None, error) {
		r.remove(key)
		return None{}, nil
	})
}

// Update replaces the value by what f makes of it, as one step: nothing else happens to the key between the read and the write. f gets
// ok false if there is no value; if it returns keep false, the value is removed.
func (s *Value[T]) Update(ctx context.Context, sc Scope, f func(old T, ok bool) (v T, keep bool)) error {
	return wait(ctx, s.here.UpdateAsync(ctx, sc, f))
}

// UpdateAsync is Update with a future, which gives the new value.
func (s *Value[T]) UpdateAsync(ctx context.Context, sc Scope, f func(old T, ok bool) (v T, keep bool)) *Future[Maybe[T]] {
	return updateRecord(ctx, s.k, s.c, sc, func(old T, ok bool) (T, bool, error) {
		v, keep := f(old, ok)
		return v, keep, nil
	})
}

func updateRecord[T any](ctx context.Context, k handle, c coder[T], sc Scope, f func(old T, ok bool) (T, bool, error)) *Future[Maybe[T]] {
	r, key, err := k.at(ctx, sc)
	if err != nil {
		return failed[Maybe[T]](err)
	}
	r.get(key)
	return issue(r, func(r *request) (m Maybe[T], err error) {
		old, _, ok, err := c.record(k.keyed, r.shard, r.vals[0], k.b.now())
		if err != nil {
			return m, err
		}
		v, keep, err := f(old, ok)
		switch {
		case err != nil:
			return m, err
		case keep:
			raw, err := c.append(k.keyed, r.shard, v, len(r.vals[0]))
			if err != nil {
				return m, err
			}
			r.set(key, raw)
			return Maybe[T]{v, true}, nil
		case r.vals[0] != nil:
			r.remove(key)
		}
		return m, nil
	})
}
