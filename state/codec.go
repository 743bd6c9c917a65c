package state

import (
	"bytes"
	"encoding/binary"
	"encoding/gob"
	"encoding/json"
	"fmt"
	"math"
	"time"
)

// Codec writes values as bytes. Its name is kept in the schema of the state and compared at restore: two codecs of one name must read each
// other's bytes. Codecs are called from several goroutines at once.
type Codec[T any] interface {
	// Name is stable and says what the bytes are: "int64", "json".
	Name() string
	// Append appends the bytes of v to dst.
	Append(dst []byte, v T) ([]byte, error)
	// Decode reads all of src, which it must not keep. What is not exactly one value is an error.
	Decode(src []byte) (T, error)
}

// CodecOf makes a codec from functions.
func CodecOf[T any](name string, app func(dst []byte, v T) ([]byte, error), decode func(src []byte) (T, error)) Codec[T] {
	return codec[T]{name, app, decode}
}

type codec[T any] struct {
	name   string
	app    func([]byte, T) ([]byte, error)
	decode func([]byte) (T, error)
}

func (c codec[T]) Name() string                           { return c.name }
func (c codec[T]) Append(dst []byte, v T) ([]byte, error) { return c.app(dst, v) }
func (c codec[T]) Decode(src []byte) (T, error)           { return c.decode(src) }

// Codecs of scalars, strings and bytes. The order of the bytes is the order of the values, so maps with such keys iterate in order.
// NaN is above or below everything, by its sign; -0 is below 0.
var (
	Int64   Codec[int64]     = fixed("int64", 8, appendInt64, readInt64)
	Int32   Codec[int32]     = fixed("int32", 4, func(d []byte, v int32) []byte { return binary.BigEndian.AppendUint32(d, uint32(v)^1<<31) }, func(s []byte) int32 { return int32(binary.BigEndian.Uint32(s) ^ 1<<31) })
	Uint64  Codec[uint64]    = fixed("uint64", 8, binary.BigEndian.AppendUint64, binary.BigEndian.Uint64)
	Uint32  Codec[uint32]    = fixed("uint32", 4, binary.BigEndian.AppendUint32, binary.BigEndian.Uint32)
	Float64 Codec[float64]   = fixed("float64", 8, appendFloat64, readFloat64)
	Time    Codec[time.Time] = fixed("time", 8, func(d []byte, v time.Time) []byte { return appendInt64(d, v.UnixMicro()) }, func(s []byte) time.Time { return time.UnixMicro(readInt64(s)).UTC() })
	String  Codec[string]    = CodecOf("string", func(d []byte, v string) ([]byte, error) { return append(d, v...), nil }, func(s []byte) (string, error) { return string(s), nil })
	Bytes   Codec[[]byte]    = CodecOf("bytes", func(d []byte, v []byte) ([]byte, error) { return append(d, v...), nil }, func(s []byte) ([]byte, error) { return append([]byte{}, s...), nil })
	Bool    Codec[bool]      = CodecOf("bool", appendBool, readBool)
)

// JSON writes values with encoding/json.
func JSON[T any]() Codec[T] {
	return CodecOf("json", func(dst []byte, v T) ([]byte, error) {
		b, err := json.Marshal(v)
		return append(dst, b...), err
	}, func(src []byte) (v T, err error) {
		err = json.Unmarshal(src, &v)
		return v, err
	})
}

// Gob writes values with encoding/gob, each with its type's description: about 50 bytes more than the value.
func Gob[T any]() Codec[T] {
	return CodecOf("gob", func(dst []byte, v T) ([]byte, error) {
		b := bytes.NewBuffer(dst)
		err := gob.NewEncoder(b).Encode(&v)
		return b.Bytes(), err
	}, func(src []byte) (v T, err error) {
		r := bytes.NewReader(src)
		if err = gob.NewDecoder(r).Decode(&v); err == nil && r.Len() > 0 {
			err = fmt.Errorf("%w: %d bytes behind a gob", ErrCorrupt, r.Len())
		}
		return v, err
	})
}

func fixed[T any](name string, size int, app func([]byte, T) []byte, read func([]byte) T) Codec[T] {
	return CodecOf(name, func(dst []byte, v T) ([]byte, error) { return app(dst, v), nil }, func(src []byte) (v T, err error) {
		if len(src) != size {
			return v, fmt.Errorf("%w: %s has %d bytes, not %d", ErrCorrupt, name, size, len(src))
		}
		return read(src), nil
	})
}

func appendFloat64(dst []byte, v float64) []byte {
	u := math.Float64bits(v)
	if u>>63 == 0 {
		u ^= 1 << 63
	} else {
		u = ^u
	}
	return binary.BigEndian.AppendUint64(dst, u)
}

func readFloat64(src []byte) float64 {
	u := binary.BigEndian.Uint64(src)
	if u>>63 == 1 {
		u ^= 1 << 63
	} else {
		u = ^u
	}
	return math.Float64frombits(u)
}

func appendBool(dst []byte, v bool) ([]byte, error) {
	if v {
		return append(dst, 1), nil
	}
	return append(dst, 0), nil
}

func readBool(src []byte) (bool, error) {
	if len(src) != 1 || src[0] > 1 {
		return false, fmt.Errorf("%w: a bool is one byte, 0 or 1", ErrCorrupt)
	}
	return src[0] == 1, nil
}
