package journal

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/mutant"
)

// Drop ends the volume for ever. The frame in flight is still acknowledged; what is queued behind it is not, and fails with
// ErrDropped, as every later call does. Three steps, in this order:
//
//  1. a dropped fence, behind which no frame of anybody is effective;
//  2. one last image that says so, which every later opener finds, however slow it is;
//  3. the frames go but for the fence runs, and all other images.
//
// On nil all three are done: data objects, snapshots and the rest are the caller's to delete now. After an error the
// volume may be dropped or not; call Drop again, or Open it: ErrDropped then means that FinishDrop has to do the rest. Root,
// fence runs, dropped fence and last image stay, because the prefix is never used again.
func (j *Journal) Drop(ctx context.Context) error {
	ctx = driver.WithComponent(ctx, driver.CompGC)
	release, err := j.keepHouse(ctx)
	if err != nil {
		return err
	}
	defer release()
	if err := j.sendDropped(ctx); err != nil {
		return err
	}
	j.smu.Lock()
	c := j.cursor
	j.smu.Unlock()
	j.mu.Lock()
	swept := j.swept
	j.mu.Unlock()
	if j.tomb == nil && !mutant.On(mutDropUnmarked) {
		k, err := j.putImage(ctx, lastImage(&c, j.o.newNonce(), j.trimmed, swept))
		if err != nil {
			return err
		}
		j.tomb = &k
	}
	if err := deleteDropped(ctx, j.store, &c, j.o.width(j.store)); err != nil {
		return err
	}
	j.o.emit(Event{Kind: EventDropped, Epoch: j.epoch, Seq: c.last.Seq})
	return nil
}

// sendDropped asks the commit loop for the dropped fence and waits until it is acknowledged.
func (j *Journal) sendDropped(ctx context.Context) error {
	j.mu.Lock()
	j.dropping = true
	j.mu.Unlock()
	j.poke()
	select {
	case <-j.done:
	case <-ctx.Done():
		return ctx.Err() // the fence may still be sent: there is no way back
	}
	j.smu.Lock()
	defer j.smu.Unlock()
	if j.cursor.dropped {
		return nil
	}
	if err := j.Err(); err != nil {
		return err
	}
	return ErrClosed
}

// lastImage is the image of a dropped volume: no body, only the mark.
func lastImage(c *cursor, nonce, trimmed, swept uint64) *Image {
	return &Image{Dropped: true, Volume: c.volume, Seq: c.next - 1, Nonce: nonce, Epoch: c.epoch, Writer: c.nonce, Last: c.last,
		Runs: append([]Run(nil), c.runs...), TrimmedBelow: trimmed, SweptBelow: swept}
}

// deleteDropped deletes all frames but the fence runs, and all images but those that say that the volume is dropped: the
// dropper and a FinishDrop beside it may have written one each.
func deleteDropped(ctx context.Context, store driver.Store, c *cursor, width int) error {
	images, err := listImages(ctx, store)
	if err != nil {
		return err
	}
	var keys []string
	for _, k := range images {
		if k.seq < c.next-1 {
			keys = append(keys, k.key)
		}
	}
	frames, err := strays(ctx, store, c.runs, math.MaxUint64, width)
	if err != nil {
		return err
	}
	if keys = append(keys, frames...); len(keys) == 0 {
		return nil
	}
	if err := store.Delete(ctx, keys); err != nil {
		return fmt.Errorf("delete the journal of the dropped volume: %w", err)
	}
	return nil
}

// FinishDrop does steps 2 and 3 of Drop for a volume that its dropper left behind: one for which Open says ErrDropped. It is
// safe beside the dropper itself and may be repeated. It refuses a volume that is not dropped: ErrNotDropped.
func FinishDrop(ctx context.Context, store driver.Store, o *Options) error {
	opts := o.withDefaults()
	ctx = driver.WithComponent(ctx, driver.CompGC)
	op := newOpener(store, nobody{}, &opts, false, new(counters))
	err := op.again(ctx, func() error {
		r, err := op.load(ctx)
		if err != nil {
			return err
		}
		if !r.dropped {
			return ErrNotDropped
		}
		if err := op.lastLook(ctx, r.base); err != nil {
			return err
		}
		if last := r.tomb; last == "" {
			im := lastImage(&r.cursor, opts.newNonce(), r.trimmed, r.swept)
			last = ImageKey(im.Seq, im.Nonce)
			if other, err := op.sender(true).settle(ctx, last, im.Encode(), nil); err != nil || other != nil {
				return fmt.Errorf("write the last image %s: %w", last, errors.Join(err, errTaken(other)))
			}
		}
		return deleteDropped(ctx, store, &r.cursor, op.o.width(store))
	})
	if err != nil {
		return fmt.Errorf("finish the drop: %w", err)
	}
	return nil
}

func errTaken(other []byte) error {
	if other == nil {
		return nil
	}
	return errors.New("another object has its name")
}

// nobody is a Machine without state.
type nobody struct{}

func (nobody) Reset()                    {}
func (nobody) Restore([]byte) error      { return nil }
func (nobody) Apply(*Frame) error        { return nil }
func (nobody) Fence(uint64)              {}
func (nobody) Image() ([]byte, error)    { return nil, nil }
func (nobody) FirstLive() (uint64, bool) { return 0, false }
