package conformance_test

import (
	"context"
	"errors"
	"io"
	"iter"
	"path"
	"strings"
	"sync/atomic"
	"time"

	"github.com/forst-go/forst/forstfs/driver"
)

var otherMutants = []mutant{
	{"contexts-of-reads-are-kept", "kept/nothing-of-calls-that-are-over", func(b *broken) {
		var all []context.Context
		b.get = func(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
			all = append(all, ctx)
			return b.Store.Get(ctx, key, off, n)
		}
	}},
	{"contexts-of-lists-are-kept", "kept/nothing-of-calls-that-are-over", func(b *broken) {
		stops := map[context.Context]func() bool{}
		b.list = func(ctx context.Context, prefix, after string) iter.Seq2[driver.Info, error] {
			stops[ctx] = context.AfterFunc(ctx, func() {})
			return b.Store.List(ctx, prefix, after)
		}
	}},
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
