package state

import (
	"context"
	"fmt"
)

// keyed is what all states have in common.
type keyed struct {
	b     *Backend
	name  string
	kind  Kind
	ttl   TTL
	in    []stateIn // by shard number
	stats counters
}

// declare makes a state known in every shard of the backend.
func (b *Backend) declare(name string, kind Kind, want Schema, ttl TTL, upgrades bool) (*keyed, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	if ttl.After < 0 {
		return nil, fmt.Errorf("state %q: TTL.After is negative", name)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closing {
		return nil, ErrClosed
	}
	if b.states[name] != nil {
		return nil, fmt.Errorf("state %q is declared twice", name)
	}
	k := &keyed{b: b, name: name, kind: kind, ttl: ttl}
	number := b.numberFor(name)
	for _, s := range b.shards {
		in, err := s.declare(name, kind, want, ttl.After > 0, upgrades, number)
		if err != nil {
			return nil, err
		}
		k.in = append(k.in, in)
	}
	b.states[name] = k
	b.list = append(b.list, k)
	return k, nil
}

// handle is a state as its users hold it.
type handle struct {
	*keyed
	here bool // requests run in the caller's goroutine if they can: the caller waits for them anyway
}

// at makes a request about a scope, and the key of its record.
func (k handle) at(ctx context.Context, s Scope) (*request, []byte, error) {
	group, sh, err := k.b.find(s.Key)
	if err != nil {
		return nil, nil, err
	}
	key := k.b.o.Keys.appendScope(make([]byte, 0, 16+len(s.Key)+len(s.Namespace)), group, k.in[sh.number].id, s)
	return &request{core: k.b.core, ctx: ctx, order: k.b.core.order(s.Key), shard: sh, stats: &k.stats, here: k.here}, key, nil
}

// head is what a record written now begins with.
func (k *keyed) head(s *shard) head {
	h := head{epoch: k.in[s.number].epoch}
	if k.ttl.After > 0 {
		h.stamped, h.stamp = true, k.b.now()
	}
	return h
}

func (r *request) get(keys ...[]byte) {
	if len(keys) == 1 {
		r.one[0] = keys[0]
		r.gets, r.vals = r.one[:1:1], r.one[1:2:2]
		return
	}
	r.gets, r.vals = keys, make([][]byte, len(keys))
}

// call is a request's job with a result.
type call[T any] struct {
	Future[T]
	f func(r *request) (T, error)
}

func (c *call[T]) run(r *request) (err error) {
	c.v, err = c.f(r)
	return err
}

func (c *call[T]) done(err error) { c.resolved(err) }

// issue submits r. f is called after r's reads, and what it writes is written with the result.
func issue[T any](r *request, f func(r *request) (T, error)) *Future[T] {
	c := &call[T]{f: f}
	r.job = c
	if err := r.core.submit(r); err != nil {
		return failed[T](err)
	}
	return &c.Future
}

// coder reads and writes the values of a state.
type coder[T any] struct {
	codec   Codec[T]
	upgrade func(from Schema, old []byte) (T, error)
}

func (c coder[T]) decode(k *keyed, s *shard, h head, payload []byte) (v T, err error) {
	in := &k.in[s.number]
	switch {
	case h.epoch == in.epoch:
		v, err = c.codec.Decode(payload)
	case int(h.epoch) > len(in.epochs):
		err = fmt.Errorf("%w: a record of epoch %d, the schema knows %d", ErrCorrupt, h.epoch, len(in.epochs))
	case c.upgrade == nil: // the newest schema equals the descriptor, but there were others before
		err = fmt.Errorf("%w: a record of %+v, and the descriptor has no Upgrade", ErrIncompatible, in.epochs[h.epoch-1])
	default:
		v, err = c.upgrade(in.epochs[h.epoch-1], payload)
	}
	if err != nil {
		err = fmt.Errorf("state %q: %w", k.name, err)
	}
	return v, err
}

// record reads a record; ok is false if there is none, or none any more.
func (c coder[T]) record(k *keyed, s *shard, raw []byte, now int64) (v T, h head, ok bool, err error) {
	if raw == nil {
		return v, h, false, nil
	}
	h, payload, err := cutHead(raw)
	if err != nil || k.ttl.expired(h, now) {
		return v, h, false, err
	}
	v, err = c.decode(k, s, h, payload)
	return v, h, err == nil, err
}

// append makes a record, which is expected to be about as long as size.
func (c coder[T]) append(k *keyed, s *shard, v T, size int) ([]byte, error) {
	return c.codec.Append(appendHead(make([]byte, 0, max(size, 24)), k.head(s)), v)
}

// renewed is the record with a new stamp if reads renew it; nil if nothing is to be written.
func (k *keyed) renewed(h head, raw []byte, now int64) []byte {
	if !k.ttl.Renew || k.ttl.After == 0 || h.stamped && h.stamp == now {
		return nil
	}
	_, payload, err := cutHead(raw)
	if err != nil {
		return nil
	}
	h.stamped, h.stamp = true, now
	return append(appendHead(make([]byte, 0, 9+len(payload)), h), payload...)
}

func wait[T any](ctx context.Context, f *Future[T]) error {
	_, err := f.Wait(ctx)
	return err
}
