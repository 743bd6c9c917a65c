package journal

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/mutant"
)

// Journal is one writer of a volume. All methods may be called from many goroutines.
//
// Entries form one order. They become durable in that order, in frames: a prefix of the entries is durable at any time,
// and no entry is durable in part. At most one frame is in flight.
type Journal struct {
	store   driver.Store
	o       *Options
	volume  VolumeID
	epoch   uint64
	nonce   uint64
	metrics *counters
	send    *sender // of frames: tries everything until the budget is spent
	images  *sender

	ctx    context.Context // of the commit loop
	cancel context.CancelFunc
	wake   chan struct{} // capacity 1: the commit loop has something to look at
	done   chan struct{} // closed when the commit loop has ended
	failed chan struct{} // closed when err is set
	house  chan struct{} // capacity 1: held by the one of WriteImage, Trim, Sweep and Drop that runs

	// The acknowledged state. smu is never taken while mu is held, and no request is made under either.
	smu    sync.Mutex
	cursor cursor
	m      Machine

	mu       sync.Mutex
	err      error
	closing  bool
	dropping bool
	queue    []entry
	queued   int64         // bytes in queue
	position uint64        // of the last entry
	sent     uint64        // position of the last entry in a frame
	acked    uint64        // position of the last entry acknowledged
	wanted   uint64        // somebody waits for the entries up to here
	progress chan struct{} // closed when acked or err changes
	next     uint64        // number of the next frame
	since    sinceImage

	// Under house, but for the reports under mu.
	base        uint64 // number of the image that the state was opened from
	first       bool   // the image of the empty state, emptyBody, is still to be written
	emptyBody   []byte
	damaged     map[string]imageKey // found damaged by the open
	damagedGone bool                // and deleted
	ownImages   []imageKey          // landed images of this writer, ascending
	trimmed     uint64              // under mu too
	swept       uint64              // under mu
	tomb        *imageKey           // the last image of a dropped volume
}

type entry struct {
	ops, inline []byte
	at          time.Time
}

func (e entry) size() int64 { return int64(len(e.ops) + len(e.inline)) }

type sinceImage struct {
	frames     int
	bytes      int64
	imageBytes int64
}

func newJournal(store driver.Store, m Machine, o *Options, op *opener, r *replay, nonce uint64) *Journal {
	j := &Journal{
		store: store, o: o, volume: op.root.Volume, epoch: r.epoch, nonce: nonce, metrics: op.metrics,
		send: op.sender(false), images: op.sender(true),
		wake: make(chan struct{}, 1), done: make(chan struct{}), failed: make(chan struct{}), house: make(chan struct{}, 1),
		cursor: r.cursor, m: m, progress: make(chan struct{}), next: r.next,
		since: sinceImage{r.frames, r.bytes, r.imageBytes},
		base:  r.base, first: r.first, emptyBody: r.emptyBody, damaged: op.damaged, trimmed: max(r.trimmed, 1), swept: r.swept,
	}
	maps.Copy(j.damaged, op.others) // they count as little, and go as soon
	op.metrics.replayed.Store(int64(r.frames))
	op.metrics.voids.Store(int64(r.voids))
	j.ctx, j.cancel = context.WithCancel(driver.WithComponent(context.Background(), driver.CompCommit))
	return j
}

// Enqueue appends an entry to the order and returns its position. It takes ownership of the slices, never blocks and
// never fails: what became of the entry, Wait says. An entry without bytes is none: the last position is returned.
func (j *Journal) Enqueue(ops, inline []byte) uint64 {
	e := entry{ops, inline, time.Now()}
	j.mu.Lock()
	defer j.mu.Unlock()
	if e.size() == 0 {
		return j.position
	}
	j.position++
	if j.err != nil {
		return j.position // nobody will ever send it
	}
	j.queue = append(j.queue, e)
	j.queued += e.size()
	if len(j.queue) == 1 || j.queued >= int64(j.o.FrameLimit) {
		j.poke()
	}
	return j.position
}

// Kick asks for the entries up to pos to be sent as soon as possible. It does not wait.
func (j *Journal) Kick(pos uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.want(pos)
}

func (j *Journal) want(pos uint64) {
	pos = min(pos, j.position)
	if pos > j.wanted {
		j.wanted = pos
		j.poke()
	}
}

// Wait sends the entries up to pos and returns nil only when each of them is durable, in its place behind all entries
// before it, acknowledged, and applied to the Machine. Waiters share frames. When ctx ends first, Wait returns its error and
// the entries go their way. After a failure it never returns nil again, for old positions neither.
func (j *Journal) Wait(ctx context.Context, pos uint64) error {
	for {
		j.mu.Lock()
		acked, progress, err := j.acked >= pos, j.progress, j.err
		if acked && mutant.On(mutFailedNil) {
			err = nil
		}
		switch {
		case errors.Is(err, ErrClosed) && acked: // what was durable before a Close stays durable
			err = nil
		case err == nil && pos > j.position:
			err = fmt.Errorf("journal: wait for position %d, the last one is %d", pos, j.position)
		case err == nil && !acked:
			j.want(pos)
		}
		j.mu.Unlock()
		if err != nil || acked {
			return err
		}
		select {
		case <-progress:
		case <-ctx.Done():
			if mutant.On(mutWaiterCancels) {
				j.cancel()
			}
			return ctx.Err()
		}
	}
}

// poke wakes the commit loop.
func (j *Journal) poke() {
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

// Position returns the position of the last entry.
func (j *Journal) Position() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.position
}

// AckedPosition returns the position up to which all entries are acknowledged.
func (j *Journal) AckedPosition() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.acked
}

// Queued returns what waits to be sent, without the frame in flight.
func (j *Journal) Queued() (bytes int64, entries int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.queued, len(j.queue)
}

// Acked returns the number of the last frame that is settled for ever: acknowledged, or part of the own fence run.
func (j *Journal) Acked() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.next - 1
}

// SinceImage returns how many effective data frames of which total size lie behind the last image, and the size of
// that image.
func (j *Journal) SinceImage() (frames int, bytes, imageBytes int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.since.frames, j.since.bytes, j.since.imageBytes
}

// Epoch returns the epoch of this writer.
func (j *Journal) Epoch() uint64 { return j.epoch }

// Nonce returns the nonce of this writer; with the epoch it makes the names of data objects unique.
func (j *Journal) Nonce() uint64 { return j.nonce }

// Volume returns the id of the volume.
func (j *Journal) Volume() VolumeID { return j.volume }

// SweptBelow returns the mark that SetSwept left, maybe in an earlier process.
func (j *Journal) SweptBelow() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.swept
}

// SetSwept records in the next image that no object of an epoch below this one is an orphan.
func (j *Journal) SetSwept(epoch uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.swept = max(j.swept, epoch)
}

// Metrics returns the counts since Open.
func (j *Journal) Metrics() Metrics { return j.metrics.metrics() }

// Err returns why the journal is dead, or nil.
func (j *Journal) Err() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.err
}

// Failed is closed when the journal is dead: fenced, failed, dropped or closed. Err says which.
func (j *Journal) Failed() <-chan struct{} { return j.failed }

// fail ends the journal for ever. Only the first reason counts.
func (j *Journal) fail(err error) {
	j.mu.Lock()
	first := j.err == nil
	if first {
		j.err = err
		j.queue, j.queued = nil, 0
		close(j.failed)
		j.tell()
	}
	j.mu.Unlock()
	if first && !errors.Is(err, ErrClosed) && !errors.Is(err, ErrDropped) {
		j.o.emit(Event{Kind: EventFailed, Epoch: j.epoch, Err: err})
	}
}

// tell wakes all waiters. j.mu is held.
func (j *Journal) tell() {
	close(j.progress)
	j.progress = make(chan struct{})
}

// Close sends what is queued, waits until it is acknowledged, and stops the commit loop. It returns the error that the
// journal died of, or that of ctx: then the frame in flight was given up and may land or not. In any case
// no goroutine of the Journal is left when it returns. It does not close the store. It may be called more than once.
func (j *Journal) Close(ctx context.Context) error {
	j.mu.Lock()
	j.closing = true
	if mutant.On(mutCloseDrops) {
		j.queue, j.queued = nil, 0
	}
	j.poke()
	j.mu.Unlock()
	var err error
	select {
	case <-j.done:
	case <-ctx.Done():
		err = fmt.Errorf("close the journal: %w", ctx.Err())
		j.fail(fmt.Errorf("%w before the last entries were durable: %w", ErrClosed, ctx.Err()))
		j.cancel()
		<-j.done
	}
	j.cancel()
	switch dead := j.Err(); {
	case dead == nil:
		j.fail(ErrClosed)
	case err == nil && !errors.Is(dead, ErrClosed) && !errors.Is(dead, ErrDropped):
		err = dead
	}
	return err
}
