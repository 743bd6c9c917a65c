package forstfs

import (
	"context"
	"io/fs"
	"path"
	"sync"
	"sync/atomic"

	"github.com/forst-go/forst/internal/mutant"
)

// File is an open file. ReadAt, Stat, Prefetch and Sync may be called from many goroutines; Read and Write keep one position each and
// are for one goroutine at a time. Bytes are readable from every handle as soon as Write has returned.
type File struct {
	v       *FS
	n       *node
	name    string
	ctx     context.Context // the opener's values; not its end
	writing bool
	// compaction reads in order what no scan has announced.
	compaction bool
	dir        bool
	access     atomic.Uint32
	closed     atomic.Bool

	posMu sync.Mutex
	pos   int64 // of Read
	ahead readahead
}

// Name is the clean, absolute path the file was opened by.
func (f *File) Name() string { return f.name }

// Bulk reports whether the file's bytes go to data objects while they are written.
func (f *File) Bulk() bool { return f.n.bulk }

// SetAccess tells how the handle is going to be read from now on.
func (f *File) SetAccess(a Access) { f.access.Store(uint32(a)) }

// Stat describes the file; its size is what was written so far.
func (f *File) Stat() (FileInfo, error) {
	if f.closed.Load() {
		return FileInfo{}, pathErr("stat", f.name, fs.ErrClosed)
	}
	if f.dir {
		return FileInfo{name: path.Base(f.name), mode: fs.ModeDir | 0o755}, nil
	}
	f.n.mu.Lock()
	defer f.n.mu.Unlock()
	return FileInfo{name: path.Base(f.name), size: f.n.size, mode: 0o644, time: unixTime(f.n.mtim), inode: uint64(f.n.ino), class: Classify(f.name), local: f.n.loc != nil}, nil
}

// Dir is an open directory.
type Dir struct {
	v      *FS
	name   string
	closed atomic.Bool
}

// OpenDir opens a directory for Sync. Directories above the volume's own are its root: their Sync means the same.
func (v *FS) OpenDir(ctx context.Context, name string) (*Dir, error) {
	f, err := v.Open(ctx, name, nil)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if !f.dir {
		return nil, pathErr("opendir", name, ErrNotDir)
	}
	return &Dir{v: v, name: f.name}, nil
}

// Sync makes every operation issued before durable, whatever its directory. With Options.DirSync Ordered it returns at once in
// directories whose lock this process holds.
func (d *Dir) Sync() error {
	if d.closed.Load() {
		return pathErr("sync", d.name, fs.ErrClosed)
	}
	if d.v.o.DirSync == Ordered && d.v.lockHeldIn(d.name) {
		return pathErr("sync", d.name, d.v.Err())
	}
	if mutant.On(mutDirSyncNothing) {
		return nil
	}
	return pathErr("sync", d.name, d.v.Sync(context.Background()))
}

// Stat describes the directory.
func (d *Dir) Stat() (FileInfo, error) { return d.v.Stat(context.Background(), d.name) }

// Close ends the handle.
func (d *Dir) Close() error {
	if d.closed.Swap(true) {
		return pathErr("close", d.name, fs.ErrClosed)
	}
	return nil
}

// lockHeldIn reports whether this process holds a lock directly in the directory.
func (v *FS) lockHeldIn(dir string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	for p := range v.locks {
		if path.Dir(p) == dir {
			return true
		}
	}
	return false
}
