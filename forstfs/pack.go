package forstfs

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
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

// Checkpoint makes everything issued so far durable, packs inline bytes, writes an image, trims the journal, and serves what requests ask for. It runs by itself when enough
// frames have gathered; call it to make the next Open short.
func (v *FS) Checkpoint(ctx context.Context) error {
	if err := v.writable(); err != nil {
		return err
	}
	requests := v.lookForRequests(ctx)
	info, err := v.checkpoint(driver.WithComponent(ctx, driver.CompPack))
	if info.Written {
		v.listen().Image(info.Seq, info.Bytes)
	}
	if found := requests(); err == nil {
		v.tryErrands(ctx, found)
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
		k, size := v.packChunk(moves)
		p, err := v.packSome(ctx, v.newPacking(size), moves[:k])
		if err == nil {
			err = v.packed(ctx, []packing{p})
		}
		if err != nil {
			return err
		}
		moves = moves[k:]
	}
	return nil
}

// packChunk is how many of the moves, of which size, go into one object.
func (v *FS) packChunk(moves []namespace.Repack) (k int, size int64) {
	for k < len(moves) && k < packOpExtents && (k == 0 || size+moves[k].Old.Len <= v.objectSize) {
		size += moves[k].Old.Len
		k++
	}
	return k, size
}

// packForSnapshot packs if a snapshot would have to carry many bytes otherwise: one round trip, because the packs share a frame with what the caller
// puts into the order next. Nothing is done while somebody else packs.
func (v *FS) packForSnapshot(ctx context.Context) ([]packing, error) {
	select {
	case v.packer.busy <- struct{}{}:
		defer v.packer.unlock()
	default:
		return nil, nil
	}
	type chunk struct {
		p     packing
		moves []namespace.Repack
	}
	var chunks []chunk
	v.machine.mu.Lock()
	if st := v.machine.acked; st.Stats().InlineBytes > min(maxInlineBody, v.objectSize) {
		var moves []namespace.Repack
		for ino, at := range st.Inline() {
			moves = append(moves, namespace.Repack{Inode: ino, FileOff: at.FileOff, Old: at.Extent})
		}
		for len(moves) > 0 {
			k, size := v.packChunk(moves)
			chunks = append(chunks, chunk{v.newPacking(size), moves[:k]})
			moves = moves[k:]
		}
	}
	v.machine.mu.Unlock()
	if len(chunks) == 0 {
		return nil, nil
	}
	var mu sync.Mutex
	var packs []packing
	err := parallel(chunks, func(c chunk) error {
		p, err := v.packSome(ctx, c.p, c.moves)
		mu.Lock()
		defer mu.Unlock()
		if err == nil {
			packs = append(packs, p)
		}
		return err
	})
	return packs, err
}

// packing is a pack in the order: its object, and its position.
type packing struct {
	c    namespace.Container
	key  string
	size int64
	pos  uint64
}

func (v *FS) newPacking(size int64) packing {
	p := packing{size: size}
	p.key, p.c = v.newObject(size)
	return p
}

// packSome moves extents into the object of a pack, all of it, and puts the pack into the order.
func (v *FS) packSome(ctx context.Context, p packing, moves []namespace.Repack) (packing, error) {
	size, key, c := p.size, p.key, p.c
	v.reserve(size)
	defer v.budget.release(size)
	data := make([]byte, size)
	pieces := make([]piece, len(moves))
	var at int64
	for i := range moves {
		old := moves[i].Old
		pieces[i] = piece{old.Container, old.Off, data[at : at+old.Len]}
		moves[i].New = namespace.Extent{Container: c, Off: at, Len: old.Len}
		at += old.Len
	}
	if err := v.readPieces(ctx, pieces); err != nil {
		return p, err
	}
	if mutant.On(mutPackEarly) {
		early := namespace.Op{Kind: namespace.Pack, Packs: moves}
		v.mu.Lock()
		v.journal.Kick(v.journal.Enqueue(early.AppendTo(nil), nil))
		v.mu.Unlock()
	}
	if err := v.putObject(ctx, key, data); err != nil {
		return p, err
	}
	v.cacheInsert(c, data)
	if mutant.On(mutPackPlace) && len(moves) > 1 && moves[0].New.Len == moves[1].New.Len {
		moves[0].New, moves[1].New = moves[1].New, moves[0].New
	}
	op := namespace.Op{Kind: namespace.Pack, Packs: moves}
	if mutant.On(mutPackUnseen) {
		v.packUnseen(&op)
		return p, nil
	}
	p.pos = v.enqueue(&op)
	return p, nil
}

// packed waits until the journal has taken packs, and lets go objects that came too late for every file.
func (v *FS) packed(ctx context.Context, packs []packing) error {
	for _, p := range packs {
		if err := v.journal.Wait(ctx, p.pos); err != nil {
			return err
		}
		v.machine.mu.Lock()
		unused := !v.machine.acked.Needs(p.c)
		if mutant.On(mutPackPins) {
			unused = v.machine.acked.Use(p.c).Refs == 0
		}
		v.machine.mu.Unlock()
		if unused && !mutant.On(mutPackLeaks) { // every file was rewritten or removed meanwhile, so nobody ever saw the object
			v.mu.Lock()
			if v.pins[p.c] == 0 {
				v.gc.add(p.c)
			}
			v.mu.Unlock()
		}
	}
	return nil
}

// readPieces fills pieces from frames, each of which is fetched at most once.
func (v *FS) readPieces(ctx context.Context, pieces []piece) error {
	byFrame := map[namespace.Container][]piece{}
	for _, q := range pieces {
		byFrame[q.c] = append(byFrame[q.c], q)
	}
	return parallelN(slices.Collect(maps.Values(byFrame)), openFrames, func(qs []piece) error { return v.readFrameFor(ctx, qs) })
}

// readFrameFor fills all pieces from one frame, which is fetched at most once and enters the cache only if it was there: it is about to go.
func (v *FS) readFrameFor(ctx context.Context, qs []piece) error {
	var f *journal.Frame
	for _, q := range qs {
		if v.frames.read(q) || v.cached(q, how{hint: cache.Sequential, reason: cache.ReasonOther}) {
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
