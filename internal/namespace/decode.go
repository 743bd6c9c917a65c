package namespace

import (
	"encoding/binary"
	"fmt"
	"math"
)

// flagSkip on an operation, or on a section of a body, lets a reader that does not know it go on without it.
const flagSkip = 1

// DecodeOps decodes a sequence of operations and calls fn for each, in order; fn owns the Op and all it refers to, nothing of it
// shares memory with b. An error of fn ends the sequence and is returned as it is. An unknown operation that may not be
// skipped is ErrUnknownOp; bytes that no version writes are ErrCorrupt. Only the bytes are checked here: whether an
// operation is legal is Apply's question. The memory used is proportional to len(b).
func DecodeOps(b []byte, fn func(op *Op) error) error {
	for r := (reader{b: b}); len(r.b) > 0; {
		at := len(b) - len(r.b)
		kind, flags := OpKind(r.byte()), r.byte()
		body := reader{b: r.take(r.uvarint())}
		if r.bad {
			return corruptAt(at, "operation is cut short")
		}
		if flags&^flagSkip != 0 {
			return fmt.Errorf("%w: operation of kind %d at byte %d has flags %#x", ErrUnknownOp, kind, at, flags)
		}
		if kind < Mkdir || kind > SnapMove {
			if flags&flagSkip != 0 && kind != 0 {
				continue
			}
			if kind == 0 {
				return corruptAt(at, "operation of kind 0")
			}
			return fmt.Errorf("%w: kind %d at byte %d", ErrUnknownOp, kind, at)
		}
		op := &Op{Kind: kind}
		body.op(op)
		if body.bad || len(body.b) > 0 {
			return corruptAt(at, kind.String()+" is malformed")
		}
		if err := fn(op); err != nil {
			return err
		}
	}
	return nil
}

func corruptAt(at int, what string) error {
	return fmt.Errorf("%w: at byte %d: %s", ErrCorrupt, at, what)
}

// reader takes values from the front of b. After the first failure bad is set and every value is zero.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) fail() {
	r.b, r.bad = nil, true
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.fail()
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

// uvarint refuses encodings that are longer than needed, so that equal values have equal bytes.
func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || n > 1 && r.b[n-1] == 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

// int is a uvarint that fits an int64.
func (r *reader) int() int64 {
	v := r.uvarint()
	if v > math.MaxInt64 {
		r.fail()
		return 0
	}
	return int64(v)
}

// count is a uvarint that announces items of at least size bytes each; they must be able to follow.
func (r *reader) count(size int) int {
	v := r.uvarint()
	if v > uint64(len(r.b)/size) {
		r.fail()
		return 0
	}
	return int(v)
}

// take gives the next n bytes, without copying them.
func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) string() string { return string(r.take(r.uvarint())) }

// The smallest encodings in bytes, for count.
const (
	minContainer = 1 + 1 + 1 + 8 + 1 + 4
	minExtent    = minContainer + 1 + 1
	minRepack    = 1 + 1 + minContainer + 1 + 1 + minContainer + 1
	minSnapshot  = 1 + 8 + 1 + 1 + 2 + 2 + 5 + 1 + 1
)

func (r *reader) container() (c Container) {
	c.Kind = ContainerKind(r.byte())
	owner := r.uvarint()
	c.Owner = uint32(owner)
	c.Epoch = r.uvarint()
	if b := r.take(8); b != nil {
		c.Nonce = binary.LittleEndian.Uint64(b)
	}
	c.Num = r.uvarint()
	switch c.Kind {
	case Object, Frame, Body:
		if b := r.take(4); b != nil {
			c.CRC = binary.LittleEndian.Uint32(b)
		}
	default:
		r.fail()
	}
	if owner > math.MaxUint32 {
		r.fail()
	}
	return c
}

func (r *reader) extent() Extent {
	return Extent{Container: r.container(), Off: r.int(), Len: r.int()}
}

func (r *reader) op(op *Op) {
	switch op.Kind {
	case Mkdir, Remove, RemoveAll:
		op.Path = r.string()
	case Create:
		op.Path = r.string()
		op.Inode = Inode(r.uvarint())
		op.File = FileKind(r.byte())
		op.Time = r.int()
	case Link, Rename:
		op.Path = r.string()
		op.Path2 = r.string()
	case Append:
		op.Inode = Inode(r.uvarint())
		op.Len = r.int()
	case Extend:
		op.Inode = Inode(r.uvarint())
		if n := r.count(minExtent); n > 0 {
			op.Extents = make([]Extent, n)
		}
		for i := range op.Extents {
			op.Extents[i] = r.extent()
		}
	case Pack:
		if n := r.count(minRepack); n > 0 {
			op.Packs = make([]Repack, n)
		}
		for i := range op.Packs {
			p := &op.Packs[i]
			p.Inode = Inode(r.uvarint())
			p.FileOff = r.int()
			p.Old = r.extent()
			p.New = Extent{Container: r.container(), Off: r.int(), Len: p.Old.Len}
		}
	case Touch:
		op.Inode = Inode(r.uvarint())
		op.Time = r.int()
	case SnapBegin:
		op.Snap = &SnapOp{ID: r.snapshotID(), Name: r.string()}
		op.Path = r.string()
		op.Time, op.Snap.Expires = r.int(), r.int()
		op.Snap.Meta = r.bytes()
	case SnapCommit:
		op.Snap = &SnapOp{ID: r.snapshotID(), Body: r.bodyRef()}
	case SnapDoom, SnapRemove:
		op.Snap = &SnapOp{ID: r.snapshotID()}
	case SnapMove:
		op.Snap = &SnapOp{ID: r.snapshotID(), BodyID: r.snapshotID(), Body: r.bodyRef()}
		for range r.count(2 * minContainer) {
			op.Snap.Moves = append(op.Snap.Moves, Move{r.container(), r.container()})
		}
	case Restore:
		op.Path = r.string()
		op.Inode = Inode(r.uvarint())
		op.Snap = &SnapOp{Tree: r.bytes()}
	}
}

func (r *reader) snapshotID() (id SnapshotID) {
	id.Epoch = r.uvarint()
	if b := r.take(8); b != nil {
		id.Nonce = binary.LittleEndian.Uint64(b)
	}
	id.Num = r.uvarint()
	return id
}

func (r *reader) bodyRef() (b BodyRef) {
	head := r.uvarint()
	b.Head, b.Size = uint32(head), r.int()
	if c := r.take(4); c != nil {
		b.CRC = binary.LittleEndian.Uint32(c)
	}
	if head > math.MaxUint32 {
		r.fail()
	}
	return b
}

// bytes is a copy of a string's bytes, nil if there are none.
func (r *reader) bytes() []byte { return append([]byte(nil), r.take(r.uvarint())...) }
