package forstfs

import (
	"io/fs"
	"time"
)

// FileInfo describes a file or directory; it implements fs.FileInfo.
type FileInfo struct {
	name  string
	size  int64
	mode  fs.FileMode
	time  time.Time
	inode uint64
	class Class
	local bool
}

func (i FileInfo) Name() string       { return i.name }
func (i FileInfo) Size() int64        { return i.size }
func (i FileInfo) Mode() fs.FileMode  { return i.mode }
func (i FileInfo) ModTime() time.Time { return i.time }
func (i FileInfo) IsDir() bool        { return i.mode.IsDir() }
func (i FileInfo) Sys() any           { return nil }

// Inode is the number of the file in its volume, never used twice; 0 for a directory.
func (i FileInfo) Inode() uint64 { return i.inode }

// Local reports whether the file's bytes are on the disk of the machine that wrote it, not in the volume.
func (i FileInfo) Local() bool { return i.local }

// Class is the file's class by its name.
func (i FileInfo) Class() Class { return i.class }
