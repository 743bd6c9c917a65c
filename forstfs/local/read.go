package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/forst-go/forst/forstfs/driver"
)

// Get opens a range. The reader keeps the file that it found: a later Put or Delete of the key does not change its bytes.
func (s *Store) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	if err := s.checkKey("get", key); err != nil {
		return nil, err
	}
	if off < 0 || n == 0 {
		return nil, s.fail("get", key, driver.KindInvalid, fmt.Errorf("range of %d bytes at %d", n, off))
	}
	if err := s.begin(ctx, "get", key); err != nil {
		return nil, err
	}
	defer s.busy.Done()
	f, err := s.root.Open(key)
	if err != nil {
		if missing(err) {
			return nil, s.absent("get", key)
		}
		return nil, s.fail("get", key, kindOf(err), err)
	}
	r, err := s.section(ctx, f, key, off, n)
	if err != nil {
		f.Close()
		return nil, err
	}
	return r, nil
}

func (s *Store) section(ctx context.Context, f *os.File, key string, off, n int64) (*reader, error) {
	fi, err := f.Stat()
	if err != nil {
		return nil, s.fail("get", key, kindOf(err), err)
	}
	if !fi.Mode().IsRegular() {
		return nil, s.absent("get", key)
	}
	if err := s.settleErr("get", key); err != nil {
		return nil, err
	}
	size := fi.Size()
	if off >= size && (off > 0 || n > 0) {
		return nil, s.fail("get", key, driver.KindRange, fmt.Errorf("offset %d in an object of %d bytes", off, size))
	}
	if n < 0 || n > size-off {
		n = size - off
	}
	return &reader{ctx: ctx, s: s, key: key, f: f, off: off, rest: n}, nil
}

// reader reads with pread(2).
type reader struct {
	ctx       context.Context
	s         *Store
	key       string
	f         *os.File
	off, rest int64
}

func (r *reader) Read(p []byte) (int, error) {
	if r.rest == 0 {
		return 0, io.EOF
	}
	if err := r.ctx.Err(); err != nil {
		return 0, r.s.fail("get", r.key, driver.KindOther, err)
	}
	n, err := r.f.ReadAt(p[:min(int64(len(p)), r.rest)], r.off)
	r.off += int64(n)
	r.rest -= int64(n)
	switch {
	case n > 0 || err == nil: // an error comes again with the next call
		return n, nil
	case errors.Is(err, io.EOF):
		return 0, r.s.fail("get", r.key, driver.KindCorrupt,
			fmt.Errorf("the file was cut by %d bytes while it was read: %w", r.rest, io.ErrUnexpectedEOF))
	}
	return 0, r.s.fail("get", r.key, kindOf(err), err)
}

func (r *reader) Close() error { return r.f.Close() }

// Stat describes one object.
func (s *Store) Stat(ctx context.Context, key string) (driver.Info, error) {
	if err := s.checkKey("stat", key); err != nil {
		return driver.Info{}, err
	}
	if err := s.begin(ctx, "stat", key); err != nil {
		return driver.Info{}, err
	}
	defer s.busy.Done()
	fi, err := s.root.Stat(key)
	if missing(err) || err == nil && !fi.Mode().IsRegular() {
		return driver.Info{}, s.absent("stat", key)
	}
	if err != nil {
		return driver.Info{}, s.fail("stat", key, kindOf(err), err)
	}
	if err := s.settleErr("stat", key); err != nil {
		return driver.Info{}, err
	}
	return driver.Info{Key: key, Size: fi.Size(), ModTime: fi.ModTime()}, nil
}
