package enginetest

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/cockroachdb/errors/oserror"

	"github.com/forst-go/forst/forstfs"
)

// Under gives the paths of fs below dir as if dir were the root: the contract runs on a mount with it.
func Under(fs FS, dir string) FS { return under{fs, dir} }

type under struct {
	FS
	dir string
}

func (u under) at(name string) string { return filepath.Join(u.dir, name) }

func (u under) Create(name string) (File, error)        { return u.FS.Create(u.at(name)) }
func (u under) Link(oldname, newname string) error      { return u.FS.Link(u.at(oldname), u.at(newname)) }
func (u under) Open(name string) (File, error)          { return u.FS.Open(u.at(name)) }
func (u under) OpenReadWrite(name string) (File, error) { return u.FS.OpenReadWrite(u.at(name)) }
func (u under) OpenDir(name string) (File, error)       { return u.FS.OpenDir(u.at(name)) }
func (u under) Remove(name string) error                { return u.FS.Remove(u.at(name)) }
func (u under) RemoveAll(name string) error             { return u.FS.RemoveAll(u.at(name)) }
func (u under) Rename(oldname, newname string) error {
	return u.FS.Rename(u.at(oldname), u.at(newname))
}
func (u under) MkdirAll(dir string, perm os.FileMode) error { return u.FS.MkdirAll(u.at(dir), perm) }
func (u under) Lock(name string) (io.Closer, error)         { return u.FS.Lock(u.at(name)) }
func (u under) List(dir string) ([]string, error)           { return u.FS.List(u.at(dir)) }
func (u under) Stat(name string) (os.FileInfo, error)       { return u.FS.Stat(u.at(name)) }
func (u under) GetDiskUsage(name string) error              { return u.FS.GetDiskUsage(u.at(name)) }
func (u under) ReuseForWrite(oldname, newname string) (File, error) {
	return u.FS.ReuseForWrite(u.at(oldname), u.at(newname))
}

// Mounts is how an adapter mounts a volume.
type Mounts struct {
	Mount     func(vol *forstfs.FS, dir string) FS
	MountFunc func(open func() (*forstfs.FS, error), dir, root string) FS
	Shadowed  error // the adapter's ErrShadowed
}

// Run holds the mount against what its documentation says.
func (m Mounts) Run(t *testing.T) {
	t.Run("Border", m.border)
	t.Run("Copies", m.copies)
	t.Run("Busy", m.busy)
	t.Run("Shadow", m.shadow)
	t.Run("Func", m.function)
}

func (m Mounts) start(t *testing.T) (fs FS, vol *forstfs.FS, disk, dir string) {
	vol = OpenVol(t, MemHome().Open(t), nil)
	disk = t.TempDir()
	dir = filepath.Join(disk, "data", "db")
	return m.Mount(vol, dir), vol, disk, dir
}

func (m Mounts) border(t *testing.T) {
	fs, vol, disk, dir := m.start(t)
	ok(t, fs.MkdirAll(dir, 0o755))
	for _, d := range []string{filepath.Dir(dir), dir} { // the mount point is on the disk, too
		if !must(os.Stat(d))(t).IsDir() {
			t.Errorf("%s is no directory of the disk", d)
		}
	}
	ok(t, fs.MkdirAll(filepath.Join(dir, "sub"), 0o755))
	write(t, fs, filepath.Join(dir, "sub", "f"), "in the volume")
	write(t, fs, dir+"x", "on the disk")
	equal(t, "the disk beside the mount point", string(must(os.ReadFile(dir+"x"))(t)), "on the disk")
	must(vol.Stat(t.Context(), "/sub/f"))(t)
	if _, err := os.Stat(filepath.Join(dir, "sub")); !os.IsNotExist(err) {
		t.Errorf("the volume's directory is on the disk: %v", err)
	}
	equalNames(t, "List above", must(fs.List(filepath.Dir(dir)))(t), "db", "dbx")
	equalNames(t, "List", must(fs.List(dir))(t), "sub")
	ok(t, os.Remove(dir)) // it is shown, whether or not the disk has it
	equalNames(t, "List above, without the directory on the disk", must(fs.List(filepath.Dir(dir)))(t), "db", "dbx")
	t.Chdir(disk)
	equal(t, "a relative path", read(t, fs, filepath.Join("data", "db", "sub", "f")), "in the volume")
	equal(t, "a relative path, another spelling", read(t, fs, "./data/../data//db/sub/f"), "in the volume")
	equal(t, "a relative path of the disk", read(t, fs, "data/dbx"), "on the disk")

	other := OpenVol(t, MemHome().Open(t), nil)
	root := m.MountFunc(func() (*forstfs.FS, error) { return other, nil }, "rel", "/a/b")
	ok(t, root.MkdirAll(filepath.Join("rel", "c"), 0o755))
	write(t, root, "rel/c/f", "x")
	must(other.Stat(t.Context(), "/a/b/c/f"))(t)
}

func (m Mounts) copies(t *testing.T) {
	for _, name := range kinds {
		fs, vol, disk, dir := m.start(t)
		in := func(s string) string { return filepath.Join(dir, s) }
		out := func(s string) string { return filepath.Join(disk, s) }
		for _, c := range []struct {
			what     string
			from, to func(string) string
		}{{"into the volume", out, in}, {"out of it", in, out}} {
			write(t, fs, c.from(name), "bytes")
			ok(t, fs.Link(c.from(name), c.to(name)))
			equal(t, c.what+": link", read(t, fs, c.to(name)), "bytes")
			equal(t, c.what+": the linked file", read(t, fs, c.from(name)), "bytes")
			exists(t, c.what+": link onto a file", fs.Link(c.from(name), c.to(name)))
			gone(t, c.what+": link of nothing", fs.Link(c.from("none"), c.to("g")))
			write(t, fs, c.from("r-"+name), "new")
			ok(t, fs.Rename(c.from("r-"+name), c.to(name)))
			equal(t, c.what+": rename", read(t, fs, c.to(name)), "new")
			_, err := fs.Stat(c.from("r-" + name))
			gone(t, c.what+": the renamed file", err)
			gone(t, c.what+": rename of nothing", fs.Rename(c.from("none"), c.to("g")))
			f := must(fs.ReuseForWrite(c.from(name), c.to("u-"+name)))(t)
			must(f.Write([]byte("reused")))(t)
			ok(t, f.Close())
			_, err = fs.Stat(c.from(name))
			gone(t, c.what+": the reused file", err)
			equal(t, c.what+": reuse", read(t, fs, c.to("u-"+name)), "reused")
			ok(t, fs.Remove(c.to("u-"+name)))
			ok(t, fs.Remove(c.to(name)))
		}
		for what, names := range map[string][]string{"volume": must(vol.List(t.Context(), "/"))(t), "disk": must(fs.List(disk))(t)} {
			if names = slices.DeleteFunc(names, func(n string) bool { return n == "data" }); len(names) > 0 {
				t.Errorf("left in the %s: %q", what, names)
			}
		}
		// What was copied into the volume is durable without another sync.
		home := MemHome()
		machine := Start(t, home, &forstfs.Options{FlushDelay: -1})
		fs = m.Mount(machine.Vol, dir)
		write(t, fs, out(name), "bytes")
		ok(t, fs.Link(out(name), in(name)))
		machine.Die()
		fs = m.Mount(OpenVol(t, home.Open(t), nil), dir)
		equal(t, "the link, on another machine", read(t, fs, in(name)), "bytes")
	}
}

func (m Mounts) busy(t *testing.T) {
	fs, vol, disk, dir := m.start(t)
	ok(t, fs.MkdirAll(dir, 0o755))
	ok(t, fs.MkdirAll(filepath.Join(dir, "a", "b"), 0o755))
	write(t, fs, filepath.Join(dir, "f"), "x")
	for what, err := range map[string]error{
		"Remove": fs.Remove(dir), "Remove above": fs.Remove(filepath.Dir(dir)), "RemoveAll above": fs.RemoveAll(disk),
		"Rename": fs.Rename(dir, filepath.Join(disk, "x")), "Rename above": fs.Rename(filepath.Dir(dir), filepath.Join(disk, "x")),
	} {
		if !errors.Is(err, syscall.EBUSY) {
			t.Errorf("%s: %v", what, err)
		}
	}
	equalNames(t, "all is there", must(fs.List(dir))(t), "a", "f")
	ok(t, fs.RemoveAll(dir))
	equalNames(t, "after RemoveAll of the mount point", must(vol.List(t.Context(), "/"))(t))
	ok(t, fs.RemoveAll(filepath.Join(disk, "none")))
}

func (m Mounts) shadow(t *testing.T) {
	fs, _, _, dir := m.start(t)
	for _, name := range []string{"CURRENT", "marker.manifest.000001.MANIFEST-000001", "000001.sst"} {
		ok(t, os.MkdirAll(dir, 0o755))
		ok(t, os.WriteFile(filepath.Join(dir, name), nil, 0o644))
		if _, err := fs.Lock(filepath.Join(dir, "LOCK")); !errors.Is(err, m.Shadowed) || oserror.IsNotExist(err) {
			t.Errorf("Lock over a directory with %s: %v", name, err)
		}
		ok(t, os.RemoveAll(dir))
	}
	l := must(fs.Lock(filepath.Join(dir, "LOCK")))(t)
	ok(t, l.Close())
}

// function: a volume is opened when it is needed, once; and a lock's release makes all durable.
func (m Mounts) function(t *testing.T) {
	h := MemHome()
	opened := 0
	machine := (*Machine)(nil)
	dir := filepath.Join(t.TempDir(), "db")
	fs := m.MountFunc(func() (*forstfs.FS, error) {
		opened++
		machine = Start(t, h, &forstfs.Options{FlushDelay: -1})
		return machine.Vol, nil
	}, dir, "/")
	write(t, fs, dir+"x", "outside")
	equal(t, "opened without need", opened, 0)
	l := must(fs.Lock(filepath.Join(dir, "LOCK")))(t)
	write(t, fs, filepath.Join(dir, "f"), "x")
	ok(t, fs.Link(filepath.Join(dir, "f"), filepath.Join(dir, "g")))
	ok(t, l.Close())
	equal(t, "opened", opened, 1)
	machine.Die()
	after := OpenVol(t, h.Open(t), nil)
	equalNames(t, "after the lock was released", must(after.List(t.Context(), "/"))(t), "f", "g")

	for _, cause := range []error{forstfs.ErrNoVolume, os.ErrNotExist, errors.New("no route")} {
		broken := m.MountFunc(func() (*forstfs.FS, error) { return nil, cause }, dir, "/")
		_, err := broken.Stat(filepath.Join(dir, "CURRENT"))
		if err == nil || oserror.IsNotExist(err) {
			t.Errorf("a volume that cannot be opened looks like a file that is not there: %v", err)
		}
		must(broken.Stat(filepath.Dir(dir)))(t)
	}
}
