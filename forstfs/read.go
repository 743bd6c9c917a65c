package forstfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sort"
	"sync"

	"github.com/forst-go/forst/cache"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/journal"
	"github.com/forst-go/forst/internal/mutant"
	"github.com/forst-go/forst/internal/namespace"
)

// parallelReads bounds the pieces of one read that are fetched at once.
const parallelReads = 16

// ReadAt fills p from off on. A read that ends exactly at the end of the file returns nil; one that reaches past it returns what is
// there and io.EOF. Other errors say that the bytes could not be had; they never look like the end.
func (f *File) ReadAt(p []byte, off int64) (int, error) {
	if err := f.readable(off); err != nil {
		return 0, pathErr("read", f.name, err)
	}
	n, err := f.readAt(p, off)
	if mutant.On(mutEOFFull) && err == nil && off+int64(n) == f.n.length() {
		err = io.EOF
	}
	if err != nil && err != io.EOF {
		err = pathErr("read", f.name, err)
	}
	return n, err
}

func (f *File) readAt(p []byte, off int64) (int, error) {
	if f.n.loc != nil {
		return f.n.loc.readAt(p, off)
	}
	return f.ahead.readAt(p, off)
}

// Read reads on from where the last Read ended.
func (f *File) Read(p []byte) (int, error) {
	f.posMu.Lock()
	defer f.posMu.Unlock()
	if err := f.readable(0); err != nil {
		return 0, pathErr("read", f.name, err)
	}
	if len(p) == 0 {
		return 0, nil
	}
	var n int
	var err error
	if f.n.loc != nil {
		n, err = f.n.loc.readAt(p, f.pos)
	} else {
		n, err = f.ahead.readSeq(p, f.pos)
	}
	f.pos += int64(n)
	if n > 0 && err == io.EOF {
		err = nil
	}
	if err != nil && err != io.EOF {
		err = pathErr("read", f.name, err)
	}
	return n, err
}

func (f *File) readable(off int64) error {
	switch {
	case f.closed.Load():
		return fs.ErrClosed
	case f.dir:
		return ErrIsDir
	case off < 0:
		return fs.ErrInvalid
	}
	if err := f.v.fresh(f.ctx); err != nil {
		return err
	}
	return f.v.usable()
}

// Prefetch brings a range into the cache in the background. It promises nothing.
func (f *File) Prefetch(off, n int64) error {
	if err := f.readable(off); err != nil {
		return pathErr("prefetch", f.name, err)
	}
	if f.n.loc == nil {
		f.n.hinted.Store(true)
		f.v.prefetch(f.v.content(f.n), off, n)
	}
	return nil
}

func (v *FS) prefetch(w *view, off, n int64) {
	if n <= 0 || off >= w.size {
		return
	}
	end := off + min(n, w.size-off)
	for i := w.at(off); i < len(w.ext) && w.offs[i] < end; i++ {
		e := &w.ext[i]
		if e.Container.Kind == namespace.Frame {
			continue
		}
		lo := max(off, w.offs[i]) - w.offs[i]
		hi := min(end, w.offs[i]+e.Len) - w.offs[i]
		o := v.object(e.Container)
		o.Source = source{v, e.Container, false}
		v.cache.Prefetch(driver.WithComponent(v.bg, driver.CompReadahead), o, e.Off+lo, hi-lo)
	}
}

// how is the manner of one read.
type how struct {
	hint   cache.Hint
	reason cache.Reason
	comp   driver.Component
	tail   int64 // with the hint Tail: bytes that are fetched in front
}

// how tells the manner of the handle's reads. A scan has asked for a Prefetch of the table before it turns to reading it in order; a compaction reads in
// order from the start.
func (f *File) how(sequential bool) how {
	if !sequential {
		return how{hint: cache.Random, reason: cache.ReasonRead, comp: driver.CompRead}
	}
	if f.compaction {
		return how{hint: cache.Sequential, reason: cache.ReasonCompaction, comp: driver.CompReadahead}
	}
	return how{hint: cache.Sequential, reason: cache.ReasonScan, comp: driver.CompReadahead}
}

const (
	footer       = 4 << 10   // a read of at most this that ends with the file looks for a table's footer
	tailMin      = 256 << 10 // what is fetched with it: footer, index and filter
	tailMost     = 2 << 20
	tailFraction = 32 // the part of a file that its index and filter take at most
)

// first reads the end of a table: what lies in front of it is fetched with it, because index and filter are wanted next.
func (v *FS) first(n *node, p []byte, off int64, h how) how {
	w := v.content(n)
	if !n.bulk || w.size == 0 || len(p) > footer || off+int64(len(p)) != w.size || h.hint != cache.Random {
		return h
	}
	h.hint, h.tail = cache.Tail, min(max(w.size/tailFraction, tailMin), tailMost)
	if last := w.offs[len(w.offs)-1]; w.size-last < h.tail { // the last object is short: another one holds the rest
		lo := max(0, w.size-h.tail)
		v.prefetch(w, lo, last-lo)
	}
	return h
}

// readNode fills p from a file's content at off; short only at the end of the file, with io.EOF.
func (v *FS) readNode(ctx context.Context, n *node, p []byte, off int64, h how) (int, error) {
	for {
		w := v.content(n)
		var err, stop error
		total := len(p)
		if off <= w.size && int64(total) <= w.size-off { // not off+total, which may be more than an int64 holds
			err = v.readView(ctx, w, p, off, h)
		} else {
			var front []byte
			var rest []piece
			w, front, rest, total, stop = v.behind(n, p, off)
			if mutant.On(mutShortNil) && stop == io.EOF && total > 0 {
				stop = nil
			}
			if err = v.readView(ctx, w, front, off, h); err == nil && len(rest) > 0 {
				err = parallel(rest, func(q piece) error { return v.readPiece(ctx, q, h) })
			}
		}
		switch {
		case err == nil:
			return total, stop
		case (errors.Is(err, ErrStale) || errors.Is(err, ErrSourceGone)) && !mutant.On(mutStaleForGood) && w.moved(v.content(n), off, total):
			// Packed meanwhile, and the frame trimmed; or detached, and the source's object gone.
		default:
			return 0, err
		}
	}
}

// behind serves the part of a read that lies behind the acknowledged content: what is in memory is copied, what is in objects already
// is returned as pieces. front is the part of p before it and w the view that goes with that; total is what can be read at all,
// with io.EOF if that is less than p.
func (v *FS) behind(n *node, p []byte, off int64) (w *view, front []byte, rest []piece, total int, stop error) {
	v.mu.Lock()
	w = v.contentLocked(n)
	n.mu.Lock()
	v.mu.Unlock()
	defer n.mu.Unlock()
	if w.size != n.base { // cannot be; but then bytes of p would be taken for the file's
		return w, nil, nil, 0, fmt.Errorf("%w: the namespace has %d bytes of inode %d, %d are expected", ErrDamaged, w.size, n.ino, n.base)
	}
	if int64(len(p)) > n.size-off {
		p, stop = p[:max(0, n.size-off)], io.EOF
	}
	end := off + int64(len(p))
	if mutant.On(mutUnsyncedHidden) && len(n.segs) > 0 && end > n.base {
		return w, p[:max(0, min(w.size, end)-off)], nil, int(max(0, min(w.size, end)-off)), io.EOF
	}
	for _, s := range n.segs {
		lo, hi := max(off, s.off), min(end, s.off+s.len)
		if lo >= hi {
			continue
		}
		switch to := p[lo-off : hi-off]; {
		case s.state == segDurable:
			rest = append(rest, piece{s.ext.Container, s.ext.Off + lo - s.off, to})
		case s.data == nil: // its upload failed
			return w, nil, nil, 0, n.err
		default:
			copy(to, s.data[lo-s.off:hi-s.off])
		}
	}
	return w, p[:max(0, min(w.size, end)-off)], rest, len(p), stop
}

// moved reports whether now has the bytes [off, off+n), as far as w has them at all, somewhere else: only then is it worth while to
// read again what was not where w says.
func (w *view) moved(now *view, off int64, n int) bool {
	end := min(off+int64(n), w.size)
	for i := w.at(off); i < len(w.ext) && w.offs[i] < end; i++ {
		j := now.at(w.offs[i])
		if j >= len(now.ext) || now.offs[j] != w.offs[i] || now.ext[j] != w.ext[i] {
			return true
		}
	}
	return false
}

// at gives the index of the extent that holds the offset.
func (w *view) at(off int64) int {
	return max(0, sort.Search(len(w.offs), func(i int) bool { return w.offs[i] > off })-1)
}

// piece is the part of a read that lies in one extent.
type piece struct {
	c   namespace.Container
	off int64 // in the container
	p   []byte
}

// readView fills p from a view, which holds all of it.
func (v *FS) readView(ctx context.Context, w *view, p []byte, off int64, h how) error {
	if len(p) == 0 {
		return nil
	}
	i := w.at(off)
	if e := &w.ext[i]; off+int64(len(p)) <= w.offs[i]+e.Len { // the common case allocates nothing
		return v.readPiece(ctx, piece{e.Container, e.Off + off - w.offs[i], p}, h)
	}
	var todo []piece
	for len(p) > 0 {
		e := &w.ext[i]
		at := off - w.offs[i]
		k := min(int64(len(p)), e.Len-at)
		q := piece{e.Container, e.Off + at, p[:k]}
		if !v.cached(q, h) {
			todo = append(todo, q)
		}
		p, off, i = p[k:], off+k, i+1
	}
	return parallel(todo, func(q piece) error { return v.readPiece(ctx, q, h) })
}

// parallel calls fn for each item, some at once, and returns the first error.
func parallel[T any](items []T, fn func(T) error) error { return parallelN(items, parallelReads, fn) }

func parallelN[T any](items []T, most int, fn func(T) error) error {
	if len(items) == 1 {
		return fn(items[0])
	}
	var wg sync.WaitGroup
	slots := make(chan struct{}, most)
	errs := make([]error, len(items))
	for i, it := range items {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			errs[i] = fn(it)
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// cached reads a piece from the cache alone, be it in memory or on disk.
func (v *FS) cached(q piece, h how) bool {
	return v.cache.LookupAll(v.cacheID(q.c), objectSize(q.c), q.p, q.off, h.hint, h.reason)
}

func (v *FS) readPiece(ctx context.Context, q piece, h how) error {
	if q.c.Kind == namespace.Frame {
		return v.readInline(ctx, q, h)
	}
	if v.cached(q, h) {
		return nil // a hit allocates nothing
	}
	o := v.object(q.c)
	o.Tail = h.tail
	if h.hint == cache.Random && v.liveBytes.Load() > v.cache.Capacity() {
		h.hint = cache.Exact // what is fetched beside would push out what was
	}
	n, err := v.cache.ReadAt(driver.WithComponent(ctx, h.comp), o, q.p, q.off, h.hint, h.reason)
	if err == nil && n < len(q.p) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return staleErr(err)
	}
	return nil
}

// readInline reads bytes of a frame. A frame that is not in the cache is fetched and verified as a whole.
func (v *FS) readInline(ctx context.Context, q piece, h how) error {
	if q.c.Owner != 0 {
		return fmt.Errorf("%w: frame %d of another volume is referred to; a clone borrows objects and bodies of snapshots only", ErrDamaged, q.c.Num)
	}
	if v.frames.read(q) || v.cached(q, h) {
		return nil
	}
	f := v.lastFrame.Load()
	if f == nil || frameContainer(f) != q.c {
		v.counts.foreground.Add(1)
		var err error
		if f, err = v.readFrame(driver.WithComponent(ctx, h.comp), frameRef(q.c)); err != nil {
			return staleErr(err)
		}
		v.keepFrame(f)
		v.lastFrame.Store(f)
	}
	return fromFrame(f, q)
}

// frameRef is what the journal calls a frame that is a container.
func frameRef(c namespace.Container) journal.FrameRef {
	return journal.FrameRef{Seq: c.Num, ID: journal.Identity{Nonce: c.Nonce, CRC: c.CRC}}
}

// fromFrame copies a piece out of its frame.
func fromFrame(f *journal.Frame, q piece) error {
	at := q.off - f.InlineOffset()
	if at < 0 || at+int64(len(q.p)) > int64(len(f.Inline)) {
		return fmt.Errorf("%w: frame %d does not hold the bytes %d+%d", ErrDamaged, f.Seq, q.off, len(q.p))
	}
	copy(q.p, f.Inline[at:])
	return nil
}

// keepFrame puts a frame's inline bytes into the cache.
func (v *FS) keepFrame(f *journal.Frame) {
	if v.frames.keep(frameContainer(f), f) {
		return
	}
	off := f.InlineOffset()
	v.cache.Insert(v.cacheID(frameContainer(f)), off+int64(len(f.Inline)), 0, append(make([]byte, off, off+int64(len(f.Inline))), f.Inline...), cache.ReasonWrite)
}

func (v *FS) cacheInsert(c namespace.Container, data []byte) {
	v.cache.Insert(v.cacheID(c), int64(len(data)), 0, data, cache.ReasonWrite)
}

// object describes a data object to the cache.
func (v *FS) object(c namespace.Container) *cache.Object {
	return &cache.Object{ID: v.cacheID(c), Size: objectSize(c), Source: source{v, c, true}}
}

// objectSize is the size of a data object in bytes; that of a frame is not known, 0.
func objectSize(c namespace.Container) int64 {
	if c.Kind == namespace.Frame {
		return 0
	}
	return int64(c.CRC)
}

// source reads a data object for the cache. A fetch may outlast the read that began it, but not the volume.
type source struct {
	v          *FS
	c          namespace.Container
	foreground bool // a read waits for it
}

func (s source) Fetch(ctx context.Context, off, n int64) (io.ReadCloser, error) {
	done, ok := s.v.begin()
	if !ok {
		return nil, ErrClosed
	}
	ctx, cancel := context.WithCancel(ctx)
	b := &body{done: done, cancel: cancel, stop: context.AfterFunc(s.v.bg, cancel)}
	if s.foreground {
		s.v.counts.foreground.Add(1)
	}
	key := objectKey(s.c)
	err := s.v.get(ctx, s.c, func(store driver.Store) (err error) {
		b.ReadCloser, err = store.Get(ctx, key, off, n)
		return err
	})
	if err != nil {
		b.end()
		return nil, err
	}
	return b, nil
}

// body is an answer that Close of the volume cuts off and waits for.
type body struct {
	io.ReadCloser
	done   func()
	cancel context.CancelFunc
	stop   func() bool
}

func (b *body) Close() error {
	err := b.ReadCloser.Close()
	b.end()
	return err
}

func (b *body) end() {
	b.stop()
	b.cancel()
	b.done()
}
