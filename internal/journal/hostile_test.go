package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
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
	hurt    bool            // an image was damaged
	deleted map[string]bool // keys whose DELETE has landed; what is there all the same is a late copy
	dropped bool            // an acknowledged drop
}

func (w *world) fail(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken == nil {
		w.broken = fmt.Errorf(format, args...)
	}
}

// trace prints what lands, with -sim.trace.
func (w *world) trace(format string, args ...any) {
	if *simTrace {
		fmt.Printf(time.Now().Format("04:05.000")+" "+format+"\n", args...)
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
	w.trace("put %s: %v", key, err)
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

// hostile is one process's way to the store of a world. The luck of a request depends only on the seed, the process, the
// request and how often it was made, so a schedule does not depend on how goroutines are scheduled.
type hostile struct {
	w    *world
	name string
	seed uint64
	evil float64 // 1 is bad, 0 means no faults but latency

	mu    sync.Mutex
	rng   *rand.Rand // what the process itself does
	times map[string]uint64
	dead  bool // stopped for ever
	until time.Time
}

// luck is the fate of one request.
type luck struct {
	*hostile
	rng *rand.Rand
}

func (h *hostile) luck(op, key string) *luck {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.times[op+key]++
	f := fnv.New64a()
	fmt.Fprintf(f, "%s %s %s %d", h.name, op, key, h.times[op+key])
	return &luck{h, rand.New(rand.NewPCG(h.seed, f.Sum64()))}
}

func (h *luck) chance(p float64) bool { return h.rng.Float64() < p*h.evil }

func (h *luck) within(d time.Duration) time.Duration { return time.Duration(h.rng.Int64N(int64(d))) }

// between is a choice of the process.
func (h *hostile) between(lo, hi time.Duration) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return lo + time.Duration(h.rng.Int64N(int64(hi-lo)+1))
}

var errOver = &driver.Error{Op: "any", Kind: driver.KindClosed, Err: errors.New("the simulation is over")}

// step is a moment at which the process may stall, or stop for ever.
func (h *luck) step(ctx context.Context) error {
	d := h.within(20 * time.Millisecond)
	stall, stop := time.Duration(0), false
	if h.chance(0.02) {
		stall = h.within(time.Minute) // the whole process
	}
	if h.chance(0.02) {
		d += h.within(30 * time.Second) // this request only
	}
	stop = h.chance(0.002)
	h.mu.Lock()
	if stall > 0 {
		h.until = time.Now().Add(stall)
	}
	h.dead = h.dead || stop
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

func (h *luck) transient(op, key string) error {
	if h.chance(0.3) {
		return &driver.Error{Op: op, Path: key, Kind: driver.KindPermission, Err: errors.New("token expired")}
	}
	return lost(op, key)
}

// change is a PUT or DELETE: do carries it out.
func (h *luck) change(ctx context.Context, op, key string, do func() error) error {
	if err := h.step(ctx); err != nil {
		return err
	}
	switch {
	case h.chance(0.04): // never
		return h.transient(op, key)
	case h.chance(0.06): // late
		h.w.later(h.within(2*time.Minute), func() { do() })
		return h.transient(op, key)
	}
	if h.chance(0.10) { // again
		h.w.later(h.within(5*time.Minute), func() { do() })
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
	return h.luck("put", key).change(ctx, "put", key, func() error { return h.w.land(key, data, o) })
}

func (h *hostile) Delete(ctx context.Context, keys []string) error {
	return h.luck("delete", keys[0]).change(ctx, "delete", keys[0], func() error {
		h.w.trace("%s deletes %v", h.name, keys)
		h.w.mu.Lock()
		for _, key := range keys {
			h.w.deleted[key] = true
		}
		h.w.mu.Unlock()
		return h.w.store.Delete(context.Background(), keys)
	})
}

func (h *luck) look(ctx context.Context, op, key string) error {
	if err := h.step(ctx); err != nil {
		return err
	}
	if h.chance(0.02) {
		return h.transient(op, key)
	}
	return nil
}

func (h *hostile) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	l := h.luck("get", key)
	if err := l.look(ctx, "get", key); err != nil {
		return nil, err
	}
	r, err := h.w.store.Get(ctx, key, off, n)
	if serr := l.step(ctx); serr != nil {
		return nil, serr
	}
	return r, err
}

func (h *hostile) Stat(ctx context.Context, key string) (driver.Info, error) {
	if err := h.luck("stat", key).look(ctx, "stat", key); err != nil {
		return driver.Info{}, err
	}
	return h.w.store.Stat(ctx, key)
}

func (h *hostile) List(ctx context.Context, prefix, after string) iter.Seq2[driver.Info, error] {
	return func(yield func(driver.Info, error) bool) {
		l := h.luck("list", prefix+after)
		if err := l.look(ctx, "list", prefix); err != nil {
			yield(driver.Info{}, err)
			return
		}
		all, err := driver.ListAll(ctx, h.w.store, prefix, after)
		if serr := l.step(ctx); serr != nil {
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
