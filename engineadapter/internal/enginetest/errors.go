package enginetest

import (
	"errors"
	"os"
	"testing"

	"github.com/cockroachdb/errors/oserror"

	"github.com/forst-go/forst/forstfs"
)

// missing tells that an error is the right one for what is not there, however it is asked.
func missing(t testing.TB, what string, err error) {
	t.Helper()
	if !errors.Is(err, os.ErrNotExist) || !oserror.IsNotExist(err) || !os.IsNotExist(err) || oserror.IsExist(err) {
		t.Errorf("%s: %v does not say that the file does not exist", what, err)
	}
	var pe *os.PathError
	if !errors.As(err, &pe) {
		t.Errorf("%s: %T is no *os.PathError", what, err)
	}
}

// gone is missing for the operating system's files: Pebble wraps their errors.
func gone(t testing.TB, what string, err error) {
	t.Helper()
	if !oserror.IsNotExist(err) {
		t.Errorf("%s: %v does not say that the file does not exist", what, err)
	}
}

func exists(t testing.TB, what string, err error) {
	t.Helper()
	if !errors.Is(err, os.ErrExist) || !oserror.IsExist(err) || oserror.IsNotExist(err) {
		t.Errorf("%s: %v does not say that the file exists", what, err)
	}
}

func (h Contract) errorIdentity(t *testing.T) {
	fs := h.fs(t)
	write(t, fs, "f", "x")
	_, err := fs.Open("none")
	missing(t, "Open", err)
	_, err = fs.Stat("none")
	missing(t, "Stat", err)
	_, err = fs.Stat("MANIFEST-000001") // Pebble asks with a bare name (a bug of its own)
	missing(t, "Stat of a bare relative name", err)
	_, err = fs.Stat("../../outside")
	gone(t, "Stat outside", err) // below a mount it is the operating system that answers
	_, err = fs.Stat("no\x00name")
	missing(t, "Stat of a name that cannot be", err)
	_, err = fs.List("none")
	missing(t, "List", err)
	_, err = fs.OpenDir("none")
	missing(t, "OpenDir", err)
	_, err = fs.Create("none/f")
	missing(t, "Create without a directory", err)
	missing(t, "Remove", fs.Remove("none"))
	missing(t, "Rename", fs.Rename("none", "g"))
	missing(t, "Link", fs.Link("none", "g"))
	_, err = fs.ReuseForWrite("none", "g")
	missing(t, "ReuseForWrite", err)
	ok(t, fs.RemoveAll("none"))

	write(t, fs, "g", "y")
	exists(t, "Link onto a file", fs.Link("f", "g"))
	equal(t, "after the refused Link", read(t, fs, "g"), "y")
}

// failureIsNotNotExist: an error of the volume must not look like a statement about a file: Pebble takes NotExist for corruption or for an empty
// database, and copies instead of linking after any error but three.
func (h Contract) failureIsNotNotExist(t *testing.T) {
	for _, err := range []error{forstfs.ErrFenced, forstfs.ErrFailed, forstfs.ErrClosed, forstfs.ErrStale, forstfs.ErrDamaged,
		forstfs.ErrReadOnly, forstfs.ErrIsDir, forstfs.ErrNotDir, forstfs.ErrNotEmpty, h.NoManifest, h.Unsupported} {
		if oserror.IsNotExist(err) || os.IsNotExist(err) {
			t.Errorf("%v looks like not-exist", err)
		}
	}
	vol := h.volume(t)
	fs := h.New(t, vol)
	write(t, fs, "000001.sst", "x")
	f := must(fs.Open("000001.sst"))(t)
	ok(t, vol.Close())
	calls := map[string]func() error{
		"Open":   func() error { _, err := fs.Open("000001.sst"); return err },
		"Stat":   func() error { _, err := fs.Stat("none"); return err },
		"List":   func() error { _, err := fs.List("/"); return err },
		"Create": func() error { _, err := fs.Create("g"); return err },
		"Link":   func() error { return fs.Link("none", "g") },
		"Remove": func() error { return fs.Remove("none") },
		"Rename": func() error { return fs.Rename("none", "g") },
		"Lock":   func() error { _, err := fs.Lock("LOCK"); return err },
		"ReadAt": func() error { _, err := f.ReadAt(make([]byte, 1), 0); return err },
	}
	for what, call := range calls {
		err := call()
		if what == "ReadAt" && err == nil {
			continue // from memory
		}
		if err == nil || oserror.IsNotExist(err) || oserror.IsExist(err) {
			t.Errorf("%s on a closed volume: %v", what, err)
		}
	}
	_ = f.Close()
}
