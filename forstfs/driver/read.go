package driver

import (
	"context"
	"errors"
	"io"
)

// ReadFull fills p with the bytes of the object from off on. An object that ends before p is full is KindRange or
// KindCorrupt, never a short result.
func ReadFull(ctx context.Context, s Store, key string, off int64, p []byte) error {
	if len(p) == 0 {
		return nil
	}
	r, err := s.Get(ctx, key, off, int64(len(p)))
	if err != nil {
		return err
	}
	defer r.Close()
	if _, err := io.ReadFull(r, p); err != nil {
		return shortRead(key, err)
	}
	return nil
}

// ReadAll returns the whole object.
func ReadAll(ctx context.Context, s Store, key string) ([]byte, error) {
	r, err := s.Get(ctx, key, 0, -1)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, shortRead(key, err)
	}
	return b, nil
}

func shortRead(key string, err error) error {
	var e *Error
	if errors.As(err, &e) || IsCanceled(err) {
		return err
	}
	kind := KindTransient
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		kind = KindCorrupt
	}
	return &Error{Op: "get", Path: key, Kind: kind, Err: err}
}

// ListAll collects a whole list.
func ListAll(ctx context.Context, s Store, prefix, after string) ([]Info, error) {
	var all []Info
	for info, err := range s.List(ctx, prefix, after) {
		if err != nil {
			return nil, err
		}
		all = append(all, info)
	}
	return all, nil
}
