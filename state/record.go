package state

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/forst-go/forst/internal/mutant"
)

// head is what precedes a payload: which epoch of the schema wrote it, and when, if the state has a TTL.
type head struct {
	epoch   byte // 1 to maxEpoch
	stamped bool
	stamp   int64 // Unix milliseconds
}

const (
	maxEpoch  = 127
	stampFlag = 0x80
)

func appendHead(dst []byte, h head) []byte {
	if !h.stamped {
		return append(dst, h.epoch)
	}
	return binary.BigEndian.AppendUint64(append(dst, h.epoch|stampFlag), uint64(h.stamp))
}

func cutHead(src []byte) (h head, rest []byte, err error) {
	if len(src) == 0 {
		return h, nil, fmt.Errorf("%w: an empty record", ErrCorrupt)
	}
	h.epoch, h.stamped = src[0]&^stampFlag, src[0]&stampFlag != 0
	src = src[1:]
	if h.epoch == 0 {
		return h, nil, fmt.Errorf("%w: a record of epoch 0", ErrCorrupt)
	}
	if h.stamped {
		if len(src) < 8 {
			return h, nil, fmt.Errorf("%w: a record ends within its stamp", ErrCorrupt)
		}
		h.stamp, src = int64(binary.BigEndian.Uint64(src)), src[8:]
	}
	return h, src, nil
}

// appendElement appends one element of a list.
func appendElement(dst []byte, h head, payload []byte) []byte {
	dst = appendHead(dst, h)
	dst = binary.AppendUvarint(dst, uint64(len(payload)))
	return append(dst, payload...)
}

// cutElement takes the first element of a list off.
func cutElement(src []byte) (h head, payload, rest []byte, err error) {
	if h, src, err = cutHead(src); err != nil {
		return h, nil, nil, err
	}
	n, w := binary.Uvarint(src)
	if w <= 0 || n > uint64(len(src)-w) {
		return h, nil, nil, fmt.Errorf("%w: an element of a list is cut short", ErrCorrupt)
	}
	src = src[w:]
	return h, src[:n:n], src[n:], nil
}

// TTL is how long records live. The zero value is for ever.
type TTL struct {
	// After is the time from the last write of a record (an element of a list, an entry of a map) to its end. Milliseconds count.
	After time.Duration
	// Renew makes reads count as writes.
	Renew bool
}

// expired says whether a record has come to its end at now, in Unix milliseconds.
func (t TTL) expired(h head, now int64) bool {
	return t.After > 0 && !mutant.On(mutExpired) && h.stamped && h.stamp <= now-t.After.Milliseconds()
}
