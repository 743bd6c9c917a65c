package conformance

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"github.com/forst-go/forst/forstfs"
)

var fsModelCases = []FSCase{
	{"model/random-operations", func(e *fsEnv) {
		n, most := 0, 1<<30
		if !e.handle().Capabilities().Volatile {
			most = 20 // each run makes hundreds of requests
		}
		rapid.Check(rapidTB{e.TB}, func(t *rapid.T) {
			if n++; n > most && !e.Failed() {
				return
			}
			c := &comparison{fsEnv: *e, t: t, names: map[string]*modelFile{}, dirs: map[string]bool{"/": true}}
			c.TB = rapidFatal{e.TB, t}
			c.open = under(e.open, fmt.Sprintf("model%d", n))
			c.v = c.mountModel()
			t.Repeat(map[string]func(*rapid.T){
				"":           func(t *rapid.T) { c.t = t; c.compare(t.Name()) },
				"create":     func(t *rapid.T) { c.t = t; c.createStep() },
				"write":      func(t *rapid.T) { c.t = t; c.writeStep() },
				"write more": func(t *rapid.T) { c.t = t; c.writeStep() },
				"sync":       func(t *rapid.T) { c.t = t; c.syncStep() },
				"end":        func(t *rapid.T) { c.t = t; c.endStep() },
				"name":       func(t *rapid.T) { c.t = t; c.nameStep() },
				"names":      func(t *rapid.T) { c.t = t; c.nameStep() },
				"open":       func(t *rapid.T) { c.t = t; c.openStep() },
				"read":       func(t *rapid.T) { c.t = t; c.readStep() },
				"house":      func(t *rapid.T) { c.t = t; c.houseStep() },
				"reopen":     func(t *rapid.T) { c.t = t; c.reopenStep() },
			})
			c.finish()
		})
	}},
}

// rapidTB gives a TB what rapid wants besides.
type rapidTB struct{ TB }

func (r rapidTB) Log(a ...any)             { r.Logf("%s", fmt.Sprintln(a...)) }
func (r rapidTB) Error(a ...any)           { r.Errorf("%s", fmt.Sprintln(a...)) }
func (r rapidTB) Fatal(a ...any)           { r.Fatalf("%s", fmt.Sprintln(a...)) }
func (r rapidTB) Fail()                    { r.Errorf("failed") }
func (r rapidTB) FailNow()                 { r.Fatalf("failed") }
func (r rapidTB) Skip(a ...any)            { r.Fatalf("%s", fmt.Sprintln(a...)) }
func (r rapidTB) Skipf(f string, a ...any) { r.Fatalf(f, a...) }
func (r rapidTB) SkipNow()                 { r.Fatalf("skipped") }

// rapidFatal sends failures to rapid, which then looks for a shorter run.
type rapidFatal struct {
	TB
	t *rapid.T
}

func (r rapidFatal) Fatalf(f string, a ...any) { r.t.Fatalf(f, a...) }
func (r rapidFatal) Errorf(f string, a ...any) { r.t.Errorf(f, a...) }
func (r rapidFatal) Failed() bool              { return r.t.Failed() }
func (r rapidFatal) Cleanup(func())            {} // the comparison closes what it opens

// modelFile is a file of the model. Links are several names of one.
type modelFile struct {
	bulk  bool
	data  []byte
	order int // bytes that are in the order: at least these outlive a crash once something was synced
	seed  uint64
}

// comparison runs the same operations on a volume and on a model of maps and slices.
type comparison struct {
	fsEnv
	t       *rapid.T
	v       *forstfs.FS
	names   map[string]*modelFile
	dirs    map[string]bool
	writers []*modelHandle
	readers []*modelHandle
	stores  []*forstfs.FS
	seed    uint64
}

type modelHandle struct {
	f    *forstfs.File
	file *modelFile
	pos  int
}

func (c *comparison) mountModel() *forstfs.FS {
	s, err := c.open(c.ctx)
	if err != nil {
		c.t.Fatalf("opening the store: %v", err)
	}
	v, err := forstfs.Open(c.ctx, s, smallOptions())
	if err != nil {
		c.t.Fatalf("opening the volume: %v", err)
	}
	c.stores = append(c.stores, v)
	return v
}

var modelPaths = []string{"/a.log", "/b.sst", "/d/a.log", "/d/b.sst", "/d/c", "/d/e/f.sst", "/d/e/g.log", "/h"}
var modelDirs = []string{"/d", "/d/e", "/h", "/a.log", "/x/y"}

func (c *comparison) path(label string) string { return rapid.SampledFrom(modelPaths).Draw(c.t, label) }

func (c *comparison) any(label string) string {
	return rapid.SampledFrom(append(slices.Clone(modelPaths), modelDirs...)).Draw(c.t, label)
}

// parent says why nothing can be made at p, or nil.
func (c *comparison) parent(p string) error {
	dir := path.Dir(p)
	if c.dirs[dir] {
		return nil
	}
	for d := dir; d != "/"; d = path.Dir(d) {
		if c.names[d] != nil {
			return forstfs.ErrNotDir
		}
	}
	return fs.ErrNotExist
}

// agree compares the outcome of an operation with the model's.
func (c *comparison) agree(what string, err, want error) bool {
	if (err == nil) != (want == nil) || want != nil && !errors.Is(err, want) {
		c.t.Fatalf("%s: %v; the model says %v", what, err, want)
	}
	return err == nil
}

func (c *comparison) createStep() {
	p := c.path("path")
	want := c.parent(p)
	if want == nil && c.dirs[p] {
		want = forstfs.ErrIsDir
	}
	f, err := c.v.Create(c.ctx, p, nil)
	if !c.agree("create "+p, err, want) {
		return
	}
	c.adopt(f, p)
}

func (c *comparison) adopt(f *forstfs.File, p string) {
	c.seed++
	file := &modelFile{bulk: strings.HasSuffix(p, ".sst"), seed: c.seed}
	c.names[p] = file
	if f.Bulk() != file.bulk {
		c.t.Fatalf("%s: Bulk() = %v", p, f.Bulk())
	}
	c.writers = append(c.writers, &modelHandle{f: f, file: file})
}

func (c *comparison) writer() *modelHandle {
	if len(c.writers) == 0 {
		c.t.Skip("no file is open for writing")
	}
	return c.writers[rapid.IntRange(0, len(c.writers)-1).Draw(c.t, "writer")]
}

func (c *comparison) writeStep() {
	h := c.writer()
	n := rapid.OneOf(rapid.IntRange(0, 40), rapid.IntRange(0, 9000)).Draw(c.t, "bytes")
	p := make([]byte, n)
	fillBytes(p, int64(len(h.file.data)), h.file.seed)
	if k, err := h.f.Write(p); k != n || err != nil {
		c.t.Fatalf("write: %d of %d, %v", k, n, err)
	}
	h.file.data = append(h.file.data, p...)
}

func (c *comparison) syncStep() {
	h := c.writer()
	switch rapid.IntRange(0, 2).Draw(c.t, "sync") {
	case 0:
		c.must(h.f.Sync())
		h.file.order = len(h.file.data)
	case 1:
		c.must(h.f.SyncHint())
		if !h.file.bulk {
			h.file.order = len(h.file.data)
		}
	case 2:
		c.must(c.v.Sync(c.ctx))
	}
}

// endStep closes a handle.
func (c *comparison) endStep() {
	if len(c.readers) > 0 && rapid.Bool().Draw(c.t, "a reader") {
		i := rapid.IntRange(0, len(c.readers)-1).Draw(c.t, "reader")
		c.must(c.readers[i].f.Close())
		c.readers = slices.Delete(c.readers, i, i+1)
		return
	}
	h := c.writer()
	c.must(h.f.Close())
	h.file.order = len(h.file.data)
	c.writers = slices.DeleteFunc(c.writers, func(w *modelHandle) bool { return w == h })
}

// settled is a small file one of whose names changes: its bytes are in the order from then on.
func settled(f *modelFile) {
	if f != nil && !f.bulk {
		f.order = len(f.data)
	}
}

func (c *comparison) openStep() {
	p := c.path("path")
	a := rapid.SampledFrom(allAccess).Draw(c.t, "access")
	f, err := c.v.Open(c.ctx, p, &forstfs.OpenOptions{Access: a})
	var want error
	if c.names[p] == nil && !c.dirs[p] {
		want = fs.ErrNotExist
	}
	if !c.agree("open "+p, err, want) {
		return
	}
	if c.dirs[p] {
		c.must(f.Close())
		return
	}
	c.readers = append(c.readers, &modelHandle{f: f, file: c.names[p]})
}

func (c *comparison) readStep() {
	if len(c.readers) == 0 {
		c.t.Skip("no file is open for reading")
	}
	h := c.readers[rapid.IntRange(0, len(c.readers)-1).Draw(c.t, "reader")]
	p := make([]byte, rapid.IntRange(0, 6000).Draw(c.t, "bytes"))
	if rapid.Bool().Draw(c.t, "in order") {
		n, err := h.f.Read(p)
		if err != nil && err != io.EOF || n == 0 && err == nil && len(p) > 0 || err == io.EOF && h.pos < len(h.file.data) && len(p) > 0 {
			c.t.Fatalf("read of %d bytes at %d of %d: %d, %v", len(p), h.pos, len(h.file.data), n, err)
		}
		if !bytes.Equal(p[:n], h.file.data[h.pos:h.pos+n]) {
			c.t.Fatalf("read at %d: wrong bytes", h.pos)
		}
		h.pos += n
		return
	}
	if len(p) == 0 {
		p = make([]byte, 1) // what nothing at all gives past the end is nobody's concern
	}
	off := rapid.IntRange(0, len(h.file.data)+10).Draw(c.t, "offset")
	n, err := h.f.ReadAt(p, int64(off))
	want := h.file.data[min(off, len(h.file.data)):min(off+len(p), len(h.file.data))]
	if n != len(want) || !bytes.Equal(p[:n], want) || (n < len(p)) != (err == io.EOF) || err != nil && err != io.EOF {
		c.t.Fatalf("ReadAt(%d bytes at %d) of %d: %d, %v", len(p), off, len(h.file.data), n, err)
	}
}

func (c *comparison) houseStep() {
	switch rapid.IntRange(0, 3).Draw(c.t, "work") {
	case 0, 1:
		c.must(c.v.Checkpoint(c.ctx))
	case 2:
		_, err := c.v.Sweep(c.ctx)
		c.must(err)
	case 3:
		s, err := c.open(c.ctx)
		c.must(err)
		c.must(c.v.Sync(c.ctx))
		r, err := forstfs.OpenReadOnly(c.ctx, s, smallOptions())
		c.must(err)
		c.compareWith(r, "a read-only volume", false)
		c.must(r.Close())
	}
}

// reopenStep goes on in another process. What was not synced of files that are open for writing is given up.
func (c *comparison) reopenStep() {
	c.must(c.v.Sync(c.ctx))
	how := rapid.SampledFrom([]string{"crash", "close", "checkpoint"}).Draw(c.t, "how")
	old := c.v
	switch how {
	case "checkpoint":
		c.must(old.Checkpoint(c.ctx))
		fallthrough
	case "close":
		c.must(old.Close())
		c.v = c.mountModel()
	case "crash":
		c.v = c.mountModel()
		_ = old.Close()
	}
	c.stores = slices.DeleteFunc(c.stores, func(v *forstfs.FS) bool { return v == old })
	for _, h := range append(c.writers, c.readers...) {
		_ = h.f.Close()
	}
	c.writers, c.readers = nil, nil
	c.compareWith(c.v, how, false)
	for p, f := range c.names { // what the volume has of the bytes that nobody asked to keep is what it has from now on
		f.data = c.read(c.v, p)
		f.order = len(f.data)
	}
}

func (c *comparison) children(dir string) []string {
	var out []string
	for p := range c.names {
		if path.Dir(p) == dir {
			out = append(out, path.Base(p))
		}
	}
	for d := range c.dirs {
		if d != "/" && path.Dir(d) == dir {
			out = append(out, path.Base(d))
		}
	}
	slices.Sort(out)
	return out
}

func (c *comparison) compare(string) { c.compareWith(c.v, "", true) }

// compareWith compares everything; exact: files that are being written, too, else they have at least what is in the order.
func (c *comparison) compareWith(v *forstfs.FS, when string, exact bool) {
	for _, d := range slices.Sorted(maps.Keys(c.dirs)) {
		got, err := v.List(c.ctx, d)
		if err != nil || !slices.Equal(got, c.children(d)) {
			c.t.Fatalf("%s: List(%s) = %q, %v; the model has %q", when, d, got, err, c.children(d))
		}
	}
	inodes := map[*modelFile]uint64{}
	for _, p := range slices.Sorted(maps.Keys(c.names)) {
		file := c.names[p]
		info, err := v.Stat(c.ctx, p)
		if err != nil {
			c.t.Fatalf("%s: Stat(%s): %v", when, p, err)
		}
		if i, ok := inodes[file]; ok && i != info.Inode() {
			c.t.Fatalf("%s: %s is another file than its other name", when, p)
		}
		inodes[file] = info.Inode()
		got := c.read(v, p)
		if exact && len(got) != len(file.data) || len(got) < file.order || len(got) > len(file.data) || !bytes.Equal(got, file.data[:len(got)]) {
			c.t.Fatalf("%s: %s: %s; %d bytes are in the order", when, p, difference(got, file.data), file.order)
		}
		if info.Size() != int64(len(got)) {
			c.t.Fatalf("%s: Stat(%s) says %d bytes of %d", when, p, info.Size(), len(got))
		}
	}
	seen := map[uint64]*modelFile{}
	for file, i := range inodes {
		if seen[i] != nil {
			c.t.Fatalf("%s: two files have the inode %d", when, i)
		}
		seen[i] = file
	}
}

// finish closes everything and looks at what is left in the store.
func (c *comparison) finish() {
	for _, h := range append(c.writers, c.readers...) {
		c.must(h.f.Close())
	}
	_, err := c.v.Sweep(c.ctx)
	c.must(err)
	for _, v := range c.stores {
		c.must(v.Close())
	}
	s, err := c.open(c.ctx)
	c.must(err)
	inv, err := takeInventory(c.ctx, s)
	c.must(err)
	c.must(inv.checkNeeded(c.ctx, s))
	c.must(inv.checkExact(c.ctx, s))
	c.must(s.Close())
}
