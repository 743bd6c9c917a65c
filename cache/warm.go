package cache

import (
	"context"

	"github.com/forst-go/forst/cache/disk"
)

// warmRange is what Warm asks for in one GET, in bytes.
const warmRange = 4 << 20

// Warm fetches what is not cached of an object, one range after the other, and returns when the lowest tier has been given all
// of it: the disk if there is one. It gives the number of bytes fetched. A tier that is too small or fails keeps less; Holds
// tells.
func (c *Cache) Warm(ctx context.Context, obj *Object) (fetched int64, err error) {
	if c.off() {
		return 0, nil
	}
	bs := int64(c.o.BlockSize)
	var buf []byte
	for off := int64(0); off < obj.Size; {
		if c.holds(obj, off) {
			off += bs
			continue
		}
		end := off
		for end < obj.Size && end-off < warmRange && !c.holds(obj, end) {
			end = min(end+bs, obj.Size)
		}
		if int64(cap(buf)) < end-off {
			buf = make([]byte, end-off)
		}
		r := read{c: c, obj: *obj, p: buf[:end-off], off: off, hint: Sequential, reason: ReasonPrefetch}
		if c.closed.Load() {
			return fetched, ErrClosed
		}
		if err := r.fetchInto(ctx, span{off, end}); err != nil {
			return fetched, err
		}
		c.insert(obj.ID, obj.Size, off, r.p, ReasonPrefetch, (*disk.Tier).PutWait)
		fetched += end - off
		off = end
	}
	return fetched, nil
}

// holds reports whether the lowest tier has the block at pos.
func (c *Cache) holds(obj *Object, pos int64) bool {
	block := uint32(pos / int64(c.o.BlockSize))
	if c.disk != nil {
		return c.disk.Has(disk.ID(obj.ID), block)
	}
	o := c.find(&obj.ID)
	return o != nil && c.shardOf(o, block).has(key{o.serial, block})
}

// Holds is how many of an object's bytes the lowest tier has.
func (c *Cache) Holds(obj *Object) (bytes int64) {
	if c.off() {
		return 0
	}
	bs := int64(c.o.BlockSize)
	for off := int64(0); off < obj.Size; off += bs {
		if c.holds(obj, off) {
			bytes += min(bs, obj.Size-off)
		}
	}
	return bytes
}

// BlockSize is the unit of caching in bytes.
func (c *Cache) BlockSize() int64 { return int64(c.o.BlockSize) }

// Capacity is how many bytes the larger tier may hold.
func (c *Cache) Capacity() int64 {
	var n int64
	if c.slots != nil {
		n = int64(len(c.slots.info)) * int64(c.o.BlockSize)
	}
	if c.disk != nil {
		n = max(n, c.disk.Limit())
	}
	return n
}

// Pin keeps the blocks of a volume on disk until Unpin; it reports false if there is no disk tier. See disk.Tier.Pin.
func (c *Cache) Pin(volume [16]byte) bool {
	if c.disk == nil {
		return false
	}
	c.disk.Pin(volume)
	return true
}

// Unpin ends one Pin.
func (c *Cache) Unpin(volume [16]byte) {
	if c.disk != nil {
		c.disk.Unpin(volume)
	}
}

// PinRoom is how many bytes of whole blocks pinned volumes may still fill.
func (c *Cache) PinRoom() int64 {
	if c.disk == nil {
		return 0
	}
	return c.disk.PinRoom()
}

// SetDiskSize changes Options.Disk.Size of a cache that has a disk tier.
func (c *Cache) SetDiskSize(bytes int64) {
	if c.disk != nil {
		c.disk.SetSize(bytes)
	}
}
