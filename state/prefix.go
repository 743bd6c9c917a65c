package state

import (
	"context"
	"io"
	"iter"
	"strings"

	"github.com/forst-go/forst/forstfs/driver"
)

// below is the part of a store below a prefix that ends with "/". Closing it does not close the store.
func below(s driver.Store, prefix string) driver.Store {
	b := prefixed{s, prefix}
	if c, ok := driver.As[driver.Copier](s); ok {
		return copier{b, c}
	}
	return b
}

// prefixed does not unwrap: what is below takes other keys.
type prefixed struct {
	s      driver.Store
	prefix string
}

type copier struct {
	prefixed
	c driver.Copier
}

func (c copier) Copy(ctx context.Context, src, dst string) error {
	return c.c.Copy(ctx, c.prefix+src, c.prefix+dst)
}

func (p prefixed) Put(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
	return p.s.Put(ctx, p.prefix+key, data, o)
}

func (p prefixed) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	return p.s.Get(ctx, p.prefix+key, off, n)
}

func (p prefixed) Stat(ctx context.Context, key string) (driver.Info, error) {
	i, err := p.s.Stat(ctx, p.prefix+key)
	i.Key = strings.TrimPrefix(i.Key, p.prefix)
	return i, err
}

func (p prefixed) List(ctx context.Context, prefix, after string) iter.Seq2[driver.Info, error] {
	if after != "" {
		after = p.prefix + after
	}
	return func(yield func(driver.Info, error) bool) {
		for i, err := range p.s.List(ctx, p.prefix+prefix, after) {
			i.Key = strings.TrimPrefix(i.Key, p.prefix)
			if !yield(i, err) {
				return
			}
		}
	}
}

func (p prefixed) Delete(ctx context.Context, keys []string) error {
	full := make([]string, len(keys))
	for i, k := range keys {
		full[i] = p.prefix + k
	}
	return p.s.Delete(ctx, full)
}

func (p prefixed) Capabilities() driver.Capabilities { return p.s.Capabilities() }
func (p prefixed) Close() error                      { return nil }
