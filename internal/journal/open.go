package journal

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/mutant"
)

// maxRestarts bounds how often one open starts again because others wrote, imaged and trimmed meanwhile.
const maxRestarts = 12

// opener reads a volume, and takes it over if it is to be written. One opener is used by one goroutine.
type opener struct {
	store   driver.Store
	m       Machine
	o       *Options
	wait    *backoff
	root    Root
	hasRoot bool
	writer  bool
	damaged map[string]imageKey // images that this opener itself found damaged
	others  map[string]imageKey // images of other volumes
	mine    map[uint64]bool     // nonces that this opener has fenced with
	metrics *counters
}

func newOpener(store driver.Store, m Machine, o *Options, writer bool, c *counters) *opener {
	return &opener{store: store, m: m, o: o, wait: newBackoff(o.Nonce()), writer: writer,
		damaged: map[string]imageKey{}, others: map[string]imageKey{}, mine: map[uint64]bool{}, metrics: c}
}

func (op *opener) sender(hasty bool) *sender {
	return &sender{store: op.store, budget: op.o.RetryBudget, hasty: hasty, wait: op.wait, event: op.metrics.count(op.o)}
}

// again calls try until it returns something else than errRestart, or has done so too often.
func (op *opener) again(ctx context.Context, try func() error) error {
	for n := 0; ; n++ {
		err := try()
		if !errors.Is(err, errRestart) {
			return err
		}
		op.metrics.restarts.Add(1)
		op.o.emit(Event{Kind: EventRestart, Err: err})
		if n+1 >= maxRestarts {
			return fmt.Errorf("%w: started again %d times, others trim or take the volume over faster than it can be opened; try later: %w", ErrBusy, n+1, err)
		}
		if err := sleep(ctx, op.wait.after(n)); err != nil {
			return err
		}
	}
}

// load reads root, newest image and the frames behind it: the state that a process would recover now, were it not for the
// last look that must follow. Two sequential requests; one more if the journal has too many names for a quick list, and for each image that is damaged.
func (op *opener) load(ctx context.Context) (*replay, error) {
	images, early, err := op.rootAndLists(ctx)
	if err != nil {
		return nil, err
	}
	head := op.ahead(ctx, images, early)
	defer head.end()
	r, numbers, err := op.base(ctx, images, early)
	if err != nil || r.dropped {
		return r, err
	}
	if len(images) > 0 {
		r.seen = images[0].seq
	}
	gap := r.next
	for len(numbers) > 0 && numbers[0] == gap {
		numbers = numbers[1:]
		gap++
	}
	if err := op.checkGap(ctx, r.base, gap, numbers); err != nil {
		return nil, err
	}
	take := func(f *Frame) error {
		_, err := r.take(f)
		return err
	}
	if head.reads(r.next, gap) {
		return r, head.give(take)
	}
	head.end()
	return r, fetch(ctx, op.store, r.next, gap, op.o.width(op.store), take)
}

// width is how many frames are read at once.
func (o *Options) width(store driver.Store) int {
	if o.FrameConcurrency > 0 {
		return o.FrameConcurrency
	}
	if n := store.Capabilities().Concurrency; n > 0 {
		return min(n, 32)
	}
	return 16
}

// rootAndLists reads the root, once, and lists the images and the beginning of the journal.
func (op *opener) rootAndLists(ctx context.Context) (images []imageKey, early listing, err error) {
	var rootErr, listErr, earlyErr error
	together(
		func() {
			if !op.hasRoot {
				op.root, rootErr = ReadRoot(ctx, op.store, op.o.Features...)
			}
		},
		func() { images, listErr = listImages(ctx, op.store) },
		func() { early, earlyErr = listEarly(ctx, op.store) },
	)
	if mutant.On(mutFeature) && errors.Is(rootErr, ErrFormat) {
		b, _ := driver.ReadAll(ctx, op.store, RootKey)
		op.root, rootErr = DecodeRoot(b)
	}
	if mutant.On(mutRootGone) && rootErr != nil {
		rootErr = ErrNoVolume
	}
	if rootErr != nil {
		return nil, early, rootErr
	}
	if op.root.Tombstone {
		return nil, early, fmt.Errorf("%w: only the tombstone of a clone that was given up is here; choose another place", ErrDropped)
	}
	if op.writer && !mutant.On(mutFeature) {
		if err := op.root.check(op.o.Features, true); err != nil {
			return nil, early, err
		}
	}
	op.hasRoot = true
	return images, early, cmp.Or(listErr, earlyErr)
}

// base restores the newest image that can be read, and gives the numbers of the frames behind it.
func (op *opener) base(ctx context.Context, images []imageKey, early listing) (*replay, []uint64, error) {
	if len(images) > 0 {
		r, numbers, err := op.newest(ctx, images, 0, early)
		if err == nil && r == nil && len(op.mineOf(images)) == 0 {
			return op.base(ctx, nil, early)
		}
		if err == nil && r == nil {
			err = fmt.Errorf("%w: none of %d images can be read", ErrDamaged, len(images))
		}
		if errors.Is(err, ErrDamaged) {
			err = fmt.Errorf("nothing was changed; restore an image from a copy of the store, or the volume from a snapshot: %w", err)
		}
		return r, numbers, err
	}
	r := &replay{cursor: newCursor(op.root), m: op.m}
	numbers, err := op.framesAbove(ctx, 0, early)
	if err != nil {
		return nil, nil, err
	}
	op.m.Reset()
	if op.writer {
		r.first = true
		if r.emptyBody, err = op.m.Image(); err != nil {
			return nil, nil, fmt.Errorf("image of the empty state: %w", err)
		}
	}
	return r, numbers, nil
}

// newest restores the newest image with a number of at least min that can be read, and gives the numbers of the frames behind it. It
// falls back once: an image below the second newest may be a late copy from before the last trimming. Nil means that
// there is none.
func (op *opener) newest(ctx context.Context, images []imageKey, least uint64, early listing) (*replay, []uint64, error) {
	bad := 0
	var why error
	for _, k := range op.mineOf(images) {
		if k.seq < least || bad > 1 && !mutant.On(mutThirdImage) {
			break
		}
		if _, known := op.damaged[k.key]; known {
			bad++
			continue
		}
		im, size, numbers, err := op.imageAndFrames(ctx, k, early)
		if errors.Is(err, errRestart) && mutant.On(mutMissingImage) {
			err = ErrDamaged
		}
		if errors.Is(err, errOtherVolume) {
			op.others[k.key] = k
			continue
		}
		if errors.Is(err, ErrDamaged) {
			op.damaged[k.key] = k
			op.metrics.damagedImages.Add(1)
			if !mutant.On(mutSilent) {
				op.o.emit(Event{Kind: EventDamagedImage, Seq: k.seq, Key: k.key, Err: err})
			}
			why = errors.Join(why, err)
			bad++
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		r := &replay{cursor: cursorAt(op.root, im), m: op.m, base: im.Seq,
			imageBytes: size, trimmed: im.TrimmedBelow, swept: im.SweptBelow}
		if im.Dropped {
			r.tomb = k.key
		} else if err := op.m.Restore(im.Body); err != nil {
			return nil, nil, fmt.Errorf("restore image %s: %w", k.key, err)
		}
		return r, numbers, nil
	}
	if least > 0 {
		why = nil // the caller has a state of its own
	}
	return nil, nil, why
}

// mineOf leaves out the images that are known to be of other volumes.
func (op *opener) mineOf(images []imageKey) []imageKey {
	return slices.DeleteFunc(slices.Clone(images), func(k imageKey) bool { _, other := op.others[k.key]; return other })
}

// imageAndFrames reads an image and at the same time lists the frames behind it, if that was not done yet.
func (op *opener) imageAndFrames(ctx context.Context, k imageKey, early listing) (im *Image, size int64, numbers []uint64, err error) {
	var listErr error
	together(
		func() { im, size, err = readImage(ctx, op.store, op.root, k) },
		func() { numbers, listErr = op.framesAbove(ctx, k.seq, early) },
	)
	if err == nil {
		err = listErr
	}
	return im, size, numbers, err
}

// checkGap looks at the frames that exist behind the first missing number, which as a rule are none. Fences are sent in
// batches of k, so up to k-1 of them may be there. Anything further off, and any data frame (they are sent one by one), proves
// that the missing frame was there.
func (op *opener) checkGap(ctx context.Context, base, gap uint64, behind []uint64) error {
	if len(behind) == 0 || mutant.On(mutFarFrames) {
		return nil
	}
	if last := behind[len(behind)-1]; last >= gap+uint64(op.root.Run) && !(mutant.On(mutGapWide) && last == gap+uint64(op.root.Run)) {
		return op.explainGap(ctx, base, gap, last)
	}
	if mutant.On(mutNearFrames) {
		return nil
	}
	found := make([]*Frame, len(behind))
	errs := make([]error, len(behind))
	var wg sync.WaitGroup
	for i, n := range behind {
		wg.Go(func() { found[i], errs[i] = readFrame(ctx, op.store, n) })
	}
	wg.Wait()
	for i, f := range found {
		if errs[i] != nil {
			return errs[i]
		}
		if f.Volume == op.root.Volume && f.Kind != FrameFence {
			return op.explainGap(ctx, base, gap, f.Seq)
		}
	}
	return nil
}

// explainGap says why frame gap is missing although frame far, which came later, exists: either a newer image allowed to
// trim it, or the list was overtaken, or the frame was lost.
func (op *opener) explainGap(ctx context.Context, base, gap, far uint64) error {
	if err := op.lastLook(ctx, base); err != nil && !mutant.On(mutGapDamaged) {
		return err
	}
	switch _, err := op.store.Stat(ctx, FrameKey(gap)); {
	case err == nil:
		return fmt.Errorf("%w: frame %d appeared", errRestart, gap)
	case driver.KindOf(err) != driver.KindNotExist:
		return fmt.Errorf("look for frame %d: %w", gap, err)
	}
	return fmt.Errorf("%w: frame %d (%s) is missing, but frame %d exists: something else than forst deleted it (a lifecycle rule?); nothing was changed; restore it from a copy of the store", ErrDamaged, gap, FrameKey(gap), far)
}

// lastLook lists the images once more. Any image above base, but those that this opener found damaged itself, means that
// what it took for the end may have been trimmed: start again.
func (op *opener) lastLook(ctx context.Context, base uint64) error {
	images, err := listImages(ctx, op.store)
	if err != nil {
		return err
	}
	for _, k := range op.mineOf(images) {
		if _, known := op.damaged[k.key]; known && !mutant.On(mutLookAny) {
			continue
		}
		if k.seq > base {
			return fmt.Errorf("%w: image %s is newer than the one replayed", errRestart, k.key)
		}
	}
	return nil
}

// together runs functions at the same time and waits for all.
func together(fs ...func()) {
	var wg sync.WaitGroup
	for _, f := range fs[1:] {
		wg.Go(f)
	}
	fs[0]()
	wg.Wait()
}

// Open takes the volume over. When it returns a Journal, m holds everything that was ever acknowledged, no earlier writer
// will acknowledge anything more, and the caller owns m's further fate through the Journal. Until then nothing was written
// but fences. Open makes four sequential requests if nobody else is at work, two of them before it writes anything; one more if the journal has more than a
// thousand names.
//
// Errors: ErrNoVolume, ErrDropped, ErrFormat, ErrDamaged, ErrBusy, or what the store said. After an error of the later half
// an earlier writer may be fenced already. ctx ends the open, not the Journal.
func Open(ctx context.Context, store driver.Store, m Machine, o *Options) (*Journal, error) {
	opts := o.withDefaults()
	ctx = driver.WithComponent(ctx, driver.CompOpen)
	c := new(counters)
	op := newOpener(store, m, &opts, true, c)
	var j *Journal
	nonce := op.o.newNonce()
	err := op.again(ctx, func() error {
		r, err := op.load(ctx)
		if err != nil {
			return err
		}
		if err := op.watch(ctx, r); err != nil {
			return err
		}
		if opts.Admit != nil {
			if err := opts.Admit(op.root.Volume, r.epoch); err != nil {
				return err
			}
		}
		if !mutant.On(mutSameNonce) && op.mine[nonce] {
			nonce = op.o.newNonce()
		}
		first, err := op.takeOver(ctx, r, nonce)
		if err != nil {
			return err
		}
		if err := op.verify(ctx, r, first); err != nil {
			return err
		}
		j = newJournal(store, m, &opts, op, r, nonce)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("open the journal: %w", err)
	}
	opts.emit(Event{Kind: EventOpened, Epoch: j.epoch, Seq: j.Acked()})
	go j.run()
	return j, nil
}

// verify is the last look of a writer; first is the number of its first effective fence.
func (op *opener) verify(ctx context.Context, r *replay, first uint64) error {
	base := r.base
	switch {
	case mutant.On(mutNoLastLook):
		return nil
	case mutant.On(mutLookAtFence):
		base = max(base, first-1)
	case mutant.On(mutLookSeen):
		base = max(base, r.seen)
	}
	return op.lastLook(ctx, base)
}

// watch refuses if the journal is dropped, or moves within the time that the caller asked for.
func (op *opener) watch(ctx context.Context, r *replay) error {
	if r.dropped {
		return fmt.Errorf("%w (by frame %d); its prefix is not used again: choose another place", ErrDropped, r.last.Seq)
	}
	if op.o.BusyWait <= 0 || op.o.Force || !op.writer {
		return nil
	}
	if err := sleep(ctx, op.o.BusyWait); err != nil {
		return err
	}
	numbers, err := listFrames(ctx, op.store, r.next-1)
	if err != nil {
		return err
	}
	for _, n := range numbers {
		if n == r.next {
			return fmt.Errorf("%w: frame %d was written within %v; stop the other writer first, or open with Force", ErrBusy, n, op.o.BusyWait.Round(time.Millisecond))
		}
	}
	return op.lastLook(ctx, r.base)
}
