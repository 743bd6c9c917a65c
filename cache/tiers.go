package cache

import (
	"github.com/forst-go/forst/cache/disk"
	"github.com/forst-go/forst/internal/mutant"
)

// LookupAll is LookupFor in both tiers: it may read from the disk, and allocates nothing either. size is that of the object in bytes;
// 0 means that the caller does not know it: so it is with what no Source can give in ranges, such as frames, which are verified as a whole.
func (c *Cache) LookupAll(id ID, size int64, p []byte, off int64, h Hint, reason Reason) bool {
	if c.disk == nil {
		return c.LookupFor(id, p, off, h, reason)
	}
	o := c.find(&id)
	if size == 0 {
		if o != nil {
			size = o.size
		} else {
			size, _ = c.disk.ObjectSize(disk.ID(id))
		}
	}
	if off >= 0 && int64(len(p)) <= size-off && (o == nil || o.size == size) {
		var t tally
		if c.copyBlocks(o, &id, size, p, off, h, &t) == len(p) {
			c.m.hit(reason, &t)
			return true
		}
	}
	c.m.reasons[reason.index()].peekMisses.Add(1)
	return false
}

// copyDisk copies from the block of position off in the disk tier to p, up to the end of either, and returns the number
// of bytes; 0 means that the block is not there. At the second use within the memory of the ghost queue the block moves
// up into the memory tier; a sequential read moves nothing.
func (c *Cache) copyDisk(id *ID, size int64, p []byte, off int64, h Hint) int {
	bs := int64(c.o.BlockSize)
	block := uint32(off / bs)
	lo := int(off % bs)
	n := min(len(p), int(min(bs, size-int64(block)*bs))-lo)
	if h == Sequential {
		if !c.disk.Get(disk.ID(*id), block, lo, p[:n]) {
			return 0
		}
		return n
	}
	hash := blockHash(id.hash(), block)
	sh := c.shardAt(hash)
	if sh.remembers(hash) && c.disk.Has(disk.ID(*id), block) && c.promote(id, size, block, lo, p[:n]) {
		return n
	}
	if !c.disk.Get(disk.ID(*id), block, lo, p[:n]) {
		return 0
	}
	sh.remember(hash)
	return n
}

// promote reads a whole block from disk into memory and copies p from there.
func (c *Cache) promote(id *ID, size int64, block uint32, lo int, p []byte) bool {
	o := c.hold(id, size)
	if o == nil {
		return false
	}
	defer c.letGo(o)
	sh := c.shardOf(o, block)
	var ev evictions
	slot, ok := sh.reserve(&ev)
	c.settle(&ev)
	if !ok {
		return false
	}
	whole := int(min(int64(c.o.BlockSize), size-int64(block)*int64(c.o.BlockSize)))
	buf := c.slots.bytes(slot)[:whole]
	if !c.disk.Get(disk.ID(*id), block, 0, buf) {
		sh.cancel(slot)
		return false
	}
	copy(p, buf[lo:])
	c.slots.seal(slot, whole)
	if sh.publish(o, block, slot, whole) {
		c.m.promoted.Add(1)
	}
	return true
}

// giver is a way into the disk tier: its Offer, Put or PutWait.
type giver func(t *disk.Tier, id disk.ID, objectSize int64, block uint32, data []byte)

// toDisk gives a block to the disk tier. If its object is being dropped meanwhile, either Drop comes after the offer and
// takes it back, or the offer comes after Drop's mark, which is seen here.
func (c *Cache) toDisk(o *object, block uint32, data []byte, give giver) {
	if mutant.On("cache/disk-offer-unchecked") {
		give(c.disk, disk.ID(o.id), o.size, block, data)
		return
	}
	if c.disk == nil || o.dropped.Load() || c.disk.Has(disk.ID(o.id), block) {
		return
	}
	give(c.disk, disk.ID(o.id), o.size, block, data)
	if o.dropped.Load() {
		c.disk.Drop(disk.ID(o.id))
	}
}
