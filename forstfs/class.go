package forstfs

import (
	"path"
	"strings"
)

// Class says what a file is to its engine; it decides where the file lives (see docs/placement.md).
type Class uint8

// The classes. ClassAuto in CreateOptions means: by name.
const (
	ClassAuto Class = iota
	ClassSST
	ClassBlob
	ClassWAL
	ClassManifest
	ClassOptions
	ClassMarker
	ClassCurrent
	ClassLock
	ClassLog
	ClassTemp
	ClassOther
)

var classNames = [...]string{"auto", "sst", "blob", "wal", "manifest", "options", "marker", "current", "lock", "log", "temp", "other"}

func (c Class) String() string { return classNames[min(int(c), len(classNames)-1)] }

// Bulk reports whether files of the class are written once, in bulk, and made durable as a whole: their bytes go to data
// objects while they are written. All others go through the journal.
func (c Class) Bulk() bool { return c == ClassSST || c == ClassBlob }

// Classify tells a file's class from its name, by the conventions of Pebble, LevelDB and RocksDB.
func Classify(name string) Class {
	base := path.Base(name)
	switch {
	case strings.HasPrefix(base, "MANIFEST-"), strings.HasPrefix(base, "REMOTE-OBJ-CATALOG-"):
		return ClassManifest
	case strings.HasPrefix(base, "OPTIONS-"):
		return ClassOptions
	case strings.HasPrefix(base, "marker."):
		return ClassMarker
	case base == "CURRENT", strings.HasPrefix(base, "CURRENT."):
		return ClassCurrent
	case base == "LOCK":
		return ClassLock
	case base == "LOG", base == "LOG.old":
		return ClassLog
	case strings.HasPrefix(base, "temporary."), strings.HasSuffix(base, ".dbtmp"), strings.HasSuffix(base, ".tmp"):
		return ClassTemp
	}
	switch path.Ext(base) {
	case ".sst", ".ldb":
		return ClassSST
	case ".blob":
		return ClassBlob
	case ".log":
		return ClassWAL
	}
	return ClassOther
}
