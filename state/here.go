package state

import (
	"runtime"

	"github.com/forst-go/forst/internal/mutant"
)

// A call that blocks has a goroutine that would only wait. While reads come from memory, handing the request to a reader, from there to a writer and
// the result back costs more than the work itself, so the caller does it: it takes its place in the order of the key like any other request,
// reads, runs and writes. What is slow goes to the executors, where reads are batched and the caller's context can end the wait.

// maxHere bounds the requests that are carried out by their callers: a caller that is stuck in one, because a read turns out to be slow, cannot give up
// when its context ends.
var maxHere = 32 * runtime.GOMAXPROCS(0)

// maxReadsHere: more keys are worth several readers, should they be slow after all.
const maxReadsHere = 4

// carryOut does the whole request, if it can begin at once and is expected to be quick; false: it was not touched.
func (c *core) carryOut(r *request) bool {
	if c.o.Durable || r.reads() > 0 && c.readers.slow() || r.reads() > maxReadsHere || r.ctx.Err() != nil {
		return false
	}
	c.mu.Lock()
	_, busy := c.tails[r.order]
	if busy && !mutant.On(mutHereOrder) || c.closed || c.paused || c.cut.open || c.waiters.len() > 0 || c.inflight >= c.o.InFlight || c.active >= c.o.Active || c.here >= maxHere ||
		r.shard.window.isOpen.Load() { // last: while the core is paused, the shard may be given another database
		c.mu.Unlock()
		return false
	}
	c.inflight++
	c.active++
	c.here++
	c.issuedLocked(r)
	c.tails[r.order] = r
	c.mu.Unlock()

	for i, k := range r.gets {
		if r.err == nil {
			r.vals[i], r.err = c.readers.get(r.shard, k)
		}
	}
	if r.scan != nil && r.err == nil {
		r.err = r.shard.page(r.scan)
	}
	r.step()
	if r.err == nil && len(r.ops) > 0 {
		r.err = r.shard.apply(r)
	}
	c.metrics.here.Add(1)
	c.metrics.reads.Add(int64(r.reads()))
	r.stats.note(r)
	r.job.done(r.err)

	c.mu.Lock()
	c.here--
	c.passLocked(r)
	c.endedLocked(r)
	c.leaveLocked()
	c.mu.Unlock()
	return true
}
