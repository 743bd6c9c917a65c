package forstfs

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/hedge"
	"github.com/forst-go/forst/internal/journal"
	"github.com/forst-go/forst/internal/mutant"
	"github.com/forst-go/forst/internal/namespace"
	"github.com/forst-go/forst/internal/probe"
)

const (
	spillMemory = 16 << 20 // bytes of files that are no bulk files, on their way to data objects while the files are written
	warmSmall   = 32 << 20 // bytes of small files that an Open brings into the cache
	maxObject   = 1 << 31  // the size of an object has 32 bits in the format
	openFrames  = 256      // frames that an Open reads at once; their bytes are bounded by Options.ImageBytes
)

// Open opens a volume for writing and takes it over: whoever had it open before is fenced. It takes four sequential round trips whatever
// the volume's size, one more when its journal has more than a thousand names. The FS owns the store from now on and closes it, also when Open fails.
//
// Errors: ErrNoVolume, ErrForeign, ErrExists, ErrBusy, ErrFormat, ErrDropped, ErrDamaged, ErrUnsafeStore, or what the store said.
// Until Open has succeeded nothing is deleted; before the fence nothing is written, except by a volume that Create makes.
func Open(ctx context.Context, store driver.Store, o *Options) (*FS, error) {
	return open(ctx, store, o, false)
}

// OpenReadOnly opens a volume for reading as it is acknowledged now; see FS.Refresh. It never writes and disturbs no writer. Files may
// vanish under it when a writer removes them: then reads return ErrStale.
func OpenReadOnly(ctx context.Context, store driver.Store, o *Options) (*FS, error) {
	return open(ctx, store, o, true)
}

func open(ctx context.Context, store driver.Store, o *Options, readOnly bool) (*FS, error) {
	v, err := newFS(ctx, store, o, readOnly)
	if err == nil && !readOnly && o != nil && o.Snapshot != "" {
		err = errors.New("Options.Snapshot: a snapshot opens read-only; to go back to it, open the volume and call Restore")
	}
	if err == nil && readOnly && o != nil && o.Restore != "" {
		err = errors.New("Options.Restore changes the volume: open it for writing, or name the snapshot in Options.Snapshot")
	}
	if err == nil {
		if err = v.start(ctx); err == nil {
			return v, nil
		}
		v.end()
		err = errors.Join(err, v.freeCache(), v.closeLenders())
	}
	return nil, errors.Join(fmt.Errorf("open volume %s: %w%s", o.named(store), err, remedy(err)), store.Close())
}

// named is what messages call the volume.
func (o *Options) named(store driver.Store) string {
	if o != nil && o.Name != "" {
		return o.Name
	}
	return store.Capabilities().Name
}

// remedy is what to do about an error of Open that does not say so itself.
func remedy(err error) string {
	switch {
	case errors.Is(err, ErrDamaged):
		return " (restore the object named here from a copy of the store, or from an earlier version if the store keeps them; then open again)"
	case driver.IsCanceled(err):
		return ""
	}
	switch driver.KindOf(err) {
	case driver.KindPermission:
		return " (check the credentials, and that they may get, put, list and delete)"
	case driver.KindNoStore:
		return " (check the URL; a bucket or directory is never made unless the URL asks for it)"
	case driver.KindTransient:
		return " (check network and endpoint, and try again)"
	}
	return ""
}

// newFS makes the parts of a volume; no request is made.
func newFS(ctx context.Context, store driver.Store, o *Options, readOnly bool) (*FS, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	v := &FS{
		o: o.EnsureDefaults(), readOnly: readOnly,
		nodes: map[namespace.Inode]*node{}, locks: map[string]bool{},
		pins: map[namespace.Container]int{}, deferred: map[namespace.Container]bool{},
		never: make(chan struct{}), caps: store.Capabilities(),
	}
	v.store = v.counts.watch(store)
	if v.o.Hedge != nil {
		v.counts.hedge = hedge.New(v.store, v.o.Hedge)
		v.store = v.counts.hedge
	}
	v.o.Name = o.named(store)
	v.objectSize = v.o.ObjectSize
	if v.objectSize == 0 {
		v.objectSize = max(v.caps.ObjectSize, 1<<20)
	}
	v.objectMost = maxObject
	if m := v.caps.MaxObject; m > 0 {
		v.objectMost = min(m, maxObject)
	}
	v.objectSize = min(v.objectSize, v.objectMost)
	if v.shared = v.o.Shared; v.shared == nil {
		v.shared = &Shared{}
	}
	v.shared.init(v.o.Shared == nil)
	v.budget = newBudget(int64(v.o.MaxInflight) * v.objectSize)
	v.budget.least, v.budget.pool = 2*v.objectSize, v.shared.pool
	v.spillBudget = newBudget(max(spillMemory, int64(v.o.FrameLimit)))
	v.aheadBudget = newBudget(aheadMemory)
	v.aheadBudget.pool = v.shared.ahead
	v.frames = newFrames(v.o)
	v.buffers = buffers{free: map[int][][]byte{}, max: v.budget.max + min(v.budget.max/4, poolSlack)}
	v.uploads = make(chan struct{}, max(v.caps.Concurrency, 4))
	v.bg, v.cancel = context.WithCancel(context.Background())
	v.machine = &machine{v: v, acked: namespace.New(), taking: map[namespace.SnapshotID]*taking{}}
	v.opened = time.Now()
	v.snapBusy, v.refreshing = make(chan struct{}, 1), make(chan struct{}, 1)
	v.live = v.machine.acked
	v.gc = &collector{v: v, wake: make(chan struct{}, 1), turn: make(chan struct{}, 1)}
	v.packer = &packer{v: v, wake: make(chan struct{}, 1), busy: make(chan struct{}, 1)}
	v.packer.ctx, v.packer.stop = context.WithCancel(v.bg)
	if v.o.LocalDir != "" && !readOnly {
		d, err := openLocalDir(ctx, v.o.LocalDir)
		if err != nil {
			return nil, err
		}
		v.home = d
	}
	if err := v.shared.join(v); err != nil {
		if v.home != nil {
			v.home.close()
		}
		return nil, err
	}
	return v, nil
}

// start reads the volume and, to write, takes it over.
func (v *FS) start(ctx context.Context) error {
	ctx = driver.WithComponent(ctx, driver.CompOpen)
	jo := &journal.Options{
		Force: v.o.Force, BusyWait: v.o.BusyWait, FrameLimit: v.o.FrameLimit, FlushDelay: v.o.FlushDelay, RetryBudget: v.o.RetryBudget,
		FrameConcurrency: openFrames, Nonce: v.o.Nonce, Logger: v.o.Logger, OnEvent: v.journalEvent,
		Admit: func(id journal.VolumeID, epoch uint64) error { return v.admitLocal(id, epoch) },
	}
	back := &goingBack{v: v, name: v.o.Restore}
	if v.o.Restore != "" && !v.readOnly {
		defer back.end()
		jo.Admit = func(id journal.VolumeID, epoch uint64) error {
			if err := v.admitLocal(id, epoch); err != nil {
				return err
			}
			return back.begin(ctx, id)
		}
	}
	if v.readOnly {
		r, err := journal.OpenReader(ctx, v.store, v.machine, jo)
		if err != nil {
			return v.explain(ctx, err)
		}
		v.reader, v.id = r, r.Volume()
		if v.o.Snapshot != "" {
			if err := v.showSnapshot(ctx, v.o.Snapshot); err != nil {
				return err
			}
		} else if err := v.admitLocal(v.id, r.Epoch()); err != nil { // a snapshot holds no local file
			return errors.Join(err, r.Close())
		}
		return v.keepLocal(ctx)
	}
	v.live = nil
	if v.o.Create == CreateNew {
		if err := v.create0(ctx); err != nil {
			return err
		}
	}
	if mutant.On(mutSweepEarly) {
		v.sweepEarly(ctx)
	}
	j, err := journal.Open(ctx, v.store, v.machine, jo)
	if errors.Is(err, ErrNoVolume) && v.o.Create == CreateIfMissing {
		if err = v.create0(ctx); err == nil || errors.Is(err, ErrExists) {
			j, err = journal.Open(ctx, v.store, v.machine, jo)
		}
	}
	if err != nil {
		return v.explain(ctx, err)
	}
	v.id = j.Volume()
	v.mu.Lock()
	v.live = v.machine.acked.Clone()
	v.live.Forget() // snapshots are of the acknowledged namespace only
	v.mu.Unlock()
	v.journal = j
	if err := v.adopt(ctx); err != nil {
		return errors.Join(err, j.Close(ctx))
	}
	if v.o.Restore != "" {
		if err := back.finish(ctx); err != nil {
			return errors.Join(fmt.Errorf("restore snapshot %q: %w", v.o.Restore, err), j.Close(ctx))
		}
	}
	v.gc.released(v.machine.acked.TakeReleased())
	v.wg.Go(v.gc.run)
	v.wg.Go(v.packer.run)
	v.wg.Go(v.runErrands)
	v.wg.Go(v.watchFence)
	v.wg.Go(v.afterTakeover)
	v.packer.poke()
	return v.keepLocal(ctx)
}

// create0 makes a new volume: on a store that keeps the contract, under a prefix that holds nothing at all.
func (v *FS) create0(ctx context.Context) error {
	switch _, err := journal.ReadRoot(ctx, v.store); {
	case err == nil:
		return fmt.Errorf("%w: open it with Create: MustExist, or choose another prefix", ErrExists)
	case !errors.Is(err, ErrNoVolume):
		return err
	}
	switch key, born, err := v.stranger(ctx); {
	case err != nil:
		return err
	case born:
		return fmt.Errorf("%w: another process made it a moment ago", ErrExists)
	case key != "":
		return fmt.Errorf("%w (the first is %q): choose an empty prefix, or remove them if nobody needs them", ErrForeign, key)
	}
	if !v.o.SkipProbe {
		switch _, err := probe.Probe(driver.WithComponent(ctx, driver.CompProbe), v.store); {
		case errors.Is(err, probe.ErrUnsafe):
			return fmt.Errorf("%w: %w", ErrUnsafeStore, err)
		case err != nil: // says nothing about the store's contract
			return fmt.Errorf("probe the store before a volume is made in it: %w", storeErr(err))
		}
	}
	_, err := journal.CreateRoot(ctx, v.store, journal.RootOptions{Nonce: v.o.Nonce, Created: v.o.Clock()})
	return err
}

// stranger looks for an object below a prefix that had no root a moment ago. What a probe left behind, or makes at this moment, is none; and when a
// root is there by now, somebody has created the volume meanwhile: born.
func (v *FS) stranger(ctx context.Context) (key string, born bool, err error) {
	for info, err := range v.store.List(ctx, "", "") {
		if err != nil {
			return "", false, err
		}
		if !strings.HasPrefix(info.Key, probe.Folder) {
			key = info.Key
			break
		}
	}
	if key == "" {
		return "", false, nil
	}
	switch _, err := journal.ReadRoot(ctx, v.store); {
	case mutant.On(mutBornForeign):
	case err == nil:
		return "", true, nil
	case !errors.Is(err, ErrNoVolume):
		return "", false, err
	}
	return key, false, nil
}

// explain tells an empty prefix from one that holds something else.
func (v *FS) explain(ctx context.Context, err error) error {
	if !errors.Is(err, ErrNoVolume) {
		return err
	}
	switch key, born, lerr := v.stranger(ctx); {
	case lerr != nil:
		return errors.Join(err, lerr)
	case born:
		return fmt.Errorf("%w: another process is creating it at this moment; try again", ErrBusy)
	case key != "":
		return fmt.Errorf("%w (the first is %q, the root object \"volume\" is missing): check the URL; nothing was changed", ErrForeign, key)
	}
	return fmt.Errorf("%w: the prefix is empty: check the URL, or create the volume (forst create, or Options.Create: CreateIfMissing)", ErrNoVolume)
}

// afterTakeover brings small files into the cache and sweeps what earlier writers left behind.
func (v *FS) afterTakeover() {
	v.warm()
	if v.journal.Epoch() <= 1 || mutant.On(mutSweepNever) {
		return // nobody was here before
	}
	if _, err := v.Sweep(v.bg); err != nil && v.bg.Err() == nil && v.Err() == nil {
		v.o.Logger.Warn("sweep after takeover failed; it is repeated at the next one", "volume", v.o.Name, "err", err)
	}
}

// warm fetches the bytes of WAL, MANIFEST and their like that lie packed in data objects: an engine reads them first.
func (v *FS) warm() {
	left := int64(warmSmall)
	var small []*view
	v.mu.Lock()
	for f := range v.live.Files() {
		if f.Kind == namespace.Small && f.Size > 0 && f.Size <= left {
			left -= f.Size
			small = append(small, newView(f.Extents))
		}
	}
	v.mu.Unlock()
	for _, w := range small {
		v.prefetch(w, 0, w.size)
	}
}

func (v *FS) journalEvent(e journal.Event) {
	l := v.listen()
	switch e.Kind {
	case journal.EventDamagedImage:
		l.Damaged(e.Key, e.Err)
	case journal.EventFailed:
		v.budget.open()
		v.spillBudget.open()
		l.Failed(e.Err)
	case journal.EventRetry:
		l.Retrying("put "+e.Key, 1, e.Err)
	}
}
