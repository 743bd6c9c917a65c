package forstfs

import (
	"context"
	"io"
	"sync"
)

const (
	aheadFirst = 128 << 10 // the first range read ahead
	aheadMax   = 8 << 20   // the largest
	aheadDeep  = 3         // ranges in flight
	aheadAfter = 3         // sequential reads until a handle without a hint reads ahead
)

// readahead serves one handle's reads: as they come, or, when they go through the file in order, from ranges fetched ahead in growing sizes,
// several at once. Ranges ahead do not enter the cache; their memory is bounded over all handles of the volume.
type readahead struct {
	f *File

	mu     sync.Mutex
	next   int64 // where a sequential read would begin
	streak int
	window int64
	chunks []*chunk // contiguous, in order
	cancel context.CancelFunc
	ctx    context.Context
	done   bool
}

type chunk struct {
	off   int64
	data  []byte
	err   error
	ready chan struct{}
}

func (r *readahead) readAt(p []byte, off int64) (int, error) {
	a := Access(r.f.access.Load())
	if a == AccessRandom {
		return r.direct(p, off)
	}
	r.mu.Lock()
	if off == r.next {
		r.streak++
	} else if len(r.chunks) == 0 || off < r.chunks[0].off || off > r.end() {
		r.streak = 0
		r.drop()
	}
	r.next = off + int64(len(p))
	on := a == AccessSequential && (off == 0 || r.streak > 0 || len(r.chunks) > 0) || r.streak >= aheadAfter
	r.mu.Unlock()
	if !on {
		return r.direct(p, off)
	}
	return r.readAhead(p, off)
}

// direct reads what is asked for, through the cache.
func (r *readahead) direct(p []byte, off int64) (int, error) {
	f := r.f
	h := f.how(Access(f.access.Load()) == AccessSequential)
	return f.v.readNode(f.ctx, f.n, p, off, f.v.first(f.n, p, off, h))
}

// readSeq is a read at the handle's own position: sequential by nature.
func (r *readahead) readSeq(p []byte, off int64) (int, error) {
	r.mu.Lock()
	r.streak = max(r.streak, aheadAfter)
	r.next = off
	r.mu.Unlock()
	if Access(r.f.access.Load()) == AccessRandom {
		r.f.access.Store(uint32(AccessDefault))
	}
	return r.readAt(p, off)
}

func (r *readahead) end() int64 {
	c := r.chunks[len(r.chunks)-1]
	return c.off + int64(len(c.data))
}

// drop forgets all chunks; those under way end by themselves. r.mu is held.
func (r *readahead) drop() {
	for _, c := range r.chunks {
		r.f.v.aheadBudget.release(int64(len(c.data)))
	}
	r.chunks, r.window = nil, 0
	if r.cancel != nil {
		r.cancel()
		r.cancel, r.ctx = nil, nil
	}
}

// stop ends the read-ahead of a handle that is closed.
func (r *readahead) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done = true
	r.drop()
}

func (r *readahead) readAhead(p []byte, off int64) (int, error) {
	v, n := r.f.v, r.f.n
	got := 0
	for got < len(p) {
		c := r.chunkAt(off+int64(got), v.content(n))
		if c == nil { // nothing ahead: the end of what the namespace holds, or no memory to spare
			k, err := v.readNode(r.f.ctx, n, p[got:], off+int64(got), r.f.how(true))
			return got + k, err
		}
		select {
		case <-c.ready:
		case <-r.f.ctx.Done():
			return got, context.Cause(r.f.ctx)
		}
		if c.err != nil {
			k, err := v.readNode(r.f.ctx, n, p[got:], off+int64(got), r.f.how(true))
			return got + k, err
		}
		got += copy(p[got:], c.data[off+int64(got)-c.off:])
	}
	return got, nil
}

// chunkAt gives the chunk that holds the offset, drops those before it and sees to it that enough lies ahead.
func (r *readahead) chunkAt(off int64, w *view) *chunk {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.done || off >= w.size {
		return nil
	}
	for len(r.chunks) > 0 && r.chunks[0].off+int64(len(r.chunks[0].data)) <= off {
		r.f.v.aheadBudget.release(int64(len(r.chunks[0].data)))
		r.chunks = r.chunks[1:]
	}
	if len(r.chunks) > 0 && off < r.chunks[0].off {
		r.drop()
	}
	at := off
	if len(r.chunks) > 0 {
		at = r.end()
	}
	for len(r.chunks) < aheadDeep && at < w.size {
		r.window = min(max(2*r.window, aheadFirst), aheadMax)
		k := min(r.window, w.size-at)
		if !r.f.v.aheadBudget.try(k) {
			break
		}
		r.fetch(at, k, w)
		at += k
	}
	if len(r.chunks) == 0 {
		return nil
	}
	return r.chunks[0]
}

// fetch starts to read one range. r.mu is held.
func (r *readahead) fetch(off, k int64, w *view) {
	if r.ctx == nil {
		r.ctx, r.cancel = context.WithCancel(r.f.v.bg)
	}
	c := &chunk{off: off, data: make([]byte, k), ready: make(chan struct{})}
	r.chunks = append(r.chunks, c)
	ctx, v := r.ctx, r.f.v
	if !v.spawn(func() {
		defer close(c.ready)
		c.err = v.readView(ctx, w, c.data, off, r.f.how(true))
	}) {
		c.err = ErrClosed
		close(c.ready)
	}
}

var _ io.ReaderAt = (*File)(nil)
