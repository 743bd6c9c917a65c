package forst

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/bytesize"
)

// The parameters of a URL that say how this process caches the volume; they are no part of where the volume is, and no store sees them.
var cacheParameters = []string{"cache", "cache_memory", "cache_mode", "cache_reserve", "cache_size"}

var cacheModes = map[string]forstfs.CacheMode{"normal": forstfs.CacheNormal, "local-only": forstfs.CacheLocalOnly, "off": forstfs.CacheOff}

// cacheSettings is what the URL says of the cache, and the URL without it. What it does not say is zero.
func cacheSettings(raw string) (rest string, set forstfs.Options, err error) {
	u, err := url.Parse(raw)
	if err != nil || !strings.Contains(u.RawQuery, "cache") {
		return raw, set, nil // the store's own error is the better one
	}
	q := u.Query()
	for name, values := range q {
		if !strings.HasPrefix(name, "cache") {
			continue
		}
		if !slices.Contains(cacheParameters, name) {
			return "", set, urlError(u, fmt.Errorf("unknown parameter %q; those of the cache are: %s", name, strings.Join(cacheParameters, ", ")))
		}
		if len(values) != 1 || values[0] == "" {
			return "", set, urlError(u, fmt.Errorf("parameter %s: give it once, with a value", name))
		}
		if err := setCache(&set, name, values[0]); err != nil {
			return "", set, urlError(u, fmt.Errorf("parameter %s: %w", name, err))
		}
		q.Del(name)
	}
	if set.CacheDir == "" && (set.CacheDiskBytes != 0 || set.CacheReserve != 0) {
		return "", set, urlError(u, errors.New("parameters cache_size and cache_reserve are about the directory that the parameter cache names: cache=/dir"))
	}
	u.RawQuery = q.Encode()
	return u.String(), set, nil
}

func setCache(set *forstfs.Options, name, value string) (err error) {
	switch name {
	case "cache":
		if set.CacheDir = value; !filepath.IsAbs(value) {
			return errors.New("give an absolute path, as cache=/var/cache/db")
		}
	case "cache_size":
		set.CacheDiskBytes, err = positive(value)
	case "cache_memory":
		set.CacheBytes, err = positive(value)
	case "cache_reserve":
		if set.CacheReserve, err = bytesize.Parse(value); err == nil && set.CacheReserve == 0 {
			set.CacheReserve = -1 // none
		}
	case "cache_mode":
		mode, ok := cacheModes[value]
		if !ok {
			return errors.New("known are: normal, local-only, off")
		}
		set.CacheMode = mode
	}
	return err
}

func positive(value string) (int64, error) {
	n, err := bytesize.Parse(value)
	if err == nil && n == 0 {
		err = errors.New("give more than 0, or leave it out for the default")
	}
	return n, err
}

func urlError(u *url.URL, err error) error {
	shown := (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String() // the other parts may hold secrets
	return &driver.Error{Op: "open", Path: shown, Kind: driver.KindInvalid, Err: err}
}

// withCache fills in what the URL says of the cache, and gives the URL without it. Options that say something else are an error.
func withCache(raw string, o *forstfs.Options) (string, *forstfs.Options, error) {
	rest, set, err := cacheSettings(raw)
	if err != nil {
		return "", nil, err
	}
	var d forstfs.Options
	if o != nil {
		d = *o
	}
	for _, p := range []struct {
		name string
		ok   bool
	}{
		{"CacheDir", fill(&d.CacheDir, set.CacheDir)},
		{"CacheDiskBytes", fill(&d.CacheDiskBytes, set.CacheDiskBytes)},
		{"CacheReserve", fill(&d.CacheReserve, set.CacheReserve)},
		{"CacheBytes", fill(&d.CacheBytes, set.CacheBytes)},
		{"CacheMode", fill(&d.CacheMode, set.CacheMode)},
	} {
		if !p.ok {
			return "", nil, fmt.Errorf("open: Options.%s and the URL's parameters of the cache contradict each other: leave one of them out", p.name)
		}
	}
	return rest, &d, nil
}

func fill[T comparable](p *T, v T) (ok bool) {
	var zero T
	if v == zero || *p == v {
		return true
	}
	if *p != zero {
		return false
	}
	*p = v
	return true
}
