package conformance_test

import (
	"cmp"
	"context"
	"iter"
	"path"
	"slices"
	"strings"

	"github.com/forst-go/forst/forstfs/driver"
)

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
	{"the-mark-of-a-page-is-unescaped-twice", "list/more-than-1000-keys", func(b *broken) {
		b.list = func(ctx context.Context, prefix, after string) iter.Seq2[driver.Info, error] {
			list, err := driver.ListAll(ctx, b.Store, prefix, after)
			if len(list) > 1000 {
				mark := strings.ReplaceAll(list[999].Key, "+", " ") // which is before it
				rest := slices.DeleteFunc(slices.Clone(list), func(i driver.Info) bool { return i.Key <= mark })
				list = append(list[:1000:1000], rest...)
			}
			return infos(list, err)
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
