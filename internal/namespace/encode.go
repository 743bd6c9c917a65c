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
	}
	return b
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendContainer(b []byte, c *Container) []byte {
	b = append(b, byte(c.Kind))
	b = binary.AppendUvarint(b, uint64(c.Owner))
	b = binary.AppendUvarint(b, c.Epoch)
	b = binary.LittleEndian.AppendUint64(b, c.Nonce)
	b = binary.AppendUvarint(b, c.Num)
	return binary.LittleEndian.AppendUint32(b, c.CRC)
}
