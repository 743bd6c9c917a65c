package forst

import (
	"context"
	"errors"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
)

// Beside opens the store that a URL names to leave holds and requests in, beside the writer that may be at work there.
func Beside(ctx context.Context, url string) (driver.Store, error) {
	return OpenStore(ctx, withMode(url, "beside"))
}

// Lenders is forstfs.Options.OpenStore for the volume at a URL: it opens the stores of volumes that this one borrows from or lends to, beside their writers.
func Lenders(url string) func(context.Context, string) (driver.Store, error) {
	return func(ctx context.Context, location string) (driver.Store, error) {
		raw, err := Resolve(url, location)
		if err != nil {
			return nil, err
		}
		return Beside(ctx, raw)
	}
}

// Clone makes a new volume at the URL dst that begins with a snapshot, by name or id, of the volume at the URL src; see forstfs.Clone. The places that the two volumes
// record of each other, and the way to the volumes that the source borrows from, are filled in.
func Clone(ctx context.Context, src, snapshot, dst string, o *forstfs.CloneOptions) (info forstfs.CloneInfo, err error) {
	var d forstfs.CloneOptions
	if o != nil {
		d = *o
	}
	if d.SourceURL == "" {
		if d.SourceURL, err = Location(dst, src); err != nil {
			return info, err
		}
	}
	if d.CloneURL == "" {
		if d.CloneURL, err = Location(src, dst); err != nil {
			return info, err
		}
	}
	opts := named(d.Options, dst)
	if d.Options == nil || d.Options.OpenStore == nil {
		opts.OpenStore = Lenders(src)
	}
	d.Options = opts
	from, err := Beside(ctx, src)
	if err != nil {
		return info, err
	}
	to, err := OpenStore(ctx, dst)
	if err != nil {
		return info, errors.Join(err, from.Close())
	}
	info, err = forstfs.Clone(ctx, from, snapshot, to, &d)
	return info, errors.Join(err, from.Close(), to.Close())
}
