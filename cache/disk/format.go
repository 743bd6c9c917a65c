package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/forst-go/forst/internal/mutant"
)

// The files of a cache directory. Integers are little-endian, CRC is CRC-32C.
//
//	FORST-CACHE   the marker: who owns the directory
//	LOCK          locked by the process that uses it
//	slots-<n>     segment n: header, records, blocks
//	heat          what the policy knew when the cache was closed; may be absent
//
// Marker: magic "forstcch" (8), version 2 (2), 0 (2), id of the cache (16), block size (4), slots of a segment (4), CRC (4).
//
// Segment, a header page of 4096 bytes, then one record for each slot, then from the next multiple of the block
// size (and of 4096) on the slots. So a slot lies in one piece of the page cache, where the kernel keeps large ones:
//
//	 0  8  magic "forstseg"
//	 8  2  version, 2
//	10  2  0
//	12 16  id of the cache
//	28  4  number of the segment
//	32  4  block size
//	36  4  slots
//	40  4  CRC of everything before
//
// Record, a multiple of 128 bytes; a slot without a block has a record of zeros:
//
//	 0  1  1: the slot holds a block
//	 1  1  kind of the object
//	 2  2  0
//	 4  4  CRC of the ID (frames)
//	 8 16  volume
//	24  8  epoch
//	32  8  nonce
//	40  8  number
//	48  8  size of the object in bytes
//	56  4  number of the block
//	60  4  bytes of the block
//	64  8  sequence number of the write
//	72     CRC of each page of 4096 bytes of the block
//	 +  4  CRC of everything before
//
// A record is cleared before its slot is written and written after it. Nothing is synced: after a loss of power a record
// may stand before bytes that never arrived, which the CRCs of the pages show.
const (
	markerName  = "FORST-CACHE"
	lockName    = "LOCK"
	heatName    = "heat"
	probeName   = "probe"
	slotsPrefix = "slots-"

	markerMagic  = "forstcch"
	segmentMagic = "forstseg"
	heatMagic    = "forstht1"
	version      = 2

	pageSize   = 4 << 10
	markerSize = 40
	headerSize = 44
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errFormat = errors.New("damaged or of another version")

// ID names an object; it has the fields of cache.ID, so that one converts to the other.
type ID struct {
	Volume [16]byte
	Epoch  uint64
	Nonce  uint64
	Num    uint64
	Kind   uint8
	CRC    uint32
}

type marker struct {
	id        [16]byte
	blockSize uint32
	slots     uint32
}

func (m marker) encode() []byte {
	b := make([]byte, 0, markerSize)
	b = append(b, markerMagic...)
	b = binary.LittleEndian.AppendUint16(b, version)
	b = append(b, 0, 0)
	b = append(b, m.id[:]...)
	b = binary.LittleEndian.AppendUint32(b, m.blockSize)
	b = binary.LittleEndian.AppendUint32(b, m.slots)
	return seal(b)
}

func decodeMarker(b []byte) (m marker, err error) {
	if len(b) != markerSize || string(b[:8]) != markerMagic || !sealed(b) ||
		binary.LittleEndian.Uint16(b[8:]) != version || b[10] != 0 || b[11] != 0 {
		return m, errFormat
	}
	copy(m.id[:], b[12:])
	m.blockSize, m.slots = binary.LittleEndian.Uint32(b[28:]), binary.LittleEndian.Uint32(b[32:])
	return m, nil
}

// header describes a segment.
type header struct {
	cache     [16]byte
	number    uint32
	blockSize uint32
	slots     uint32
}

func (h header) encode() []byte {
	b := make([]byte, 0, headerSize)
	b = append(b, segmentMagic...)
	b = binary.LittleEndian.AppendUint16(b, version)
	b = append(b, 0, 0)
	b = append(b, h.cache[:]...)
	b = binary.LittleEndian.AppendUint32(b, h.number)
	b = binary.LittleEndian.AppendUint32(b, h.blockSize)
	b = binary.LittleEndian.AppendUint32(b, h.slots)
	return seal(b)
}

func decodeHeader(b []byte) (h header, err error) {
	if len(b) != headerSize || string(b[:8]) != segmentMagic || !sealed(b) ||
		binary.LittleEndian.Uint16(b[8:]) != version || b[10] != 0 || b[11] != 0 {
		return h, errFormat
	}
	copy(h.cache[:], b[12:])
	h.number = binary.LittleEndian.Uint32(b[28:])
	h.blockSize = binary.LittleEndian.Uint32(b[32:])
	h.slots = binary.LittleEndian.Uint32(b[36:])
	return h, nil
}

// layout is where things are in a segment.
type layout struct {
	blockSize int
	slots     int
	pages     int // of a block
	record    int // bytes of a record
}

func newLayout(blockSize, slots int) layout {
	pages := max(blockSize/pageSize, 1)
	return layout{blockSize, slots, pages, (72 + 4*pages + 4 + 127) / 128 * 128}
}

func (l layout) recordAt(i int) int64 { return pageSize + int64(i)*int64(l.record) }

func (l layout) blockAt(i int) int64 {
	unit := max(int64(l.blockSize), pageSize)
	first := (l.recordAt(l.slots) + unit - 1) / unit * unit
	return first + int64(i)*int64(l.blockSize)
}

func (l layout) size() int64 { return l.blockAt(l.slots) }

// record says what is in a slot.
type record struct {
	id         ID
	objectSize int64
	block      uint32
	size       uint32
	seq        uint64
}

// encode fills b, a whole record.
func (l layout) encode(b []byte, r *record, sums []uint32) {
	clear(b)
	b[0], b[1] = 1, r.id.Kind
	le := binary.LittleEndian
	le.PutUint32(b[4:], r.id.CRC)
	copy(b[8:], r.id.Volume[:])
	le.PutUint64(b[24:], r.id.Epoch)
	le.PutUint64(b[32:], r.id.Nonce)
	le.PutUint64(b[40:], r.id.Num)
	le.PutUint64(b[48:], uint64(r.objectSize))
	le.PutUint32(b[56:], r.block)
	le.PutUint32(b[60:], r.size)
	le.PutUint64(b[64:], r.seq)
	at := 72
	for _, s := range sums[:l.pages] {
		le.PutUint32(b[at:], s)
		at += 4
	}
	le.PutUint32(b[at:], crc32.Checksum(b[:at], castagnoli))
}

// decode reads a record and its checksums; ok is false for an empty slot and for anything that cannot be trusted.
func (l layout) decode(b []byte, r *record, sums []uint32) (ok bool) {
	at := 72 + 4*l.pages
	le := binary.LittleEndian
	if b[0] != 1 || b[2] != 0 || b[3] != 0 || le.Uint32(b[at:]) != crc32.Checksum(b[:at], castagnoli) && !mutant.On("cache/disk-record-unsealed") {
		return false
	}
	r.id = ID{Kind: b[1], CRC: le.Uint32(b[4:]), Epoch: le.Uint64(b[24:]), Nonce: le.Uint64(b[32:]), Num: le.Uint64(b[40:])}
	copy(r.id.Volume[:], b[8:])
	r.objectSize = int64(le.Uint64(b[48:]))
	r.block, r.size, r.seq = le.Uint32(b[56:]), le.Uint32(b[60:]), le.Uint64(b[64:])
	for i := range sums[:l.pages] {
		sums[i] = le.Uint32(b[72+4*i:])
	}
	return r.objectSize > 0 && r.objectSize <= maxObject(l.blockSize) && int64(r.size) == blockBytes(r.objectSize, l.blockSize, r.block)
}

// maxBlocks bounds the index of one object: 2^22 blocks, 128 GiB of 32 KiB each.
const maxBlocks = 1 << 22

func maxObject(blockSize int) int64 { return maxBlocks * int64(blockSize) }

// blockBytes is how many bytes a block has; 0 or less means that the object has no such block.
func blockBytes(objectSize int64, blockSize int, block uint32) int64 {
	return min(int64(blockSize), objectSize-int64(block)*int64(blockSize))
}

func seal(b []byte) []byte {
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func sealed(b []byte) bool {
	n := len(b) - 4
	return n >= 0 && binary.LittleEndian.Uint32(b[n:]) == crc32.Checksum(b[:n], castagnoli)
}

func segmentName(n int) string { return fmt.Sprintf("%s%04d", slotsPrefix, n) }
