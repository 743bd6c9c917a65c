package bench

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/forst-go/forst/engineadapter/pebblev2"
	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/fault"
	"github.com/forst-go/forst/forstfs/mem"
)

// chain measures the longest chain of requests of which each was sent after the one before was answered: sequential round trips.
type chain struct {
	mu      sync.Mutex
	longest int            // among the answered requests
	depth   map[uint64]int // of requests under way, by their number
}

func (c *chain) hooks(o *fault.Options) {
	c.depth = map[uint64]int{}
	o.Before = func(_ context.Context, call fault.Call) error {
		if call.Component != driver.CompOpen && call.Component != driver.CompCommit {
			return nil // the background: sweeps, read-ahead, compactions
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.depth[call.Seq] = c.longest + 1
		return nil
	}
	o.After = func(_ context.Context, call fault.Call, err error) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.longest = max(c.longest, c.depth[call.Seq])
		return err
	}
}

func (c *chain) length() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.longest
}

// BenchmarkColdOpen opens a volume that holds 1 GiB with nothing local, over 28 ms PUTs and 24 ms GETs. Target: at most 6 sequential round trips until
// the namespace is usable.
func BenchmarkColdOpen(b *testing.B) {
	bucket := mem.NewBucket(nil)
	handle := func() driver.Store {
		s, err := bucket.Open("vol")
		if err != nil {
			b.Fatal(err)
		}
		return s
	}
	v := volume(b, handle(), nil)
	db := onVolume(b, v)
	for i := range 10 {
		if err := Load(db, records()/10, 1000, uint64(i)); err != nil {
			b.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		b.Fatal(err)
	}
	if err := v.Close(); err != nil {
		b.Fatal(err)
	}
	latency := fault.FixedLatency(28*time.Millisecond, 24*time.Millisecond, 90e6)
	var open, whole time.Duration
	var trips, dbTrips int
	var m forstfs.Metrics
	for b.Loop() {
		var c chain
		o := &fault.Options{Latency: latency}
		c.hooks(o)
		start := time.Now()
		v := volume(b, fault.New(handle(), o), nil)
		open += time.Since(start)
		trips = max(trips, c.length())
		m = v.Metrics()
		db, err := pebble.Open("/db", tuned(pebblev2.New(v)))
		if err != nil {
			b.Fatal(err)
		}
		whole += time.Since(start)
		dbTrips = max(dbTrips, c.length())
		if err := db.Close(); err != nil {
			b.Fatal(err)
		}
		if err := v.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(trips), "round-trips")
	b.ReportMetric(float64(dbTrips), "round-trips-with-Pebble")
	b.ReportMetric(float64(open.Milliseconds())/float64(b.N), "open-ms")
	b.ReportMetric(float64(whole.Milliseconds())/float64(b.N), "with-Pebble-ms")
	report(b, m)
}

// sink takes objects and keeps only their sizes, so that the process's memory is the volume's.
type sink struct{ driver.Store }

func (s sink) Put(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
	if len(data) > 1<<20 {
		data = fmt.Appendf(nil, "%d", len(data))
	}
	return s.Store.Put(ctx, key, data, o)
}
