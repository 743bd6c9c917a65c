package pebblev2_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"testing"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/forst-go/forst/engineadapter/pebblev2"
	"github.com/forst-go/forst/forstfs"
)

func create(t testing.TB, fs vfs.FS, name string) vfs.File {
	t.Helper()
	return must(fs.Create(name, vfs.WriteCategoryUnspecified))(t)
}

func write(t testing.TB, fs vfs.FS, name, content string) {
	t.Helper()
	f := create(t, fs, name)
	if content != "" {
		must(f.Write([]byte(content)))(t)
	}
	ok(t, f.Close())
}

func read(t testing.TB, fs vfs.FS, name string) string {
	t.Helper()
	f := must(fs.Open(name))(t)
	b := must(io.ReadAll(f))(t)
	ok(t, f.Close())
	return string(b)
}

// both kinds of files keep the same rules.
var kinds = []string{"000001.sst", "000001.log"}

func TestCreateMakesANewFile(t *testing.T) {
	for _, name := range kinds {
		fs := newFS(t)
		write(t, fs, name, "old")
		ok(t, fs.Link(name, "other"))
		reader := must(fs.Open(name))(t)
		f := create(t, fs, name) // over an existing one
		must(f.Write([]byte("new bytes")))(t)
		ok(t, f.Close())
		equal(t, "the old file by its other name", read(t, fs, "other"), "old")
		equal(t, "the new file", read(t, fs, name), "new bytes")
		equal(t, "a handle of the old file", string(must(io.ReadAll(reader))(t)), "old")
		ok(t, reader.Close())
	}
}

func TestFileExistsOnceCreated(t *testing.T) {
	fs := newFS(t)
	ok(t, fs.MkdirAll("/db", 0o755))
	f := create(t, fs, "/db/marker.manifest.000001.MANIFEST-000001") // no Write, no Sync: a marker
	equalNames(t, "List while it is open", must(fs.List("/db"))(t), "marker.manifest.000001.MANIFEST-000001")
	ok(t, f.Close())
	equal(t, "size", must(fs.Stat("/db/marker.manifest.000001.MANIFEST-000001"))(t).Size(), 0)
}

func TestWrittenFileIsReadable(t *testing.T) {
	for _, name := range kinds {
		fs := newFS(t)
		f := create(t, fs, name)
		buf := []byte("hello, ")
		must(f.Write(buf))(t)
		copy(buf, "XXXXXXX") // callers reuse the buffer
		must(f.Write([]byte("world")))(t)
		equal(t, "Stat of the writer", must(f.Stat())(t).Size(), 12)
		equal(t, "Stat by name", must(fs.Stat(name))(t).Size(), 12)
		p := make([]byte, 5)
		must(f.ReadAt(p, 7))(t)
		equal(t, "ReadAt of the writer", string(p), "world")
		equal(t, "a second handle, before any sync", read(t, fs, name), "hello, world")
		ok(t, f.SyncData())
		equal(t, "a second handle, after SyncData", read(t, fs, name), "hello, world")
		ok(t, f.Close())
		equal(t, "after Close", read(t, fs, name), "hello, world")
	}
}

func TestReadAtEOF(t *testing.T) {
	for _, name := range kinds {
		fs := newFS(t)
		write(t, fs, name, "0123456789")
		f := must(fs.Open(name))(t)
		defer f.Close()
		for _, c := range []struct {
			off, n, want int
			err          error
		}{
			{0, 10, 10, nil}, // exactly at the end: nil, else Pebble throws the bytes away
			{9, 1, 1, nil},
			{3, 4, 4, nil},
			{5, 6, 5, io.EOF}, // short: an error, with what there is
			{10, 1, 0, io.EOF},
			{99, 1, 0, io.EOF},
		} {
			p := make([]byte, c.n)
			n, err := f.ReadAt(p, int64(c.off))
			if n != c.want || err != c.err {
				t.Errorf("%s: ReadAt(%d bytes, %d) = %d, %v; want %d, %v", name, c.n, c.off, n, err, c.want, c.err)
			}
			if want := "0123456789"[min(c.off, 10):min(c.off+c.want, 10)]; string(p[:n]) != want {
				t.Errorf("%s: ReadAt(%d bytes, %d) read %q, want %q", name, c.n, c.off, p[:n], want)
			}
		}
		if n, err := f.ReadAt(nil, 3); n != 0 || err != nil {
			t.Errorf("%s: ReadAt of nothing: %d, %v", name, n, err)
		}
		if _, err := f.ReadAt(make([]byte, 1), -1); err == nil {
			t.Errorf("%s: ReadAt at -1 gave no error", name)
		}
	}
}

func TestReadAtConcurrently(t *testing.T) {
	fs := newFS(t)
	content := bytes.Repeat([]byte("0123456789abcdef"), 4096)
	write(t, fs, "000001.sst", string(content))
	f := must(fs.Open("000001.sst", vfs.RandomReadsOption))(t)
	defer f.Close()
	var wg sync.WaitGroup
	errs := make(chan error, 8)
	for g := range 8 {
		wg.Go(func() {
			p := make([]byte, 333)
			for i := range 200 {
				off := (g*7919 + i*4099) % (len(content) - len(p))
				if _, err := f.ReadAt(p, int64(off)); err != nil || !bytes.Equal(p, content[off:off+len(p)]) {
					errs <- fmt.Errorf("at %d: %v, or wrong bytes", off, err)
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
}

// recordedOption is an OpenOption as another package may define it: not comparable, with a wish of its own.
type recordedOption struct{ got []vfs.File }

type uncomparableOption struct {
	_   []int
	rec *recordedOption
}

func (o uncomparableOption) Apply(f vfs.File) { o.rec.got = append(o.rec.got, f) }

func TestOpenAppliesOptions(t *testing.T) {
	fs := newFS(t)
	write(t, fs, "000001.sst", "x")
	var rec recordedOption
	f := must(fs.Open("000001.sst", nil, vfs.RandomReadsOption, uncomparableOption{rec: &rec}, vfs.SequentialReadsOption))(t)
	if len(rec.got) != 1 || rec.got[0] != f {
		t.Fatalf("Apply was called with %v, want once with the handle", rec.got)
	}
	ok(t, f.Prefetch(0, 1<<20))
	ok(t, f.Close())
}

func TestDirectories(t *testing.T) {
	fs := newFS(t)
	ok(t, fs.MkdirAll("/a/b/c", 0o755))
	ok(t, fs.MkdirAll("/a/b/c", 0o755))
	equalNames(t, "List of a new directory", must(fs.List("/a/b/c"))(t))
	write(t, fs, "/a/b/f", "")
	equalNames(t, "List: base names of direct children, with directories", must(fs.List("/a/b"))(t), "c", "f")
	for _, name := range []string{"/a/b", "/a", "/", ".", "", "a", "./a/"} { // Pebble syncs the parents, too, up to a fixpoint of PathDir
		d := must(fs.OpenDir(name))(t)
		if !must(d.Stat())(t).IsDir() {
			t.Errorf("OpenDir(%q): not a directory", name)
		}
		ok(t, d.Sync())
		ok(t, d.SyncData())
		if full, err := d.SyncTo(1); full || err != nil {
			t.Errorf("SyncTo of a directory: %v, %v", full, err)
		}
		if _, err := d.Read(make([]byte, 1)); err == nil {
			t.Error("Read of a directory gave no error")
		}
		if _, err := d.Write([]byte("x")); err == nil {
			t.Error("Write to a directory gave no error")
		}
		equal(t, "Fd", d.Fd(), vfs.InvalidFd)
		ok(t, d.Close())
	}
	root := must(fs.Open("/"))(t) // tools open directories like files
	info := must(root.Stat())(t)
	equal(t, "name of the root", info.Name(), "/")
	equal(t, "IsDir of the root", info.IsDir(), true)
	ok(t, root.Close())
}

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

func exists(t testing.TB, what string, err error) {
	t.Helper()
	if !errors.Is(err, os.ErrExist) || !oserror.IsExist(err) || oserror.IsNotExist(err) {
		t.Errorf("%s: %v does not say that the file exists", what, err)
	}
}

func TestErrorIdentity(t *testing.T) {
	fs := newFS(t)
	write(t, fs, "f", "x")
	_, err := fs.Open("none")
	missing(t, "Open", err)
	_, err = fs.Stat("none")
	missing(t, "Stat", err)
	_, err = fs.Stat("MANIFEST-000001") // Pebble asks with a bare name (a bug of its own)
	missing(t, "Stat of a bare relative name", err)
	_, err = fs.Stat("../../outside")
	missing(t, "Stat outside", err)
	_, err = fs.Stat("no\x00name")
	missing(t, "Stat of a name that cannot be", err)
	_, err = fs.List("none")
	missing(t, "List", err)
	_, err = fs.OpenDir("none")
	missing(t, "OpenDir", err)
	_, err = fs.Create("none/f", vfs.WriteCategoryUnspecified)
	missing(t, "Create without a directory", err)
	missing(t, "Remove", fs.Remove("none"))
	missing(t, "Rename", fs.Rename("none", "g"))
	missing(t, "Link", fs.Link("none", "g"))
	_, err = fs.ReuseForWrite("none", "g", vfs.WriteCategoryUnspecified)
	missing(t, "ReuseForWrite", err)
	ok(t, fs.RemoveAll("none"))

	write(t, fs, "g", "y")
	exists(t, "Link onto a file", fs.Link("f", "g"))
	equal(t, "after the refused Link", read(t, fs, "g"), "y")
}

// An error of the volume must not look like a statement about a file: Pebble takes NotExist for corruption or for an empty
// database, and copies instead of linking after any error but three.
func TestFailureIsNotNotExist(t *testing.T) {
	for _, err := range []error{forstfs.ErrFenced, forstfs.ErrFailed, forstfs.ErrClosed, forstfs.ErrStale, forstfs.ErrDamaged,
		forstfs.ErrReadOnly, forstfs.ErrIsDir, forstfs.ErrNotDir, forstfs.ErrNotEmpty, pebblev2.ErrNoManifestMarker, vfs.ErrUnsupported} {
		if oserror.IsNotExist(err) || os.IsNotExist(err) {
			t.Errorf("%v looks like not-exist", err)
		}
	}
	vol := openVol(t, memHome().open(t), nil)
	fs := pebblev2.New(vol)
	write(t, fs, "000001.sst", "x")
	f := must(fs.Open("000001.sst"))(t)
	ok(t, vol.Close())
	calls := map[string]func() error{
		"Open":   func() error { _, err := fs.Open("000001.sst"); return err },
		"Stat":   func() error { _, err := fs.Stat("none"); return err },
		"List":   func() error { _, err := fs.List("/"); return err },
		"Create": func() error { _, err := fs.Create("g", ""); return err },
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

func TestRename(t *testing.T) {
	for _, name := range kinds {
		fs := newFS(t)
		write(t, fs, name, "new")
		write(t, fs, "target", "old")
		ok(t, fs.Link("target", "keep"))
		ok(t, fs.Rename(name, "target"))
		equal(t, "the target", read(t, fs, "target"), "new")
		equal(t, "the replaced file by another name", read(t, fs, "keep"), "old")
		_, err := fs.Stat(name)
		missing(t, "the old name", err)
	}
}

func TestLinkIsAnotherName(t *testing.T) {
	for _, name := range kinds {
		fs := newFS(t)
		write(t, fs, name, "bytes")
		ok(t, fs.Link(name, "b"))
		equal(t, "the first name is still there", read(t, fs, name), "bytes")
		ok(t, fs.Remove(name))
		equal(t, "the second after Remove of the first", read(t, fs, "b"), "bytes")
	}
}

func TestRemoveKeepsOpenHandles(t *testing.T) {
	for _, name := range kinds {
		fs := newFS(t)
		write(t, fs, name, "bytes")
		r := must(fs.Open(name))(t)
		w := create(t, fs, "w-"+name)
		must(w.Write([]byte("partial")))(t)
		ok(t, fs.Remove(name))
		ok(t, fs.Remove("w-"+name))
		p := make([]byte, 5)
		must(r.ReadAt(p, 0))(t)
		equal(t, "read after Remove", string(p), "bytes")
		ok(t, r.Close())
		must(w.Write([]byte(" more")))(t)
		ok(t, w.Sync())
		ok(t, w.Close())
		equalNames(t, "List", must(fs.List("/"))(t))
	}
	fs := newFS(t)
	ok(t, fs.MkdirAll("d/e", 0o755))
	if err := fs.Remove("d"); err == nil || oserror.IsNotExist(err) {
		t.Errorf("Remove of a directory with entries: %v", err)
	}
	ok(t, fs.Remove("d/e"))
	ok(t, fs.RemoveAll("d"))
	_, err := fs.Stat("d")
	missing(t, "after RemoveAll", err)
}

func TestReuseForWrite(t *testing.T) {
	fs := newFS(t)
	write(t, fs, "000004.log", "an old log, longer than the new one")
	f := must(fs.ReuseForWrite("000004.log", "000009.log", "pebble-wal"))(t)
	equal(t, "Stat on the writer, right away", must(f.Stat())(t).Size(), 0)
	must(f.Write([]byte("new")))(t)
	ok(t, f.SyncData())
	ok(t, f.Close())
	_, err := fs.Stat("000004.log")
	missing(t, "the old log", err)
	equal(t, "the new log has no stale bytes", read(t, fs, "000009.log"), "new")
}

func TestLock(t *testing.T) {
	vol := openVol(t, memHome().open(t), nil)
	fs := pebblev2.New(vol)
	ok(t, fs.MkdirAll("db", 0o755))
	l := must(fs.Lock("db/LOCK"))(t)
	if c, err := fs.Lock("db/LOCK"); err == nil || c != nil {
		t.Fatalf("a second Lock: %v, %v", c, err)
	}
	if _, err := pebblev2.New(vol).Lock("/db/LOCK"); err == nil {
		t.Fatal("a second Lock through another adapter and another spelling")
	}
	ok(t, l.Close())
	l = must(fs.Lock("db/LOCK"))(t)
	ok(t, l.Close())
	if err := l.Close(); err == nil {
		t.Fatal("a second Close of a lock")
	}
}

func TestUnsupported(t *testing.T) {
	fs := newFS(t)
	write(t, fs, "f", "x")
	for _, name := range []string{"f", "none"} {
		if f, err := fs.OpenReadWrite(name, ""); !errors.Is(err, vfs.ErrUnsupported) || oserror.IsNotExist(err) || f != nil {
			t.Errorf("OpenReadWrite(%q): %v, %v", name, f, err)
		}
	}
	_, err := fs.Stat("none")
	missing(t, "OpenReadWrite creates nothing", err)
	if u, err := fs.GetDiskUsage("/"); err != vfs.ErrUnsupported || u != (vfs.DiskUsage{}) {
		t.Errorf("GetDiskUsage: %v, %v", u, err)
	}
	f := create(t, fs, "g")
	if _, err := f.WriteAt([]byte("x"), 0); !errors.Is(err, vfs.ErrUnsupported) {
		t.Errorf("WriteAt: %v", err)
	}
	ok(t, f.Preallocate(0, 1<<20))
	equal(t, "size after Preallocate", must(f.Stat())(t).Size(), 0)
	equal(t, "Fd", f.Fd(), vfs.InvalidFd)
	if full, err := f.SyncTo(1); full || err != nil {
		t.Errorf("SyncTo: %v, %v", full, err)
	}
	ok(t, f.Close())
}

func TestShape(t *testing.T) {
	vol := openVol(t, memHome().open(t), nil)
	fs, other := pebblev2.New(vol), pebblev2.New(vol)
	if fs == other || fs != vfs.FS(fs) { // must not panic: Pebble compares
		t.Error("file systems are not compared by identity")
	}
	if fs.Unwrap() != nil || vfs.Root(fs) != fs {
		t.Error("Unwrap gives something")
	}
	write(t, fs, "f", "x")
	equal(t, "DeviceID", must(fs.Stat("f"))(t).DeviceID(), vfs.DeviceID{})
	equal(t, "Name", must(fs.Stat("/f"))(t).Name(), "f")
	write(t, other, "g", "y")
	equal(t, "two adapters show one volume", read(t, fs, "g"), "y")
	for _, c := range []struct{ got, want string }{
		{fs.PathJoin("/db", "x"), "/db/x"}, {fs.PathJoin("", "x"), "x"}, {fs.PathJoin(), ""}, {fs.PathJoin("a", "..", "b"), "b"},
		{fs.PathBase("/db/x"), "x"}, {fs.PathBase("/db/"), "db"}, {fs.PathBase(""), "."}, {fs.PathBase("//"), "/"},
		{fs.PathDir("/db/x"), "/db"}, {fs.PathDir("x"), "."}, {fs.PathDir("/"), "/"}, {fs.PathDir("."), "."}, {fs.PathDir(""), "."},
	} {
		equal(t, "path", c.got, c.want)
	}
	for _, p := range []string{"/a/b/c", "a/b/c", "", ".", "/", "../x"} {
		for range 10 {
			p = fs.PathDir(p)
		}
		equal(t, "PathDir reaches a fixpoint", fs.PathDir(p), p)
	}
}

func TestSpellingsOfAPath(t *testing.T) {
	fs := newFS(t)
	ok(t, fs.MkdirAll("/db", 0o755))
	write(t, fs, "db/f", "x")
	for _, p := range []string{"/db/f", "db/f", "./db/f", "/db/../db/f", "db//f"} {
		equal(t, p, read(t, fs, p), "x")
	}
}

// The data-driven test of package vfs calls both Clone and LinkOrCopy; so does Pebble, for checkpoints and ingestion.
func TestCloneAndCopy(t *testing.T) {
	fs := newFS(t)
	ok(t, fs.MkdirAll("src/sub", 0o755))
	write(t, fs, "src/000001.sst", "table")
	write(t, fs, "src/sub/OPTIONS-000002", "options")
	if done, err := vfs.Clone(fs, fs, "src", "dst", vfs.CloneTryLink, vfs.CloneSync); !done || err != nil {
		t.Fatalf("Clone: %v, %v", done, err)
	}
	equal(t, "linked file", read(t, fs, "dst/000001.sst"), "table")
	equal(t, "file in a subdirectory", read(t, fs, "dst/sub/OPTIONS-000002"), "options")
	other := vfs.NewMem()
	if done, err := vfs.Clone(fs, other, "src", "dst"); !done || err != nil {
		t.Fatalf("Clone to another file system: %v, %v", done, err)
	}
	equal(t, "copied file", read(t, other, "dst/sub/OPTIONS-000002"), "options")
	if done, err := vfs.Clone(fs, fs, "none", "x"); done || err != nil {
		t.Fatalf("Clone of nothing: %v, %v", done, err)
	}
	ok(t, vfs.LinkOrCopy(fs, "src/000001.sst", "000002.sst"))
	exists(t, "LinkOrCopy onto a file", vfs.LinkOrCopy(fs, "src/000001.sst", "000002.sst"))
	missing(t, "LinkOrCopy of nothing", vfs.LinkOrCopy(fs, "none", "000003.sst"))
	ok(t, vfs.Copy(fs, "000002.sst", "000004.sst"))
	equal(t, "copy", read(t, fs, "000004.sst"), "table")
	ok(t, vfs.LimitedCopy(fs, "000002.sst", "000005.sst", 3))
	equal(t, "limited copy", read(t, fs, "000005.sst"), "tab")
}
