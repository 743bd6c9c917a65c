package state

import (
	"fmt"
	"sync"
	"time"
)

// SnapshotStats say what a snapshot took.
type SnapshotStats struct {
	ID      uint64
	Sync    time.Duration // requests were held up for so long
	Drain   time.Duration // of it: admitted requests finished
	Flush   time.Duration // memtables went to tables
	Commit  time.Duration // the volumes' snapshots and the record
	Bytes   int64         // logical size of the snapshot
	Written int64         // bytes of tables that the flush wrote: what the snapshot itself added to the store
}

func (s SnapshotStats) String() string {
	return fmt.Sprintf("snapshot %d: held up requests for %v (%v of it waiting for them), flush %v, commit %v, %d B of which %d B are new",
		s.ID, s.Sync, s.Drain, s.Flush, s.Commit, s.Bytes, s.Written)
}

// snapshots are those under way.
type snapshots struct {
	mu        sync.Mutex
	wg        sync.WaitGroup
	committed int64
	last      SnapshotStats
}

func (s *snapshots) init() {}
func (s *snapshots) wait() { s.wg.Wait() }

func (s *snapshots) stats() (int64, SnapshotStats) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.committed, s.last
}
