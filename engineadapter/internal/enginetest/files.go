package enginetest

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"testing"
)

func create(t testing.TB, fs FS, name string) File {
	t.Helper()
	return must(fs.Create(name))(t)
}

func write(t testing.TB, fs FS, name, content string) {
	t.Helper()
	f := create(t, fs, name)
	if content != "" {
		must(f.Write([]byte(content)))(t)
	}
	ok(t, f.Close())
}

func read(t testing.TB, fs FS, name string) string {
	t.Helper()
	f := must(fs.Open(name))(t)
	b := must(io.ReadAll(f))(t)
	ok(t, f.Close())
	return string(b)
}

// both kinds of files keep the same rules.
var kinds = []string{"000001.sst", "000001.log"}

func (h Contract) createMakesANewFile(t *testing.T) {
	for _, name := range kinds {
		fs := h.fs(t)
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

func (h Contract) fileExistsOnceCreated(t *testing.T) {
	fs := h.fs(t)
	ok(t, fs.MkdirAll("/db", 0o755))
	f := create(t, fs, "/db/marker.manifest.000001.MANIFEST-000001") // no Write, no Sync: a marker
	equalNames(t, "List while it is open", must(fs.List("/db"))(t), "marker.manifest.000001.MANIFEST-000001")
	ok(t, f.Close())
	equal(t, "size", must(fs.Stat("/db/marker.manifest.000001.MANIFEST-000001"))(t).Size(), 0)
}

func (h Contract) writtenFileIsReadable(t *testing.T) {
	for _, name := range kinds {
		fs := h.fs(t)
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

func (h Contract) readAtEOF(t *testing.T) {
	for _, name := range kinds {
		fs := h.fs(t)
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

func (h Contract) readAtConcurrently(t *testing.T) {
	fs := h.fs(t)
	content := bytes.Repeat([]byte("0123456789abcdef"), 4096)
	write(t, fs, "000001.sst", string(content))
	f := must(fs.Open("000001.sst"))(t)
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

func (h Contract) directories(t *testing.T) {
	fs := h.fs(t)
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
		equal(t, "Fd", d.Fd(), NoFD)
		ok(t, d.Close())
	}
	root := must(fs.Open("/"))(t) // tools open directories like files
	info := must(root.Stat())(t)
	equal(t, "name of the root", info.Name(), "/")
	equal(t, "IsDir of the root", info.IsDir(), true)
	ok(t, root.Close())
}
