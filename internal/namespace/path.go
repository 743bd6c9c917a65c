package namespace

import (
	"fmt"
	"io/fs"
	"strings"
)

// MaxPath is the longest path of an operation in bytes. A directory may be renamed so that paths below it get longer;
// they stay readable and removable, but are no longer legal in new operations.
const MaxPath = 4096

// Clean turns a name into the clean absolute path that operations and look-ups want: "", "." and "/" are the root, a
// relative name counts from the root, "." and empty segments go, ".." is resolved in the name itself. NUL, ".." above the root
// and more than MaxPath bytes are refused with fs.ErrInvalid. A name that is clean is returned as it is.
func Clean(name string) (string, error) {
	if validPath(name) {
		return name, nil
	}
	if strings.IndexByte(name, 0) >= 0 {
		return "", fmt.Errorf("name %q contains a NUL byte: %w", name, fs.ErrInvalid)
	}
	var segs []string
	for seg := range strings.SplitSeq(name, "/") {
		switch seg {
		case "", ".":
		case "..":
			if len(segs) == 0 {
				return "", fmt.Errorf("name %q leads above the root of the volume: %w", name, fs.ErrInvalid)
			}
			segs = segs[:len(segs)-1]
		default:
			segs = append(segs, seg)
		}
	}
	p := "/" + strings.Join(segs, "/")
	if len(p) > MaxPath {
		return "", fmt.Errorf("path of %d bytes: at most %d are legal: %w", len(p), MaxPath, fs.ErrInvalid)
	}
	return p, nil
}

// validPath reports whether p is clean, absolute and not too long.
func validPath(p string) bool {
	if len(p) == 0 || p[0] != '/' || len(p) > MaxPath {
		return false
	}
	if p == "/" {
		return true
	}
	for rest, more := p[1:], true; more; {
		var seg string
		seg, rest, more = strings.Cut(rest, "/")
		if !validBase(seg) {
			return false
		}
	}
	return true
}

// validBase reports whether seg may be the name of an entry of a directory.
func validBase(seg string) bool {
	return seg != "" && seg != "." && seg != ".." && strings.IndexByte(seg, 0) < 0 && strings.IndexByte(seg, '/') < 0
}

// split cuts a clean path that is not the root into its parent and its last segment.
func split(p string) (parent, base string) {
	i := strings.LastIndexByte(p, '/')
	if i == 0 {
		return "/", p[1:]
	}
	return p[:i], p[i+1:]
}
