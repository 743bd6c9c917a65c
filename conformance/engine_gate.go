package conformance

import (
	"context"
	"io"
	"iter"
	"sync"

	"github.com/forst-go/forst/forstfs/driver"
)

// gateStore is the store of a process that may die. From then on none of its requests is answered, or sent, any more: its goroutines stay where they
// are.
type gateStore struct {
	driver.Store
	mu   sync.RWMutex // held for reading by each request but long ones
	dead bool
}

func (g *gateStore) Unwrap() driver.Store { return g.Store }

func (g *gateStore) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.dead = true
}

func (g *gateStore) closed() bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.dead
}

// pass makes a request; its sender does not go on if the process dies meanwhile. (What is under way then may land: the process sent it.)
func (g *gateStore) pass(do func()) {
	if g.closed() {
		select {}
	}
	do()
	if g.closed() {
		select {}
	}
}

func (g *gateStore) Put(ctx context.Context, key string, data []byte, o driver.PutOptions) (err error) {
	g.pass(func() { err = g.Store.Put(ctx, key, data, o) })
	return err
}

func (g *gateStore) Get(ctx context.Context, key string, off, n int64) (r io.ReadCloser, err error) {
	g.pass(func() { r, err = g.Store.Get(ctx, key, off, n) })
	return r, err
}

func (g *gateStore) Stat(ctx context.Context, key string) (i driver.Info, err error) {
	g.pass(func() { i, err = g.Store.Stat(ctx, key) })
	return i, err
}

func (g *gateStore) List(ctx context.Context, prefix, after string) (seq iter.Seq2[driver.Info, error]) {
	g.pass(func() { seq = g.Store.List(ctx, prefix, after) })
	return seq
}

func (g *gateStore) Delete(ctx context.Context, keys []string) (err error) {
	g.pass(func() { err = g.Store.Delete(ctx, keys) })
	return err
}
