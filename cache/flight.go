package cache

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/forst-go/forst/cache/disk"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/mutant"
)

// flight is one GET of a run of blocks and those who wait for them. Its goroutine reads the blocks in order, stores each
// one, hands it to the waiters and goes on; it is the only one that writes to their buffers, and only under mu, so that
// a waiter that has left owns its buffer again.
type flight struct {
	c          *Cache
	o          *object
	src        Source
	get        span // blocks [lo, hi), whole but for the object's end
	reason     Reason
	tail       bool // it has the end of an object, which whoever opens it needs first
	exact      bool // it fetches no more than its owner wanted
	background bool // it holds one of Options.Background
	cancel     context.CancelFunc

	mu     sync.Mutex
	pos    int64 // what is before it has been stored and handed out
	opened bool  // the source has answered
	ended  bool
	pieces []piece
}

// piece is what one waiter wants of a flight: the bytes of the object from off on go to p.
type piece struct {
	w   *waiter
	off int64
	p   []byte
	own bool // the waiter has begun this flight
}

// waiter is one read that waits for pieces.
type waiter struct {
	pending atomic.Int32
	done    chan struct{} // closed when no piece is pending

	mu      sync.Mutex
	err     error // the first
	again   bool  // another try may go better
	flights []*flight
}

func (w *waiter) finish() {
	if w.pending.Add(-1) == 0 {
		close(w.done)
	}
}

func (w *waiter) fail(err error, again bool) {
	w.mu.Lock()
	if w.err == nil {
		w.err, w.again = err, again
	}
	w.mu.Unlock()
	w.finish()
}

// wait returns when all pieces are there or one has failed and the others are settled, or when ctx ends. After it
// nobody writes to the buffers. again is true if the error is none that the source gave to this very read.
func (w *waiter) wait(ctx context.Context, c *Cache) (err error, again bool) {
	select {
	case <-w.done:
		return w.err, w.again
	default:
	}
	select {
	case <-w.done:
		return w.err, w.again
	case <-ctx.Done():
		w.leave(c)
		return ctx.Err(), false
	}
}

// leave takes the waiter's pieces out of all flights. A flight that nobody waits for any more goes on in the background
// if there is room, because somebody wanted these blocks, or else ends.
func (w *waiter) leave(c *Cache) {
	for _, f := range w.flights {
		t := c.tableOf(f.o.hash)
		t.mu.Lock()
		f.mu.Lock()
		f.pieces = slices.DeleteFunc(f.pieces, func(p piece) bool { return p.w == w })
		if len(f.pieces) == 0 && !f.background && !f.ended {
			if f.background = c.takeBackground(); !f.background {
				f.o.detach(f) // nobody may join what is about to fail
				c.m.abandoned.Add(1)
				f.cancel()
			}
		}
		f.mu.Unlock()
		t.mu.Unlock()
	}
}

// flightOf gives the flight whose range has the position. The caller holds the table's lock.
func (o *object) flightOf(pos int64) *flight {
	for _, f := range o.flights {
		if f.get.lo <= pos && pos < f.get.hi {
			return f
		}
	}
	return nil
}

// detach keeps further waiters away from f. The caller holds the table's lock.
func (o *object) detach(f *flight) {
	if i := slices.Index(o.flights, f); i >= 0 {
		o.flights = slices.Delete(o.flights, i, i+1)
	}
}

// join adds a piece of one block, unless the flight is past it.
func (f *flight) join(w *waiter, off int64, p []byte) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	bs := int64(f.c.o.BlockSize)
	if f.pos > off-off%bs {
		return false
	}
	if k := len(f.pieces); k > 0 && f.pieces[k-1].w == w && f.pieces[k-1].off+int64(len(f.pieces[k-1].p)) == off {
		last := &f.pieces[k-1] // of the same read, so that the buffers are adjacent as well
		last.p = last.p[:len(last.p)+len(p)]
		return true
	}
	f.add(piece{w: w, off: off, p: p})
	return true
}

// own adds the piece for which the flight is begun.
func (f *flight) own(w *waiter, off int64, p []byte) { f.add(piece{w: w, off: off, p: p, own: true}) }

func (f *flight) add(p piece) {
	p.w.pending.Add(1)
	if !slices.Contains(p.w.flights, f) {
		p.w.flights = append(p.w.flights, f)
	}
	f.pieces = append(f.pieces, p)
}

// newFlight makes a flight that others can join. The caller holds the table's lock and has seen that c is not closed.
func (c *Cache) newFlight(o *object, src Source, get span, reason Reason, background bool) *flight {
	f := &flight{c: c, o: o, src: src, get: get, pos: get.lo, reason: reason, exact: true, background: background}
	o.users++
	o.flights = append(o.flights, f)
	c.flights.Add(1)
	return f
}

// start begins the fetch. It has the values of ctx, such as the component for which it is made, but not its end.
func (c *Cache) start(ctx context.Context, f *flight) {
	ctx, f.cancel = context.WithCancel(context.WithoutCancel(ctx))
	go f.run(ctx)
}

func (f *flight) run(ctx context.Context) {
	defer f.c.flights.Done()
	defer f.cancel()
	defer context.AfterFunc(f.c.root, f.cancel)()
	f.c.m.get(f.reason, f.get.hi-f.get.lo)
	body, err := f.src.Fetch(ctx, f.get.lo, f.get.hi-f.get.lo)
	if err == nil {
		f.mu.Lock()
		f.opened = true
		f.mu.Unlock()
		err = f.stream(body)
		body.Close() // its error says nothing about bytes that are already here
	}
	f.end(err)
}

func (m *counters) get(r Reason, bytes int64) {
	m.fetches.Add(1)
	m.reasons[r].gets.Add(1)
	m.reasons[r].getBytes.Add(bytes)
}

func (m *counters) store(r Reason, kept bool) {
	if kept {
		m.reasons[r].stored.Add(1)
	} else {
		m.unstored.Add(1)
	}
}

// stream reads the blocks one by one into their slots.
func (f *flight) stream(body io.Reader) error {
	c, bs := f.c, int64(f.c.o.BlockSize)
	give := (*disk.Tier).Offer
	if f.tail {
		give = (*disk.Tier).Put
	}
	for pos := f.get.lo; pos < f.get.hi; {
		n := min(bs, f.get.hi-pos)
		block := uint32(pos / bs)
		if mutant.On("cache/coalesced-block-offset") && pos > f.get.lo && n == bs {
			block--
		}
		sh := c.shardOf(f.o, block)
		var ev evictions
		slot, kept := sh.reserve(&ev)
		c.settle(&ev)
		var buf []byte
		var scratch *[]byte
		if kept {
			buf = c.slots.bytes(slot)[:n]
		} else {
			scratch = c.scratch()
			buf = (*scratch)[:n]
		}
		err := readExactly(f.o.id, body, buf, pos+n == f.get.hi)
		if err != nil {
			if kept {
				sh.cancel(slot)
			}
			return err
		}
		c.m.fetchedBytes.Add(n)
		if kept {
			c.slots.seal(slot, int(n))
			c.slots.info[slot].refs.Add(1) // ours, until the waiters have their bytes
			c.m.store(f.reason, sh.publish(f.o, block, slot, int(n)))
			f.hand(pos, buf)
			c.toDisk(f.o, block, buf, give)
			sh.unpin(slot)
		} else {
			c.m.store(f.reason, false)
			f.hand(pos, buf)
			c.toDisk(f.o, block, buf, give)
			c.scratches.Put(scratch)
		}
		pos += n
	}
	return nil
}

// hand gives the bytes from pos on to those who want some of them. They are in the index already, so that whoever comes
// too late to join finds them there.
func (f *flight) hand(pos int64, b []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pos = pos + int64(len(b))
	f.pieces = slices.DeleteFunc(f.pieces, func(p piece) bool {
		end := p.off + int64(len(p.p))
		if lo, hi := max(pos, p.off), min(f.pos, end); lo < hi {
			copy(p.p[lo-p.off:hi-p.off], b[lo-pos:])
		}
		if end > f.pos {
			return false
		}
		p.w.finish()
		return true
	})
}

// end settles those who still wait, after which nobody can join any more.
func (f *flight) end(err error) {
	c := f.c
	if err != nil {
		c.m.fetchErrors.Add(1)
		if c.root.Err() != nil {
			err = ErrClosed
		}
	}
	t := c.tableOf(f.o.hash)
	t.mu.Lock()
	f.o.detach(f)
	f.o.users--
	c.forget(t, f.o)
	t.mu.Unlock()

	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = true
	if err == nil && len(f.pieces) > 0 {
		err = errors.New("block cache: a fetch ended without the bytes that a reader waits for: a bug")
	}
	for _, p := range f.pieces {
		p.w.fail(err, err != ErrClosed && (f.opened || !f.exact || !p.own))
	}
	f.pieces = nil
	if f.background {
		c.background.Add(-1)
	}
}

// takeBackground takes one of the background fetches, if there is one left.
func (c *Cache) takeBackground() bool {
	if c.background.Add(1) <= int64(c.o.Background) {
		return true
	}
	c.background.Add(-1)
	return false
}

// readExactly fills buf. At the end of the range the reader must end, too: a source that ignores ranges gives other
// bytes than those that were asked for.
func readExactly(id ID, body io.Reader, buf []byte, last bool) error {
	if _, err := io.ReadFull(body, buf); err != nil {
		if mutant.On("cache/short-fetch-accepted") && driver.KindOf(err) == driver.KindOther {
			return nil
		}
		return streamError(id, err)
	}
	if !last {
		return nil
	}
	var one [1]byte
	switch n, err := io.ReadFull(body, one[:]); {
	case n > 0:
		return &driver.Error{Op: "get", Path: id.String(), Kind: driver.KindCorrupt,
			Err: errors.New("the store gave more bytes than the range has: it may ignore ranges")}
	case err != io.EOF:
		return streamError(id, err)
	}
	return nil
}

// streamError classifies what broke off a range; a short one is never data.
func streamError(id ID, err error) error {
	var e *driver.Error
	if errors.As(err, &e) || driver.IsCanceled(err) {
		return err
	}
	kind := driver.KindTransient
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		kind, err = driver.KindCorrupt, io.ErrUnexpectedEOF
	}
	return &driver.Error{Op: "get", Path: id.String(), Kind: kind, Err: err}
}
