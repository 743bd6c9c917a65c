// Package fault wraps a store and makes it fail, lie and dawdle on demand: for tests, simulations and benchmarks.
//
// Faults are rules (see Rule and the functions that make an Action); a Latency model adds time; Before and After give a
// scheduler the control of every request; a Trace records what was asked. Everything random hangs on Options.Seed and on
// what is asked, not on the order in which goroutines come. All waiting is by timers and channels, so the package works
// with virtual time inside testing/synctest.
package fault

import (
	"context"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/forst-go/forst/forstfs/driver"
)

// Op is the name of a request, as in driver.Error.
type Op string

// The requests.
const (
	Put    Op = "put"
	Get    Op = "get"
	Stat   Op = "stat"
	List   Op = "list"
	Delete Op = "delete"
	Copy   Op = "copy"
)

// Call describes one request.
type Call struct {
	Op        Op
	Key       string   // of a list its prefix, of a delete its first key, of a copy its target
	Keys      []string // of a delete
	From      string   // of a copy
	After     string   // of a list
	Off, N    int64    // of a get
	Bytes     int64    // of a put
	IfAbsent  bool
	Component driver.Component
	Seq       uint64 // 1, 2, 3 ... in the order of coming
}

// Options for New; nil means no fault at all.
type Options struct {
	Seed    uint64
	Rules   []Rule
	Latency Latency

	// Before is called when a request comes and may block; an error is what the caller gets, and nothing is sent.
	Before func(ctx context.Context, c Call) error
	// After is called when a request has been answered, before the caller learns it, and may block; what it returns is
	// what the caller gets.
	After func(ctx context.Context, c Call, err error) error

	Trace *Trace

	// LateStore is where late requests land. If it is nil they land in the wrapped store, so Close waits for them, and
	// those that wait for a trigger never land once Close was called. If it is another handle on the same objects, late
	// requests outlive Close, as they outlive a process; Drain waits for them, and the caller closes it after that.
	LateStore driver.Store
}

// Store is the wrapper. It implements driver.Store, and driver.Copier for driver.As if the wrapped store does.
type Store struct {
	inner driver.Store
	opt   Options
	seq   atomic.Uint64

	mu     sync.Mutex
	rules  []*ruleState
	nextID int
	tries  map[string]uint64
	closed bool
	busy   sync.WaitGroup // requests under way
	late   int            // requests that will land
	idle   chan struct{}  // closed when late becomes 0
	ending chan struct{}  // closed by Close
}

// announcer is what a store offers that wants to know of requests that are under way (see package mem).
type announcer interface {
	Announce(key string, data []byte, o driver.PutOptions) (withdraw func())
	AnnounceDelete(keys []string) (withdraw func())
}

// New wraps inner, which Close closes. It panics on a rule that makes no sense: those are bugs of the test.
func New(inner driver.Store, o *Options) *Store {
	s := &Store{inner: inner, tries: map[string]uint64{}, ending: make(chan struct{})}
	if o != nil {
		s.opt = *o
	}
	for _, r := range s.opt.Rules {
		s.Add(r)
	}
	return s
}

// Add puts a rule behind the others until remove is called. It panics on a rule that makes no sense.
func (s *Store) Add(r Rule) (remove func()) {
	if err := r.check(); err != nil {
		panic(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st := &ruleState{Rule: r, id: s.nextID, tries: map[string]uint64{}}
	s.nextID++
	s.rules = append(s.rules, st)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.rules = slices.DeleteFunc(slices.Clone(s.rules), func(r *ruleState) bool { return r == st })
	}
}

// Pending is the number of requests that are yet to land late or again.
func (s *Store) Pending() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.late
}

// Drain waits until every late request has landed. The triggers of those that wait for one must have fired.
func (s *Store) Drain(ctx context.Context) error {
	for {
		s.mu.Lock()
		n, idle := s.late, s.idle
		s.mu.Unlock()
		if n == 0 {
			return nil
		}
		select {
		case <-idle:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *Store) lateBegin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.late++; s.late == 1 {
		s.idle = make(chan struct{})
	}
}

func (s *Store) lateEnd() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.late--; s.late == 0 {
		close(s.idle)
	}
}

// flight is one request on its way.
type flight struct {
	s      *Store
	ctx    context.Context
	call   Call
	act    Action
	omit   []*ruleState
	reply  time.Duration // what the way back takes
	traced *traced
}

// begin counts a request in, asks the rules and takes the way to the store. After an error the request is over; otherwise
// the caller must call end.
func (s *Store) begin(ctx context.Context, c Call) (*flight, error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, &driver.Error{Op: string(c.Op), Path: c.Key, Kind: driver.KindClosed}
	}
	s.busy.Add(1)
	rules := s.rules
	s.mu.Unlock()

	c.Component = driver.ComponentOf(ctx)
	c.Seq = s.seq.Add(1)
	f := &flight{s: s, ctx: ctx, call: c, traced: s.opt.Trace.begin(c)}
	if s.opt.Before != nil {
		if err := s.opt.Before(ctx, c); err != nil {
			return nil, f.end(f.wrap(err))
		}
	}
	extra := f.decide(rules)
	way := s.sample(&c) + extra
	f.reply = way / 2
	out := way - f.reply + s.opt.Latency.transfer(c.Bytes)
	if err := sleep(ctx, out); err != nil {
		f.reply = 0
		return nil, f.end(f.wrap(err))
	}
	switch f.act.kind {
	case actFail:
		return nil, f.end(f.act.failure(&c))
	case actHang:
		<-ctx.Done()
		f.reply = 0
		return nil, f.end(f.wrap(ctx.Err()))
	}
	return f, nil
}

// decide asks every rule, so that each counts what it sees, and returns the delays that fired.
func (f *flight) decide(rules []*ruleState) (extra time.Duration) {
	for _, r := range rules {
		if !r.decide(f.s.opt.Seed, &f.call) {
			continue
		}
		switch {
		case r.Do.kind == actDelay:
			extra += r.Do.delay
		case r.Do.kind == actOmit:
			f.omit = append(f.omit, r)
		case f.act.kind == actNone:
			f.act = r.Do
		}
	}
	return extra
}

// sample draws the latency of a request.
func (s *Store) sample(c *Call) time.Duration {
	d := s.opt.Latency.of(c.Op)
	if len(d) < 2 {
		return d.At(1)
	}
	id := string(c.Op) + " " + c.Key
	s.mu.Lock()
	s.tries[id]++
	n := s.tries[id]
	s.mu.Unlock()
	return d.At(unit(s.opt.Seed, 1<<32, id, n))
}

// end takes the way back and gives what the caller gets.
func (f *flight) end(err error) error {
	defer f.s.busy.Done()
	if serr := sleep(f.ctx, f.reply); serr != nil && err == nil {
		err = f.wrap(serr) // it has happened, but the caller was gone
	}
	switch {
	case err != nil:
	case f.act.kind == actLost, f.act.kind == actLate, f.act.kind == actTorn && f.act.err != nil:
		err = f.act.failure(&f.call)
	}
	if f.s.opt.After != nil {
		if aerr := f.s.opt.After(f.ctx, f.call, err); aerr != err {
			err = f.wrap(aerr)
		}
	}
	f.s.opt.Trace.end(f.traced, err)
	return err
}

// wrap makes an error one of a driver.
func (f *flight) wrap(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := err.(*driver.Error); ok {
		return err
	}
	kind := driver.KindTransient
	if driver.IsCanceled(err) {
		kind = driver.KindOther
	}
	return &driver.Error{Op: string(f.call.Op), Path: f.call.Key, Kind: kind, Err: err}
}

// land lets a changing request happen: now, later, or now and later.
func (f *flight) land(do func(context.Context, driver.Store) error, announce func() (withdraw func())) error {
	switch f.act.kind {
	case actLate:
		f.later(do, announce)
		return nil // end makes the error
	case actTwice:
		err := do(f.ctx, f.s.inner)
		f.later(do, announce)
		return err
	}
	return do(f.ctx, f.s.inner)
}

// later lets the request happen in the background. do must not use what belongs to the caller.
func (f *flight) later(do func(context.Context, driver.Store) error, announce func() (withdraw func())) {
	s, act := f.s, f.act
	where, ending := s.opt.LateStore, make(chan struct{})
	if where == nil {
		where, ending = s.inner, s.ending
	}
	ctx := context.WithoutCancel(f.ctx)
	withdraw := announce()
	s.lateBegin()
	go func() {
		defer s.lateEnd()
		defer withdraw()
		if act.on != nil {
			select {
			case <-act.on:
			case <-ending:
				return
			}
		} else if err := sleep(ctx, act.delay); err != nil {
			return
		}
		_ = do(ctx, where) // nobody is there to learn it
	}()
}

// Put stores an object, or does what the rules say.
func (s *Store) Put(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
	withdraw := s.announcePut(key, data, o) // on a slow way a crash finds it under way
	defer withdraw()
	f, err := s.begin(ctx, Call{Op: Put, Key: key, Bytes: int64(len(data)), IfAbsent: o.IfAbsent})
	if err != nil {
		return err
	}
	if f.act.kind == actTorn {
		data = data[:min(f.act.n, int64(len(data)))]
	}
	if f.act.kind == actLate || f.act.kind == actTwice {
		data = slices.Clone(data) // the caller's when we return
	}
	return f.end(f.land(func(ctx context.Context, to driver.Store) error { return to.Put(ctx, key, data, o) },
		func() func() { return s.announcePut(key, data, o) }))
}

func (s *Store) announcePut(key string, data []byte, o driver.PutOptions) (withdraw func()) {
	if a, ok := driver.As[announcer](s.inner); ok && driver.CheckKey(key) == nil {
		return a.Announce(key, data, o)
	}
	return func() {}
}

// Delete removes objects, or does what the rules say.
func (s *Store) Delete(ctx context.Context, keys []string) error {
	withdraw := s.announceDelete(keys)
	defer withdraw()
	c := Call{Op: Delete, Keys: slices.Clone(keys)}
	if len(keys) > 0 {
		c.Key = keys[0]
	}
	f, err := s.begin(ctx, c)
	if err != nil {
		return err
	}
	return f.end(f.land(func(ctx context.Context, to driver.Store) error { return to.Delete(ctx, c.Keys) },
		func() func() { return s.announceDelete(c.Keys) }))
}

func (s *Store) announceDelete(keys []string) (withdraw func()) {
	if slices.ContainsFunc(keys, func(k string) bool { return driver.CheckKey(k) != nil }) {
		return func() {}
	}
	if a, ok := driver.As[announcer](s.inner); ok {
		return a.AnnounceDelete(keys)
	}
	return func() {}
}

// Get opens a range, whose reader is paced and cut as latency and rules say.
func (s *Store) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	f, err := s.begin(ctx, Call{Op: Get, Key: key, Off: off, N: n})
	if err != nil {
		return nil, err
	}
	r, err := s.inner.Get(ctx, key, off, n)
	if err = f.end(err); err != nil {
		if r != nil {
			r.Close()
		}
		return nil, err
	}
	return f.reader(r), nil
}

// Stat describes an object, or does what the rules say.
func (s *Store) Stat(ctx context.Context, key string) (driver.Info, error) {
	f, err := s.begin(ctx, Call{Op: Stat, Key: key})
	if err != nil {
		return driver.Info{}, err
	}
	info, err := s.inner.Stat(ctx, key)
	if err = f.end(err); err != nil {
		return driver.Info{}, err
	}
	return info, nil
}

// List lists objects; each page of the wrapped store's size takes the time of one request.
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[driver.Info, error] {
	return func(yield func(driver.Info, error) bool) {
		f, err := s.begin(ctx, Call{Op: List, Key: prefix, After: after})
		if err != nil {
			yield(driver.Info{}, err)
			return
		}
		if err := f.end(nil); err != nil {
			yield(driver.Info{}, err)
			return
		}
		page := s.inner.Capabilities().ListPage
		n := 0
		for info, err := range s.inner.List(ctx, prefix, after) {
			if err == nil && page > 0 && n > 0 && n%page == 0 {
				if serr := sleep(ctx, s.sample(&f.call)); serr != nil {
					yield(driver.Info{}, f.wrap(serr))
					return
				}
			}
			n++
			if err == nil && slices.ContainsFunc(f.omit, func(r *ruleState) bool { return r.matchesKey(info.Key) }) {
				continue
			}
			if !yield(info, err) {
				return
			}
		}
	}
}

// Capabilities are those of the wrapped store.
func (s *Store) Capabilities() driver.Capabilities { return s.inner.Capabilities() }

// Close waits for the requests under way, and for the late ones as Options.LateStore says, and closes the wrapped store.
func (s *Store) Close() error {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.ending)
	}
	s.mu.Unlock()
	s.busy.Wait()
	if s.opt.LateStore == nil {
		_ = s.Drain(context.Background())
	}
	return s.inner.Close()
}

// Unwrap gives the wrapped store, with faults in its Copy if it has one.
func (s *Store) Unwrap() driver.Store {
	if _, ok := driver.As[driver.Copier](s.inner); ok {
		return copier{s.inner, s}
	}
	return s.inner
}

// copier is a layer that only driver.As meets: it is there if, and only if, the wrapped store can copy.
type copier struct {
	driver.Store
	s *Store
}

func (c copier) Unwrap() driver.Store { return c.Store }

// Copy copies on the server, or does what the rules say.
func (c copier) Copy(ctx context.Context, src, dst string) error {
	f, err := c.s.begin(ctx, Call{Op: Copy, Key: dst, From: src})
	if err != nil {
		return err
	}
	return f.end(f.land(func(ctx context.Context, to driver.Store) error {
		in, ok := driver.As[driver.Copier](to)
		if !ok {
			return &driver.Error{Op: string(Copy), Path: dst, Kind: driver.KindUnsupported}
		}
		return in.Copy(ctx, src, strings.Clone(dst))
	}, func() func() { return func() {} }))
}
