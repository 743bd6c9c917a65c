package forstfs

import (
	"context"
	"fmt"

	"github.com/forst-go/forst/cache"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/journal"
	"github.com/forst-go/forst/internal/mutant"
	"github.com/forst-go/forst/internal/namespace"
)

// objectKey is the key of a data object or of the body of a snapshot.
func objectKey(c namespace.Container) string {
	if c.Kind == namespace.Body {
		return journal.SnapshotKey(c.Epoch, c.Nonce, c.Num)
	}
	return journal.DataKey(c.Epoch, c.Nonce, c.Num)
}

// buildBody makes the body of a snapshot out of the names as they were when it began. read fills pieces from frames. Extents in frames
// become extents in the body itself, so that the journal is not needed any more.
func buildBody(volume [16]byte, s *namespace.Snapshot, tree *namespace.State, read func([]piece) error) (*journal.SnapshotBody, error) {
	b := &journal.SnapshotBody{Volume: volume, Epoch: s.ID.Epoch, Nonce: s.ID.Nonce, Num: s.ID.Num, Frame: s.Frame, Created: s.Time,
		Name: s.Name, Dir: s.Dir, Meta: s.Meta}
	var size int64
	for _, at := range tree.Inline() {
		size += at.Extent.Len
	}
	b.Inline = make([]byte, size)
	if b.Head() > maxObject {
		return nil, fmt.Errorf("%d bytes are still inline: run Checkpoint first", size)
	}
	var pieces []piece
	var at int64
	c := (&namespace.Snapshot{BodyID: s.ID, Body: namespace.BodyRef{Head: uint32(b.Head())}}).BodyContainer()
	move := func(p namespace.Placed) namespace.Extent {
		pieces = append(pieces, piece{p.Extent.Container, p.Extent.Off, b.Inline[at : at+p.Extent.Len]})
		to := namespace.Extent{Container: c, Off: journal.SnapshotInline + at, Len: p.Extent.Len}
		at += p.Extent.Len
		return to
	}
	if !mutant.On(mutSnapInline) {
		if err := tree.MoveFrames(move); err != nil {
			return nil, err
		}
		if err := read(pieces); err != nil {
			return nil, err
		}
	}
	b.State = tree.Encode()
	return b, nil
}

// loadBody reads and verifies the body of a committed snapshot, of whatever volume the store holds. The extents of the State are
// containers of that volume: data objects, and the body itself (kind Body), whose bytes are in the store under snapshot/.
func loadBody(ctx context.Context, store driver.Store, volume [16]byte, s *namespace.Snapshot) (*journal.SnapshotBody, *namespace.State, error) {
	if !s.Committed && !mutant.On(mutSnapPending) {
		return nil, nil, fmt.Errorf("%w: %q is not committed", ErrNoSnapshot, s.Name)
	}
	key := objectKey(s.BodyContainer())
	data, err := driver.ReadAll(driver.WithComponent(ctx, driver.CompSnapshot), store, key)
	if err != nil {
		return nil, nil, fmt.Errorf("snapshot %q: %w", s.Name, staleErr(err))
	}
	b, crc, err := journal.DecodeSnapshotBody(data)
	if err != nil {
		return nil, nil, fmt.Errorf("snapshot %q (%s): %w", s.Name, key, err)
	}
	ref := namespace.BodyRef{Head: uint32(b.Head()), CRC: crc, Size: int64(len(data))}
	if b.Volume != volume || b.Key() != key || s.Committed && ref != s.Body {
		return nil, nil, fmt.Errorf("%w: %s is not the body of snapshot %q: %+v of volume %x, want %+v", ErrDamaged, key, s.Name, ref, b.Volume, s.Body)
	}
	st, err := namespace.Decode(b.State)
	if err != nil {
		return nil, nil, fmt.Errorf("snapshot %q (%s): %w", s.Name, key, err)
	}
	return b, st, nil
}

// keepBody puts the inline bytes of a body that was just read into the cache: an engine reads them first.
func (v *FS) keepBody(s *namespace.Snapshot, b *journal.SnapshotBody) {
	if len(b.Inline) == 0 {
		return
	}
	head := append(make([]byte, journal.SnapshotInline, b.Head()), b.Inline...)
	v.cache.Insert(v.cacheID(s.BodyContainer()), int64(len(head)), 0, head, cache.ReasonWrite)
}
