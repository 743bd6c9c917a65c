package conformance

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"strings"
	"time"

	"github.com/forst-go/forst/forstfs/driver"
)

var illegalKeys = []string{
	"", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "a/.", "./a", ".hidden", "a/.hidden", "a b", "a\x00b", "a\nb", "ü", "\xff",
	"a*b", "a?b", "a#b", "a%2Fb", "a\\b", "a:b", "a&b", `a"b`, "a'b", "a<b", "{a}", strings.Repeat("k", 201),
	strings.Repeat("k/", 256) + "k", "../escape", "a/../../escape", "~/../x",
}

// forEachMethod calls every method with ctx and key and gives name and error of each.
func forEachMethod(ctx context.Context, s driver.Store, key string, f func(op string, err error)) {
	f("put", s.Put(ctx, key, []byte("x"), driver.PutOptions{}))
	f("put", s.Put(ctx, key, []byte("x"), driver.PutOptions{IfAbsent: true}))
	r, err := s.Get(ctx, key, 0, -1)
	if err == nil {
		r.Close()
	}
	f("get", err)
	_, err = s.Stat(ctx, key)
	f("stat", err)
	f("delete", s.Delete(ctx, []string{key}))
}

var storeErrorCases = []StoreCase{
	{"errors/illegal-keys-are-refused", func(e *storeEnv) {
		for _, key := range illegalKeys {
			forEachMethod(e.ctx, e.s, key, func(op string, err error) {
				e.wantKind(fmt.Sprintf("%s %q", op, key), err, driver.KindInvalid)
			})
		}
		e.wantList(e.s, "", "")
	}},
	{"errors/illegal-key-among-legal-ones-deletes-nothing", func(e *storeEnv) {
		e.putAll("a", "b")
		e.wantKind("Delete", e.s.Delete(e.ctx, []string{"a", "../b", "b"}), driver.KindInvalid)
		e.wantList(e.s, "", "", "a", "b")
	}},
	{"errors/illegal-prefixes-are-refused", func(e *storeEnv) {
		for _, p := range []string{"/", "/a", "a//b", "a b", "ü", "a*", "a\x00", strings.Repeat("p", driver.MaxKey+1)} {
			infos, err := driver.ListAll(e.ctx, e.s, p, "")
			e.wantKind(fmt.Sprintf("List %q (%d keys)", p, len(infos)), err, driver.KindInvalid)
		}
	}},
	{"errors/are-driver-errors-with-operation-and-path", func(e *storeEnv) {
		check := func(op, key string, err error) {
			e.Helper()
			var de *driver.Error
			if !errors.As(err, &de) {
				e.Errorf("%s: %T (%v) is no *driver.Error", op, err, err)
				return
			}
			if de.Op != op {
				e.Errorf("%s: Op is %q", op, de.Op)
			}
			if !strings.Contains(de.Path, key) {
				e.Errorf("%s: Path %q does not name the key", op, de.Path)
			}
		}
		_, err := e.s.Get(e.ctx, "some/missing-key", 0, -1)
		check("get", "some/missing-key", err)
		_, err = e.s.Stat(e.ctx, "some/missing-key")
		check("stat", "some/missing-key", err)
		e.putAll("some/key")
		check("put", "some/key", e.create("some/key", nil))
		_, err = e.s.Get(e.ctx, "some/key", 1000, 1)
		check("get", "some/key", err)
		check("put", "", e.s.Put(e.ctx, "not legal", nil, driver.PutOptions{}))
		check("delete", "", e.s.Delete(e.ctx, []string{"not legal"}))
		_, err = driver.ListAll(e.ctx, e.s, "not legal", "")
		check("list", "", err)
		ctx, cancel := context.WithCancel(e.ctx)
		cancel()
		forEachMethod(ctx, e.s, "some/key", func(op string, err error) { check(op, "", err) })
		_, err = driver.ListAll(ctx, e.s, "", "")
		check("list", "", err)
	}},
	{"errors/match-the-sentinels-of-io/fs", func(e *storeEnv) {
		_, err := e.s.Stat(e.ctx, "missing")
		want := map[error]error{fs.ErrNotExist: err}
		e.putAll("key")
		want[fs.ErrExist] = e.create("key", nil)
		want[fs.ErrInvalid] = e.s.Delete(e.ctx, []string{"/"})
		for sentinel, err := range want {
			for _, other := range []error{fs.ErrNotExist, fs.ErrExist, fs.ErrInvalid, fs.ErrPermission, fs.ErrClosed, context.Canceled} {
				if errors.Is(err, other) != (other == sentinel) {
					e.Errorf("errors.Is(%v, %v) is %t", err, other, errors.Is(err, other))
				}
			}
		}
	}},
	{"errors/cancellation-is-never-not-exist", func(e *storeEnv) {
		e.putAll("key")
		ctx, cancel := context.WithCancel(e.ctx)
		cancel()
		for _, key := range []string{"key", "missing"} {
			forEachMethod(ctx, e.s, key, func(op string, err error) {
				if !errors.Is(err, context.Canceled) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) {
					e.Errorf("%s %s with a cancelled context: %v", op, key, err)
				}
			})
		}
	}},
	{"errors/secrets-are-never-printed", func(e *storeEnv) {
		e.putAll("key")
		texts := []string{fmt.Sprintf("%v %+v %#v", e.s, e.s, e.s), fmt.Sprintf("%+v", e.s.Capabilities())}
		note := func(_ string, err error) {
			for ; err != nil; err = errors.Unwrap(err) {
				texts = append(texts, fmt.Sprintf("%v %+v %#v", err, err, err))
			}
		}
		forEachMethod(e.ctx, e.s, "not legal", note)
		_, err := e.s.Stat(e.ctx, "missing")
		note("", err)
		note("", e.create("key", nil))
		_, err = e.s.Get(e.ctx, "key", 1000, 1)
		note("", err)
		ctx, cancel := context.WithCancel(e.ctx)
		cancel()
		forEachMethod(ctx, e.s, "key", note)
		for _, text := range texts {
			for _, secret := range e.suite.maker.Secrets {
				if secret != "" && strings.Contains(text, secret) {
					e.Errorf("a secret is printed: %s", strings.ReplaceAll(text, secret, "<HERE>"))
				}
			}
		}
	}},
	{"capabilities/are-sane-and-constant", func(e *storeEnv) {
		c := e.s.Capabilities()
		if c.Name == "" || c.ObjectSize < 1 || c.Concurrency < 1 || c.DeleteBatch < 1 || c.ListPage < 0 || c.MaxObject < 0 ||
			(c.MaxObject > 0 && c.MaxObject < c.ObjectSize) {
			e.Errorf("%+v", c)
		}
		e.putAll("key")
		if again := e.s.Capabilities(); again != c {
			e.Errorf("%+v is now %+v", c, again)
		}
		if other := e.handle().Capabilities(); other != c {
			e.Errorf("%+v is %+v through another handle", c, other)
		}
	}},
}

var storeCloseCases = []StoreCase{
	{"close/then-every-call-is-refused", func(e *storeEnv) {
		e.putAll("key")
		if err := e.s.Close(); err != nil {
			e.Errorf("Close: %v", err)
		}
		forEachMethod(e.ctx, e.s, "key", func(op string, err error) {
			e.wantKind(op+" after Close", err, driver.KindClosed)
			if !errors.Is(err, fs.ErrClosed) {
				e.Errorf("%s after Close does not match fs.ErrClosed: %v", op, err)
			}
		})
		_, err := driver.ListAll(e.ctx, e.s, "", "")
		e.wantKind("list after Close", err, driver.KindClosed)
		e.wantBytes(e.handle(), "key", []byte("bytes of key"))
	}},
	{"close/may-be-called-again", func(e *storeEnv) {
		for range 3 {
			if err := e.s.Close(); err != nil {
				e.Errorf("Close: %v", err)
			}
		}
		s := e.handle()
		e.parallel(4, func(int) {
			if err := s.Close(); err != nil {
				e.Errorf("Close: %v", err)
			}
		})
	}},
	{"close/leaves-other-handles-alone", func(e *storeEnv) {
		other := e.handle()
		e.putAll("key")
		if err := other.Close(); err != nil {
			e.Errorf("Close: %v", err)
		}
		e.wantBytes(e.s, "key", []byte("bytes of key"))
		e.putAll("key2")
		e.wantList(e.s, "", "", "key", "key2")
	}},
	{"close/while-requests-are-under-way", func(e *storeEnv) {
		for range 3 {
			s := e.handle()
			if err := s.Put(e.ctx, "there", []byte("x"), driver.PutOptions{}); err != nil {
				e.Fatalf("Put: %v", err)
			}
			started := make(chan struct{}, 9)
			e.parallel(9, func(i int) {
				if i == 0 {
					for range 8 {
						<-started
					}
					if err := s.Close(); err != nil {
						e.Errorf("Close: %v", err)
					}
					return
				}
				started <- struct{}{}
				for n := 0; ; n++ {
					key := fmt.Sprintf("w/%d/%d", i, n%10)
					err := s.Put(e.ctx, key, []byte("x"), driver.PutOptions{})
					if err == nil {
						_, err = driver.ReadAll(e.ctx, s, "there")
					}
					switch {
					case errors.Is(err, fs.ErrNotExist):
						e.Errorf("while the store is closed: %v", err)
						return
					case err != nil:
						return
					}
				}
			})
		}
		e.wantBytes(e.s, "there", []byte("x"))
	}},
	{"close/ends-every-goroutine", func(e *storeEnv) {
		before := goroutines()
		for range 3 {
			s, err := e.open(e.ctx)
			if err != nil {
				e.Fatalf("opening: %v", err)
			}
			e.parallel(8, func(i int) {
				key := fmt.Sprintf("k/%d", i)
				if err := s.Put(e.ctx, key, []byte("x"), driver.PutOptions{}); err != nil {
					e.Errorf("Put: %v", err)
				}
				if _, err := driver.ReadAll(e.ctx, s, key); err != nil {
					e.Errorf("Get: %v", err)
				}
				for range s.List(e.ctx, "", "") {
					break
				}
			})
			if err := s.Close(); err != nil {
				e.Errorf("Close: %v", err)
			}
		}
		left := begunSince(before)
		for deadline := time.Now().Add(10 * time.Second); len(left) > 0 && time.Now().Before(deadline); {
			time.Sleep(5 * time.Millisecond)
			left = begunSince(before)
		}
		if len(left) > 0 {
			e.Errorf("%d goroutines are left:\n%s", len(left), strings.Join(left, "\n\n"))
		}
	}},
}

// goroutines gives the stack of each goroutine by its number. Numbers, unlike counts, are not confused by what earlier cases left and what ends now.
func goroutines() map[string]string {
	buf := make([]byte, 1<<18)
	n := runtime.Stack(buf, true)
	for n == len(buf) {
		buf = make([]byte, 2*n)
		n = runtime.Stack(buf, true)
	}
	all := map[string]string{}
	for stack := range strings.SplitSeq(string(buf[:n]), "\n\n") {
		if number, _, ok := strings.Cut(strings.TrimPrefix(stack, "goroutine "), " "); ok {
			all[number] = stack
		}
	}
	return all
}

// begunSince are the stacks of the goroutines that were not there before.
func begunSince(before map[string]string) (stacks []string) {
	for number, stack := range goroutines() {
		if _, old := before[number]; !old {
			stacks = append(stacks, stack)
		}
	}
	return stacks
}
