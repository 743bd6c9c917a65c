package state

import (
	"bytes"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/forst-go/forst/internal/mutant"
)

// readLoop is one read executor: it takes what is ready, reads it in the order of the keys, and passes each request on as soon as its own
// reads are there.
func (c *core) readLoop() {
	for {
		rs := c.read.take(make([]*request, 0, 64), c.o.Batch, c.o.FlushTimeout)
		if rs == nil {
			return
		}
		c.metrics.readBatches.Add(1)
		c.readers.run(newMultiGet(c, rs))
	}
}

// item is one read: equal keys are read once, for all that want them.
type item struct {
	shard *shard
	key   []byte
	r     *request
	slot  int // in r.gets; -1: r.scan
}

// multiGet is one batch of reads, sorted, worked on by one or more readers.
type multiGet struct {
	c     *core
	items []item
	next  atomic.Int64
	begun time.Time
}

func newMultiGet(c *core, rs []*request) *multiGet {
	m := &multiGet{c: c, begun: time.Now()}
	for _, r := range rs {
		for i, k := range r.gets {
			m.items = append(m.items, item{r.shard, k, r, i})
		}
		if r.scan != nil {
			m.items = append(m.items, item{r.shard, r.scan.lower, r, -1})
		}
	}
	slices.SortFunc(m.items, func(a, b item) int {
		if a.shard != b.shard {
			return a.shard.number - b.shard.number
		}
		return bytes.Compare(a.key, b.key)
	})
	c.metrics.reads.Add(int64(len(m.items)))
	return m
}

// one reads the next item; false: there is none.
func (m *multiGet) one() bool {
	i := int(m.next.Add(1)) - 1
	if i >= len(m.items) {
		return false
	}
	it := &m.items[i]
	if it.slot >= 0 && i > 0 { // the first of equal keys reads for all
		if p := &m.items[i-1]; p.slot >= 0 && p.shard == it.shard && bytes.Equal(p.key, it.key) {
			return true
		}
	}
	if it.slot < 0 {
		m.arrived(it, nil, it.shard.page(it.r.scan))
		return true
	}
	v, err := it.shard.get(it.key)
	m.arrived(it, v, err)
	for j := i + 1; j < len(m.items); j++ {
		n := &m.items[j]
		if n.slot < 0 || n.shard != it.shard || !bytes.Equal(n.key, it.key) {
			break
		}
		m.arrived(n, v, err)
	}
	return true
}

func (m *multiGet) arrived(it *item, v []byte, err error) {
	r := it.r
	if err != nil {
		r.failedIO.CompareAndSwap(nil, &err)
	}
	if it.slot >= 0 {
		r.vals[it.slot] = v
	}
	if r.pending.Add(-1) == 0 {
		r.step()
		m.c.stepped(r)
	}
}

func (m *multiGet) left() int { return max(0, len(m.items)-int(m.next.Load())) }

// readers decides how many reads of a batch are in flight. A read from memory takes microseconds and is not worth a goroutine; one from the store
// takes milliseconds, and then as many as are allowed go out together.
type readers struct {
	max   int64
	extra atomic.Int64 // running beside the executors
	nanos atomic.Int64 // moving average of what one read takes
	peak  atomic.Int64
	wg    sync.WaitGroup
}

// worthGoroutine is the time of one read above which reads run side by side.
const worthGoroutine = 100 * time.Microsecond

func (e *readers) init(o *Options) { e.max = int64(o.MaxReads) }

// run reads the batch, or hands it to readers who will.
func (e *readers) run(m *multiGet) {
	for !e.help(m) && e.timed(m) {
	}
}

func (e *readers) timed(m *multiGet) bool {
	begin := time.Now()
	if !m.one() {
		return false
	}
	e.took(time.Since(begin))
	return true
}

// took takes the time of one read into the average.
func (e *readers) took(d time.Duration) {
	old := e.nanos.Load()
	e.nanos.Store(old + (int64(d)-old)/8) // a lost update does no harm
}

// slow says whether reads go to the store, or to a disk that is busy.
func (e *readers) slow() bool { return time.Duration(e.nanos.Load()) >= worthGoroutine }

// get reads one key in the caller's goroutine.
func (e *readers) get(s *shard, key []byte) ([]byte, error) {
	begin := time.Now()
	v, err := s.get(key)
	e.took(time.Since(begin))
	return v, err
}

// help starts readers beside this one when reads are slow: as many as the average says would bring the batch down to the time of one. true: each
// read that is left has a reader, so the executor is free to take the next batch.
func (e *readers) help(m *multiGet) (all bool) {
	slow := time.Duration(e.nanos.Load())
	left := int64(m.left())
	if slow < worthGoroutine || left == 0 {
		return false
	}
	want := min(left, int64(slow/(worthGoroutine/4)))
	for started := int64(0); started < want; started++ {
		n := e.extra.Add(1)
		if n > e.max {
			e.extra.Add(-1)
			return false
		}
		for p := e.peak.Load(); n > p && !e.peak.CompareAndSwap(p, n); p = e.peak.Load() {
		}
		e.wg.Go(func() {
			defer e.extra.Add(-1)
			for e.timed(m) {
			}
		})
	}
	return want == left
}

// writeLoop is one write executor: it takes what is ready and writes it as one batch for each database.
func (c *core) writeLoop() {
	for {
		rs := c.write.take(make([]*request, 0, 64), c.o.Batch, c.o.FlushTimeout)
		if rs == nil {
			return
		}
		c.metrics.writeBatches.Add(1)
		for _, r := range rs {
			if r.reads() == 0 {
				r.step()
			}
		}
		if mutant.On(mutDoneEarly) {
			early := slices.Clone(rs)
			c.finish(rs...)
			time.Sleep(time.Millisecond)
			c.writeAll(early)
			continue
		}
		c.writeAll(rs)
		c.finish(rs...)
	}
}

// writeAll writes the batch in parts of bounded size, each for one database.
func (c *core) writeAll(rs []*request) {
	slices.SortStableFunc(rs, func(a, b *request) int { return a.shard.number - b.shard.number })
	for begin := 0; begin < len(rs); {
		end, size := begin, 0
		for end < len(rs) && rs[end].shard == rs[begin].shard && (size == 0 || size+rs[end].opBytes <= c.o.BatchBytes) {
			size += rs[end].opBytes
			end++
		}
		if part := rs[begin:end]; size > 0 {
			if err := part[0].shard.apply(part...); err != nil {
				for _, r := range part {
					if r.err == nil && len(r.ops) > 0 {
						r.err = err
					}
				}
			}
		}
		begin = end
	}
}
