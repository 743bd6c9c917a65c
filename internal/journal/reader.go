package journal

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/mutant"
)

// Reader follows a volume without ever writing. Its state is always a prefix of the volume's history; after OpenReader or
// Refresh it holds everything that was acknowledged before that call began. Methods may be called from many goroutines;
// Refresh runs one at a time.
type Reader struct {
	store driver.Store
	op    *opener
	busy  chan struct{} // capacity 1: held by the Refresh that runs, and by Close
	at    *replay

	mu     sync.Mutex
	closed bool
	acked  uint64
	epoch  uint64
}

// chunk is how many frames a Refresh holds in memory before it applies them.
const chunk = 64

// OpenReader reads the volume into m. Three sequential requests; four if the journal has more than a thousand names. Errors as for Open, but for ErrBusy, which here means that
// the writer trims faster than the volume can be read.
func OpenReader(ctx context.Context, store driver.Store, m Machine, o *Options) (*Reader, error) {
	opts := o.withDefaults()
	ctx = driver.WithComponent(ctx, driver.CompOpen)
	r := &Reader{store: store, op: newOpener(store, m, &opts, false, new(counters)), busy: make(chan struct{}, 1)}
	err := r.op.again(ctx, func() (err error) {
		if r.at, err = r.op.load(ctx); err != nil {
			return err
		}
		if err := r.op.watch(ctx, r.at); err != nil || opts.Unconfirmed {
			return err
		}
		return r.believe(ctx)
	})
	if err != nil {
		return nil, fmt.Errorf("open the journal read-only: %w", err)
	}
	if !opts.Unconfirmed { // else images above the one that it began with still count
		r.settled()
	}
	opts.emit(Event{Kind: EventOpened, Epoch: r.at.epoch, Seq: r.at.next - 1})
	return r, nil
}

// believe decides whether the gap that was just seen is the end.
func (r *Reader) believe(ctx context.Context) error {
	if mutant.On(mutGapEnds) {
		return nil
	}
	return r.op.lastLook(ctx, r.at.base)
}

// settled notes that the state up to here is the history: as good as an image.
func (r *Reader) settled() {
	r.at.base = r.at.next - 1
	r.mu.Lock()
	r.acked, r.epoch = r.at.base, r.at.epoch
	r.mu.Unlock()
}

// Acked returns the number of the last frame that the state holds.
func (r *Reader) Acked() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.acked
}

// Volume returns the id of the volume.
func (r *Reader) Volume() VolumeID { return r.op.root.Volume }

// Epoch returns the epoch in force in the state.
func (r *Reader) Epoch() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.epoch
}

// Metrics returns the counts since OpenReader.
func (r *Reader) Metrics() Metrics { return r.op.metrics.metrics() }

// Refresh brings the state up to everything that was acknowledged before the call, and reports whether it changed. A GET
// and a LIST if nothing did. Frames are applied only when a LIST of the images has shown that no trimmed number was among
// them. After an error the state is still a prefix of the history, perhaps a later one than before.
func (r *Reader) Refresh(ctx context.Context) (changed bool, err error) {
	ctx = driver.WithComponent(ctx, driver.CompOpen)
	select {
	case r.busy <- struct{}{}:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	defer func() { <-r.busy }()
	r.mu.Lock()
	closed := r.closed
	r.mu.Unlock()
	if closed {
		return false, ErrClosed
	}
	err = r.op.again(ctx, func() error {
		for {
			more, c, err := r.advance(ctx)
			changed = changed || c
			if err != nil || !more {
				return err
			}
		}
	})
	if err != nil {
		err = fmt.Errorf("refresh: %w", err)
	}
	return changed, err
}

// advance reads the frames behind the state, believes or explains the gap behind them, and applies them.
func (r *Reader) advance(ctx context.Context) (more, changed bool, err error) {
	if r.at.dropped {
		return false, false, fmt.Errorf("%w by frame %d", ErrDropped, r.at.last.Seq)
	}
	frames, more, err := r.behind(ctx)
	if mutant.On(mutFollowEarly) {
		for _, f := range frames {
			if _, err := r.at.take(f); err != nil {
				return false, changed, err
			}
			changed = true
		}
		frames = nil
	}
	if err == nil {
		err = r.believe(ctx)
	}
	if errors.Is(err, errRestart) {
		// A newer image: what is missing here was trimmed. Go on from there, which is never behind the state.
		if changed, jerr := r.jump(ctx); jerr != nil || changed {
			return true, changed, jerr
		}
	}
	if err != nil {
		return false, false, err
	}
	for _, f := range frames {
		if _, err := r.at.take(f); err != nil {
			return false, changed, err
		}
		changed = true
	}
	r.settled()
	return more || r.at.dropped, changed, nil
}

// behind reads up to chunk frames behind the state; more says that it saw no gap yet.
func (r *Reader) behind(ctx context.Context) (frames []*Frame, more bool, err error) {
	// A GET is much cheaper than a LIST, and usually nothing is there.
	first, err := readFrame(ctx, r.store, r.at.next)
	if errors.Is(err, errRestart) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	numbers, err := listFrames(ctx, r.store, r.at.next)
	if err != nil {
		return nil, false, err
	}
	gap, most := r.at.next+1, r.at.next+chunk
	for len(numbers) > 0 && numbers[0] == gap && gap < most {
		numbers = numbers[1:]
		gap++
	}
	if gap < most {
		if err := r.op.checkGap(ctx, r.at.base, gap, numbers); err != nil {
			return nil, false, err
		}
	}
	frames = append(frames, first)
	err = fetch(ctx, r.store, r.at.next+1, gap, r.op.o.width(r.store), func(f *Frame) error {
		frames = append(frames, f)
		return nil
	})
	return frames, gap == most, err
}

// jump goes on from the newest image that can be read and is newer than the state.
func (r *Reader) jump(ctx context.Context) (changed bool, err error) {
	images, err := listImages(ctx, r.store)
	if err != nil {
		return false, err
	}
	at, _, err := r.op.newest(ctx, images, r.at.base+1, listing{})
	if err != nil || at == nil { // nil: they are damaged, and from now on known to be
		return false, err
	}
	r.at = at
	r.settled()
	return true, nil
}

// ReadFrame reads a frame whole and checks that it is the one meant, not only one of the same number. A missing or
// another frame is ErrStale: Refresh, and the state names another place. Wrong bytes are ErrDamaged.
func (r *Reader) ReadFrame(ctx context.Context, ref FrameRef) (*Frame, error) {
	return readRef(ctx, r.store, ref)
}

// Close waits for a running Refresh. It does not close the store.
func (r *Reader) Close() error {
	r.busy <- struct{}{}
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	<-r.busy
	return nil
}
