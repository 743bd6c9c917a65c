package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/zstd"
)

const (
	imageMagic    = "forstimg"
	imageVersion  = 1
	imageHeader   = 120
	imageDropped  = 1 // flag
	imageMinZstd  = 4 << 10
	imageMaxRatio = 4096 // a body that shrinks by more is stored as it is, so that a decoder may refuse bombs

	compressNone = 0
	compressZstd = 1
)

// Run is a fence run: the numbers from First to Last. They are never deleted, void frames included.
type Run struct{ First, Last uint64 }

// Image is the state of the Machine after frame Seq.
type Image struct {
	Dropped      bool
	Volume       VolumeID
	Seq          uint64 // the image holds the frames up to and with this number
	Nonce        uint64 // of the image, as in its key
	Epoch        uint64 // in force after frame Seq
	Writer       uint64 // nonce in force after frame Seq
	Last         FrameRef
	Runs         []Run // all fence runs so far, ascending
	TrimmedBelow uint64
	SweptBelow   uint64
	Body         []byte // opaque here
}

// Encode returns the bytes of the image, which the caller owns.
func (im *Image) Encode() []byte {
	stored, how := im.Body, byte(compressNone)
	if len(im.Body) > imageMinZstd {
		if z := compress(im.Body); len(z) < len(im.Body) && len(im.Body)/imageMaxRatio < len(z) {
			stored, how = z, compressZstd
		}
	}
	var flags byte
	if im.Dropped {
		flags |= imageDropped
	}
	le := binary.LittleEndian
	b := make([]byte, 0, imageHeader+16*len(im.Runs)+len(stored)+4)
	b = append(b, imageMagic...)
	b = le.AppendUint16(b, imageVersion)
	b = append(b, flags, how)
	b = le.AppendUint32(b, 0)
	b = append(b, im.Volume[:]...)
	for _, v := range []uint64{im.Seq, im.Nonce, im.Epoch, im.Writer, im.Last.Seq, im.Last.ID.Nonce} {
		b = le.AppendUint64(b, v)
	}
	b = le.AppendUint32(b, im.Last.ID.CRC)
	b = le.AppendUint32(b, uint32(len(im.Runs)))
	for _, v := range []uint64{im.TrimmedBelow, im.SweptBelow, uint64(len(im.Body)), uint64(len(stored))} {
		b = le.AppendUint64(b, v)
	}
	for _, r := range im.Runs {
		b = le.AppendUint64(le.AppendUint64(b, r.First), r.Last)
	}
	b = append(b, stored...)
	return le.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// DecodeImage reads the bytes of an image; Body may alias b, which must not change any more. The error wraps ErrDamaged,
// or ErrFormat for a sound image of a newer format.
func DecodeImage(b []byte) (*Image, error) {
	if _, err := checkEnvelope(b, "image", imageMagic, imageVersion, imageHeader+4); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	if b[10]&^imageDropped != 0 || b[11] > compressZstd || le.Uint32(b[12:]) != 0 {
		return nil, fmt.Errorf("%w: image with unknown flags or compression: use a newer forst", ErrFormat)
	}
	im := &Image{
		Dropped: b[10]&imageDropped != 0,
		Seq:     le.Uint64(b[32:]), Nonce: le.Uint64(b[40:]), Epoch: le.Uint64(b[48:]), Writer: le.Uint64(b[56:]),
		Last:         FrameRef{le.Uint64(b[64:]), Identity{le.Uint64(b[72:]), le.Uint32(b[80:])}},
		TrimmedBelow: le.Uint64(b[88:]), SweptBelow: le.Uint64(b[96:]),
	}
	copy(im.Volume[:], b[16:])
	runs, raw, stored := uint64(le.Uint32(b[84:])), le.Uint64(b[104:]), le.Uint64(b[112:])
	rest := b[imageHeader : len(b)-4]
	if runs > uint64(len(rest))/16 || stored != uint64(len(rest))-16*runs {
		return nil, fmt.Errorf("%w: image of %d bytes claims %d runs and a body of %d bytes", ErrDamaged, len(b), runs, stored)
	}
	for i := range runs {
		r := Run{le.Uint64(rest[16*i:]), le.Uint64(rest[16*i+8:])}
		if r.First == 0 || r.Last < r.First || i > 0 && r.First <= im.Runs[i-1].Last {
			return nil, fmt.Errorf("%w: image with fence runs out of order", ErrDamaged)
		}
		im.Runs = append(im.Runs, r)
	}
	body := rest[16*runs:]
	if b[11] == compressNone {
		if raw != stored {
			return nil, fmt.Errorf("%w: image with a body of %d bytes, want %d", ErrDamaged, stored, raw)
		}
		im.Body = body
		return im, nil
	}
	var err error
	im.Body, err = decompress(body, raw)
	return im, err
}

func compress(b []byte) []byte {
	w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		panic(err) // only for options that contradict each other
	}
	defer w.Close()
	return w.EncodeAll(b, nil)
}

// decompress trusts neither the length that the header claims nor the one that the zstd frame claims: what it allocates
// follows what really comes out.
func decompress(b []byte, want uint64) ([]byte, error) {
	if want/imageMaxRatio > uint64(len(b)) {
		return nil, fmt.Errorf("%w: image body of %d bytes claims to hold %d", ErrDamaged, len(b), want)
	}
	r, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(max(want, 1<<20)), zstd.WithDecoderMaxWindow(64<<20))
	if err != nil {
		return nil, fmt.Errorf("image body: %w", err)
	}
	defer r.Close()
	out, err := r.DecodeAll(b, make([]byte, 0, min(want, 16*uint64(len(b))+1024)))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: image body: %w", ErrDamaged, err)
	}
	if uint64(len(out)) != want {
		return nil, fmt.Errorf("%w: image body of %d bytes, want %d", ErrDamaged, len(out), want)
	}
	return out, nil
}
