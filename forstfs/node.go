package forstfs

import (
	"sync"
	"sync/atomic"

	"github.com/forst-go/forst/internal/mutant"
	"github.com/forst-go/forst/internal/namespace"
)

// node is the run-time side of one file: who has it open, and the bytes that the acknowledged namespace does not hold yet.
// A file's content is the extents of the namespace followed by the node's segments.
type node struct {
	ino      namespace.Inode
	bulk     bool
	category string
	hinted   atomic.Bool // a Prefetch has come since the file was last opened for reading in order

	loc   *localFile // the bytes are on the local disk
	redo  *redoLog   // and this is where they are durable first
	wal   bool
	born  uint64 // position of the creation in the journal, for files made by this process
	named atomic.Bool

	// Guarded by FS.mu.
	refs    int
	writers int                // handles that may write
	orphan  bool               // no name is left: the namespace has forgotten the file, ext is its beginning
	ext     []namespace.Extent // orphans only; their containers are pinned
	hasView atomic.Pointer[view]

	mu   sync.Mutex // guards what follows; taken after FS.mu
	cond sync.Cond  // on mu: a segment has been uploaded, or err was set
	segs []*segment
	base int64 // bytes in front of the segments
	size int64 // base + all segments
	mtim int64
	err  error // the first failed upload: the file cannot become durable any more
	drop bool  // orphan without handles: uploads that end now are deleted
}

// segment is a run of bytes on its way into the namespace: first in memory, then in an object or in a queued frame.
type segment struct {
	off    int64
	len    int64
	data   []byte // nil once the bytes are in an object
	buf    *buffer
	charge int64 // of the memory budget: bulk files only; small files are bounded by the frame limit
	ext    namespace.Extent
	state  segState
	queued bool // its operation is in the journal's queue
}

type segState uint8

const (
	segTail      segState = iota // growing, in memory; only the last one
	segUploading                 // frozen, on its way into an object
	segDurable                   // in an object
	segInline                    // frozen, goes inline into a frame
)

// view is a file's content as far as the acknowledged namespace holds it; never modified.
type view struct {
	ext  []namespace.Extent
	offs []int64 // file offset of each extent
	size int64
}

func newView(ext []namespace.Extent) *view {
	w := &view{ext: ext, offs: make([]int64, len(ext))}
	for i := range ext {
		w.offs[i] = w.size
		w.size += ext[i].Len
	}
	return w
}

// length is how many bytes were written.
func (n *node) length() int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.size
}

// nodeOf gives the node of an inode, making it if needed. FS.mu is held.
func (v *FS) nodeOf(f namespace.File) *node {
	n := v.nodes[f.Inode]
	if n == nil {
		n = &node{ino: f.Inode, bulk: f.Kind == namespace.Bulk, base: f.Size, size: f.Size, mtim: f.Time}
		n.cond.L = &n.mu
		if f.Kind == namespace.Local {
			n.loc = &localFile{d: v.home, ino: f.Inode}
			if v.home != nil {
				n.size = v.home.size(f.Inode)
				n.base = n.size
			}
		}
		v.nodes[f.Inode] = n
	}
	return n
}

// resize follows the size of a file on a read-only volume.
func (n *node) resize(size int64) {
	n.mu.Lock()
	n.base, n.size = size, size
	n.mu.Unlock()
}

// releaseNode forgets a node that nobody needs. FS.mu is held.
func (v *FS) releaseNode(n *node) {
	if n.refs > 0 {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.orphan {
		v.discard(n)
	}
	if len(n.segs) > 0 && !n.drop {
		return // until the journal has taken them
	}
	if v.nodes[n.ino] == n {
		delete(v.nodes, n.ino)
	}
	if n.loc != nil {
		n.loc.close()
	}
}

// giveUp frees the memory of a file that cannot become durable any more, once nobody has it open: its upload has failed, or the volume.
// FS.mu is held.
func (v *FS) giveUp(n *node) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.err == nil {
		n.err = v.Err() // who opens the file again must not take the end of what is left for the end of the file
	}
	if s := n.tail(); s != nil && n.err != nil {
		v.letGo(s)
	}
}

// letGo frees the memory of a tail that will not be uploaded. n.mu is held.
func (v *FS) letGo(s *segment) {
	v.budget.release(s.charge) // only tails of bulk files are charged
	v.buffers.done(s.buf)
	s.charge, s.buf, s.data = 0, nil, nil
}

// discard gives up what an orphan without handles still has: objects that no frame names are deleted at once, they were never
// reachable. What is queued is released by the journal in its order. FS.mu and n.mu are held.
func (v *FS) discard(n *node) {
	if n.drop {
		return
	}
	n.drop = true
	for _, s := range n.segs {
		if s.state == segDurable && !s.queued && !mutant.On(mutDiscardLeaks) {
			v.gc.add(s.ext.Container)
		}
		if s.state == segTail {
			v.letGo(s)
		}
	}
	v.unpin(n.ext)
	n.ext = nil
}

// orphaned marks a node whose last name is about to go; f is the file as the namespace knows it. FS.mu is held.
func (v *FS) orphaned(f namespace.File) {
	n := v.nodes[f.Inode]
	if n == nil || n.orphan {
		return
	}
	n.orphan = true
	if !mutant.On(mutOrphanForgets) {
		n.ext = f.Extents
	}
	v.pin(n.ext)
	v.releaseNode(n)
}

// pin keeps the containers of extents from deletion. FS.mu is held.
func (v *FS) pin(ext []namespace.Extent) {
	for i := range ext {
		v.pins[ext[i].Container]++
	}
}

func (v *FS) unpin(ext []namespace.Extent) {
	for i := range ext {
		c := ext[i].Container
		if v.pins[c]--; v.pins[c] > 0 && !mutant.On(mutPinShared) {
			continue
		}
		delete(v.pins, c)
		if v.deferred[c] && !mutant.On(mutPinsForgotten) {
			delete(v.deferred, c)
			v.gc.add(c)
		}
	}
}

// content gives the view of a node, rebuilding it if the namespace has moved on.
func (v *FS) content(n *node) *view {
	if w := n.hasView.Load(); w != nil {
		return w
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.contentLocked(n)
}

func (v *FS) contentLocked(n *node) *view {
	if w := n.hasView.Load(); w != nil {
		return w
	}
	ext := n.ext
	if !n.orphan {
		f, _ := v.live.File(n.ino)
		ext = f.Extents
	}
	w := newView(ext)
	n.hasView.Store(w)
	return w
}

// journaled takes the node's first segments away, which the acknowledged namespace holds from now on: bytes in all, in exts.
// FS.mu is held, the namespace has applied the operation.
func (v *FS) journaled(n *node, exts []namespace.Extent) {
	n.mu.Lock()
	var bytes int64
	for i := range exts {
		bytes += exts[i].Len
	}
	for left := bytes; left > 0 && len(n.segs) > 0; {
		s := n.segs[0]
		left -= s.len
		n.segs[0] = nil
		n.segs = n.segs[1:]
	}
	n.base += bytes
	if n.orphan && !n.drop {
		n.ext = append(n.ext[:len(n.ext):len(n.ext)], exts...)
		if !mutant.On(mutOrphanPins) {
			v.pin(exts)
		}
	}
	n.hasView.Store(nil)
	n.mu.Unlock()
	v.releaseNode(n)
}
