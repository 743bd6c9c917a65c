package fault_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/fault"
)

func TestLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		lat := fault.FixedLatency(28*time.Millisecond, 24*time.Millisecond, 1e6)
		lat.List = fault.Fixed(30 * time.Millisecond)
		s, honest := world(&fault.Options{Latency: lat, Rules: []fault.Rule{{Prefix: "slow", Do: fault.Delay(time.Second)}}})
		took := func(f func()) time.Duration {
			begun := time.Now()
			f()
			return time.Since(begun).Round(time.Microsecond)
		}
		data := make([]byte, 100_000) // 100 ms
		for _, tt := range []struct {
			what string
			want time.Duration
			do   func()
		}{
			{"put", 128 * time.Millisecond, func() { _ = s.Put(ctx, "k", data, driver.PutOptions{}) }},
			{"slow put", 1128 * time.Millisecond, func() { _ = s.Put(ctx, "slow", data, driver.PutOptions{}) }},
			{"get", 124 * time.Millisecond, func() { _, _ = driver.ReadAll(ctx, s, "k") }},
			{"get of a range", 34 * time.Millisecond, func() { _ = driver.ReadFull(ctx, s, "k", 0, make([]byte, 10_000)) }},
			{"stat", 24 * time.Millisecond, func() { _, _ = s.Stat(ctx, "k") }},
			{"list", 30 * time.Millisecond, func() { _, _ = driver.ListAll(ctx, s, "", "") }},
			{"delete", 28 * time.Millisecond, func() { _ = s.Delete(ctx, []string{"k"}) }},
		} {
			if got := took(tt.do); got != tt.want {
				t.Errorf("%s takes %v, want %v", tt.what, got, tt.want)
			}
		}
		// Two pages of a list take the time of two requests.
		for i := range 1001 {
			_ = put(ctx, honest, fmt.Sprintf("list/%d", i))
		}
		if got := took(func() { _, _ = driver.ListAll(ctx, s, "list/", "") }); got != 60*time.Millisecond {
			t.Errorf("two pages take %v", got)
		}
		// A caller who leaves early: nothing was sent on the way out, everything happened on the way back.
		for _, tt := range []struct {
			after time.Duration
			there bool
		}{{10 * time.Millisecond, false}, {20 * time.Millisecond, true}} {
			key := fmt.Sprintf("left/%v", tt.after.Milliseconds())
			short, cancel := context.WithTimeout(ctx, tt.after)
			if err := s.Put(short, key, nil, driver.PutOptions{}); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v", err)
			}
			cancel()
			if has(honest, key) != tt.there {
				t.Errorf("left after %v: there %t, want %t", tt.after, !tt.there, tt.there)
			}
		}
		// While it is on its way out, a crash may find it or not.
		go func() { _ = put(ctx, s, "crash") }()
		synctest.Wait()
		seen := map[bool]bool{}
		for seed := range uint64(20) {
			seen[has(honest.CrashClone(seed), "crash")] = true
		}
		if len(seen) != 2 {
			t.Errorf("a Put under way lands in a crash: %v", seen)
		}
		time.Sleep(time.Minute)
	})
}

func TestDistributions(t *testing.T) {
	d := fault.Dist{{0, 10}, {0.5, 20}, {0.9, 100}, {1, 200}}
	for p, want := range map[float64]time.Duration{0: 10, 0.25: 15, 0.5: 20, 0.7: 60, 0.9: 100, 0.95: 150, 1: 200, 2: 200} {
		if got := d.At(p); math.Abs(float64(got-want)) > 1 {
			t.Errorf("At(%v) = %d, want %d", p, got, want)
		}
	}
	if fault.Dist(nil).At(0.5) != 0 || fault.Fixed(7).At(0.1) != 7 || fault.Fixed(7).At(1) != 7 {
		t.Error("no points, one point")
	}
	// The samples of the published model have its quantiles.
	synctest.Test(t, func(t *testing.T) {
		s, _ := world(&fault.Options{Seed: 42, Latency: fault.S3Latency()})
		var took []time.Duration
		for i := range 4000 {
			begun := time.Now()
			_ = s.Put(t.Context(), fmt.Sprintf("k/%d", i%50), nil, driver.PutOptions{})
			took = append(took, time.Since(begun))
		}
		slices.Sort(took)
		for q, want := range map[float64]time.Duration{0.5: 28500 * time.Microsecond, 0.9: 37300 * time.Microsecond, 0.99: 74 * time.Millisecond} {
			if got := took[int(q*4000)]; math.Abs(float64(got-want)) > 0.12*float64(want) {
				t.Errorf("p%v is %v, want about %v", q*100, got, want)
			}
		}
	})
}
