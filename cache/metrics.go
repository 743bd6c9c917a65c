package cache

import (
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/forst-go/forst/cache/disk"
)

// Metrics is a snapshot of what the cache did since New. Counts of blocks count each block of a read; bytes are those
// that the caller asked for.
type Metrics struct {
	Capacity int64 // bytes of the memory tier
	Used     int64 // bytes of its slots in use, those that are being filled included
	Objects  int64 // objects with a block in the cache or a fetch under way

	Reasons [numReasons]ReasonMetrics // by Reason

	Disk disk.Metrics // of the disk tier, if there is one

	Fetches      int64 // GETs begun
	FetchedBytes int64 // bytes that arrived
	FetchErrors  int64 // GETs that failed or gave less than they promised
	Abandoned    int64 // GETs cancelled because every reader had left

	Evicted        int64 // blocks that made room for others
	Dropped        int64 // blocks that went with their object
	Unstored       int64 // blocks that found no free slot, or whose object was dropped, and were served without being kept
	Refused        int64 // background fetches not begun because too many were under way
	Promoted       int64 // blocks that moved up from disk into memory
	VerifyFailures int64 // cached blocks whose checksum did not match; they were removed and fetched again
}

// ReasonMetrics is the part of one reason.
type ReasonMetrics struct {
	Hits       int64 // blocks found in memory
	HitBytes   int64
	DiskHits   int64 // blocks found on disk
	DiskBytes  int64
	Misses     int64 // blocks that had to be fetched
	MissBytes  int64
	Joined     int64 // of the misses: blocks that a fetch already under way brought
	Stored     int64 // blocks put into the cache
	GETs       int64 // fetches begun
	GETBytes   int64 // bytes that those fetches asked for
	PeekMisses int64 // Lookups that found nothing
}

type counters struct {
	reasons [numReasons]reasonCounters

	fetches, fetchedBytes, fetchErrors, abandoned       atomic.Int64
	evicted, dropped, unstored, refused, verifyFailures atomic.Int64
	promoted                                            atomic.Int64
}

type reasonCounters struct {
	hits, hitBytes, diskHits, diskHitBytes, misses, missBytes, joined, stored, gets, getBytes, peekMisses atomic.Int64

	_ [40]byte // reasons do not share cache lines
}

// Metrics counts; it takes no lock for long and may be called at any time.
func (c *Cache) Metrics() Metrics {
	m := Metrics{
		Fetches: c.m.fetches.Load(), FetchedBytes: c.m.fetchedBytes.Load(), FetchErrors: c.m.fetchErrors.Load(),
		Abandoned: c.m.abandoned.Load(), Evicted: c.m.evicted.Load(), Dropped: c.m.dropped.Load(),
		Unstored: c.m.unstored.Load(), Refused: c.m.refused.Load(), Promoted: c.m.promoted.Load(), VerifyFailures: c.m.verifyFailures.Load(),
	}
	if c.slots != nil {
		m.Capacity = int64(len(c.slots.info)) * int64(c.o.BlockSize)
		m.Used = c.slots.used.Load() * int64(c.o.BlockSize)
	}
	if c.disk != nil {
		m.Disk = c.disk.Metrics()
	}
	for i := range c.tables {
		c.tables[i].mu.RLock()
		m.Objects += int64(len(c.tables[i].objects))
		c.tables[i].mu.RUnlock()
	}
	for i := range m.Reasons {
		r := &c.m.reasons[i]
		m.Reasons[i] = ReasonMetrics{
			Hits: r.hits.Load(), HitBytes: r.hitBytes.Load(), DiskHits: r.diskHits.Load(), DiskBytes: r.diskHitBytes.Load(), Misses: r.misses.Load(), MissBytes: r.missBytes.Load(),
			Joined: r.joined.Load(), Stored: r.stored.Load(), GETs: r.gets.Load(), GETBytes: r.getBytes.Load(),
			PeekMisses: r.peekMisses.Load(),
		}
	}
	return m
}

// HitRatio is the share of blocks that reads found, over all reasons; 0 if nothing was read.
func (m Metrics) HitRatio() float64 {
	var hits, all int64
	for _, r := range m.Reasons {
		hits += r.Hits + r.DiskHits
		all += r.Hits + r.DiskHits + r.Misses
	}
	if all == 0 {
		return 0
	}
	return float64(hits) / float64(all)
}

// String is a small table, one line for each reason that occurred.
func (m Metrics) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "memory %d of %d bytes, %d objects, evicted %d, dropped %d, unstored %d, promoted %d, verify failures %d\n",
		m.Used, m.Capacity, m.Objects, m.Evicted, m.Dropped, m.Unstored, m.Promoted, m.VerifyFailures)
	fmt.Fprintf(&b, "fetches %d, %d bytes, failed %d, abandoned %d, refused %d\n",
		m.Fetches, m.FetchedBytes, m.FetchErrors, m.Abandoned, m.Refused)
	if m.Disk != (disk.Metrics{}) {
		b.WriteString(m.Disk.String())
	}
	for i, r := range m.Reasons {
		if r == (ReasonMetrics{}) {
			continue
		}
		fmt.Fprintf(&b, "%-10s hits %d (%d bytes), on disk %d (%d bytes), misses %d (%d bytes), joined %d, stored %d, GETs %d (%d bytes), peeks missed %d\n",
			Reason(i), r.Hits, r.HitBytes, r.DiskHits, r.DiskBytes, r.Misses, r.MissBytes, r.Joined, r.Stored, r.GETs, r.GETBytes, r.PeekMisses)
	}
	return b.String()
}
