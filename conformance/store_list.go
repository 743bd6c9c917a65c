package conformance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/forst-go/forst/forstfs/driver"
)

// orderKeys is a set in which the order of names in a directory is not the order of keys.
var orderKeys = []string{
	"m-1", "m.1", "m/1", "m/1x", "m0", "m1/a", "m=", "mA", "m_", "ma", "m~", "m+", "m,", "m@",
	"d/a/x", "d/a-b", "d/a.b/c", "d/ab", "d/a=1/z", "d/a/-", "d/a/~/q", "d/A/x", "d/a+/x", "Z", "z/z", "0/0/0",
}

var storeListCases = []StoreCase{
	{"list/empty-store", func(e *storeEnv) {
		e.wantList(e.s, "", "")
		e.wantList(e.s, "some/prefix", "")
		e.wantList(e.s, "", "some/key")
	}},
	{"list/ascending-byte-order", func(e *storeEnv) {
		e.putAll(orderKeys...)
		want := slices.Sorted(slices.Values(orderKeys))
		if got := e.list(e.s, "", ""); !slices.Equal(got, want) {
			e.Errorf("List gives\n %q, want\n %q", got, want)
		}
	}},
	{"list/sizes", func(e *storeEnv) {
		for i := range 10 {
			e.put(fmt.Sprintf("size/%d", i), blob(1, i*1000))
		}
		i := int64(0)
		for info, err := range e.s.List(e.ctx, "size/", "") {
			if err != nil || info.Size != i*1000 {
				e.Errorf("number %d: %+v, %v", i, info, err)
			}
			i++
		}
	}},
	{"list/more-than-1000-keys", func(e *storeEnv) {
		s := e.bigStore()
		got := e.list(s, "", "")
		if len(got) != bigKeys {
			e.Errorf("List gives %d keys, want %d", len(got), bigKeys)
		}
		for i, key := range got[:min(len(got), bigKeys)] {
			if key != bigKey(i) {
				e.Fatalf("key number %d is %s, want %s", i, key, bigKey(i))
			}
		}
	}},
	{"list/start-after-in-a-big-store", func(e *storeEnv) {
		s := e.bigStore()
		for _, i := range []int{0, 1, 399, 400, 998, 999, 1000, 1001, bigKeys - 2, bigKeys - 1} {
			got := e.list(s, "", bigKey(i))
			if len(got) != bigKeys-1-i {
				e.Errorf("after key %d List gives %d keys, want %d", i, len(got), bigKeys-1-i)
			} else if len(got) > 0 && got[0] != bigKey(i+1) {
				e.Errorf("after key %d List begins with %s", i, got[0])
			}
		}
	}},
	{"list/prefix-in-a-big-store", func(e *storeEnv) {
		s := e.bigStore()
		for prefix, want := range map[string]int{"big/": bigKeys, "big/00/": 400, "big/02": bigKeys - 800, "big/01/0041": 10, "big/03": 0} {
			if got := e.list(s, prefix, ""); len(got) != want {
				e.Errorf("List %q gives %d keys, want %d", prefix, len(got), want)
			}
		}
		if got := e.list(s, "big/01/", bigKey(400)); len(got) != 399 {
			e.Errorf("prefix and start-after: %d keys, want 399", len(got))
		}
	}},
	{"list/start-after-is-exclusive", func(e *storeEnv) {
		e.putAll("k/a", "k/b", "k/c")
		e.wantList(e.s, "", "k/a", "k/b", "k/c")
		e.wantList(e.s, "k/", "k/b", "k/c")
		e.wantList(e.s, "k/", "k/c")
		e.wantList(e.s, "k/b", "k/b")
	}},
	{"list/start-after-a-missing-key", func(e *storeEnv) {
		e.putAll("k/a", "k/c", "k/e/1", "k/e/2")
		e.wantList(e.s, "", "k/b", "k/c", "k/e/1", "k/e/2")
		e.wantList(e.s, "", "k/aa", "k/c", "k/e/1", "k/e/2")
		e.wantList(e.s, "", "k/e", "k/e/1", "k/e/2")
		e.wantList(e.s, "", "k/e/", "k/e/1", "k/e/2")
		e.wantList(e.s, "", "k/e/1~", "k/e/2")
		e.wantList(e.s, "", "k/f")
	}},
	{"list/start-after-outside-the-prefix", func(e *storeEnv) {
		e.putAll("a/1", "b/1", "b/2", "c/1")
		e.wantList(e.s, "b/", "a/1", "b/1", "b/2")
		e.wantList(e.s, "b/", "a", "b/1", "b/2")
		e.wantList(e.s, "b/", "b", "b/1", "b/2")
		e.wantList(e.s, "b/", "c/1")
		e.wantList(e.s, "b/", "z")
	}},
	{"list/start-after-walks-the-whole-store", func(e *storeEnv) {
		e.putAll(orderKeys...)
		want := slices.Sorted(slices.Values(orderKeys))
		after := ""
		for i := 0; ; i++ {
			got := e.list(e.s, "", after)
			if len(got) != len(want)-i {
				e.Fatalf("after %q: %d keys, want %d", after, len(got), len(want)-i)
			}
			if len(got) == 0 {
				break
			}
			if got[0] != want[i] {
				e.Errorf("after %q comes %q, want %q", after, got[0], want[i])
			}
			after = got[0]
		}
	}},
	{"list/prefix-in-the-middle-of-a-segment", func(e *storeEnv) {
		e.putAll("ab/1", "ab1", "a/1", "ac", "abc/d/e", "b")
		e.wantList(e.s, "ab", "", "ab/1", "ab1", "abc/d/e")
		e.wantList(e.s, "a", "", "ab/1", "ab1", "a/1", "ac", "abc/d/e")
		e.wantList(e.s, "abc/d", "", "abc/d/e")
	}},
	{"list/prefix-with-a-slash-is-a-directory", func(e *storeEnv) {
		e.putAll("ab/1", "ab/2/3", "ab1", "abc")
		e.wantList(e.s, "ab/", "", "ab/1", "ab/2/3")
		e.wantList(e.s, "ab/2/", "", "ab/2/3")
	}},
	{"list/prefix-equal-to-a-key", func(e *storeEnv) {
		e.putAll("ab", "abc", "a")
		e.wantList(e.s, "ab", "", "ab", "abc")
		e.wantList(e.s, "abc", "", "abc")
	}},
	{"list/prefix-that-matches-nothing", func(e *storeEnv) {
		e.putAll("ab/1", "ac")
		for _, p := range []string{"b", "ab/1/", "ab/2", "abc", "ac/", "A", "ab/11"} {
			e.wantList(e.s, p, "")
		}
	}},
	{"list/every-prefix-of-every-key", func(e *storeEnv) {
		keys := orderKeys[:12]
		e.putAll(keys...)
		for _, key := range keys {
			for i := range len(key) + 1 {
				var want []string
				for _, k := range keys {
					if strings.HasPrefix(k, key[:i]) {
						want = append(want, k)
					}
				}
				e.wantList(e.s, key[:i], "", want...)
			}
		}
	}},
	{"list/right-after-put", func(e *storeEnv) {
		other := e.handle()
		var want []string
		for i := range 20 {
			key := fmt.Sprintf("fresh/%02d", (i*7)%20)
			e.putAll(key)
			want = append(want, key)
			e.wantList(e.s, "fresh/", "", want...)
			e.wantList(other, "fresh/", "", want...)
		}
	}},
	{"list/right-after-create-if-absent", func(e *storeEnv) {
		for i := range 20 {
			key := fmt.Sprintf("fresh/%02d", i)
			if err := e.create(key, []byte("x")); err != nil {
				e.Errorf("Put: %v", err)
			}
			if got := e.list(e.s, "fresh/", ""); len(got) != i+1 || got[i] != key {
				e.Errorf("right after the Put of %s List gives %q", key, got)
			}
		}
	}},
	{"list/right-after-delete", func(e *storeEnv) {
		other := e.handle()
		var want []string
		for i := range 12 {
			want = append(want, fmt.Sprintf("k/%02d", i))
		}
		e.putAll(want...)
		for len(want) > 0 {
			i := len(want) * 2 / 3
			if err := e.s.Delete(e.ctx, want[i:i+1]); err != nil {
				e.Errorf("Delete: %v", err)
			}
			want = slices.Delete(want, i, i+1)
			e.wantList(e.s, "k/", "", want...)
			e.wantList(other, "k/", "", want...)
		}
	}},
	{"list/shows-replaced-sizes-at-once", func(e *storeEnv) {
		for i := range 10 {
			e.put("key", blob(1, 10+i))
			for info, err := range e.s.List(e.ctx, "", "") {
				if err != nil || info.Size != int64(10+i) {
					e.Errorf("after a Put of %d bytes: %+v, %v", 10+i, info, err)
				}
			}
		}
	}},
	{"list/while-others-come-and-go", func(e *storeEnv) {
		var stable []string
		for i := range 40 {
			stable = append(stable, fmt.Sprintf("k/%02d-stable", i))
		}
		e.putAll(stable...)
		// First by turns: what comes and goes lies behind the reader.
		for _, churn := range [][]string{{"k/00-turn0"}, {"k/00-turn0", "k/00-turn1", "k/00-turn2"}} {
			var got []string
			for info, err := range e.s.List(e.ctx, "k/", "") {
				if err != nil {
					e.Fatalf("List: %v", err)
				}
				if strings.HasSuffix(info.Key, "stable") {
					got = append(got, info.Key)
				}
				switch len(got) {
				case 10:
					e.putAll(churn...)
				case 25:
					if err := e.s.Delete(e.ctx, churn); err != nil {
						e.Fatalf("Delete: %v", err)
					}
				}
			}
			if !slices.Equal(got, stable) {
				e.Errorf("List gives %d of %d stable keys while others come and go behind it", len(got), len(stable))
			}
		}
		e.watch(func() {
			e.parallel(3, func(w int) {
				for i := range 30 {
					key := fmt.Sprintf("k/%02d-churn%d", i, w)
					if err := e.s.Put(e.ctx, key, []byte("x"), driver.PutOptions{}); err != nil {
						e.Errorf("Put: %v", err)
					}
					if i%2 == 0 {
						if err := e.s.Delete(e.ctx, []string{key}); err != nil {
							e.Errorf("Delete: %v", err)
						}
					}
				}
			})
		}, func() {
			got := slices.DeleteFunc(e.list(e.s, "k/", ""), func(k string) bool { return !strings.HasSuffix(k, "stable") })
			if !slices.Equal(got, stable) {
				e.Errorf("List gives %d of %d stable keys", len(got), len(stable))
			}
		})
	}},
	{"list/can-be-left-early-and-repeated", func(e *storeEnv) {
		s := e.bigStore()
		seq := s.List(e.ctx, "", "")
		for _, stop := range []int{1, 2, 999, 1000, 1001} {
			n := 0
			for _, err := range seq {
				if err != nil {
					e.Errorf("List: %v", err)
				}
				if n++; n == stop {
					break
				}
			}
			if n != stop {
				e.Errorf("List gives %d keys, want at least %d", n, stop)
			}
		}
	}},
	{"list/body-may-use-the-store", func(e *storeEnv) {
		e.putAll("k/a", "k/b", "k/c")
		n := 0
		for info, err := range e.s.List(e.ctx, "k/", "") {
			if err != nil {
				e.Fatalf("List: %v", err)
			}
			n++
			e.wantBytes(e.s, info.Key, []byte("bytes of "+info.Key))
			if err := e.s.Delete(e.ctx, []string{info.Key}); err != nil {
				e.Errorf("Delete: %v", err)
			}
		}
		if n != 3 {
			e.Errorf("List gives %d keys while its body deletes them, want 3", n)
		}
		e.wantList(e.s, "", "")
	}},
	{"list/with-an-ended-context", func(e *storeEnv) {
		e.putAll("a", "b")
		ctx, cancel := context.WithCancel(e.ctx)
		cancel()
		infos, err := driver.ListAll(ctx, e.s, "", "")
		if !errors.Is(err, context.Canceled) {
			e.Errorf("List with a cancelled context: %d keys, %v", len(infos), err)
		}
	}},
	{"list/cancelled-midway-is-never-a-short-list", func(e *storeEnv) {
		s := e.bigStore()
		ctx, cancel := context.WithCancel(e.ctx)
		defer cancel()
		n := 0
		var last error
		for _, err := range s.List(ctx, "", "") {
			if last != nil {
				e.Errorf("List goes on after an error")
			}
			if last = err; err == nil {
				n++
			}
			cancel()
		}
		if last == nil && n != bigKeys {
			e.Errorf("a cancelled List ends without an error after %d of %d keys", n, bigKeys)
		} else if last != nil && !errors.Is(last, context.Canceled) {
			e.Errorf("a cancelled List ends with %v", last)
		}
	}},
}
