package main

import (
	"context"
	"errors"
	"net/url"
	"path"
	"strings"

	"github.com/forst-go/forst"
	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
)

// display is what messages call a URL: scheme, host and path only. User information and parameters may hold secrets.
func display(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme == "" || u.Opaque != "" {
		raw, _, _ = strings.Cut(raw, "?")
		if i := strings.LastIndexByte(raw, '@'); i >= 0 {
			raw = raw[i+1:]
		}
		return raw
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// openStore opens the store behind raw without looking at what it holds. A URL that cannot be right is wrong usage.
func openStore(ctx context.Context, raw string) (driver.Store, error) {
	s, err := forst.OpenStore(ctx, raw)
	if err == nil {
		return s, nil
	}
	if k := driver.KindOf(err); k == driver.KindInvalid || k == driver.KindUnsupported {
		return nil, &usageError{err}
	}
	return nil, err
}

// openVolume opens the volume at raw for writing, which takes it over, as o says.
func openVolume(ctx context.Context, raw string, o forstfs.Options) (*forstfs.FS, error) {
	s, err := openStore(ctx, raw)
	if err != nil {
		return nil, err
	}
	o.Name, o.OpenStore = display(raw), forst.Lenders(raw)
	return forstfs.Open(ctx, s, &o)
}

// readVolume opens the volume at raw read-only: it writes nothing and does not disturb a writer.
func readVolume(ctx context.Context, raw string) (*forstfs.FS, error) {
	s, err := openStore(ctx, readOnlyURL(raw))
	if err != nil {
		return nil, err
	}
	return forstfs.OpenReadOnly(ctx, s, &forstfs.Options{Name: display(raw), OpenStore: forst.Lenders(raw)})
}

// readOnlyURL asks the local driver to take no lock, so that a running writer is no obstacle.
func readOnlyURL(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "file" {
		return raw
	}
	q := u.Query()
	if !q.Has("mode") {
		q.Set("mode", "ro")
		u.RawQuery = q.Encode()
	}
	return u.String()
}

// locate finds the volume that raw points to or into: raw itself or the nearest URL above it that is a volume, and the
// rest of the path. URL@SNAPSHOT is the snapshot, unless a volume has this very name. The error is the one of raw itself.
func locate(ctx context.Context, raw string) (*forstfs.FS, string, error) {
	v, first := readVolume(ctx, raw)
	if first == nil {
		return v, "/", nil
	}
	if base, snapshot, name, ok := cutSnapshot(raw); ok && notHere(first) {
		if v, err := readSnapshot(ctx, base, snapshot); err == nil {
			return v, name, nil
		} else if !notHere(err) {
			return nil, "", err
		}
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, "", first
	}
	rest := ""
	for err := first; notHere(err); {
		p := strings.TrimRight(u.Path, "/")
		if p == "" {
			break
		}
		rest = path.Join("/", path.Base(p), rest)
		u.Path, u.RawPath = path.Dir(p), ""
		if v, err = readVolume(ctx, u.String()); err == nil {
			return v, rest, nil
		}
	}
	return nil, "", first
}

// notHere reports whether a volume may still be found further up.
func notHere(err error) bool {
	return errors.Is(err, forstfs.ErrNoVolume) || errors.Is(err, forstfs.ErrForeign) || driver.KindOf(err) == driver.KindNoStore
}

// explain gives the message of err with what to do about it. Most errors say that themselves; here is what is left, where the
// answer is the operator's, not the program's.
func explain(err error) string {
	var remedy string
	switch {
	case errors.Is(err, forstfs.ErrDamaged):
		remedy = "nothing was changed; bring the object back from a version or a copy of the store, or use a backup"
	case driver.KindOf(err) == driver.KindNoSpace:
		remedy = "make room in the store and try again"
	case driver.KindOf(err) == driver.KindTransient:
		remedy = "the store does not answer; try again later"
	default:
		return err.Error()
	}
	return err.Error() + ": " + remedy
}
