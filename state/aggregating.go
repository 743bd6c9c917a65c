package state

import "context"

// Aggregate is how an Aggregating state joins its input. All functions are required but Merge.
type Aggregate[In, Acc, Out any] struct {
	Create func() Acc // an accumulator of nothing
	Add    func(acc Acc, in In) Acc
	Result func(acc Acc) Out
	Merge  func(a, b Acc) Acc // for MergeNamespaces
}

// AggregatingDescriptor declares an Aggregating state.
type AggregatingDescriptor[In, Acc, Out any] struct {
	Name      string
	Codec     Codec[Acc] // of the accumulator, which is what is stored
	Version   uint32
	TTL       TTL
	Upgrade   func(from Schema, old []byte) (Acc, error)
	Aggregate Aggregate[In, Acc, Out]
}

// Aggregating is one accumulator for each key and namespace.
type Aggregating[In, Acc, Out any] struct {
	k    handle
	c    coder[Acc]
	a    Aggregate[In, Acc, Out]
	here *Aggregating[In, Acc, Out] // the same, for calls that block
}

// NewAggregating declares the state in the backend; see NewValue.
func NewAggregating[In, Acc, Out any](b *Backend, d AggregatingDescriptor[In, Acc, Out]) (*Aggregating[In, Acc, Out], error) {
	k, err := b.declare(d.Name, KindAggregating, Schema{Codec: d.Codec.Name(), Version: d.Version}, d.TTL, d.Upgrade != nil)
	if err != nil {
		return nil, err
	}
	s := &Aggregating[In, Acc, Out]{handle{keyed: k}, coder[Acc]{d.Codec, d.Upgrade}, d.Aggregate, nil}
	here := *s
	here.k.here = true
	s.here = &here
	return s, nil
}

// Get gives the result; ok is false if nothing was added.
func (s *Aggregating[In, Acc, Out]) Get(ctx context.Context, sc Scope) (v Out, ok bool, err error) {
	m, err := s.here.GetAsync(ctx, sc).Wait(ctx)
	return m.V, m.OK, err
}

// GetAsync is Get with a future.
func (s *Aggregating[In, Acc, Out]) GetAsync(ctx context.Context, sc Scope) *Future[Maybe[Out]] {
	r, key, err := s.k.at(ctx, sc)
	if err != nil {
		return failed[Maybe[Out]](err)
	}
	r.get(key)
	return issue(r, func(r *request) (m Maybe[Out], err error) {
		now := s.k.b.now()
		acc, h, ok, err := s.c.record(s.k.keyed, r.shard, r.vals[0], now)
		if !ok {
			return m, err
		}
		if fresh := s.k.renewed(h, r.vals[0], now); fresh != nil {
			r.set(key, fresh)
		}
		return Maybe[Out]{s.a.Result(acc), true}, nil
	})
}

// Add adds one input to the accumulator, as one step.
func (s *Aggregating[In, Acc, Out]) Add(ctx context.Context, sc Scope, in In) error {
	return wait(ctx, s.here.AddAsync(ctx, sc, in))
}

// AddAsync is Add with a future, which gives the new accumulator.
func (s *Aggregating[In, Acc, Out]) AddAsync(ctx context.Context, sc Scope, in In) *Future[Maybe[Acc]] {
	return updateRecord(ctx, s.k, s.c, sc, func(acc Acc, ok bool) (Acc, bool, error) {
		if !ok {
			acc = s.a.Create()
		}
		return s.a.Add(acc, in), true, nil
	})
}

// Clear removes the accumulator.
func (s *Aggregating[In, Acc, Out]) Clear(ctx context.Context, sc Scope) error {
	return wait(ctx, s.here.ClearAsync(ctx, sc))
}

// ClearAsync is Clear with a future.
func (s *Aggregating[In, Acc, Out]) ClearAsync(ctx context.Context, sc Scope) *Future[None] {
	return clearRecord(ctx, s.k, sc)
}

// MergeNamespaces merges the accumulators of the sources into the target's and removes the sources, as one step. It needs Aggregate.Merge.
func (s *Aggregating[In, Acc, Out]) MergeNamespaces(ctx context.Context, key []byte, target []byte, sources ...[]byte) error {
	return wait(ctx, mergeRecords(ctx, s.here.k, s.c, s.a.Merge, key, target, sources))
}
