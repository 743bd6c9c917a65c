package conformance_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
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
			pause()
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
			pause()
			_ = b.Store.Delete(ctx, []string{key})
			pause()
			return b.Store.Put(ctx, key, data, o)
		}
	}},
	{"overwrite-deletes-first", "atomic/readers-see-one-version-of-a-replaced-object", func(b *broken) {
		b.put = func(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
			if b.exists(ctx, key) && !o.IfAbsent {
				_ = b.Store.Delete(ctx, []string{key})
				pause()
			}
			return b.Store.Put(ctx, key, data, o)
		}
	}},
	{"overwrite-in-place", "atomic/readers-see-one-version-of-a-replaced-object", inPlace},
	{"overwrite-truncates-first", "atomic/stat-and-list-see-one-version-of-a-replaced-object", func(b *broken) {
		b.put = func(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
			if b.exists(ctx, key) && !o.IfAbsent {
				_ = b.Store.Put(ctx, key, nil, o)
				pause()
			}
			return b.Store.Put(ctx, key, data, o)
		}
	}},
	{"racing-writers-mix", "atomic/racing-replacements-leave-one-whole", func(b *broken) {
		b.put = func(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
			_ = b.Store.Put(ctx, key, data, o)
			pause()
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
			pause()
			return b.Store.Put(ctx, key, data, driver.PutOptions{})
		}
	}
}

func inPlace(b *broken) {
	b.put = func(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
		if old, err := driver.ReadAll(ctx, b.w.root, key); err == nil && !o.IfAbsent {
			mixed := append(bytes.Clone(data[:len(data)/2]), old[min(len(old), len(data)/2):]...)
			_ = b.Store.Put(ctx, key, mixed, o)
			pause()
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

var ifAbsentMutants = []mutant{
	{"if-absent-ignored", "if-absent/refuses-and-keeps-the-first-bytes", func(b *broken) {
		b.put = func(ctx context.Context, key string, data []byte, _ driver.PutOptions) error {
			return b.Store.Put(ctx, key, data, driver.PutOptions{})
		}
	}},
	{"if-absent-answers-success-and-does-nothing", "if-absent/refuses-and-keeps-the-first-bytes", func(b *broken) {
		b.put = func(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
			if err := b.Store.Put(ctx, key, data, o); driver.KindOf(err) != driver.KindExist {
				return err
			}
			return nil
		}
	}},
	{"if-absent-overwrites-and-says-no", "if-absent/refuses-and-keeps-the-first-bytes", func(b *broken) {
		b.put = func(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
			err := b.Store.Put(ctx, key, data, o)
			if err != nil {
				_ = b.Store.Put(ctx, key, data, driver.PutOptions{})
			}
			return err
		}
	}},
	{"if-absent-never-creates", "if-absent/creates", func(b *broken) {
		b.put = func(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
			if o.IfAbsent {
				return fail("put", key, driver.KindExist, nil)
			}
			return b.Store.Put(ctx, key, data, o)
		}
	}},
	{"the-same-bytes-again-are-success", "if-absent/refuses-what-it-created-itself", func(b *broken) {
		b.put = func(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
			err := b.Store.Put(ctx, key, data, o)
			if old, rerr := driver.ReadAll(ctx, b.Store, key); rerr == nil && bytes.Equal(old, data) {
				return nil
			}
			return err
		}
	}},
	{"an-empty-object-counts-as-absent", "if-absent/refuses-over-an-empty-object", func(b *broken) {
		b.put = func(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
			if info, err := b.Store.Stat(ctx, key); err == nil && info.Size == 0 {
				o.IfAbsent = false
			}
			return b.Store.Put(ctx, key, data, o)
		}
	}},
	{"an-empty-body-drops-the-condition", "if-absent/refuses-an-empty-object", func(b *broken) {
		b.put = func(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
			return b.Store.Put(ctx, key, data, driver.PutOptions{IfAbsent: o.IfAbsent && len(data) > 0})
		}
	}},
	{"a-multipart-upload-drops-the-condition", "if-absent/refuses-a-big-object", func(b *broken) {
		b.put = func(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
			return b.Store.Put(ctx, key, data, driver.PutOptions{IfAbsent: o.IfAbsent && len(data) < 8<<20})
		}
	}},
	{"a-lost-create-is-transient", "if-absent/loser-matches-fs.ErrExist", func(b *broken) {
		b.put = func(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
			err := b.Store.Put(ctx, key, data, o)
			if driver.KindOf(err) == driver.KindExist {
				return fail("put", key, driver.KindTransient, errors.New("412"))
			}
			return err
		}
	}},
	{"deleted-names-stay-taken", "if-absent/creates-again-after-delete", func(b *broken) {
		b.put = func(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
			b.w.mu.Lock()
			defer b.w.mu.Unlock()
			if b.w.keys[key] && o.IfAbsent {
				return fail("put", key, driver.KindExist, nil)
			}
			b.w.keys[key] = true
			return b.Store.Put(ctx, key, data, o)
		}
	}},
	{"if-absent-knows-only-its-own-handle", "if-absent/sees-what-another-handle-created", func(b *broken) {
		mine := map[string]bool{}
		b.put = func(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
			if o.IfAbsent && mine[key] {
				return fail("put", key, driver.KindExist, nil)
			}
			mine[key] = true
			return b.Store.Put(ctx, key, data, driver.PutOptions{})
		}
	}},
	{"created-objects-are-locked", "if-absent/does-not-hinder-a-plain-put", func(b *broken) {
		b.put = func(ctx context.Context, key string, data []byte, _ driver.PutOptions) error {
			return b.Store.Put(ctx, key, data, driver.PutOptions{IfAbsent: true})
		}
	}},
	{"check-then-put-2", "if-absent/race-of-2-has-one-winner", checkThenPut},
	{"check-then-put-16", "if-absent/race-of-16-has-one-winner", checkThenPut},
	{"check-then-put-64", "if-absent/race-of-64-has-one-winner", checkThenPut},
	{"check-then-put-of-big-objects", "if-absent/race-of-big-objects-has-one-winner", func(b *broken) {
		b.put = func(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
			if o.IfAbsent && len(data) >= 1<<20 {
				if b.exists(ctx, key) {
					return fail("put", key, driver.KindExist, nil)
				}
				pause()
				o.IfAbsent = false
			}
			return b.Store.Put(ctx, key, data, o)
		}
	}},
	{"check-then-put-under-a-lock-of-the-handle", "if-absent/race-between-handles-has-one-winner", func(b *broken) {
		var mu sync.Mutex
		checkThenPut(b)
		racy := b.put
		b.put = func(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
			mu.Lock()
			defer mu.Unlock()
			return racy(ctx, key, data, o)
		}
	}},
	{"check-then-put-run", "if-absent/race-for-a-run-of-keys", checkThenPut},
	{"the-loser-s-bytes-flash-up", "if-absent/race-against-readers", func(b *broken) {
		b.put = func(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
			if b.exists(ctx, key) {
				old, _ := driver.ReadAll(ctx, b.Store, key)
				_ = b.Store.Put(ctx, key, append(bytes.Clone(old[:10]), data[10:]...), driver.PutOptions{})
				pause()
				_ = b.Store.Put(ctx, key, old, driver.PutOptions{})
			}
			return b.Store.Put(ctx, key, data, o)
		}
	}},
	{"the-name-is-taken-before-the-bytes-are-there", "if-absent/loser-can-read-the-winner-at-once", func(b *broken) {
		b.put = func(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
			b.w.mu.Lock()
			taken := b.w.keys[key]
			b.w.keys[key] = true
			b.w.mu.Unlock()
			if taken && o.IfAbsent {
				return fail("put", key, driver.KindExist, nil)
			}
			pause()
			return b.Store.Put(ctx, key, data, driver.PutOptions{})
		}
	}},
}

func checkThenPut(b *broken) {
	b.put = func(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
		if o.IfAbsent {
			if b.exists(ctx, key) {
				return fail("put", key, driver.KindExist, nil)
			}
			pause()
		}
		return b.Store.Put(ctx, key, data, driver.PutOptions{})
	}
}

var deleteMutants = []mutant{
	{"delete-does-nothing", "delete/removes", func(b *broken) {
		b.delete = func(context.Context, []string) error { return nil }
	}},
	{"deleting-a-missing-key-is-an-error", "delete/of-a-missing-key-is-success", func(b *broken) {
		b.delete = func(ctx context.Context, keys []string) error {
			for _, key := range keys {
				if !b.exists(ctx, key) {
					return fail("delete", key, driver.KindNotExist, nil)
				}
			}
			return b.Store.Delete(ctx, keys)
		}
	}},
	{"delete-stops-at-a-missing-key", "delete/of-present-and-missing-keys", func(b *broken) {
		b.delete = func(ctx context.Context, keys []string) error {
			for _, key := range keys {
				if !b.exists(ctx, key) {
					return nil
				}
				_ = b.Store.Delete(ctx, []string{key})
			}
			return nil
		}
	}},
	{"no-keys-means-all-keys", "delete/of-no-keys", func(b *broken) {
		b.delete = func(ctx context.Context, keys []string) error {
			if len(keys) == 0 {
				for info := range b.w.root.List(ctx, "", "") {
					keys = append(keys, info.Key)
				}
			}
			return b.Store.Delete(ctx, keys)
		}
	}},
	{"a-key-named-twice-is-an-error", "delete/of-one-key-named-twice", func(b *broken) {
		b.delete = func(ctx context.Context, keys []string) error {
			if len(slices.Compact(slices.Sorted(slices.Values(keys)))) != len(keys) {
				return fail("delete", keys[0], driver.KindOther, errors.New("MalformedXML"))
			}
			return b.Store.Delete(ctx, keys)
		}
	}},
	{"delete-ends-at-1000-keys", "delete/of-more-than-1000-keys", func(b *broken) {
		b.delete = func(ctx context.Context, keys []string) error {
			return b.Store.Delete(ctx, keys[:min(len(keys), 1000)])
		}
	}},
	{"delete-takes-a-prefix", "delete/takes-only-what-is-named", func(b *broken) { b.delete = deletePrefix(b, "") }},
	{"delete-is-recursive", "delete/of-a-prefix-takes-nothing", func(b *broken) { b.delete = deletePrefix(b, "/") }},
	{"second-deleter-gets-an-error", "delete/one-key-from-many-callers", func(b *broken) {
		b.delete = func(ctx context.Context, keys []string) error {
			was := b.exists(ctx, keys[0])
			pause()
			b.w.mu.Lock()
			defer b.w.mu.Unlock()
			if was && !b.exists(ctx, keys[0]) {
				return fail("delete", keys[0], driver.KindTransient, errors.New("conflict"))
			}
			return b.Store.Delete(ctx, keys)
		}
	}},
	{"a-late-delete-hits-the-next-object", "delete/and-put-again", func(b *broken) {
		b.put = func(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
			err := b.Store.Put(ctx, key, data, o)
			b.w.mu.Lock()
			defer b.w.mu.Unlock()
			if b.w.keys[key] {
				_ = b.Store.Delete(ctx, []string{key})
			}
			return err
		}
		b.delete = func(ctx context.Context, keys []string) error {
			b.w.mu.Lock()
			defer b.w.mu.Unlock()
			for _, key := range keys {
				b.w.keys[key] = true
			}
			return b.Store.Delete(ctx, keys)
		}
	}},
	{"delete-ignores-the-context", "delete/with-an-ended-context", func(b *broken) {
		b.delete = func(ctx context.Context, keys []string) error {
			return b.Store.Delete(context.WithoutCancel(ctx), keys)
		}
	}},
	{"delete-sorts-its-argument", "delete/does-not-modify-its-argument", func(b *broken) {
		b.delete = func(ctx context.Context, keys []string) error {
			slices.Sort(keys)
			return b.Store.Delete(ctx, keys)
		}
	}},
}

func deletePrefix(b *broken, sep string) func(context.Context, []string) error {
	return func(ctx context.Context, keys []string) error {
		for _, key := range keys {
			for info := range b.w.root.List(ctx, key+sep, "") {
				_ = b.w.root.Delete(ctx, []string{info.Key})
			}
		}
		return b.Store.Delete(ctx, keys)
	}
}
