package conformance_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/forst-go/forst/forstfs/driver"
)

var putMutants = []mutant{
	{"put-returns-before-it-is-visible", "put/is-seen-by-get", func(b *broken) {
		b.put = func(_ context.Context, key string, data []byte, o driver.PutOptions) error {
			data = bytes.Clone(data)
			time.AfterFunc(20*time.Millisecond, func() { _ = b.w.root.Put(context.Background(), key, data, o) })
			return nil
		}
	}},
	{"stat-is-behind", "put/is-seen-by-stat", func(b *broken) {
		b.stat = func(_ context.Context, key string) (driver.Info, error) {
			return driver.Info{}, fail("stat", key, driver.KindNotExist, nil)
		}
	}},
	{"missing-keys-are-remembered", "put/is-seen-by-another-handle", func(b *broken) {
		missing := map[string]bool{}
		b.get = func(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
			if missing[key] {
				return nil, fail("get", key, driver.KindNotExist, nil)
			}
			r, err := b.Store.Get(ctx, key, off, n)
			missing[key] = err != nil
			return r, err
		}
	}},
	{"objects-are-cached-by-key", "put/is-seen-by-another-handle", func(b *broken) {
		seen := map[string][]byte{}
		b.get = func(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
			if data, ok := seen[key]; ok {
				return body(data, nil), nil
			}
			data, err := driver.ReadAll(ctx, b.Store, key)
			if err == nil {
				seen[key] = data
			}
			return body(data, nil), err
		}
	}},
	{"close-loses-everything", "put/is-there-after-reopen", func(b *broken) {
		b.close = func() error {
			for info := range b.w.root.List(context.Background(), "", "") {
				_ = b.w.root.Delete(context.Background(), []string{info.Key})
			}
			return b.Store.Close()
		}
	}},
	{"roots-share-their-keys", "put/roots-are-apart", func(b *broken) { b.Store = sharedRoot() }},
	{"empty-objects-are-dropped", "put/empty-object", func(b *broken) {
		b.put = func(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
			if len(data) == 0 {
				return nil
			}
			return b.Store.Put(ctx, key, data, o)
		}
	}},
	{"a-zero-byte-ends-an-object", "put/one-byte", func(b *broken) {
		b.put = func(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
			data, _, _ = bytes.Cut(data, []byte{0})
			return b.Store.Put(ctx, key, data, o)
		}
	}},
	{"objects-end-at-32-MiB", "put/64-MiB", func(b *broken) {
		b.put = func(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
			return b.Store.Put(ctx, key, data[:min(len(data), 32<<20)], o)
		}
	}},
	{"text-mode", "put/every-byte-value", func(b *broken) {
		b.put = func(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
			return b.Store.Put(ctx, key, bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n")), o)
		}
	}},
	{"sizes-are-rounded-to-pages", "put/sizes-around-buffers", func(b *broken) {
		b.put = func(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
			return b.Store.Put(ctx, key, append(bytes.Clone(data), make([]byte, (4096-len(data)%4096)%4096)...), o)
		}
	}},
	{"replacing-keeps-the-old-tail", "put/replaces-the-whole-object", func(b *broken) {
		b.put = func(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
			old, _ := driver.ReadAll(ctx, b.w.root, key)
			if len(old) > len(data) {
				data = append(bytes.Clone(data), old[len(data):]...)
			}
			return b.Store.Put(ctx, key, data, o)
		}
	}},
	{"put-keeps-the-buffer", "put/does-not-keep-data", func(b *broken) {
		b.put = func(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
			b.w.data[key] = data
			return b.Store.Put(ctx, key, data, o)
		}
		b.get = func(_ context.Context, key string, _, _ int64) (io.ReadCloser, error) {
			return body(b.w.data[key], nil), nil
		}
	}},
	{"put-appends-a-trailer-in-place", "put/does-not-modify-data", func(b *broken) {
		b.put = func(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
			framed := append(data, "crc!"...)
			return b.Store.Put(ctx, key, framed[:len(data)], o)
		}
	}},
	{"plus-means-space", "put/unusual-but-legal-keys", func(b *broken) {
		b.put = func(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
			return b.Store.Put(ctx, strings.ReplaceAll(key, "+", "_"), data, o)
		}
	}},
	{"keys-without-case", "put/upper-and-lower-case-differ", func(b *broken) {
		b.put = func(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
			return b.Store.Put(ctx, strings.ToLower(key), data, o)
		}
	}},
	{"child-replaces-parent", "put/key-below-an-object-harms-nothing", func(b *broken) {
		b.put = func(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
			if i := strings.LastIndexByte(key, '/'); i > 0 {
				_ = b.Store.Delete(ctx, []string{key[:i]})
			}
			return b.Store.Put(ctx, key, data, o)
		}
	}},
	{"parent-replaces-children", "put/key-above-an-object-harms-nothing", func(b *broken) {
		b.put = func(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
			for info := range b.w.root.List(ctx, key+"/", "") {
				_ = b.w.root.Delete(ctx, []string{info.Key})
			}
			return b.Store.Put(ctx, key, data, o)
		}
	}},
	{"directories-stay-for-ever", "put/key-that-was-a-directory", func(b *broken) {
		b.put = func(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
			b.w.mu.Lock()
			defer b.w.mu.Unlock()
			if b.w.keys[key] {
				return fail("put", key, driver.KindInvalid, errors.New("is a directory"))
			}
			for i := range key {
				if key[i] == '/' {
					b.w.keys[key[:i]] = true
				}
			}
			return b.Store.Put(ctx, key, data, o)
		}
	}},
	{"list-and-stat-disagree-on-time", "put/stat-and-list-agree-on-time", func(b *broken) {
		b.list = filterMutant(b, func(i *driver.Info) bool { i.ModTime = i.ModTime.Add(time.Hour); return true })
	}},
	{"one-temporary-file-for-all", "put/64-different-keys-at-once", func(b *broken) {
		var mu sync.Mutex
		var temp []byte
		b.put = func(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
			mu.Lock()
			temp = bytes.Clone(data)
			mu.Unlock()
			b.pause()
			mu.Lock()
			defer mu.Unlock()
			return b.Store.Put(ctx, key, temp, o)
		}
	}},
	{"temporary-objects-stay", "put/leaves-nothing-else", func(b *broken) {
		b.put = func(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
			if o.IfAbsent {
				_ = b.Store.Put(ctx, key+".tmp", data, driver.PutOptions{})
			}
			return b.Store.Put(ctx, key, data, o)
		}
	}},
	{"put-is-visible-while-it-is-written", "atomic/readers-see-all-of-a-new-object-or-nothing", inParts(false)},
	{"a-growing-object-is-listed", "atomic/lists-see-all-of-a-new-object-or-nothing", inParts(false)},
	{"create-reserves-the-name-first", "atomic/create-if-absent-shows-no-part", inParts(true)},
	{"object-vanishes-between-rename-steps", "atomic/an-object-once-seen-stays", func(b *broken) {
		b.put = func(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
			_ = b.Store.Put(ctx, key, data, o)
			b.pause()
			_ = b.Store.Delete(ctx, []string{key})
			b.pause()
			return b.Store.Put(ctx, key, data, o)
		}
	}},
	{"overwrite-deletes-first", "atomic/readers-see-one-version-of-a-replaced-object", func(b *broken) {
		b.put = func(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
			if b.exists(ctx, key) && !o.IfAbsent {
				_ = b.Store.Delete(ctx, []string{key})
				b.pause()
			}
			return b.Store.Put(ctx, key, data, o)
		}
	}},
	{"overwrite-in-place", "atomic/readers-see-one-version-of-a-replaced-object", inPlace},
	{"overwrite-truncates-first", "atomic/stat-and-list-see-one-version-of-a-replaced-object", func(b *broken) {
		b.put = func(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
			if b.exists(ctx, key) && !o.IfAbsent {
				_ = b.Store.Put(ctx, key, nil, o)
				b.pause()
			}
			return b.Store.Put(ctx, key, data, o)
		}
	}},
	{"racing-writers-mix", "atomic/racing-replacements-leave-one-whole", func(b *broken) {
		b.put = func(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
			_ = b.Store.Put(ctx, key, data, o)
			b.pause()
			now, _ := driver.ReadAll(ctx, b.Store, key)
			return b.Store.Put(ctx, key, append(bytes.Clone(data[:len(data)/2]), now[min(len(now), len(data)/2):]...), o)
		}
	}},
	{"readers-follow-the-key", "atomic/a-reader-keeps-its-version-or-fails", func(b *broken) {
		b.get = func(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
			return &following{b: b, ctx: ctx, key: key}, nil
		}
	}},
	{"cancelled-put-leaves-a-part", "cancel/a-cancelled-put-leaves-all-or-nothing", partOnCancel},
	{"cancelled-create-leaves-a-part", "cancel/a-cancelled-create-can-be-repeated", partOnCancel},
	{"cancelled-replacement-leaves-a-part", "cancel/a-cancelled-replacement-leaves-old-or-new", partOnCancel},
	{"put-ignores-the-context", "cancel/put-with-an-ended-context", func(b *broken) {
		b.put = func(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
			return b.Store.Put(context.WithoutCancel(ctx), key, data, o)
		}
	}},
	{"deadlines-look-like-cancellation", "cancel/deadline-that-has-passed", func(b *broken) {
		b.put = func(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
			if ctx.Err() != nil {
				return fail("put", key, driver.KindOther, context.Canceled)
			}
			return b.Store.Put(ctx, key, data, o)
		}
	}},
	{"copy-does-nothing", "copy/copies-the-whole-object", func(b *broken) {
		b.copy = func(context.Context, string, string) error { return nil }
	}},
	{"copy-of-nothing-makes-an-empty-object", "copy/of-a-missing-object", func(b *broken) {
		b.copy = func(ctx context.Context, src, dst string) error {
			data, _ := driver.ReadAll(ctx, b.Store, src)
			return b.Store.Put(ctx, dst, data, driver.PutOptions{})
		}
	}},
}

// inParts shows half of an object for a while.
func inParts(absent bool) func(*broken) {
	return func(b *broken) {
		b.put = func(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
			if o.IfAbsent != absent {
				return b.Store.Put(ctx, key, data, o)
			}
			if err := b.Store.Put(ctx, key, data[:len(data)/2], o); err != nil {
				return err
			}
			b.pause()
			return b.Store.Put(ctx, key, data, driver.PutOptions{})
		}
	}
}

func inPlace(b *broken) {
	b.put = func(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
		if old, err := driver.ReadAll(ctx, b.w.root, key); err == nil && !o.IfAbsent {
			mixed := append(bytes.Clone(data[:len(data)/2]), old[min(len(old), len(data)/2):]...)
			_ = b.Store.Put(ctx, key, mixed, o)
			b.pause()
		}
		return b.Store.Put(ctx, key, data, o)
	}
}

// partOnCancel writes slowly and leaves what it has when it is told to stop.
func partOnCancel(b *broken) {
	b.put = func(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
		const parts = 32
		for i := range parts {
			if err := ctx.Err(); err != nil {
				_ = b.w.root.Put(context.Background(), key, data[:i*len(data)/parts], driver.PutOptions{})
				return fail("put", key, driver.KindOther, err)
			}
			time.Sleep(500 * time.Microsecond)
		}
		return b.Store.Put(ctx, key, data, o)
	}
}

// following reads whatever the key holds now and takes a deleted object for the end.
type following struct {
	b   *broken
	ctx context.Context
	key string
	off int64
}

func (r *following) Read(p []byte) (int, error) {
	data, _ := driver.ReadAll(r.ctx, r.b.w.root, r.key)
	if r.off >= int64(len(data)) {
		return 0, io.EOF
	}
	n := copy(p, data[r.off:])
	r.off += int64(n)
	return n, nil
}

func (r *following) Close() error { return nil }
