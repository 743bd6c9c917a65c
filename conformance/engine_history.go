package conformance

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"
)

// engineHistory is what the workers of one life did to a database and what they were told. Each worker has keys of its own and numbers its commits;
// the number is in each commit, so that what is found says after which commit it is, and the rest follows from the seed.
//
// What is found must be, for each worker, the state after one of its commits, no earlier than the last one that was durable by then and no later
// than the last one that had begun; and with a commit everything is there that had returned before it began, by whomever: a log has one order.
type engineHistory struct {
	seed  uint64
	clock *clock
	tell  func(engineLine)

	mu      sync.Mutex
	stamp   time.Duration // the moment of the call, by the clock of the process that makes it, if there is one
	workers []workerHistory
}

type workerHistory struct {
	base    int // commits that were there when this life began
	commits []commit
}

// commit is a call of Commit: number base+1+i.
type commit struct {
	start, end int64 // never: has not returned
	ok         bool
	durable    int64 // since then it must be there; never: it need not

	began, safe     time.Duration // by the clock of its process: when it began, when it was durable
	synced, flushed bool          // by a Sync of its own; in a table
}

func newEngineHistory(c *clock, seed uint64, base []int) *engineHistory {
	h := &engineHistory{seed: seed, clock: c, workers: make([]workerHistory, len(base)), tell: func(engineLine) {}}
	for w, n := range base {
		h.workers[w].base = n
	}
	return h
}

// next gives the number of a worker's next commit.
func (h *engineHistory) next(w int) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.workers[w].base + len(h.workers[w].commits) + 1
}

// begin and finish stand around a call of Commit.
func (h *engineHistory) begin(w int) {
	h.tell(engineLine{What: "begin", Worker: w})
	h.mu.Lock()
	defer h.mu.Unlock()
	k := &h.workers[w]
	k.commits = append(k.commits, commit{start: h.clock.tick(), end: never, durable: never, began: h.stamp})
}

func (h *engineHistory) finish(w int, ok, sync bool) {
	h.mu.Lock()
	k := &h.workers[w]
	c := &k.commits[len(k.commits)-1]
	c.end, c.ok, c.synced = h.clock.tick(), ok, sync
	if ok && sync { // the log is durable up to there: with what others have committed before, too
		for i := range h.workers {
			for j := range h.workers[i].commits {
				if x := &h.workers[i].commits[j]; x.ok && x.end <= c.start || x == c {
					if x.durable == never {
						x.safe = h.stamp
					}
					x.durable = min(x.durable, c.end)
				}
			}
		}
	}
	h.mu.Unlock()
	h.tell(engineLine{What: "end", Worker: w, OK: ok, Sync: sync})
}

// at says that what comes next happened at this moment of its process.
func (h *engineHistory) at(moment time.Duration) {
	h.mu.Lock()
	h.stamp = moment
	h.mu.Unlock()
}

// since gives the moment of a flush that is about to begin, for flushed.
func (h *engineHistory) since() int64 {
	h.tell(engineLine{What: "flush"})
	return h.clock.tick()
}

// flushed notes that everything that had returned by the moment is durable.
func (h *engineHistory) flushed(since int64) {
	h.mu.Lock()
	now := h.clock.tick()
	for i := range h.workers {
		for j := range h.workers[i].commits {
			if x := &h.workers[i].commits[j]; x.ok && x.end <= since {
				x.durable, x.flushed = min(x.durable, now), true
			}
		}
	}
	h.mu.Unlock()
	h.tell(engineLine{What: "flushed"})
}

// acked is how many commits must be there.
func (h *engineHistory) acked() (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.workers {
		for _, c := range h.workers[i].commits {
			if c.durable != never {
				n++
			}
		}
	}
	return n
}

// judge holds a whole database, as found after a crash at the moment, against the history, and gives the last commit of each worker.
func (h *engineHistory) judge(got map[string]string, moment int64) ([]int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	found := make([]int, len(h.workers))
	want := map[string]string{}
	for w := range h.workers {
		k := &h.workers[w]
		n, err := strconv.Atoi("0" + got[seqKey(w)])
		if err != nil {
			return nil, fmt.Errorf("%s is %q", seqKey(w), got[seqKey(w)])
		}
		least, most := k.base, k.base
		for i, c := range k.commits {
			if c.durable < moment {
				least = k.base + i + 1
			}
			if c.start < moment {
				most = k.base + i + 1
			}
		}
		if n < least || n > most {
			return nil, fmt.Errorf("worker %d: the database is in the state after commit %d; %d is durable and %d has begun", w, n, least, most)
		}
		found[w] = n
		for i := range n {
			for _, c := range changes(h.seed, w, i+1) {
				if c.Remove {
					delete(want, string(c.Key))
				} else {
					want[string(c.Key)] = string(c.Value)
				}
			}
		}
	}
	if err := sameState(got, want); err != nil {
		return nil, fmt.Errorf("after commits %v: %w", found, err)
	}
	for w, n := range found {
		k := &h.workers[w]
		if n == k.base {
			continue
		}
		last := k.commits[n-k.base-1]
		for v, m := range found {
			for i, c := range h.workers[v].commits {
				if c.ok && c.end < last.start && m < h.workers[v].base+i+1 {
					return nil, fmt.Errorf("commit %d of worker %d is there, but not commit %d of worker %d, which had returned before it began",
						n, w, h.workers[v].base+i+1, v)
				}
			}
		}
	}
	return found, nil
}

func sameState(got, want map[string]string) error {
	if maps.Equal(got, want) {
		return nil
	}
	for k, v := range want {
		if g, ok := got[k]; !ok || g != v {
			return fmt.Errorf("%d keys instead of %d; %s is %.40q (there: %v) instead of %.40q", len(got), len(want), k, g, ok, v)
		}
	}
	for k := range got {
		if _, ok := want[k]; !ok {
			return fmt.Errorf("%d keys instead of %d; %s should not be there", len(got), len(want), k)
		}
	}
	return nil
}

func seqKey(w int) string { return fmt.Sprintf("w%d/seq", w) }

// changes are what commit n of a worker does.
func changes(seed uint64, w, n int) []Change {
	r := rand.New(rand.NewPCG(seed<<8|uint64(w), uint64(n)))
	var all []Change
	for range 1 + r.IntN(6) {
		c := Change{Key: fmt.Appendf(nil, "w%d/k%03d", w, r.IntN(120))}
		if r.IntN(8) == 0 {
			c.Remove = true
		} else {
			c.Value = []byte(strings.Repeat(strconv.Itoa(n)+".", 1+r.IntN(60)))
		}
		all = append(all, c)
	}
	return append(all, Change{Key: []byte(seqKey(w)), Value: strconv.AppendInt(nil, int64(n), 10)})
}

// engineWork is what a worker does: steps commits, a quarter of them without sync. Worker 0 flushes and compacts now and then.
func (h *engineHistory) engineWork(l *life, w, steps int) error {
	for range steps {
		n := h.next(w)
		r := rand.New(rand.NewPCG(h.seed+7, uint64(w)<<32|uint64(n)))
		sync := r.IntN(4) > 0
		h.begin(w)
		if err := l.call(func() error { return l.db.Commit(changes(h.seed, w, n), sync) }); err != nil {
			return fmt.Errorf("commit %d of worker %d: %w", n, w, err)
		}
		h.finish(w, true, sync)
		if w > 0 {
			continue
		}
		switch {
		case n%12 == 11:
			since := h.since()
			if err := l.call(l.db.Flush); err != nil {
				return fmt.Errorf("flush after commit %d: %w", n, err)
			}
			h.flushed(since)
		case n%40 == 39:
			if err := l.call(l.db.Compact); err != nil {
				return fmt.Errorf("compaction after commit %d: %w", n, err)
			}
		case n%30 == 29:
			if err := l.call(func() error { return l.vol.Checkpoint(l.ctx()) }); err != nil {
				return fmt.Errorf("image after commit %d: %w", n, err)
			}
		}
	}
	return nil
}

// closeWell closes a life; everything is durable then.
func (h *engineHistory) closeWell(l *life) error {
	since := h.since()
	if err := l.Close(); err != nil {
		return err
	}
	h.flushed(since)
	return nil
}
