package journal

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"math"
	"strings"
)

const (
	holdMagic   = "forsthld"
	holdVersion = 1
	holdHeader  = 68
	holdCopies  = 1 // flag

	// MaxLocation is how long the place of another volume may be, in bytes.
	MaxLocation = 4096
)

// BorrowPrefix is where a clone keeps what it has put as holds into other volumes.
const BorrowPrefix = "borrow/"

// HoldID names a hold for ever.
type HoldID [16]byte

func (id HoldID) String() string { return hex.EncodeToString(id[:]) }

// Hold says that a clone needs a snapshot of another volume. The same bytes lie in both volumes: beside the snapshot, where they keep it, and in
// the clone, where they say what there is to give back.
type Hold struct {
	ID       HoldID
	Lender   VolumeID
	Clone    VolumeID
	Snapshot string // id of the snapshot, as in the key of its body
	Copies   bool   // the clone copies everything: it needs the snapshot only until it is born
	Created  int64  // Unix nanoseconds, for people
	At       string // where the clone finds the lender
	From     string // where the lender finds the clone
}

// HeldKey is the key of the hold in the lender.
func (h *Hold) HeldKey() string { return HoldPrefix + h.Snapshot + "/" + h.ID.String() }

// BorrowKey is the key of the hold in the clone.
func (h *Hold) BorrowKey() string { return BorrowPrefix + h.ID.String() }

// ParseHeldKey takes the key of a hold in the lender apart.
func ParseHeldKey(key string) (snapshot string, id HoldID, ok bool) {
	rest, ok := strings.CutPrefix(key, HoldPrefix)
	snapshot, name, more := strings.Cut(rest, "/")
	if !ok || !more || !legalSnapshot(snapshot) {
		return "", id, false
	}
	id, ok = parseHoldID(name)
	return snapshot, id, ok
}

// ParseBorrowKey takes the key of a hold in the clone apart.
func ParseBorrowKey(key string) (HoldID, bool) {
	name, ok := strings.CutPrefix(key, BorrowPrefix)
	if !ok {
		return HoldID{}, false
	}
	return parseHoldID(name)
}

// legalSnapshot reports whether s looks like the id of a snapshot: hexadecimal numbers with "-" between them.
func legalSnapshot(s string) bool {
	return s != "" && len(s) <= 64 && strings.Trim(s, "0123456789abcdef-") == ""
}

func parseHoldID(name string) (id HoldID, ok bool) {
	b, err := hex.DecodeString(name)
	if err != nil || len(b) != len(id) {
		return id, false
	}
	copy(id[:], b)
	return id, id.String() == name
}

// Encode returns the bytes of the hold.
func (h *Hold) Encode() []byte {
	le := binary.LittleEndian
	b := make([]byte, 0, holdHeader+len(h.Snapshot)+len(h.At)+len(h.From)+16)
	b = append(b, holdMagic...)
	b = le.AppendUint16(b, holdVersion)
	var flags byte
	if h.Copies {
		flags |= holdCopies
	}
	b = append(b, flags, 0)
	b = append(b, h.ID[:]...)
	b = append(b, h.Lender[:]...)
	b = append(b, h.Clone[:]...)
	b = le.AppendUint64(b, uint64(h.Created))
	for _, s := range []string{h.Snapshot, h.At, h.From} {
		b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
	}
	return le.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// DecodeHold reads the bytes of a hold. The error wraps ErrDamaged, or ErrFormat for a sound one of a newer format.
func DecodeHold(b []byte) (*Hold, error) {
	if _, err := checkEnvelope(b, "hold", holdMagic, holdVersion, holdHeader+3+4); err != nil {
		return nil, err
	}
	if b[10]&^holdCopies != 0 || b[11] != 0 {
		return nil, fmt.Errorf("%w: hold with unknown flags: use a newer forst", ErrFormat)
	}
	h := &Hold{Copies: b[10]&holdCopies != 0}
	copy(h.ID[:], b[12:])
	copy(h.Lender[:], b[28:])
	copy(h.Clone[:], b[44:])
	created := binary.LittleEndian.Uint64(b[60:])
	rest := b[holdHeader : len(b)-4]
	for _, s := range []*string{&h.Snapshot, &h.At, &h.From} {
		n, w := binary.Uvarint(rest)
		if w <= 0 || w > 1 && rest[w-1] == 0 || n > uint64(len(rest)-w) || n > MaxLocation {
			return nil, fmt.Errorf("%w: hold of %d bytes with a malformed name", ErrDamaged, len(b))
		}
		*s = string(rest[w : w+int(n)])
		rest = rest[w+int(n):]
	}
	if len(rest) > 0 || created > math.MaxInt64 || !legalSnapshot(h.Snapshot) || h.Lender == (VolumeID{}) || h.Clone == (VolumeID{}) {
		return nil, fmt.Errorf("%w: hold of %d bytes with wrong fields", ErrDamaged, len(b))
	}
	h.Created = int64(created)
	return h, nil
}
