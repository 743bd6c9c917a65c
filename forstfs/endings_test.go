package forstfs_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/fault"
	"github.com/forst-go/forst/forstfs/mem"
	"github.com/forst-go/forst/internal/journal"
)

// However a volume ends while everything is going on in it, nothing hangs, nothing is left running, and every error says how it
// ended: no other error, no nil from what is not durable.
func TestEveryEnd(t *testing.T) {
	ms := time.Millisecond
	for _, tt := range []struct {
		name string
		end  func(t *testing.T, e *ending)
		want []error // of the volume's own end
	}{
		{"Close", func(t *testing.T, e *ending) { must(t, e.v.Close()) }, nil},
		{"two at once", func(t *testing.T, e *ending) {
			var wg sync.WaitGroup
			for range 3 {
				wg.Go(func() {
					if err := e.v.Close(); err != nil && !errors.Is(err, forstfs.ErrClosed) {
						t.Errorf("Close: %v", err)
					}
				})
			}
			wg.Wait()
		}, nil},
		{"takeover", func(t *testing.T, e *ending) {
			w := mount(t, e.b, nil)
			defer w.Close()
			_, err := w.Sweep(ctx)
			must(t, err)
			_ = e.v.MkdirAll(ctx, "/last") // now it notices
			if err := e.v.Sync(ctx); !errors.Is(err, forstfs.ErrFenced) {
				t.Errorf("Sync: %v", err)
			}
			time.Sleep(time.Second)
			if err := e.v.Close(); !errors.Is(err, forstfs.ErrFenced) {
				t.Errorf("Close: %v", err)
			}
		}, []error{forstfs.ErrFenced, forstfs.ErrStale}},
		{"failure", func(t *testing.T, e *ending) {
			e.s.Add(fault.Rule{Ops: []fault.Op{fault.Put}, Do: fault.Fail(nil)})
			_ = e.v.MkdirAll(ctx, "/last") // whoever has ended already needs no frame
			if err := e.v.Sync(ctx); !errors.Is(err, forstfs.ErrFailed) {
				t.Errorf("Sync: %v", err)
			}
			<-e.v.Failed()
			time.Sleep(time.Second)
			if err := e.v.Close(); !errors.Is(err, forstfs.ErrFailed) {
				t.Errorf("Close: %v", err)
			}
		}, []error{forstfs.ErrFailed, fault.ErrInjected}},
		{"close of a store that hangs", func(t *testing.T, e *ending) {
			e.s.Add(fault.Rule{Ops: []fault.Op{fault.Put}, Prefix: journal.JournalPrefix, Do: fault.Hang()})
			if err := e.v.Close(); err != nil && !errors.Is(err, forstfs.ErrFailed) { // nil if nothing was on its way
				t.Errorf("Close: %v", err)
			}
		}, []error{forstfs.ErrFailed, fault.ErrInjected}},
		{"drop", func(t *testing.T, e *ending) {
			must(t, e.v.Drop(ctx))
			must(t, e.v.Close())
			must(t, e.s.Drain(ctx))
			remains(t, "drop", e.b)
		}, []error{forstfs.ErrDropped, forstfs.ErrStale}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for seed := range uint64(6) {
				synctest.Test(t, func(t *testing.T) {
					e := &ending{b: bucket(), want: append([]error{forstfs.ErrClosed, fs.ErrClosed}, tt.want...)}
					o := small()
					o.RetryBudget = 2 * time.Second
					o.MaxInflight = 1 + int(seed%3)
					o.FlushDelay = 30 * ms
					o.ImageFrames = 20
					e.s = fault.New(store(t, e.b), &fault.Options{Seed: seed, Latency: fault.FixedLatency(20*ms, 10*ms, 20e6)})
					v, err := forstfs.Open(ctx, e.s, o)
					must(t, err)
					e.v = v
					for i := range 3 {
						write(t, v, fmt.Sprintf("/old%d.sst", i), patternOf(uint64(i), 150_000), true)
					}
					var wg sync.WaitGroup
					for i := range 4 {
						wg.Go(func() { e.writer(t, i) })
						wg.Go(func() { e.reader(t, i%3) })
					}
					e.loop(t, &wg, func() error { return v.Checkpoint(ctx) })
					e.loop(t, &wg, func() error { _, err := v.Sweep(ctx); return err })
					e.loop(t, &wg, func() error { return v.Sync(ctx) })
					e.loop(t, &wg, func() error { _ = v.Metrics().String(); return v.Err() })
					time.Sleep(time.Duration(rand.New(rand.NewPCG(seed, 1)).Int64N(int64(time.Second))))
					tt.end(t, e)
					wg.Wait()
					if m := v.Metrics(); m.UploadMemory != 0 || m.AheadMemory != 0 {
						t.Errorf("%d and %d bytes of memory are still charged", m.UploadMemory, m.AheadMemory)
					}
				})
				if t.Failed() {
					t.Fatalf("seed %d", seed)
				}
			}
		})
	}
}

type ending struct {
	v    *forstfs.FS
	b    *mem.Bucket
	s    *fault.Store
	want []error
}

// over says that the volume has ended, and reports an error that says something else.
func (e *ending) over(t *testing.T, what string, err error) bool {
	if err == nil {
		return false
	}
	for _, w := range e.want {
		if errors.Is(err, w) {
			if errors.Is(err, fs.ErrNotExist) || strings.Contains(err.Error(), "context canceled") {
				t.Errorf("%s: %v", what, err)
			}
			return true
		}
	}
	t.Errorf("%s: %v", what, err)
	return true
}

func (e *ending) loop(t *testing.T, wg *sync.WaitGroup, do func() error) {
	wg.Go(func() {
		for !e.over(t, "beside", do()) {
			time.Sleep(5 * time.Millisecond)
		}
	})
}

func (e *ending) writer(t *testing.T, id int) {
	r := rand.New(rand.NewPCG(uint64(id), 9))
	for i := 0; ; i++ {
		name := fmt.Sprintf("/%d-%d%s", id, i%5, []string{".sst", ".log", ".big"}[i%3])
		f, err := e.v.Create(ctx, name, nil)
		if e.over(t, "create", err) {
			return
		}
		for range 4 {
			if _, err = f.Write(content(r.IntN(60_000), 1)); err == nil && r.IntN(3) == 0 {
				err = f.Sync()
			}
			if err != nil {
				break
			}
		}
		end := e.over(t, "write", err)
		err = f.Close()
		if end && err == nil {
			t.Errorf("Close of %s after an error: nil", name)
		}
		if e.over(t, "close", err) || end {
			return
		}
		if e.over(t, "rename", e.v.Rename(ctx, name, name+".x")) || i%2 == 0 && e.over(t, "remove", e.v.Remove(ctx, name+".x")) {
			return
		}
	}
}

func (e *ending) reader(t *testing.T, i int) {
	for n := 0; ; n++ {
		f, err := e.v.Open(ctx, fmt.Sprintf("/old%d.sst", i), &forstfs.OpenOptions{Access: forstfs.Access(n % 3)})
		if e.over(t, "open", err) {
			return
		}
		got, err := io.ReadAll(f)
		if err == nil && string(got) != string(patternOf(uint64(i), 150_000)) {
			t.Errorf("wrong bytes")
		}
		end := e.over(t, "read", err)
		_ = f.Close()
		if end || e.v.Err() != nil { // a dead volume still reads what it knows
			return
		}
		time.Sleep(30 * time.Millisecond)
	}
}
