package state

import (
	"context"
	"slices"

	"github.com/forst-go/forst/internal/mutant"
)

// ReducingDescriptor declares a Reducing state.
type ReducingDescriptor[T any] struct {
	Name    string
	Codec   Codec[T]
	Version uint32
	TTL     TTL
	Upgrade func(from Schema, old []byte) (T, error)
	// Reduce joins two values into one; it should not depend on the order. Required.
	Reduce func(a, b T) T
}

// Reducing is one value for each key and namespace, into which added values are reduced.
type Reducing[T any] struct {
	k      handle
	c      coder[T]
	reduce func(a, b T) T
	here   *Reducing[T] // the same, for calls that block
}

// NewReducing declares the state in the backend; see NewValue.
func NewReducing[T any](b *Backend, d ReducingDescriptor[T]) (*Reducing[T], error) {
	k, err := b.declare(d.Name, KindReducing, Schema{Codec: d.Codec.Name(), Version: d.Version}, d.TTL, d.Upgrade != nil)
	if err != nil {
		return nil, err
	}
	s := &Reducing[T]{handle{keyed: k}, coder[T]{d.Codec, d.Upgrade}, d.Reduce, nil}
	here := *s
	here.k.here = true
	s.here = &here
	return s, nil
}

// Get reads the reduced value; ok is false if nothing was added.
func (s *Reducing[T]) Get(ctx context.Context, sc Scope) (v T, ok bool, err error) {
	m, err := s.here.GetAsync(ctx, sc).Wait(ctx)
	return m.V, m.OK, err
}

// GetAsync is Get with a future.
func (s *Reducing[T]) GetAsync(ctx context.Context, sc Scope) *Future[Maybe[T]] {
	return getRecord(ctx, s.k, s.c, sc)
}

// Add reduces v into the value, as one step.
func (s *Reducing[T]) Add(ctx context.Context, sc Scope, v T) error {
	return wait(ctx, s.here.AddAsync(ctx, sc, v))
}

// AddAsync is Add with a future, which gives the new value.
func (s *Reducing[T]) AddAsync(ctx context.Context, sc Scope, v T) *Future[Maybe[T]] {
	return updateRecord(ctx, s.k, s.c, sc, func(old T, ok bool) (T, bool, error) {
		if ok {
			v = s.reduce(old, v)
		}
		return v, true, nil
	})
}

// Clear removes the value.
func (s *Reducing[T]) Clear(ctx context.Context, sc Scope) error {
	return wait(ctx, s.here.ClearAsync(ctx, sc))
}

// ClearAsync is Clear with a future.
func (s *Reducing[T]) ClearAsync(ctx context.Context, sc Scope) *Future[None] {
	return clearRecord(ctx, s.k, sc)
}

// MergeNamespaces reduces the values of the sources into the target's and removes the sources, as one step.
func (s *Reducing[T]) MergeNamespaces(ctx context.Context, key []byte, target []byte, sources ...[]byte) error {
	return wait(ctx, mergeRecords(ctx, s.here.k, s.c, s.reduce, key, target, sources))
}

// mergeRecords joins the records of several namespaces of one key.
func mergeRecords[T any](ctx context.Context, k handle, c coder[T], join func(a, b T) T, key, target []byte, sources [][]byte) *Future[None] {
	r, keys, err := k.namespaces(ctx, key, target, sources)
	if err != nil {
		return failed[None](err)
	}
	return issue(r, func(r *request) (None, error) {
		var sum T
		var some bool
		now := k.b.now()
		for i, raw := range r.vals {
			v, _, ok, err := c.record(k.keyed, r.shard, raw, now)
			if err != nil {
				return None{}, err
			}
			if i > 0 && raw != nil {
				r.remove(keys[i])
			}
			switch {
			case i > 1 && mutant.On(mutMergeLoses):
			case ok && some:
				sum = join(sum, v)
			case ok:
				sum, some = v, true
			}
		}
		if !some || len(r.ops) == 0 {
			return None{}, nil
		}
		raw, err := c.append(k.keyed, r.shard, sum, len(r.vals[0]))
		r.set(keys[0], raw)
		return None{}, err
	})
}

// namespaces makes a request that reads the records of target and sources, each once; the first is the target's.
func (k handle) namespaces(ctx context.Context, key, target []byte, sources [][]byte) (*request, [][]byte, error) {
	r, first, err := k.at(ctx, Scope{key, target})
	if err != nil {
		return nil, nil, err
	}
	keys := [][]byte{first}
	for _, ns := range sources {
		_, next, err := k.at(ctx, Scope{key, ns})
		if err != nil {
			return nil, nil, err
		}
		if !slices.ContainsFunc(keys, func(o []byte) bool { return string(o) == string(next) }) {
			keys = append(keys, next)
		}
	}
	r.get(keys...)
	return r, keys, nil
}
