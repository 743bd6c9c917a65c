// Package enginetest is for the tests of the adapters of engines: what Pebble demands of a file system, in words of no version of Pebble,
// and the cases that hold each adapter against it.
package enginetest

import (
	"io"
	"os"
	"slices"
	"testing"

	"github.com/forst-go/forst/forstfs"
)

// NoFD is what Pebble takes for "there is no descriptor".
const NoFD = ^uintptr(0)

// FS is the part of vfs.FS that every version of Pebble has, without categories and options.
type FS interface {
	Create(name string) (File, error)
	Link(oldname, newname string) error
	Open(name string) (File, error)
	OpenReadWrite(name string) (File, error)
	OpenDir(name string) (File, error)
	Remove(name string) error
	RemoveAll(name string) error
	Rename(oldname, newname string) error
	ReuseForWrite(oldname, newname string) (File, error)
	MkdirAll(dir string, perm os.FileMode) error
	Lock(name string) (io.Closer, error)
	List(dir string) ([]string, error)
	Stat(name string) (os.FileInfo, error)
	GetDiskUsage(name string) error
}

// File is vfs.File.
type File interface {
	io.Closer
	io.Reader
	io.ReaderAt
	io.Writer
	io.WriterAt
	Preallocate(offset, length int64) error
	Stat() (os.FileInfo, error)
	Sync() error
	SyncTo(length int64) (fullSync bool, err error)
	SyncData() error
	Prefetch(offset, length int64) error
	Fd() uintptr
}

// Contract is an adapter as its test shows it.
type Contract struct {
	New         func(t testing.TB, vol *forstfs.FS) FS
	Unsupported error // the engine's own vfs.ErrUnsupported
	NoManifest  error // the adapter's ErrNoManifestMarker
}

// Run holds the adapter against what Pebble needs.
func (h Contract) Run(t *testing.T) {
	for _, c := range []struct {
		name string
		run  func(t *testing.T)
	}{
		{"CreateMakesANewFile", h.createMakesANewFile},
		{"FileExistsOnceCreated", h.fileExistsOnceCreated},
		{"WrittenFileIsReadable", h.writtenFileIsReadable},
		{"ReadAtEOF", h.readAtEOF},
		{"ReadAtConcurrently", h.readAtConcurrently},
		{"Directories", h.directories},
		{"ErrorIdentity", h.errorIdentity},
		{"FailureIsNotNotExist", h.failureIsNotNotExist},
		{"Rename", h.rename},
		{"LinkIsAnotherName", h.linkIsAnotherName},
		{"RemoveKeepsOpenHandles", h.removeKeepsOpenHandles},
		{"ReuseForWrite", h.reuseForWrite},
		{"Lock", h.lock},
		{"Unsupported", h.unsupported},
		{"SpellingsOfAPath", h.spellingsOfAPath},
		{"DurableWhenItSaysSo", h.durableWhenItSaysSo},
		{"RenameIsOneStep", h.renameIsOneStep},
	} {
		t.Run(c.name, c.run)
	}
}

func (h Contract) volume(t testing.TB) *forstfs.FS {
	t.Helper()
	return OpenVol(t, MemHome().Open(t), nil)
}

func (h Contract) fs(t testing.TB) FS {
	t.Helper()
	return h.New(t, h.volume(t))
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%+v", err)
	}
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		ok(t, err)
		return v
	}
}

func equal[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

func equalNames(t testing.TB, what string, got []string, want ...string) {
	t.Helper()
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Fatalf("%s: got %q, want %q", what, got, want)
	}
}
