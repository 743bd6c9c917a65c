package state

import (
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/forst-go/forst/internal/mutant"
)

// compactions is the engine's scheduler of compactions for one database. It allows as many as the engine wants, as the engine's own does, but starts none
// while a snapshot's window is open: their tables and their changes of the MANIFEST would take frames of the journal, and the snapshot's own
// would wait for them.
type compactions struct {
	w *window

	mu      sync.Mutex
	db      pebble.DBForCompaction // nil: not opened yet, or closed
	running int

	kick chan struct{} // something may be possible that was not
	stop chan struct{}
	wg   sync.WaitGroup
}

func newCompactions(w *window) *compactions {
	return &compactions{w: w, kick: make(chan struct{}, 1), stop: make(chan struct{})}
}

// Register is called once, when the database is open.
func (c *compactions) Register(_ int, db pebble.DBForCompaction) {
	c.mu.Lock()
	c.db = db
	c.mu.Unlock()
	c.wg.Go(func() {
		for {
			select {
			case <-c.kick:
				c.grant(db)
			case <-c.stop:
				return
			}
		}
	})
}

// Unregister is called when the database is closed. Behind it, the database is not called any more.
func (c *compactions) Unregister() {
	c.mu.Lock()
	c.db = nil
	c.mu.Unlock()
	close(c.stop)
	c.wg.Wait()
}

// TrySchedule asks for a compaction now. What is refused is asked for again by grant.
func (c *compactions) TrySchedule() (bool, pebble.CompactionGrantHandle) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.roomLocked() {
		return false, nil
	}
	c.running++
	return true, c
}

func (c *compactions) roomLocked() bool {
	return c.db != nil && (!c.w.isOpen.Load() || mutant.On(mutCompactions)) && c.db.GetAllowedWithoutPermission() > c.running
}

// grant starts what waits, as far as there is room. No lock is held while the engine is called: it calls back.
func (c *compactions) grant(db pebble.DBForCompaction) {
	for {
		c.mu.Lock()
		room := c.roomLocked()
		if room {
			c.running++
		}
		c.mu.Unlock()
		if !room {
			return
		}
		if waiting, _ := db.GetWaitingCompaction(); !waiting || !db.Schedule(c) {
			c.mu.Lock()
			c.running--
			c.mu.Unlock()
			return
		}
	}
}

// UpdateGetAllowedWithoutPermission says that more may be allowed than before.
func (c *compactions) UpdateGetAllowedWithoutPermission() {
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

// Done is called once for each compaction that was allowed.
func (c *compactions) Done() {
	c.mu.Lock()
	c.running--
	c.mu.Unlock()
	c.UpdateGetAllowedWithoutPermission()
}

func (*compactions) Started() {}

func (*compactions) MeasureCPU(pebble.CompactionGoroutineKind) {}

func (*compactions) CumulativeStats(pebble.CompactionGrantHandleStats) {}
