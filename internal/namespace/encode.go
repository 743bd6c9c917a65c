package namespace

import (
	"encoding/binary"
)

// AppendTo appends the bytes of op to b (docs/format.md, "Operations"). The op must be one that Check accepts.
func (op *Op) AppendTo(b []byte) []byte {
	b = append(b, byte(op.Kind), 0)
	at := len(b)
	b = op.appendBody(b)
	// The length comes before the body and is one byte for most operations: make room when it is known.
	var n [binary.MaxVarintLen64]byte
	w := binary.PutUvarint(n[:], uint64(len(b)-at))
	b = append(b, n[:w]...)
	copy(b[at+w:], b[at:len(b)-w])
	copy(b[at:], n[:w])
	return b
}

func (op *Op) appendBody(b []byte) []byte {
	switch op.Kind {
	case Mkdir, Remove, RemoveAll:
		b = appendString(b, op.Path)
	case Create:
		b = appendString(b, op.Path)
		b = binary.AppendUvarint(b, uint64(op.Inode))
		b = append(b, byte(op.File))
		b = binary.AppendUvarint(b, uint64(op.Time))
	case Link, Rename:
		b = appendString(b, op.Path)
		b = appendString(b, op.Path2)
	case Append:
		b = binary.AppendUvarint(b, uint64(op.Inode))
		b = binary.AppendUvarint(b, uint64(op.Len))
	case Extend:
		b = binary.AppendUvarint(b, uint64(op.Inode))
		b = binary.AppendUvarint(b, uint64(len(op.Extents)))
		for i := range op.Extents {
			e := &op.Extents[i]
			b = appendContainer(b, &e.Container)
			b = binary.AppendUvarint(b, uint64(e.Off))
			b = binary.AppendUvarint(b, uint64(e.Len))
		}
	case Pack:
		b = binary.AppendUvarint(b, uint64(len(op.Packs)))
		for i := range op.Packs {
			r := &op.Packs[i]
			b = binary.AppendUvarint(b, uint64(r.Inode))
			b = binary.AppendUvarint(b, uint64(r.FileOff))
			b = appendContainer(b, &r.Old.Container)
			b = binary.AppendUvarint(b, uint64(r.Old.Off))
			b = binary.AppendUvarint(b, uint64(r.Old.Len))
			b = appendContainer(b, &r.New.Container)
			b = binary.AppendUvarint(b, uint64(r.New.Off))
		}
	case Touch:
		b = binary.AppendUvarint(b, uint64(op.Inode))
		b = binary.AppendUvarint(b, uint64(op.Time))
	case SnapBegin:
		b = appendSnapshotID(b, op.Snap.ID)
		b = appendString(b, op.Snap.Name)
		b = appendString(b, op.Path)
		b = appendUvarint(b, uint64(op.Time), uint64(op.Snap.Expires))
		b = appendString(b, string(op.Snap.Meta))
	case SnapCommit:
		b = appendSnapshotID(b, op.Snap.ID)
		b = appendBodyRef(b, op.Snap.Body)
	case SnapDoom, SnapRemove:
		b = appendSnapshotID(b, op.Snap.ID)
	case SnapMove:
		b = appendSnapshotID(b, op.Snap.ID)
		b = appendSnapshotID(b, op.Snap.BodyID)
		b = appendBodyRef(b, op.Snap.Body)
		b = appendUvarint(b, uint64(len(op.Snap.Moves)))
		for i := range op.Snap.Moves {
			b = appendContainer(b, &op.Snap.Moves[i].Old)
			b = appendContainer(b, &op.Snap.Moves[i].New)
		}
	case Restore:
		b = appendString(b, op.Path)
		b = appendUvarint(b, uint64(op.Inode), uint64(len(op.Snap.Tree)))
		b = append(b, op.Snap.Tree...)
	}
	return b
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendUvarint(b []byte, vs ...uint64) []byte {
	for _, v := range vs {
		b = binary.AppendUvarint(b, v)
	}
	return b
}

func appendSnapshotID(b []byte, id SnapshotID) []byte {
	b = binary.AppendUvarint(b, id.Epoch)
	b = binary.LittleEndian.AppendUint64(b, id.Nonce)
	return binary.AppendUvarint(b, id.Num)
}

func appendBodyRef(b []byte, r BodyRef) []byte {
	b = appendUvarint(b, uint64(r.Head), uint64(r.Size))
	return binary.LittleEndian.AppendUint32(b, r.CRC)
}

// appendRef names a container: by its number if it was spelt before, else by spelling it.
func appendRef(b []byte, c *Container, seen map[Container]uint64) []byte {
	ref := seen[*c]
	b = binary.AppendUvarint(b, ref)
	if ref == 0 {
		seen[*c] = uint64(len(seen)) + 1
		b = appendContainer(b, c)
	}
	return b
}

func appendContainer(b []byte, c *Container) []byte {
	b = append(b, byte(c.Kind))
	b = binary.AppendUvarint(b, uint64(c.Owner))
	b = binary.AppendUvarint(b, c.Epoch)
	b = binary.LittleEndian.AppendUint64(b, c.Nonce)
	b = binary.AppendUvarint(b, c.Num)
	return binary.LittleEndian.AppendUint32(b, c.CRC)
}
