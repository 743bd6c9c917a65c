package forst

import (
	"fmt"
	"net/url"
	"path"
	"strings"

	"github.com/forst-go/forst/forstfs"
)

// A clone records where the volume is that it borrows from: as a reference relative to its own place ("../prod") where both are in one bucket or share
// a directory, so that the record survives a move of both, else as a URL. No record holds user information.

// Location is how a volume at the URL from records the place of the one at the URL to.
func Location(from, to string) (string, error) {
	f, t, err := parseTwo(from, to)
	if err != nil {
		return "", err
	}
	if f.Scheme != t.Scheme || f.Host != t.Host || parameters(f) != parameters(t) {
		t.RawQuery, t.User, t.Fragment = parameters(t), nil, ""
		return t.String(), nil
	}
	a, b := segments(f.Path), segments(t.Path)
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	if n == 0 && f.Scheme == "file" { // nothing in common but the root of the machine: nobody moves that
		t.RawQuery, t.User, t.Fragment = parameters(t), nil, ""
		return t.String(), nil
	}
	rel := strings.Repeat("../", len(a)-n) + strings.Join(b[n:], "/")
	if !strings.HasPrefix(rel, "../") {
		rel = "./" + rel
	}
	return strings.TrimSuffix(rel, "/"), nil
}

// Resolve is the URL of the place that a volume at the URL from has recorded.
func Resolve(from, location string) (string, error) {
	f, _, err := parseTwo(from, from)
	if err != nil {
		return "", err
	}
	f.RawQuery = parameters(f)
	return forstfs.ResolveLocation(f.String(), location)
}

func parseTwo(from, to string) (f, t *url.URL, err error) {
	if f, err = url.Parse(from); err == nil {
		t, err = url.Parse(to)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("not a URL (want for example s3://bucket/prefix)")
	}
	return f, t, nil
}

// parameters are those that say where a store is, not how a process uses it.
func parameters(u *url.URL) string {
	q := u.Query()
	for _, how := range append([]string{"mode", "create", "guard"}, cacheParameters...) {
		q.Del(how)
	}
	return q.Encode()
}

func segments(p string) []string {
	return strings.FieldsFunc(path.Clean("/"+p), func(r rune) bool { return r == '/' })
}
