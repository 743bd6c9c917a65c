package cache

import (
	"sync"
	"sync/atomic"

	"github.com/forst-go/forst/cache/disk"
	"github.com/forst-go/forst/internal/mutant"
)

const tableCount = 32

// table finds the objects that have blocks in the cache or fetches under way.
//
// Locks are taken in the order table, then flight, then shard.
type table struct {
	mu      sync.RWMutex
	objects map[ID]*object
}

// object is one life of an ID in the cache: a dropped object that is read again gets a new serial, so that nothing of the
// old life can be found in the new one.
type object struct {
	id     ID
	hash   uint64
	serial uint64
	size   int64
	blocks int64 // blocks that the object has

	resident atomic.Int64  // blocks in the index
	regions  atomic.Uint64 // bit i: a block of the i-th 64th of the object was in the index
	dropped  atomic.Bool

	users   int       // flights and inserts under way; guarded by table.mu
	flights []*flight // guarded by table.mu
}

// add counts a block that its caller is about to put into the index, under the shard's lock; false means that the object
// was dropped. The count comes first: Drop marks the object and then looks at the count, so that one of the two sees the
// other.
func (o *object) add(block uint32) bool {
	o.regions.Or(1 << (uint64(block) * 64 / uint64(o.blocks)))
	o.resident.Add(1)
	if o.dropped.Load() && !mutant.On("cache/fetch-resurrects-dropped") {
		o.resident.Add(-1)
		return false
	}
	return true
}

// remove counts a block that left the index; true means that it was the last one.
func (o *object) remove() bool { return o.resident.Add(-1) == 0 }

func (c *Cache) tableOf(hash uint64) *table { return &c.tables[hash&(tableCount-1)] }

// find gives the object if any of it is known.
func (c *Cache) find(id *ID) *object {
	t := c.tableOf(id.hash())
	t.mu.RLock()
	o := t.objects[*id]
	t.mu.RUnlock()
	return o
}

// obtain gives the object, a new one if need be. The caller holds t.mu.
func (c *Cache) obtain(t *table, id *ID, hash uint64, size int64) *object {
	o := t.objects[*id]
	if o == nil {
		bs := int64(c.o.BlockSize)
		o = &object{id: *id, hash: hash, serial: c.serial.Add(1), size: size, blocks: max((size+bs-1)/bs, 1)}
		t.objects[*id] = o
	}
	return o
}

// hold is obtain with a user, whom letGo ends. A nil object means that the cache is closed or that the sizes disagree.
func (c *Cache) hold(id *ID, size int64) *object {
	h := id.hash()
	t := c.tableOf(h)
	t.mu.Lock()
	defer t.mu.Unlock()
	if c.closed.Load() {
		return nil
	}
	o := c.obtain(t, id, h, size)
	if o.size != size {
		return nil
	}
	o.users++
	return o
}

func (c *Cache) letGo(o *object) {
	t := c.tableOf(o.hash)
	t.mu.Lock()
	o.users--
	c.forget(t, o)
	t.mu.Unlock()
}

// forget removes an object of which nothing is left. The caller holds t.mu.
func (c *Cache) forget(t *table, o *object) {
	if o.users == 0 && o.resident.Load() == 0 && t.objects[o.id] == o {
		delete(t.objects, o.id)
	}
}

// settle counts evictions, forgets objects that became empty and gives the disk tier what proved to be worth it: it may have passed over the block when it
// was fetched, and would miss it after a restart. The caller holds no lock.
func (c *Cache) settle(ev *evictions) {
	if ev.blocks > 0 {
		c.m.evicted.Add(ev.blocks)
	}
	for _, o := range ev.empty {
		t := c.tableOf(o.hash)
		t.mu.Lock()
		c.forget(t, o)
		t.mu.Unlock()
	}
	for _, r := range ev.risen {
		if size := int(c.slots.info[r.slot].size); c.o.SkipVerify || c.slots.verify(r.slot, 0, size) || mutant.On("cache/risen-unverified") { // the disk tier's checksum would vouch for damage
			c.toDisk(r.o, r.block, c.slots.bytes(r.slot)[:size], (*disk.Tier).Put)
		}
		c.shardOf(r.o, r.block).unpin(r.slot)
	}
}

// Drop removes all blocks of an object at once: reads that begin after Drop has returned find none of them, and a fetch
// that is still under way does not bring them back (it serves those who wait for it). Dropping an object that the cache
// does not know costs one look-up in each tier.
func (c *Cache) Drop(id ID) {
	c.dropMemory(id)
	if c.disk != nil { // second: whoever writes to the disk tier looks afterwards whether its object was dropped
		c.disk.Drop(disk.ID(id))
	}
}

func (c *Cache) dropMemory(id ID) {
	t := c.tableOf(id.hash())
	t.mu.RLock()
	o := t.objects[id]
	t.mu.RUnlock()
	if o == nil || mutant.On("cache/drop-forgets-nothing") {
		return
	}
	t.mu.Lock()
	if t.objects[id] == o && !mutant.On("cache/fetch-resurrects-dropped") {
		delete(t.objects, id)
	}
	o.dropped.Store(true)
	t.mu.Unlock()
	c.sweep(o)
}

// sweep frees the blocks of a dropped object. Only the parts of the object that ever had a block are looked at.
func (c *Cache) sweep(o *object) {
	var ev evictions
	regions := o.regions.Load()
	for i := int64(0); i < 64 && o.resident.Load() > 0; i++ {
		if regions&(1<<i) == 0 {
			continue
		}
		// The blocks b with b*64/blocks == i.
		for b := (i*o.blocks + 63) / 64; b < ((i+1)*o.blocks+63)/64; b++ {
			c.shardOf(o, uint32(b)).remove(key{o.serial, uint32(b)}, &ev)
		}
	}
	c.m.dropped.Add(ev.blocks)
}
