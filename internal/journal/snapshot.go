package journal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
)

const (
	snapshotMagic   = "forstsnp"
	snapshotVersion = 1
	snapshotHeader  = 104
)

// SnapshotBody is the object of a snapshot: the names, where their bytes are, and all bytes that lay in frames when it began.
// With the data objects that it names it is all that anybody needs to read the snapshot.
type SnapshotBody struct {
	Volume            VolumeID
	Epoch, Nonce, Num uint64 // the id
	Frame             uint64 // number of the frame that began it
	Created           int64  // Unix nanoseconds, for people
	Name, Dir         string
	Meta              []byte // the user's
	State             []byte // the namespace, opaque here
	Inline            []byte // begins at SnapshotInline in the object
}

// SnapshotInline is where the inline bytes begin in the body of a snapshot.
const SnapshotInline = snapshotHeader

// Key is the key of the body.
func (b *SnapshotBody) Key() string { return SnapshotKey(b.Epoch, b.Nonce, b.Num) }

// Head is the length of the header and the inline bytes together: the part that extents refer to.
func (b *SnapshotBody) Head() int64 { return snapshotHeader + int64(len(b.Inline)) }

// Encode returns the bytes of the body, which the caller owns, and their checksum.
func (b *SnapshotBody) Encode() (data []byte, crc uint32) {
	stored, how := b.State, byte(compressNone)
	if len(b.State) > imageMinZstd {
		if z := compress(b.State); len(z) < len(b.State) && len(b.State)/imageMaxRatio < len(z) {
			stored, how = z, compressZstd
		}
	}
	le := binary.LittleEndian
	words := func(out []byte, ss ...string) []byte {
		for _, s := range ss {
			out = append(binary.AppendUvarint(out, uint64(len(s))), s...)
		}
		return out
	}
	about := words(nil, b.Name, b.Dir, string(b.Meta))
	d := make([]byte, 0, snapshotHeader+len(b.Inline)+len(about)+len(stored)+4)
	d = append(d, snapshotMagic...)
	d = le.AppendUint16(d, snapshotVersion)
	d = append(d, 0, how)
	d = le.AppendUint32(d, 0)
	d = append(d, b.Volume[:]...)
	for _, v := range []uint64{b.Epoch, b.Nonce, b.Num, b.Frame, uint64(b.Created), uint64(len(b.Inline)), uint64(len(about)), uint64(len(b.State)), uint64(len(stored))} {
		d = le.AppendUint64(d, v)
	}
	d = append(d, b.Inline...)
	d = append(d, about...)
	d = append(d, stored...)
	crc = crc32.Checksum(d, castagnoli)
	return le.AppendUint32(d, crc), crc
}

// DecodeSnapshotBody reads the bytes of a body; what it returns may alias d, which must not change any more. The error wraps
// ErrDamaged, or ErrFormat for a sound body of a newer format.
func DecodeSnapshotBody(d []byte) (b *SnapshotBody, crc uint32, err error) {
	if crc, err = checkEnvelope(d, "snapshot", snapshotMagic, snapshotVersion, snapshotHeader+4); err != nil {
		return nil, 0, err
	}
	le := binary.LittleEndian
	if d[10] != 0 || d[11] > compressZstd || le.Uint32(d[12:]) != 0 {
		return nil, 0, fmt.Errorf("%w: snapshot with unknown flags or compression: use a newer forst", ErrFormat)
	}
	b = &SnapshotBody{Epoch: le.Uint64(d[32:]), Nonce: le.Uint64(d[40:]), Num: le.Uint64(d[48:]), Frame: le.Uint64(d[56:])}
	copy(b.Volume[:], d[16:])
	created, inline, about, raw, stored := le.Uint64(d[64:]), le.Uint64(d[72:]), le.Uint64(d[80:]), le.Uint64(d[88:]), le.Uint64(d[96:])
	rest := d[snapshotHeader : len(d)-4]
	n := uint64(len(rest))
	if created > math.MaxInt64 || inline > n || about > n-inline || stored != n-inline-about {
		return nil, 0, fmt.Errorf("%w: snapshot of %d bytes claims %d inline, %d about it, %d of names", ErrDamaged, len(d), inline, about, stored)
	}
	b.Created = int64(created)
	b.Inline = rest[:inline:inline]
	words := rest[inline : inline+about]
	for _, to := range []func([]byte){func(s []byte) { b.Name = string(s) }, func(s []byte) { b.Dir = string(s) }, func(s []byte) { b.Meta = s[:len(s):len(s)] }} {
		l, w := binary.Uvarint(words)
		if w <= 0 || w > 1 && words[w-1] == 0 || l > uint64(len(words)-w) {
			return nil, 0, fmt.Errorf("%w: snapshot with a malformed name", ErrDamaged)
		}
		to(words[w : uint64(w)+l])
		words = words[uint64(w)+l:]
	}
	if len(words) > 0 {
		return nil, 0, fmt.Errorf("%w: snapshot with %d bytes too many about it", ErrDamaged, len(words))
	}
	if b.State = rest[inline+about:]; d[11] == compressZstd {
		b.State, err = decompress(b.State, raw)
	} else if raw != stored {
		err = fmt.Errorf("%w: snapshot with names of %d bytes, want %d", ErrDamaged, stored, raw)
	}
	return b, crc, err
}
