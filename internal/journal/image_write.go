package journal

import (
	"context"
	"fmt"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/mutant"
)

// ImageInfo describes an image.
type ImageInfo struct {
	Seq     uint64 // it holds the frames up to and with this number
	Key     string
	Bytes   int64 // size of the object
	Body    int64 // size of the body before compression
	Written bool  // false: the newest image held everything already
}

// WriteImage writes an image of the acknowledged state, and nothing else: what is queued or in flight is not in it. On nil
// it is durable. Commits go on meanwhile, but for the time that Machine.Image takes. An error leaves the journal as it
// was; the image may land later.
//
// An image that was found damaged when the volume was opened is deleted first: it must not count as one of the two that
// are kept. The first image of a volume comes with one of the empty state, so that there are two from the beginning.
func (j *Journal) WriteImage(ctx context.Context) (ImageInfo, error) {
	ctx = driver.WithComponent(ctx, driver.CompPack)
	release, err := j.keepHouse(ctx)
	if err != nil {
		return ImageInfo{}, err
	}
	defer release()
	if err := j.alive(); err != nil {
		return ImageInfo{}, err
	}
	if err := j.deleteDamaged(ctx); err != nil {
		return ImageInfo{}, err
	}
	if j.first {
		if _, err := j.putImage(ctx, &Image{Volume: j.volume, Nonce: j.o.newNonce(), TrimmedBelow: 1, Body: j.emptyBody}); err != nil {
			return ImageInfo{}, err
		}
		j.first, j.emptyBody = false, nil
	}
	im, before, err := j.capture()
	if err != nil {
		return ImageInfo{}, err
	}
	if n := len(j.ownImages); im.Seq <= j.base || n > 0 && im.Seq <= j.ownImages[n-1].seq {
		info := ImageInfo{Seq: j.base}
		if n > 0 {
			info.Seq, info.Key, info.Bytes = j.ownImages[n-1].seq, j.ownImages[n-1].key, j.ownImages[n-1].size
		}
		return info, nil
	}
	k, err := j.putImage(ctx, im)
	if err != nil {
		if mutant.On(mutTrimOwnImages) {
			j.ownImages = append(j.ownImages, k)
		}
		return ImageInfo{}, err
	}
	j.ownImages = append(j.ownImages, k)
	j.mu.Lock()
	j.since.frames -= before.frames
	j.since.bytes -= before.bytes
	j.since.imageBytes = k.size
	j.mu.Unlock()
	j.metrics.images.Add(1)
	j.metrics.imageBytes.Add(k.size)
	j.o.emit(Event{Kind: EventImage, Epoch: j.epoch, Seq: k.seq, Key: k.key})
	return ImageInfo{Seq: k.seq, Key: k.key, Bytes: k.size, Body: int64(len(im.Body)), Written: true}, nil
}

// capture takes the acknowledged state, at one moment.
func (j *Journal) capture() (*Image, sinceImage, error) {
	j.smu.Lock()
	defer j.smu.Unlock()
	c := &j.cursor
	im := &Image{Volume: j.volume, Seq: c.next - 1, Nonce: j.o.newNonce(), Epoch: c.epoch, Writer: c.nonce, Last: c.last,
		Runs: append([]Run(nil), c.runs...), TrimmedBelow: j.trimmed}
	if mutant.On(mutRunsForgotten) {
		im.Runs = nil
	}
	if mutant.On(mutImageKeyFrozen) {
		im.Nonce = j.nonce
	}
	var err error
	if im.Body, err = j.m.Image(); err != nil {
		return nil, sinceImage{}, fmt.Errorf("image of the state after frame %d: %w", im.Seq, err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	im.SweptBelow = j.swept
	if mutant.On(mutImageUnacked) && j.sent > j.acked {
		im.Seq++
	}
	return im, j.since, nil
}

// putImage stores an image under its own name, which nobody else uses.
func (j *Journal) putImage(ctx context.Context, im *Image) (imageKey, error) {
	k := imageKey{seq: im.Seq, nonce: im.Nonce, key: ImageKey(im.Seq, im.Nonce)}
	b := im.Encode()
	k.size = int64(len(b))
	other, err := j.images.settle(ctx, k.key, b, nil)
	if err != nil {
		return k, fmt.Errorf("write image %s: %w", k.key, err)
	}
	if other != nil {
		return k, fmt.Errorf("write image %s: another object has its name", k.key)
	}
	return k, nil
}

// deleteDamaged deletes the images that were found damaged at the open. j.house is held.
func (j *Journal) deleteDamaged(ctx context.Context) error {
	if len(j.damaged) == 0 || j.damagedGone || mutant.On(mutDamagedCounts) {
		return nil
	}
	var keys []string
	for key := range j.damaged {
		keys = append(keys, key)
	}
	if err := j.store.Delete(driver.WithComponent(ctx, driver.CompGC), keys); err != nil {
		return fmt.Errorf("delete the damaged image: %w", err)
	}
	j.damagedGone = true // they stay known: should one land again, it does not count
	return nil
}
