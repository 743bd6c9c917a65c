// Package move brings databases into volumes and out again: Import makes a volume's directory out of a local directory of Pebble or LevelDB, Export the
// other way round. Both copy files as they are; no engine is needed.
//
// An import or export that was interrupted never looks like a database: what is copied stands under another name until it is complete and verified.
package move

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"sync/atomic"

	"github.com/forst-go/forst/forstfs"
)

// Errors; test with errors.Is.
var (
	// ErrNoDatabase: the directory holds no CURRENT and no marker.manifest file: give the directory of a database.
	ErrNoDatabase = errors.New("the directory holds no database of Pebble or LevelDB")
	// ErrOpen: another process has the database open: close it first.
	ErrOpen = errors.New("the database is open in another process")
	// ErrNotEmpty: the destination exists and is not empty: choose another one.
	ErrNotEmpty = errors.New("the destination is not empty")
	// ErrVerify: bytes read back differ from those that were copied: check the disk and the store, and try again.
	ErrVerify = errors.New("bytes read back are not those that were copied")
	// ErrChanged: the source changed while it was copied.
	ErrChanged = errors.New("the source changed while it was copied")
)

// Options change Import and Export. The zero value and nil are ready to use.
type Options struct {
	// Path is the directory of the database in the volume. Import: default "/db". Export: default the only directory that holds a database.
	Path string
	// Parallel is how many files are copied at once; 0 means 4.
	Parallel int
	// Progress is told how many bytes are done, from several goroutines: each byte is copied once and read back once.
	Progress func(done, total int64)
}

func (o *Options) withDefaults() Options {
	var d Options
	if o != nil {
		d = *o
	}
	if d.Parallel <= 0 {
		d.Parallel = 4
	}
	if d.Progress == nil {
		d.Progress = func(int64, int64) {}
	}
	return d
}

// Result says what was done.
type Result struct {
	Path  string // of the database in the volume
	Files int
	Bytes int64
	// Resumed are bytes that an earlier, interrupted import had brought in and verified.
	Resumed int64
}

// isMarker reports whether a file makes a directory a database: such files come last.
func isMarker(base string) bool {
	return base == "CURRENT" || strings.HasPrefix(base, "marker.manifest.")
}

// left says that a file of a database directory is not part of the database: locks, and what the engine logs or was writing.
func left(base string) bool {
	switch forstfs.Classify(base) {
	case forstfs.ClassLock, forstfs.ClassLog, forstfs.ClassTemp:
		return true
	}
	return false
}

type meter struct {
	done  atomic.Int64
	total int64
	tell  func(done, total int64)
}

func (m *meter) Write(p []byte) (int, error) {
	m.tell(m.done.Add(int64(len(p))), m.total)
	return len(p), nil
}

func under(dir, rel string) string { return path.Join(dir, rel) }

func verifyErr(name string, got, want int64) error {
	return fmt.Errorf("%w: %s (%d bytes, %d were copied)", ErrVerify, name, got, want)
}
