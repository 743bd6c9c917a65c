package forstfs

import (
	"fmt"
	"io/fs"
	"strings"

	"github.com/forst-go/forst/internal/namespace"
)

// The reserved part of the tree; docs/format.md says what is in it. It is in no listing, and no name given by a caller reaches it.
const (
	reservedBase = ".forst"
	reservedDir  = "/.forst"
	recordDir    = "/.forst/local"
	movesDir     = "/.forst/tmp"
)

func reserved(p string) bool {
	return strings.HasPrefix(p, reservedDir) && (len(p) == len(reservedDir) || p[len(reservedDir)] == '/')
}

// clean is namespace.Clean for names that callers give.
func clean(name string) (string, error) {
	p, err := namespace.Clean(name)
	if err == nil && reserved(p) {
		err = fmt.Errorf("names below %s are the volume's own: %w", reservedDir, fs.ErrPermission)
	}
	return p, err
}

// shown leaves out what is reserved from the names in a directory.
func shown(dir string, names []namespace.Name) []namespace.Name {
	if dir != "/" {
		return names
	}
	for i := range names {
		if names[i].Base == reservedBase {
			return append(names[:i:i], names[i+1:]...)
		}
	}
	return names
}
