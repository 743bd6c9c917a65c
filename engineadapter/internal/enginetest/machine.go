package enginetest

import (
	"context"
	"io"
	"iter"
	"sync"
	"testing"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
)

// Machine is where a volume is open until it dies. From then on none of its requests is answered, or sent, any more: its goroutines stay
// where they are, as a volume and a database that learnt of a takeover would end the process.
type Machine struct {
	driver.Store
	Vol *forstfs.FS

	mu   sync.RWMutex // held for reading by each request
	dead bool
}

// Start opens the volume of h on a new machine.
func Start(t testing.TB, h Home, o *forstfs.Options) *Machine {
	t.Helper()
	m := &Machine{Store: h.Open(t)}
	m.Vol = must(forstfs.Open(context.Background(), m, VolOptions(o)))(t) // not closed, if the machine dies
	return m
}

// Die returns when no request is under way any more.
func (m *Machine) Die() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dead = true
}

// request runs one request; nobody hears of it if the machine died meanwhile.
func (m *Machine) request(do func()) {
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

// Put is a request of the machine.
func (m *Machine) Put(ctx context.Context, key string, data []byte, o driver.PutOptions) (err error) {
	m.request(func() { err = m.Store.Put(ctx, key, data, o) })
	return err
}

// Get is a request of the machine.
func (m *Machine) Get(ctx context.Context, key string, off, n int64) (r io.ReadCloser, err error) {
	m.request(func() { r, err = m.Store.Get(ctx, key, off, n) })
	return r, err
}

// Stat is a request of the machine.
func (m *Machine) Stat(ctx context.Context, key string) (info driver.Info, err error) {
	m.request(func() { info, err = m.Store.Stat(ctx, key) })
	return info, err
}

// List is a request of the machine.
func (m *Machine) List(ctx context.Context, prefix, after string) (seq iter.Seq2[driver.Info, error]) {
	m.request(func() { seq = m.Store.List(ctx, prefix, after) })
	return seq
}

// Delete is a request of the machine.
func (m *Machine) Delete(ctx context.Context, keys []string) (err error) {
	m.request(func() { err = m.Store.Delete(ctx, keys) })
	return err
}
