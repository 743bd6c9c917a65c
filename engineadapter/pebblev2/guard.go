package pebblev2

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"sync"
)

// ErrNoManifestMarker says that a directory was a database and has no marker that names its MANIFEST. Pebble would take it for
// a directory without a database, make a new one over it and delete every table. It is what an interrupted
// Checkpoint or an incomplete copy leaves: remove the directory, or put the missing file back.
var ErrNoManifestMarker = errors.New("the directory holds files of a database but no marker.manifest file")

// checkMarker looks at the names in a directory that is about to be opened as a database. A volume's own order of operations
// never loses a marker, and a List of a volume is one atomic look at memory, so a second look would show the same.
//
// A database that is being created has a MANIFEST before its first marker, and a crash may leave just that, so a MANIFEST
// proves nothing; the marker of the format, OPTIONS and tables only ever come after it. A CURRENT is left to Pebble: it has a
// better message for databases of version 1. Logs prove nothing either: they may be in a directory of their own.
func checkMarker(dir string, names []string) error {
	witness := ""
	for _, n := range names {
		switch {
		case strings.HasPrefix(n, "marker.manifest."), n == "CURRENT":
			return nil
		case witness == "" && provesDatabase(n):
			witness = n
		}
	}
	if witness == "" {
		return nil
	}
	return &os.PathError{Op: "list", Path: dir, Err: fmt.Errorf("%w (%s is there); opening it would replace the old database by an empty one: "+
		"remove the directory if it is an unfinished checkpoint or copy, else restore the marker", ErrNoManifestMarker, witness)}
}

func provesDatabase(name string) bool {
	if strings.HasPrefix(name, "marker.format-version.") || strings.HasPrefix(name, "OPTIONS-") {
		return true
	}
	ext := path.Ext(name)
	return (ext == ".sst" || ext == ".blob") && isNumber(strings.TrimSuffix(name, ext))
}

func isNumber(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// dirLocks are the directories whose file LOCK this file system holds: those that Pebble works in. Elsewhere List never refuses,
// so that tools can look at anything and clean it up.
type dirLocks struct {
	mu sync.Mutex
	m  map[string]bool
}

func (l *dirLocks) add(name string, c io.Closer) io.Closer {
	p := path.Clean("/" + name)
	if path.Base(p) != "LOCK" {
		return c
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.m == nil {
		l.m = map[string]bool{}
	}
	l.m[path.Dir(p)] = true
	return &dirLock{locks: l, dir: path.Dir(p), c: c}
}

func (l *dirLocks) held(dir string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.m[path.Clean("/"+dir)]
}

// dirLock is one held lock.
type dirLock struct {
	locks *dirLocks
	dir   string
	once  sync.Once // a second Close must not forget a lock that somebody else holds by now
	c     io.Closer
}

func (l *dirLock) Close() error {
	l.once.Do(func() {
		l.locks.mu.Lock()
		delete(l.locks.m, l.dir)
		l.locks.mu.Unlock()
	})
	return l.c.Close()
}
