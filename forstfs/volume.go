package forstfs

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/forst-go/forst/cache"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/journal"
	"github.com/forst-go/forst/internal/mutant"
	"github.com/forst-go/forst/internal/namespace"
)

// FS is an open volume. All methods may be called from many goroutines.
type FS struct {
	o          *Options
	store      driver.Store
	caps       driver.Capabilities
	id         [16]byte
	readOnly   bool
	objectSize int64 // of the data objects of a file that is not very large
	objectMost int64 // of any data object

	journal  *journal.Journal // nil on a read-only volume
	reader   *journal.Reader  // nil on a writable one
	machine  *machine
	gc       *collector
	snapBusy chan struct{} // capacity 1: held by the one of Restore and removals of snapshots that runs
	packer   *packer
	home     *localDir // nil without Options.LocalDir
	cache    *cache.Cache
	// freeCache gives the cache back: the last volume that shares it closes it.
	freeCache func() error
	shared    *Shared
	local     atomic.Bool  // LocalOnly, and all is there
	liveBytes atomic.Int64 // of all files, as acknowledged

	budget      *budget // bulk bytes in memory
	spillBudget *budget // of other files, bytes that are too many for a frame
	aheadBudget *budget // bytes read ahead
	buffers     buffers
	uploads     chan struct{} // uploads under way
	counter     atomic.Uint64 // of data objects
	lastFrame   atomic.Pointer[journal.Frame]
	lenders     atomic.Pointer[[]*lender]
	gave        atomic.Bool // nothing is borrowed any more
	frames      *frames
	counts      counts

	mu       sync.Mutex // the namespace lock: no request is made while it is held. machine.mu, mu, node.mu: in this order
	live     *namespace.State
	nodes    map[namespace.Inode]*node
	locks    map[string]bool
	dropping bool                         // no snapshot may be begun or committed
	pins     map[namespace.Container]int  // containers of files without a name that are still open
	deferred map[namespace.Container]bool // pinned, and let go by the acknowledged namespace

	// Of a follower.
	frozen     bool          // it shows a snapshot: nothing changes it; set before Open returns
	refreshing chan struct{} // capacity 1: held by the one that refreshes
	refreshed  atomic.Int64  // when the last refresh that succeeded began, as time since opened
	opened     time.Time
	volumeDirs map[string]int // see KeepInVolume
	moves      uint64
	recorded   bool // the namespace has a record of the local directory

	bg     context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup
	closed atomic.Bool

	spawnMu sync.Mutex // taken last
	ending  bool       // no goroutine may begin
	never   chan struct{}
}

// Name is what messages call the volume.
func (v *FS) Name() string { return v.o.Name }

// VolumeID is the random id that the volume was given when it was made.
func (v *FS) VolumeID() [16]byte { return v.id }

// Epoch counts the takeovers of the volume, as far as this FS knows: a read-only one learns of a later one by Refresh.
func (v *FS) Epoch() uint64 {
	if v.readOnly {
		return v.reader.Epoch()
	}
	return v.journal.Epoch()
}

// ReadOnly reports whether the volume was opened by OpenReadOnly.
func (v *FS) ReadOnly() bool { return v.readOnly }

// Err says why the volume can no longer be written: ErrFenced, ErrFailed or ErrClosed; nil while all is well.
func (v *FS) Err() error {
	if v.closed.Load() {
		return ErrClosed
	}
	if v.readOnly {
		return nil
	}
	return storeErr(v.journal.Err())
}

// Failed is closed when the volume has failed or was fenced.
func (v *FS) Failed() <-chan struct{} {
	if v.readOnly {
		return v.never
	}
	return v.journal.Failed()
}

// usable says whether names and bytes can be read: a failed or fenced volume still knows what it knew.
func (v *FS) usable() error {
	if v.closed.Load() {
		return ErrClosed
	}
	return nil
}

// Sync makes everything issued so far durable: names, and the bytes that File.Sync, Close, Rename or Link have put into the order. Bytes
// written to files that are still open and were not synced are not part of it.
func (v *FS) Sync(ctx context.Context) error {
	if v.readOnly {
		return v.usable()
	}
	if err := v.Err(); err != nil {
		return err
	}
	return v.wait(ctx)
}

func (v *FS) wait(ctx context.Context) error {
	v.mu.Lock()
	pos := v.journal.Position()
	v.mu.Unlock()
	err := v.journal.Wait(ctx, pos)
	if mutant.On(mutFencedNil) && errors.Is(err, ErrFenced) {
		return nil
	}
	return storeErr(err)
}

// queueLimit is how many bytes may wait for the journal before those who add to them wait, too.
const queueLimit = 16 << 20

func (v *FS) throttle(ctx context.Context) error {
	if bytes, _ := v.journal.Queued(); bytes > queueLimit {
		return v.wait(ctx)
	}
	return nil
}

// Close makes everything that is in the order durable, ends what runs in the background, and closes the store. Bytes of files that are still
// open and were not synced are given up. nil means: everything issued is durable. Close of a fenced or failed volume returns its
// error after everything has ended.
func (v *FS) Close() error {
	if v.closed.Load() {
		return ErrClosed
	}
	var errs []error
	peace := false
	if v.readOnly {
		if v.closed.Swap(true) {
			return ErrClosed
		}
		errs = append(errs, v.reader.Close())
	} else {
		v.packer.stop()
		v.packer.last()
		_ = v.packer.lock(context.Background())
		v.leave()
		v.mu.Lock() // whoever puts an operation on names into the order after this is told that the volume is closed
		again := v.closed.Swap(true)
		v.mu.Unlock()
		if again {
			v.packer.unlock()
			return ErrClosed
		}
		err := v.journal.Err()
		if cerr := v.journal.Close(context.Background()); err == nil {
			err = cerr
		}
		switch {
		case err == nil:
			peace = true
			v.gc.last(v.bg)
		case !errors.Is(err, ErrDropped) && !mutant.On(mutCloseNil):
			errs = append(errs, storeErr(err))
		}
		v.packer.unlock()
	}
	v.end()
	if peace {
		v.gc.last(context.Background()) // of uploads for files that have gone, those that ended after all
	}
	errs = append(errs, v.freeCache(), v.closeLenders(), v.store.Close())
	return errors.Join(errs...)
}

// spawn runs fn in a goroutine that Close waits for. It returns false, and runs nothing, once Close has come that far: handles may be used
// beside Close and after it.
func (v *FS) spawn(fn func()) bool {
	v.spawnMu.Lock()
	defer v.spawnMu.Unlock()
	if v.ending {
		return false
	}
	v.wg.Go(fn)
	return true
}

// end stops everything in the background and waits for it.
func (v *FS) end() {
	v.spawnMu.Lock()
	v.ending = true
	v.spawnMu.Unlock()
	v.cancel()
	v.aheadBudget.open()
	v.budget.open()
	v.spillBudget.open()
	v.wg.Wait()
	v.budget.detach()
	v.aheadBudget.detach()
	if v.home != nil {
		v.letLocalGo()
	}
}

// begin is spawn for work that somebody else's goroutine does: Close waits until done has been called.
func (v *FS) begin() (done func(), ok bool) {
	v.spawnMu.Lock()
	defer v.spawnMu.Unlock()
	if v.ending {
		return nil, false
	}
	v.wg.Add(1)
	return v.wg.Done, true
}

func (v *FS) listen() EventListener {
	var l EventListener
	if v.o.Listener != nil {
		l = *v.o.Listener
	}
	if l.Failed == nil {
		l.Failed = func(error) {}
	}
	if l.Damaged == nil {
		l.Damaged = func(string, error) {}
	}
	if l.Image == nil {
		l.Image = func(uint64, int64) {}
	}
	if l.Deleted == nil {
		l.Deleted = func(int) {}
	}
	if l.CacheDisk == nil {
		l.CacheDisk = func(string, error) {}
	}
	if l.CacheShrunk == nil {
		l.CacheShrunk = func(string, int64, int64) {}
	}
	if l.Retrying == nil {
		l.Retrying = func(string, int, error) {}
	}
	return l
}
