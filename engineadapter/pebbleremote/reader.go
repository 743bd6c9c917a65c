package pebbleremote

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2/objstorage/remote"

	"github.com/forst-go/forst/cache"
	"github.com/forst-go/forst/forstfs/driver"
)

// compactionRead is what only compactions read at once, in bytes: Pebble's read-ahead of other iterators ends here.
const compactionRead = 1 << 20

// reader is an open object.
type reader struct {
	s      *Storage
	name   string
	o      *object
	cached cache.Object
}

// ReadObject opens an object and gives its size in bytes. It asks the store for the size, except of what this Storage has written itself.
func (s *Storage) ReadObject(ctx context.Context, name string) (remote.ObjectReader, int64, error) {
	if err := s.check("open", name); err != nil {
		return nil, 0, err
	}
	o, err := s.find(ctx, name)
	if err != nil {
		return nil, 0, err
	}
	return &reader{s, name, o, cache.Object{ID: s.cacheID(o), Size: o.info.Size, Source: source{s.store, name}}}, o.info.Size, nil
}

// ReadAt fills p, from the cache or with one ranged GET for each run of blocks that are not in it; the first read of a table's end fetches what stands before it,
// too. Reads of compactions leave the cache alone. A range that does not lie within the object is an error, and so is a read of an object that was deleted or replaced.
func (r *reader) ReadAt(ctx context.Context, p []byte, off int64) error {
	if err := r.check(); err != nil {
		return err
	}
	if off < 0 || off > r.o.info.Size || int64(len(p)) > r.o.info.Size-off {
		return &driver.Error{Op: "read", Path: r.name, Kind: driver.KindRange,
			Err: fmt.Errorf("%d bytes at %d of an object of %d bytes: %w", len(p), off, r.o.info.Size, io.ErrUnexpectedEOF)}
	}
	if len(p) == 0 {
		return nil
	}
	hint, reason := cache.Random, cache.ReasonRead
	switch {
	case len(p) > compactionRead:
		hint, reason = cache.Sequential, cache.ReasonCompaction
	case off+int64(len(p)) == r.o.info.Size:
		hint, reason = cache.Tail, cache.ReasonOther
	}
	if _, err := r.s.cache.ReadAt(ctx, &r.cached, p, off, hint, reason); err != nil {
		return err
	}
	return r.check() // bytes that were fetched while the name came to stand for others are not returned
}

func (r *reader) check() error {
	if err := r.s.check("read", r.name); err != nil {
		return err
	}
	if r.o.stale.Load() {
		return &driver.Error{Op: "read", Path: r.name, Kind: driver.KindNotExist, Err: errors.New("it was deleted or replaced while it was open")}
	}
	return nil
}

// Close ends nothing that costs anything; the object's blocks stay in the cache.
func (r *reader) Close() error { return nil }
