package conformance

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/forst-go/forst/forstfs/driver"
)

var storePutCases = []StoreCase{
	{"put/is-seen-by-get", func(e *storeEnv) {
		e.put("a/key", []byte("some bytes"))
		e.wantBytes(e.s, "a/key", []byte("some bytes"))
	}},
	{"put/is-seen-by-stat", func(e *storeEnv) {
		e.put("a/key", []byte("some bytes"))
		info, err := e.s.Stat(e.ctx, "a/key")
		if err != nil || info.Key != "a/key" || info.Size != 10 {
			e.Errorf("Stat gives %+v, %v", info, err)
		}
	}},
	{"put/is-seen-by-list", func(e *storeEnv) {
		e.put("a/key", []byte("some bytes"))
		e.wantList(e.s, "", "", "a/key")
	}},
	{"put/is-seen-by-another-handle", func(e *storeEnv) {
		other := e.handle()
		e.wantGone(other, "a/key") // so that a negative answer would have been remembered
		e.put("a/key", []byte("first"))
		e.wantBytes(other, "a/key", []byte("first"))
		e.wantList(other, "", "", "a/key")
		e.put("a/key", []byte("the second"))
		e.wantBytes(other, "a/key", []byte("the second"))
	}},
	{"put/is-there-after-reopen", func(e *storeEnv) {
		e.put("a/key", []byte("some bytes"))
		if err := e.s.Close(); err != nil {
			e.Errorf("Close: %v", err)
		}
		e.wantBytes(e.handle(), "a/key", []byte("some bytes"))
	}},
	{"put/roots-are-apart", func(e *storeEnv) {
		other := openHandle(e.TB, e.ctx, e.suite.maker.Fresh(e.TB))
		e.put("a/key", []byte("some bytes"))
		e.wantGone(other, "a/key")
		e.wantList(other, "", "")
	}},
	{"put/empty-object", func(e *storeEnv) {
		e.put("empty", []byte{})
		e.put("nil", nil)
		for _, key := range []string{"empty", "nil"} {
			e.wantBytes(e.s, key, nil)
			if info, err := e.s.Stat(e.ctx, key); err != nil || info.Size != 0 {
				e.Errorf("Stat %s gives %+v, %v", key, info, err)
			}
		}
		e.wantList(e.s, "", "", "empty", "nil")
	}},
	{"put/one-byte", func(e *storeEnv) {
		e.put("one", []byte{0})
		e.wantBytes(e.s, "one", []byte{0})
	}},
	{"put/64-MiB", func(e *storeEnv) {
		data := blob(64, 64<<20)
		if m := e.s.Capabilities().MaxObject; m > 0 {
			data = data[:min(m, 64<<20)]
		}
		e.put("big", data)
		e.wantBytes(e.s, "big", data)
		if info, err := e.s.Stat(e.ctx, "big"); err != nil || info.Size != int64(len(data)) {
			e.Errorf("Stat gives %+v, %v", info, err)
		}
		part := make([]byte, 4096)
		off := int64(len(data)) - 5000
		if err := driver.ReadFull(e.ctx, e.s, "big", off, part); err != nil {
			e.Errorf("ReadFull near the end: %v", err)
		} else if d := diffBytes(part, data[off:off+4096]); d != "" {
			e.Errorf("ReadFull near the end: %s", d)
		}
	}},
	{"put/every-byte-value", func(e *storeEnv) {
		data := make([]byte, 0, 70_000)
		for i := range 256 {
			data = append(data, byte(i), '\r', '\n', byte(i), 0, 0xff, byte(i))
		}
		data = append(data, strings.Repeat("0;chunk-signature=\r\n\r\n", 3000)...)
		e.put("bytes.gz", data) // a name that tempts a helpful server
		e.wantBytes(e.s, "bytes.gz", data)
	}},
	{"put/sizes-around-buffers", func(e *storeEnv) {
		for _, size := range []int{2, 511, 512, 4095, 4096, 4097, 32768, 65535, 65537, 1 << 20, 1<<20 + 1, 5<<20 + 3} {
			key := fmt.Sprintf("size/%d", size)
			data := blob(uint64(size), size)
			e.put(key, data)
			e.wantBytes(e.s, key, data)
		}
	}},
	{"put/replaces-the-whole-object", func(e *storeEnv) {
		for i, size := range []int{100, 10, 0, 5000, 1} {
			data := blob(uint64(i), size)
			e.put("key", data)
			e.wantBytes(e.s, "key", data)
			if info, err := e.s.Stat(e.ctx, "key"); err != nil || info.Size != int64(size) {
				e.Errorf("Stat gives %+v, %v after a Put of %d bytes", info, err, size)
			}
		}
		e.wantList(e.s, "", "", "key")
	}},
	{"put/does-not-keep-data", func(e *storeEnv) {
		data := blob(1, 100_000)
		want := bytes.Clone(data)
		e.put("key", data)
		clear(data)
		e.wantBytes(e.s, "key", want)
	}},
	{"put/does-not-modify-data", func(e *storeEnv) {
		data := blob(2, 100_000)
		want := bytes.Clone(data)
		e.put("key", data[:50_000]) // with room behind it to write on
		if d := diffBytes(data, want); d != "" {
			e.Errorf("Put changed its argument: %s", d)
		}
	}},
	{"put/unusual-but-legal-keys", func(e *storeEnv) {
		keys := unusualKeys()
		for _, key := range keys {
			if err := driver.CheckKey(key); err != nil {
				e.Fatalf("the case is wrong: %v", err)
			}
			e.put(key, []byte("bytes of "+key))
		}
		for _, key := range keys {
			e.wantBytes(e.s, key, []byte("bytes of "+key))
			if info, err := e.s.Stat(e.ctx, key); err != nil || info.Key != key {
				e.Errorf("Stat %q gives %+v, %v", key, info, err)
			}
		}
		e.wantList(e.s, "", "", keys...)
		if err := e.s.Delete(e.ctx, keys); err != nil {
			e.Errorf("Delete: %v", err)
		}
		e.wantList(e.s, "", "")
	}},
	{"put/upper-and-lower-case-differ", func(e *storeEnv) {
		e.putAll("case/Key", "case/key", "case/KEY")
		for _, key := range []string{"case/Key", "case/key", "case/KEY"} {
			e.wantBytes(e.s, key, []byte("bytes of "+key))
		}
		e.wantList(e.s, "", "", "case/KEY", "case/Key", "case/key")
	}},
	{"put/key-below-an-object-harms-nothing", func(e *storeEnv) {
		e.put("a/b", []byte("the parent"))
		err := e.s.Put(e.ctx, "a/b/c", []byte("the child"), driver.PutOptions{})
		if err != nil {
			e.wantKind("Put of a/b/c, where a/b is an object", err, driver.KindInvalid)
			_, err := driver.ReadAll(e.ctx, e.s, "a/b/c")
			e.wantKind("Get of what was refused", err, driver.KindNotExist)
		}
		e.wantBytes(e.s, "a/b", []byte("the parent"))
	}},
	{"put/key-above-an-object-harms-nothing", func(e *storeEnv) {
		e.put("a/b/c", []byte("the child"))
		for _, absent := range []bool{false, true} {
			err := e.s.Put(e.ctx, "a/b", []byte("the parent"), driver.PutOptions{IfAbsent: absent})
			if err != nil {
				e.wantKind("Put of a/b, where a/b/c is an object", err, driver.KindInvalid)
			}
			e.wantBytes(e.s, "a/b/c", []byte("the child"))
			if err := e.s.Delete(e.ctx, []string{"a/b"}); err != nil {
				e.Errorf("Delete: %v", err)
			}
			e.wantBytes(e.s, "a/b/c", []byte("the child"))
		}
	}},
	{"put/key-that-was-a-directory", func(e *storeEnv) {
		for _, absent := range []bool{false, true} {
			e.putAll("a/b/c/d", "a/b/e")
			if err := e.s.Delete(e.ctx, []string{"a/b/c/d", "a/b/e"}); err != nil {
				e.Fatalf("Delete: %v", err)
			}
			if err := e.s.Put(e.ctx, "a/b", []byte("now an object"), driver.PutOptions{IfAbsent: absent}); err != nil {
				e.Errorf("Put of a/b after all keys below were deleted (IfAbsent %t): %v", absent, err)
			}
			e.wantBytes(e.s, "a/b", []byte("now an object"))
			if err := e.s.Delete(e.ctx, []string{"a/b"}); err != nil {
				e.Errorf("Delete: %v", err)
			}
		}
	}},
	{"put/stat-and-list-agree-on-time", func(e *storeEnv) {
		e.put("key", []byte("x"))
		info, err := e.s.Stat(e.ctx, "key")
		if err != nil {
			e.Fatalf("Stat: %v", err)
		}
		for listed, err := range e.s.List(e.ctx, "", "") {
			if err != nil {
				e.Fatalf("List: %v", err)
			}
			if d := listed.ModTime.Sub(info.ModTime).Abs(); !listed.ModTime.IsZero() && !info.ModTime.IsZero() && d > 2*time.Second {
				e.Errorf("List says %v, Stat says %v", listed.ModTime, info.ModTime)
			}
		}
	}},
	{"put/64-different-keys-at-once", func(e *storeEnv) {
		e.parallel(64, func(i int) {
			key := fmt.Sprintf("at-once/%02d", i)
			if err := e.s.Put(e.ctx, key, blob(uint64(i), 20_000+i), driver.PutOptions{}); err != nil {
				e.Errorf("Put %s: %v", key, err)
			}
		})
		e.parallel(64, func(i int) {
			e.wantBytes(e.s, fmt.Sprintf("at-once/%02d", i), blob(uint64(i), 20_000+i))
		})
		if n := len(e.list(e.s, "at-once/", "")); n != 64 {
			e.Errorf("List gives %d keys", n)
		}
	}},
	{"put/leaves-nothing-else", func(e *storeEnv) {
		e.put("a/key", blob(1, 100_000))
		e.put("a/key", blob(2, 100_000))
		_ = e.create("a/key", blob(3, 100_000))
		ctx, cancel := context.WithCancel(e.ctx)
		cancel()
		_ = e.s.Put(ctx, "a/key", blob(2, 100_000), driver.PutOptions{})
		e.wantList(e.s, "", "", "a/key")
		e.wantList(e.handle(), "", "", "a/key")
		if err := e.s.Delete(e.ctx, []string{"a/key"}); err != nil {
			e.Errorf("Delete: %v", err)
		}
		e.wantList(e.s, "", "")
	}},
	{"copy/copies-the-whole-object", func(e *storeEnv) {
		c, ok := driver.As[driver.Copier](e.s)
		if !ok {
			e.Logf("the store has no Copier")
			return
		}
		data := blob(9, 300_000)
		e.put("src", data)
		e.put("replaced", []byte("old"))
		for _, dst := range []string{"a/new", "replaced", "src"} {
			if err := c.Copy(e.ctx, "src", dst); err != nil {
				e.Errorf("Copy to %s: %v", dst, err)
			}
			e.wantBytes(e.s, dst, data)
		}
		e.wantList(e.s, "", "", "a/new", "replaced", "src")
		if err := e.s.Delete(e.ctx, []string{"src"}); err != nil {
			e.Errorf("Delete: %v", err)
		}
		e.wantBytes(e.s, "a/new", data)
		e.put("replaced", []byte("newer"))
		e.wantBytes(e.s, "a/new", data)
	}},
	{"copy/of-a-missing-object", func(e *storeEnv) {
		c, ok := driver.As[driver.Copier](e.s)
		if !ok {
			e.Logf("the store has no Copier")
			return
		}
		e.wantKind("Copy", c.Copy(e.ctx, "missing", "dst"), driver.KindNotExist)
		e.wantGone(e.s, "dst")
		e.wantKind("Copy", c.Copy(e.ctx, "missing", "/dst"), driver.KindInvalid)
		e.wantKind("Copy", c.Copy(e.ctx, "missing//", "dst"), driver.KindInvalid)
	}},
}

// unusualKeys are legal keys that a URL, a path, a signature or a sort might get wrong.
func unusualKeys() []string {
	long := strings.Repeat("k", 200)
	return []string{
		"-", "=", "@", "~", "+", ",", "_", "0", "Z", "a+b", "a=b", "a@b", "a~b", "a,b", "a..b", "a.", "a-", "a+", "b+/b",
		"trailing./x", "x=1/y=2", "++/+", "~~/~", "CON", "nul.txt", "index.html", "a.tar.gz", "percent-25", "a+b=c@d~e,f-g_h.i",
		"deep/" + strings.Repeat("d/", 100) + "end",
		"s" + long[1:], "two/" + long, long + "/" + long + "/" + strings.Repeat("m", driver.MaxKey-402),
	}
}

// cancelAfter cancels a context after about d.
func cancelAfter(parent context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(parent)
	t := time.AfterFunc(d, cancel)
	return ctx, func() { t.Stop(); cancel() }
}

// readWhole reads an object by an unlimited range and gives what came before the error, if any.
func readWhole(ctx context.Context, s driver.Store, key string) ([]byte, error) {
	r, err := s.Get(ctx, key, 0, -1)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}
