// Package hedge wraps a store and asks a second time when a read is slow: stores answer most GETs in tens of milliseconds and a few
// in hundreds, and the second attempt rarely meets the same delay.
//
// A GET that has not been answered after a time that nine of ten are answered in is sent once more; the first answer counts and
// the other request is cancelled. The time adapts to what the store does. At most a tenth more requests are sent, whatever happens; and
// none for a while after the store has refused one, because a store that is overloaded must not be asked twice.
package hedge

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/forst-go/forst/forstfs/driver"
)

// Options change what New makes; nil and the zero value mean the defaults.
type Options struct {
	// Budget is the part of all GETs that may be sent a second time; 0 means 0.1.
	Budget float64
	// Floor is the least time after which a GET is sent again; 0 means 1 ms: below that a second request is no help.
	Floor time.Duration
	// Pause is how long nothing is sent twice after the store has answered an eligible GET with driver.KindTransient, as it does when it is
	// asked too much; 0 means 10 s.
	Pause time.Duration
}

// Metrics are totals since New.
type Metrics struct {
	GETs   int64         // GETs that could be hedged
	Hedged int64         // second requests
	Won    int64         // of these, those that answered first
	Denied int64         // slow GETs that were not sent again because the budget was spent or hedging paused
	Pauses int64         // times that the store asked for a rest
	Delay  time.Duration // after which a GET is sent again now; 0 while there are too few to tell
}

// String is one line.
func (m Metrics) String() string {
	return fmt.Sprintf("%d GETs, %d sent twice after %v, %d of these won, %d denied, %d pauses", m.GETs, m.Hedged, m.Delay, m.Won, m.Denied, m.Pauses)
}

const (
	window  = 512 // answers that the delay is taken from
	renewal = 16  // answers after which it is computed again
	burst   = 10  // second requests that may be saved up
)

// Store is the wrapper. It implements driver.Store.
type Store struct {
	inner driver.Store
	o     Options
	q     float64

	mu     sync.Mutex
	times  [window]time.Duration
	seen   int
	tokens float64
	until  time.Time // hedging pauses until then
	closed bool

	delay                              atomic.Int64
	gets, hedged, won, denied, stopped atomic.Int64
	busy                               sync.WaitGroup
}

// New wraps inner, which Close closes.
func New(inner driver.Store, o *Options) *Store {
	s := &Store{inner: inner, tokens: burst}
	if o != nil {
		s.o = *o
	}
	if s.o.Budget == 0 {
		s.o.Budget = 0.1
	}
	if s.o.Floor == 0 {
		s.o.Floor = time.Millisecond
	}
	if s.o.Pause == 0 {
		s.o.Pause = 10 * time.Second
	}
	s.q = 1 - 0.9*s.o.Budget // a little later than the budget allows, so that it is not spent when the slowest come
	return s
}

// Metrics takes a picture.
func (s *Store) Metrics() Metrics {
	return Metrics{GETs: s.gets.Load(), Hedged: s.hedged.Load(), Won: s.won.Load(), Denied: s.denied.Load(), Pauses: s.stopped.Load(), Delay: time.Duration(s.delay.Load())}
}

// eligible reports whether somebody waits for a request of the component.
func eligible(c driver.Component) bool {
	switch c {
	case driver.CompReadahead, driver.CompCompaction, driver.CompPack, driver.CompGC, driver.CompProbe:
		return false
	}
	return true
}

// answer is what one attempt brought.
type answer struct {
	r      io.ReadCloser
	err    error
	second bool
}

// Get is the Get of the wrapped store, or of the faster of two.
func (s *Store) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	if !eligible(driver.ComponentOf(ctx)) {
		return s.inner.Get(ctx, key, off, n)
	}
	if !s.enter() {
		return s.inner.Get(ctx, key, off, n) // which says that it is closed
	}
	s.gets.Add(1)
	start := time.Now()
	answers := make(chan answer)
	taken := make(chan struct{}) // closed when nobody takes an answer any more
	defer close(taken)
	var cancels []context.CancelFunc
	attempt := func(second bool) {
		actx, cancel := context.WithCancel(ctx)
		cancels = append(cancels, cancel)
		go func() {
			defer s.busy.Done()
			r, err := s.inner.Get(actx, key, off, n)
			select {
			case answers <- answer{r, err, second}:
			case <-taken:
				if err == nil {
					r.Close()
				}
				cancel()
			}
		}()
	}
	attempt(false)
	var slow <-chan time.Time
	if d := time.Duration(s.delay.Load()); d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		slow = timer.C
	}
	var first error
	for open := 1; ; {
		select {
		case <-slow:
			slow = nil
			if s.spend() {
				open++
				attempt(true)
			}
		case a := <-answers:
			open--
			s.note(start, a.err)
			if a.err != nil {
				first = cmp.Or(first, a.err)
				if open > 0 && driver.KindOf(a.err) == driver.KindTransient {
					continue // the other attempt may do better
				}
				for _, cancel := range cancels {
					cancel()
				}
				return nil, first
			}
			mine := 0
			if a.second {
				mine = 1
				s.won.Add(1)
			}
			for i, cancel := range cancels {
				if i != mine {
					cancel()
				}
			}
			return &body{a.r, cancels[mine]}, nil
		}
	}
}

// body ends its attempt's context when it is closed.
type body struct {
	io.ReadCloser
	cancel context.CancelFunc
}

func (b *body) Close() error {
	err := b.ReadCloser.Close()
	b.cancel()
	return err
}

// enter counts an attempt, unless the store is closed.
func (s *Store) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.busy.Add(1)
	s.tokens = min(s.tokens+s.o.Budget, burst)
	return true
}

// spend takes the budget of one second request, and counts it as under way.
func (s *Store) spend() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.tokens < 1 || time.Now().Before(s.until) {
		s.denied.Add(1)
		return false
	}
	s.tokens--
	s.hedged.Add(1)
	s.busy.Add(1)
	return true
}

// note learns from an answer. What a second request cut short was slower than the delay anyhow.
func (s *Store) note(start time.Time, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err == nil:
	case driver.KindOf(err) == driver.KindTransient && !driver.IsCanceled(err):
		s.until = time.Now().Add(s.o.Pause)
		s.stopped.Add(1)
		return
	default:
		return
	}
	s.times[s.seen%window] = time.Since(start)
	s.seen++
	if s.seen%renewal != 0 || s.seen < 4*renewal {
		return
	}
	t := slices.Clone(s.times[:min(s.seen, window)])
	slices.Sort(t)
	d := t[min(int(s.q*float64(len(t))), len(t)-1)]
	d = max(d, t[len(t)/2]*5/4) // where all answers take about the same time, a second request comes too late
	s.delay.Store(int64(max(d, s.o.Floor)))
}

// Put passes on.
func (s *Store) Put(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
	return s.inner.Put(ctx, key, data, o)
}

// Stat passes on.
func (s *Store) Stat(ctx context.Context, key string) (driver.Info, error) {
	return s.inner.Stat(ctx, key)
}

// List passes on.
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[driver.Info, error] {
	return s.inner.List(ctx, prefix, after)
}

// Delete passes on.
func (s *Store) Delete(ctx context.Context, keys []string) error { return s.inner.Delete(ctx, keys) }

// Capabilities are those of the wrapped store.
func (s *Store) Capabilities() driver.Capabilities { return s.inner.Capabilities() }

// Unwrap gives the wrapped store.
func (s *Store) Unwrap() driver.Store { return s.inner }

// Close closes the wrapped store and waits for the requests that lost.
func (s *Store) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	err := s.inner.Close()
	s.busy.Wait()
	return err
}
