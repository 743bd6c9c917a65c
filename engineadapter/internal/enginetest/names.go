package enginetest

import (
	"errors"
	"testing"

	"github.com/cockroachdb/errors/oserror"
)

func (h Contract) rename(t *testing.T) {
	for _, name := range kinds {
		fs := h.fs(t)
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

func (h Contract) linkIsAnotherName(t *testing.T) {
	for _, name := range kinds {
		fs := h.fs(t)
		write(t, fs, name, "bytes")
		ok(t, fs.Link(name, "b"))
		equal(t, "the first name is still there", read(t, fs, name), "bytes")
		ok(t, fs.Remove(name))
		equal(t, "the second after Remove of the first", read(t, fs, "b"), "bytes")
	}
}

func (h Contract) removeKeepsOpenHandles(t *testing.T) {
	for _, name := range kinds {
		fs := h.fs(t)
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
	fs := h.fs(t)
	ok(t, fs.MkdirAll("d/e", 0o755))
	if err := fs.Remove("d"); err == nil || oserror.IsNotExist(err) {
		t.Errorf("Remove of a directory with entries: %v", err)
	}
	ok(t, fs.Remove("d/e"))
	ok(t, fs.RemoveAll("d"))
	_, err := fs.Stat("d")
	missing(t, "after RemoveAll", err)
}

func (h Contract) reuseForWrite(t *testing.T) {
	fs := h.fs(t)
	write(t, fs, "000004.log", "an old log, longer than the new one")
	f := must(fs.ReuseForWrite("000004.log", "000009.log"))(t)
	equal(t, "Stat on the writer, right away", must(f.Stat())(t).Size(), 0)
	must(f.Write([]byte("new")))(t)
	ok(t, f.SyncData())
	ok(t, f.Close())
	_, err := fs.Stat("000004.log")
	missing(t, "the old log", err)
	equal(t, "the new log has no stale bytes", read(t, fs, "000009.log"), "new")
}

func (h Contract) lock(t *testing.T) {
	vol := h.volume(t)
	fs := h.New(t, vol)
	ok(t, fs.MkdirAll("db", 0o755))
	l := must(fs.Lock("db/LOCK"))(t)
	if c, err := fs.Lock("db/LOCK"); err == nil || c != nil {
		t.Fatalf("a second Lock: %v, %v", c, err)
	}
	if _, err := h.New(t, vol).Lock("/db/LOCK"); err == nil {
		t.Fatal("a second Lock through another adapter and another spelling")
	}
	ok(t, l.Close())
	l = must(fs.Lock("db/LOCK"))(t)
	ok(t, l.Close())
	if err := l.Close(); err == nil {
		t.Fatal("a second Close of a lock")
	}
}

func (h Contract) unsupported(t *testing.T) {
	fs := h.fs(t)
	write(t, fs, "f", "x")
	for _, name := range []string{"f", "none"} {
		if f, err := fs.OpenReadWrite(name); !errors.Is(err, h.Unsupported) || oserror.IsNotExist(err) || f != nil {
			t.Errorf("OpenReadWrite(%q): %v, %v", name, f, err)
		}
	}
	_, err := fs.Stat("none")
	missing(t, "OpenReadWrite creates nothing", err)
	if err := fs.GetDiskUsage("/"); err != h.Unsupported {
		t.Errorf("GetDiskUsage: %v", err)
	}
	f := create(t, fs, "g")
	if _, err := f.WriteAt([]byte("x"), 0); !errors.Is(err, h.Unsupported) {
		t.Errorf("WriteAt: %v", err)
	}
	ok(t, f.Preallocate(0, 1<<20))
	equal(t, "size after Preallocate", must(f.Stat())(t).Size(), 0)
	equal(t, "Fd", f.Fd(), NoFD)
	if full, err := f.SyncTo(1); full || err != nil {
		t.Errorf("SyncTo: %v, %v", full, err)
	}
	ok(t, f.Close())
}

func (h Contract) spellingsOfAPath(t *testing.T) {
	fs := h.fs(t)
	ok(t, fs.MkdirAll("/db", 0o755))
	write(t, fs, "db/f", "x")
	for _, p := range []string{"/db/f", "db/f", "./db/f", "/db/../db/f", "db//f"} {
		equal(t, p, read(t, fs, p), "x")
	}
}

// The data-driven test of package vfs calls both Clone and LinkOrCopy; so does Pebble, for checkpoints and ingestion.
