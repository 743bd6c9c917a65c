package state

import (
	"encoding/binary"
	"fmt"
	"time"
)

// Scope names what a request is about: a key, and a namespace within it, both as bytes. Scopes are made with Key, BytesKey, IntKey or
// KeyOf. The backend keeps references to the bytes while a request runs: do not change them.
type Scope struct{ Key, Namespace []byte }

// Key is the scope of a string key.
func Key(key string) Scope { return Scope{Key: []byte(key)} }

// BytesKey is the scope of a key of bytes.
func BytesKey(key []byte) Scope { return Scope{Key: key} }

// IntKey is the scope of an integer key, written as by the codec Int64.
func IntKey(key int64) Scope { return Scope{Key: appendInt64(nil, key)} }

// KeyOf is the scope of a key of any type.
func KeyOf[K any](c Codec[K], key K) (Scope, error) {
	b, err := c.Append(nil, key)
	return Scope{Key: b}, err
}

// In is the same key in a namespace.
func (s Scope) In(namespace []byte) Scope { return Scope{s.Key, namespace} }

// Window is a namespace for a time window, in the order of the ends, then the starts. Milliseconds count.
func Window(start, end time.Time) []byte {
	return appendInt64(appendInt64(make([]byte, 0, 16), end.UnixMilli()), start.UnixMilli())
}

// WindowOf reads what Window wrote.
func WindowOf(namespace []byte) (start, end time.Time, err error) {
	if len(namespace) != 16 {
		return start, end, fmt.Errorf("%w: a window has 16 bytes, not %d", ErrCorrupt, len(namespace))
	}
	return time.UnixMilli(readInt64(namespace[8:])), time.UnixMilli(readInt64(namespace)), nil
}

func appendInt64(dst []byte, v int64) []byte {
	return binary.BigEndian.AppendUint64(dst, uint64(v)^1<<63)
}
func readInt64(src []byte) int64 { return int64(binary.BigEndian.Uint64(src) ^ 1<<63) }

// appendEscaped appends a part of a key such that order is kept and no encoded part is a prefix of another.
func appendEscaped(dst, part []byte) []byte {
	for _, b := range part {
		if b == 0 {
			dst = append(dst, 0, 0xff)
		} else {
			dst = append(dst, b)
		}
	}
	return append(dst, 0, 1)
}

// cutEscaped takes the first part off.
func cutEscaped(src []byte) (part, rest []byte, err error) {
	for i := 0; i < len(src); i++ {
		if src[i] != 0 {
			part = append(part, src[i])
			continue
		}
		if i++; i == len(src) {
			break
		}
		switch src[i] {
		case 1:
			return part, src[i+1:], nil
		case 0xff:
			part = append(part, 0)
		default:
			return nil, nil, fmt.Errorf("%w: byte %#x behind a zero in a key", ErrCorrupt, src[i])
		}
	}
	return nil, nil, fmt.Errorf("%w: a key ends within a part", ErrCorrupt)
}

// appendScope appends group, state, key and namespace: the whole key of a record, or the prefix of all entries of a map.
func (k KeyGroups) appendScope(dst []byte, group int, id uint16, s Scope) []byte {
	dst = k.appendGroup(dst, group)
	dst = binary.BigEndian.AppendUint16(dst, id)
	dst = appendEscaped(dst, s.Key)
	return appendEscaped(dst, s.Namespace)
}

// appendTimer appends the key of a timer.
func (k KeyGroups) appendTimer(dst []byte, group int, id uint16, at int64, s Scope) []byte {
	dst = k.appendGroup(dst, group)
	dst = binary.BigEndian.AppendUint16(dst, id)
	dst = appendInt64(dst, at)
	dst = appendEscaped(dst, s.Key)
	return appendEscaped(dst, s.Namespace)
}

// cutHead reads group and state.
func (k KeyGroups) cutHead(key []byte) (group int, id uint16, rest []byte, err error) {
	n := 1
	if k.wide() {
		n = 2
	}
	if len(key) < n+2 {
		return 0, 0, nil, fmt.Errorf("%w: a key of %d bytes", ErrCorrupt, len(key))
	}
	for _, b := range key[:n] {
		group = group<<8 | int(b)
	}
	if group >= k.Max {
		return 0, 0, nil, fmt.Errorf("%w: key group %d of %d", ErrCorrupt, group, k.Max)
	}
	return group, binary.BigEndian.Uint16(key[n:]), key[n+2:], nil
}

// cutScope reads key and namespace; what is left is the user key of a map.
func cutScope(rest []byte) (s Scope, user []byte, err error) {
	if s.Key, rest, err = cutEscaped(rest); err != nil {
		return s, nil, err
	}
	s.Namespace, user, err = cutEscaped(rest)
	return s, user, err
}

// cutTimer reads what follows group and state in a timer's key.
func cutTimer(rest []byte) (at int64, s Scope, err error) {
	if len(rest) < 8 {
		return 0, s, fmt.Errorf("%w: a timer's key is cut short", ErrCorrupt)
	}
	at = readInt64(rest)
	s, rest, err = cutScope(rest[8:])
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%w: %d bytes behind a timer's key", ErrCorrupt, len(rest))
	}
	return at, s, err
}

// prefixEnd is the first key that does not begin with prefix, which ends with an escaped part.
func prefixEnd(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	end[len(end)-1]++ // 00 01 becomes 00 02, which no key has
	return end
}

// metaKey begins the keys that are none of a key group.
const metaKey = 0xff

var schemaKey = append([]byte{metaKey}, "schema"...)
