package conformance_test

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/forst-go/forst/forstfs/driver"
)

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
	{"a-body-in-one-piece-drops-the-condition", "if-absent/refuses-at-every-size", func(b *broken) {
		b.put = func(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
			o.IfAbsent = o.IfAbsent && (len(data) < 128<<10 || len(data) >= 5<<20)
			return b.Store.Put(ctx, key, data, o)
		}
	}},
	{"a-race-is-a-conflict-for-all", "if-absent/race-of-16-has-one-winner", func(b *broken) {
		b.put = func(ctx context.Context, key string, data []byte, o driver.PutOptions) error { // 409 for everybody, and one of them has landed
			b.w.mu.Lock()
			b.w.n++
			first := b.w.n == 1
			b.w.mu.Unlock()
			b.pause()
			err := b.Store.Put(ctx, key, data, o)
			b.w.mu.Lock()
			defer b.w.mu.Unlock()
			if alone := first && b.w.n == 1; o.IfAbsent && !alone {
				err = fail("put", key, driver.KindTransient, errors.New("ConditionalRequestConflict"))
			}
			return err
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
				b.pause()
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
				b.pause()
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
			b.pause()
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
			b.pause()
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
	{"a-batch-says-nothing-of-failed-keys", "delete/of-more-than-1000-keys", func(b *broken) {
		b.delete = func(ctx context.Context, keys []string) error {
			if len(keys) < 100 {
				return b.Store.Delete(ctx, keys)
			}
			return b.Store.Delete(ctx, slices.Delete(slices.Clone(keys), 497, 499))
		}
	}},
	{"a-page-of-deleted-keys-ends-a-list", "delete/of-more-than-1000-keys", func(b *broken) {
		b.put = func(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
			b.w.mu.Lock()
			b.w.keys[key] = true
			b.w.mu.Unlock()
			return b.Store.Put(ctx, key, data, o)
		}
		b.list = func(ctx context.Context, prefix, after string) iter.Seq2[driver.Info, error] {
			list, err := driver.ListAll(ctx, b.Store, prefix, after)
			b.w.mu.Lock()
			defer b.w.mu.Unlock()
			names := slices.DeleteFunc(slices.Sorted(maps.Keys(b.w.keys)), func(k string) bool { return !strings.HasPrefix(k, prefix) || k <= after })
			for page := range slices.Chunk(names, 1000) {
				if !slices.ContainsFunc(list, func(i driver.Info) bool { return page[0] <= i.Key && i.Key <= page[len(page)-1] }) {
					list = slices.DeleteFunc(list, func(i driver.Info) bool { return i.Key > page[0] })
				}
			}
			return infos(list, err)
		}
	}},
	{"delete-takes-a-prefix", "delete/takes-only-what-is-named", func(b *broken) { b.delete = deletePrefix(b, "") }},
	{"delete-is-recursive", "delete/of-a-prefix-takes-nothing", func(b *broken) { b.delete = deletePrefix(b, "/") }},
	{"second-deleter-gets-an-error", "delete/one-key-from-many-callers", func(b *broken) {
		b.delete = func(ctx context.Context, keys []string) error {
			was := b.exists(ctx, keys[0])
			b.pause()
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
