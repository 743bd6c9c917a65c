package journal

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/mutant"
)

// batch is one frame on its way.
type batch struct {
	kind    FrameKind
	entries []entry
	last    uint64 // position of the last entry
}

// run is the commit loop: one frame in flight, for ever in the same order.
func (j *Journal) run() {
	defer close(j.done)
	for {
		b, ok := j.nextBatch()
		if !ok {
			return
		}
		if err := j.commit(b); err != nil {
			j.fail(err)
			return
		}
		if b.kind == FrameDropped {
			j.fail(fmt.Errorf("%w by this process", ErrDropped))
			return
		}
	}
}

// nextBatch waits until there is something to send. It returns false when the loop has to end.
func (j *Journal) nextBatch() (batch, bool) {
	var timer *time.Timer
	for {
		b, delay, end := j.pick()
		if end || b.kind != 0 {
			return b, !end
		}
		var due <-chan time.Time
		if delay > 0 {
			timer = time.NewTimer(delay)
			due = timer.C
		}
		select {
		case <-j.wake:
		case <-due:
		case <-j.failed:
		}
		if timer != nil {
			timer.Stop()
		}
	}
}

// pick takes the next batch off the queue if it is time for it; else it says how long nothing has to be sent by itself (0
// for ever).
func (j *Journal) pick() (b batch, delay time.Duration, end bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case j.err != nil:
		return batch{}, 0, true
	case j.dropping:
		return batch{kind: FrameDropped, last: j.acked}, 0, false
	case len(j.queue) == 0:
		return batch{}, 0, j.closing
	}
	if !j.closing && j.wanted <= j.sent && j.queued < int64(j.o.FrameLimit) {
		if j.o.FlushDelay < 0 {
			return batch{}, 0, false
		}
		if delay = time.Until(j.queue[0].at.Add(j.o.FlushDelay)); delay > 0 {
			return batch{}, delay, false
		}
	}
	n, size := 1, j.queue[0].size()
	for n < len(j.queue) && size+j.queue[n].size() <= int64(j.o.FrameLimit) {
		size += j.queue[n].size()
		n++
	}
	b = batch{kind: FrameData, entries: j.queue[:n:n], last: j.sent + uint64(n)}
	if j.queue = j.queue[n:]; len(j.queue) == 0 {
		j.queue = nil // do not hold on to what was sent
	}
	j.queued -= size
	j.sent = b.last
	return b, 0, false
}

// frame builds the frame of a batch and its bytes, which are frozen from here on: every attempt sends the same ones. Ops and
// Inline of the frame alias them. The entries are let go.
func (j *Journal) frame(b batch) (*Frame, []byte, error) {
	j.smu.Lock()
	prev, n := j.cursor.last, j.cursor.next
	j.smu.Unlock()
	f := &Frame{Kind: b.kind, Volume: j.volume, Epoch: j.epoch, Nonce: j.nonce, Seq: n, Prev: prev}
	var ops, inline int
	for _, e := range b.entries {
		ops += len(e.ops)
		inline += len(e.inline)
	}
	if ops > math.MaxUint32 {
		return nil, nil, fmt.Errorf("%w: an entry with %d bytes of operations; 4 GiB is the limit", ErrFailed, ops)
	}
	data := f.appendHeader(make([]byte, 0, frameMin+ops+inline), ops, inline)
	for _, e := range b.entries {
		data = append(data, e.ops...)
	}
	for _, e := range b.entries {
		data = append(data, e.inline...)
	}
	clear(b.entries) // the queue's array may live on
	f.Ops, f.Inline = data[frameHeader:frameHeader+ops:frameHeader+ops], data[frameHeader+ops:len(data):len(data)]
	return f, f.seal(data), nil
}

// commit makes the batch durable and acknowledges it, or returns why the journal is dead.
func (j *Journal) commit(b batch) error {
	f, data, err := j.frame(b)
	if err != nil {
		return err
	}
	if mutant.On(mutAckEarly) {
		j.acknowledge(b)
	}
	put := j.put
	if mutant.On(mutRebuild) {
		put = j.putRebuilt(&b)
	}
	other, err := put(f, data)
	if err != nil {
		return err
	}
	if other != nil {
		if mutant.On(mutFenceForgotten) {
			j.smu.Lock()
			j.cursor.next++
			j.smu.Unlock()
			return j.commit(b)
		}
		return fencedBy(other, f)
	}
	if mutant.On(mutLateApply) {
		j.acknowledge(b)
	}
	if err := j.applied(f); err != nil {
		return err
	}
	j.metrics.frames.Add(1)
	j.metrics.frameBytes.Add(f.Size())
	j.metrics.entries.Add(int64(len(b.entries)))
	j.acknowledge(b)
	return nil
}

// leastSilence is how long a store may be silent before it counts as one that never answers, however small the retry budget: a store that is well, on a machine
// that is busy, takes longer for its one answer than a program may want to spend on a store that refuses.
const leastSilence = 5 * time.Second

// put settles the number of f. It is bound by the retry budget, never by a waiter.
func (j *Journal) put(f *Frame, data []byte) (other []byte, err error) {
	ctx, cancel := context.WithTimeout(j.ctx, max(2*j.o.RetryBudget, leastSilence)) // for a store that never answers at all
	defer cancel()
	other, err = j.send.settle(ctx, FrameKey(f.Seq), data, func(b []byte) error {
		_, err := decodeNumbered(b, f.Seq)
		return err
	})
	if err == nil {
		return other, nil
	}
	if j.ctx.Err() != nil {
		return nil, fmt.Errorf("%w while frame %d was in flight: %w", ErrClosed, f.Seq, err)
	}
	return nil, fmt.Errorf("%w: frame %d could not be made durable, and may or may not be later; open the volume again when the store is well: %w", ErrFailed, f.Seq, err)
}

// fencedBy explains the frame that another process put under an own number.
func fencedBy(other []byte, own *Frame) error {
	f, err := decodeNumbered(other, own.Seq)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrFenced, err)
	}
	return fmt.Errorf("%w: frame %d is a %s frame of epoch %d by writer %016x, this is epoch %d, writer %016x; open again only if the other one is meant to lose",
		ErrFenced, own.Seq, f.Kind, f.Epoch, f.Nonce, own.Epoch, own.Nonce)
}

// applied brings an own durable frame into the acknowledged state.
func (j *Journal) applied(f *Frame) error {
	j.smu.Lock()
	defer j.smu.Unlock()
	v := j.cursor.step(f)
	if v == effectiveData {
		if err := j.m.Apply(f); err != nil {
			return fmt.Errorf("%w: frame %d is durable but cannot be applied: %w", ErrFailed, f.Seq, err)
		}
	}
	if v == void { // cannot be: it names the cursor's own state
		return fmt.Errorf("%w: own frame %d is void", ErrFailed, f.Seq)
	}
	j.mu.Lock() // under smu: an image and the counts since the last one belong together
	defer j.mu.Unlock()
	j.next = f.Seq + 1
	if v == effectiveData {
		j.since.frames++
		j.since.bytes += f.Size()
	}
	return nil
}

// acknowledge releases the waiters of a batch.
func (j *Journal) acknowledge(b batch) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err == nil {
		j.acked = max(j.acked, b.last)
		j.tell()
	}
}

// alive returns an error if the journal is dead or was not asked in a way that it can serve.
func (j *Journal) alive() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err == nil && j.closing {
		return ErrClosed
	}
	return j.err
}

// keepHouse makes the caller the only one that writes images or deletes, until it calls release.
func (j *Journal) keepHouse(ctx context.Context) (release func(), err error) {
	select {
	case j.house <- struct{}{}:
		return func() { <-j.house }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// ReadFrame reads a frame whole and checks that it is the one meant, not only one of the same number. A missing or
// another frame is ErrStale, wrong bytes are ErrDamaged.
func (j *Journal) ReadFrame(ctx context.Context, ref FrameRef) (*Frame, error) {
	return readRef(ctx, j.store, ref)
}

func readRef(ctx context.Context, store driver.Store, ref FrameRef) (*Frame, error) {
	f, err := readFrame(ctx, store, ref.Seq)
	switch {
	case errors.Is(err, errRestart):
		if mutant.On(mutStaleNotExist) {
			return nil, &driver.Error{Op: "get", Path: FrameKey(ref.Seq), Kind: driver.KindNotExist}
		}
		return nil, fmt.Errorf("%w: frame %s", ErrStale, ref)
	case err != nil:
		return nil, err
	case f.Ref() != ref && !mutant.On(mutIdentity):
		return nil, fmt.Errorf("%w: frame %s, its number is taken by %s", ErrStale, ref, f.Ref())
	}
	return f, nil
}
