package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/mem"
)

// world is the fault model of docs/model/README.md: requests land late, twice or never, replies are lost, processes
// stall between any two steps or stop for ever, an image may get damaged.
type world struct {
	store *mem.Store
	end   chan struct{} // closed when the simulation is over: everything that still runs gives up

	mu      sync.Mutex
	content map[string][]byte // first bytes that landed under each key of a data frame
	broken  error             // the first broken property

	// What was promised to somebody.
	acked   map[string]bool // operations
	history []string        // the longest state that an owner has acknowledged something on top of
	damaged map[string]bool
	dropped bool // an acknowledged drop
}

func (w *world) fail(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken == nil {
		w.broken = fmt.Errorf(format, args...)
	}
}

func (w *world) over() bool {
	select {
	case <-w.end:
		return true
	default:
		return false
	}
}

// later runs f after d, unless the world ends first.
func (w *world) later(d time.Duration, f func()) {
	go func() {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
			f()
		case <-w.end:
		}
	}()
}

// land carries out a PUT.
func (w *world) land(key string, data []byte, o driver.PutOptions) error {
	err := w.store.Put(context.Background(), key, data, o)
	if err == nil {
		if _, isFrame := ParseFrameKey(key); isFrame {
			f, _ := DecodeFrame(data)
			w.mu.Lock()
			first := w.content[key]
			if f.Kind == FrameData && first == nil {
				w.content[key] = data
			}
			w.mu.Unlock()
			if f.Kind == FrameData && first != nil && !bytes.Equal(first, data) {
				w.fail("name reuse: %s held two different data frames", key)
			}
		}
	}
	return err
}

// hostile is one process's way to the store of a world. Its luck is its own, so that processes do not disturb each other's.
type hostile struct {
	w    *world
	name string

	mu    sync.Mutex
	rng   *rand.Rand
	evil  float64 // 0: no faults but latency
	dead  bool    // stopped for ever
	until time.Time
}

func (h *hostile) chance(p float64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.rng.Float64() < p*h.evil
}

func (h *hostile) between(lo, hi time.Duration) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return lo + time.Duration(h.rng.Int64N(int64(hi-lo)+1))
}

var errOver = &driver.Error{Op: "any", Kind: driver.KindClosed, Err: errors.New("the simulation is over")}

// step is a moment at which the process may stall, or stop for ever.
func (h *hostile) step(ctx context.Context) error {
	d := h.between(0, 20*time.Millisecond)
	if h.chance(0.02) { // the whole process stalls
		h.mu.Lock()
		h.until = time.Now().Add(time.Duration(h.rng.Int64N(int64(time.Minute))))
		h.mu.Unlock()
	}
	if h.chance(0.02) {
		d += h.between(0, 30*time.Second) // this request only
	}
	if h.chance(0.002) {
		h.mu.Lock()
		h.dead = true
		h.mu.Unlock()
	}
	h.mu.Lock()
	dead := h.dead
	d = max(d, time.Until(h.until))
	h.mu.Unlock()
	if dead {
		<-h.w.end
		return errOver
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-h.w.end:
		return errOver
	case <-ctx.Done():
		return &driver.Error{Op: "any", Err: ctx.Err()}
	}
}

func (h *hostile) transient(op, key string) error {
	if h.chance(0.3) {
		return &driver.Error{Op: op, Path: key, Kind: driver.KindPermission, Err: errors.New("token expired")}
	}
	return lost(op, key)
}

// change is a PUT or DELETE: do carries it out.
func (h *hostile) change(ctx context.Context, op, key string, do func() error) error {
	if err := h.step(ctx); err != nil {
		return err
	}
	switch {
	case h.chance(0.04): // never
		return h.transient(op, key)
	case h.chance(0.06): // late
		h.w.later(h.between(0, 2*time.Minute), func() { do() })
		return h.transient(op, key)
	}
	if h.chance(0.10) { // again
		h.w.later(h.between(0, 5*time.Minute), func() { do() })
	}
	err := do()
	if h.chance(0.05) { // the client repeats the request
		err = do()
	}
	if serr := h.step(ctx); serr != nil {
		return serr
	}
	if h.chance(0.06) {
		return h.transient(op, key)
	}
	return err
}

func (h *hostile) Put(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
	data = bytes.Clone(data)
	return h.change(ctx, "put", key, func() error { return h.w.land(key, data, o) })
}

func (h *hostile) Delete(ctx context.Context, keys []string) error {
	return h.change(ctx, "delete", keys[0], func() error { return h.w.store.Delete(context.Background(), keys) })
}

func (h *hostile) look(ctx context.Context, op, key string) error {
	if err := h.step(ctx); err != nil {
		return err
	}
	if h.chance(0.02) {
		return h.transient(op, key)
	}
	return nil
}

func (h *hostile) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	if err := h.look(ctx, "get", key); err != nil {
		return nil, err
	}
	r, err := h.w.store.Get(ctx, key, off, n)
	if serr := h.step(ctx); serr != nil {
		return nil, serr
	}
	return r, err
}

func (h *hostile) Stat(ctx context.Context, key string) (driver.Info, error) {
	if err := h.look(ctx, "stat", key); err != nil {
		return driver.Info{}, err
	}
	return h.w.store.Stat(ctx, key)
}

func (h *hostile) List(ctx context.Context, prefix, after string) iter.Seq2[driver.Info, error] {
	return func(yield func(driver.Info, error) bool) {
		if err := h.look(ctx, "list", prefix); err != nil {
			yield(driver.Info{}, err)
			return
		}
		all, err := driver.ListAll(ctx, h.w.store, prefix, after)
		if serr := h.step(ctx); serr != nil {
			err = serr
		}
		if err != nil {
			yield(driver.Info{}, err)
			return
		}
		for _, i := range all {
			if !yield(i, nil) {
				return
			}
		}
	}
}

func (h *hostile) Capabilities() driver.Capabilities { return h.w.store.Capabilities() }
func (h *hostile) Close() error                      { return nil }
