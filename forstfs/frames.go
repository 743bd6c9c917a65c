package forstfs

import (
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/forst-go/forst/internal/journal"
	"github.com/forst-go/forst/internal/namespace"
)

const (
	smallFrame  = 16 << 10 // inline bytes; larger frames go to the block cache
	framesMost  = 4096     // frames
	framesBytes = 4 << 20  // and what they hold
)

// frames keeps the inline bytes of small frames, which an engine reads back when it opens, and a pack when it is due. In the block cache
// each of them would take a whole block.
type frames struct {
	mu    sync.Mutex
	lru   *simplelru.LRU[namespace.Container, keptFrame]
	bytes int64
	most  int64 // bytes
	count int
}

type keptFrame struct {
	off    int64 // where the inline bytes begin in the frame
	inline []byte
}

func newFrames(o *Options) *frames {
	if o.CacheMode == CacheOff || o.CacheBytes < 0 {
		return &frames{}
	}
	f := &frames{most: framesBytes, count: framesMost}
	if o.CacheMode == CacheLocalOnly { // all that are live, and those of the image before
		f.most, f.count = max(f.most, 2*o.ImageBytes), max(f.count, 4*o.ImageFrames)
	}
	f.lru, _ = simplelru.NewLRU[namespace.Container, keptFrame](f.count, nil) // the only error is a size below 1
	return f
}

// keep takes a small frame; false means that it is none, or that nothing is kept.
func (s *frames) keep(c namespace.Container, f *journal.Frame) bool {
	if s.lru == nil || len(f.Inline) > smallFrame {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lru.Contains(c) {
		return true
	}
	for s.lru.Len() > 0 && (s.bytes+int64(len(f.Inline)) > s.most || s.lru.Len() >= s.count) {
		_, old, _ := s.lru.RemoveOldest()
		s.bytes -= int64(len(old.inline))
	}
	s.lru.Add(c, keptFrame{f.InlineOffset(), append([]byte(nil), f.Inline...)})
	s.bytes += int64(len(f.Inline))
	return true
}

// read fills the piece from a kept frame.
func (s *frames) read(q piece) bool {
	if s.lru == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	k, ok := s.lru.Get(q.c)
	at := q.off - k.off
	if !ok || at < 0 || at+int64(len(q.p)) > int64(len(k.inline)) {
		return false
	}
	copy(q.p, k.inline[at:])
	return true
}
