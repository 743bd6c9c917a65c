package forstfs

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/forst-go/forst/cache"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/journal"
	"github.com/forst-go/forst/internal/mutant"
	"github.com/forst-go/forst/internal/namespace"
)

const (
	packOpExtents = 4096 // extents that one pack operation moves
	packRetry     = 5 * time.Second
)

// packer keeps the journal short: when enough frames have followed the last image, the inline bytes that are still alive move to
// data objects, an image of the namespace is written, and the frames before the older of the last two images are trimmed.
type packer struct {
	v    *FS
	wake chan struct{}
	busy chan struct{} // capacity 1: held by the one of Checkpoint, Drop and Close that runs
	ctx  context.Context
	stop context.CancelFunc // an image that Close interrupts is begun again by the next owner
}

// lock waits until nobody else packs, or for the end of ctx.
func (p *packer) lock(ctx context.Context) error {
	select {
	case p.busy <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *packer) unlock() { <-p.busy }

// poke is called after each acknowledged frame.
func (p *packer) poke() {
	if p.v.journal == nil {
		return
	}
	if !p.due() {
		return
	}
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *packer) due() bool {
	frames, bytes, image := p.v.journal.SinceImage()
	return frames >= p.v.o.ImageFrames || bytes >= max(p.v.o.ImageBytes, image)
}

// run packs when due until the volume closes.
func (p *packer) run() {
	for {
		select {
		case <-p.ctx.Done():
			return
		case <-p.v.Failed():
			return
		case <-p.wake:
		}
		for p.due() {
			err := p.v.Checkpoint(p.ctx)
			if err == nil {
				continue
			}
			p.v.listen().Retrying("image", 1, err)
			select {
			case <-p.ctx.Done():
				return
			case <-p.v.Failed():
				return
			case <-time.After(packRetry):
			}
		}
	}
}

const (
	lastFrames = 64 // more frames, or
	lastBytes  = 4 << 20
)

// last writes an image when the volume is closed in peace and the next Open would have much to read otherwise. It may fail: the frames are
// all there.
func (p *packer) last() {
	frames, bytes, _ := p.v.journal.SinceImage()
	if frames < lastFrames && bytes < lastBytes || p.v.Err() != nil {
		return
	}
	if err := p.v.Checkpoint(p.v.bg); err != nil {
		p.v.listen().Retrying("image", 1, err)
	}
}

// Checkpoint makes everything issued so far durable, packs inline bytes, writes an image and trims the journal. It runs by itself when enough
// frames have gathered; call it to make the next Open short.
func (v *FS) Checkpoint(ctx context.Context) error {
	if err := v.writable(); err != nil {
		return err
	}
	info, err := v.checkpoint(driver.WithComponent(ctx, driver.CompPack))
	if info.Written {
		v.listen().Image(info.Seq, info.Bytes)
	}
	return storeErr(err)
}

func (v *FS) checkpoint(ctx context.Context) (info journal.ImageInfo, err error) {
	if err := v.packer.lock(ctx); err != nil {
		return info, err
	}
	defer v.packer.unlock()
	if err := v.Sync(ctx); err != nil {
		return info, err
	}
	if err := v.packInline(ctx); err != nil {
		return info, fmt.Errorf("pack: %w", err)
	}
	if info, err = v.journal.WriteImage(ctx); err != nil {
		return info, fmt.Errorf("image: %w", err)
	}
	if _, err := v.journal.Trim(ctx); err != nil {
		return info, fmt.Errorf("trim: %w", err)
	}
	return info, nil
}

// packInline moves the inline bytes of the acknowledged namespace to data objects and waits until the journal has taken that.
func (v *FS) packInline(ctx context.Context) error {
	var moves []namespace.Repack
	v.machine.mu.Lock()
	for ino, at := range v.machine.acked.Inline() {
		moves = append(moves, namespace.Repack{Inode: ino, FileOff: at.FileOff, Old: at.Extent})
	}
	v.machine.mu.Unlock()
	for len(moves) > 0 {
		k, size := 0, int64(0)
		for k < len(moves) && k < packOpExtents && (k == 0 || size+moves[k].Old.Len <= v.objectSize) {
			size += moves[k].Old.Len
			k++
		}
		if err := v.packSome(ctx, moves[:k], size); err != nil {
			return err
		}
		moves = moves[k:]
	}
	return nil
}

// packSome moves extents of size bytes in all into one object.
func (v *FS) packSome(ctx context.Context, moves []namespace.Repack, size int64) error {
	v.reserve(size)
	defer v.budget.release(size)
	data := make([]byte, size)
	key, c := v.newObject(size)
	pieces := make([]piece, len(moves))
	var at int64
	for i := range moves {
		old := moves[i].Old
		pieces[i] = piece{old.Container, old.Off, data[at : at+old.Len]}
		moves[i].New = namespace.Extent{Container: c, Off: at, Len: old.Len}
		at += old.Len
	}
	byFrame := map[namespace.Container][]piece{}
	for _, q := range pieces {
		byFrame[q.c] = append(byFrame[q.c], q)
	}
	if err := parallel(slices.Collect(maps.Values(byFrame)), func(qs []piece) error { return v.readFrameFor(ctx, qs) }); err != nil {
		return err
	}
	if mutant.On(mutPackEarly) {
		early := namespace.Op{Kind: namespace.Pack, Packs: moves}
		v.mu.Lock()
		v.journal.Kick(v.journal.Enqueue(early.AppendTo(nil), nil))
		v.mu.Unlock()
	}
	if err := v.putObject(ctx, key, data); err != nil {
		return err
	}
	v.cacheInsert(c, data)
	if mutant.On(mutPackPlace) && len(moves) > 1 && moves[0].New.Len == moves[1].New.Len {
		moves[0].New, moves[1].New = moves[1].New, moves[0].New
	}
	op := namespace.Op{Kind: namespace.Pack, Packs: moves}
	if mutant.On(mutPackUnseen) {
		v.packUnseen(&op)
		return nil
	}
	v.mu.Lock()
	pos := v.journal.Enqueue(op.AppendTo(nil), nil)
	v.mu.Unlock()
	if err := v.journal.Wait(ctx, pos); err != nil {
		return err
	}
	v.machine.mu.Lock()
	unused := !v.machine.acked.Needs(c)
	v.machine.mu.Unlock()
	if unused && !mutant.On(mutPackLeaks) { // every file was rewritten or removed meanwhile, so nobody ever saw the object
		v.mu.Lock()
		if v.pins[c] == 0 {
			v.gc.add(c)
		}
		v.mu.Unlock()
	}
	return nil
}

// readFrameFor fills all pieces from one frame, which is fetched at most once and enters the cache only if it was there: it is about to go.
func (v *FS) readFrameFor(ctx context.Context, qs []piece) error {
	var f *journal.Frame
	for _, q := range qs {
		if v.frames.read(q) || v.cache.LookupAll(v.cacheID(q.c), q.p, q.off, cache.Sequential, cache.ReasonOther) {
			continue
		}
		if f == nil {
			var err error
			if f, err = v.readFrame(ctx, frameRef(q.c)); err != nil {
				return staleErr(err)
			}
		}
		if err := fromFrame(f, q); err != nil {
			return err
		}
	}
	return nil
}

// readFrame fetches and verifies a frame.
func (v *FS) readFrame(ctx context.Context, ref journal.FrameRef) (*journal.Frame, error) {
	if v.readOnly {
		return v.reader.ReadFrame(ctx, ref)
	}
	return v.journal.ReadFrame(ctx, ref)
}
