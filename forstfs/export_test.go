package forstfs

import (
	"context"
	"errors"
	"runtime"

	"github.com/forst-go/forst/cache"
	"github.com/forst-go/forst/internal/namespace"
)

// HeldLock names a lock that could not be taken however often it was tried, or "". A goroutine that holds one of these for a moment
// never waits for anything, so somebody who can never be overtaken is the caller itself.
func (v *FS) HeldLock() string {
	try := func(lock func() bool, unlock func()) bool {
		for range 1 << 22 {
			if lock() {
				unlock()
				return true
			}
			runtime.Gosched()
		}
		return false
	}
	if !try(v.machine.mu.TryLock, v.machine.mu.Unlock) {
		return "machine.mu"
	}
	var nodes []*node
	if !try(func() bool {
		if !v.mu.TryLock() {
			return false
		}
		nodes = nodes[:0]
		for _, n := range v.nodes {
			nodes = append(nodes, n)
		}
		return true
	}, v.mu.Unlock) {
		return "FS.mu"
	}
	for _, n := range nodes {
		if !try(n.mu.TryLock, n.mu.Unlock) {
			return "node.mu"
		}
	}
	return ""
}

// SameNamespace reports whether what this process sees is what is acknowledged, byte for byte. Nothing may be under way.
func (v *FS) SameNamespace() bool {
	v.machine.mu.Lock()
	st := v.machine.acked.Clone()
	st.Forget()
	acked := st.Encode()
	v.machine.mu.Unlock()
	v.mu.Lock()
	defer v.mu.Unlock()
	return string(acked) == string(v.live.Encode())
}

// Retained is what an idle volume holds on to: files in memory, pins, deferred deletions.
func (v *FS) Retained() (nodes, pins, deferred int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.nodes), len(v.pins), len(v.deferred)
}

// SegmentLimit is how large the next object of a bulk file of this size would be.
func (v *FS) SegmentLimit(size int64) int64 { return v.segmentLimit(newTestNode(size)) }

func newTestNode(size int64) *node {
	n := &node{ino: namespace.Inode(1), bulk: true, size: size}
	n.cond.L = &n.mu
	return n
}

// UploadBytes is the memory of bulk files: in use and kept for use.
func (v *FS) UploadBytes() (used, kept, limit int64) {
	v.buffers.mu.Lock()
	defer v.buffers.mu.Unlock()
	return v.buffers.out, v.buffers.bytes, v.budget.max
}

// CacheClosed reports whether the cache serves nobody any more.
func (v *FS) CacheClosed() bool {
	_, err := v.cache.ReadAt(context.Background(), &cache.Object{Size: 1}, make([]byte, 1), 0, cache.Random, cache.ReasonRead)
	return errors.Is(err, cache.ErrClosed)
}

// ObjectKey is the key of a data object or of the body of a snapshot.
var ObjectKey = objectKey
