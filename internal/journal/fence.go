package journal

import (
	"context"
	"fmt"
	"sync"

	"github.com/forst-go/forst/internal/mutant"
)

// takeOver settles k consecutive numbers from its first effective fence on. It returns the number of that fence. Fences
// are sent in batches of up to k; a batch goes out only when every number before it is settled, so that the journal never
// has a gap of k numbers with something behind it.
func (op *opener) takeOver(ctx context.Context, r *replay, nonce uint64) (first uint64, err error) {
	op.mine[nonce] = true
	k := uint64(op.root.Run)
	if mutant.On(mutRunOfOne) {
		k = 1
	}
	epoch := r.epoch + 1
	s := op.sender(true)
	for first == 0 || r.next < first+k {
		from, to := r.next, r.next+k
		if first != 0 {
			to = first + k
		}
		taken := make([]*Frame, to-from)
		errs := make([]error, to-from)
		var wg sync.WaitGroup
		for i := range taken {
			wg.Go(func() { taken[i], errs[i] = op.fence(ctx, s, r, epoch, nonce, from+uint64(i)) })
		}
		wg.Wait()
		for i, f := range taken {
			if errs[i] != nil {
				return 0, fmt.Errorf("fence number %d: %w", from+uint64(i), errs[i])
			}
			if err := op.settled(r, f, epoch, nonce); err != nil {
				return 0, err
			}
			if first == 0 && r.nonce == nonce && r.epoch == epoch {
				first = f.Seq
			}
		}
	}
	return first, nil
}

// fence makes frame n a fence, or returns the frame that is there instead.
func (op *opener) fence(ctx context.Context, s *sender, r *replay, epoch, nonce, n uint64) (*Frame, error) {
	own := &Frame{Kind: FrameFence, Volume: op.root.Volume, Epoch: epoch, Nonce: nonce, Seq: n, Prev: r.last}
	other, err := s.settle(ctx, FrameKey(n), own.Encode(), func(b []byte) error {
		_, err := decodeNumbered(b, n)
		return err
	})
	if err != nil {
		return nil, err
	}
	if other == nil {
		return own, nil
	}
	return decodeNumbered(other, n)
}

// settled takes one number of the run: an own fence, or a frame of somebody else, which counts as in any replay.
func (op *opener) settled(r *replay, f *Frame, epoch, nonce uint64) error {
	if _, err := r.take(f); err != nil {
		return err
	}
	switch {
	case r.dropped:
		return fmt.Errorf("%w (by frame %d) while it was opened; choose another place", ErrDropped, f.Seq)
	case r.epoch < epoch || r.nonce == nonce:
		return nil
	case op.o.Force || op.mine[r.nonce] || mutant.On(mutBusyIgnored):
		return fmt.Errorf("%w: frame %d is a fence of epoch %d", errRestart, f.Seq, r.epoch)
	}
	return fmt.Errorf("%w: it fenced with epoch %d as frame %d at the same time; let it win, or open with Force", ErrBusy, r.epoch, f.Seq)
}
