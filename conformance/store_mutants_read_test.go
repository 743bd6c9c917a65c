package conformance_test

import (
	"context"
	"errors"
	"io"
	"iter"
	"sync"
	"sync/atomic"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/mem"
)

// sharedRoot gives handles on one root, whoever asks.
var sharedRoot = func() func() driver.Store {
	b := mem.NewBucket(nil)
	return func() driver.Store {
		s, err := b.Open("")
		if err != nil {
			panic(err)
		}
		return s
	}
}()

// filterMutant is a List that changes or drops infos.
func filterMutant(b *broken, f func(*driver.Info) bool) func(context.Context, string, string) iter.Seq2[driver.Info, error] {
	return func(ctx context.Context, prefix, after string) iter.Seq2[driver.Info, error] {
		return b.filter(ctx, prefix, after, f)
	}
}

// rangeMutant is a Get that works on the whole object.
func rangeMutant(b *broken, f func(key string, data []byte, off, n int64) (io.ReadCloser, error)) {
	b.get = func(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
		data, err := driver.ReadAll(ctx, b.Store, key)
		if err != nil {
			return nil, err
		}
		if r, err := f(key, data, off, n); r != nil || err != nil {
			return r, err
		}
		return b.Store.Get(ctx, key, off, n)
	}
}

var readMutants = []mutant{
	{"range-ignored", "get/range-in-the-middle", func(b *broken) {
		b.get = func(ctx context.Context, key string, _, _ int64) (io.ReadCloser, error) {
			return b.Store.Get(ctx, key, 0, -1)
		}
	}},
	{"range-end-is-inclusive", "get/first-and-last-byte", func(b *broken) {
		b.get = func(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
			if n > 0 {
				n++
			}
			return b.Store.Get(ctx, key, off, n)
		}
	}},
	{"short-read-without-error", "get/exactly-all", func(b *broken) {
		rangeMutant(b, func(_ string, data []byte, off, n int64) (io.ReadCloser, error) {
			if len(data) > 8192 && off == 0 {
				return body(data[:8192], nil), nil
			}
			return nil, nil
		})
	}},
	{"negative-length-is-a-suffix", "get/to-the-end", func(b *broken) {
		rangeMutant(b, func(_ string, data []byte, off, n int64) (io.ReadCloser, error) {
			if n < 0 && off > 0 {
				return body(data[len(data)+int(max(n, -int64(len(data)))):], nil), nil
			}
			return nil, nil
		})
	}},
	{"past-the-end-is-padded", "get/past-the-end-is-cut", func(b *broken) {
		rangeMutant(b, func(_ string, data []byte, off, n int64) (io.ReadCloser, error) {
			if n > 0 && n < 1<<20 && off+n > int64(len(data)) && off < int64(len(data)) {
				return body(append(data[off:], make([]byte, off+n-int64(len(data)))...), nil), nil
			}
			return nil, nil
		})
	}},
	{"past-the-end-is-moved-forward", "get/past-the-end-is-cut", func(b *broken) {
		rangeMutant(b, func(_ string, data []byte, off, n int64) (io.ReadCloser, error) {
			if size := int64(len(data)); n > 0 && off < size && n > size-off { // as many bytes as were asked for, from further in front
				return body(data[max(0, size-n):], nil), nil
			}
			return nil, nil
		})
	}},
	{"past-the-end-is-an-error", "get/past-the-end-is-cut", func(b *broken) {
		rangeMutant(b, func(key string, data []byte, off, n int64) (io.ReadCloser, error) {
			if n > int64(len(data))-off {
				return nil, fail("get", key, driver.KindRange, nil)
			}
			return nil, nil
		})
	}},
	{"length-overflows", "get/huge-lengths-do-not-overflow", func(b *broken) {
		rangeMutant(b, func(key string, _ []byte, off, n int64) (io.ReadCloser, error) {
			if n > 0 && off+n < 0 {
				return nil, fail("get", key, driver.KindRange, nil)
			}
			return nil, nil
		})
	}},
	{"start-at-the-end-is-empty", "get/start-at-the-end", func(b *broken) {
		rangeMutant(b, func(_ string, data []byte, off, n int64) (io.ReadCloser, error) {
			if off == int64(len(data)) && off > 0 {
				return body(nil, nil), nil
			}
			return nil, nil
		})
	}},
	{"start-past-the-end-is-empty", "get/start-past-the-end", func(b *broken) {
		rangeMutant(b, func(_ string, data []byte, off, n int64) (io.ReadCloser, error) {
			if off > int64(len(data)) {
				return body(nil, nil), nil
			}
			return nil, nil
		})
	}},
	{"an-empty-object-has-no-range", "get/all-of-an-empty-object", func(b *broken) {
		rangeMutant(b, func(key string, data []byte, _, _ int64) (io.ReadCloser, error) {
			if len(data) == 0 {
				return nil, fail("get", key, driver.KindRange, errors.New("416"))
			}
			return nil, nil
		})
	}},
	{"range-of-an-empty-object-is-empty", "get/range-of-an-empty-object", func(b *broken) {
		rangeMutant(b, func(_ string, data []byte, _, _ int64) (io.ReadCloser, error) {
			if len(data) == 0 {
				return body(nil, nil), nil
			}
			return nil, nil
		})
	}},
	{"zero-length-is-all", "get/zero-length", func(b *broken) {
		b.get = func(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
			if n == 0 {
				n = -1
			}
			return b.Store.Get(ctx, key, off, n)
		}
	}},
	{"negative-offset-is-from-the-end", "get/negative-offset", func(b *broken) {
		rangeMutant(b, func(_ string, data []byte, off, _ int64) (io.ReadCloser, error) {
			if off < 0 {
				return body(data[len(data)-1:], nil), nil
			}
			return nil, nil
		})
	}},
	{"last-byte-is-cut-off-odd-ranges", "get/every-range-of-a-small-object", func(b *broken) {
		rangeMutant(b, func(_ string, data []byte, off, n int64) (io.ReadCloser, error) {
			if off == 7 && n == 2 {
				return body(data[7:8], nil), nil
			}
			return nil, nil
		})
	}},
	{"missing-is-transient", "get/missing", func(b *broken) {
		b.get = func(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
			r, err := b.Store.Get(ctx, key, off, n)
			if driver.KindOf(err) == driver.KindNotExist {
				return nil, fail("get", key, driver.KindTransient, nil)
			}
			return r, err
		}
	}},
	{"a-directory-is-an-empty-object", "get/a-prefix-is-no-object", func(b *broken) {
		b.get = func(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
			for range b.w.root.List(ctx, key+"/", "") {
				return body(nil, nil), nil
			}
			return b.Store.Get(ctx, key, off, n)
		}
	}},
	{"a-busy-server-ends-bodies-early", "get/64-readers-at-once", func(b *broken) {
		var busy atomic.Int64
		rangeMutant(b, func(_ string, data []byte, off, n int64) (io.ReadCloser, error) {
			defer busy.Add(-1)
			if busy.Add(1); n < 0 {
				return nil, nil
			}
			b.pause()
			data = data[off:min(off+n, int64(len(data)))]
			if busy.Load() > 4 {
				data = data[:len(data)/2]
			}
			return body(data, nil), nil
		})
	}},
	{"readers-share-a-buffer", "get/64-readers-at-once", func(b *broken) {
		buf := make([]byte, 8192)
		var mu sync.Mutex
		rangeMutant(b, func(_ string, data []byte, off, n int64) (io.ReadCloser, error) {
			mu.Lock()
			k := copy(buf, data[off:min(off+n, int64(len(data)))])
			mu.Unlock()
			return &lockedReader{b: b, mu: &mu, data: buf[:k]}, nil
		})
	}},
	{"readers-share-a-position", "get/two-readers-of-one-object-interleaved", func(b *broken) {
		shared := map[string]*[]byte{}
		rangeMutant(b, func(key string, data []byte, off, _ int64) (io.ReadCloser, error) {
			if shared[key] == nil {
				shared[key] = &data
			}
			return &sharedReader{shared[key]}, nil
		})
	}},
	{"the-end-is-unexpected", "get/reader-keeps-the-rules-of-io.Reader", func(b *broken) {
		rangeMutant(b, func(_ string, data []byte, off, n int64) (io.ReadCloser, error) {
			if off == 0 && n < 0 {
				return body(data, io.ErrUnexpectedEOF), nil
			}
			return nil, nil
		})
	}},
	{"small-reads-lose-bytes", "get/reader-byte-by-byte", func(b *broken) {
		rangeMutant(b, func(_ string, data []byte, off, n int64) (io.ReadCloser, error) {
			return &sloppyReader{data}, nil
		})
	}},
	{"closing-early-breaks-the-connection", "get/closing-early-is-legal", func(b *broken) {
		rangeMutant(b, func(key string, data []byte, off, n int64) (io.ReadCloser, error) {
			b.w.mu.Lock()
			defer b.w.mu.Unlock()
			if b.w.n++; b.w.n > 10 {
				return nil, fail("get", key, driver.KindTransient, errors.New("no free connection"))
			}
			return nil, nil
		})
	}},
	{"a-cancelled-reader-ends-with-EOF", "get/cancelled-midway-is-never-a-short-result", func(b *broken) {
		b.get = func(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
			r, err := b.Store.Get(ctx, key, off, n)
			if err != nil {
				return nil, err
			}
			return struct {
				io.Reader
				io.Closer
			}{eofReader{r}, r}, nil
		}
	}},
	{"get-ignores-the-context", "get/with-an-ended-context", func(b *broken) {
		b.get = func(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
			return b.Store.Get(context.WithoutCancel(ctx), key, off, n)
		}
	}},
	{"ranges-behind-the-end-move-to-the-front", "get/ReadFull-past-the-end-is-an-error", func(b *broken) {
		rangeMutant(b, func(_ string, data []byte, off, n int64) (io.ReadCloser, error) {
			if n > 0 && off+n > int64(len(data)) {
				return body(data[max(0, int64(len(data))-n):], nil), nil
			}
			return nil, nil
		})
	}},
	{"stat-gives-a-full-path", "stat/size-and-key", func(b *broken) {
		b.stat = func(ctx context.Context, key string) (driver.Info, error) {
			info, err := b.Store.Stat(ctx, key)
			info.Key = "root/" + info.Key
			return info, err
		}
	}},
	{"stat-of-a-missing-key-is-empty", "stat/missing", func(b *broken) {
		b.stat = func(ctx context.Context, key string) (driver.Info, error) {
			info, err := b.Store.Stat(ctx, key)
			if driver.KindOf(err) == driver.KindNotExist {
				return driver.Info{Key: key}, nil
			}
			return info, err
		}
	}},
}

type lockedReader struct {
	b    *broken
	mu   *sync.Mutex
	data []byte
	slow bool
}

func (r *lockedReader) Read(p []byte) (int, error) {
	if !r.slow {
		r.slow = true
		r.b.pause()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.data) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.data)
	r.data = r.data[n:]
	return n, nil
}

func (r *lockedReader) Close() error { return nil }

type sharedReader struct{ data *[]byte }

func (r *sharedReader) Read(p []byte) (int, error) {
	if len(*r.data) == 0 {
		return 0, io.EOF
	}
	n := copy(p, *r.data)
	*r.data = (*r.data)[n:]
	return n, nil
}

func (r *sharedReader) Close() error { return nil }

// sloppyReader drops what does not fit.
type sloppyReader struct{ data []byte }

func (r *sloppyReader) Read(p []byte) (int, error) {
	if len(r.data) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.data)
	r.data = r.data[min(len(r.data), 512):]
	return n, nil
}

func (r *sloppyReader) Close() error { return nil }

type eofReader struct{ r io.Reader }

func (r eofReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if err != nil {
		err = io.EOF
	}
	return n, err
}
