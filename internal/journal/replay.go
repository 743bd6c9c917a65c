package journal

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/mutant"
)

// replay is a cursor with the Machine behind it, and where it came from.
type replay struct {
	cursor
	m          Machine
	base       uint64 // number of the image it began with, 0 for none
	seen       uint64 // highest number of an image listed
	first      bool   // no image was listed, and a writer will have to write one
	emptyBody  []byte // then: the body of the image of the empty state
	tomb       string // key of the image that says that the volume is dropped
	imageBytes int64  // size of the image object
	trimmed    uint64
	swept      uint64
	frames     int   // effective data frames since the image
	bytes      int64 // their size
	voids      int
}

// take moves on by one frame, which must be the next one.
func (r *replay) take(f *Frame) (verdict, error) {
	if f.Seq != r.next {
		return void, fmt.Errorf("%w: frame %d under the key of frame %d", ErrDamaged, f.Seq, r.next)
	}
	v := r.step(f)
	switch v {
	case effectiveData:
		if err := r.m.Apply(f); err != nil {
			if !errors.Is(err, ErrFormat) && !errors.Is(err, ErrDamaged) {
				err = fmt.Errorf("%w: %w", ErrDamaged, err)
			}
			return v, fmt.Errorf("replay frame %d: %w", f.Seq, err)
		}
		r.frames++
		r.bytes += f.Size()
	case effectiveFence:
		r.m.Fence(f.Epoch)
	case void:
		if f.Nonce != r.nonce { // the other fences of a run do not count
			r.voids++
		}
	}
	return v, nil
}

// readFrame reads one frame by number. The error wraps errRestart if it is gone, ErrDamaged or ErrFormat if it cannot be
// understood.
func readFrame(ctx context.Context, store driver.Store, n uint64) (*Frame, error) {
	var err error
	for range 2 { // bytes that are wrong once may be right when read again
		var b []byte
		if b, err = driver.ReadAll(ctx, store, FrameKey(n)); err != nil {
			switch driver.KindOf(err) {
			case driver.KindNotExist:
				return nil, fmt.Errorf("%w: frame %d is gone (%v)", errRestart, n, err) // %v: it must not look like a file that does not exist
			case driver.KindCorrupt:
				err = fmt.Errorf("%w: frame %d: %w", ErrDamaged, n, err)
				continue
			}
			return nil, fmt.Errorf("read frame %d: %w", n, err)
		}
		var f *Frame
		if f, err = decodeNumbered(b, n); err == nil {
			return f, nil
		}
	}
	return nil, err
}

func decodeNumbered(b []byte, n uint64) (*Frame, error) {
	f, err := DecodeFrame(b)
	if err != nil {
		return nil, fmt.Errorf("frame %d (%s): %w", n, FrameKey(n), err)
	}
	if f.Seq != n {
		return nil, fmt.Errorf("%w: %s holds frame %d", ErrDamaged, FrameKey(n), f.Seq)
	}
	return f, nil
}

// fetch reads the frames [from, to), ahead of take by at most width, and hands them over in order. On return no request
// is under way.
func fetch(ctx context.Context, store driver.Store, from, to uint64, width int, take func(*Frame) error) error {
	type result struct {
		f   *Frame
		err error
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	ring := make([]chan result, max(width, 1))
	start := func(n uint64) {
		c := make(chan result, 1)
		ring[n%uint64(len(ring))] = c
		wg.Go(func() {
			f, err := readFrame(ctx, store, n)
			c <- result{f, err}
		})
	}
	ahead := from
	for n := from; n < to; n++ {
		for ; ahead < to && ahead < n+uint64(len(ring)); ahead++ {
			start(ahead)
		}
		r := <-ring[n%uint64(len(ring))]
		if r.err != nil {
			if errors.Is(r.err, ErrDamaged) && mutant.On(mutCRCVoid) {
				r.f = &Frame{Kind: FrameData, Seq: n}
			} else if errors.Is(r.err, ErrDamaged) && mutant.On(mutCRCEnd) {
				return nil
			} else {
				return r.err
			}
		}
		if err := take(r.f); err != nil {
			return err
		}
	}
	return nil
}
