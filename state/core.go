package state

import (
	"context"
	"hash/maphash"
	"sync"
	"time"

	"github.com/forst-go/forst/internal/mutant"
)

// core admits requests, keeps those of one key in order, and hands what is ready to the readers and writers. It is a queue under a
// mutex, moved on by whoever finishes something: nobody waits in it but callers who are not admitted yet.
type core struct {
	o *Options

	mu       sync.Mutex
	inflight int // admitted and not finished
	active   int // with the executors, or here
	here     int // of these, in their callers' goroutines
	paused   bool
	closed   bool
	waiters  fifo[*waiter]   // callers that are not admitted yet
	idle     []chan struct{} // who waits for inflight to become 0
	cut      cut
	tails    map[uint64]*request // the last request of each order that has one
	seed     maphash.Seed
	ready    fifo[*request] // could run, but active is at its limit
	read     batchQueue
	write    batchQueue

	wg      sync.WaitGroup
	readers readers
	metrics coreMetrics
}

type waiter struct {
	admitted chan struct{} // closed under core.mu, with the place already taken
	err      error
}

func newCore(o *Options) *core {
	c := &core{o: o, tails: map[uint64]*request{}, seed: maphash.MakeSeed()}
	c.read.init(&c.mu)
	c.write.init(&c.mu)
	c.readers.init(o)
	for range o.ReadExecutors {
		c.wg.Go(c.readLoop)
	}
	for range o.WriteExecutors {
		c.wg.Go(c.writeLoop)
	}
	return c
}

// cut divides requests into those that were issued before a moment and those that were issued after it. While it is open, only the writes of the newer ones
// are held back: they are admitted and read, so that nobody waits for the reads of the older ones who does not have to write.
type cut struct {
	number int           // of cuts so far; newer requests have it, older ones a lower one
	open   bool          // newer requests do not write
	older  int           // requests under way from before the newest cut
	newer  int           // and since
	past   chan struct{} // closed when older becomes 0; nil: nobody waits
	held   fifo[*request]
}

// order is where requests on a key queue. Keys that share one by chance wait for each other, no more.
func (c *core) order(key []byte) uint64 { return maphash.Bytes(c.seed, key) }

// admit takes a place among the requests in flight, in the order of the calls.
func (c *core) admit(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return ErrClosed
	}
	if !c.paused && c.inflight < c.o.InFlight && c.waiters.len() == 0 {
		c.inflight++
		c.mu.Unlock()
		return nil
	}
	c.metrics.waits++
	w := &waiter{admitted: make(chan struct{})}
	c.waiters.push(w)
	c.admitLocked()
	c.mu.Unlock()
	select {
	case <-w.admitted:
		return w.err
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-w.admitted: // meanwhile
		if w.err == nil {
			c.leaveLocked()
		}
	default:
		w.err = ctx.Err() // marks it as gone
		c.admitLocked()   // nobody stands behind one who has gone
	}
	return ctx.Err()
}

// leaveLocked gives a place back.
func (c *core) leaveLocked() {
	c.inflight--
	c.admitLocked()
	if c.inflight == 0 {
		for _, ch := range c.idle {
			close(ch)
		}
		c.idle = nil
	}
}

func (c *core) admitLocked() {
	for !c.paused && c.inflight < c.o.InFlight && c.waiters.len() > 0 {
		w := c.waiters.pop()
		if w.err != nil {
			continue // it gave up
		}
		c.inflight++
		close(w.admitted)
	}
}

// submit admits and issues a request. An error means that it was not issued and done is not called.
func (c *core) submit(r *request) error {
	if r.here && c.carryOut(r) {
		return nil
	}
	if err := c.admit(r.ctx); err != nil {
		return err
	}
	r.pending.Store(int32(r.reads()))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.issuedLocked(r)
	if tail, busy := c.tails[r.order]; busy && !mutant.On(mutKeyOrder) {
		tail.next = r
		c.tails[r.order] = r
		return nil
	}
	c.tails[r.order] = r
	c.runnableLocked(r)
	return nil
}

// issuedLocked notes on which side of the next cut a request is.
func (c *core) issuedLocked(r *request) {
	r.cut = c.cut.number
	c.cut.newer++
}

// endedLocked is called once for each request that was issued.
func (c *core) endedLocked(r *request) {
	if r.cut == c.cut.number {
		c.cut.newer--
		return
	}
	c.cut.older--
	if c.cut.older == 0 && c.cut.past != nil {
		close(c.cut.past)
		c.cut.past = nil
	}
}

// heldLocked takes a request that may not write yet. It is not active meanwhile: older ones may need its place.
func (c *core) heldLocked(r *request) bool {
	if !c.cut.open || r.cut != c.cut.number || mutant.On(mutNewerWrites) {
		return false
	}
	c.cut.held.push(r)
	return true
}

// runnableLocked takes a request that no other of its key precedes any more.
func (c *core) runnableLocked(r *request) {
	if r.reads() == 0 && c.heldLocked(r) {
		return
	}
	if c.active >= c.o.Active {
		c.ready.push(r)
		return
	}
	c.active++
	if r.reads() > 0 {
		c.read.push(r)
	} else {
		c.write.push(r)
	}
}

// stepped passes a request on whose run was called.
func (c *core) stepped(r *request) {
	if r.err != nil || len(r.ops) == 0 {
		c.finish(r)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.heldLocked(r) {
		c.active--
		c.refillLocked()
		return
	}
	c.write.push(r)
}

// refillLocked makes requests active, as far as there is room.
func (c *core) refillLocked() {
	for c.ready.len() > 0 && c.active < c.o.Active {
		c.runnableLocked(c.ready.pop())
	}
}

// finish ends requests, which lets the next ones of their keys run, and then tells whoever waits.
func (c *core) finish(rs ...*request) {
	c.mu.Lock()
	for _, r := range rs {
		c.passLocked(r)
	}
	c.mu.Unlock()
	for _, r := range rs {
		r.stats.note(r)
		r.job.done(r.err)
	}
	c.mu.Lock()
	for _, r := range rs {
		c.endedLocked(r)
		c.leaveLocked()
	}
	c.mu.Unlock()
}

// passLocked lets whoever waits for r to end run.
func (c *core) passLocked(r *request) {
	c.active--
	if n := r.next; n != nil {
		c.runnableLocked(n)
	} else {
		delete(c.tails, r.order)
	}
	c.refillLocked()
}

// mark begins a cut: everything that was issued before it is older than everything that is issued from now on. past is closed when the older requests have
// ended; what newer ones write waits for release, which must be called. Only one cut may be open at a time, and none while the core is drained.
func (c *core) mark() (past <-chan struct{}, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, ErrClosed
	}
	c.cut.number++
	c.cut.open = true
	c.cut.older, c.cut.newer = c.cut.older+c.cut.newer, 0
	c.read.hurry()
	c.write.hurry()
	ch := make(chan struct{})
	if c.cut.older == 0 || mutant.On(mutNoDrain) {
		close(ch)
	} else {
		c.cut.past = ch
	}
	return ch, nil
}

// release lets the newer requests write.
func (c *core) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut.open, c.cut.past = false, nil
	for c.cut.held.len() > 0 {
		c.active++ // beyond the limit, perhaps: they have waited
		c.write.push(c.cut.held.pop())
	}
}

// drain keeps new requests out and waits for those inside. nil: nothing is running, and resume must be called. Only one caller
// may drain at a time, and none while a cut is open.
func (c *core) drain(ctx context.Context) error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return ErrClosed
	}
	c.paused = true
	c.read.hurry()
	c.write.hurry()
	if c.inflight == 0 {
		c.mu.Unlock()
		return nil
	}
	ch := make(chan struct{})
	c.idle = append(c.idle, ch)
	c.mu.Unlock()
	select {
	case <-ch:
		return nil
	case <-ctx.Done():
		c.resume()
		return ctx.Err()
	}
}

func (c *core) resume() {
	c.mu.Lock()
	c.paused = false
	c.admitLocked()
	c.mu.Unlock()
}

// close refuses what is not admitted, lets the rest finish and ends the executors.
func (c *core) close() {
	c.mu.Lock()
	c.closed = true
	for c.waiters.len() > 0 {
		if w := c.waiters.pop(); w.err == nil {
			w.err = ErrClosed
			close(w.admitted)
		}
	}
	var ch chan struct{}
	if c.inflight > 0 {
		ch = make(chan struct{})
		c.idle = append(c.idle, ch)
	}
	c.mu.Unlock()
	if ch != nil {
		<-ch
	}
	c.mu.Lock()
	c.read.end()
	c.write.end()
	c.mu.Unlock()
	c.wg.Wait()
	c.readers.wg.Wait()
}

// batchQueue hands out what is ready in batches.
type batchQueue struct {
	q     fifo[*request]
	since time.Time // when the oldest came
	cond  sync.Cond
	ended bool
	timer *time.Timer // wakes those who wait for a full batch
}

func (b *batchQueue) init(mu *sync.Mutex) { b.cond.L = mu }

func (b *batchQueue) push(r *request) {
	if b.q.len() == 0 {
		b.since = time.Now()
	}
	b.q.push(r)
	b.cond.Signal()
}

// hurry ends every wait for a full batch.
func (b *batchQueue) hurry() {
	b.since = time.Time{}
	b.cond.Broadcast()
}

func (b *batchQueue) end() {
	b.ended = true
	if b.timer != nil {
		b.timer.Stop()
	}
	b.cond.Broadcast()
}

// take gives up to n requests, and none when the queue has ended. With a timeout it waits that long for a full batch.
func (b *batchQueue) take(into []*request, n int, timeout time.Duration) []*request {
	b.cond.L.Lock()
	defer b.cond.L.Unlock()
	for {
		l := b.q.len()
		if l == 0 && b.ended {
			return nil
		}
		if l > 0 {
			left := timeout - time.Since(b.since)
			if l >= n || left <= 0 || b.ended {
				return b.cut(into, n)
			}
			if b.timer == nil {
				b.timer = time.AfterFunc(left, func() {
					b.cond.L.Lock()
					defer b.cond.L.Unlock()
					b.cond.Broadcast()
				})
			} else {
				b.timer.Reset(left)
			}
		}
		b.cond.Wait()
	}
}

func (b *batchQueue) cut(into []*request, n int) []*request {
	for len(into) < n && b.q.len() > 0 {
		into = append(into, b.q.pop())
	}
	b.since = time.Now() // what is left has waited for a reader, not for a batch
	return into
}

// fifo is a queue that gives its memory back.
type fifo[T any] struct {
	s    []T
	head int
}

func (f *fifo[T]) len() int { return len(f.s) - f.head }

func (f *fifo[T]) push(v T) { f.s = append(f.s, v) }

func (f *fifo[T]) pop() T {
	var zero T
	v := f.s[f.head]
	f.s[f.head] = zero
	f.head++
	switch {
	case f.head == len(f.s):
		f.s, f.head = f.s[:0], 0
		if cap(f.s) > 4096 {
			f.s = nil
		}
	case f.head > 1024 && f.head > len(f.s)/2:
		n := copy(f.s, f.s[f.head:])
		clear(f.s[n:])
		f.s, f.head = f.s[:n], 0
	}
	return v
}
