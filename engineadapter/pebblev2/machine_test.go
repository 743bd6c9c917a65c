package pebblev2_test

import (
	"context"
	"io"
	"iter"
	"sync/atomic"
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
	dead atomic.Bool
}

// start opens the volume of h on a new machine.
func start(t testing.TB, h home, o *forstfs.Options) (*machine, vfs.FS) {
	t.Helper()
	if o == nil {
		o = &forstfs.Options{}
	}
	o.Create, o.SkipProbe = forstfs.CreateIfMissing, true
	m := &machine{Store: h.open(t)}
	return m, pebblev2.New(must(forstfs.Open(context.Background(), m, o))(t)) // never closed
}

func (m *machine) die() { m.dead.Store(true) }

func (m *machine) live() {
	if m.dead.Load() {
		select {}
	}
}

func (m *machine) Put(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
	m.live()
	defer m.live() // it may have landed, but nobody hears of it
	return m.Store.Put(ctx, key, data, o)
}

func (m *machine) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	m.live()
	defer m.live()
	return m.Store.Get(ctx, key, off, n)
}

func (m *machine) Stat(ctx context.Context, key string) (driver.Info, error) {
	m.live()
	defer m.live()
	return m.Store.Stat(ctx, key)
}

func (m *machine) List(ctx context.Context, prefix, after string) iter.Seq2[driver.Info, error] {
	m.live()
	return m.Store.List(ctx, prefix, after)
}

func (m *machine) Delete(ctx context.Context, keys []string) error {
	m.live()
	defer m.live()
	return m.Store.Delete(ctx, keys)
}
