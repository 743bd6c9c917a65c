package pebbleremote_test

import (
	"bytes"
	"context"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/forst-go/forst/engineadapter/internal/enginetest"
	"github.com/forst-go/forst/engineadapter/pebbleremote"
	"github.com/forst-go/forst/forstfs/driver"
)

// onHomes runs a test on every kind of store that keeps its promises by itself: a driver retries, a Storage does not.
func onHomes(t *testing.T, run func(t *testing.T, h enginetest.Home)) {
	for _, k := range enginetest.Homes {
		if k.Name != "mem with faults" {
			t.Run(k.Name, func(t *testing.T) { run(t, k.New(t)) })
		}
	}
}

// counter counts requests, and can fail puts.
type counter struct {
	driver.Store
	mu  sync.Mutex
	n   map[string]int
	put func(key string) error // asked after the put has happened
}

func count(s driver.Store) *counter { return &counter{Store: s, n: map[string]int{}} }

func (c *counter) note(op string) {
	c.mu.Lock()
	c.n[op]++
	c.mu.Unlock()
}

// take gives the counts since the last take.
func (c *counter) take() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.n
	c.n = map[string]int{}
	return n
}

func (c *counter) Put(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
	c.note("put")
	err := c.Store.Put(ctx, key, data, o)
	if err == nil && c.put != nil {
		err = c.put(key)
	}
	return err
}

func (c *counter) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	c.note("get")
	return c.Store.Get(ctx, key, off, n)
}

func (c *counter) Stat(ctx context.Context, key string) (driver.Info, error) {
	if strings.Contains(key, ".ref.") {
		c.note("stat of a marker") // only Pebble's own checks ask, which are on in builds with -race
	} else {
		c.note("stat")
	}
	return c.Store.Stat(ctx, key)
}

func (c *counter) Delete(ctx context.Context, keys []string) error {
	c.note("delete")
	return c.Store.Delete(ctx, keys)
}

func newStorage(t testing.TB, s driver.Store, o *pebbleremote.Options) *pebbleremote.Storage {
	t.Helper()
	st, err := pebbleremote.New(s, o)
	ok(t, err)
	t.Cleanup(func() { ok(t, st.Close()) })
	return st
}

func create(t testing.TB, s *pebbleremote.Storage, name string, data []byte) {
	t.Helper()
	w, err := s.CreateObject(name)
	ok(t, err)
	for len(data) > 0 {
		n, err := w.Write(data[:min(len(data), 4096)])
		ok(t, err)
		data = data[n:]
	}
	ok(t, w.Close())
}

func pattern(n int, seed byte) []byte {
	b := bytes.Repeat([]byte{seed}, n)
	for i := range b {
		b[i] += byte(i) ^ byte(i>>8)
	}
	return b
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%+v", err)
	}
}
