package disk

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/forst-go/forst/internal/mutant"
)

// load reads the segments of the directory. Those that are damaged begin anew; those beyond the limit, or behind a
// missing one, are removed. A disk on which that fails makes a small cache, not an error: it grows when the disk lets it.
func (t *Tier) load() {
	for n := 0; n < t.limit; n++ {
		f, err := t.o.System.Open(t.dir.file(segmentName(n)), -1)
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		var s *segment
		if err == nil {
			if s = t.newSegment(n, f); t.checkHeader(s) {
				t.add(s)
				t.loadRecords(s)
				continue
			}
			f.Close() // nothing was written to it
		}
		t.m.damaged.Add(1)
		if s, err = t.create(n); err != nil {
			t.m.growErrors.Add(1)
			t.growAfter = time.Now().Add(growBackoff)
			break
		}
		t.add(s)
		t.freeAll(s)
	}
	t.loadHeat()
	t.removeFrom(len(t.segments))
}

func (t *Tier) freeAll(s *segment) {
	for i := t.perSegment - 1; i >= 0; i-- {
		t.free = append(t.free, uint32(s.n*t.perSegment+i))
	}
}

func (t *Tier) checkHeader(s *segment) bool {
	b := make([]byte, headerSize)
	if _, err := s.f.ReadAt(b, 0); err != nil {
		return false
	}
	h, err := decodeHeader(b)
	// A file that was cut off would give short reads for ever.
	var last [1]byte
	_, errLast := s.f.ReadAt(last[:], s.layout.size()-1)
	return err == nil && errLast == nil &&
		h == header{t.dir.marker.id, uint32(s.n), uint32(t.o.BlockSize), uint32(t.perSegment)}
}

// loadRecords puts the blocks of a segment into the index. Their bytes are verified when they are read. What cannot be
// read is empty.
func (t *Tier) loadRecords(s *segment) {
	const chunk = 1 << 20
	per := max(chunk/s.record, 1)
	buf := make([]byte, per*s.record)
	var r record
	for i := 0; i < s.slots; i++ {
		if i%per == 0 {
			n := min(per, s.slots-i) * s.record
			if _, err := s.f.ReadAt(buf[:n], s.recordAt(i)); err != nil {
				clear(buf)
				t.m.damaged.Add(1)
			}
		}
		slot := uint32(s.n*t.perSegment + i)
		b := buf[i%per*s.record:][:s.record]
		if !s.decode(b, &r, s.pageSums(i)) {
			if slices.ContainsFunc(b, func(c byte) bool { return c != 0 }) {
				t.m.damaged.Add(1)
			}
			t.free = append(t.free, slot)
			continue
		}
		t.seq.Store(max(t.seq.Load(), r.seq))
		o := t.obtain(&r.id, r.objectSize)
		if other := r.block ^ 1; o != nil && mutant.On("cache/disk-load-misplaced") && blockBytes(o.size, s.blockSize, other) == int64(r.size) {
			r.block = other
		}
		if o == nil || o.slots[r.block] != 0 {
			// Any one of equals will do: an object's bytes never change.
			s.info[i].stale = true
			t.free = append(t.free, slot)
			continue
		}
		info := &s.info[i]
		info.refs.Store(1)
		info.obj, info.block, info.size = o.index, r.block, r.size
		o.slots[r.block] = slot + 1
		o.resident++
		t.push(&t.main, slot)
		t.m.loaded.Add(1)
	}
}

// loadHeat gives the blocks the places that they had when the cache was closed. The file is used once: after a crash it
// would be about other blocks.
func (t *Tier) loadHeat() {
	path := t.dir.file(heatName)
	b, err := os.ReadFile(path)
	if err != nil {
		return
	}
	os.Remove(path)
	n := len(t.segments) * t.perSegment
	if len(b) < len(heatMagic)+4 || string(b[:len(heatMagic)]) != heatMagic || !sealed(b) {
		return
	}
	b = b[len(heatMagic) : len(b)-4]
	for slot := range uint32(min(n, len(b))) {
		info := t.slotInfo(slot)
		if info.queue == 0 {
			continue
		}
		info.heat.Store(uint32(min(b[slot]&15, maxFreq)))
		if b[slot]>>4 == inSmall {
			t.unlink(&t.main, slot)
			t.push(&t.small, slot)
		}
	}
}

// removeFrom deletes the files of the segments from number n on. One that stays is found again later, or made anew: it takes space, and is never wrong.
func (t *Tier) removeFrom(n int) {
	entries, err := os.ReadDir(t.dir.path)
	if err != nil {
		return
	}
	for _, e := range entries {
		number, found := strings.CutPrefix(e.Name(), slotsPrefix)
		if k, err := strconv.Atoi(number); found && (err != nil || k >= n || segmentName(k) != e.Name()) {
			os.Remove(t.dir.file(e.Name()))
		}
	}
}

func (t *Tier) remove(n int) {
	os.Remove(t.dir.file(segmentName(n))) // what stays is removed by the next Open
}
