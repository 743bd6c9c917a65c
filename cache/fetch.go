package cache

import (
	"context"

	"github.com/forst-go/forst/cache/disk"
)

// widen decides what a flight fetches besides the blocks that are wanted: behind a random miss, while the cache has room,
// up to FetchSize; before the miss of a file's tail up to TailSize. It stops at blocks that are cached or under way.
// background tells that the flight may outlast its waiters and has taken its share. The caller holds the table's lock.
func (c *Cache) widen(o *object, want span, h Hint, tail int64, first, last bool) (get span, background bool) {
	bs := int64(c.o.BlockSize)
	get = want
	if h == Tail && first {
		if tail == 0 {
			tail = c.o.TailSize
		}
		for get.lo > 0 && get.hi-get.lo+bs <= tail && c.absent(o, get.lo-bs) {
			get.lo -= bs
		}
		return get, false
	}
	if h != Random || !last || !c.roomy() {
		return get, false
	}
	for get.hi < o.size && get.hi-get.lo+bs <= c.o.FetchSize && c.absent(o, get.hi) {
		get.hi = min(get.hi+bs, o.size)
	}
	if get != want && !c.takeBackground() {
		return want, false
	}
	return get, get != want
}

// roomy reports whether at least an eighth of the larger tier is free.
func (c *Cache) roomy() bool {
	if c.disk != nil {
		return c.disk.Room()
	}
	all := int64(len(c.slots.info))
	return all-c.slots.used.Load() >= max(all/8, 1)
}

// absent reports whether the block at pos is neither cached nor under way.
func (c *Cache) absent(o *object, pos int64) bool {
	block := uint32(pos / int64(c.o.BlockSize))
	return o.flightOf(pos) == nil && !c.shardOf(o, block).has(key{o.serial, block}) &&
		(c.disk == nil || !c.disk.Has(disk.ID(o.id), block))
}

// Prefetch begins to fetch what is not cached of the bytes [off, off+n) and returns at once; n < 0 means up to the
// object's end. Reads of the range join. The fetches do not end with ctx, only with Close; at most Options.Background of
// them are under way, and what is too much is left out. Failures show in the metrics only.
func (c *Cache) Prefetch(ctx context.Context, obj *Object, off, n int64) {
	if c.off() || off < 0 || off >= obj.Size || n == 0 {
		return
	}
	end := obj.Size
	if n > 0 {
		end = min(end, off+n)
	}
	bs := int64(c.o.BlockSize)
	off -= off % bs
	hash := obj.ID.hash()
	t := c.tableOf(hash)
	t.mu.Lock()
	defer t.mu.Unlock()
	if c.closed.Load() {
		return
	}
	o := c.obtain(t, &obj.ID, hash, obj.Size)
	defer c.forget(t, o)
	if o.size != obj.Size {
		return // a bug of the caller, which its next read will report
	}
	for off < end {
		get := span{off, off}
		for get.hi < end && get.hi-get.lo < maxFlight && c.absent(o, get.hi) {
			get.hi = min(get.hi+bs, o.size)
		}
		if get.hi == get.lo {
			off += bs
			continue
		}
		if !c.takeBackground() {
			c.m.refused.Add(1)
			return
		}
		c.start(ctx, c.newFlight(o, obj.Source, get, ReasonPrefetch, true))
		off = get.hi
	}
}

// Insert stores bytes of a new object, data beginning at off, a multiple of the block size, so that its first readers
// need not fetch them. Only whole blocks, and the last one of the object, are kept; a block that is cached already stays
// as it is. Insert copies data and returns when it is readable; it never blocks on a store. The caller vouches that the
// bytes are those of the object, and that the object is durable or is being made so.
func (c *Cache) Insert(id ID, size int64, off int64, data []byte, reason Reason) {
	c.insert(id, size, off, data, reason, (*disk.Tier).Put)
}

func (c *Cache) insert(id ID, size int64, off int64, data []byte, reason Reason, give giver) {
	if c.off() || off < 0 || int64(len(data)) > size-off {
		return
	}
	bs := int64(c.o.BlockSize)
	if skip := (bs - off%bs) % bs; skip > 0 {
		if skip >= int64(len(data)) {
			return
		}
		off, data = off+skip, data[skip:]
	}
	o := c.hold(&id, size)
	if o == nil {
		return
	}
	defer c.letGo(o)
	for len(data) > 0 {
		n := min(int(bs), len(data))
		if n < int(bs) && off+int64(n) != size {
			return
		}
		c.m.store(reason.index(), c.store(o, uint32(off/bs), data[:n]))
		c.toDisk(o, uint32(off/bs), data[:n], give)
		off, data = off+int64(n), data[n:]
	}
}

// store copies a block into the cache; false means that there was no room or that the object was dropped.
func (c *Cache) store(o *object, block uint32, data []byte) bool {
	sh := c.shardOf(o, block)
	if sh.has(key{o.serial, block}) {
		return true
	}
	var ev evictions
	slot, ok := sh.reserve(&ev)
	c.settle(&ev)
	if !ok {
		return false
	}
	copy(c.slots.bytes(slot), data)
	c.slots.seal(slot, len(data))
	return sh.publish(o, block, slot, len(data))
}

// fetchInto reads a range of the object into its place in p, past the cache. An answer that breaks off is asked for once
// more, from the last full step on.
func (r *read) fetchInto(ctx context.Context, s span) error {
	done, opened, err := r.fetchOnce(ctx, s)
	if err != nil && opened && ctx.Err() == nil {
		s.lo += done
		_, _, err = r.fetchOnce(ctx, s)
	}
	return err
}

func (r *read) fetchOnce(ctx context.Context, s span) (done int64, opened bool, err error) {
	m := &r.c.m
	m.get(r.reason, s.hi-s.lo)
	defer func() {
		m.fetchedBytes.Add(done)
		if err != nil {
			m.fetchErrors.Add(1)
		}
	}()
	body, err := r.obj.Source.Fetch(ctx, s.lo, s.hi-s.lo)
	if err != nil {
		return 0, false, err
	}
	defer body.Close()
	const step = 256 << 10
	for lo := s.lo; lo < s.hi; {
		n := min(s.hi-lo, step)
		if err := readExactly(r.obj.ID, body, r.p[lo-r.off:lo-r.off+n], lo+n == s.hi); err != nil {
			return done, true, err
		}
		done, lo = done+n, lo+n
	}
	return done, true, nil
}

// scratch gives a buffer of one block.
func (c *Cache) scratch() *[]byte {
	if b, ok := c.scratches.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, c.o.BlockSize)
	return &b
}
