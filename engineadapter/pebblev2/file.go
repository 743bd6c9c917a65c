package pebblev2

import (
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/forst-go/forst/forstfs"
)

// file is a handle of a file of the volume, open for writing (from Create) or for reading (from Open).
type file struct{ f *forstfs.File }

// Close of a table or blob file returns when its bytes are in the store. Close of any other file makes nothing durable.
func (f *file) Close() error { return f.f.Close() }

// Read reads on from the handle's own position; it may give less than asked for.
func (f *file) Read(p []byte) (int, error) { return f.f.Read(p) }

// ReadAt fills p or returns an error: nil when the last byte read is the file's last one (Pebble drops what came with an io.EOF),
// io.EOF when the file ends before p is full. It may run in parallel with itself.
func (f *file) ReadAt(p []byte, off int64) (int, error) { return f.f.ReadAt(p, off) }

// Write appends. The bytes are copied before it returns; one Write or Sync at a time. Other handles see them at once.
func (f *file) Write(p []byte) (int, error) { return f.f.Write(p) }

// WriteAt is not supported, see OpenReadWrite.
func (f *file) WriteAt([]byte, int64) (int, error) {
	return 0, &os.PathError{Op: "write at an offset", Path: f.f.Name(), Err: vfs.ErrUnsupported}
}

// Preallocate does nothing.
func (f *file) Preallocate(_, _ int64) error { return nil }

// Stat describes the file as FS.Stat does, also under a handle whose name is gone.
func (f *file) Stat() (vfs.FileInfo, error) {
	info, err := f.f.Stat()
	if err != nil {
		return nil, err
	}
	return fileInfo{info}, nil
}

// Sync makes durable what was written to the file and every operation on names issued before, for all kinds of files.
func (f *file) Sync() error { return f.f.Sync() }

// SyncData is Sync, but for tables and blob files a hint to get on with the upload: as Fd is invalid, Pebble calls it again and again
// while it writes a table, and must not wait there. Nobody refers to a table before its Close, which is what makes it durable.
func (f *file) SyncData() error {
	if f.f.Bulk() {
		return f.f.SyncHint()
	}
	return f.f.Sync()
}

// SyncTo promises nothing and does nothing: uploads start by themselves, and a WAL's own SyncData is to come.
func (f *file) SyncTo(int64) (fullSync bool, err error) { return false, nil }

// Prefetch starts to bring a range into the cache and does not wait for it.
func (f *file) Prefetch(off, n int64) error { return f.f.Prefetch(off, n) }

// Fd is invalid: there is no descriptor.
func (f *file) Fd() uintptr { return vfs.InvalidFd }

// dir is an open directory, for Sync alone.
type dir struct {
	d    *forstfs.Dir
	name string
}

func (d *dir) Close() error { return d.d.Close() }

// Sync makes every operation on names issued before it durable (but see forstfs.Ordered).
func (d *dir) Sync() error { return d.d.Sync() }

func (d *dir) SyncData() error            { return d.d.Sync() }
func (d *dir) SyncTo(int64) (bool, error) { return false, nil }

func (d *dir) Stat() (vfs.FileInfo, error) {
	info, err := d.d.Stat()
	if err != nil {
		return nil, err
	}
	return fileInfo{info}, nil
}

func (d *dir) Read([]byte) (int, error)           { return 0, d.isDir("read") }
func (d *dir) ReadAt([]byte, int64) (int, error)  { return 0, d.isDir("read") }
func (d *dir) Write([]byte) (int, error)          { return 0, d.isDir("write") }
func (d *dir) WriteAt([]byte, int64) (int, error) { return 0, d.isDir("write") }
func (d *dir) Preallocate(_, _ int64) error       { return nil }
func (d *dir) Prefetch(_, _ int64) error          { return nil }
func (d *dir) Fd() uintptr                        { return vfs.InvalidFd }

func (d *dir) isDir(op string) error {
	return &os.PathError{Op: op, Path: d.name, Err: forstfs.ErrIsDir}
}

// fileInfo adds what vfs wants to know beyond os.FileInfo.
type fileInfo struct{ forstfs.FileInfo }

// DeviceID is zero, as in Pebble's own in-memory file system: a volume is no block device.
func (fileInfo) DeviceID() vfs.DeviceID { return vfs.DeviceID{} }
