package forstfs

import (
	"fmt"
	"net/url"
	"path"
	"strings"
)

// ResolveLocation says what a place that the volume at base has recorded is, seen from where base is meant. A URL is what it is. A relative one, which begins with "./" or
// "../" or is one of these, leads on from base: base itself may be a URL, of which the parameters are kept, or a relative place again.
func ResolveLocation(base, location string) (string, error) {
	if !relativeLocation(location) {
		return location, nil
	}
	if relativeLocation(base) {
		return relativePath(path.Join(base, location)), nil
	}
	u, err := url.Parse(base)
	if err != nil {
		return "", fmt.Errorf("%q is neither a URL nor a relative place", location)
	}
	up := path.Join(strings.Trim(u.Path, "/"), location)
	if up == ".." || strings.HasPrefix(up, "../") {
		return "", fmt.Errorf("the recorded place %q leads out of %s://%s", location, u.Scheme, u.Host)
	}
	u.Path, u.RawPath, u.User, u.Fragment = strings.TrimSuffix("/"+up, "/."), "", nil, ""
	return u.String(), nil
}

func relativeLocation(s string) bool {
	return s == "." || s == ".." || strings.HasPrefix(s, "./") || strings.HasPrefix(s, "../")
}

// relativePath marks a clean relative path as one.
func relativePath(p string) string {
	if relativeLocation(p) {
		return p
	}
	return "./" + p
}
