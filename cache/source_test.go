package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/forst-go/forst/forstfs/driver"
)

// content gives the true bytes of an object: each byte depends on the object and on its position.
func content(num uint64, off, n int64) []byte {
	b := make([]byte, n)
	fillContent(b, num, off)
	return b
}

func fillContent(b []byte, num uint64, off int64) {
	for i := range b {
		pos := uint64(off) + uint64(i)
		x := (pos/8+1)*0x9e3779b97f4a7c15 ^ (num+1)*0xd6e8feb86659fd93
		x ^= x >> 29
		b[i] = byte(x >> (pos % 8 * 8))
	}
}

// testSource is an object in memory whose every answer can be changed.
type testSource struct {
	num  uint64
	size int64

	gets  atomic.Int64
	bytes atomic.Int64

	mu     sync.Mutex
	ranges []span
	// hook, if set, may block, fail or replace the reader of a fetch; a nil reader means the right one.
	hook func(ctx context.Context, off, n int64) (io.ReadCloser, error)
}

func (s *testSource) Fetch(ctx context.Context, off, n int64) (io.ReadCloser, error) {
	s.gets.Add(1)
	s.bytes.Add(n)
	s.mu.Lock()
	s.ranges = append(s.ranges, span{off, off + n})
	hook := s.hook
	s.mu.Unlock()
	if off < 0 || n <= 0 || off+n > s.size {
		return nil, &driver.Error{Op: "get", Path: "test", Kind: driver.KindRange, Err: fmt.Errorf("%d+%d of %d", off, n, s.size)}
	}
	if hook != nil {
		if r, err := hook(ctx, off, n); r != nil || err != nil {
			return r, err
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return io.NopCloser(&contentReader{num: s.num, pos: off, end: off + n}), nil
}

func (s *testSource) setHook(h func(ctx context.Context, off, n int64) (io.ReadCloser, error)) {
	s.mu.Lock()
	s.hook = h
	s.mu.Unlock()
}

func (s *testSource) takeRanges() []span {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.ranges
	s.ranges = nil
	return r
}

func (s *testSource) object() *Object { return &Object{ID: testID(s.num), Size: s.size, Source: s} }

func testID(num uint64) ID {
	return ID{Volume: [16]byte{1, 2, 3}, Epoch: 7, Nonce: 0xabcdef, Num: num, Kind: KindObject}
}

type contentReader struct {
	num      uint64
	pos, end int64
}

func (r *contentReader) Read(p []byte) (int, error) {
	if r.pos == r.end {
		return 0, io.EOF
	}
	n := min(int64(len(p)), r.end-r.pos)
	fillContent(p[:n], r.num, r.pos)
	r.pos += n
	return int(n), nil
}

// gatedReader gives bytes only as far as the test allows.
type gatedReader struct {
	ctx   context.Context
	r     contentReader
	allow <-chan int64 // each value: so many more bytes; closed: all the rest
	left  int64
	open  bool
}

func (g *gatedReader) Read(p []byte) (int, error) {
	for g.left == 0 && !g.open {
		select {
		case n, ok := <-g.allow:
			g.left, g.open = g.left+n, !ok
		case <-g.ctx.Done():
			return 0, g.ctx.Err()
		}
	}
	if !g.open {
		p = p[:min(int64(len(p)), g.left)]
	}
	n, err := g.r.Read(p)
	if !g.open {
		g.left -= int64(n)
	}
	return n, err
}

func (g *gatedReader) Close() error { return nil }

// brokenReader gives n bytes and then err.
func brokenReader(num uint64, off, n int64, err error) io.ReadCloser {
	return io.NopCloser(io.MultiReader(&contentReader{num, off, off + n}, errReader{err}))
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

var errInjected = errors.New("injected")

// readCheck reads and compares.
func readCheck(ctx context.Context, c *Cache, s *testSource, off, n int64, h Hint) error {
	p := make([]byte, n)
	for i := range p {
		p[i] = 0xEE
	}
	if _, err := c.ReadAt(ctx, s.object(), p, off, h, ReasonRead); err != nil {
		return fmt.Errorf("read %d+%d of object %d: %w", off, n, s.num, err)
	}
	return compare(p, s.num, off)
}

func compare(p []byte, num uint64, off int64) error {
	if want := content(num, off, int64(len(p))); !bytes.Equal(p, want) {
		i := 0
		for p[i] == want[i] {
			i++
		}
		return fmt.Errorf("object %d: byte %d (of %d+%d) is %#x, want %#x", num, off+int64(i), off, len(p), p[i], want[i])
	}
	return nil
}
