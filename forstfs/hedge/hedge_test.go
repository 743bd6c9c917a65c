package hedge_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/forst-go/forst/conformance"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/fault"
	"github.com/forst-go/forst/forstfs/hedge"
	"github.com/forst-go/forst/forstfs/mem"
)

// TestConformance: the wrapper keeps the contract, also while it asks twice.
func TestConformance(t *testing.T) {
	conformance.RunStore(t, conformance.Maker{Fresh: func(conformance.TB) func(context.Context) (driver.Store, error) {
		b := mem.NewBucket(nil)
		return func(context.Context) (driver.Store, error) {
			s, err := b.Open("vol")
			return hedge.New(s, &hedge.Options{Budget: 0.5, Floor: time.Nanosecond}), err
		}
	}})
}

// world is a store with one object of 4 KiB behind the latency of l, wrapped if o is not nil.
func world(t *testing.T, seed uint64, l fault.Latency, o *hedge.Options) (driver.Store, *hedge.Store, *atomic.Int64) {
	t.Helper()
	s, err := mem.NewBucket(nil).Open("vol")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), "k", make([]byte, 4<<10), driver.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	var gets atomic.Int64
	faulty := fault.New(s, &fault.Options{Seed: seed, Latency: l, Before: func(context.Context, fault.Call) error {
		gets.Add(1)
		return nil
	}})
	if o == nil {
		return faulty, nil, &gets
	}
	h := hedge.New(faulty, o)
	return h, h, &gets
}

func get(ctx context.Context, s driver.Store) error {
	p := make([]byte, 4<<10)
	r, err := s.Get(ctx, "k", 0, int64(len(p)))
	if err != nil {
		return err
	}
	if _, err := io.ReadFull(r, p); err != nil {
		return err
	}
	return r.Close()
}

// TestTail measures in virtual time what hedging does to the published quantiles of S3: p99.9 falls by at least 30 % for at most 10 % more GETs.
func TestTail(t *testing.T) {
	quantiles := func(o *hedge.Options) (q []time.Duration, gets int64) {
		synctest.Test(t, func(t *testing.T) {
			s, h, n := world(t, 1, fault.S3Latency(), o)
			var d []time.Duration
			const reads = 20_000
			for range reads {
				start := time.Now()
				if err := get(t.Context(), s); err != nil {
					t.Fatal(err)
				}
				d = append(d, time.Since(start))
			}
			if h != nil {
				t.Log(h.Metrics())
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			slices.Sort(d)
			for _, p := range []float64{.5, .9, .99, .999} {
				q = append(q, d[int(p*reads)])
			}
			gets = n.Load()
		})
		return q, gets
	}
	plain, n := quantiles(nil)
	hedged, m := quantiles(&hedge.Options{})
	extra := float64(m)/float64(n) - 1
	change := float64(hedged[3])/float64(plain[3]) - 1
	t.Logf("p50 p90 p99 p99.9: plain %v, hedged %v; p99.9 %+.0f %% for %+.1f %% GETs", plain, hedged, 100*change, 100*extra)
	if change > -0.3 || extra > 0.1 {
		t.Error("want p99.9 down by 30 % for at most 10 % more GETs")
	}
}

// TestThrottled: a store that asks for a rest is not asked twice, and a store that is slow in everything costs the budget at most.
func TestThrottled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, h, _ := world(t, 1, fault.S3Latency(), &hedge.Options{Pause: time.Hour})
		for range 1000 {
			if err := get(t.Context(), s); err != nil {
				t.Fatal(err)
			}
		}
		before := h.Metrics()
		if before.Hedged == 0 {
			t.Fatal("nothing was sent twice")
		}
		f, _ := driver.As[*fault.Store](s)
		remove := f.Add(fault.Rule{Ops: []fault.Op{fault.Get}, Do: fault.Throttle()})
		if err := get(t.Context(), s); driver.KindOf(err) != driver.KindTransient {
			t.Fatal(err)
		}
		remove()
		for range 1000 {
			if err := get(t.Context(), s); err != nil {
				t.Fatal(err)
			}
		}
		m := h.Metrics()
		if m.Hedged != before.Hedged || m.Pauses != 1 || m.Denied == before.Denied {
			t.Errorf("after the store asked for a rest: %v; before: %v", m, before)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestBudget: when the store becomes slow as a whole, at most a tenth of the GETs is sent twice.
func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := mem.NewBucket(nil).Open("vol")
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Put(t.Context(), "k", make([]byte, 4<<10), driver.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		var n, slow atomic.Int64
		f := fault.New(s, &fault.Options{Before: func(ctx context.Context, c fault.Call) error {
			n.Add(1)
			d := 10 * time.Millisecond
			if slow.Load() != 0 {
				d = time.Second
			}
			select {
			case <-time.After(d):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}})
		h := hedge.New(f, nil)
		for i := range 3000 {
			if i == 1000 {
				n.Store(0)
				slow.Store(1)
			}
			if err := get(t.Context(), h); err != nil {
				t.Fatal(err)
			}
		}
		if n.Load() > 2000*11/10+10 {
			t.Errorf("%d requests for 2000 GETs", n.Load())
		}
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestErrors: what is not there is not asked for twice, one slow attempt is covered by the other, and a reader that gives up gets its context's error.
func TestErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, h, n := world(t, 1, fault.FixedLatency(0, 10*time.Millisecond, 0), &hedge.Options{Pause: time.Nanosecond})
		for range 100 {
			if err := get(t.Context(), s); err != nil {
				t.Fatal(err)
			}
		}
		n.Store(0)
		if _, err := s.Get(t.Context(), "missing", 0, 1); driver.KindOf(err) != driver.KindNotExist {
			t.Errorf("a missing object: %v", err)
		}
		f, _ := driver.As[*fault.Store](s)
		remove := f.Add(fault.Rule{Ops: []fault.Op{fault.Get}, Nth: 1, Do: fault.Delay(time.Second)})
		start := time.Now()
		if err := get(t.Context(), s); err != nil {
			t.Errorf("one of two attempts is slow: %v", err)
		}
		if time.Since(start) > 100*time.Millisecond {
			t.Errorf("the second attempt was not taken: %v", time.Since(start))
		}
		remove()
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := get(ctx, s); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a reader that gives up: %v", err)
		}
		if h.Metrics().Won != 1 {
			t.Error(h.Metrics())
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if err := get(t.Context(), s); driver.KindOf(err) != driver.KindClosed {
			t.Errorf("after Close: %v", err)
		}
	})
}

func Example() {
	inner, _ := mem.NewBucket(nil).Open("vol")
	s := hedge.New(inner, nil)
	defer s.Close()
	fmt.Println(s.Metrics().GETs)
	// Output: 0
}
