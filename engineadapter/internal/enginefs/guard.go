package enginefs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"sync"
)

// ErrNoManifestMarker says that a directory was a database and nothing in it names its MANIFEST. Pebble would take it for
// a directory without a database, make a new one over it and delete every table. It is what an interrupted
// Checkpoint or an incomplete copy leaves: remove the directory, or put the missing file back.
var ErrNoManifestMarker = errors.New("the directory holds files of a database but nothing that names its MANIFEST")

// CheckMarker is the guard of Pebble v2. It looks at the names in a directory that is about to be opened as a database. A volume's own order
// of operations never loses a marker, and a List of a volume is one atomic look at memory, so a second look would show the same.
//
// A database that is being created has a MANIFEST before its first marker, and a crash may leave just that, so a MANIFEST
// proves nothing; the marker of the format, OPTIONS and tables only ever come after it. A CURRENT is left to Pebble: it has a
// better message for databases of version 1. Logs prove nothing either: they may be in a directory of their own.
func CheckMarker(dir string, names []string) error {
	return look(names).refuse(dir, func(s sight) bool { return s.marker || s.current })
}

// CheckCurrent is the guard of Pebble v1, which finds its MANIFEST by CURRENT in format 1, the one of a database without a marker of its format,
// and by a marker from format 2 on. (A database whose format was upgraded keeps a CURRENT that names nothing, to keep older versions
// out.)
func CheckCurrent(dir string, names []string) error {
	return look(names).refuse(dir, func(s sight) bool {
		if s.format > "001" {
			return s.marker
		}
		return s.current
	})
}

// sight is what the names in a directory say about a database.
type sight struct {
	marker, current bool   // there is a marker of the MANIFEST, a CURRENT
	format          string // the three digits of the newest marker of the format; empty if there is none
	witness         string // a file that only a database has that once had what names its MANIFEST
}

func look(names []string) (s sight) {
	newest := ""
	for _, n := range names {
		s.marker = s.marker || strings.HasPrefix(n, "marker.manifest.")
		if rest, ok := strings.CutPrefix(n, formatMarker); ok && rest > newest { // "000002.013": the second marker, of format 13
			newest = rest
			_, s.format, _ = strings.Cut(rest, ".")
		}
		s.current = s.current || n == "CURRENT"
		if s.witness == "" && provesDatabase(n) {
			s.witness = n
		}
	}
	return s
}

func (s sight) refuse(dir string, named func(sight) bool) error {
	if s.witness == "" || named(s) {
		return nil
	}
	return &os.PathError{Op: "list", Path: dir, Err: fmt.Errorf("%w: no marker.manifest file, or no CURRENT in an old format (%s is there); opening it would replace the old database by an empty one: "+
		"remove the directory if it is an unfinished checkpoint or copy, else restore the missing file", ErrNoManifestMarker, s.witness)}
}

const formatMarker = "marker.format-version."

func provesDatabase(name string) bool {
	if strings.HasPrefix(name, formatMarker) || strings.HasPrefix(name, "OPTIONS-") {
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
