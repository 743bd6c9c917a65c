package journal

import (
	"context"
	"fmt"
	"log/slog"
	"time"
)

// Machine is the state that the journal drives. Its methods are called one at a time, in journal order; none may call
// the Journal back, except Enqueue, Kick and the methods that only report. Slices that it is given never change
// afterwards and may be kept.
type Machine interface {
	// Reset goes back to the empty state. An opener may call it again at any time before Open returns.
	Reset()
	// Restore replaces the state by the one that Image gave.
	Restore(body []byte) error
	// Apply takes an effective data frame: during replay, and when an own frame is acknowledged, before its waiters are
	// released.
	Apply(f *Frame) error
	// Fence says that a new writer took over with this epoch; what an earlier writer had begun and not finished is void.
	Fence(epoch uint64)
	// Image returns the state as bytes, which the journal then owns. They depend on the state only.
	Image() ([]byte, error)
	// FirstLive returns the lowest number of a frame whose inline bytes the state, a snapshot or an open handle of this
	// process still needs; false if there is none.
	FirstLive() (seq uint64, ok bool)
}

// Options are the settings and parts of a Journal or a Reader; the zero value works.
type Options struct {
	Force            bool          // go on where Open would return ErrBusy; the other process then loses
	BusyWait         time.Duration // before taking over, watch the journal this long, and return ErrBusy if it moves
	FrameLimit       int           // bytes of operations and inline bytes per frame, unless one entry has more (4 MiB)
	FlushDelay       time.Duration // entries that nobody waits for are sent after this time (1 s); below 0 only when a frame is full
	RetryBudget      time.Duration // how long one object is tried while the store does not take it (5 min)
	FrameConcurrency int           // frames read at once during an open (what the store serves well, at most 32)
	// Unconfirmed lets OpenReader return before the last look: until the first Refresh has returned, the state may be behind, and what it shows of fences may not be
	// in the history. What an owner has committed is in the history wherever it is found.
	Unconfirmed bool
	// Admit is asked when the state has been read and nothing was written yet, with the epoch in force; an error ends the open without a fence.
	Admit    func(volume VolumeID, epoch uint64) error
	Features []string      // features of the root that the caller knows, as "r:name" or "w:name"
	Nonce    func() uint64 // random numbers for names, and the seed of jitter (crypto/rand)
	Logger   *slog.Logger  // nil logs nothing
	OnEvent  func(Event)   // called without locks, from any goroutine; must not block for long
}

func (o *Options) withDefaults() Options {
	var d Options
	if o != nil {
		d = *o
	}
	if d.FrameLimit == 0 {
		d.FrameLimit = 4 << 20
	}
	if d.FlushDelay == 0 {
		d.FlushDelay = time.Second
	}
	if d.RetryBudget == 0 {
		d.RetryBudget = 5 * time.Minute
	}
	if d.Nonce == nil {
		d.Nonce = randomNonce
	}
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	return d
}

// newNonce returns a number that is not 0, which stands for "nobody".
func (o *Options) newNonce() uint64 {
	for {
		if n := o.Nonce(); n != 0 {
			return n
		}
	}
}

// EventKind says what happened.
type EventKind uint8

// The events.
const (
	EventOpened       EventKind = iota + 1 // a writer owns the volume, or a reader has read it
	EventRestart                           // an open was overtaken and starts again; Err says by what
	EventDamagedImage                      // the image Key cannot be read; the older one is used
	EventRetry                             // a request for Key failed with Err and is tried again
	EventReadBack                          // a lost reply or a conflict was resolved: Key holds the own bytes
	EventFailed                            // the journal is dead for ever because of Err
	EventImage                             // the image Key is durable
	EventTrimmed                           // frames below Seq are gone but for fence runs
	EventSwept                             // Seq stray objects were deleted
	EventDropped                           // the volume is dropped
)

var eventNames = [...]string{"", "opened", "restart", "damaged image", "retry", "read back", "failed", "image", "trimmed", "swept", "dropped"}

func (k EventKind) String() string {
	if int(k) < len(eventNames) {
		return eventNames[k]
	}
	return fmt.Sprintf("event %d", uint8(k))
}

// Event is something that an operator may want to know.
type Event struct {
	Kind  EventKind
	Epoch uint64
	Seq   uint64
	Key   string
	Err   error
}

func (e Event) String() string {
	s := fmt.Sprintf("%s epoch=%d seq=%d", e.Kind, e.Epoch, e.Seq)
	if e.Key != "" {
		s += " key=" + e.Key
	}
	if e.Err != nil {
		s += " err=" + e.Err.Error()
	}
	return s
}

// emit tells the listener and the log.
func (o *Options) emit(e Event) {
	level := slog.LevelDebug
	switch e.Kind {
	case EventDamagedImage, EventFailed:
		level = slog.LevelError
	case EventRestart, EventRetry, EventDropped:
		level = slog.LevelWarn
	case EventOpened:
		level = slog.LevelInfo
	}
	attrs := []any{"epoch", e.Epoch, "seq", e.Seq}
	if e.Key != "" {
		attrs = append(attrs, "key", e.Key)
	}
	if e.Err != nil {
		attrs = append(attrs, "err", e.Err)
	}
	o.Logger.Log(context.Background(), level, "journal: "+e.Kind.String(), attrs...)
	if o.OnEvent != nil {
		o.OnEvent(e)
	}
}
