package conformance

import (
	"context"
	"io"
	"iter"
	"sync"

	"github.com/forst-go/forst/forstfs/driver"
)

// stall is a store of a process that is stopped at one request, before or after it is carried out, until it is let go.
type stall struct {
	at    int
	after bool
	mu    sync.Mutex
	n     int
	on    bool                        // requests are counted
	match func(what, key string) bool // which requests are counted; nil all
	hit   chan struct{}               // closed when the process is stopped
	free  chan struct{}               // closed to let it go
}

func newStall(at int, after, on bool) *stall {
	return &stall{at: at, after: after, on: on, hit: make(chan struct{}), free: make(chan struct{})}
}

func (s *stall) start() {
	s.mu.Lock()
	s.on = true
	s.mu.Unlock()
}

// stop ends the counting: from now on no request is stopped.
func (s *stall) stop() {
	s.mu.Lock()
	s.on = false
	s.mu.Unlock()
}

// requests is how many were counted, and whether the one was among them.
func (s *stall) requests() (int, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n, s.n > s.at
}

// meet counts a request and says whether it is the one.
func (s *stall) meet(what, key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.on || s.match != nil && !s.match(what, key) {
		return false
	}
	s.n++
	if s.n-1 != s.at {
		return false
	}
	close(s.hit)
	return true
}

func (s *stall) around(what, key string, do func()) {
	if !s.after && s.meet(what, key) {
		<-s.free
	}
	do()
	if s.after && s.meet(what, key) {
		<-s.free
	}
}

type stallStore struct {
	driver.Store
	s *stall
}

func (s *stallStore) Unwrap() driver.Store { return s.Store }

func (s *stallStore) Put(ctx context.Context, key string, data []byte, o driver.PutOptions) (err error) {
	s.s.around("put", key, func() { err = s.Store.Put(ctx, key, data, o) })
	return err
}

func (s *stallStore) Get(ctx context.Context, key string, off, n int64) (r io.ReadCloser, err error) {
	s.s.around("get", key, func() { r, err = s.Store.Get(ctx, key, off, n) })
	return r, err
}

func (s *stallStore) Stat(ctx context.Context, key string) (i driver.Info, err error) {
	s.s.around("stat", key, func() { i, err = s.Store.Stat(ctx, key) })
	return i, err
}

func (s *stallStore) Delete(ctx context.Context, keys []string) (err error) {
	s.s.around("delete", keys[0], func() { err = s.Store.Delete(ctx, keys) })
	return err
}

func (s *stallStore) List(ctx context.Context, prefix, after string) iter.Seq2[driver.Info, error] {
	return func(yield func(driver.Info, error) bool) {
		var all []driver.Info
		var err error
		s.s.around("list", prefix, func() { all, err = driver.ListAll(ctx, s.Store, prefix, after) })
		for _, i := range all {
			if !yield(i, nil) {
				return
			}
		}
		if err != nil {
			yield(driver.Info{}, err)
		}
	}
}
