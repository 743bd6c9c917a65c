package journal

import (
	"context"
	"fmt"
	"sync"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/mutant"
)

// TrimInfo says what a Trim did.
type TrimInfo struct {
	Below  uint64 // frames below this number are gone, but for fence runs
	Frames int    // frames deleted
	Images int    // images deleted
}

// Trim deletes what two newer images have made superfluous: images below the older of them, frames covered by it whose
// inline bytes nothing needs. It makes one LIST, and DELETEs. It goes only by images that the LIST shows, numbered no
// higher than the own last acknowledged frame (what a successor writes is not this writer's to rely on), and not
// found damaged. With fewer than two of these it does nothing. Fence runs stay for ever.
func (j *Journal) Trim(ctx context.Context) (TrimInfo, error) {
	ctx = driver.WithComponent(ctx, driver.CompGC)
	release, err := j.keepHouse(ctx)
	if err != nil {
		return TrimInfo{}, err
	}
	defer release()
	info := TrimInfo{Below: j.trimmed}
	if err := j.alive(); err != nil {
		return info, err
	}
	images, older, err := j.twoImages(driver.WithComponent(ctx, driver.CompPack))
	if err != nil || older < 0 {
		return info, err
	}
	at := images[older].seq
	// Images first: while one is there, so are the frames behind it.
	if info.Images, err = j.deleteImagesBelow(ctx, images, at); err != nil {
		return info, err
	}
	below, runs := j.trimPoint(at)
	var keys []string
	for n := range gaps(runs, j.trimmed, below) {
		keys = append(keys, FrameKey(n))
	}
	if len(keys) > 0 {
		if err := j.store.Delete(ctx, keys); err != nil {
			return info, fmt.Errorf("trim the journal below %d: %w", below, err)
		}
	}
	j.smu.Lock()
	j.trimmed = max(j.trimmed, below)
	j.smu.Unlock()
	info.Below, info.Frames = j.trimmed, len(keys)
	j.metrics.trimmed.Add(int64(info.Frames + info.Images))
	if info.Frames+info.Images > 0 {
		j.o.emit(Event{Kind: EventTrimmed, Epoch: j.epoch, Seq: info.Below})
	}
	return info, nil
}

// twoImages lists the images and returns the index of the older one of the two that are kept, -1 if there are no two.
func (j *Journal) twoImages(ctx context.Context) (images []imageKey, older int, err error) {
	if images, err = listImages(ctx, j.store); err != nil {
		return nil, -1, err
	}
	if mutant.On(mutTrimOwnImages) {
		if n := len(j.ownImages); n >= 2 {
			return j.ownImages, n - 2, nil
		}
		return nil, -1, nil
	}
	acked, found := j.Acked(), 0
	for i, k := range images {
		if _, bad := j.damaged[k.key]; bad && !mutant.On(mutDamagedCounts) {
			continue
		}
		if k.seq > acked && !mutant.On(mutTrimAnyImage) {
			continue
		}
		if found++; found == 2 || mutant.On(mutKeepOne) {
			return images, i, nil
		}
	}
	return images, -1, nil
}

func (j *Journal) deleteImagesBelow(ctx context.Context, images []imageKey, at uint64) (int, error) {
	var keys []string
	for _, k := range images {
		if k.seq < at {
			keys = append(keys, k.key)
		}
	}
	if len(keys) == 0 {
		return 0, nil
	}
	if err := j.store.Delete(ctx, keys); err != nil {
		return 0, fmt.Errorf("delete images below %d: %w", at, err)
	}
	return len(keys), nil
}

// trimPoint returns the first number that must stay when the older image is at: the frames behind it, and those that
// the acknowledged state needs.
func (j *Journal) trimPoint(at uint64) (below uint64, runs []Run) {
	j.smu.Lock()
	defer j.smu.Unlock()
	below = at + 1
	if live, ok := j.m.FirstLive(); ok && !mutant.On(mutTrimLive) {
		below = min(below, live)
	}
	if !mutant.On(mutFenceTrimmed) {
		runs = append(runs, j.cursor.runs...)
	}
	return max(below, j.trimmed), runs
}

// Sweep deletes what should be gone and is not: frames below the trim point that landed late or whose DELETE was lost, and
// images below the two that are kept. It lists both, so it is for the background after a takeover. Every frame that
// turns out to be a fence stays, even one that is part of no run. It returns how many objects it deleted. An orphaned
// object may still land later; the next owner's Sweep finds it.
func (j *Journal) Sweep(ctx context.Context) (int, error) {
	ctx = driver.WithComponent(ctx, driver.CompGC)
	release, err := j.keepHouse(ctx)
	if err != nil {
		return 0, err
	}
	defer release()
	if err := j.alive(); err != nil {
		return 0, err
	}
	images, older, err := j.twoImages(ctx)
	if err != nil {
		return 0, err
	}
	n := 0
	if older >= 0 {
		if n, err = j.deleteImagesBelow(ctx, images, images[older].seq); err != nil {
			return 0, err
		}
	}
	j.smu.Lock()
	below, runs := j.trimmed, append([]Run(nil), j.cursor.runs...)
	j.smu.Unlock()
	keys, err := strays(ctx, j.store, runs, below, j.o.width(j.store))
	if err == nil && len(keys) > 0 {
		if err = j.store.Delete(ctx, keys); err != nil {
			err = fmt.Errorf("sweep the journal: %w", err)
		} else {
			n += len(keys)
		}
	}
	j.metrics.swept.Add(int64(n))
	if n > 0 {
		j.o.emit(Event{Kind: EventSwept, Epoch: j.epoch, Seq: uint64(n)})
	}
	return n, err
}

// strays lists the frames below a number that belong to no fence run and are no fences. It looks into width of them at once.
func strays(ctx context.Context, store driver.Store, runs []Run, below uint64, width int) ([]string, error) {
	var found []driver.Info
	for info, err := range store.List(ctx, JournalPrefix, "") {
		if err != nil {
			return nil, fmt.Errorf("list the journal: %w", err)
		}
		n, ok := ParseFrameKey(info.Key)
		if !ok {
			continue
		}
		if n >= below {
			break
		}
		if kept(runs, n) && !mutant.On(mutSweepFences) {
			continue
		}
		found = append(found, info)
	}
	fence := make([]bool, len(found))
	looks, cancel := context.WithCancelCause(ctx) // the first error ends the others
	defer cancel(nil)
	var wg sync.WaitGroup
	slots := make(chan struct{}, max(width, 1))
	for i, info := range found {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			var err error
			if fence[i], err = isFence(looks, store, info); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	if err := context.Cause(looks); err != nil {
		return nil, err
	}
	var keys []string
	for i, info := range found {
		if !fence[i] || mutant.On(mutSweepFences) {
			keys = append(keys, info.Key)
		}
	}
	return keys, nil
}

// isFence looks at the header only. What it does not understand counts as a fence: it stays.
func isFence(ctx context.Context, store driver.Store, info driver.Info) (bool, error) {
	if info.Size == frameMin {
		return true, nil // a fence has exactly this size, and a data frame is longer
	}
	head := make([]byte, frameHeader)
	switch err := driver.ReadFull(ctx, store, info.Key, 0, head); driver.KindOf(err) {
	case driver.KindNotExist, driver.KindRange, driver.KindCorrupt:
		return true, nil
	default:
		if err != nil {
			return false, fmt.Errorf("sweep: %w", err)
		}
	}
	return string(head[:len(frameMagic)]) != frameMagic || FrameKind(head[10]) != FrameData, nil
}
