package enginefs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/internal/mutant"
)

// ErrShadowed says that the directory on the disk below a mount point holds a database of its own, which the mount would hide.
var ErrShadowed = errors.New("the directory on the local disk below the mount point holds a database")

// Border is where the paths of a volume begin among those of the operating system: Dir is the mount point, an absolute path, and Root the
// directory of the volume that appears there. Paths are compared as they are written; symbolic links are not followed.
type Border struct{ dir, root string }

// NewBorder puts root of a volume at dir.
func NewBorder(dir, root string) Border { return Border{absolute(dir), path.Clean("/" + root)} }

// absolute makes a path comparable. It is the path itself where the working directory cannot be found out, on both sides of a comparison.
func absolute(name string) string {
	if abs, err := filepath.Abs(name); err == nil {
		return abs
	}
	return filepath.Clean(name)
}

// Cross gives the path in the volume of a path at or below the mount point; others are outside.
func (b Border) Cross(name string) (inside string, ok bool) {
	rest, ok := strings.CutPrefix(absolute(name), b.dir)
	if !ok || rest != "" && rest[0] != filepath.Separator && b.dir != string(filepath.Separator) && !mutant.On("enginefs/border-by-prefix") {
		return "", false
	}
	if mutant.On("enginefs/wal-dir-on-the-disk") && strings.Count(rest, string(filepath.Separator)) > 1 {
		return "", false
	}
	return path.Join(b.root, filepath.ToSlash(rest)), true
}

// Between reports whether the border is between two names.
func (b Border) Between(name, other string) bool {
	_, in := b.Cross(name)
	_, too := b.Cross(other)
	return in != too
}

// At reports whether name is the mount point.
func (b Border) At(name string) bool { return absolute(name) == b.dir }

// Above reports whether the mount point is name or lies below it.
func (b Border) Above(name string) bool {
	_, ok := Border{absolute(name), "/"}.Cross(b.dir)
	return ok
}

// Busy is the error of removing or renaming the mount point, or what it lies in; nil for other names.
func (b Border) Busy(op string, names ...string) error {
	for _, n := range names {
		if b.Above(n) {
			return &os.PathError{Op: op, Path: n, Err: fmt.Errorf("a volume is mounted at %s: %w", b.dir, syscall.EBUSY)}
		}
	}
	return nil
}

// Listed adds the mount point to the names in its parent.
func (b Border) Listed(dir string, names []string) []string {
	base := filepath.Base(b.dir)
	if absolute(dir) != filepath.Dir(b.dir) || b.At(dir) {
		return names
	}
	for _, n := range names {
		if n == base {
			return names
		}
	}
	return append(names, base)
}

// Shadows refuses a mount over a database: names are what the disk below the mount has in dir. A program that found an empty database in
// its place would begin anew without a word.
func Shadows(dir string, names []string) error {
	s := look(names)
	if s.witness == "" && !s.marker && !s.current || mutant.On("enginefs/mount-hides-a-database") {
		return nil
	}
	return &os.PathError{Op: "lock", Path: dir, Err: fmt.Errorf("%w, which the volume mounted there hides: "+
		"bring it into the volume with forst import, or move it away", ErrShadowed)}
}

// NoFile keeps the error of opening a volume from looking like a statement about a file: Pebble makes a new database where one is not there.
func NoFile(err error) error {
	if (errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrExist)) && !mutant.On("enginefs/no-volume-is-no-file") {
		return fmt.Errorf("open the volume: %v", err)
	}
	return err
}

// Side is one side of a border, as a copy needs it.
type Side interface {
	OpenForCopy(name string) (io.ReadCloser, error)
	CreateForCopy(name string) (SyncWriter, error)
	Exists(name string) (bool, error)
	Rename(oldname, newname string) error
	Remove(name string) error
	SyncDir(name string) error
}

// SyncWriter is a file that is being written.
type SyncWriter interface {
	io.WriteCloser
	Sync() error
}

// LinkAcross gives a file a second life on the other side: the bytes it has now are copied, and durable on return. An existing newname matches
// os.ErrExist, a missing oldname os.ErrNotExist. After an error newname is not there.
func LinkAcross(from, to Side, oldname, newname string) error {
	if there, err := to.Exists(newname); (err != nil || there) && !mutant.On("enginefs/link-across-replaces") {
		if err == nil {
			err = &os.PathError{Op: "link", Path: newname, Err: os.ErrExist}
		}
		return err
	}
	if mutant.On("enginefs/link-across-moves") {
		return RenameAcross(from, to, oldname, newname)
	}
	return copyAcross(from, to, oldname, newname)
}

// RenameAcross moves a file to the other side. The new name changes in one step, and the old one is removed when the new one is durable: a
// crash leaves one of them or both.
func RenameAcross(from, to Side, oldname, newname string) error {
	// The extension stays, as it decides how a volume stores the file; no engine takes the name for one of its own.
	ext := path.Ext(newname)
	temp := strings.TrimSuffix(newname, ext) + ".forst-copy" + ext
	if err := copyAcross(from, to, oldname, temp); err != nil {
		return err
	}
	if err := to.Rename(temp, newname); err != nil {
		return errors.Join(err, to.Remove(temp))
	}
	if err := to.SyncDir(newname); err != nil {
		return err
	}
	return from.Remove(oldname)
}

func copyAcross(from, to Side, oldname, newname string) (err error) {
	r, err := from.OpenForCopy(oldname)
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := to.CreateForCopy(newname)
	if err != nil {
		return err
	}
	_, err = io.Copy(onlyWriter{w}, onlyReader{r})
	if err == nil && !mutant.On("enginefs/copy-unsynced") {
		err = w.Sync()
	}
	if cerr := w.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return errors.Join(err, to.Remove(newname))
	}
	return nil
}

// io.Copy must use Read and Write alone: vfs.File promises no more.
type onlyReader struct{ io.Reader }
type onlyWriter struct{ io.Writer }

// Flushing makes everything in the volume durable when a lock is released, for a mount that nobody closes.
func Flushing(c io.Closer, vol *forstfs.FS) io.Closer { return flushing{c, vol} }

type flushing struct {
	c   io.Closer
	vol *forstfs.FS
}

func (f flushing) Close() error {
	if mutant.On("enginefs/unlock-unsynced") {
		return f.c.Close()
	}
	return errors.Join(f.c.Close(), f.vol.Sync(context.Background()))
}
