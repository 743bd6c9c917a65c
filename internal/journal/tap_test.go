package journal

import (
	"context"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/forst-go/forst/forstfs/driver"
)

// tap is a process's way to the store: it records requests, and lets a test hold, fail or change each of them.
type tap struct {
	driver.Store
	latency time.Duration // of every request, in the time of the bubble

	mu    sync.Mutex
	rules []*rule
	trace []request
	start time.Time
}

// request is one line of a trace.
type request struct {
	at   time.Duration // since the tap was made
	comp driver.Component
	op   string // "put", "get", "list", "delete", "stat"
	key  string
}

func (r request) String() string { return fmt.Sprintf("%s %s %s", r.comp, r.op, r.key) }

// rule applies to the skip-th matching request, and to count from there on (0: one, -1: all).
type rule struct {
	op, prefix  string
	skip, count int

	hold   chan struct{} // if not nil: wait until it is closed, before the request
	hit    chan struct{} // closed at the first match
	before error         // returned without a request
	after  error         // returned after the request was made
	twice  bool          // a put is made twice and reports the second result, as a client that repeats requests
}

func newTap(s driver.Store) *tap { return &tap{Store: s, start: time.Now()} }

// add puts a rule in force.
func (t *tap) add(r rule) *rule {
	r.hit = make(chan struct{})
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rules = append(t.rules, &r)
	return &r
}

// stall holds the next matching request until the returned rule is released.
func (t *tap) stall(op, prefix string) *rule {
	return t.add(rule{op: op, prefix: prefix, hold: make(chan struct{})})
}

func (r *rule) release() { close(r.hold) }

// lost is what a request gets whose reply went missing.
func lost(op, key string) error {
	return &driver.Error{Op: op, Path: key, Kind: driver.KindTransient, Err: fmt.Errorf("connection reset")}
}

func (t *tap) enter(ctx context.Context, op, key string) (*rule, error) {
	t.mu.Lock()
	t.trace = append(t.trace, request{time.Since(t.start), driver.ComponentOf(ctx), op, key})
	var found *rule
	for _, r := range t.rules {
		if r.op != op || !strings.HasPrefix(key, r.prefix) {
			continue
		}
		if r.skip > 0 {
			r.skip--
			continue
		}
		if r.count > 0 {
			r.count--
		}
		if r.count == 0 {
			r.op = "done" // matches nothing any more
		}
		found = r
		select {
		case <-r.hit:
		default:
			close(r.hit)
		}
		break
	}
	t.mu.Unlock()
	if t.latency > 0 {
		if err := sleep(ctx, t.latency); err != nil {
			return nil, err
		}
	}
	if found == nil {
		return nil, nil
	}
	if found.hold != nil {
		select {
		case <-found.hold:
		case <-ctx.Done():
			return found, &driver.Error{Op: op, Path: key, Err: ctx.Err()}
		}
	}
	return found, found.before
}

func (t *tap) Put(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
	r, err := t.enter(ctx, "put", key)
	if err != nil {
		return err
	}
	if r != nil && r.twice {
		if err := t.Store.Put(ctx, key, data, o); err != nil {
			return err
		}
	}
	err = t.Store.Put(ctx, key, data, o)
	if r != nil && r.after != nil {
		return r.after
	}
	return err
}

func (t *tap) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	r, err := t.enter(ctx, "get", key)
	if err != nil {
		return nil, err
	}
	if r != nil && r.after != nil {
		return nil, r.after
	}
	return t.Store.Get(ctx, key, off, n)
}

func (t *tap) Stat(ctx context.Context, key string) (driver.Info, error) {
	if _, err := t.enter(ctx, "stat", key); err != nil {
		return driver.Info{}, err
	}
	return t.Store.Stat(ctx, key)
}

func (t *tap) List(ctx context.Context, prefix, after string) iter.Seq2[driver.Info, error] {
	name := prefix
	if after != "" {
		name += " after " + after
	}
	return func(yield func(driver.Info, error) bool) {
		if _, err := t.enter(ctx, "list", name); err != nil {
			yield(driver.Info{}, err)
			return
		}
		for i, err := range t.Store.List(ctx, prefix, after) {
			if !yield(i, err) {
				return
			}
		}
	}
}

func (t *tap) Delete(ctx context.Context, keys []string) error {
	r, err := t.enter(ctx, "delete", strings.Join(keys, " "))
	if err != nil {
		return err
	}
	err = t.Store.Delete(ctx, keys)
	if r != nil && r.after != nil {
		return r.after
	}
	return err
}

// requests returns the trace, or the part of it of one operation on keys with a prefix.
func (t *tap) requests(op, prefix string) []request {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(t.trace), func(r request) bool {
		return op != "" && r.op != op || !strings.HasPrefix(r.key, prefix)
	})
}

// phases groups the trace by the time at which the requests were sent: with a latency, each group depends on the one
// before. Requests of one group are sorted.
func (t *tap) phases() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	groups := map[time.Duration][]string{}
	var times []time.Duration
	for _, r := range t.trace {
		if groups[r.at] == nil {
			times = append(times, r.at)
		}
		groups[r.at] = append(groups[r.at], r.String())
	}
	slices.Sort(times)
	var b strings.Builder
	for i, at := range times {
		slices.Sort(groups[at])
		for _, line := range groups[at] {
			fmt.Fprintf(&b, "%d %s\n", i+1, line)
		}
	}
	return b.String()
}

// changes counts the requests that change the store.
func (t *tap) changes() int { return len(t.requests("put", "")) + len(t.requests("delete", "")) }
