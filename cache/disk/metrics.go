package disk

import (
	"fmt"
	"sync/atomic"
)

// Metrics is a snapshot of what a Tier did since Open.
type Metrics struct {
	Limit    int64 // bytes that the cache may take on the disk
	Capacity int64 // bytes that it takes
	Used     int64 // bytes of blocks in it
	Blocks   int64
	Pinned   int64 // of the blocks: those of pinned volumes
	Objects  int64
	Bypassed bool // the disk fails and is not used for now

	Hits, HitBytes        int64
	Misses                int64
	Written, WrittenBytes int64
	Declined              int64 // blocks not written: the buffer was full, the disk bypassed, or every slot in use
	PassedOver            int64 // blocks not written: they were offered for the first time, to a full cache
	Evicted               int64
	Dropped               int64 // blocks that went with their object
	Loaded                int64 // blocks that Open found
	Damaged               int64 // records and segments that Open could not trust
	VerifyFailures        int64 // blocks whose bytes did not match their checksums
	ReadErrors            int64
	WriteErrors           int64
	GrowErrors            int64 // times that the cache could not grow: an error, or no room beside the reserve
	Shrunk                int64 // segments given back
	Bypasses              int64 // times that the disk was given up
}

type counters struct {
	hits, hitBytes, misses, written, writtenBytes, declined, passedOver, dropped, loaded, damaged atomic.Int64
	verifyFailures, readErrors, writeErrors, growErrors, segmentsRemoved, bypasses                atomic.Int64
}

// Metrics counts.
func (t *Tier) Metrics() Metrics {
	m := Metrics{
		Bypassed: t.health.down.Load(),
		Hits:     t.m.hits.Load(), HitBytes: t.m.hitBytes.Load(), Misses: t.m.misses.Load(),
		Written: t.m.written.Load(), WrittenBytes: t.m.writtenBytes.Load(), Declined: t.m.declined.Load(), PassedOver: t.m.passedOver.Load(),
		Dropped: t.m.dropped.Load(), Loaded: t.m.loaded.Load(), Damaged: t.m.damaged.Load(),
		VerifyFailures: t.m.verifyFailures.Load(), ReadErrors: t.m.readErrors.Load(), WriteErrors: t.m.writeErrors.Load(),
		GrowErrors: t.m.growErrors.Load(), Shrunk: t.m.segmentsRemoved.Load(), Bypasses: t.m.bypasses.Load(),
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	m.Limit = int64(t.limit) * t.layout.size()
	m.Capacity = int64(len(t.segments)) * t.layout.size()
	m.Blocks, m.Pinned = int64(t.blocks()), int64(t.pinned.len)
	m.Used = m.Blocks * int64(t.o.BlockSize)
	m.Objects = int64(len(t.objects))
	m.Evicted = t.evicted
	return m
}

// String is two lines.
func (m Metrics) String() string {
	state := "in use"
	if m.Bypassed {
		state = "bypassed"
	}
	return fmt.Sprintf("disk %s, %d of %d bytes, limit %d, %d blocks (%d pinned) of %d objects, loaded %d, damaged %d, evicted %d, dropped %d, declined %d, passed over %d\n"+
		"hits %d (%d bytes), misses %d, written %d (%d bytes), verify failures %d, read errors %d, write errors %d, grow errors %d, shrunk %d, bypasses %d\n",
		state, m.Used, m.Capacity, m.Limit, m.Blocks, m.Pinned, m.Objects, m.Loaded, m.Damaged, m.Evicted, m.Dropped, m.Declined, m.PassedOver,
		m.Hits, m.HitBytes, m.Misses, m.Written, m.WrittenBytes, m.VerifyFailures, m.ReadErrors, m.WriteErrors, m.GrowErrors, m.Shrunk, m.Bypasses)
}
