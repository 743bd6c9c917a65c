// Package pebblev2 lets a Pebble database (github.com/cockroachdb/pebble/v2) live in a forst volume: the volume is its file
// system, and the store behind the volume is its only durable home.
//
//	vol, err := forst.Open(ctx, "s3://bucket/db", &forstfs.Options{Create: forstfs.CreateIfMissing})
//	...
//	db, err := pebble.Open("/db", pebblev2.Tune(&pebble.Options{FS: pebblev2.New(vol)}))
//
// Close the database first, the volume after it. Several databases may share one volume, each in its own directory.
//
// # What is durable when
//
// A commit with Sync, Flush, Ingest, Checkpoint and Close keep the promises that Pebble makes on a local disk: what they acknowledge
// is in the store and stays there, whatever happens to this machine. A synced commit costs one PUT, which concurrent
// commits share.
//
// Tables and blob files are written in bulk. Their Close is the point where their bytes are in the store; Sync does the same earlier;
// SyncData only sends on what is complete, because Pebble calls it every 1.5 MB of a table that nobody can refer to before its Close.
// WAL, MANIFEST, OPTIONS, markers and every other file are durable when Sync or SyncData returns.
//
// # When the volume fails
//
// A volume retries by itself for minutes (forstfs.Options.RetryBudget), because Pebble does not: it ends the process when it cannot
// write its WAL or MANIFEST, as is the case when another process has taken the volume over (forstfs.ErrFenced). It calls
// pebble.Options.Logger.Fatalf for most of it; a logger whose Fatalf does not return (it stops the goroutine with runtime.Goexit)
// keeps the rest of the program going, which may close the volume and open it again. But a directory sync behind a marker
// ends in a panic of a goroutine of Pebble's own. So plan for the end of the process, and start again after a pause.
//
// Reads that fail are errors of Get and of iterators, and may be repeated. An object that a newer writer deleted is reported as
// forstfs.ErrStale, never as "not exist", which Pebble would take for corruption.
//
// # Paths
//
// Paths are slash-separated paths inside the volume: "/db". No scheme and no bucket belong into them. "db", "./db" and "/db" are the
// same directory.
package pebblev2

import (
	"context"
	"io"
	"os"
	"path"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/forst-go/forst/forstfs"
)

// New makes the volume a file system for pebble.Options.FS. The volume stays the caller's: close it after the database. New costs
// nothing and may be called again; the value is a pointer, as Pebble compares file systems with ==.
//
// All methods may run in parallel, as those of forstfs.FS.
func New(vol *forstfs.FS) vfs.FS { return &fileSystem{vol: vol} }

type fileSystem struct {
	vol   *forstfs.FS
	locks dirLocks // directories whose LOCK is held: see guard.go
}

// ctx is the context of every call: vfs has none. The volume bounds each request by itself (RetryBudget), and closing the
// volume ends what is under way.
func (a *fileSystem) ctx() context.Context { return context.Background() }

// Create makes a new file; a file of that name loses the name and keeps its bytes under its other names. The file exists at once
// for every other call, and is durable with the next Sync of anything; a file that was closed without a Write exists, too: that
// is how Pebble makes markers. The category goes with the requests as a tag.
func (a *fileSystem) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := a.vol.Create(a.ctx(), name, &forstfs.CreateOptions{Category: string(category)})
	if err != nil {
		return nil, err
	}
	return &file{f: f}, nil
}

// Link gives a file one more name: a change of metadata, no byte is copied. An existing newname matches os.ErrExist, a missing
// oldname os.ErrNotExist; Pebble copies after any other error, so no other error may mean either.
func (a *fileSystem) Link(oldname, newname string) error {
	return a.vol.Link(a.ctx(), oldname, newname)
}

// Open opens a file, or a directory, for reading. vfs.RandomReadsOption and vfs.SequentialReadsOption are hints: the first
// reads exactly what is asked for, through the cache; the second reads far ahead and leaves the cache to others. Every option is
// applied to the handle too, as the interface asks.
func (a *fileSystem) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := a.vol.Open(a.ctx(), name, &forstfs.OpenOptions{Access: access(opts)})
	if err != nil {
		return nil, err
	}
	h := &file{f: f}
	for _, o := range opts {
		if o != nil {
			o.Apply(h)
		}
	}
	return h, nil
}

// access reads the hints; the last one counts. The two options are pointers of different types, so == cannot panic, whatever
// other implementation of OpenOption is in the list.
func access(opts []vfs.OpenOption) forstfs.Access {
	acc := forstfs.AccessDefault
	for _, o := range opts {
		switch o {
		case vfs.RandomReadsOption:
			acc = forstfs.AccessRandom
		case vfs.SequentialReadsOption:
			acc = forstfs.AccessSequential
		}
	}
	return acc
}

// OpenReadWrite is not supported: the bytes of a volume are immutable once written, so a file cannot be changed in place. Only
// Pebble's secondary cache for its own remote.Storage asks for it (Experimental.SecondaryCacheSizeBytes); a volume has a cache
// of its own. The error matches vfs.ErrUnsupported, whether or not the file exists, and nothing is created.
func (a *fileSystem) OpenReadWrite(name string, _ vfs.DiskWriteCategory, _ ...vfs.OpenOption) (vfs.File, error) {
	return nil, &os.PathError{Op: "open for changing in place", Path: name, Err: vfs.ErrUnsupported}
}

// OpenDir opens a directory for Sync, which makes every operation on names issued before it durable, in any directory.
func (a *fileSystem) OpenDir(name string) (vfs.File, error) {
	d, err := a.vol.OpenDir(a.ctx(), name)
	if err != nil {
		return nil, err
	}
	return &dir{d: d, name: name}, nil
}

// Remove removes a file's name or an empty directory. Open handles stay readable. Objects are deleted in the background, after
// the removal is durable.
func (a *fileSystem) Remove(name string) error { return a.vol.Remove(a.ctx(), name) }

// RemoveAll removes a subtree in one step; a missing one is success.
func (a *fileSystem) RemoveAll(name string) error { return a.vol.RemoveAll(a.ctx(), name) }

// Rename moves a file in one step, over an existing one if there is one. After a crash there is either the old or the new state.
func (a *fileSystem) Rename(oldname, newname string) error {
	return a.vol.Rename(a.ctx(), oldname, newname)
}

// ReuseForWrite removes oldname and creates newname: nothing in a store is worth reusing. Both happen in one step.
func (a *fileSystem) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := a.vol.ReuseForWrite(a.ctx(), oldname, newname, &forstfs.CreateOptions{Category: string(category)})
	if err != nil {
		return nil, err
	}
	return &file{f: f}, nil
}

// MkdirAll creates a directory and its parents; an existing one is success. A volume keeps no permission bits.
func (a *fileSystem) MkdirAll(dir string, _ os.FileMode) error { return a.vol.MkdirAll(a.ctx(), dir) }

// Lock excludes other users of name within this process. Across processes a volume has one writer, the latest, and the others
// are fenced (forstfs.ErrFenced), so no lock outlives a crash. Close releases it.
func (a *fileSystem) Lock(name string) (io.Closer, error) {
	c, err := a.vol.Lock(a.ctx(), name)
	if err != nil {
		return nil, err
	}
	return a.locks.add(name, c), nil
}

// List gives the base names in a directory: every file that exists for any other call, open ones too. In a directory whose LOCK is
// held it refuses one that was a database and has lost its manifest marker (ErrNoManifestMarker).
func (a *fileSystem) List(dir string) ([]string, error) {
	names, err := a.vol.List(a.ctx(), dir)
	if err != nil {
		return nil, err
	}
	if a.locks.held(dir) {
		if err := checkMarker(dir, names); err != nil {
			return nil, err
		}
	}
	return names, nil
}

// Stat describes a file or directory, from memory. The size of a file being written is what was written so far.
func (a *fileSystem) Stat(name string) (vfs.FileInfo, error) {
	info, err := a.vol.Stat(a.ctx(), name)
	if err != nil {
		return nil, err
	}
	return fileInfo{info}, nil
}

// PathBase, PathJoin and PathDir are those of package path: a volume has slashes on every platform. PathDir ends at "/" or ".".
func (*fileSystem) PathBase(p string) string       { return path.Base(p) }
func (*fileSystem) PathJoin(elem ...string) string { return path.Join(elem...) }
func (*fileSystem) PathDir(p string) string        { return path.Dir(p) }

// GetDiskUsage is not supported: a bucket has no size. Pebble asks after every flush and compaction, ignores this error alone, and
// would take zeros for a full disk.
func (*fileSystem) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{}, vfs.ErrUnsupported
}

// Unwrap returns nil: there is no vfs.FS below a volume.
func (*fileSystem) Unwrap() vfs.FS { return nil }
