package journal

import (
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
)

// Keys of objects, relative to the volume's prefix. docs/format.md has the table.
const (
	RootKey        = "volume"
	JournalPrefix  = "journal/"
	ImagePrefix    = "image/"
	DataPrefix     = "data/"
	SnapshotPrefix = "snapshot/"
	HoldPrefix     = "hold/"
	RequestPrefix  = "request/"
)

// framesPerFolder frames share one folder of the journal, so that no folder grows without limit on a file system.
const framesPerFolder = 65536

// FrameKey returns the key of frame n. The order of keys is the order of numbers.
func FrameKey(n uint64) string {
	return fmt.Sprintf("%s%012x/%016x", JournalPrefix, n/framesPerFolder, n)
}

// ParseFrameKey is the inverse of FrameKey; it accepts nothing else.
func ParseFrameKey(key string) (n uint64, ok bool) {
	rest, ok := strings.CutPrefix(key, JournalPrefix)
	if !ok || len(rest) != 12+1+16 || rest[12] != '/' {
		return 0, false
	}
	n, err := strconv.ParseUint(rest[13:], 16, 64)
	return n, err == nil && n > 0 && FrameKey(n) == key
}

// ImageKey returns the key of the image after frame n with this nonce.
func ImageKey(n, nonce uint64) string {
	return fmt.Sprintf("%s%016x-%016x", ImagePrefix, n, nonce)
}

// ParseImageKey is the inverse of ImageKey; it accepts nothing else.
func ParseImageKey(key string) (n, nonce uint64, ok bool) {
	rest, ok := strings.CutPrefix(key, ImagePrefix)
	if !ok || len(rest) != 16+1+16 || rest[16] != '-' {
		return 0, 0, false
	}
	n, err1 := strconv.ParseUint(rest[:16], 16, 64)
	nonce, err2 := strconv.ParseUint(rest[17:], 16, 64)
	return n, nonce, err1 == nil && err2 == nil && ImageKey(n, nonce) == key
}

// DataKey returns the key of a data object. Its first folder is the highest byte of the CRC-32C of the name, which
// spreads the objects of one volume over the store.
func DataKey(epoch, nonce, counter uint64) string {
	name := fmt.Sprintf("%08x-%016x-%08x", epoch, nonce, counter)
	return fmt.Sprintf("%s%02x/%s", DataPrefix, crc32.Checksum([]byte(name), castagnoli)>>24, name)
}

// SnapshotKey returns the key of the body of a snapshot.
func SnapshotKey(epoch, nonce, num uint64) string {
	return fmt.Sprintf("%s%08x-%016x-%08x", SnapshotPrefix, epoch, nonce, num)
}

// ParseSnapshotKey is the inverse of SnapshotKey; it accepts nothing else.
func ParseSnapshotKey(key string) (epoch, nonce, num uint64, ok bool) {
	rest, ok := strings.CutPrefix(key, SnapshotPrefix)
	if !ok {
		return 0, 0, 0, false
	}
	v, ok := threeNumbers(rest)
	return v[0], v[1], v[2], ok && SnapshotKey(v[0], v[1], v[2]) == key
}

// RequestKey returns the key of the request with this random number.
func RequestKey(nonce uint64) string { return fmt.Sprintf("%s%016x", RequestPrefix, nonce) }

// threeNumbers reads three hexadecimal numbers with "-" between them.
func threeNumbers(s string) (v [3]uint64, ok bool) {
	parts := strings.Split(s, "-")
	if len(parts) != len(v) {
		return v, false
	}
	for i, p := range parts {
		var err error
		if v[i], err = strconv.ParseUint(p, 16, 64); err != nil {
			return v, false
		}
	}
	return v, true
}

// ParseDataKey is the inverse of DataKey; it accepts nothing else.
func ParseDataKey(key string) (epoch, nonce, counter uint64, ok bool) {
	rest, ok := strings.CutPrefix(key, DataPrefix)
	if !ok || len(rest) < 3 || rest[2] != '/' {
		return 0, 0, 0, false
	}
	v, ok := threeNumbers(rest[3:])
	return v[0], v[1], v[2], ok && DataKey(v[0], v[1], v[2]) == key
}
