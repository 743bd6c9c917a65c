package conformance

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/forst-go/forst/forstfs/driver"
)

func (e *storeEnv) delete(keys ...string) {
	e.Helper()
	if err := e.s.Delete(e.ctx, keys); err != nil {
		e.Errorf("Delete %q: %v", keys, err)
	}
}

var storeDeleteCases = []StoreCase{
	{"delete/removes", func(e *storeEnv) {
		e.putAll("a/key")
		e.delete("a/key")
		e.wantGone(e.s, "a/key")
		e.wantGone(e.handle(), "a/key")
	}},
	{"delete/of-a-missing-key-is-success", func(e *storeEnv) {
		e.delete("missing")
		e.delete("no/such/key")
		e.putAll("a/key")
		e.delete("a/key")
		e.delete("a/key")
	}},
	{"delete/of-present-and-missing-keys", func(e *storeEnv) {
		e.putAll("a", "c", "e/f", "keep")
		e.delete("missing", "a", "b", "c", "e/f", "e/g", "x/y/z")
		e.wantList(e.s, "", "", "keep")
	}},
	{"delete/of-no-keys", func(e *storeEnv) {
		e.putAll("a")
		e.delete()
		if err := e.s.Delete(e.ctx, []string{}); err != nil {
			e.Errorf("Delete of no keys: %v", err)
		}
		e.wantList(e.s, "", "", "a")
	}},
	{"delete/of-one-key-named-twice", func(e *storeEnv) {
		e.putAll("a", "b")
		e.delete("a", "a", "a")
		e.wantList(e.s, "", "", "b")
	}},
	{"delete/of-more-than-1000-keys", func(e *storeEnv) {
		keys := e.fill(e.s, bigKeys)
		e.putAll("keep")
		if err := e.s.Delete(e.ctx, keys); err != nil {
			e.Errorf("Delete of %d keys: %v", len(keys), err)
		}
		if left := e.list(e.s, "", ""); !slices.Equal(left, []string{"keep"}) {
			e.Errorf("after a Delete of %d keys without an error List gives %d keys, want only %q, which was not named: %q ...", len(keys), len(left), "keep", left[:min(3, len(left))])
		}
	}},
	{"delete/takes-only-what-is-named", func(e *storeEnv) {
		e.putAll("ab/1", "ab1", "abc", "ab/12", "AB", "ab/1-1", "zab")
		e.delete("ab", "ab/1", "a")
		e.wantList(e.s, "", "", "ab1", "abc", "ab/12", "AB", "ab/1-1", "zab")
	}},
	{"delete/of-a-prefix-takes-nothing", func(e *storeEnv) {
		e.putAll("dir/sub/key", "dir/key")
		e.delete("dir", "dir/sub")
		e.wantList(e.s, "", "", "dir/key", "dir/sub/key")
		e.delete("dir/sub/key")
		e.wantList(e.s, "", "", "dir/key")
	}},
	{"delete/one-key-from-many-callers", func(e *storeEnv) {
		for round := range 5 {
			key := fmt.Sprintf("k/%d", round)
			e.putAll(key, "k/keep")
			e.parallel(8, func(int) {
				if err := e.s.Delete(e.ctx, []string{key, "k/missing"}); err != nil {
					e.Errorf("Delete: %v", err)
				}
			})
			e.wantGone(e.s, key)
		}
		e.wantList(e.s, "", "", "k/keep")
	}},
	{"delete/and-put-again", func(e *storeEnv) {
		for i := range 10 {
			data := blob(uint64(i), 100*i)
			e.put("key", data)
			e.wantBytes(e.s, "key", data)
			e.delete("key")
			e.wantGone(e.s, "key")
		}
	}},
	{"delete/with-an-ended-context", func(e *storeEnv) {
		e.putAll("a", "b")
		ctx, cancel := context.WithCancel(e.ctx)
		cancel()
		if err := e.s.Delete(ctx, []string{"a", "b"}); !errors.Is(err, context.Canceled) {
			e.Errorf("Delete with a cancelled context: %v", err)
		}
		e.delete("a", "b") // repeating is legal
		e.wantList(e.s, "", "")
	}},
	{"delete/does-not-modify-its-argument", func(e *storeEnv) {
		keys := []string{"b", "a", "c", "a"}
		e.putAll("a", "b")
		e.delete(keys...)
		if fmt.Sprint(keys) != "[b a c a]" {
			e.Errorf("the caller's slice is now %q", keys)
		}
		e.wantKind("Delete", e.s.Delete(e.ctx, []string{"ok", "not//ok"}), driver.KindInvalid)
	}},
}
