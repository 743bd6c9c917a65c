package fault

import (
	"context"
	"hash/fnv"
	"math/rand/v2"
	"time"
)

// Latency is how long requests take. The zero value takes no time.
type Latency struct {
	Put, Get, Stat, List, Delete, Copy Dist

	// Bandwidth of one connection, that is of one request, in bytes per second; 0 is unlimited.
	Bandwidth float64
}

// Dist is a distribution of times: points in ascending order of P, straight lines between them.
type Dist []Point

// Point says that the part P (0 to 1) of all requests takes at most D.
type Point struct {
	P float64
	D time.Duration
}

// Fixed is the distribution of one value.
func Fixed(d time.Duration) Dist { return Dist{{1, d}} }

// At gives the time below which the part p of the requests stays.
func (d Dist) At(p float64) time.Duration {
	for i, q := range d {
		if p > q.P {
			continue
		}
		if i == 0 || q.P == d[i-1].P {
			return q.D
		}
		prev := d[i-1]
		return prev.D + time.Duration(float64(q.D-prev.D)*(p-prev.P)/(q.P-prev.P))
	}
	if len(d) == 0 {
		return 0
	}
	return d[len(d)-1].D
}

// FixedLatency lets every write take put and every other request take get.
func FixedLatency(put, get time.Duration, bandwidth float64) Latency {
	return Latency{Put: Fixed(put), Copy: Fixed(put), Delete: Fixed(put), Get: Fixed(get), Stat: Fixed(get), List: Fixed(get),
		Bandwidth: bandwidth}
}

// S3Latency is Amazon S3 as measured in us-east-1 with one request at a time: p50, p90, p99 and maximum of 4 KiB GET and PUT
// and of LIST with 100 keys are the means of the two runs that slatedb-benchmark published (warp v1.5.0, 2026-07-25). The
// minimum is not published and taken as 0.7 of the median; Stat is taken as Get, Delete and Copy as Put. The bandwidth is
// that of one of 64 parallel connections, about 28 MB/s; single streams reach 80 to 90 MB/s.
func S3Latency() Latency {
	dist := func(p50, p90, p99, most float64) Dist {
		ms := func(f float64) time.Duration { return time.Duration(f * float64(time.Millisecond)) }
		return Dist{{0, ms(0.7 * p50)}, {0.5, ms(p50)}, {0.9, ms(p90)}, {0.99, ms(p99)}, {1, ms(most)}}
	}
	put := dist(28.5, 37.3, 74, 134)
	get := dist(24.8, 39.5, 87.6, 138)
	return Latency{Put: put, Copy: put, Delete: put, Get: get, Stat: get, List: dist(25.1, 31.9, 61.3, 80), Bandwidth: 28e6}
}

// of gives the distribution for an operation.
func (l *Latency) of(op Op) Dist {
	switch op {
	case Put:
		return l.Put
	case Get:
		return l.Get
	case Stat:
		return l.Stat
	case List:
		return l.List
	case Delete:
		return l.Delete
	}
	return l.Copy
}

// transfer is the time that n bytes need.
func (l *Latency) transfer(n int64) time.Duration {
	if l.Bandwidth <= 0 {
		return 0
	}
	return time.Duration(float64(n) / l.Bandwidth * float64(time.Second))
}

// unit gives a number in [0, 1) that hangs on its arguments only.
func unit(seed, salt uint64, id string, n uint64) float64 {
	h := fnv.New64a()
	h.Write([]byte(id))
	return rand.New(rand.NewPCG(seed^salt*0x9e3779b97f4a7c15, h.Sum64()+n)).Float64()
}

// sleep waits for d or for the end of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
