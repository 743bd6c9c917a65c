package namespace

import (
	"cmp"
	"errors"
)

// Inode numbers a file for ever: it is given by the writer, begins at 1, and is never used twice in a volume. 0 is none.
type Inode uint64

// FileKind says how the bytes of a file travel.
type FileKind uint8

// The kinds of files.
const (
	Small FileKind = 0 // bytes go inline into frames
	Bulk  FileKind = 1 // bytes go into data objects
	Local FileKind = 2 // bytes are on the disk of the machine that wrote them, not in the volume: no extent ever belongs to it
)

// ContainerKind says what holds bytes.
type ContainerKind uint8

// The kinds of containers.
const (
	Object ContainerKind = 1 // a data object
	Frame  ContainerKind = 2 // a frame of the journal
	Body   ContainerKind = 3 // the body of a snapshot
)

// Container names something in the store that holds bytes. It is comparable and is never used for other bytes.
type Container struct {
	Kind  ContainerKind
	Owner uint32 // 0: this volume; else 1 + the index into State.Owners
	CRC   uint32 // of a frame; for an object its size in bytes, so that an extent says all that a reader needs; for a body where its inline bytes end
	Epoch uint64
	Nonce uint64
	Num   uint64 // counter of an object or snapshot, number of a frame
}

// Compare orders containers: by owner, kind, epoch, nonce, number, CRC.
func (c Container) Compare(d Container) int {
	switch { // not cmp.Or of all: a snapshot sorts everything that it pins while the volume waits
	case c.Owner != d.Owner:
		return cmp.Compare(c.Owner, d.Owner)
	case c.Kind != d.Kind:
		return cmp.Compare(c.Kind, d.Kind)
	case c.Epoch != d.Epoch:
		return cmp.Compare(c.Epoch, d.Epoch)
	case c.Nonce != d.Nonce:
		return cmp.Compare(c.Nonce, d.Nonce)
	case c.Num != d.Num:
		return cmp.Compare(c.Num, d.Num)
	}
	return cmp.Compare(c.CRC, d.CRC)
}

// Extent is a run of bytes in a container. Off counts from the first byte of the object or frame. Len is at least 1.
type Extent struct {
	Container Container
	Off, Len  int64
}

// Owner is a volume whose containers this one refers to without owning them.
type Owner struct {
	Volume [16]byte // volume id
	URL    string   // where its containers are; without secrets
}

// OpKind is the kind of an operation; the numbers are part of the format.
type OpKind uint8

// The operations.
const (
	Mkdir     OpKind = 1  // Path and its missing parents become directories
	Create    OpKind = 2  // Path becomes a new empty file Inode of kind File, changed at Time; an old file loses this name
	Link      OpKind = 3  // the file Path gets the further name Path2
	Rename    OpKind = 4  // the file or directory Path is called Path2; an old file there loses this name
	Remove    OpKind = 5  // the file or empty directory Path loses this name
	RemoveAll OpKind = 6  // Path and all below it go; a missing one is nothing
	Append    OpKind = 7  // Len inline bytes of the frame go to the end of Inode
	Extend    OpKind = 8  // Extents go to the end of Inode
	Pack      OpKind = 9  // Packs: extents are replaced by others with the same bytes
	Touch     OpKind = 10 // Inode was changed at Time

	SnapBegin  OpKind = 11 // a snapshot of directory Path as it is here begins, at Time; it pins all containers of its files
	SnapCommit OpKind = 12 // its body is durable: it pins its body, and frames no more
	SnapDoom   OpKind = 13 // it will be removed: no new hold; for ever
	SnapRemove OpKind = 14 // it is gone, whatever its state
	Restore    OpKind = 15 // directory Path becomes the tree; its files get the inodes from Inode on
	SnapMove   OpKind = 16 // it has another body, and copies in the place of what it borrowed
)

var opNames = [...]string{"", "mkdir", "create", "link", "rename", "remove", "removeall", "append", "extend", "pack", "touch",
	"snapshot begin", "snapshot commit", "snapshot doom", "snapshot remove", "restore", "snapshot move"}

// String gives the name that docs/format.md uses.
func (k OpKind) String() string {
	if k >= Mkdir && int(k) < len(opNames) {
		return opNames[k]
	}
	return "unknown operation"
}

// Repack is one replacement of a pack: in Inode, at FileOff, the extent Old by New, which has the same length and bytes.
type Repack struct {
	Inode   Inode
	FileOff int64
	Old     Extent
	New     Extent
}

// Op is one operation; which fields count depends on Kind.
type Op struct {
	Kind        OpKind
	Path, Path2 string // clean, see Clean
	Inode       Inode
	File        FileKind
	Time        int64 // Unix nanoseconds, not negative
	Len         int64
	Extents     []Extent
	Packs       []Repack
	Snap        *SnapOp
}

// Entry is what a name stands for. A directory has neither inode nor time.
type Entry struct {
	Inode Inode
	Dir   bool
	Time  int64 // of the last change, Unix nanoseconds
}

// Name is an entry of a directory.
type Name struct {
	Base string
	Entry
}

// File describes an inode. Extents follow each other in the file without gaps; the slice is a snapshot that is never
// modified, and the caller must not modify it.
type File struct {
	Inode   Inode
	Kind    FileKind
	Size    int64 // bytes
	Time    int64 // of the last change, Unix nanoseconds
	Links   int   // names
	Extents []Extent
}

// Use says how much of a container is referred to.
type Use struct {
	Bytes int64
	Refs  int // extents
}

// Placed is an extent with its place in a file.
type Placed struct {
	Inode   Inode
	FileOff int64
	Extent  Extent
}

// Stats are totals of a State.
type Stats struct {
	Files       int   // inodes
	Dirs        int   // directories, without the root
	Names       int   // names of files
	Bytes       int64 // sum of the sizes of files
	InlineBytes int64 // of these, bytes that lie in frames
	Extents     int
	Containers  int // containers with a live extent
	Snapshots   int // unfinished and doomed ones, too
}

// The errors of this package, besides fs.ErrNotExist, fs.ErrExist and fs.ErrInvalid. Test with errors.Is.
var (
	// ErrIsDir: the operation wants a file; name a file.
	ErrIsDir = errors.New("is a directory")
	// ErrNotDir: a file stands where a directory is needed; remove it or use another path.
	ErrNotDir = errors.New("not a directory")
	// ErrNotEmpty: empty the directory first, or use RemoveAll.
	ErrNotEmpty = errors.New("directory not empty")
	// ErrUnknownOp: a newer version wrote an operation that must not be skipped; use that version. Nothing is damaged.
	ErrUnknownOp = errors.New("unknown operation of a newer version")
	// ErrUnknownBody: a newer version wrote the body of an image; use that version. Nothing is damaged.
	ErrUnknownBody = errors.New("namespace body of a newer version")
	// ErrCorrupt: bytes or operations that no correct writer has made. Stop; do not take it for the end of the journal.
	ErrCorrupt = errors.New("namespace is corrupt")
)
