package hdfs_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/hdfs"
	"github.com/forst-go/forst/internal/testenv"
)

// faultyNet is a network whose connections to DataNodes break after some bytes, and whose NameNode may fall silent.
type faultyNet struct {
	namenode string
	cuts     atomic.Int64 // connections to DataNodes that still break
	after    int64        // bytes that come over one of them

	mu     sync.Mutex
	silent func() // not nil: nothing comes from the NameNode any more; told when somebody waits for it
}

// over puts a store's connections on the network.
func (f *faultyNet) over(t *testing.T, rawURL string) *hdfs.Config {
	c := config(t, rawURL)
	f.namenode = c.Addresses[0]
	c.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &faultyConn{Conn: conn, f: f, data: addr != f.namenode, gone: make(chan struct{})}, nil
	}
	return c
}

func (f *faultyNet) silence() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	waits := make(chan struct{})
	f.silent = sync.OnceFunc(func() { close(waits) })
	return waits
}

type faultyConn struct {
	net.Conn
	f    *faultyNet
	data bool
	n    int64
	once sync.Once
	gone chan struct{}
}

func (c *faultyConn) Read(p []byte) (int, error) {
	c.f.mu.Lock()
	silent := c.f.silent
	c.f.mu.Unlock()
	switch {
	case !c.data && silent != nil:
		silent()
		<-c.gone
		return 0, net.ErrClosed
	case c.data && c.f.cuts.Load() > 0:
		if c.n >= c.f.after {
			c.f.cuts.Add(-1)
			c.Conn.Close()
			return 0, errors.New("the wire is cut")
		}
		n, err := c.Conn.Read(p[:min(int64(len(p)), c.f.after-c.n)])
		c.n += int64(n)
		return n, err
	}
	return c.Conn.Read(p)
}

func (c *faultyConn) Close() error {
	c.once.Do(func() { close(c.gone) })
	return c.Conn.Close()
}

// TestReadsThatAreCut: a read whose connection to a DataNode breaks goes on over another one, with the byte that is missing.
func TestReadsThatAreCut(t *testing.T) {
	var f faultyNet
	f.after = 300_000
	s := open(t, f.over(t, testenv.HDFS(t).URL(t)))
	data := make([]byte, 2<<20)
	for i := range data {
		data[i] = byte(i>>10 ^ i)
	}
	if err := s.Put(t.Context(), "key", data, driver.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, cuts := range []int64{1, 2} {
		f.cuts.Store(cuts)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // so that a broken read ends
		defer cancel()
		r, err := s.Get(ctx, "key", 5, -1)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(got, data[5:]) {
			t.Errorf("%d cuts: %d bytes of %d, %v", cuts, len(got), len(data)-5, err)
		}
		if left := f.cuts.Load(); left != 0 {
			t.Errorf("%d connections of %d were not cut: the case tries nothing", left, cuts)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestCancelBeforeASilentNamenode: a call that is given up ends, whatever the NameNode does.
func TestCancelBeforeASilentNamenode(t *testing.T) {
	var f faultyNet
	c := f.over(t, testenv.HDFS(t).URL(t))
	s := open(t, c)
	if err := s.Put(t.Context(), "key", []byte("bytes"), driver.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	waits := f.silence()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, err := s.Stat(ctx, "key")
		ended <- err
	}()
	select {
	case <-waits:
	case err := <-ended:
		t.Fatalf("the silent NameNode answered: %v", err)
	}
	cancel()
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	case <-time.After(time.Minute): // so that a broken call ends the test
		t.Fatal("a call that was given up goes on")
	}
	f.mu.Lock()
	f.silent = nil
	f.mu.Unlock()
	if _, err := s.Stat(t.Context(), "key"); err != nil {
		t.Errorf("over a new connection: %v", err)
	}
}
