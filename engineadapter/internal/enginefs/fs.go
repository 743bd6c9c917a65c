// Package enginefs is what the Pebble adapters share: the methods of Pebble's vfs.FS and vfs.File over a volume, for every version
// of Pebble whose types they do not mention. An adapter embeds FS, File and Dir, and adds the few methods that name a type of its Pebble:
// Create, Open, OpenDir, ReuseForWrite, Stat. (Two major versions of a Go module are different types with equal methods.)
package enginefs

import (
	"context"
	"errors"
	"io"
	"os"
	"path"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/internal/mutant"
)

// Engine is what the adapters do not have in common.
type Engine struct {
	// Unsupported is the engine's own value for "this file system does not do that".
	Unsupported error
	// Guard looks at the names in a directory whose LOCK is held, before the engine does; an error is what List returns. nil: no guard.
	Guard func(dir string, names []string) error
}

// FS is a volume as a file system. Methods may run in parallel, as those of forstfs.FS.
type FS struct {
	Vol    *forstfs.FS
	Engine *Engine
	End    *End     // nil: the engine learns it first
	locks  dirLocks // directories whose LOCK is held: see guard.go
}

// ctx is the context of every call: vfs has none. The volume bounds each request by itself (RetryBudget), and closing the
// volume ends what is under way.
func (a *FS) ctx() context.Context { return context.Background() }

// CreateFile makes a new file; a file of that name loses the name and keeps its bytes under its other names. The file exists at once
// for every other call, and is durable with the next Sync of anything; a file that was closed without a Write exists, too: that
// is how Pebble makes markers. The category goes with the requests as a tag.
func (a *FS) CreateFile(name, category string) (File, error) {
	o := &forstfs.CreateOptions{Category: category}
	if mutant.On("enginefs/logs-are-bulk") {
		o.Class = forstfs.ClassSST
	}
	f, err := a.Vol.Create(a.ctx(), name, o)
	return File{f, a}, a.seen(err)
}

// Reuse removes oldname and creates newname: nothing in a store is worth reusing. Both happen in one step.
func (a *FS) Reuse(oldname, newname, category string) (File, error) {
	if mutant.On("enginefs/reuse-keeps-bytes") {
		old, err := a.Vol.Open(a.ctx(), oldname, nil)
		if err != nil {
			return File{}, err
		}
		b, _ := io.ReadAll(old)
		f, err := a.Vol.ReuseForWrite(a.ctx(), oldname, newname, nil)
		if err == nil {
			_, err = f.Write(b)
		}
		return File{f, a}, errors.Join(err, old.Close())
	}
	f, err := a.Vol.ReuseForWrite(a.ctx(), oldname, newname, &forstfs.CreateOptions{Category: category})
	return File{f, a}, a.seen(err)
}

// OpenFile opens a file, or a directory, for reading.
func (a *FS) OpenFile(name string, access forstfs.Access) (File, error) {
	f, err := a.Vol.Open(a.ctx(), name, &forstfs.OpenOptions{Access: access})
	return File{f, a}, a.seen(err)
}

// OpenDirectory opens a directory for Sync, which makes every operation on names issued before it durable, in any directory.
func (a *FS) OpenDirectory(name string) (Dir, error) {
	d, err := a.Vol.OpenDir(a.ctx(), name)
	return Dir{d, a, name}, a.seen(err)
}

// StatFile describes a file or directory, from memory. The size of a file being written is what was written so far.
func (a *FS) StatFile(name string) (forstfs.FileInfo, error) {
	info, err := a.Vol.Stat(a.ctx(), name)
	return info, a.seen(err)
}

// Link gives a file one more name: a change of metadata, no byte is copied. An existing newname matches os.ErrExist, a missing
// oldname os.ErrNotExist; Pebble copies after any other error, so no other error may mean either.
func (a *FS) Link(oldname, newname string) error {
	return a.seen(a.Vol.Link(a.ctx(), oldname, newname))
}

// Remove removes a file's name or an empty directory. Open handles stay readable. Objects are deleted in the background, after
// the removal is durable.
func (a *FS) Remove(name string) error { return a.seen(a.Vol.Remove(a.ctx(), name)) }

// RemoveAll removes a subtree in one step; a missing one is success.
func (a *FS) RemoveAll(name string) error { return a.seen(a.Vol.RemoveAll(a.ctx(), name)) }

// Rename moves a file in one step, over an existing one if there is one. After a crash there is either the old or the new state: so a
// CURRENT that is replaced by a rename, as Pebble v1 does, names one MANIFEST or the other.
func (a *FS) Rename(oldname, newname string) error {
	if mutant.On("enginefs/rename-in-two-steps") {
		_ = a.Vol.Remove(a.ctx(), newname)
		if err := a.Vol.Sync(a.ctx()); err != nil {
			return err
		}
	}
	return a.seen(a.Vol.Rename(a.ctx(), oldname, newname))
}

// MkdirAll creates a directory and its parents; an existing one is success. A volume keeps no permission bits.
func (a *FS) MkdirAll(dir string, _ os.FileMode) error { return a.seen(a.Vol.MkdirAll(a.ctx(), dir)) }

// Lock excludes other users of name within this process. Across processes a volume has one writer, the latest, and the others
// are fenced (forstfs.ErrFenced), so no lock outlives a crash. Close releases it.
func (a *FS) Lock(name string) (io.Closer, error) {
	c, err := a.Vol.Lock(a.ctx(), name)
	if err != nil {
		return nil, a.seen(err)
	}
	return a.locks.add(name, c), nil
}

// List gives the base names in a directory: every file that exists for any other call, open ones too. In a directory whose LOCK is
// held the engine's guard may refuse.
func (a *FS) List(dir string) ([]string, error) {
	names, err := a.Vol.List(a.ctx(), dir)
	if err != nil {
		return nil, a.seen(err)
	}
	if a.Engine.Guard != nil && !mutant.On("enginefs/no-guard") && a.locks.held(dir) {
		if err := a.Engine.Guard(dir, names); err != nil {
			return nil, err
		}
	}
	return names, nil
}

// InPlace is the error of opening a file for changing it in place: the bytes of a volume are immutable once written. Only
// Pebble's secondary cache for its own remote.Storage asks for it (Experimental.SecondaryCacheSizeBytes); a volume has a cache
// of its own. The error matches Engine.Unsupported, whether or not the file exists, and nothing is created.
func (a *FS) InPlace(name string) error {
	return &os.PathError{Op: "open for changing in place", Path: name, Err: a.Engine.Unsupported}
}

// PathBase is path.Base: a volume has slashes on every platform.
func (*FS) PathBase(p string) string { return path.Base(p) }

// PathJoin is path.Join.
func (*FS) PathJoin(elem ...string) string { return path.Join(elem...) }

// PathDir is path.Dir; it ends at "/" or ".".
func (*FS) PathDir(p string) string { return path.Dir(p) }
