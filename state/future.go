package state

import (
	"context"
	"sync"
)

// Future is the result of a request that may still be running.
type Future[T any] struct {
	mu       sync.Mutex
	finished bool
	ended    chan struct{} // made when somebody asks for it
	v        T             // the request's until it has finished
	err      error
}

// Done is closed when the request has finished.
func (f *Future[T]) Done() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended == nil {
		f.ended = make(chan struct{})
		if f.finished {
			close(f.ended)
		}
	}
	return f.ended
}

// Wait gives the result. When ctx ends first it gives ctx's error; the request goes on (the context it was issued with can stop it).
func (f *Future[T]) Wait(ctx context.Context) (T, error) {
	f.mu.Lock()
	finished := f.finished
	f.mu.Unlock()
	if !finished {
		select {
		case <-f.Done():
		case <-ctx.Done():
			var zero T
			return zero, ctx.Err()
		}
	}
	return f.v, f.err
}

// resolve sets the result, once.
func (f *Future[T]) resolve(v T, err error) {
	f.v = v
	f.resolved(err)
}

// resolved ends the request, whose result is in f.v.
func (f *Future[T]) resolved(err error) {
	if err != nil {
		var zero T
		f.v = zero
	}
	f.err = err
	f.mu.Lock()
	defer f.mu.Unlock()
	f.finished = true
	if f.ended != nil {
		close(f.ended)
	}
}

// failed is a future that never was a request.
func failed[T any](err error) *Future[T] {
	f := new(Future[T])
	f.resolved(err)
	return f
}

// None is the result of requests that only write.
type None struct{}
