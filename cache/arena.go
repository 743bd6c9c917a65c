package cache

import (
	"hash/crc32"
	"sync/atomic"
)

// pageSize is the unit of checksums: a small read verifies only what it returns.
const pageSize = 4 << 10

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// slots are the blocks' places: bytes outside the Go heap and, for each, what is in it. Apart from the owners they are
// free of pointers.
//
// A slot is free (in its shard's free list), reserved (one flight or insert fills it), or published (in the index). Its
// references keep it from being filled again: one of the index or of whoever has reserved it, and one of each reader
// that copies from it. Whoever gives the last one back puts it into the free list.
type slots struct {
	arena     arena
	blockSize int
	perBlock  int // pages
	info      []slotInfo
	crc       []uint32 // perBlock of each slot
	used      atomic.Int64
}

type slotInfo struct {
	refs  atomic.Int32
	heat  atomic.Uint32 // see shard.touch
	size  int32         // bytes; short in the last block of an object
	block uint32
	owner *object
}

func newSlots(count, blockSize int) (*slots, error) {
	a, err := newArena(int64(count) * int64(blockSize))
	if err != nil {
		return nil, err
	}
	per := max(blockSize/pageSize, 1)
	return &slots{arena: a, blockSize: blockSize, perBlock: per, info: make([]slotInfo, count), crc: make([]uint32, count*per)}, nil
}

// bytes gives a slot's memory. Only its readers and whoever has reserved it may touch it.
func (s *slots) bytes(slot uint32) []byte {
	at := int64(slot) * int64(s.blockSize)
	return s.arena.mem[at : at+int64(s.blockSize) : at+int64(s.blockSize)]
}

// seal computes the checksums of a slot that was filled with n bytes.
func (s *slots) seal(slot uint32, n int) {
	b := s.bytes(slot)[:n]
	sums := s.crc[int(slot)*s.perBlock:]
	for i := 0; len(b) > 0; i++ {
		k := min(len(b), pageSize)
		sums[i] = crc32.Checksum(b[:k], castagnoli)
		b = b[k:]
	}
}

// verify checks the pages of a slot that hold the bytes [lo, hi).
func (s *slots) verify(slot uint32, lo, hi int) bool {
	b := s.bytes(slot)[:s.info[slot].size]
	sums := s.crc[int(slot)*s.perBlock:]
	for i := lo / pageSize; i*pageSize < hi; i++ {
		if crc32.Checksum(b[i*pageSize:min((i+1)*pageSize, len(b))], castagnoli) != sums[i] {
			return false
		}
	}
	return true
}
