package hdfs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/forst-go/forst/forstfs/hdfs"
)

func open(t *testing.T, c *hdfs.Config) *hdfs.Store {
	t.Helper()
	s, err := hdfs.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// lossy loses the answer to the next call of a method: the request goes out, the connection ends before the answer is read.
type lossy struct {
	mu     sync.Mutex
	method string
	lost   int
	before bool // the request, too
}

func (l *lossy) lose(method string, before bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.method, l.before, l.lost = method, before, 0
}

func (l *lossy) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	return &lossyConn{Conn: c, l: l}, err
}

type lossyConn struct {
	net.Conn
	l   *lossy
	cut atomic.Bool
}

func (c *lossyConn) Write(p []byte) (int, error) {
	c.l.mu.Lock()
	hit := c.l.method != "" && len(p) < 4096 && bytes.Contains(p, []byte("\n"+string(rune(len(c.l.method)))+c.l.method+"\x12"))
	before := c.l.before
	if hit {
		c.l.method = ""
		c.l.lost++
	}
	c.l.mu.Unlock()
	if hit && before {
		c.Conn.Close()
		return 0, errors.New("cut before the request")
	}
	n, err := c.Conn.Write(p)
	if hit {
		c.cut.Store(true)
	}
	return n, err
}

func (c *lossyConn) Read(p []byte) (int, error) {
	if c.cut.Load() {
		// One byte of the answer shows that the call was carried out.
		_, err := c.Conn.Read(make([]byte, 1))
		c.Conn.Close()
		return 0, fmt.Errorf("cut before the answer (%v)", err)
	}
	return c.Conn.Read(p)
}

// parsed is a URL with more parameters: name, value, name, value, ...
func parsed(t testing.TB, raw string, params ...string) *url.URL {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	for i := 0; i+1 < len(params); i += 2 {
		q.Set(params[i], params[i+1])
	}
	u.RawQuery = q.Encode()
	return u
}

// config is that of such a URL.
func config(t testing.TB, raw string, params ...string) *hdfs.Config {
	t.Helper()
	c, err := hdfs.ParseURL(parsed(t, raw, params...))
	if err != nil {
		t.Fatal(err)
	}
	return c
}
