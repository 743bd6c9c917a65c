package journal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
)

const (
	requestMagic   = "forstreq"
	requestVersion = 1
	requestMin     = 8 + 2 + 1 + 1 + 16 + 8 + 8 + 8 + 8 + 4
)

// RequestKind says what a Request asks for.
type RequestKind uint8

// The kinds of requests.
const (
	RequestRemove  RequestKind = 1 // remove the snapshot
	RequestCollect RequestKind = 2 // write an image, trim, and sweep everything
)

// Request is what a process that does not own the volume leaves for the one that does.
type Request struct {
	Kind              RequestKind
	Volume            VolumeID
	Created           int64 // Unix nanoseconds, for people
	Epoch, Nonce, Num uint64
}

// Encode returns the bytes of the request.
func (r *Request) Encode() []byte {
	le := binary.LittleEndian
	b := make([]byte, 0, requestMin)
	b = append(b, requestMagic...)
	b = le.AppendUint16(b, requestVersion)
	b = append(b, byte(r.Kind), 0)
	b = append(b, r.Volume[:]...)
	for _, v := range []uint64{uint64(r.Created), r.Epoch, r.Nonce, r.Num} {
		b = le.AppendUint64(b, v)
	}
	return le.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// DecodeRequest reads the bytes of a request. The error wraps ErrDamaged, or ErrFormat for a sound one of a newer format.
func DecodeRequest(b []byte) (*Request, error) {
	if _, err := checkEnvelope(b, "request", requestMagic, requestVersion, requestMin); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	r := &Request{Kind: RequestKind(b[10]), Epoch: le.Uint64(b[36:]), Nonce: le.Uint64(b[44:]), Num: le.Uint64(b[52:])}
	copy(r.Volume[:], b[12:])
	created := le.Uint64(b[28:])
	switch {
	case r.Kind != RequestRemove && r.Kind != RequestCollect || b[11] != 0:
		return nil, fmt.Errorf("%w: request of kind %d: use a newer forst", ErrFormat, r.Kind)
	case len(b) != requestMin || created > math.MaxInt64:
		return nil, fmt.Errorf("%w: request of %d bytes", ErrDamaged, len(b))
	}
	r.Created = int64(created)
	return r, nil
}
