// Package disk is the cache's tier on a local disk: blocks of immutable objects in the slots of preallocated files, warm
// after a restart and never trusted.
//
// Every block has a record that names its owner, and a checksum for each of its pages, so that a read of a few bytes
// verifies a few pages. What the disk returns is data only if the checksums say so; everything else is a miss: a read
// error, a flipped bit, a half-written slot after a crash. A write is made in the background and may be left out. After
// a few errors in a row the disk is bypassed and probed until it is well again; a full disk makes the cache smaller.
//
// The index is in memory, without pointers but for one object each, and is rebuilt from the records when the directory
// is opened.
package disk

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io/fs"
	"math/bits"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/forst-go/forst/internal/ghost"
	"github.com/forst-go/forst/internal/mutant"
)

// Tier is a disk cache. All methods may be called from many goroutines at once.
type Tier struct {
	o          Options
	dir        *directory
	layout     layout
	perSegment int

	mu          sync.RWMutex
	objects     map[ID]*object
	byIndex     []*object
	freeIndex   []uint32
	segments    []*segment
	free        []uint32
	small, main queue
	pinned      queue
	pins        map[[16]byte]int // volumes that are kept whole, and how often each was pinned
	pinPending  int              // blocks of theirs that wait for their write
	ghosts      ghost.List
	passed      uint64 // blocks that were offered to a full cache and that it did not remember
	tick        uint32
	evicted     int64
	limit       int // segments
	growAfter   time.Time
	closed      bool

	growing sync.Mutex // held while a segment is made or removed
	seq     atomic.Uint64
	writes  atomic.Int64
	jobs    chan job
	buffers chan []byte
	scratch sync.Pool
	writers sync.WaitGroup
	health  health
	m       counters
}

// job is a block that waits for its write.
type job struct {
	o     *object
	block uint32
	data  []byte // the front of a buffer
}

func blockHash(id *ID, block uint32) uint64 {
	h := mum(id.Nonce^0x9e3779b97f4a7c15, id.Num^0xd6e8feb86659fd93^uint64(block)<<32)
	v := binary.LittleEndian.Uint64(id.Volume[:8])
	return mum(h^v, id.Epoch^uint64(id.CRC)<<32^uint64(block)^0xa0761d6478bd642f)
}

func mum(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// Open locks the directory and reads the records of what it holds, about a hundred megabytes for each million blocks.
// ErrLocked means that somebody else uses it.
func Open(o *Options) (*Tier, error) {
	opts, err := o.complete()
	if err != nil {
		return nil, err
	}
	dir, err := openDirectory(opts.Dir, &opts)
	if err != nil {
		return nil, err
	}
	t := &Tier{o: opts, dir: dir, perSegment: int(dir.marker.slots), objects: make(map[ID]*object), pins: make(map[[16]byte]int)}
	t.layout = newLayout(opts.BlockSize, t.perSegment)
	t.limit = int(opts.Size / t.layout.size())
	t.small.kind, t.main.kind, t.pinned.kind = inSmall, inMain, inPinned
	t.ghosts = ghost.New(t.limit * t.perSegment)
	t.health.t = t
	t.health.stop = make(chan struct{})
	t.load()
	count := int(opts.Buffer / int64(opts.BlockSize))
	t.jobs, t.buffers = make(chan job, count), make(chan []byte, count)
	for range count {
		t.buffers <- nil // made when first used
	}
	for range writers {
		t.writers.Go(t.write)
	}
	return t, nil
}

// Has reports whether the block is cached. It may still fail to be read.
func (t *Tier) Has(id ID, block uint32) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	o := t.objects[id]
	if o == nil || int(block) >= len(o.slots) || t.health.down.Load() {
		return false
	}
	return o.slots[block] != 0 || o.pending[block] != nil
}

// ObjectSize gives the size in bytes of an object of which anything is cached.
func (t *Tier) ObjectSize(id ID) (size int64, ok bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if o := t.objects[id]; o != nil {
		return o.size, true
	}
	return 0, false
}

// Room reports whether at least an eighth of the cache is free, or can be had by growing.
func (t *Tier) Room() bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	segments := t.limit
	if t.health.down.Load() || t.closed {
		return false
	}
	if time.Now().Before(t.growAfter) {
		segments = len(t.segments)
	}
	all := segments * t.perSegment
	return all > 0 && all-t.blocks() >= all/8
}

// Get fills p with the bytes of a block from lo on and reports true, or reports false and leaves p undefined. A block
// that fails its checksums is removed.
func (t *Tier) Get(id ID, block uint32, lo int, p []byte) bool {
	if t.health.down.Load() {
		return false
	}
	t.mu.RLock()
	o := t.objects[id]
	if o == nil || int(block) >= len(o.slots) || o.slots[block] == 0 || t.closed {
		ok := o != nil && !t.closed && lo >= 0 && len(o.pending[block]) >= lo+len(p)
		if ok {
			copy(p, o.pending[block][lo:])
		}
		t.mu.RUnlock()
		t.count(ok, len(p))
		return ok
	}
	slot := o.slots[block] - 1
	s, i := t.at(slot)
	if lo < 0 || lo >= s.blockSize {
		t.mu.RUnlock()
		return false
	}
	info, sum := &s.info[i], s.pageSums(i)[lo/pageSize] // two lines of memory that are rarely in the processor's caches: it fetches both at once
	if lo+len(p) > int(info.size) {
		t.mu.RUnlock()
		return false
	}
	info.refs.Add(1)
	t.touch(info)
	t.mu.RUnlock()
	ok := t.read(s, i, lo, p, sum)
	t.unpin(s, i, slot)
	t.count(ok, len(p))
	if !ok {
		t.mu.Lock()
		if !s.gone && int(block) < len(o.slots) && o.slots[block] == slot+1 {
			t.unpublish(slot)
		}
		t.mu.Unlock()
		return false
	}
	return true
}

func (t *Tier) count(hit bool, bytes int) {
	if !hit {
		t.m.misses.Add(1)
		return
	}
	t.m.hits.Add(1)
	t.m.hitBytes.Add(int64(bytes))
}

// read reads and verifies the pages that hold the wanted bytes of a pinned slot. sum is the checksum of the first of them.
func (t *Tier) read(s *segment, i, lo int, p []byte, sum uint32) bool {
	size := int(s.info[i].size)
	first := lo / pageSize * pageSize
	last := min((lo+len(p)+pageSize-1)/pageSize*pageSize, size)
	b := p // whole pages need no copy
	if last-first > len(p) {
		buf := t.buffer()
		defer t.scratch.Put(buf)
		b = (*buf)[:last-first]
	}
	if _, err := s.f.ReadAt(b, s.blockAt(i)+int64(first)); err != nil {
		if !errors.Is(err, fs.ErrClosed) { // the segment was just removed
			t.health.failed(reading, err)
			t.m.readErrors.Add(1)
		}
		if mutant.On("cache/disk-error-is-data") {
			copy(p, b[lo-first:])
			return true
		}
		return false
	}
	t.health.worked(reading)
	sums := s.pageSums(i)
	for at := first; at < last; at += pageSize {
		page := b[at-first : min(at+pageSize, last)-first]
		if at > first {
			sum = sums[at/pageSize]
		}
		if crc32.Checksum(page, castagnoli) != sum && !mutant.On("cache/disk-unverified") {
			t.m.verifyFailures.Add(1)
			return false
		}
	}
	if len(b) > len(p) {
		copy(p, b[lo-first:])
	}
	return true
}

func (t *Tier) buffer() *[]byte {
	if b, ok := t.scratch.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, t.o.BlockSize)
	return &b
}

func (t *Tier) unpin(s *segment, i int, slot uint32) {
	if s.info[i].refs.Add(-1) == 0 {
		t.mu.Lock()
		if !s.gone {
			t.free = append(t.free, slot)
		}
		t.mu.Unlock()
	}
}

// Put offers a whole block, the last one of the object possibly short, to the cache, which copies it and may decline. It
// waits for the disk, and does not decline because of a full buffer, only for a pinned volume. What Put has taken is found
// at once.
func (t *Tier) Put(id ID, objectSize int64, block uint32, data []byte) {
	t.put(id, objectSize, block, data, false)
}

// Offer is Put for a block that a read has fetched, and that may never be read again. While the cache is full it takes what it remembers, because that was offered
// or evicted not long ago, and one in eight of the others, so that a new working set finds its way in; the rest are remembered, and cost no write. A pinned volume's
// blocks are always taken.
func (t *Tier) Offer(id ID, objectSize int64, block uint32, data []byte) {
	if t.worth(&id, block) {
		t.put(id, objectSize, block, data, false)
	}
}

// admitEvery is the share of new blocks that a full cache takes: bench/compare, TestAdmission, has what it costs and saves beside a cache that takes all of them.
const admitEvery = 8

func (t *Tier) worth(id *ID, block uint32) bool {
	h := blockHash(id, block)
	t.mu.Lock()
	defer t.mu.Unlock()
	full := len(t.free) == 0 && (len(t.segments) >= t.limit || time.Now().Before(t.growAfter))
	if !full || t.pins[id.Volume] > 0 || t.ghosts.Has(h) {
		return true
	}
	if t.passed++; t.passed%admitEvery == 0 {
		return true
	}
	t.ghosts.Put(h)
	t.m.passedOver.Add(1)
	return false
}

// PutWait is Put that waits for a full buffer: for what somebody has asked to be fetched.
func (t *Tier) PutWait(id ID, objectSize int64, block uint32, data []byte) {
	t.put(id, objectSize, block, data, true)
}

func (t *Tier) put(id ID, objectSize int64, block uint32, data []byte, wait bool) {
	if t.health.down.Load() || objectSize > maxObject(t.o.BlockSize) || int64(len(data)) != blockBytes(objectSize, t.o.BlockSize, block) {
		t.m.declined.Add(1)
		return
	}
	var buf []byte
	select {
	case buf = <-t.buffers:
	default:
		if !wait && !t.Pinned(id.Volume) {
			t.m.declined.Add(1)
			return
		}
		buf = <-t.buffers // writers give them back whatever happens, also after Close
	}
	if buf == nil {
		buf = make([]byte, t.o.BlockSize)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var o *object
	if !t.closed {
		o = t.obtain(&id, objectSize)
	}
	if o == nil || o.slots[block] != 0 || o.pending[block] != nil {
		t.buffers <- buf
		return
	}
	o.users++
	if o.pending == nil {
		o.pending = make(map[uint32][]byte)
	}
	o.pending[block] = buf[:len(data)]
	if t.pins[id.Volume] > 0 {
		t.pinPending++
	}
	t.jobs <- job{o, block, buf[:copy(buf, data)]} // as many places as buffers: never blocks
}

// Drop removes all blocks of an object at once; a write under way does not bring them back. Their records are cleared when
// their slots are used again or the cache is closed: after a crash they may be found once more, which is harmless, because
// nobody asks for a dropped object.
func (t *Tier) Drop(id ID) {
	t.mu.RLock()
	o := t.objects[id]
	t.mu.RUnlock()
	if o == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.objects[id] != o {
		return
	}
	o.dropped = true
	o.users++
	for _, s := range o.slots {
		if s != 0 {
			t.unpublish(s - 1)
			t.m.dropped.Add(1)
		}
	}
	o.users--
	delete(t.objects, id)
	t.forget(o)
}

// Close writes what waits to be written, leaves the directory warm for the next Open and unlocks it; a disk that fails meanwhile leaves it less warm, and
// is no error. Reads that are under way may miss. Close may be called more than once.
func (t *Tier) Close() error {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return nil
	}
	t.closed = true
	t.mu.Unlock()
	close(t.jobs)
	t.writers.Wait()
	t.health.close()
	if !t.health.down.Load() {
		t.leave()
	}
	t.closeFiles()
	return t.dir.unlock()
}

// closeFiles closes the segments; a reader that still holds one gets an error and reports a miss.
func (t *Tier) closeFiles() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.segments {
		s.f.Close() // nothing depends on it
		s.gone = true
	}
}

// leave clears the records of free slots, so that nothing that was dropped returns, and notes the heat. What fails costs warmth and nothing else.
func (t *Tier) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	zero := make([]byte, t.layout.record)
	for _, slot := range t.free {
		s, i := t.at(slot)
		if s.info[i].stale {
			if _, err := s.f.WriteAt(zero, s.recordAt(i)); err != nil {
				t.m.writeErrors.Add(1)
				return
			}
		}
	}
	heat := []byte(heatMagic)
	for _, s := range t.segments {
		for i := range s.info {
			heat = append(heat, s.info[i].queue<<4|byte(s.info[i].heat.Load()&0xff))
		}
	}
	if err := os.WriteFile(t.dir.file(heatName), seal(heat), 0o600); err != nil {
		t.m.writeErrors.Add(1)
	}
}
