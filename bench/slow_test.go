package bench

import (
	"context"
	"io"
	"iter"
	"time"

	"github.com/forst-go/forst/forstfs/driver"
)

// slow adds the latency and bandwidth of S3 to a store in the process: a fixed time for each request, and one connection's bandwidth for
// its bytes.
type slow struct {
	driver.Store
	put, get time.Duration
	perByte  float64 // ns
}

func slowly(s driver.Store) *slow {
	return &slow{Store: s, put: 28 * time.Millisecond, get: 24 * time.Millisecond, perByte: 1e9 / 90e6}
}

func (s *slow) Capabilities() driver.Capabilities {
	c := s.Store.Capabilities()
	c.ObjectSize, c.Concurrency = 16<<20, 64
	return c
}

func (s *slow) bytes(n int) time.Duration { return time.Duration(float64(n) * s.perByte) }

func (s *slow) Put(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
	time.Sleep(s.put + s.bytes(len(data)))
	return s.Store.Put(ctx, key, data, o)
}

func (s *slow) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	time.Sleep(s.get)
	r, err := s.Store.Get(ctx, key, off, n)
	if err != nil {
		return nil, err
	}
	return &slowReader{r, s}, nil
}

type slowReader struct {
	io.ReadCloser
	s *slow
}

func (r *slowReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	time.Sleep(r.s.bytes(n))
	return n, err
}

func (s *slow) List(ctx context.Context, prefix, after string) iter.Seq2[driver.Info, error] {
	time.Sleep(s.get)
	return s.Store.List(ctx, prefix, after)
}

func (s *slow) Delete(ctx context.Context, keys []string) error {
	time.Sleep(s.put)
	return s.Store.Delete(ctx, keys)
}
