// Package pebblev2 lets a Pebble database (github.com/cockroachdb/pebble/v2) live in a forst volume: the volume is its file
// system, and the store behind the volume is its only durable home.
//
//	vol, err := forst.Open(ctx, "s3://bucket/db", &forstfs.Options{Create: forstfs.CreateIfMissing})
//	...
//	db, err := pebble.Open("/db", pebblev2.Tune(&pebble.Options{FS: pebblev2.New(vol)}))
//
// Close the database first, the volume after it. Several databases may share one volume, each in its own directory.
//
// # What is durable when
//
// A commit with Sync, Flush, Ingest, Checkpoint and Close keep the promises that Pebble makes on a local disk: what they acknowledge
// is in the store and stays there, whatever happens to this machine. A synced commit costs one PUT, which concurrent
// commits share.
//
// Tables and blob files are written in bulk. Their Close is the point where their bytes are in the store; Sync does the same earlier;
// SyncData only sends on what is complete, because Pebble calls it every 1.5 MB of a table that nobody can refer to before its Close.
// WAL, MANIFEST, OPTIONS, markers and every other file are durable when Sync or SyncData returns.
//
// # When the volume fails
//
// A volume retries by itself for minutes (forstfs.Options.RetryBudget), because Pebble does not: it ends the process when it cannot
// write its WAL or MANIFEST, as is the case when another process has taken the volume over (forstfs.ErrFenced). It calls
// pebble.Options.Logger.Fatalf for most of it; a logger whose Fatalf does not return (it stops the goroutine with runtime.Goexit)
// keeps the rest of the program going, which may close the volume and open it again. But a directory sync behind a marker
// ends in a panic of a goroutine of Pebble's own. So plan for the end of the process, and start again after a pause; NewGuarded lets the program end it
// in good order.
//
// Reads that fail are errors of Get and of iterators, and may be repeated. An object that a newer writer deleted is reported as
// forstfs.ErrStale, never as "not exist", which Pebble would take for corruption.
//
// # Paths
//
// Paths are slash-separated paths inside the volume: "/db". No scheme and no bucket belong into them. "db", "./db" and "/db" are the
// same directory.
package pebblev2

import (
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/forst-go/forst/engineadapter/internal/enginefs"
	"github.com/forst-go/forst/forstfs"
)

// ErrNoManifestMarker says that a directory was a database and nothing in it names its MANIFEST. Pebble would take it for
// a directory without a database, make a new one over it and delete every table. It is what an interrupted
// Checkpoint or an incomplete copy leaves: remove the directory, or put the missing file back.
var ErrNoManifestMarker = enginefs.ErrNoManifestMarker

var engine = &enginefs.Engine{Unsupported: vfs.ErrUnsupported, Guard: enginefs.CheckMarker}

// New makes the volume a file system for pebble.Options.FS. The volume stays the caller's: close it after the database. New costs
// nothing and may be called again; the value is a pointer, as Pebble compares file systems with ==.
//
// All methods may run in parallel, as those of forstfs.FS.
func New(vol *forstfs.FS) vfs.FS { return newFS(vol) }

func newFS(vol *forstfs.FS) *fileSystem {
	return &fileSystem{enginefs.FS{Vol: vol, Engine: engine}}
}

// NewGuarded is New for a program that wants to end in good order when its volume ends (forstfs.ErrFenced, forstfs.ErrFailed): ended is called, once, with the reason
// before Pebble learns of it, and Pebble's calls wait until it has returned. So it may tell the rest of the program, wait for it, and end the process
// (os.Exit); only if it returns does Pebble do what it does then, a panic among it. It must not wait for Pebble: no Close, no Flush. No commit is acknowledged any
// more. A volume is also found to have ended when a call fails that only reads, or that flushes, so a flush does not spin.
func NewGuarded(vol *forstfs.FS, ended func(reason error)) vfs.FS {
	return &fileSystem{enginefs.FS{Vol: vol, Engine: engine, End: &enginefs.End{Do: ended}}}
}

// fileSystem adds to enginefs.FS what names a type of this Pebble.
type fileSystem struct{ enginefs.FS }

// Create makes a new file; see enginefs.FS.CreateFile.
func (a *fileSystem) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return made(a.CreateFile(name, string(category)))
}

// ReuseForWrite removes oldname and creates newname in one step.
func (a *fileSystem) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return made(a.Reuse(oldname, newname, string(category)))
}

func made(f enginefs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &file{f}, nil
}

// Open opens a file, or a directory, for reading. vfs.RandomReadsOption and vfs.SequentialReadsOption are hints: the first
// reads exactly what is asked for, through the cache; the second reads far ahead and leaves the cache to others. Every option is
// applied to the handle too, as the interface asks.
func (a *fileSystem) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	h, err := made(a.OpenFile(name, access(opts)))
	if err != nil {
		return nil, err
	}
	for _, o := range opts {
		if o != nil {
			o.Apply(h)
		}
	}
	return h, nil
}

// access reads the hints; the last one counts. The two options are pointers of different types, so == cannot panic, whatever
// other implementation of OpenOption is in the list.
func access(opts []vfs.OpenOption) forstfs.Access {
	acc := forstfs.AccessDefault
	for _, o := range opts {
		switch o {
		case vfs.RandomReadsOption:
			acc = forstfs.AccessRandom
		case vfs.SequentialReadsOption:
			acc = forstfs.AccessSequential
		}
	}
	return acc
}

// OpenReadWrite is not supported: see enginefs.FS.InPlace.
func (a *fileSystem) OpenReadWrite(name string, _ vfs.DiskWriteCategory, _ ...vfs.OpenOption) (vfs.File, error) {
	return nil, a.InPlace(name)
}

// OpenDir opens a directory for Sync.
func (a *fileSystem) OpenDir(name string) (vfs.File, error) {
	d, err := a.OpenDirectory(name)
	if err != nil {
		return nil, err
	}
	return &dir{d}, nil
}

// Stat describes a file or directory, from memory.
func (a *fileSystem) Stat(name string) (vfs.FileInfo, error) { return described(a.StatFile(name)) }

// GetDiskUsage is not supported: a bucket has no size. Pebble asks after every flush and compaction, ignores this error alone, and
// would take zeros for a full disk.
func (*fileSystem) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{}, vfs.ErrUnsupported
}

// Unwrap returns nil: there is no vfs.FS below a volume.
func (*fileSystem) Unwrap() vfs.FS { return nil }

// file is an open file.
type file struct{ enginefs.File }

// Stat describes the file as FS.Stat does, also under a handle whose name is gone.
func (f *file) Stat() (vfs.FileInfo, error) { return described(f.Info()) }

// dir is an open directory, for Sync alone.
type dir struct{ enginefs.Dir }

// Stat describes the directory.
func (d *dir) Stat() (vfs.FileInfo, error) { return described(d.Info()) }

func described(info forstfs.FileInfo, err error) (vfs.FileInfo, error) {
	if err != nil {
		return nil, err
	}
	return fileInfo{info}, nil
}

// fileInfo adds what vfs wants to know beyond os.FileInfo.
type fileInfo struct{ forstfs.FileInfo }

// DeviceID is zero, as in Pebble's own in-memory file system: a volume is no block device.
func (fileInfo) DeviceID() vfs.DeviceID { return vfs.DeviceID{} }
