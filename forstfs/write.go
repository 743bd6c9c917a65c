package forstfs

import (
	"errors"
	"io/fs"

	"github.com/forst-go/forst/internal/mutant"
	"github.com/forst-go/forst/internal/namespace"
)

var errNotWriting = errors.New("the file is open for reading only")

// Write appends p to the file and copies it; it waits only for memory. One goroutine at a time writes to a file.
func (f *File) Write(p []byte) (int, error) {
	if !f.writing {
		return 0, pathErr("write", f.name, errNotWriting)
	}
	if f.closed.Load() {
		return 0, pathErr("write", f.name, fs.ErrClosed)
	}
	if err := f.v.Err(); err != nil {
		return 0, pathErr("write", f.name, err)
	}
	if f.n.loc != nil {
		n, err := f.v.writeLocal(f.n, p)
		return n, pathErr("write", f.name, err)
	}
	if f.n.bulk {
		if err := f.v.admit(len(p)); err != nil {
			return 0, pathErr("write", f.name, err)
		}
	}
	if f.n.redo != nil {
		if err := f.n.redo.write(p); err != nil {
			return 0, pathErr("write", f.name, err)
		}
	}
	done := 0
	for done < len(p) {
		k, err := f.v.append(f.n, p[done:])
		done += k
		if err != nil {
			return done, pathErr("write", f.name, err)
		}
	}
	return done, nil
}

// append takes as much of p as the node's tail has room for.
func (v *FS) append(n *node, p []byte) (int, error) {
	limit := v.segmentLimit(n)
	var reserved int64
	b := v.budgetOf(n)
	defer func() { b.release(reserved) }()
	n.mu.Lock()
	defer n.mu.Unlock()
	for {
		if n.err != nil {
			return 0, n.err
		}
		s := n.tail()
		if s == nil {
			s = &segment{off: n.size}
		}
		k := int(min(int64(len(p)), max(limit-s.len, 1)))
		size := 0 // of the memory to be charged: a bulk file's when it grows, of others when they fill an object
		switch {
		case n.bulk && len(s.data)+k > cap(s.data):
			size = nextCap(len(s.data)+k, limit)
		case !n.bulk && s.len+int64(k) >= limit:
			size = len(s.data) + k
		}
		if size > 0 {
			if more := int64(size) - s.charge; reserved < more {
				// Memory is waited for without the lock; the tail may have been taken away meanwhile, so look again.
				// What was taken for the old one is given back first: two writers must not wait for each other's part.
				n.mu.Unlock()
				b.release(reserved)
				reserved = 0
				v.reserveOf(b, more)
				n.mu.Lock()
				reserved = more
				continue
			}
			reserved -= int64(size) - s.charge
			s.charge = int64(size)
		}
		if n.bulk && size > 0 {
			grown := v.buffers.get(size)
			grown.data = append(grown.data, s.data...)
			v.buffers.done(s.buf)
			s.buf, s.data = grown, grown.data
		}
		if n.tail() != s {
			n.segs = append(n.segs, s)
		}
		if mutant.On(mutWriteAliases) && len(s.data) == 0 && !n.bulk {
			s.data = p[:k:k]
		} else {
			s.data = append(s.data, p[:k]...)
		}
		s.len += int64(k)
		n.size += int64(k)
		n.mtim = v.now()
		if s.len >= limit {
			v.upload(n, s)
		}
		return k, nil
	}
}

const (
	objectSteps = 4       // the first objects of a bulk file are this much smaller than the store's preferred size
	tailParts   = 4       // objects that a large tail is split into when it must become durable, to travel at once
	tailPart    = 1 << 20 // and how large such an object is at least
)

// segmentLimit is the size at which a tail becomes an object. The objects of a bulk file grow with the file: small ones travel while the next is
// written, so that Close has little left to wait for; large files have few objects all the same.
func (v *FS) segmentLimit(n *node) int64 {
	if !n.bulk {
		return min(int64(v.o.FrameLimit), v.objectMost)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	limit := v.objectSize / objectSteps
	for limit < v.objectSize && n.size >= limit*2*objectSteps { // steps of two, so that buffers fit again
		limit *= 2
	}
	for grown := n.size / (64 * v.objectSize); grown > 0 && limit < v.objectSize*8 && 2*limit <= v.budget.max/2; grown /= 2 {
		limit *= 2
	}
	return min(limit, v.objectMost)
}

// split cuts a tail into a few segments that are uploaded at once: one connection is slower than the store. n.mu is held.
func (v *FS) split(n *node, s *segment) []*segment {
	parts := min(tailParts, s.len/tailPart)
	if parts < 2 {
		return []*segment{s}
	}
	cut := make([]*segment, 0, parts)
	for left, size := s.len, (s.len+parts-1)/parts; left > 0; left -= size {
		k := min(size, left)
		at := s.len - left
		cut = append(cut, &segment{off: s.off + at, len: k, data: s.data[at : at+k : at+k], buf: s.buf})
		if n.bulk {
			cut[len(cut)-1].charge = k
		}
	}
	if n.bulk {
		cut[0].charge += s.charge - s.len
	}
	if s.buf != nil {
		v.buffers.share(s.buf, len(cut))
	}
	if mutant.On(mutPartsMixed) {
		cut[0].data, cut[1].data = cut[1].data, cut[0].data
	}
	n.segs = append(n.segs[:len(n.segs)-1], cut...)
	return cut
}

// closeInline is how much of a small file goes inline when nobody waits for it: a larger frame would hold up other files' syncs for longer than a
// second object costs.
const closeInline = 128 << 10

// syncInline is the same for a Sync: more than this would cost the syncs of other files, which share the frame, as much as a third of their round
// trip, and travels faster in parallel objects anyhow, although a second round trip follows.
const syncInline = 1 << 20

// flush brings everything written to the node so far into the journal's queue and returns the position behind it; of a small file at most
// inline bytes go into a frame, more become an object. It waits for uploads, not for the journal.
//
// Nothing is done on a volume that is dead, nor for a file without a name: nobody could ever ask for these bytes.
func (v *FS) flush(n *node, inline int64) (uint64, error) {
	if err := v.Err(); err != nil {
		return 0, err
	}
	v.mu.Lock()
	orphan := n.orphan
	v.mu.Unlock()
	if orphan || n.loc != nil {
		return 0, nil
	}
	for {
		n.mu.Lock()
		if s := n.tail(); s != nil && (n.bulk || s.len > inline) {
			for _, part := range v.split(n, s) {
				v.upload(n, part)
			}
		}
		for n.uploading() && n.err == nil {
			n.cond.Wait()
		}
		err := n.err
		n.mu.Unlock()
		if err != nil {
			return 0, err
		}
		if pos, ok := v.enqueueBytes(n); ok {
			return pos, nil
		}
	}
}

func (n *node) uploading() bool {
	for _, s := range n.segs {
		if s.state == segUploading && !mutant.On(mutSealEarly) {
			return true
		}
	}
	return false
}

// enqueueBytes queues the operations for all bytes of a node; false if an upload has begun meanwhile.
func (v *FS) enqueueBytes(n *node) (uint64, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.uploading() {
		return 0, false
	}
	return v.enqueueLocked(n), true
}

// enqueueLocked queues what of the node's bytes is ready: objects, and the tail of a small file inline. FS.mu and n.mu are held.
func (v *FS) enqueueLocked(n *node) uint64 {
	if n.orphan { // nobody can ask for these bytes after a crash
		return 0
	}
	var pos uint64
	ext := &namespace.Op{Kind: namespace.Extend, Inode: n.ino}
	flush := func() {
		if len(ext.Extents) > 0 {
			pos = v.journal.Enqueue(ext.AppendTo(nil), nil)
			ext.Extents = nil
		}
	}
	for _, s := range n.segs {
		if s.queued {
			continue
		}
		switch {
		case s.state == segDurable || s.state == segUploading && mutant.On(mutSealEarly):
			s.queued = true
			ext.Extents = append(ext.Extents, s.ext)
		case s.state == segTail && !n.bulk && s.len > 0:
			if !mutant.On(mutSegmentOrder) {
				flush()
			}
			s.state, s.queued = segInline, true
			op := namespace.Op{Kind: namespace.Append, Inode: n.ino, Len: s.len}
			pos = v.journal.Enqueue(op.AppendTo(nil), s.data)
		}
	}
	flush()
	return pos
}

// Sync makes everything written to the file so far, through any handle, durable, and every operation on names issued before. An unlinked file is
// nobody's any more: nil at once.
func (f *File) Sync() error {
	if f.closed.Load() {
		return pathErr("sync", f.name, fs.ErrClosed)
	}
	return pathErr("sync", f.name, f.v.syncNode(f))
}

func (v *FS) syncNode(f *File) error {
	if f.dir || v.readOnly {
		return v.Sync(f.ctx)
	}
	v.mu.Lock()
	orphan := f.n.orphan
	v.mu.Unlock()
	if orphan {
		return v.Err()
	}
	switch {
	case f.n.loc != nil:
		return v.syncLocal(f.ctx, f.n)
	case f.n.redo != nil:
		return v.syncFollowed(f.ctx, f.n)
	}
	pos, err := v.flush(f.n, min(syncInline, int64(v.o.FrameLimit)))
	if err != nil {
		return err
	}
	if mutant.On(mutSyncNothing) || mutant.On(mutSyncBytesOnly) && pos == 0 {
		return v.Err()
	}
	return v.wait(f.ctx)
}

// SyncHint tells a bulk file that its bytes may travel now; it returns at once and promises nothing. Any other file is synced.
func (f *File) SyncHint() error {
	if !f.n.bulk {
		return f.Sync()
	}
	return pathErr("sync", f.name, f.v.Err())
}

// Close ends the handle. Of a bulk file that was written, every byte is in the store when Close returns nil, and its place in
// the order is fixed: the next Sync of anything makes it durable by name. Of any other file the bytes are in the order. Close of
// a clean file costs nothing.
func (f *File) Close() error {
	if f.closed.Swap(true) {
		return pathErr("close", f.name, fs.ErrClosed)
	}
	f.ahead.stop()
	var err error
	if f.writing && !(mutant.On(mutCloseBytes) && !f.n.bulk) {
		_, err = f.v.flush(f.n, closeInline)
		if err == nil {
			err = f.v.Err()
		}
		if err == nil {
			err = f.v.throttle(f.ctx)
		}
	}
	if f.writing && f.n.redo != nil {
		f.n.redo.close(f.n.length())
	}
	f.v.mu.Lock()
	if f.writing {
		f.n.writers--
	}
	if f.n.refs--; f.n.refs == 0 {
		f.v.giveUp(f.n)
	}
	f.v.releaseNode(f.n)
	f.v.mu.Unlock()
	return pathErr("close", f.name, err)
}
