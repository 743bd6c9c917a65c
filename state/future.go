package state

import "context"

// Future is the result of a request that may still be running.
type Future[T any] struct {
	done chan struct{}
	v    T
	err  error
}

func newFuture[T any]() *Future[T] { return &Future[T]{done: make(chan struct{})} }

// Done is closed when the request has finished.
func (f *Future[T]) Done() <-chan struct{} { return f.done }

// Wait gives the result. When ctx ends first it gives ctx's error; the request goes on (the context it was issued with can stop it).
func (f *Future[T]) Wait(ctx context.Context) (T, error) {
	select {
	case <-f.done:
		return f.v, f.err
	default:
	}
	select {
	case <-f.done:
		return f.v, f.err
	case <-ctx.Done():
		var zero T
		return zero, ctx.Err()
	}
}

// resolve sets the result, once.
func (f *Future[T]) resolve(v T, err error) {
	if err == nil {
		f.v = v
	}
	f.err = err
	close(f.done)
}

// failed is a future that never was a request.
func failed[T any](err error) *Future[T] {
	f := newFuture[T]()
	var zero T
	f.resolve(zero, err)
	return f
}

// None is the result of requests that only write.
type None struct{}
