package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"

	"github.com/forst-go/forst/forstfs/driver"
)

// whole is how atomicity is seen: version v of an object is v repeated, and the length tells v, so that any mixture or
// part of two versions shows.
func whole(v byte, base int) []byte { return bytes.Repeat([]byte{v}, base+1000*int(v)) }

// checkWhole describes what is wrong with data as one version of an object, or is empty.
func checkWhole(data []byte, base int) string {
	if len(data) == 0 {
		return "an empty object"
	}
	v := data[0]
	if n := bytes.Count(data, data[:1]); n != len(data) {
		return fmt.Sprintf("a mixture: version %d has %d of %d bytes", v, n, len(data))
	}
	if want := base + 1000*int(v); len(data) != want {
		return fmt.Sprintf("%d bytes of version %d, which has %d", len(data), v, want)
	}
	return ""
}

// watch runs probes over and over while work runs, at least once each after it has begun, and ends them.
func (e *storeEnv) watch(work func(), probes ...func()) {
	var stop atomic.Bool
	var wg, running sync.WaitGroup
	for _, probe := range probes {
		running.Add(1)
		wg.Go(func() {
			probe()
			running.Done()
			for !stop.Load() && !e.Failed() {
				probe()
			}
			probe()
		})
	}
	running.Wait()
	work()
	stop.Store(true)
	wg.Wait()
}

// partProbe checks that key is absent or whole, whichever way one looks.
func (e *storeEnv) partProbe(s driver.Store, key string, want []byte) {
	data, err := readWhole(e.ctx, s, key)
	switch {
	case err == nil:
		if d := diffBytes(data, want); d != "" {
			e.Errorf("a reader sees a part of %s: %s", key, d)
		}
	case !errors.Is(err, fs.ErrNotExist):
		e.Errorf("Get %s: %v", key, err)
	}
}

func (e *storeEnv) sizeProbe(s driver.Store, key string, want int) {
	info, err := s.Stat(e.ctx, key)
	if err == nil && info.Size != int64(want) {
		e.Errorf("Stat sees %d of %d bytes of %s", info.Size, want, key)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		e.Errorf("Stat %s: %v", key, err)
	}
	for info, err := range s.List(e.ctx, "", "") {
		if err != nil {
			e.Errorf("List: %v", err)
		} else if info.Key == key && info.Size != int64(want) {
			e.Errorf("List sees %d of %d bytes of %s", info.Size, want, key)
		}
	}
}

const atomicBase = 200_000

var storeAtomicCases = []StoreCase{
	{"atomic/readers-see-all-of-a-new-object-or-nothing", func(e *storeEnv) {
		other := e.handle()
		for i := range 6 {
			key := fmt.Sprintf("new/%d", i)
			data := blob(uint64(i), 3<<20)
			e.watch(func() { e.put(key, data) },
				func() { e.partProbe(e.s, key, data) },
				func() { e.partProbe(other, key, data) })
			e.wantBytes(e.s, key, data)
		}
	}},
	{"atomic/lists-see-all-of-a-new-object-or-nothing", func(e *storeEnv) {
		other := e.handle()
		for i := range 6 {
			key := fmt.Sprintf("new/%d", i)
			data := blob(uint64(i), 3<<20)
			e.watch(func() { e.put(key, data) },
				func() { e.sizeProbe(e.s, key, len(data)) },
				func() { e.sizeProbe(other, key, len(data)) })
			e.sizeProbe(e.s, key, len(data))
		}
	}},
	{"atomic/create-if-absent-shows-no-part", func(e *storeEnv) {
		for i := range 6 {
			key := fmt.Sprintf("new/%d", i)
			data := blob(uint64(i), 3<<20)
			e.watch(func() {
				if err := e.create(key, data); err != nil {
					e.Errorf("Put: %v", err)
				}
			}, func() { e.partProbe(e.s, key, data) }, func() { e.sizeProbe(e.s, key, len(data)) })
			e.wantBytes(e.s, key, data)
		}
	}},
	{"atomic/an-object-once-seen-stays", func(e *storeEnv) {
		for i := range 6 {
			key := fmt.Sprintf("new/%d", i)
			var seen atomic.Bool
			e.watch(func() { e.put(key, blob(uint64(i), 1<<20)) }, func() {
				was := seen.Load()
				_, err := e.s.Stat(e.ctx, key)
				if was && errors.Is(err, fs.ErrNotExist) {
					e.Errorf("%s was there and is gone", key)
				}
				if err == nil {
					seen.Store(true)
				}
			})
		}
	}},
	{"atomic/readers-see-one-version-of-a-replaced-object", func(e *storeEnv) {
		e.put("key", whole(1, atomicBase))
		probe := func() {
			data, err := readWhole(e.ctx, e.s, "key")
			if err != nil {
				e.Errorf("Get: %v", err)
			} else if d := checkWhole(data, atomicBase); d != "" {
				e.Errorf("a reader sees %s", d)
			}
		}
		e.watch(func() {
			for v := range byte(30) {
				e.put("key", whole(1+(v+1)%5, atomicBase))
			}
		}, probe, probe)
	}},
	{"atomic/stat-and-list-see-one-version-of-a-replaced-object", func(e *storeEnv) {
		e.put("key", whole(1, atomicBase))
		check := func(how string, size int64) {
			if v := (size - atomicBase) / 1000; v < 1 || v > 5 || size != atomicBase+v*1000 {
				e.Errorf("%s sees %d bytes, the size of no version", how, size)
			}
		}
		e.watch(func() {
			for v := range byte(30) {
				e.put("key", whole(1+(v+1)%5, atomicBase))
			}
		}, func() {
			info, err := e.s.Stat(e.ctx, "key")
			if err != nil {
				e.Errorf("Stat: %v", err)
			} else {
				check("Stat", info.Size)
			}
		}, func() {
			n := 0
			for info, err := range e.s.List(e.ctx, "", "") {
				if err != nil {
					e.Errorf("List: %v", err)
				} else {
					n++
					check("List", info.Size)
				}
			}
			if n != 1 {
				e.Errorf("List sees %d objects while one is replaced", n)
			}
		})
	}},
	{"atomic/racing-replacements-leave-one-whole", func(e *storeEnv) {
		for range 5 {
			e.parallel(8, func(i int) {
				if err := e.s.Put(e.ctx, "key", whole(byte(i+1), atomicBase), driver.PutOptions{}); err != nil {
					e.Errorf("Put: %v", err)
				}
			})
			data, err := readWhole(e.ctx, e.s, "key")
			if err != nil {
				e.Errorf("Get: %v", err)
			} else if d := checkWhole(data, atomicBase); d != "" {
				e.Errorf("after the race there is %s", d)
			}
		}
	}},
	{"atomic/a-reader-keeps-its-version-or-fails", func(e *storeEnv) {
		for i := range 4 {
			e.put("key", whole(1, 4<<20))
			r, err := e.s.Get(e.ctx, "key", 0, -1)
			if err != nil {
				e.Fatalf("Get: %v", err)
			}
			data := make([]byte, 1000)
			n, err := r.Read(data)
			data = data[:n]
			if i%2 == 0 {
				e.put("key", whole(2, 4<<20))
			} else if err := e.s.Delete(e.ctx, []string{"key"}); err != nil {
				e.Errorf("Delete: %v", err)
			}
			rest, rerr := readRest(r, err)
			r.Close()
			if rerr != nil {
				continue // told, which is enough
			}
			if d := checkWhole(append(data, rest...), 4<<20); d != "" {
				e.Errorf("a reader that was under way sees %s and no error", d)
			}
		}
	}},
	{"cancel/put-with-an-ended-context", func(e *storeEnv) {
		ctx, cancel := context.WithCancel(e.ctx)
		cancel()
		for _, o := range []driver.PutOptions{{}, {IfAbsent: true}} {
			if err := e.s.Put(ctx, "key", []byte("bytes"), o); !errors.Is(err, context.Canceled) {
				e.Errorf("Put with a cancelled context: %v", err)
			}
		}
		e.partProbe(e.s, "key", []byte("bytes"))
	}},
	{"cancel/deadline-that-has-passed", func(e *storeEnv) {
		ctx, cancel := context.WithDeadline(e.ctx, time.Now().Add(-time.Second))
		defer cancel()
		if err := e.s.Put(ctx, "key", []byte("bytes"), driver.PutOptions{}); !errors.Is(err, context.DeadlineExceeded) {
			e.Errorf("Put after its deadline: %v", err)
		}
		if _, err := e.s.Stat(ctx, "key"); !errors.Is(err, context.DeadlineExceeded) {
			e.Errorf("Stat after its deadline: %v", err)
		}
	}},
	{"cancel/a-cancelled-put-leaves-all-or-nothing", func(e *storeEnv) {
		e.cancelledPuts(driver.PutOptions{}, func(key string, data []byte, err error) {
			if err == nil {
				e.wantBytes(e.s, key, data)
			}
		})
	}},
	{"cancel/a-cancelled-create-can-be-repeated", func(e *storeEnv) {
		e.cancelledPuts(driver.PutOptions{IfAbsent: true}, func(key string, data []byte, _ error) {
			// Late or not: the same bytes under the same name are the object.
			if err := e.create(key, data); err != nil {
				e.wantKind("the same Put again", err, driver.KindExist)
			}
			e.wantBytes(e.s, key, data)
		})
	}},
	{"cancel/a-cancelled-replacement-leaves-old-or-new", func(e *storeEnv) {
		for i := range 6 {
			e.put("key", whole(1, 8<<20))
			ctx, cancel := cancelAfter(e.ctx, time.Duration(i*i)*400*time.Microsecond)
			err := e.s.Put(ctx, "key", whole(2, 8<<20), driver.PutOptions{})
			cancel()
			if err != nil && !driver.IsCanceled(err) {
				e.Errorf("Put: %v", err)
			}
			for range 3 {
				data, err := readWhole(e.ctx, e.s, "key")
				if err != nil {
					e.Errorf("Get: %v", err)
				} else if d := checkWhole(data, 8<<20); d != "" {
					e.Errorf("after a cancelled replacement there is %s", d)
				}
			}
		}
	}},
}

// cancelledPuts cancels Puts of 12 MiB at several moments, checks that nobody sees a part, and calls then for each.
func (e *storeEnv) cancelledPuts(o driver.PutOptions, then func(key string, data []byte, err error)) {
	data := blob(7, 12<<20)
	for i := range 8 {
		key := fmt.Sprintf("cancelled/%d", i)
		ctx, cancel := cancelAfter(e.ctx, time.Duration(i*i)*400*time.Microsecond)
		var err error
		e.watch(func() { err = e.s.Put(ctx, key, data, o) }, func() { e.sizeProbe(e.s, key, len(data)) })
		cancel()
		if err != nil && !driver.IsCanceled(err) {
			e.Errorf("Put: %v", err)
		}
		e.partProbe(e.s, key, data)
		then(key, data, err)
	}
}
