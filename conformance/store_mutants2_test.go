package conformance_test

import (
	"cmp"
	"context"
	"errors"
	"io"
	"iter"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

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
	{"readers-share-a-buffer", "get/64-readers-at-once", func(b *broken) {
		buf := make([]byte, 8192)
		var mu sync.Mutex
		rangeMutant(b, func(_ string, data []byte, off, n int64) (io.ReadCloser, error) {
			mu.Lock()
			k := copy(buf, data[off:min(off+n, int64(len(data)))])
			mu.Unlock()
			return &lockedReader{mu: &mu, data: buf[:k]}, nil
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
	mu   *sync.Mutex
	data []byte
	slow bool
}

func (r *lockedReader) Read(p []byte) (int, error) {
	if !r.slow {
		r.slow = true
		pause()
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

var listMutants = []mutant{
	{"list-of-nothing-is-an-error", "list/empty-store", func(b *broken) {
		b.list = func(ctx context.Context, prefix, after string) iter.Seq2[driver.Info, error] {
			list, err := driver.ListAll(ctx, b.Store, prefix, after)
			if len(list) == 0 && err == nil {
				err = fail("list", prefix, driver.KindNotExist, nil)
			}
			return infos(list, err)
		}
	}},
	{"list-in-the-order-of-directories", "list/ascending-byte-order", func(b *broken) {
		b.list = func(ctx context.Context, prefix, after string) iter.Seq2[driver.Info, error] {
			list, err := driver.ListAll(ctx, b.Store, prefix, after)
			slices.SortFunc(list, func(x, y driver.Info) int {
				return slices.Compare(strings.Split(x.Key, "/"), strings.Split(y.Key, "/"))
			})
			return infos(list, err)
		}
	}},
	{"list-without-sizes", "list/sizes", func(b *broken) {
		b.list = filterMutant(b, func(i *driver.Info) bool { i.Size = 0; return true })
	}},
	{"list-ends-after-one-page", "list/more-than-1000-keys", func(b *broken) {
		b.list = func(ctx context.Context, prefix, after string) iter.Seq2[driver.Info, error] {
			list, err := driver.ListAll(ctx, b.Store, prefix, after)
			return infos(list[:min(len(list), 1000)], err)
		}
	}},
	{"pages-overlap", "list/more-than-1000-keys", func(b *broken) {
		b.list = func(ctx context.Context, prefix, after string) iter.Seq2[driver.Info, error] {
			list, err := driver.ListAll(ctx, b.Store, prefix, after)
			if len(list) > 1000 {
				list = slices.Insert(list, 1000, list[999])
			}
			return infos(list, err)
		}
	}},
	{"start-after-holds-for-the-second-page-only", "list/start-after-in-a-big-store", func(b *broken) {
		b.list = func(ctx context.Context, prefix, after string) iter.Seq2[driver.Info, error] {
			list, err := driver.ListAll(ctx, b.Store, prefix, "")
			if i := slices.IndexFunc(list, func(x driver.Info) bool { return x.Key > after }); i > 0 {
				list = list[min(i, 1000):]
			}
			return infos(list, err)
		}
	}},
	{"the-second-page-forgets-the-prefix", "list/prefix-in-a-big-store", func(b *broken) {
		b.list = func(ctx context.Context, prefix, after string) iter.Seq2[driver.Info, error] {
			list, err := driver.ListAll(ctx, b.Store, prefix, after)
			if n := len(list); n >= 400 {
				more, _ := driver.ListAll(ctx, b.Store, "", list[n-1].Key)
				list = append(list, more...)
			}
			return infos(list, err)
		}
	}},
	{"start-after-is-inclusive", "list/start-after-is-exclusive", func(b *broken) {
		b.list = func(ctx context.Context, prefix, after string) iter.Seq2[driver.Info, error] {
			list, err := driver.ListAll(ctx, b.Store, prefix, "")
			return infos(slices.DeleteFunc(list, func(x driver.Info) bool { return x.Key < after }), err)
		}
	}},
	{"start-after-must-exist", "list/start-after-a-missing-key", func(b *broken) {
		b.list = func(ctx context.Context, prefix, after string) iter.Seq2[driver.Info, error] {
			if after != "" && !b.exists(ctx, after) {
				after = ""
			}
			return b.Store.List(ctx, prefix, after)
		}
	}},
	{"start-after-is-relative-to-the-prefix", "list/start-after-outside-the-prefix", func(b *broken) {
		b.list = func(ctx context.Context, prefix, after string) iter.Seq2[driver.Info, error] {
			if after != "" && !strings.HasPrefix(after, prefix) {
				after = prefix + after
			}
			return b.Store.List(ctx, prefix, after)
		}
	}},
	{"start-after-skips-a-whole-directory", "list/start-after-walks-the-whole-store", func(b *broken) {
		b.list = func(ctx context.Context, prefix, after string) iter.Seq2[driver.Info, error] {
			return b.filter(ctx, prefix, after, func(i *driver.Info) bool {
				return after == "" || path.Dir(i.Key) == path.Dir(after) || !strings.HasPrefix(i.Key, path.Dir(after)+"/")
			})
		}
	}},
	{"the-prefix-is-a-directory", "list/prefix-in-the-middle-of-a-segment", func(b *broken) {
		b.list = func(ctx context.Context, prefix, after string) iter.Seq2[driver.Info, error] {
			if prefix != "" && !strings.HasSuffix(prefix, "/") && !b.exists(ctx, prefix) {
				prefix += "/"
			}
			return b.Store.List(ctx, prefix, after)
		}
	}},
	{"the-slash-of-a-prefix-is-dropped", "list/prefix-with-a-slash-is-a-directory", func(b *broken) {
		b.list = func(ctx context.Context, prefix, after string) iter.Seq2[driver.Info, error] {
			return b.Store.List(ctx, strings.TrimSuffix(prefix, "/"), after)
		}
	}},
	{"a-key-is-not-below-itself", "list/prefix-equal-to-a-key", func(b *broken) {
		b.list = func(ctx context.Context, prefix, after string) iter.Seq2[driver.Info, error] {
			return b.filter(ctx, prefix, after, func(i *driver.Info) bool { return i.Key != prefix })
		}
	}},
	{"an-unknown-prefix-lists-the-parent", "list/prefix-that-matches-nothing", func(b *broken) {
		b.list = func(ctx context.Context, prefix, after string) iter.Seq2[driver.Info, error] {
			list, err := driver.ListAll(ctx, b.Store, prefix, after)
			if len(list) == 0 && strings.Contains(prefix, "/") {
				return b.Store.List(ctx, path.Dir(prefix), after)
			}
			return infos(list, err)
		}
	}},
	{"a-prefix-that-ends-in-a-dot-is-hidden", "list/every-prefix-of-every-key", func(b *broken) {
		b.list = func(ctx context.Context, prefix, after string) iter.Seq2[driver.Info, error] {
			return b.Store.List(ctx, strings.TrimSuffix(prefix, "."), after)
		}
	}},
	{"list-misses-the-newest-key", "list/right-after-put", missNewest},
	{"list-misses-the-newest-created-key", "list/right-after-create-if-absent", missNewest},
	{"list-is-not-where-put-is", "put/is-seen-by-list", missNewest},
	{"list-shows-the-dead", "list/right-after-delete", func(b *broken) {
		b.delete = func(ctx context.Context, keys []string) error {
			b.w.mu.Lock()
			defer b.w.mu.Unlock()
			for _, key := range keys {
				if b.exists(ctx, key) {
					b.w.keys[key] = true
				}
			}
			return b.Store.Delete(ctx, keys)
		}
		b.list = func(ctx context.Context, prefix, after string) iter.Seq2[driver.Info, error] {
			list, err := driver.ListAll(ctx, b.Store, prefix, after)
			b.w.mu.Lock()
			defer b.w.mu.Unlock()
			for key := range b.w.keys {
				if strings.HasPrefix(key, prefix) && key > after {
					list = append(list, driver.Info{Key: key})
				}
			}
			clear(b.w.keys)
			slices.SortFunc(list, func(x, y driver.Info) int { return cmp.Compare(x.Key, y.Key) })
			return infos(list, err)
		}
	}},
	{"list-shows-old-sizes", "list/shows-replaced-sizes-at-once", func(b *broken) {
		sizes := map[string]int64{}
		b.list = filterMutant(b, func(i *driver.Info) bool {
			if old, ok := sizes[i.Key]; ok {
				i.Size = old
			}
			sizes[i.Key] = i.Size
			return true
		})
	}},
	{"pages-are-counted-by-offset", "list/while-others-come-and-go", byOffset},
	{"pages-are-counted-by-offset-2", "list/body-may-use-the-store", byOffset},
	{"list-can-be-used-once", "list/can-be-left-early-and-repeated", func(b *broken) {
		b.list = func(ctx context.Context, prefix, after string) iter.Seq2[driver.Info, error] {
			next, stop := iter.Pull2(b.Store.List(ctx, prefix, after))
			return func(yield func(driver.Info, error) bool) {
				defer stop()
				for {
					info, err, ok := next()
					if !ok || !yield(info, err) {
						return
					}
				}
			}
		}
	}},
	{"list-ignores-the-context", "list/with-an-ended-context", func(b *broken) {
		b.list = func(ctx context.Context, prefix, after string) iter.Seq2[driver.Info, error] {
			return b.Store.List(context.WithoutCancel(ctx), prefix, after)
		}
	}},
	{"a-cancelled-list-is-short", "list/cancelled-midway-is-never-a-short-list", func(b *broken) {
		b.list = func(ctx context.Context, prefix, after string) iter.Seq2[driver.Info, error] {
			return func(yield func(driver.Info, error) bool) {
				for info, err := range b.Store.List(ctx, prefix, after) {
					if err != nil || !yield(info, nil) {
						return
					}
				}
			}
		}
	}},
	{"list-goes-on-after-an-error", "list/cancelled-midway-is-never-a-short-list", func(b *broken) {
		b.list = func(ctx context.Context, prefix, after string) iter.Seq2[driver.Info, error] {
			return func(yield func(driver.Info, error) bool) {
				for info, err := range b.Store.List(ctx, prefix, after) {
					if !yield(info, err) || err != nil && !yield(info, err) {
						return
					}
				}
			}
		}
	}},
}

// missNewest hides each key from the first list after its Put.
func missNewest(b *broken) {
	b.put = func(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
		b.w.mu.Lock()
		defer b.w.mu.Unlock()
		b.w.keys[key] = true
		return b.Store.Put(ctx, key, data, o)
	}
	b.list = func(ctx context.Context, prefix, after string) iter.Seq2[driver.Info, error] {
		b.w.mu.Lock()
		defer b.w.mu.Unlock()
		hidden := b.w.keys
		b.w.keys = map[string]bool{}
		return b.filter(ctx, prefix, after, func(i *driver.Info) bool { return !hidden[i.Key] })
	}
}

// byOffset asks for "the next ones from number n on".
func byOffset(b *broken) {
	b.list = func(ctx context.Context, prefix, after string) iter.Seq2[driver.Info, error] {
		return func(yield func(driver.Info, error) bool) {
			for n := 0; ; n += 2 {
				list, err := driver.ListAll(ctx, b.Store, prefix, after)
				if err != nil {
					yield(driver.Info{}, err)
					return
				}
				list = list[min(n, len(list)):min(n+2, len(list))]
				for _, info := range list {
					if !yield(info, nil) {
						return
					}
				}
				if len(list) == 0 {
					return
				}
			}
		}
	}
}

var otherMutants = []mutant{
	{"keys-are-cleaned", "errors/illegal-keys-are-refused", func(b *broken) {
		b.put = func(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
			return b.Store.Put(ctx, strings.Trim(path.Clean(key), "/"), data, o)
		}
	}},
	{"keys-are-checked-one-by-one", "errors/illegal-key-among-legal-ones-deletes-nothing", func(b *broken) {
		b.delete = func(ctx context.Context, keys []string) error {
			for _, key := range keys {
				if err := b.Store.Delete(ctx, []string{key}); err != nil {
					return err
				}
			}
			return nil
		}
	}},
	{"an-illegal-prefix-matches-nothing", "errors/illegal-prefixes-are-refused", func(b *broken) {
		b.list = func(ctx context.Context, prefix, after string) iter.Seq2[driver.Info, error] {
			if driver.CheckPrefix(prefix) != nil {
				return infos(nil, nil)
			}
			return b.Store.List(ctx, prefix, after)
		}
	}},
	{"plain-errors", "errors/are-driver-errors-with-operation-and-path", func(b *broken) {
		b.stat = func(ctx context.Context, key string) (driver.Info, error) {
			info, err := b.Store.Stat(ctx, key)
			if err != nil {
				err = errors.New(err.Error())
			}
			return info, err
		}
	}},
	{"missing-matches-too-much", "errors/match-the-sentinels-of-io/fs", func(b *broken) {
		b.stat = func(ctx context.Context, key string) (driver.Info, error) {
			info, err := b.Store.Stat(ctx, key)
			if err != nil {
				err = fail("stat", key, driver.KindNotExist, context.Canceled)
			}
			return info, err
		}
	}},
	{"any-failure-is-not-exist", "errors/cancellation-is-never-not-exist", func(b *broken) {
		b.stat = func(ctx context.Context, key string) (driver.Info, error) {
			info, err := b.Store.Stat(ctx, key)
			if err != nil {
				err = fail("stat", key, driver.KindNotExist, err)
			}
			return info, err
		}
	}},
	{"the-secret-is-in-the-error", "errors/secrets-are-never-printed", func(b *broken) {
		b.stat = func(ctx context.Context, key string) (driver.Info, error) {
			info, err := b.Store.Stat(ctx, key)
			if err != nil {
				err = fail("stat", "http://user:hunter2secret@host/"+key, driver.KindOf(err), err)
			}
			return info, err
		}
	}},
	{"capabilities-change", "capabilities/are-sane-and-constant", func(b *broken) {
		b.caps = func() driver.Capabilities {
			c := b.Store.Capabilities()
			b.w.n++
			c.Concurrency += b.w.n
			return c
		}
	}},
	{"a-closed-handle-goes-on", "close/then-every-call-is-refused", func(b *broken) {
		b.close = func() error { return nil }
	}},
	{"a-second-close-is-an-error", "close/may-be-called-again", func(b *broken) {
		var closed atomic.Bool
		b.close = func() error {
			if closed.Swap(true) {
				return fail("close", "", driver.KindClosed, nil)
			}
			return b.Store.Close()
		}
	}},
	{"close-closes-all-handles", "close/leaves-other-handles-alone", func(b *broken) {
		b.put = func(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
			b.w.mu.Lock()
			defer b.w.mu.Unlock()
			if b.w.n > 0 {
				return fail("put", key, driver.KindClosed, nil)
			}
			return b.Store.Put(ctx, key, data, o)
		}
		b.close = func() error {
			b.w.mu.Lock()
			defer b.w.mu.Unlock()
			b.w.n++
			return b.Store.Close()
		}
	}},
	{"a-closing-store-has-no-objects", "close/while-requests-are-under-way", func(b *broken) {
		b.get = func(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
			r, err := b.Store.Get(ctx, key, off, n)
			if driver.KindOf(err) == driver.KindClosed {
				err = fail("get", key, driver.KindNotExist, nil)
			}
			return r, err
		}
		b.put = func(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
			if err := b.Store.Put(ctx, key, data, o); driver.KindOf(err) != driver.KindClosed {
				return err
			}
			return nil
		}
	}},
	{"close-leaves-a-goroutine", "close/ends-every-goroutine", func(b *broken) {
		go func() { // what a forgotten reaper of idle connections does; ends with the test
			time.Sleep(30 * time.Second)
		}()
	}},
}
