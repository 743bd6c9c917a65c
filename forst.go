// Package forst opens volumes by URL with every driver that comes with forst. A program that wants to link only one driver uses that
// driver's package and forstfs.Open instead.
package forst

import (
	"context"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/hdfs"
	"github.com/forst-go/forst/forstfs/local"
	"github.com/forst-go/forst/forstfs/s3"
)

// Drivers returns a new registry that knows the schemes file, hdfs and s3. The caller may register more.
func Drivers() *driver.Registry {
	r := &driver.Registry{}
	r.Register("file", local.Opener)
	r.Register("hdfs", hdfs.OpenURL)
	r.Register("s3", s3.OpenURL)
	return r
}

// OpenStore opens the store that a URL names; its parameters are documented in docs/stores.md. Those of the cache are checked and have no effect: a store has none.
func OpenStore(ctx context.Context, url string) (driver.Store, error) {
	rest, _, err := cacheSettings(url)
	if err != nil {
		return nil, err
	}
	return Drivers().Open(ctx, rest)
}

// Open opens the volume at a URL ("s3://bucket/prefix", "hdfs://namenode:8020/dir", "file:///dir") for writing and takes it over; see forstfs.Open. nil options open an existing volume
// with the defaults. Parameters of the URL may set the cache (docs/cache.md). Volumes opened by URL share one cache in memory, one for each cache directory, and budgets of memory and requests
// (forstfs.Shared), unless o.Shared says otherwise.
func Open(ctx context.Context, url string, o *forstfs.Options) (*forstfs.FS, error) {
	url, o, err := withCache(url, o)
	if err != nil {
		return nil, err
	}
	store, err := OpenStore(ctx, url)
	if err != nil {
		return nil, err
	}
	return forstfs.Open(ctx, store, named(o, url))
}

// OpenReadOnly opens the volume at a URL for reading; see forstfs.OpenReadOnly.
func OpenReadOnly(ctx context.Context, url string, o *forstfs.Options) (*forstfs.FS, error) {
	url, o, err := withCache(url, o)
	if err != nil {
		return nil, err
	}
	store, err := OpenStore(ctx, readOnly(url))
	if err != nil {
		return nil, err
	}
	return forstfs.OpenReadOnly(ctx, store, named(o, url))
}
