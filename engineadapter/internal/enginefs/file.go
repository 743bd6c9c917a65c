package enginefs

import (
	"io"
	"os"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/internal/mutant"
)

// noFD is what Pebble takes for "there is no descriptor".
const noFD = ^uintptr(0)

// File is a handle of a file of the volume, open for writing (from CreateFile and Reuse) or for reading (from OpenFile).
type File struct {
	f *forstfs.File
	a *FS
}

// Close of a table or blob file returns when its bytes are in the store. Close of any other file makes nothing durable.
func (f File) Close() error { return f.a.seen(f.f.Close()) }

// Read reads on from the handle's own position; it may give less than asked for.
func (f File) Read(p []byte) (int, error) {
	n, err := f.f.Read(p)
	return n, f.a.seen(err)
}

// ReadAt fills p or returns an error: nil when the last byte read is the file's last one (Pebble drops what came with an io.EOF),
// io.EOF when the file ends before p is full. It may run in parallel with itself.
func (f File) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.f.ReadAt(p, off)
	if mutant.On("enginefs/eof-with-full-read") && n == len(p) && err == nil {
		if info, serr := f.f.Stat(); serr == nil && off+int64(n) == info.Size() {
			return n, io.EOF
		}
	}
	if err != nil && err != io.EOF {
		err = f.a.seen(err)
	}
	return n, err
}

// Write appends. The bytes are copied before it returns; one Write or Sync at a time. Other handles see them at once.
func (f File) Write(p []byte) (int, error) {
	n, err := f.f.Write(p)
	return n, f.a.seen(err)
}

// WriteAt is not supported, see FS.InPlace.
func (f File) WriteAt([]byte, int64) (int, error) {
	return 0, &os.PathError{Op: "write at an offset", Path: f.f.Name(), Err: f.a.Engine.Unsupported}
}

// Preallocate does nothing.
func (f File) Preallocate(_, n int64) error {
	if mutant.On("enginefs/preallocate-writes") {
		_, err := f.f.Write(make([]byte, n))
		return err
	}
	return nil
}

// Info describes the file as FS.StatFile does, also under a handle whose name is gone.
func (f File) Info() (forstfs.FileInfo, error) { return f.f.Stat() }

// Sync makes durable what was written to the file and every operation on names issued before, for all kinds of files.
func (f File) Sync() error { return f.a.seen(f.f.Sync()) }

// SyncData is Sync, but for tables and blob files a hint to get on with the upload: as Fd is invalid, Pebble calls it again and again
// while it writes a table, and must not wait there. Nobody refers to a table before its Close, which is what makes it durable.
func (f File) SyncData() error {
	if mutant.On("enginefs/sync-data-dropped") {
		return nil
	}
	if f.f.Bulk() {
		return f.a.seen(f.f.SyncHint())
	}
	return f.Sync()
}

// SyncTo promises nothing and does nothing: uploads start by themselves, and a WAL's own SyncData is to come.
func (f File) SyncTo(int64) (fullSync bool, err error) {
	return mutant.On("enginefs/sync-to-claims-all"), nil
}

// Prefetch starts to bring a range into the cache and does not wait for it.
func (f File) Prefetch(off, n int64) error { return f.f.Prefetch(off, n) }

// Fd is invalid: there is no descriptor.
func (f File) Fd() uintptr { return noFD }

// Dir is an open directory, for Sync alone.
type Dir struct {
	d    *forstfs.Dir
	a    *FS
	name string
}

// Close ends the handle.
func (d Dir) Close() error { return d.d.Close() }

// Sync makes every operation on names issued before it durable (but see forstfs.Ordered).
func (d Dir) Sync() error {
	if mutant.On("enginefs/dir-sync-dropped") {
		return nil
	}
	return d.a.seen(d.d.Sync())
}

// SyncData is Sync.
func (d Dir) SyncData() error { return d.Sync() }

// SyncTo does nothing.
func (d Dir) SyncTo(int64) (bool, error) { return false, nil }

// Info describes the directory.
func (d Dir) Info() (forstfs.FileInfo, error) { return d.d.Stat() }

// Read and the other methods of files are errors.
func (d Dir) Read([]byte) (int, error) { return 0, d.isDir("read") }

// ReadAt is an error.
func (d Dir) ReadAt([]byte, int64) (int, error) { return 0, d.isDir("read") }

// Write is an error.
func (d Dir) Write([]byte) (int, error) { return 0, d.isDir("write") }

// WriteAt is an error.
func (d Dir) WriteAt([]byte, int64) (int, error) { return 0, d.isDir("write") }

// Preallocate does nothing.
func (d Dir) Preallocate(_, _ int64) error { return nil }

// Prefetch does nothing.
func (d Dir) Prefetch(_, _ int64) error { return nil }

// Fd is invalid.
func (d Dir) Fd() uintptr { return noFD }

func (d Dir) isDir(op string) error {
	return &os.PathError{Op: op, Path: d.name, Err: forstfs.ErrIsDir}
}
