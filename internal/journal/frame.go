package journal

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"math"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// VolumeID names a volume for ever; it is random.
type VolumeID [16]byte

// String returns the id as 32 hex digits.
func (v VolumeID) String() string { return hex.EncodeToString(v[:]) }

// Identity tells two frames of one number apart: the nonce of the writer and the CRC of the bytes.
type Identity struct {
	Nonce uint64
	CRC   uint32
}

// FrameRef names one frame. The zero FrameRef names none.
type FrameRef struct {
	Seq uint64
	ID  Identity
}

func (r FrameRef) String() string { return fmt.Sprintf("%d(%016x,%08x)", r.Seq, r.ID.Nonce, r.ID.CRC) }

// FrameKind says what a frame does.
type FrameKind uint8

// The kinds of frames.
const (
	FrameData    FrameKind = 1 // operations and inline bytes
	FrameFence   FrameKind = 2 // a new writer takes over
	FrameDropped FrameKind = 3 // the volume ends here
)

func (k FrameKind) String() string {
	switch k {
	case FrameData:
		return "data"
	case FrameFence:
		return "fence"
	case FrameDropped:
		return "dropped"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

const (
	frameMagic   = "forstfrm"
	frameVersion = 1
	frameHeader  = 88
	frameMin     = frameHeader + 4
)

// Frame is one object of the journal.
type Frame struct {
	Kind   FrameKind
	Volume VolumeID
	Epoch  uint64
	Nonce  uint64
	Seq    uint64
	Prev   FrameRef // the last effective frame before it
	Ops    []byte   // opaque here
	Inline []byte   // opaque here
	CRC    uint32   // set by Encode and DecodeFrame
}

// Ref returns the name of the frame; it is complete after Encode or DecodeFrame.
func (f *Frame) Ref() FrameRef { return FrameRef{f.Seq, Identity{f.Nonce, f.CRC}} }

// InlineOffset returns where Inline begins in the object.
func (f *Frame) InlineOffset() int64 { return frameHeader + int64(len(f.Ops)) }

// Size returns the length of the object in bytes.
func (f *Frame) Size() int64 { return frameMin + int64(len(f.Ops)) + int64(len(f.Inline)) }

// Encode returns the bytes of the frame, which the caller owns, and sets f.CRC. Ops must be shorter than 4 GiB.
func (f *Frame) Encode() []byte {
	b := make([]byte, 0, f.Size())
	b = f.appendHeader(b, len(f.Ops), len(f.Inline))
	b = append(b, f.Ops...)
	return f.seal(append(b, f.Inline...))
}

// seal appends the checksum to all that comes before it.
func (f *Frame) seal(b []byte) []byte {
	f.CRC = crc32.Checksum(b, castagnoli)
	return binary.LittleEndian.AppendUint32(b, f.CRC)
}

func (f *Frame) appendHeader(b []byte, ops, inline int) []byte {
	if uint64(ops) > math.MaxUint32 {
		panic("journal: operations of 4 GiB and more in one frame")
	}
	le := binary.LittleEndian
	b = append(b, frameMagic...)
	b = le.AppendUint16(b, frameVersion)
	b = append(b, byte(f.Kind), 0)
	b = le.AppendUint32(b, uint32(ops))
	b = append(b, f.Volume[:]...)
	b = le.AppendUint64(b, f.Epoch)
	b = le.AppendUint64(b, f.Nonce)
	b = le.AppendUint64(b, f.Seq)
	b = le.AppendUint64(b, f.Prev.Seq)
	b = le.AppendUint64(b, f.Prev.ID.Nonce)
	b = le.AppendUint32(b, f.Prev.ID.CRC)
	b = le.AppendUint32(b, 0)
	return le.AppendUint64(b, uint64(inline))
}

// DecodeFrame reads the bytes of a frame; Ops and Inline alias b, which must not change any more. The error wraps
// ErrDamaged, or ErrFormat for a sound frame of a newer format.
func DecodeFrame(b []byte) (*Frame, error) {
	crc, err := checkEnvelope(b, "frame", frameMagic, frameVersion, frameMin)
	if err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	f := &Frame{Kind: FrameKind(b[10]), Epoch: le.Uint64(b[32:]), Nonce: le.Uint64(b[40:]), Seq: le.Uint64(b[48:]), CRC: crc}
	copy(f.Volume[:], b[16:])
	f.Prev = FrameRef{le.Uint64(b[56:]), Identity{le.Uint64(b[64:]), le.Uint32(b[72:])}}
	ops, inline, room := uint64(le.Uint32(b[12:])), le.Uint64(b[80:]), uint64(len(b)-frameMin)
	switch {
	case f.Kind < FrameData || f.Kind > FrameDropped:
		return nil, fmt.Errorf("%w: frame of kind %d: a newer version of forst wrote it", ErrFormat, f.Kind)
	case b[11] != 0 || le.Uint32(b[76:]) != 0:
		return nil, fmt.Errorf("%w: frame with unknown flags: a newer version of forst wrote it", ErrFormat)
	case ops > room || inline != room-ops:
		return nil, fmt.Errorf("%w: frame of %d bytes claims %d of operations and %d inline", ErrDamaged, len(b), ops, inline)
	case f.Kind != FrameData && room != 0:
		return nil, fmt.Errorf("%w: %s frame with contents", ErrDamaged, f.Kind)
	case f.Seq == 0:
		return nil, fmt.Errorf("%w: frame of number 0", ErrDamaged)
	}
	end := frameHeader + int(ops)
	f.Ops, f.Inline = b[frameHeader:end:end], b[end:len(b)-4:len(b)-4]
	return f, nil
}

// checkEnvelope checks what every version of every object keeps: the magic, the version behind it and the CRC of all
// before at the end. A wrong version counts as newer only when the CRC is right; otherwise it is damage.
func checkEnvelope(b []byte, what, magic string, version uint16, shortest int) (crc uint32, err error) {
	if len(b) < len(magic)+2+4 {
		return 0, fmt.Errorf("%w: %s of %d bytes is too short", ErrDamaged, what, len(b))
	}
	if string(b[:len(magic)]) != magic {
		return 0, fmt.Errorf("%w: not a %s: it does not begin with %q", ErrDamaged, what, magic)
	}
	crc = binary.LittleEndian.Uint32(b[len(b)-4:])
	if got := crc32.Checksum(b[:len(b)-4], castagnoli); got != crc {
		return 0, fmt.Errorf("%w: %s with checksum %08x, want %08x", ErrDamaged, what, got, crc)
	}
	if v := binary.LittleEndian.Uint16(b[len(magic):]); v != version {
		return 0, fmt.Errorf("%w: %s of format version %d, this forst knows version %d: use a newer forst", ErrFormat, what, v, version)
	}
	if len(b) < shortest {
		return 0, fmt.Errorf("%w: %s of %d bytes is too short", ErrDamaged, what, len(b))
	}
	return crc, nil
}
