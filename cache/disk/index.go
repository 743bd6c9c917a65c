package disk

import "sync/atomic"

// slotInfo is what is known of a slot without the disk. It has no pointers: there may be millions.
type slotInfo struct {
	refs  atomic.Int32  // one of the index or the writer, one of each reader; the last one frees the slot
	heat  atomic.Uint32 // uses, and when; see touch
	obj   uint32        // index into Tier.byIndex
	block uint32
	size  uint32
	prev  uint32 // neighbours in the queue, slot+1
	next  uint32
	queue uint8 // 0, or the queue it is in
	stale bool  // free, but its record still says what it held
}

const (
	inSmall  = 1
	inMain   = 2
	inPinned = 3 // of a pinned volume: never evicted
	maxFreq  = 3
)

// segment is one file of slots.
type segment struct {
	layout
	n    int
	f    File
	info []slotInfo
	sums []uint32 // checksums of the pages, layout.pages of each slot
	gone bool     // removed from the cache; guarded by Tier.mu
}

func (s *segment) pageSums(i int) []uint32 { return s.sums[i*s.pages : (i+1)*s.pages] }

// object is one life of an ID in the cache. Its fields are guarded by Tier.mu.
type object struct {
	id       ID
	size     int64
	slots    []uint32 // slot+1 of each block, 0 if it is not cached
	index    uint32
	resident int
	pending  map[uint32][]byte // blocks that wait for their write, or are being written: they are served from here
	users    int               // writes under way
	dropped  bool
}

// obtain gives the object, a new one if need be, or nil if its size is another one. The caller holds t.mu.
func (t *Tier) obtain(id *ID, size int64) *object {
	o := t.objects[*id]
	if o == nil {
		o = &object{id: *id, size: size}
		o.slots = make([]uint32, (size+int64(t.o.BlockSize)-1)/int64(t.o.BlockSize))
		if k := len(t.freeIndex); k > 0 {
			o.index = t.freeIndex[k-1]
			t.freeIndex = t.freeIndex[:k-1]
			t.byIndex[o.index] = o
		} else {
			o.index = uint32(len(t.byIndex))
			t.byIndex = append(t.byIndex, o)
		}
		t.objects[*id] = o
	}
	if o.size != size {
		return nil
	}
	return o
}

// forget removes an object of which nothing is left. The caller holds t.mu.
func (t *Tier) forget(o *object) {
	if o.resident > 0 || o.users > 0 {
		return
	}
	if t.objects[o.id] == o {
		delete(t.objects, o.id)
	} else if !o.dropped {
		return // forgotten before
	}
	if t.byIndex[o.index] == o {
		t.byIndex[o.index] = nil
		t.freeIndex = append(t.freeIndex, o.index)
	}
}

func (t *Tier) at(slot uint32) (*segment, int) {
	return t.segments[int(slot)/t.perSegment], int(slot) % t.perSegment
}

func (t *Tier) slotInfo(slot uint32) *slotInfo {
	s, i := t.at(slot)
	return &s.info[i]
}

// queue is a FIFO of slots, linked through their infos.
type queue struct {
	kind       uint8
	head, tail uint32 // slot+1; the head is the newest
	len        int
}

func (t *Tier) push(q *queue, slot uint32) {
	info := t.slotInfo(slot)
	info.queue, info.prev, info.next = q.kind, 0, q.head
	if q.head != 0 {
		t.slotInfo(q.head - 1).prev = slot + 1
	} else {
		q.tail = slot + 1
	}
	q.head = slot + 1
	q.len++
}

func (t *Tier) unlink(q *queue, slot uint32) {
	info := t.slotInfo(slot)
	if info.prev != 0 {
		t.slotInfo(info.prev - 1).next = info.next
	} else {
		q.head = info.next
	}
	if info.next != 0 {
		t.slotInfo(info.next - 1).prev = info.prev
	} else {
		q.tail = info.prev
	}
	info.queue, info.prev, info.next = 0, 0, 0
	q.len--
}

func (t *Tier) queueOf(info *slotInfo) *queue {
	switch info.queue {
	case inSmall:
		return &t.small
	case inPinned:
		return &t.pinned
	}
	return &t.main
}

// touch counts a use; uses between two stored blocks count once, as in the memory tier. The caller holds t.mu for
// reading.
func (t *Tier) touch(info *slotInfo) {
	h := info.heat.Load()
	if h>>8 == t.tick&0xffffff && h&0xff != 0 {
		return
	}
	info.heat.Store(min(h&0xff+1, maxFreq) | t.tick<<8)
}

// publish puts a written slot into the index; the index takes over the reference. The caller holds t.mu.
func (t *Tier) publish(o *object, block, slot uint32) {
	info := t.slotInfo(slot)
	o.slots[block] = slot + 1
	o.resident++
	info.heat.Store(0)
	t.tick++
	switch {
	case t.pins[o.id.Volume] > 0:
		t.push(&t.pinned, slot)
	case t.ghosts.Take(blockHash(&o.id, block)):
		t.push(&t.main, slot)
	default:
		t.push(&t.small, slot)
	}
}

// unpublish takes a slot out of the index and gives the index's reference back. The caller holds t.mu.
func (t *Tier) unpublish(slot uint32) {
	info := t.slotInfo(slot)
	o := t.byIndex[info.obj]
	t.unlink(t.queueOf(info), slot)
	o.slots[info.block] = 0
	o.resident--
	t.forget(o)
	info.stale = true
	t.deref(slot)
}

// deref gives a reference back under t.mu.
func (t *Tier) deref(slot uint32) {
	info := t.slotInfo(slot)
	if info.refs.Add(-1) == 0 {
		t.free = append(t.free, slot)
	}
}

// evict frees one slot by S3-FIFO; false means that readers are using all that was looked at. The caller holds t.mu, so
// that no new reader comes.
func (t *Tier) evict() bool {
	pinned := 0
	target := max(len(t.segments)*t.perSegment/10, 1)
	for pinned < 64 && t.small.len+t.main.len > 0 {
		q := &t.main
		if t.small.len >= target || t.main.len == 0 {
			q = &t.small
		}
		slot := q.tail - 1
		info := t.slotInfo(slot)
		freq := info.heat.Load() & 0xff
		if info.refs.Load() > 1 {
			pinned++
			freq = maxFreq // whoever is being read is in use
		}
		switch {
		case q == &t.small && freq > 1:
			t.unlink(q, slot)
			info.heat.Store(0)
			t.push(&t.main, slot)
		case q == &t.main && freq > 0:
			t.unlink(q, slot)
			info.heat.Store(freq - 1)
			t.push(q, slot)
		default:
			if q == &t.small {
				t.ghosts.Put(blockHash(&t.byIndex[info.obj].id, info.block))
			}
			t.evicted++
			t.unpublish(slot)
			return true
		}
	}
	return false
}
