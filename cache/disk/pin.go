package disk

import "time"

// Pin keeps all blocks of a volume, those that are cached and those to come, from being evicted, until Unpin has been called as
// often. A full disk, a failing disk and SetSize may still take them away.
func (t *Tier) Pin(volume [16]byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.pins[volume]++; t.pins[volume] == 1 {
		t.moveAll(volume, &t.pinned)
	}
}

// Unpin ends one Pin.
func (t *Tier) Unpin(volume [16]byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.pins[volume]--; t.pins[volume] > 0 {
		return
	}
	delete(t.pins, volume)
	if len(t.pins) == 0 {
		t.pinPending = 0
	}
	t.moveAll(volume, &t.main)
}

// moveAll moves the blocks of a volume into a queue. The caller holds t.mu.
func (t *Tier) moveAll(volume [16]byte, to *queue) {
	for id, o := range t.objects {
		if id.Volume != volume {
			continue
		}
		for _, slot := range o.slots {
			if slot != 0 {
				t.unlink(t.queueOf(t.slotInfo(slot-1)), slot-1)
				t.push(to, slot-1)
			}
		}
	}
}

// Pinned reports whether a volume is pinned.
func (t *Tier) Pinned(volume [16]byte) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.pins[volume] > 0
}

// PinRoom is how many bytes of blocks, whole ones, pinned volumes may still fill: what is neither pinned already nor beyond
// the limits of the cache and of the disk. 0 while the disk is bypassed.
func (t *Tier) PinRoom() int64 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.closed || t.health.down.Load() {
		return 0
	}
	segments := t.limit
	if time.Now().Before(t.growAfter) {
		segments = min(segments, len(t.segments))
	}
	return int64(max(segments*t.perSegment-t.pinned.len-t.pinPending, 0)) * int64(t.o.BlockSize)
}

// Limit is how many bytes the cache may take on the disk.
func (t *Tier) Limit() int64 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return int64(t.limit) * t.layout.size()
}
