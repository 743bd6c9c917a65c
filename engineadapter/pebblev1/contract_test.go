package pebblev1_test

import (
	"io"
	"os"
	"testing"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/vfs"

	"github.com/forst-go/forst/engineadapter/internal/enginetest"
	"github.com/forst-go/forst/engineadapter/pebblev1"
	"github.com/forst-go/forst/forstfs"
)

func TestContract(t *testing.T) {
	enginetest.Contract{
		New:         func(_ testing.TB, vol *forstfs.FS) enginetest.FS { return plainFS{pebblev1.New(vol)} },
		Unsupported: vfs.ErrUnsupported,
		NoManifest:  pebblev1.ErrNoManifestMarker,
	}.Run(t)
}

// A mount keeps the same rules.
func TestMount(t *testing.T) {
	enginetest.Contract{
		New: func(t testing.TB, vol *forstfs.FS) enginetest.FS {
			dir := t.TempDir()
			return enginetest.Under(plainFS{pebblev1.Mount(vol, dir)}, dir)
		},
		Unsupported: vfs.ErrUnsupported,
		NoManifest:  pebblev1.ErrNoManifestMarker,
	}.Run(t)
	enginetest.Mounts{
		Mount: func(vol *forstfs.FS, dir string) enginetest.FS { return plainFS{pebblev1.Mount(vol, dir)} },
		MountFunc: func(open func() (*forstfs.FS, error), dir, root string) enginetest.FS {
			return plainFS{pebblev1.MountFunc(open, dir, root)}
		},
		Shadowed: pebblev1.ErrShadowed,
	}.Run(t)
}

// plainFS leaves out what is this Pebble's own.
type plainFS struct{ vfs.FS }

func plain(f vfs.File, err error) (enginetest.File, error) {
	if err != nil {
		if f != nil {
			panic("a file with an error")
		}
		return nil, err
	}
	return plainFile{f}, nil
}

func (p plainFS) Create(name string) (enginetest.File, error) {
	return plain(p.FS.Create(name))
}
func (p plainFS) Open(name string) (enginetest.File, error) { return plain(p.FS.Open(name)) }
func (p plainFS) OpenReadWrite(name string) (enginetest.File, error) {
	return plain(p.FS.OpenReadWrite(name))
}
func (p plainFS) OpenDir(name string) (enginetest.File, error) { return plain(p.FS.OpenDir(name)) }
func (p plainFS) ReuseForWrite(oldname, newname string) (enginetest.File, error) {
	return plain(p.FS.ReuseForWrite(oldname, newname))
}
func (p plainFS) Stat(name string) (os.FileInfo, error) { return p.FS.Stat(name) }
func (p plainFS) GetDiskUsage(name string) error {
	u, err := p.FS.GetDiskUsage(name)
	if u != (vfs.DiskUsage{}) {
		panic("figures with an error")
	}
	return err
}

type plainFile struct{ vfs.File }

func (p plainFile) Stat() (os.FileInfo, error) { return p.File.Stat() }

func create(t testing.TB, fs vfs.FS, name string) vfs.File {
	t.Helper()
	return must(fs.Create(name))(t)
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

func missing(t testing.TB, what string, err error) {
	t.Helper()
	if !oserror.IsNotExist(err) {
		t.Errorf("%s: %v does not say that the file does not exist", what, err)
	}
}

func exists(t testing.TB, what string, err error) {
	t.Helper()
	if !oserror.IsExist(err) {
		t.Errorf("%s: %v does not say that the file exists", what, err)
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

func TestShape(t *testing.T) {
	vol := openVol(t, memHome().Open(t), nil)
	fs, other := pebblev1.New(vol), pebblev1.New(vol)
	if fs == other || fs != vfs.FS(fs) { // must not panic: Pebble compares
		t.Error("file systems are not compared by identity")
	}
	if vfs.Root(fs) != fs {
		t.Error("there is something below")
	}
	write(t, fs, "f", "x")
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
