package cache

import (
	"context"
	"fmt"
	"sync"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/mutant"
)

// ReadAt fills p with the bytes of the object from off on and returns len(p), or an error: the bytes of p are then
// undefined. A range that does not lie within the object is driver.KindRange.
//
// What is cached is copied from memory without an allocation, even if ctx has ended. The rest is fetched, one GET for
// each run of adjacent missing blocks that nobody fetches yet; ReadAt returns when its own bytes are there. When ctx
// ends first, ReadAt returns its error at once, never touches p afterwards, and others who wait for the same blocks are
// not disturbed. A failed fetch that this read only joined, or that broke off in the middle, is tried once more, so that
// an error means that the source cannot answer.
func (c *Cache) ReadAt(ctx context.Context, obj *Object, p []byte, off int64, h Hint, reason Reason) (int, error) {
	if off < 0 || int64(len(p)) > obj.Size-off {
		return 0, rangeError(obj.ID, obj.Size, off, len(p))
	}
	if len(p) == 0 {
		return 0, nil
	}
	n := 0
	if !c.off() {
		var t tally
		n = c.copyBlocks(c.find(&obj.ID), &obj.ID, obj.Size, p, off, h, &t)
		c.m.hit(reason, &t)
		if n == len(p) {
			return n, nil
		}
	}
	// A copy of *obj: the caller's stays on its stack.
	r := read{c: c, obj: *obj, p: p, off: off, hint: h, reason: reason.index()}
	if err := r.fill(ctx, off+int64(n)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Lookup is ReadAt from the memory tier only: it fills p and reports true, or it reports false and leaves p undefined. It
// never allocates and never waits for a disk or a store.
func (c *Cache) Lookup(id ID, p []byte, off int64) bool {
	return c.LookupFor(id, p, off, Random, ReasonRead)
}

// LookupFor is Lookup with the hint and the reason of ReadAt. A caller that would have to make an Object, or a context,
// for ReadAt may try this first.
func (c *Cache) LookupFor(id ID, p []byte, off int64, h Hint, reason Reason) bool {
	o := c.find(&id)
	if o != nil && off >= 0 && int64(len(p)) <= o.size-off {
		var t tally
		n := 0
		for n < len(p) {
			k := c.copyBlock(o, p[n:], off+int64(n), h != Sequential)
			if k == 0 {
				break
			}
			n += k
			t.add(false, k)
		}
		if n == len(p) {
			c.m.hit(reason, &t)
			return true
		}
	}
	c.m.reasons[reason.index()].peekMisses.Add(1)
	return false
}

// tally counts what one read found.
type tally struct{ blocks, bytes, diskBlocks, diskBytes int64 }

func (t *tally) add(fromDisk bool, n int) {
	if fromDisk {
		t.diskBlocks++
		t.diskBytes += int64(n)
	} else {
		t.blocks++
		t.bytes += int64(n)
	}
}

// copyBlocks copies cached blocks to p until the first that is missing. o may be nil.
func (c *Cache) copyBlocks(o *object, id *ID, size int64, p []byte, off int64, h Hint, t *tally) (n int) {
	for n < len(p) {
		k, fromDisk := c.found(o, id, size, p[n:], off+int64(n), h)
		if k == 0 {
			break
		}
		n += k
		t.add(fromDisk, k)
	}
	return n
}

// found copies from the block of position off, wherever it is cached; 0 means nowhere.
func (c *Cache) found(o *object, id *ID, size int64, p []byte, off int64, h Hint) (n int, fromDisk bool) {
	if o != nil {
		if n := c.copyBlock(o, p, off, h != Sequential); n > 0 {
			return n, false
		}
	}
	if c.disk == nil {
		return 0, false
	}
	return c.copyDisk(id, size, p, off, h), true
}

// copyBlock copies from the cached block of position off to p, up to the end of either, and returns the number of bytes;
// 0 means that the block is not cached. A block that fails its checksum is removed.
func (c *Cache) copyBlock(o *object, p []byte, off int64, touch bool) int {
	bs := int64(c.o.BlockSize)
	block := uint32(off / bs)
	lo := int(off % bs)
	n := min(len(p), int(bs)-lo)
	sh := c.shardOf(o, block)
	k := key{o.serial, block}
	slot, ok := sh.pin(k, touch)
	if !ok {
		return 0
	}
	if mutant.On("cache/copy-without-pin") {
		sh.unpin(slot)
	}
	if c.copying != nil {
		c.copying()
	}
	good := lo+n <= int(c.slots.info[slot].size)
	if good && !c.o.SkipVerify && !c.slots.verify(slot, lo, lo+n) {
		good = false
		c.m.verifyFailures.Add(1)
	}
	if good {
		copy(p[:n], c.slots.bytes(slot)[lo:])
	}
	if !mutant.On("cache/copy-without-pin") {
		sh.unpin(slot)
	}
	if !good {
		// Not settled, because the caller may hold the table's lock: if the object is empty now, the fetch that
		// follows fills it again, or the next one forgets it.
		sh.remove(k, &evictions{})
		return 0
	}
	return n
}

func (m *counters) hit(r Reason, t *tally) {
	c := &m.reasons[r.index()]
	if t.blocks > 0 {
		c.hits.Add(t.blocks)
		c.hitBytes.Add(t.bytes)
	}
	if t.diskBlocks > 0 {
		c.diskHits.Add(t.diskBlocks)
		c.diskHitBytes.Add(t.diskBytes)
	}
}

func rangeError(id ID, size, off int64, n int) error {
	return &driver.Error{Op: "read", Path: id.String(), Kind: driver.KindRange,
		Err: fmt.Errorf("bytes %d to %d of %d", off, off+int64(n), size)}
}

// span is a range of bytes of an object.
type span struct{ lo, hi int64 }

// read is one ReadAt that has to fetch.
type read struct {
	c      *Cache
	obj    Object
	p      []byte
	off    int64
	hint   Hint
	reason Reason

	missing []span // block by block adjacent bytes of p that are not there, merged
	blocks  int64  // number of blocks in them
}

// fill gets everything from position pos on.
func (r *read) fill(ctx context.Context, pos int64) error {
	c := r.c
	if c.closed.Load() {
		return ErrClosed
	}
	if c.off() {
		c.m.miss(r.reason, 1, int64(len(r.p)))
		return r.direct(ctx, []span{{r.off, r.off + int64(len(r.p))}})
	}
	r.scan(pos)
	for attempt := 0; ; attempt++ {
		w, direct, err := r.plan(ctx, attempt)
		if err != nil {
			return err
		}
		if len(direct) > 0 {
			err = r.direct(ctx, direct)
			c.flights.Done()
		}
		if err != nil {
			w.leave(c)
			return err
		}
		err, again := w.wait(ctx, c)
		if err == nil || !again || attempt > 0 {
			return err
		}
	}
}

// scan finds what is missing from position pos on and copies the rest.
func (r *read) scan(pos int64) {
	c, bs, end := r.c, int64(r.c.o.BlockSize), r.off+int64(len(r.p))
	o := c.find(&r.obj.ID)
	var t tally
	var missed int64
	for first := true; pos < end; first = false {
		if !first { // the first is known to be missing
			if n, fromDisk := c.found(o, &r.obj.ID, r.obj.Size, r.p[pos-r.off:], pos, r.hint); n > 0 {
				t.add(fromDisk, n)
				pos += int64(n)
				continue
			}
		}
		next := min((pos/bs+1)*bs, end)
		if k := len(r.missing); k > 0 && r.missing[k-1].hi == pos {
			r.missing[k-1].hi = next
		} else {
			r.missing = append(r.missing, span{pos, next})
		}
		r.blocks++
		missed += next - pos
		pos = next
	}
	c.m.hit(r.reason, &t)
	c.m.miss(r.reason, r.blocks, missed)
}

func (m *counters) miss(r Reason, blocks, bytes int64) {
	m.reasons[r].misses.Add(blocks)
	m.reasons[r].missBytes.Add(bytes)
}

// plan joins the flights that bring missing blocks and begins flights for the others. A sequential read gets the others
// as ranges to fetch into p directly, and one count in c.flights if there are any.
func (r *read) plan(ctx context.Context, attempt int) (*waiter, []span, error) {
	c, bs := r.c, int64(r.c.o.BlockSize)
	hash := r.obj.ID.hash()
	t := c.tableOf(hash)
	t.mu.Lock()
	defer t.mu.Unlock()
	if c.closed.Load() {
		return nil, nil, ErrClosed
	}
	o := c.obtain(t, &r.obj.ID, hash, r.obj.Size)
	if o.size != r.obj.Size {
		return nil, nil, &driver.Error{Op: "read", Path: o.id.String(), Kind: driver.KindInvalid,
			Err: fmt.Errorf("an object of %d bytes is known under this ID, not of %d: two objects share an ID", o.size, r.obj.Size)}
	}
	w := &waiter{done: make(chan struct{})}
	w.pending.Store(1)
	var runs []run
	barrier := false
	for _, m := range r.missing {
		for a := m.lo; a < m.hi; {
			b := min((a/bs+1)*bs, m.hi)
			p := r.p[a-r.off : b-r.off]
			switch f := o.flightOf(a); {
			case f != nil && f.join(w, a, p):
				c.m.reasons[r.reason].joined.Add(1)
				barrier = true
			case c.copyBlock(o, p, a, r.hint != Sequential) == len(p): // it came in since scan looked
			case len(runs) > 0 && runs[len(runs)-1].hi == a:
				runs[len(runs)-1].hi = b
			default:
				runs = append(runs, run{span{a, b}, barrier})
				barrier = false
			}
			a = b
		}
	}
	var direct []span
	if r.hint == Sequential {
		if direct = mergeRuns(runs, gapBlocks*bs); len(direct) > 0 {
			c.flights.Add(1)
		}
	} else {
		for i, run := range runs {
			want := span{run.lo - run.lo%bs, min((run.hi+bs-1)/bs*bs, o.size)}
			get, background := want, false
			if attempt == 0 {
				get, background = c.widen(o, want, r.hint, r.obj.Tail, i == 0, i == len(runs)-1)
			}
			f := c.newFlight(o, r.obj.Source, get, r.reason, background)
			f.exact, f.tail = get == want, r.hint == Tail
			f.own(w, run.lo, r.p[run.lo-r.off:run.hi-r.off])
			c.start(ctx, f)
		}
	}
	c.forget(t, o)
	w.finish() // the count that kept w pending while it was built
	return w, direct, nil
}

// run is a range that nobody fetches. A barrier before it is a range that a flight brings: a direct read must not write
// there.
type run struct {
	span
	barrier bool
}

// mergeRuns joins runs whose gap is at most gap bytes: reading what is known already costs less than one more GET.
func mergeRuns(runs []run, gap int64) []span {
	var out []span
	for _, r := range runs {
		if k := len(out); k > 0 && !r.barrier && r.lo-out[k-1].hi <= gap {
			out[k-1].hi = r.hi
		} else {
			out = append(out, r.span)
		}
	}
	return out
}

// direct fetches ranges of the object into p, all at once, and returns when no fetch writes to p any more.
func (r *read) direct(ctx context.Context, spans []span) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.c.root, cancel)()
	errs := make([]error, len(spans))
	var others sync.WaitGroup
	for i, s := range spans[1:] {
		others.Go(func() {
			if errs[i+1] = r.fetchInto(ctx, s); errs[i+1] != nil {
				cancel() // the read fails: do not wait for the others
			}
		})
	}
	if errs[0] = r.fetchInto(ctx, spans[0]); errs[0] != nil {
		cancel()
	}
	others.Wait()
	// The first error that is not the consequence of another one's cancel.
	var first error
	for _, err := range errs {
		if err != nil && (first == nil || driver.IsCanceled(first)) {
			first = err
		}
	}
	if first != nil && r.c.root.Err() != nil {
		return ErrClosed
	}
	return first
}
