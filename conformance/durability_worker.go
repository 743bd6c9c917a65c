package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"sync/atomic"

	"github.com/forst-go/forst/forstfs"
)

// worker makes random operations in a directory of its own, records them, and compares what it reads with what it wrote.
type worker struct {
	h     *history
	w     int // index in h
	v     *forstfs.FS
	ctx   context.Context
	r     *rand.Rand
	seeds *atomic.Uint64 // of texts, shared by a run
	dir   string
	now   *tree // what is issued
	open  []*writing
	reads []*reading
	most  int // bytes of a file's write

	// tolerate decides about the error of a call that does not need to succeed: reads and housekeeping while the store is ill.
	// nil tolerates none.
	tolerate func(error) bool
}

type writing struct {
	f    *forstfs.File
	text *fileText
}

type reading struct {
	f    *forstfs.File
	text *fileText
}

// errUnexpected marks what a volume must never do, as opposed to the volume's end, which is how a worker stops.
type errUnexpected struct{ error }

func (e errUnexpected) Unwrap() error { return e.error }

func unexpected(format string, a ...any) error { return errUnexpected{fmt.Errorf(format, a...)} }

// ended says whether an error means that the volume is over for this process.
func ended(err error) bool {
	return errors.Is(err, forstfs.ErrFenced) || errors.Is(err, forstfs.ErrClosed) || errors.Is(err, forstfs.ErrFailed) || errors.Is(err, forstfs.ErrDropped)
}

func newWorker(ctx context.Context, h *history, w int, v *forstfs.FS, seed uint64, seeds *atomic.Uint64) *worker {
	return &worker{h: h, w: w, v: v, ctx: ctx, r: rand.New(rand.NewPCG(seed, uint64(w))), seeds: seeds, dir: h.dirs[w], now: h.begin[w].clone(), most: 6000}
}

// step makes one random operation. The error is nil, errUnexpected, or that of a volume that has ended.
func (k *worker) step() error {
	if !k.now.dirs[k.dir] {
		return k.mkdir(k.dir)
	}
	switch x := k.r.IntN(100); {
	case x < 14:
		return k.create()
	case x < 38:
		return k.write()
	case x < 50:
		return k.sync()
	case x < 60:
		return k.close()
	case x < 66:
		return k.rename()
	case x < 70:
		return k.link()
	case x < 77:
		return k.remove()
	case x < 80:
		return k.reuse()
	case x < 82:
		return k.mkdir(k.dir + []string{"/s", "/t"}[k.r.IntN(2)])
	case x < 83:
		return k.removeAll()
	case x < 84:
		return k.renameDir()
	case x < 87:
		return k.syncDir()
	case x < 90:
		return k.openRead()
	case x < 97:
		return k.read()
	default:
		return k.list()
	}
}

// fate sorts the error of a call that must succeed unless the volume has ended.
func (k *worker) fate(what string, err error) error {
	if err == nil || ended(err) {
		return err
	}
	return unexpected("%s: %w", what, err)
}

// soft sorts the error of a call that may fail when the store does.
func (k *worker) soft(what string, err error) error {
	switch {
	case err == nil, ended(err):
		return err
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, forstfs.ErrStale):
		return unexpected("%s: trouble of the store looks like a missing or a short file: %w", what, err)
	case k.tolerate != nil && k.tolerate(err):
		return nil
	}
	return unexpected("%s: %w", what, err)
}

func (k *worker) mkdir(p string) error {
	if k.now.dirs[p] {
		return nil
	}
	o := &op{kind: opMkdir, path: p}
	return k.names(o, func() error { return k.v.MkdirAll(k.ctx, p) })
}

// names makes a call that changes names.
func (k *worker) names(o *op, f func() error) error {
	err := k.h.call(k.w, o, f)
	if err == nil {
		k.now.apply(o)
	}
	return k.fate(fmt.Sprintf("%s %s %s", opNames[o.kind], o.path, o.to), err)
}

// somewhere is a path for a file; its directory exists.
func (k *worker) somewhere() string {
	dirs := slices.Sorted(maps.Keys(k.now.dirs))
	d := dirs[k.r.IntN(len(dirs))]
	base := []string{"1.log", "2.log", "000003.sst", "000004.sst", "5.blob", "MANIFEST-000006", "CURRENT", "marker.x.7"}[k.r.IntN(8)]
	return d + "/" + base
}

// file is an existing file's path, or "".
func (k *worker) file() string {
	names := slices.Sorted(maps.Keys(k.now.names))
	if len(names) == 0 {
		return ""
	}
	return names[k.r.IntN(len(names))]
}

func (k *worker) newText(p string) *fileText {
	return &fileText{seed: k.seeds.Add(1), bulk: forstfs.Classify(p).Bulk()}
}

func (k *worker) create() error {
	p := k.somewhere()
	o := &op{kind: opCreate, path: p, file: k.newText(p)}
	return k.made(o, func() (*forstfs.File, error) { return k.v.Create(k.ctx, p, nil) })
}

func (k *worker) reuse() error {
	from, to := k.file(), k.somewhere()
	if from == "" {
		return nil
	}
	o := &op{kind: opReuse, path: from, to: to, file: k.newText(to)}
	return k.made(o, func() (*forstfs.File, error) { return k.v.ReuseForWrite(k.ctx, from, to, nil) })
}

func (k *worker) made(o *op, f func() (*forstfs.File, error)) error {
	var file *forstfs.File
	err := k.names(o, func() (err error) {
		if file, err = f(); err == nil {
			info, serr := file.Stat()
			if serr != nil {
				return serr
			}
			k.h.mu.Lock()
			o.file.inode = info.Inode()
			k.h.mu.Unlock()
		}
		return err
	})
	if err != nil {
		return err
	}
	k.open = append(k.open, &writing{f: file, text: o.file})
	if len(k.open) > 4 {
		return k.close()
	}
	return nil
}

func (k *worker) writer() *writing {
	if len(k.open) == 0 {
		return nil
	}
	return k.open[k.r.IntN(len(k.open))]
}

func (k *worker) write() error {
	w := k.writer()
	if w == nil {
		return k.create()
	}
	n := k.r.IntN(min(300, k.most))
	if k.r.IntN(3) == 0 {
		n = k.r.IntN(k.most)
	}
	p := make([]byte, n)
	fillBytes(p, w.text.written, w.text.seed)
	k.h.wrote(w.text, int64(n)) // before: the call may be cut off
	_, err := w.f.Write(p)
	return k.fate("write", err)
}

// inOrder is an op after which all bytes of a file are in the order.
func (k *worker) inOrder(w *writing) *op {
	return &op{kind: opBytes, file: w.text, n: w.text.written}
}

// linked reports whether the file still has a name: only then does Sync promise anything.
func (k *worker) linked(t *fileText) bool {
	for _, f := range k.now.names {
		if f == t {
			return true
		}
	}
	return false
}

func (k *worker) sync() error {
	w := k.writer()
	if w == nil {
		return k.syncAll()
	}
	o := k.inOrder(w)
	o.ack = k.linked(w.text)
	return k.names(o, w.f.Sync)
}

func (k *worker) syncAll() error {
	return k.names(&op{kind: opNone, ack: true}, func() error { return k.v.Sync(k.ctx) })
}

func (k *worker) syncDir() error {
	return k.names(&op{kind: opNone, path: k.dir, ack: true}, func() error {
		d, err := k.v.OpenDir(k.ctx, k.dir)
		if err != nil {
			return err
		}
		return errors.Join(d.Sync(), d.Close())
	})
}

func (k *worker) close() error {
	if len(k.open) == 0 {
		return nil
	}
	i := k.r.IntN(len(k.open))
	w := k.open[i]
	k.open = slices.Delete(k.open, i, i+1)
	return k.names(k.inOrder(w), w.f.Close)
}

// bytesFirst adds to an op that its file's bytes precede it: small files' do.
func (k *worker) bytesFirst(o *op) *op {
	if t := k.now.names[o.path]; t != nil && !t.bulk {
		o.file, o.n = t, t.written
	}
	return o
}

func (k *worker) rename() error {
	from, to := k.file(), k.somewhere()
	if from == "" {
		return nil
	}
	o := k.bytesFirst(&op{kind: opRename, path: from, to: to})
	return k.names(o, func() error { return k.v.Rename(k.ctx, from, to) })
}

func (k *worker) link() error {
	from, to := k.file(), k.somewhere()
	if from == "" || k.now.names[to] != nil {
		return nil
	}
	o := k.bytesFirst(&op{kind: opLink, path: from, to: to})
	return k.names(o, func() error { return k.v.Link(k.ctx, from, to) })
}

func (k *worker) remove() error {
	p := k.file()
	if p == "" {
		return nil
	}
	return k.names(&op{kind: opRemove, path: p}, func() error { return k.v.Remove(k.ctx, p) })
}

func (k *worker) removeAll() error {
	p := k.dir + "/s"
	if !k.now.dirs[p] {
		return nil
	}
	return k.names(&op{kind: opRemoveAll, path: p}, func() error { return k.v.RemoveAll(k.ctx, p) })
}

func (k *worker) renameDir() error {
	from, to := k.dir+"/s", k.dir+"/u"
	if !k.now.dirs[from] || k.now.dirs[to] {
		from, to = k.dir+"/u", k.dir+"/s"
		if !k.now.dirs[from] || k.now.dirs[to] {
			return nil
		}
	}
	return k.names(&op{kind: opRename, path: from, to: to}, func() error { return k.v.Rename(k.ctx, from, to) })
}

func (k *worker) openRead() error {
	p := k.file()
	if p == "" {
		return nil
	}
	f, err := k.v.Open(k.ctx, p, &forstfs.OpenOptions{Access: allAccess[k.r.IntN(3)]})
	if err != nil {
		return k.fate("open "+p, err)
	}
	k.reads = append(k.reads, &reading{f, k.now.names[p]})
	if len(k.reads) > 3 {
		r := k.reads[0]
		k.reads = k.reads[1:]
		return k.fate("close", r.f.Close())
	}
	return nil
}

// read reads from a handle, which may be older than its file's last name, or a file as a whole.
func (k *worker) read() error {
	if len(k.reads) == 0 {
		return k.openRead()
	}
	r := k.reads[k.r.IntN(len(k.reads))]
	size := r.text.written
	off := k.r.Int64N(size + 2)
	p := make([]byte, 1+k.r.IntN(4000))
	n, err := r.f.ReadAt(p, off)
	want := max(0, min(int64(len(p)), size-off))
	if err == io.EOF && int64(n) == want && want < int64(len(p)) {
		err = nil
	} else if err == io.EOF {
		return unexpected("ReadAt(%d bytes at %d) of %d: %d, %v", len(p), off, size, n, err)
	} else if err == nil && int64(n) != want {
		return unexpected("ReadAt(%d bytes at %d) of %d: %d without an error", len(p), off, size, n)
	}
	if err != nil {
		return k.soft("read", err)
	}
	expect := r.text.at(min(off, size), n)
	if !bytes.Equal(p[:n], expect) {
		return unexpected("ReadAt(%d bytes at %d) of inode %d: wrong bytes: %s", len(p), off, r.text.inode, difference(p[:n], expect))
	}
	return nil
}

// list compares the names.
func (k *worker) list() error {
	for d := range k.now.dirs {
		got, err := k.v.List(k.ctx, d)
		if err != nil {
			return k.fate("list "+d, err)
		}
		var want []string
		for p := range k.now.names {
			if path.Dir(p) == d {
				want = append(want, path.Base(p))
			}
		}
		for p := range k.now.dirs {
			if path.Dir(p) == d {
				want = append(want, path.Base(p))
			}
		}
		slices.Sort(want)
		if !slices.Equal(got, want) {
			return unexpected("List(%s) = %q, want %q", d, got, want)
		}
	}
	return nil
}

// end closes all handles.
func (k *worker) end() error {
	var first error
	for len(k.open) > 0 && first == nil {
		first = k.close()
	}
	for _, r := range k.reads {
		_ = r.f.Close()
	}
	k.reads = nil
	return first
}

// take reads everything that a volume holds.
func take(ctx context.Context, v *forstfs.FS) (found, error) {
	all := found{}
	infos := map[string]forstfs.FileInfo{}
	err := v.Walk(ctx, func(p string, i forstfs.FileInfo) error {
		if p != "/" {
			infos[p] = i
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	data := map[uint64][]byte{} // links are read once
	for _, p := range slices.Sorted(maps.Keys(infos)) {
		i := infos[p]
		if i.IsDir() {
			all[p] = foundEntry{dir: true}
			continue
		}
		b, ok := data[i.Inode()]
		if !ok {
			if b, err = readFile(ctx, v, p); err != nil {
				return nil, fmt.Errorf("read %s: %w", p, err)
			}
			if int64(len(b)) != i.Size() {
				return nil, unexpected("%s: Walk says %d bytes, %d are read", p, i.Size(), len(b))
			}
			data[i.Inode()] = b
		}
		all[p] = foundEntry{inode: i.Inode(), data: b}
	}
	return all, nil
}

func readFile(ctx context.Context, v *forstfs.FS, p string) ([]byte, error) {
	f, err := v.Open(ctx, p, nil)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(f)
	return b, errors.Join(err, f.Close())
}

// workDirs names the directories of n workers.
func workDirs(n int) (dirs []string) {
	for i := range n {
		dirs = append(dirs, fmt.Sprintf("/w%d", i))
	}
	return dirs
}

func emptyTrees(n int) (trees []*tree) {
	for range n {
		trees = append(trees, newTree())
	}
	return trees
}
