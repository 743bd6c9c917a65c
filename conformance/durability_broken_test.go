package conformance_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/forst-go/forst/conformance"
	"github.com/forst-go/forst/forstfs/driver"
)

// forgetful are stores that forget what they have acknowledged, at once or later.
var forgetful = []mutant{
	{name: "every-7th-create-is-acknowledged-and-forgotten", make: func(b *broken) {
		b.put = func(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
			if b.w.count()%7 == 0 {
				return nil
			}
			return b.Store.Put(ctx, key, data, o)
		}
	}},
	{name: "what-is-forty-changes-old-is-gone", make: func(b *broken) {
		b.put = func(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
			err := b.Store.Put(ctx, key, data, o)
			if n := b.w.count(); err == nil {
				b.w.mu.Lock()
				b.w.data[fmt.Sprint(n)] = []byte(key)
				old := string(b.w.data[fmt.Sprint(n-40)])
				b.w.mu.Unlock()
				if n%5 == 0 && old != "" {
					_ = b.Store.Delete(ctx, []string{old})
				}
			}
			return err
		}
	}},
	{name: "deletions-are-acknowledged-and-forgotten", make: func(b *broken) {
		b.delete = func(ctx context.Context, keys []string) error {
			if b.w.count()%2 == 0 {
				return nil
			}
			return b.Store.Delete(ctx, keys)
		}
	}},
	{name: "every-9th-object-gets-a-wrong-bit-later", make: func(b *broken) {
		b.put = func(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
			err := b.Store.Put(ctx, key, data, o)
			if err == nil && b.w.count()%9 == 0 && len(data) > 0 {
				bad := append([]byte(nil), data...)
				bad[len(bad)/2] ^= 16
				_ = b.Store.Put(ctx, key, bad, driver.PutOptions{})
			}
			return err
		}
	}},
}

func (w *world) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.n++
	return w.n
}

// TestForgetfulStores: the case that reads back catches each of them; so does every crash case, which without reading back would see only what the store has
// acknowledged.
func TestForgetfulStores(t *testing.T) {
	for _, m := range forgetful {
		cases := 0
		for _, c := range conformance.DurabilityCases() {
			group, _, _ := strings.Cut(c.Name, "/")
			if group != "readback" && (group != "crash" || strings.HasPrefix(m.name, "deletions")) { // not every workload deletes
				continue
			}
			cases++
			t.Run(m.name+"/"+c.Name, func(t *testing.T) {
				rec := conformance.Record(t.Context(), c.Name, t.TempDir, func(tb conformance.TB) { c.Run(tb, brokenMaker(m)) })
				if !rec.Failed() {
					t.Fatal("not caught")
				}
				t.Logf("caught: %.200s", strings.Join(rec.Failures()[:1], ""))
			})
		}
		if cases == 0 {
			t.Errorf("%s: no case ran", m.name)
		}
	}
}
