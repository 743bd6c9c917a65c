package driver

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
)

// Opener makes a Store from a URL that has its scheme. It must not create a bucket, and must refuse query parameters that it
// does not know, naming those it knows.
type Opener func(ctx context.Context, u *url.URL) (Store, error)

// Registry maps URL schemes to drivers. It is a value: a program makes its own and registers what it links. The zero value is
// empty and ready. Register first, Open later; Open may be called from many goroutines.
type Registry struct{ m map[string]Opener }

// Register binds a scheme, replacing an earlier binding.
func (r *Registry) Register(scheme string, open Opener) {
	if r.m == nil {
		r.m = map[string]Opener{}
	}
	r.m[scheme] = open
}

// Schemes lists what is registered, sorted.
func (r *Registry) Schemes() []string { return slices.Sorted(maps.Keys(r.m)) }

// Open opens the store that raw names. The error for an unknown scheme lists the known ones.
func (r *Registry) Open(ctx context.Context, raw string) (Store, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, &Error{Op: "open", Path: "URL", Kind: KindInvalid, Err: fmt.Errorf("not a URL (want for example s3://bucket/prefix): %w", redactURLError(err))}
	}
	open, ok := r.m[u.Scheme]
	if !ok {
		known := strings.Join(r.Schemes(), ", ")
		shown := (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String() // the other parts may hold secrets
		if u.Scheme == "" {
			return nil, &Error{Op: "open", Path: shown, Kind: KindInvalid, Err: fmt.Errorf("no scheme: a local directory is written file:///path; known schemes: %s", known)}
		}
		return nil, &Error{Op: "open", Path: shown, Kind: KindInvalid, Err: fmt.Errorf("unknown scheme %q; known schemes: %s", u.Scheme, known)}
	}
	return open(ctx, u)
}

// redactURLError drops the URL, which may hold a password, from what net/url reports.
func redactURLError(err error) error {
	if ue, ok := err.(*url.Error); ok {
		return ue.Err
	}
	return err
}
