package pebblev2

import (
	"io"
	"os"
	"sync"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/forst-go/forst/engineadapter/internal/enginefs"
	"github.com/forst-go/forst/forstfs"
)

// ErrShadowed says that the directory on the disk below a mount point holds a database of its own, which the mount would hide.
var ErrShadowed = enginefs.ErrShadowed

// Mount gives a file system in which the volume's root appears at dir, and everything else is what vfs.Default is at this moment: the
// operating system. It is for programs that use one file system for more than the database, or that pass file names through to Pebble. The
// volume stays the caller's.
//
// Paths are compared as they are written, relative ones against the working directory; symbolic links are not followed. A Link from one side to the
// other copies, so Ingest takes tables from the local disk and Checkpoint writes them there; so does Rename, which is durable on return and no longer
// one step. Renaming or removing the mount point, or what it lies in, is an error. Lock of a directory fails with
// ErrShadowed when the disk below it holds a database.
func Mount(vol *forstfs.FS, dir string) vfs.FS {
	inside := newFS(vol)
	return &mounted{border: enginefs.NewBorder(dir, "/"), outside: vfs.Default, open: func() (*fileSystem, error) { return inside, nil }}
}

// MountFunc is Mount of a volume that is opened when it is first needed, and that nobody closes; root is the directory of the volume that
// appears at dir. open is called once, and its error is that of every call below dir. When a database below dir is closed, which releases its LOCK,
// everything in the volume is made durable.
func MountFunc(open func() (*forstfs.FS, error), dir, root string) vfs.FS {
	once := sync.OnceValues(func() (*fileSystem, error) {
		vol, err := open()
		if err != nil {
			return nil, enginefs.NoFile(err)
		}
		return newFS(vol), nil
	})
	return &mounted{border: enginefs.NewBorder(dir, root), outside: vfs.Default, open: once, flush: true}
}

// mounted is a file system with a volume in it.
type mounted struct {
	border  enginefs.Border
	outside vfs.FS
	open    func() (*fileSystem, error)
	flush   bool
}

// side gives the file system that a path belongs to, and the path there.
func (m *mounted) side(op, name string) (vfs.FS, string, error) {
	p, ok := m.border.Cross(name)
	if !ok {
		return m.outside, name, nil
	}
	fs, err := m.open()
	if err != nil {
		return nil, "", &os.PathError{Op: op, Path: name, Err: err}
	}
	return fs, p, nil
}

// on calls do with the file system of a path; T is what Pebble wants of it.
func on[T any](m *mounted, op, name string, do func(fs vfs.FS, name string) (T, error)) (T, error) {
	fs, p, err := m.side(op, name)
	if err != nil {
		var none T
		return none, err
	}
	return do(fs, p)
}

func (m *mounted) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return on(m, "create", name, func(fs vfs.FS, p string) (vfs.File, error) { return fs.Create(p, category) })
}

func (m *mounted) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	return on(m, "open", name, func(fs vfs.FS, p string) (vfs.File, error) { return fs.Open(p, opts...) })
}

func (m *mounted) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return on(m, "open", name, func(fs vfs.FS, p string) (vfs.File, error) { return fs.OpenReadWrite(p, category, opts...) })
}

func (m *mounted) OpenDir(name string) (vfs.File, error) {
	return on(m, "open", name, func(fs vfs.FS, p string) (vfs.File, error) { return fs.OpenDir(p) })
}

func (m *mounted) Stat(name string) (vfs.FileInfo, error) {
	return on(m, "stat", name, func(fs vfs.FS, p string) (vfs.FileInfo, error) { return fs.Stat(p) })
}

func (m *mounted) GetDiskUsage(name string) (vfs.DiskUsage, error) {
	return on(m, "statfs", name, func(fs vfs.FS, p string) (vfs.DiskUsage, error) { return fs.GetDiskUsage(p) })
}

// List shows the mount point in its parent.
func (m *mounted) List(dir string) ([]string, error) {
	names, err := on(m, "list", dir, func(fs vfs.FS, p string) ([]string, error) { return fs.List(p) })
	if err != nil {
		return nil, err
	}
	return m.border.Listed(dir, names), nil
}

// MkdirAll of the mount point makes it on the disk, too, as for any mount: programs look for the parents of their directory.
func (m *mounted) MkdirAll(dir string, perm os.FileMode) error {
	if m.border.At(dir) {
		if err := m.outside.MkdirAll(dir, perm); err != nil {
			return err
		}
	}
	fs, p, err := m.side("mkdir", dir)
	if err != nil {
		return err
	}
	return fs.MkdirAll(p, perm)
}

// Lock refuses to hide a database on the disk.
func (m *mounted) Lock(name string) (io.Closer, error) {
	fs, p, err := m.side("lock", name)
	if err != nil {
		return nil, err
	}
	in, ok := fs.(*fileSystem)
	if !ok {
		return fs.Lock(p)
	}
	dir := m.outside.PathDir(name)
	switch names, err := m.outside.List(dir); {
	case err == nil:
		if err := enginefs.Shadows(dir, names); err != nil {
			return nil, err
		}
	case !oserror.IsNotExist(err):
		return nil, err
	}
	c, err := fs.Lock(p)
	if err == nil && m.flush {
		c = enginefs.Flushing(c, in.Vol)
	}
	return c, err
}

func (m *mounted) Remove(name string) error {
	if err := m.border.Busy("remove", name); err != nil {
		return err
	}
	fs, p, err := m.side("remove", name)
	if err != nil {
		return err
	}
	return fs.Remove(p)
}

// RemoveAll of the mount point removes what is in it.
func (m *mounted) RemoveAll(name string) error {
	if !m.border.At(name) {
		if err := m.border.Busy("removeall", name); err != nil {
			return err
		}
	}
	fs, p, err := m.side("removeall", name)
	if err != nil || !m.border.At(name) {
		if err == nil {
			err = fs.RemoveAll(p)
		}
		return err
	}
	names, err := fs.List(p)
	if err != nil && !oserror.IsNotExist(err) {
		return err
	}
	for _, n := range names {
		if err := fs.RemoveAll(fs.PathJoin(p, n)); err != nil {
			return err
		}
	}
	return nil
}

func (m *mounted) Link(oldname, newname string) error {
	from, old, to, new, err := m.sides("link", oldname, newname)
	switch {
	case err != nil:
		return err
	case !m.border.Between(oldname, newname):
		return from.Link(old, new)
	}
	return enginefs.LinkAcross(side{from}, side{to}, old, new)
}

func (m *mounted) Rename(oldname, newname string) error {
	if err := m.border.Busy("rename", oldname, newname); err != nil {
		return err
	}
	from, old, to, new, err := m.sides("rename", oldname, newname)
	switch {
	case err != nil:
		return err
	case !m.border.Between(oldname, newname):
		return from.Rename(old, new)
	}
	return enginefs.RenameAcross(side{from}, side{to}, old, new)
}

// ReuseForWrite across the border reuses nothing.
func (m *mounted) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	from, old, to, new, err := m.sides("reuse", oldname, newname)
	switch {
	case err != nil:
		return nil, err
	case !m.border.Between(oldname, newname):
		return from.ReuseForWrite(old, new, category)
	}
	if err := from.Remove(old); err != nil {
		return nil, err
	}
	return to.Create(new, category)
}

// sides gives the file systems of two paths.
func (m *mounted) sides(op, oldname, newname string) (from vfs.FS, old string, to vfs.FS, new string, err error) {
	if from, old, err = m.side(op, oldname); err == nil {
		to, new, err = m.side(op, newname)
	}
	return from, old, to, new, err
}

func (m *mounted) PathBase(p string) string       { return m.outside.PathBase(p) }
func (m *mounted) PathJoin(elem ...string) string { return m.outside.PathJoin(elem...) }
func (m *mounted) PathDir(p string) string        { return m.outside.PathDir(p) }

// Unwrap returns nil: nobody may get past the volume.
func (*mounted) Unwrap() vfs.FS { return nil }

// side is a file system as a copy needs it.
type side struct{ vfs.FS }

func (s side) OpenForCopy(name string) (io.ReadCloser, error) {
	return s.Open(name, vfs.SequentialReadsOption)
}

func (s side) CreateForCopy(name string) (enginefs.SyncWriter, error) {
	return s.Create(name, vfs.WriteCategoryUnspecified)
}

func (s side) Exists(name string) (bool, error) {
	_, err := s.Stat(name)
	if oserror.IsNotExist(err) {
		return false, nil
	}
	return err == nil, err
}

func (s side) SyncDir(name string) error {
	d, err := s.OpenDir(s.PathDir(name))
	if err != nil {
		return err
	}
	if err := d.Sync(); err != nil {
		d.Close()
		return err
	}
	return d.Close()
}
