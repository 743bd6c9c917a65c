package conformance

import (
	"context"
	"io"
	"iter"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/forst-go/forst/forstfs/driver"
)

var storeKeptCases = []StoreCase{
	{"kept/nothing-of-calls-that-are-over", func(e *storeEnv) {
		e.put("key", blob(1, 100_000))
		for _, c := range []struct {
			name string
			call func(ctx context.Context) error
		}{
			{"a Put", func(ctx context.Context) error { return e.s.Put(ctx, "other", []byte("bytes"), driver.PutOptions{}) }},
			{"a Put that is refused", func(ctx context.Context) error {
				return wants(e.s.Put(ctx, "key", []byte("bytes"), driver.PutOptions{IfAbsent: true}), driver.KindExist)
			}},
			{"a Get", func(ctx context.Context) error { return readSome(ctx, e.s, "key", 100_000) }},
			{"a Get that is closed before its end", func(ctx context.Context) error { return readSome(ctx, e.s, "key", 10) }},
			{"a Get of nothing", func(ctx context.Context) error { return wants(readSome(ctx, e.s, "none", 1), driver.KindNotExist) }},
			{"a Stat", func(ctx context.Context) error { _, err := e.s.Stat(ctx, "key"); return err }},
			{"a Stat of nothing", func(ctx context.Context) error {
				_, err := e.s.Stat(ctx, "none")
				return wants(err, driver.KindNotExist)
			}},
			{"a list", func(ctx context.Context) error { _, err := driver.ListAll(ctx, e.s, "", ""); return err }},
			{"a list that is ended early", func(ctx context.Context) error {
				next, stop := iter.Pull2(e.s.List(ctx, "", ""))
				defer stop()
				_, err, _ := next()
				return err
			}},
			{"a Delete", func(ctx context.Context) error { return e.s.Delete(ctx, []string{"other"}) }},
		} {
			const n = 20
			held, err := ContextsHeld(e.ctx, n, c.call)
			if err != nil {
				e.Errorf("%s: %v", c.name, err)
			} else if held > n/2 {
				e.Errorf("%s: the open store holds the contexts of %d calls of %d that are over: a process of many months grows by each", c.name, held, n)
			}
		}
	}},
}

// wants is nil for an error of the kind.
func wants(err error, kind driver.Kind) error {
	if driver.KindOf(err) == kind {
		return nil
	}
	return err
}

// readSome reads the first n bytes of an object and closes it.
func readSome(ctx context.Context, s driver.Store, key string, n int) error {
	r, err := s.Get(ctx, key, 0, -1)
	if err != nil {
		return err
	}
	_, err = io.ReadFull(r, make([]byte, n))
	if cerr := r.Close(); err == nil {
		err = cerr
	}
	return err
}

// ContextsHeld makes n calls, one after the other, each with a context of its own, and gives the number of those contexts that somebody still holds when all
// calls are over: n if each call leaves something behind, and not more than a few if none does, because a connection may hold its last request. It collects
// garbage until half of them are gone, or for 200 rounds. The error is that of the first call that fails. The tests of a driver use it for answers that a real
// server does not give.
func ContextsHeld(ctx context.Context, n int, call func(context.Context) error) (held int, err error) {
	var gone atomic.Int64
	for range n {
		inner, cancel := context.WithCancel(ctx)
		own := &callContext{Context: inner}
		runtime.AddCleanup(own, func(struct{}) { gone.Add(1) }, struct{}{})
		err := call(own)
		cancel()
		if err != nil {
			return 0, err
		}
	}
	for collected := 0; gone.Load() < int64(n)/2 && collected < 200; collected++ {
		runtime.GC()
		time.Sleep(time.Millisecond) // cleanups run beside the program
	}
	return n - int(gone.Load()), nil
}

// callContext is the context of one call, which the garbage collector tells apart from all others.
type callContext struct {
	context.Context
	_ [1 << 10]byte
}
