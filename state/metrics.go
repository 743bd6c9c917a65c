package state

import (
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/forst-go/forst/forstfs"
)

// counters of one state. They cost a few atomic additions for each request.
type counters struct {
	requests, errors, reads, scans atomic.Int64
	sets, merges, removes, ranges  atomic.Int64
	bytesRead, bytesWritten        atomic.Int64
	expired                        atomic.Int64
}

func (c *counters) note(r *request) {
	if c == nil {
		return
	}
	c.requests.Add(1)
	if r.err != nil {
		c.errors.Add(1)
	}
	c.reads.Add(int64(len(r.gets)))
	read := 0
	for _, v := range r.vals {
		read += len(v)
	}
	if r.scan != nil {
		c.scans.Add(1)
		for i, v := range r.scan.vals {
			read += len(v) + len(r.scan.keys[i])
		}
	}
	c.bytesRead.Add(int64(read))
	if r.err != nil || len(r.ops) == 0 {
		return
	}
	for _, o := range r.ops {
		switch o.kind {
		case opSet:
			c.sets.Add(1)
		case opMerge:
			c.merges.Add(1)
		case opRemove:
			c.removes.Add(1)
		case opRemoveRange:
			c.ranges.Add(1)
		}
	}
	c.bytesWritten.Add(int64(r.opBytes))
}

// coreMetrics belong to the core.
type coreMetrics struct {
	reads, readBatches, writeBatches atomic.Int64
	here                             atomic.Int64
	waits                            int64 // under core.mu
}

// StateMetrics are those of one state.
type StateMetrics struct {
	Name                         string
	Kind                         Kind
	Requests, Errors             int64 // finished requests, and how many of them failed
	Reads, Scans                 int64 // keys looked up, pages read
	Sets, Merges, Removes, Clear int64 // records written, elements appended, records removed, maps cleared
	BytesRead, BytesWritten      int64 // of keys and values, before compression
	Expired                      int64 // records and elements that the sweep removed
}

// Metrics is a moment's picture of a backend. Taking it makes no request to the store.
type Metrics struct {
	Keys     KeyGroups
	States   []StateMetrics // in the order of their declaration
	InFlight int            // admitted requests
	Active   int            // requests with the executors
	Waiting  int            // callers that wait to be admitted
	Waits    int64          // callers that had to wait so far
	// Here is the number of requests that their callers carried out themselves. The reads of the others were made in ReadBatches, their writes in
	// WriteBatches. ReadTime is the moving average of one read, ReadPeak the most reads that were
	// in flight beside the executors.
	Here                             int64
	Reads, ReadBatches, WriteBatches int64
	ReadTime                         time.Duration
	ReadPeak                         int64
	WindowWaits                      int64 // writes that waited for a snapshot to be captured
	Snapshots                        int64 // committed
	Last                             SnapshotStats
	Sweep                            SweepStats       // since the backend was opened
	Consolidated                     int64            // Consolidate calls that have ended well
	Consolidation                    ConsolidateStats // the one under way, or the last
	Shards                           []ShardMetrics
}

// ShardMetrics are those of one shard: everything that the engine and the volume count.
type ShardMetrics struct {
	Name   string
	Keys   KeyGroups
	Engine *pebble.Metrics
	Volume forstfs.Metrics
}

// Metrics takes the picture.
func (b *Backend) Metrics() Metrics {
	m := Metrics{Keys: b.o.Keys}
	b.mu.Lock()
	list := b.list[:len(b.list):len(b.list)]
	b.mu.Unlock()
	for _, k := range list {
		c := &k.stats
		m.States = append(m.States, StateMetrics{
			Name: k.name, Kind: k.kind, Requests: c.requests.Load(), Errors: c.errors.Load(), Reads: c.reads.Load(), Scans: c.scans.Load(),
			Sets: c.sets.Load(), Merges: c.merges.Load(), Removes: c.removes.Load(), Clear: c.ranges.Load(),
			BytesRead: c.bytesRead.Load(), BytesWritten: c.bytesWritten.Load(), Expired: c.expired.Load(),
		})
	}
	c := b.core
	c.mu.Lock()
	m.InFlight, m.Active, m.Waiting, m.Waits = c.inflight, c.active, c.waiters.len(), c.metrics.waits
	c.mu.Unlock()
	m.Reads, m.ReadBatches, m.WriteBatches = c.metrics.reads.Load(), c.metrics.readBatches.Load(), c.metrics.writeBatches.Load()
	m.Here = c.metrics.here.Load()
	m.ReadTime, m.ReadPeak = time.Duration(c.readers.nanos.Load()), c.readers.peak.Load()
	m.Snapshots, m.Last = b.snaps.stats()
	m.Sweep = b.sweep.stats()
	m.Consolidated, m.Consolidation = b.joins.stats()
	b.life.RLock() // a closed database has no metrics
	defer b.life.RUnlock()
	m.WindowWaits = b.bases.windowWaits
	for _, d := range b.bases.current() {
		d.window.mu.Lock()
		m.WindowWaits += d.window.waits
		d.window.mu.Unlock()
		if !b.gone {
			m.Shards = append(m.Shards, ShardMetrics{d.name, b.keysIn(d), d.db.Metrics(), d.vol.Metrics()})
		}
	}
	return m
}

func (m Metrics) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "backend %v: %d in flight, %d active, %d waiting (%d waits)\n", m.Keys, m.InFlight, m.Active, m.Waiting, m.Waits)
	fmt.Fprintf(&b, "%d requests carried out by their callers\nreads %d in %d batches, %v each, up to %d at once; %d batches of writes, %d waited for a snapshot\n",
		m.Here, m.Reads, m.ReadBatches, m.ReadTime, m.ReadPeak, m.WriteBatches, m.WindowWaits)
	fmt.Fprintf(&b, "snapshots %d; last: %v\nsweep: %v\nconsolidated %d times; last: %v\n", m.Snapshots, m.Last, m.Sweep, m.Consolidated, m.Consolidation)
	for _, s := range m.States {
		fmt.Fprintf(&b, "%s %q: %d requests, %d errors, %d reads, %d pages, %d sets, %d merges, %d removes, %d clears, %d B read, %d B written, %d expired\n",
			s.Kind, s.Name, s.Requests, s.Errors, s.Reads, s.Scans, s.Sets, s.Merges, s.Removes, s.Clear, s.BytesRead, s.BytesWritten, s.Expired)
	}
	for _, s := range m.Shards {
		fmt.Fprintf(&b, "shard %s %v: %d B on the store, %d B of memtables\n", s.Name, s.Keys, s.Engine.DiskSpaceUsage(), s.Engine.MemTable.Size)
	}
	return b.String()
}
