package hdfs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/colinmarc/hdfs/v2"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/mutant"
)

// idleTime is how long an unused connection is kept. Each costs the NameNode one call a second, because the library renews the leases
// of its client for as long as it lives, whether there are any or not.
const idleTime = 10 * time.Second

// longestLife ends a connection in use: with wire encryption the library keeps a key of the cluster in it that runs out after some hours.
const longestLife = time.Hour

// namenodes is a pool of connections. The library sends one call at a time over each, and one that has failed once is useless for
// five seconds, so it is thrown away.
type namenodes struct {
	cfg *Config

	free [2]chan struct{} // places for connections in use: of commits, of all else

	mu     sync.Mutex
	idle   [2][]*namenode // the one used last at the end
	active string         // the NameNode that answered last: asked first
	closed bool
	timer  *time.Timer
	reaper sync.WaitGroup
}

// namenode is one connection. It is used by one goroutine at a time.
type namenode struct {
	client *hdfs.Client
	exec   executor
	born   time.Time
	used   time.Time

	timeout atomic.Int64 // of each read and write, in ns
	mu      sync.Mutex
	dead    bool
	conn    net.Conn // the library keeps one at a time
	addr    string
	heard   []byte // the beginning of what came last
}

// refused says why the NameNode ended a connection in place of answering. The library cannot: such an answer belongs to no call of its own, and
// it reports an unexpected number.
func (c *namenode) refused(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if strings.Contains(err.Error(), "unexpected sequence number") && bytes.Contains(c.heard, []byte(exAccess)) {
		return final(driver.KindPermission, errors.New("the NameNode refuses the connection: it demands Kerberos (HADOOP_CONF_DIR, or keytab= and principal=)"))
	}
	return err
}

func newNamenodes(cfg *Config) *namenodes {
	p := &namenodes{cfg: cfg}
	p.free[0] = make(chan struct{}, cfg.JournalConnections)
	p.free[1] = make(chan struct{}, cfg.Concurrency)
	return p
}

func lane(ctx context.Context) int {
	if driver.ComponentOf(ctx) == driver.CompCommit {
		return 0
	}
	return 1
}

// take waits for a connection. It makes one if none is idle.
func (p *namenodes) take(ctx context.Context, timeout time.Duration) (*namenode, error) {
	l := lane(ctx)
	select {
	case p.free[l] <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		<-p.free[l]
		return nil, errClosed
	}
	if n := len(p.idle[l]); n > 0 {
		c := p.idle[l][n-1]
		p.idle[l] = p.idle[l][:n-1]
		p.mu.Unlock()
		c.timeout.Store(int64(timeout))
		return c, nil
	}
	addrs := slices.Clone(p.cfg.Addresses)
	if i := slices.Index(addrs, p.active); i > 0 {
		addrs[0], addrs[i] = addrs[i], addrs[0]
	}
	p.mu.Unlock()
	c, err := p.dial(ctx, addrs, timeout)
	if err != nil {
		<-p.free[l]
		return nil, err
	}
	return c, nil
}

func (p *namenodes) dial(ctx context.Context, addrs []string, timeout time.Duration) (*namenode, error) {
	c := &namenode{born: time.Now()}
	c.timeout.Store(int64(timeout))
	stop := context.AfterFunc(ctx, c.abort)
	defer stop()
	client, err := hdfs.NewClient(hdfs.ClientOptions{
		Addresses: addrs,
		User:      p.cfg.User,
		NamenodeDialFunc: func(_ context.Context, network, addr string) (net.Conn, error) {
			return c.open(ctx, p.cfg.Dial, network, addr)
		},
		KerberosClient:               p.cfg.Kerberos,
		KerberosServicePrincipleName: p.cfg.ServicePrincipal,
		DataTransferProtection:       p.cfg.Protection,
	})
	if err != nil {
		c.abort()
		return nil, err
	}
	c.client, c.exec = client, executorOf(client)
	return c, nil
}

// open dials for the library, at first and when it goes on to another NameNode.
func (c *namenode) open(ctx context.Context, dial dialFunc, network, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Duration(c.timeout.Load()))
	defer cancel()
	conn, err := dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead {
		conn.Close()
		return nil, net.ErrClosed
	}
	c.conn, c.addr = conn, addr
	return &timedConn{Conn: conn, timeout: &c.timeout, c: c}, nil
}

// abort ends what goes on over the connection, which is useless afterwards.
func (c *namenode) abort() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dead = true
	if c.conn != nil {
		c.conn.Close()
	}
}

// address is the NameNode's. The library goes to another one not only in calls, but also when it renews leases, which it does by itself.
func (c *namenode) address() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.addr
}

func (c *namenode) close() {
	c.abort() // first, so that the library's Close does not wait for a renewal of leases
	c.client.Close()
}

// give returns a connection to the pool. A broken one is closed.
func (p *namenodes) give(ctx context.Context, c *namenode, broken bool) {
	l := lane(ctx)
	addr := c.address()
	p.mu.Lock()
	if !broken && !p.closed && time.Since(c.born) < longestLife {
		c.used = time.Now()
		p.idle[l] = append(p.idle[l], c)
		p.active = addr
		if p.timer == nil {
			p.reaper.Add(1)
			p.timer = time.AfterFunc(idleTime, p.reap)
		}
		c = nil
	}
	p.mu.Unlock()
	if c != nil {
		c.close()
	}
	<-p.free[l]
}

// reap closes the connections that were idle for long.
func (p *namenodes) reap() {
	defer p.reaper.Done()
	p.mu.Lock()
	var old []*namenode
	left := 0
	for l, idle := range p.idle {
		n := 0
		for n < len(idle) && time.Since(idle[n].used) >= idleTime {
			n++
		}
		old = append(old, idle[:n]...)
		p.idle[l] = slices.Clone(idle[n:])
		left += len(p.idle[l])
	}
	p.timer = nil
	if left > 0 && !p.closed {
		p.reaper.Add(1)
		p.timer = time.AfterFunc(idleTime/4, p.reap)
	}
	p.mu.Unlock()
	for _, c := range old {
		c.close()
	}
}

// close closes the idle connections. Nobody uses one any more.
func (p *namenodes) close() {
	p.mu.Lock()
	p.closed = true
	if p.timer != nil && p.timer.Stop() {
		p.reaper.Done()
	}
	idle := slices.Concat(p.idle[0], p.idle[1])
	p.idle = [2][]*namenode{}
	p.mu.Unlock()
	p.reaper.Wait()
	for _, c := range idle {
		c.close()
	}
}

// once makes one call. Its error is a failure, or that of ctx.
func (p *namenodes) once(ctx context.Context, timeout time.Duration, method string, req protoreflect.Message, resp protoreflect.Message) error {
	if p.cfg.OnCall != nil {
		p.cfg.OnCall(ctx, method)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	c, err := p.take(ctx, timeout)
	if err != nil {
		return p.failed(ctx, method, err)
	}
	stop := context.AfterFunc(ctx, c.abort)
	err = c.exec.Execute(method, req.Interface(), resp.Interface())
	aborted := !stop()
	if err != nil {
		err = c.refused(err)
	}
	var remote hdfs.Error
	answered := err == nil || errors.As(err, &remote)
	p.give(ctx, c, aborted || !answered || answered && err != nil && remote.Exception() == exStandby)
	if err != nil {
		return p.failed(ctx, method, err)
	}
	return nil
}

func (p *namenodes) failed(ctx context.Context, method string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	f := classify(err)
	if f.kind == driver.KindTransient {
		var e *NamenodeError
		if !errors.As(f, &e) {
			return transient("%s: %w", method, eof(f.err))
		}
	}
	return f
}

// eof keeps io.EOF out of the chain of an error that means anything but a good end.
func eof(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// timedConn bounds each Read and Write. What anybody else sets as a deadline is ignored. After an error the connection is closed: an
// answer that comes late must not be taken for that of another request.
type timedConn struct {
	net.Conn
	timeout *atomic.Int64 // in ns
	c       *namenode     // to note what came; nil for a DataNode
}

func (c *timedConn) Read(p []byte) (int, error) {
	if !mutant.On("hdfs/no-deadline") {
		c.Conn.SetReadDeadline(time.Now().Add(time.Duration(c.timeout.Load())))
	}
	n, err := c.Conn.Read(p)
	if c.c != nil {
		c.c.mu.Lock()
		c.c.heard = append(c.c.heard[:0], p[:min(n, 512)]...)
		c.c.mu.Unlock()
	}
	if err != nil {
		c.Conn.Close()
	}
	return n, err
}

func (c *timedConn) Write(p []byte) (int, error) {
	c.Conn.SetWriteDeadline(time.Now().Add(time.Duration(c.timeout.Load())))
	n, err := c.Conn.Write(p)
	if err != nil {
		c.Conn.Close()
	}
	return n, err
}

func (c *timedConn) SetDeadline(time.Time) error      { return nil }
func (c *timedConn) SetReadDeadline(time.Time) error  { return nil }
func (c *timedConn) SetWriteDeadline(time.Time) error { return nil }
