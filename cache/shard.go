package cache

import (
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/forst-go/forst/internal/ghost"
)

// key names a block in the index. Serials are never used twice, so that the blocks of a dropped object cannot be found
// even before they are gone.
type key struct {
	serial uint64
	block  uint32
}

// shard is a part of the index with the slots that it owns. Its policy is S3-FIFO: new blocks enter the small queue; at
// its end those that were used meanwhile move to the main queue, the others leave and are remembered by their hash. A
// block that comes back while it is remembered enters the main queue at once. At the end of the main queue a used block
// goes round again. A hit changes no queue, so that hits share the lock.
//
// The queues are simplelru lists that are used as FIFOs (Peek never reorders; Get moves to the front). Their own limit
// is never reached: the shard evicts before it adds.
type shard struct {
	mu          sync.RWMutex
	small, main *simplelru.LRU[key, uint32]
	ghost       ghost.List
	slots       *slots
	free        []uint32
	count       int // slots of this shard
	smallTarget int
	tick        uint32 // blocks stored; see touch
	rises       bool   // blocks that move up into the main queue are wanted by the disk tier
	closed      bool
	idle        *sync.Cond // signals each slot that becomes free after close
}

// The share of the small queue and the length of the ghost queue, from BenchmarkHitRatio.
const (
	smallPercent = 10
	ghostPercent = 100
	maxFreq      = 3
)

func newShard(s *slots, first, count int, rises bool) *shard {
	sh := &shard{slots: s, count: count, rises: rises, smallTarget: max(count*smallPercent/100, 1)}
	sh.small, _ = simplelru.NewLRU[key, uint32](count+1, nil) // the only error is a size below 1
	sh.main, _ = simplelru.NewLRU[key, uint32](count+1, nil)
	sh.ghost = ghost.New(count * ghostPercent / 100)
	sh.idle = sync.NewCond(&sh.mu)
	sh.free = make([]uint32, count)
	for i := range sh.free {
		sh.free[i] = uint32(first + count - 1 - i) // the last is taken first: memory is touched in order
	}
	return sh
}

// pin finds a block and takes a reference to its slot, which the caller gives back with unpin. With touch the hit counts
// for the policy.
func (sh *shard) pin(k key, touch bool) (slot uint32, ok bool) {
	sh.mu.RLock()
	slot, ok = sh.small.Peek(k)
	if !ok {
		slot, ok = sh.main.Peek(k)
	}
	if ok {
		info := &sh.slots.info[slot]
		info.refs.Add(1)
		if touch {
			sh.touch(info)
		}
	}
	sh.mu.RUnlock()
	return slot, ok
}

// touch counts a use. Uses between two insertions into the shard count once: a scan that reads a block in eight small
// steps is one use, and while nothing is inserted nothing is evicted, so that nothing need be counted. A lost update
// does no harm. The tick is kept modulo 2^24.
func (sh *shard) touch(info *slotInfo) {
	h := info.heat.Load()
	freq := h & 0xff
	if h>>8 == sh.tick&0xffffff && freq != 0 {
		return
	}
	info.heat.Store(min(freq+1, maxFreq) | sh.tick<<8)
}

// unpin gives a reference back; the last one frees the slot.
func (sh *shard) unpin(slot uint32) {
	if sh.slots.info[slot].refs.Add(-1) == 0 {
		sh.mu.Lock()
		sh.toFree(slot)
		sh.mu.Unlock()
	}
}

func (sh *shard) toFree(slot uint32) {
	sh.free = append(sh.free, slot)
	sh.slots.used.Add(-1)
	if sh.closed {
		sh.idle.Signal()
	}
}

// remembers reports whether the hash of a block that is not here is remembered.
func (sh *shard) remembers(h uint64) bool {
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	return sh.ghost.Has(h)
}

// remember notes the use of a block that is not here.
func (sh *shard) remember(h uint64) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.ghost.Put(h)
}

// has reports whether the block is in the index.
func (sh *shard) has(k key) bool {
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	return sh.small.Contains(k) || sh.main.Contains(k)
}

// evictions are what one operation removed; its caller settles them when the shard is unlocked.
type evictions struct {
	blocks int64
	empty  []*object // objects that lost their last block
	risen  []risen   // blocks that moved up
}

// risen is a block that was used again while it was in the small queue, with a reference to its slot.
type risen struct {
	o     *object
	block uint32
	slot  uint32
}

// reserve takes a free slot, if need be by evicting. It fails when readers copy from everything that could be evicted.
// The caller owns the slot until publish or cancel.
func (sh *shard) reserve(ev *evictions) (slot uint32, ok bool) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	// An evicted slot that is being copied from becomes free later, so that one eviction may not be enough.
	for try := 0; len(sh.free) == 0 && try < 8; try++ {
		if !sh.evict(ev) {
			break
		}
	}
	if len(sh.free) == 0 || sh.closed {
		return 0, false
	}
	slot = sh.free[len(sh.free)-1]
	sh.free = sh.free[:len(sh.free)-1]
	sh.slots.used.Add(1)
	sh.slots.info[slot].refs.Store(1)
	return slot, true
}

// cancel gives back a reserved slot.
func (sh *shard) cancel(slot uint32) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.deref(slot)
}

// deref gives a reference back under the lock.
func (sh *shard) deref(slot uint32) {
	if sh.slots.info[slot].refs.Add(-1) == 0 {
		sh.toFree(slot)
	}
}

// publish puts a reserved, filled and sealed slot into the index, which takes over the reference; it gives the slot back
// when the object was dropped or has the block already.
func (sh *shard) publish(o *object, block uint32, slot uint32, size int) bool {
	k := key{o.serial, block}
	h := blockHash(o.hash, block)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	have := sh.small.Contains(k) || sh.main.Contains(k)
	if have || sh.closed || !o.add(block) {
		sh.deref(slot)
		return have
	}
	info := &sh.slots.info[slot]
	info.size, info.block, info.owner = int32(size), block, o
	info.heat.Store(0)
	sh.tick++
	if sh.ghost.Take(h) {
		sh.main.Add(k, slot)
	} else {
		sh.small.Add(k, slot)
	}
	return true
}

// evict removes one block by the policy; false means that there is none.
func (sh *shard) evict(ev *evictions) bool {
	if sh.small.Len() >= sh.smallTarget || sh.main.Len() == 0 {
		for sh.small.Len() > 0 {
			k, slot, _ := sh.small.RemoveOldest()
			info := &sh.slots.info[slot]
			if info.heat.Load()&0xff > 1 {
				info.heat.Store(0)
				sh.main.Add(k, slot)
				if sh.rises && !sh.closed {
					info.refs.Add(1)
					ev.risen = append(ev.risen, risen{info.owner, k.block, slot})
				}
				continue
			}
			sh.ghost.Put(blockHash(info.owner.hash, k.block))
			sh.drop(slot, ev)
			return true
		}
	}
	for sh.main.Len() > 0 {
		k, slot, _ := sh.main.GetOldest()
		info := &sh.slots.info[slot]
		if h := info.heat.Load(); h&0xff > 0 {
			info.heat.Store(h - 1)
			sh.main.Get(k) // to the front: once more round
			continue
		}
		sh.main.RemoveOldest()
		sh.drop(slot, ev)
		return true
	}
	return false
}

// drop ends what the index knows of a slot that it has just removed.
func (sh *shard) drop(slot uint32, ev *evictions) {
	info := &sh.slots.info[slot]
	ev.blocks++
	if info.owner.remove() {
		ev.empty = append(ev.empty, info.owner)
	}
	info.owner = nil
	sh.deref(slot)
}

// remove takes one block out of the index; it reports whether it was there.
func (sh *shard) remove(k key, ev *evictions) bool {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	slot, ok := sh.small.Peek(k)
	if ok {
		sh.small.Remove(k)
	} else if slot, ok = sh.main.Peek(k); ok {
		sh.main.Remove(k)
	} else {
		return false
	}
	sh.drop(slot, ev)
	return true
}

// close empties the index, refuses what comes later and waits until no reader copies any more.
func (sh *shard) close() {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.closed = true
	var ev evictions
	for sh.evict(&ev) {
	}
	for len(sh.free) < sh.count {
		sh.idle.Wait()
	}
}
