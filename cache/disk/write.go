package disk

import (
	"errors"
	"hash/crc32"
	"io/fs"
	"time"

	"github.com/forst-go/forst/internal/ghost"
	"github.com/forst-go/forst/internal/mutant"
)

// write is a writer's goroutine.
func (t *Tier) write() {
	rec := make([]byte, t.layout.record)
	for j := range t.jobs {
		t.store(j, rec)
		t.mu.Lock()
		j.o.users--
		delete(j.o.pending, j.block)
		if len(j.o.pending) == 0 {
			j.o.pending = nil
		}
		if t.pins[j.o.id.Volume] > 0 {
			t.pinPending = max(t.pinPending-1, 0)
		}
		t.forget(j.o)
		t.mu.Unlock()
		t.buffers <- j.data[:cap(j.data)]
	}
}

// store writes one block: clear the record, write the bytes, write the record, publish. A crash in between leaves a slot
// that is empty, or whose pages do not match their checksums.
func (t *Tier) store(j job, rec []byte) {
	if t.health.down.Load() {
		t.m.declined.Add(1)
		return
	}
	if t.writes.Add(1)%spaceEvery == 0 {
		t.keepReserve()
	}
	s, i, slot, ok := t.reserve(j)
	if !ok {
		return
	}
	sums := s.pageSums(i)
	for k, b := 0, j.data; len(b) > 0; k++ {
		n := min(len(b), pageSize)
		sums[k] = crc32.Checksum(b[:n], castagnoli)
		b = b[n:]
	}
	removed := t.m.segmentsRemoved.Load()
	err := t.writeSlot(s, i, j, sums, rec)
	full := err != nil && noSpace(err) && !mutant.On("cache/disk-full-is-failure")
	switch {
	case err == nil:
		t.health.worked(writing)
	case full, errors.Is(err, fs.ErrClosed): // no fault of the disk
	default:
		t.health.failed(writing, err)
	}

	t.mu.Lock()
	switch {
	case s.gone:
	case err == nil && (!j.o.dropped || mutant.On("cache/disk-write-resurrects-dropped")) && j.o.slots[j.block] == 0:
		t.publish(j.o, j.block, slot)
		t.m.written.Add(1)
		t.m.writtenBytes.Add(int64(len(j.data)))
	default:
		s.info[i].stale = true
		t.deref(slot)
	}
	t.mu.Unlock()
	if err != nil {
		t.m.writeErrors.Add(1)
	}
	if full {
		t.shrink(1, removed)
	}
}

func (t *Tier) writeSlot(s *segment, i int, j job, sums []uint32, rec []byte) error {
	clear(rec)
	if _, err := s.f.WriteAt(rec, s.recordAt(i)); err != nil {
		return err
	}
	r := record{id: j.o.id, objectSize: j.o.size, block: j.block, size: uint32(len(j.data)), seq: t.seq.Add(1)}
	s.encode(rec, &r, sums)
	if mutant.On("cache/disk-record-first") {
		_, err := s.f.WriteAt(rec, s.recordAt(i))
		if err == nil {
			_, err = s.f.WriteAt(j.data, s.blockAt(i))
		}
		return err
	}
	if _, err := s.f.WriteAt(j.data, s.blockAt(i)); err != nil {
		return err
	}
	_, err := s.f.WriteAt(rec, s.recordAt(i))
	return err
}

// reserve takes a slot for a job: a free one, one of a new segment while the cache may grow, or an evicted one.
func (t *Tier) reserve(j job) (s *segment, i int, slot uint32, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	// Again if others have taken all of a new segment meanwhile: what is there may be pinned and cannot be evicted.
	for len(t.free) == 0 && len(t.segments) < t.limit && !time.Now().Before(t.growAfter) {
		t.mu.Unlock()
		t.grow()
		t.mu.Lock()
	}
	if j.o.dropped || j.o.slots[j.block] != 0 {
		return nil, 0, 0, false
	}
	if len(t.free) == 0 && !t.evict() {
		t.m.declined.Add(1)
		return nil, 0, 0, false
	}
	slot = t.free[len(t.free)-1]
	t.free = t.free[:len(t.free)-1]
	s, i = t.at(slot)
	info := &s.info[i]
	info.refs.Store(1)
	info.stale = false
	info.obj, info.block, info.size = j.o.index, j.block, uint32(len(j.data))
	return s, i, slot, true
}

// grow adds a segment, if the disk has room for it beside the reserve.
func (t *Tier) grow() {
	t.growing.Lock()
	defer t.growing.Unlock()
	t.mu.RLock()
	n := len(t.segments)
	want := len(t.free) == 0 && n < t.limit
	t.mu.RUnlock()
	if !want {
		return
	}
	free, err := t.o.System.Free(t.dir.path)
	var s *segment
	if err == nil && free-t.layout.size() >= t.o.Reserve {
		s, _ = t.create(n) // nil: counted below
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if s == nil {
		t.growAfter = time.Now().Add(growBackoff)
		t.m.growErrors.Add(1)
		return
	}
	t.add(s)
	for i := t.perSegment - 1; i >= 0; i-- {
		t.free = append(t.free, uint32(n*t.perSegment+i))
	}
}

// create makes the file of a segment.
func (t *Tier) create(n int) (*segment, error) {
	f, err := t.o.System.Open(t.dir.file(segmentName(n)), t.layout.size())
	if err != nil {
		return nil, err
	}
	h := header{cache: t.dir.marker.id, number: uint32(n), blockSize: uint32(t.o.BlockSize), slots: uint32(t.perSegment)}
	if _, err := f.WriteAt(h.encode(), 0); err != nil {
		f.Close()
		return nil, err
	}
	return t.newSegment(n, f), nil
}

func (t *Tier) newSegment(n int, f File) *segment {
	return &segment{layout: t.layout, n: n, f: f, info: make([]slotInfo, t.perSegment), sums: make([]uint32, t.perSegment*t.layout.pages)}
}

// add appends a segment; its slots are not in the free list yet. The caller holds t.mu.
func (t *Tier) add(s *segment) { t.segments = append(t.segments, s) }

// keepReserve shrinks the cache when others have taken the disk's free space.
func (t *Tier) keepReserve() {
	removed := t.m.segmentsRemoved.Load()
	free, err := t.o.System.Free(t.dir.path)
	if err == nil && free < t.o.Reserve {
		t.shrink(1+int((t.o.Reserve-free)/t.layout.size()), removed)
	}
}

// shrink removes the last count segments, with what is in them, and keeps the cache from growing at once again. Removed is how many were removed before
// the caller looked at the disk: if others have gone since, there may be room again, and the next write will tell.
func (t *Tier) shrink(count int, removed int64) {
	t.growing.Lock()
	t.mu.Lock()
	if t.m.segmentsRemoved.Load() != removed && !mutant.On("cache/disk-full-shrinks-twice") {
		t.mu.Unlock()
		t.growing.Unlock()
		return
	}
	t.growAfter = time.Now().Add(growBackoff)
	before := len(t.segments)
	t.cut(max(before-count, 0))
	lost, left := int64(before-len(t.segments))*t.layout.size(), int64(len(t.segments))*t.layout.size()
	t.mu.Unlock()
	t.growing.Unlock()
	if lost > 0 && t.o.OnShrink != nil {
		t.o.OnShrink(lost, left)
	}
}

// cut keeps the first n segments. The caller holds t.growing and t.mu.
func (t *Tier) cut(n int) {
	for len(t.segments) > n {
		s := t.segments[len(t.segments)-1]
		first := uint32(s.n * t.perSegment)
		for i := range s.info {
			if s.info[i].queue != 0 {
				t.unpublish(first + uint32(i))
			}
		}
		kept := t.free[:0]
		for _, slot := range t.free {
			if slot < first {
				kept = append(kept, slot)
			}
		}
		t.free = kept
		s.gone = true
		t.segments = t.segments[:len(t.segments)-1]
		s.f.Close() // its readers and writers get an error that is no fault of the disk
		t.remove(s.n)
		t.m.segmentsRemoved.Add(1)
	}
}

// blocks is how many blocks are in the index. The caller holds t.mu.
func (t *Tier) blocks() int { return t.small.len + t.main.len + t.pinned.len }

// SetSize changes Options.Size. A smaller cache gives its space back before SetSize returns.
func (t *Tier) SetSize(bytes int64) {
	t.growing.Lock()
	defer t.growing.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	t.limit = int(bytes / t.layout.size())
	t.ghosts = ghost.New(t.limit * t.perSegment)
	t.growAfter = time.Time{}
	t.cut(t.limit)
}
