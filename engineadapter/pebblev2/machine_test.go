package pebblev2_test

import (
	"context"
	"io"
	"iter"
	"sync"
	"testing"

	"github.com/forst-go/forst/engineadapter/pebblev2"
	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// machine is where a volume is open until it dies. From then on none of its requests is answered, or sent, any more: its goroutines stay
// where they are, as a volume and a database that learnt of a takeover would end the process.
type machine struct {
	driver.Store
	vol *forstfs.FS

	mu   sync.RWMutex // held for reading by each request
	dead bool
}

// start opens the volume of h on a new machine.
func start(t testing.TB, h home, o *forstfs.Options) (*machine, vfs.FS) {
	t.Helper()
	m := &machine{Store: h.open(t)}
	m.vol = must(forstfs.Open(context.Background(), m, volOptions(o)))(t) // not closed, if the machine dies
	return m, pebblev2.New(m.vol)
}

// die returns when no request is under way any more.
func (m *machine) die() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dead = true
}

// request runs one request; nobody hears of it if the machine died meanwhile.
func (m *machine) request(do func()) {
	m.mu.RLock()
	dead := m.dead
	if !dead {
		do()
	}
	m.mu.RUnlock()
	if dead {
		select {}
	}
}

func (m *machine) Put(ctx context.Context, key string, data []byte, o driver.PutOptions) (err error) {
	m.request(func() { err = m.Store.Put(ctx, key, data, o) })
	return err
}

func (m *machine) Get(ctx context.Context, key string, off, n int64) (r io.ReadCloser, err error) {
	m.request(func() { r, err = m.Store.Get(ctx, key, off, n) })
	return r, err
}

func (m *machine) Stat(ctx context.Context, key string) (info driver.Info, err error) {
	m.request(func() { info, err = m.Store.Stat(ctx, key) })
	return info, err
}

func (m *machine) List(ctx context.Context, prefix, after string) (seq iter.Seq2[driver.Info, error]) {
	m.request(func() { seq = m.Store.List(ctx, prefix, after) })
	return seq
}

func (m *machine) Delete(ctx context.Context, keys []string) (err error) {
	m.request(func() { err = m.Store.Delete(ctx, keys) })
	return err
}
