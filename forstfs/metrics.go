package forstfs

import (
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/forst-go/forst/cache"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/hedge"
	"github.com/forst-go/forst/internal/journal"
	"github.com/forst-go/forst/internal/meter"
	"github.com/forst-go/forst/internal/namespace"
)

// counts are the volume's own counters.
type counts struct {
	deleted    atomic.Int64
	foreground atomic.Int64
	hedge      *hedge.Store // nil: off
	meter      *meter.Store
}

// watch counts the requests that reach the store.
func (c *counts) watch(s driver.Store) driver.Store {
	c.meter = meter.New(s)
	return c.meter
}

// Metrics is a moment's picture of a volume.
type Metrics struct {
	Store          meter.Snapshot  // requests, bytes and errors by operation and by component
	Journal        journal.Metrics // frames, images; zero on a read-only volume
	Cache          cache.Metrics   // of the cache, with all volumes that share it
	Namespace      namespace.Stats // as issued, acknowledged or not
	UploadMemory   int64           // bytes of bulk files that are not in the store yet
	AheadMemory    int64           // bytes read ahead
	Hedge          hedge.Metrics   // GETs sent twice; zero unless Options.Hedge is set
	ForegroundGETs int64           // GETs for which a read of a file waited, those of its read-ahead included; a LocalOnly volume has none
	PendingDeletes int             // unreachable objects that are still in the store
	Deleted        int64           // objects deleted
	Ledger         Ledger          // of the bytes in the store
	Staleness      time.Duration   // of a follower: the time since its last successful refresh began
	Local          LocalMetrics
}

// LocalMetrics are about the local directory of a volume.
type LocalMetrics struct {
	Files    int           // files whose bytes are on the local disk
	Bytes    int64         // and how many
	LagBytes int64         // bytes of logs that a Sync acknowledged and that the volume has not yet
	Lag      time.Duration // how long ago the oldest of them was acknowledged
	LagWaits int64         // how often a Sync has waited for the volume, because more than MaxLag was missing
}

// Metrics takes the picture; it makes no request.
func (v *FS) Metrics() Metrics {
	m := Metrics{
		Store: v.counts.meter.Snapshot(), Cache: v.cache.Metrics(), UploadMemory: v.budget.inUse(), AheadMemory: v.aheadBudget.inUse(),
		PendingDeletes: v.gc.pending(), Deleted: v.counts.deleted.Load(),
		ForegroundGETs: v.counts.foreground.Load(),
	}
	if v.counts.hedge != nil {
		m.Hedge = v.counts.hedge.Metrics()
	}
	if !v.readOnly {
		m.Journal = v.journal.Metrics()
	}
	m.Ledger, m.Staleness = v.ledger(), v.staleness()
	if d := v.home; d != nil {
		m.Local.Files, m.Local.Bytes = d.totals()
		m.Local.LagBytes, m.Local.Lag, m.Local.LagWaits = d.lag.now(v.journal.AckedPosition())
	}
	v.mu.Lock()
	m.Namespace = v.live.Stats()
	v.mu.Unlock()
	return m
}

// String is for people; its lines may change.
func (m Metrics) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "store:     %v\n", m.Store)
	fmt.Fprintf(&b, "journal:   %v\n", m.Journal)
	fmt.Fprintf(&b, "cache:     %v\n", m.Cache)
	fmt.Fprintf(&b, "namespace: %+v\n", m.Namespace)
	fmt.Fprintf(&b, "memory:    %d bytes to upload, %d read ahead\n", m.UploadMemory, m.AheadMemory)
	fmt.Fprintf(&b, "reads:     %d GETs in the foreground\n", m.ForegroundGETs)
	if m.Hedge != (hedge.Metrics{}) {
		fmt.Fprintf(&b, "hedging:   %v\n", m.Hedge)
	}
	fmt.Fprintf(&b, "deleted:   %d objects, %d pending\n", m.Deleted, m.PendingDeletes)
	fmt.Fprintf(&b, "ledger:    %v\n", m.Ledger)
	if m.Staleness > 0 {
		fmt.Fprintf(&b, "follower:  %v behind at most\n", m.Staleness.Round(time.Millisecond))
	}
	if m.Local != (LocalMetrics{}) {
		fmt.Fprintf(&b, "local:     %d files, %d bytes; the volume lags by %d bytes, %v; %d syncs waited for it\n", m.Local.Files, m.Local.Bytes, m.Local.LagBytes, m.Local.Lag.Round(time.Millisecond), m.Local.LagWaits)
	}
	return b.String()
}
