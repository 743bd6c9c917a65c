// Package local keeps objects as files below one directory of this machine.
//
// An object is a file whose path is its key. Put writes a temporary file, syncs it, links it into place (create if
// absent) or renames it over the old one, and syncs the directory: two syncs for a directory that is already known. All
// paths are resolved by os.Root, so nothing outside the directory is ever touched, whatever symbolic links are in it.
//
// What forst itself needs lives in the directory ".forst": the lock file and the temporary files.
//
// One process at a time has a directory open for writing; a second one gets an error that says so. The lock guards
// against mistakes, not correctness: create-if-absent is link(2) and holds between processes, too. Within a process any
// number of handles may share a directory.
package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/forst-go/forst/forstfs/driver"
)

// Options for Open; nil means the zero value.
type Options struct {
	// ReadOnly takes no lock and makes no file; Put, Copy and Delete are refused. It works beside a writer.
	ReadOnly bool
	// Create makes the directory and its missing parents, durably. Without it a missing directory is KindNoStore.
	Create bool
	// NoGuard lets several processes write below one directory, as long as all of them say so. It is meant for tests of
	// takeovers. What it gives up: after a power failure (not after the end of a process) an object that another process
	// was putting at that moment may be gone although this process has read it.
	NoGuard bool
	// Beside takes no lock and yet writes, beside a process that has the directory open: requests to a volume's writer and holds of
	// clones, objects that have names of their own. Not for a volume's writer. It gives up what NoGuard gives up.
	Beside bool
	// ObjectSize is the preferred size of a big object; 16 MiB if 0.
	ObjectSize int64
}

// Store is a directory. It implements driver.Store and driver.Copier.
type Store struct {
	dir  string
	opt  Options
	root *os.Root
	disk *disk

	mu     sync.Mutex
	closed bool
	busy   sync.WaitGroup // requests under way
}

var (
	_ driver.Store  = (*Store)(nil)
	_ driver.Copier = (*Store)(nil)
)

const (
	privateDir = ".forst"
	tempDir    = privateDir + "/tmp"
	lockFile   = privateDir + "/lock"
)

// Open opens the directory dir. A writable open takes the process's lock and removes what dead processes left of their
// temporary files.
func Open(ctx context.Context, dir string, o *Options) (*Store, error) {
	var opt Options
	if o != nil {
		opt = *o
	}
	if opt.ObjectSize == 0 {
		opt.ObjectSize = 16 << 20
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		abs = dir
	}
	s := &Store{dir: abs, opt: opt}
	switch {
	case ctx.Err() != nil:
		return nil, s.fail("open", "", driver.KindOther, ctx.Err())
	case dir == "":
		return nil, s.fail("open", "", driver.KindInvalid, errors.New("no directory is given"))
	case opt.ObjectSize < 0:
		return nil, s.fail("open", "", driver.KindInvalid, fmt.Errorf("ObjectSize is %d", opt.ObjectSize))
	case opt.Beside && (opt.ReadOnly || opt.Create || opt.NoGuard):
		return nil, s.fail("open", "", driver.KindInvalid, errors.New("beside goes with no other mode: the directory exists and is somebody else's"))
	case opt.ReadOnly && opt.Create:
		return nil, s.fail("open", "", driver.KindInvalid, errors.New("read-only and create exclude each other"))
	}
	if opt.Create {
		if err := makeDirs(abs); err != nil {
			return nil, s.fail("open", "", kindOf(err), err)
		}
	}
	if err := s.openRoot(); err != nil {
		return nil, err
	}
	if s.disk, err = share(s.root, opt); err != nil {
		s.root.Close()
		return nil, s.fail("open", "", kindOf(err), err)
	}
	return s, nil
}

func (s *Store) openRoot() error {
	root, err := os.OpenRoot(s.dir)
	if err == nil {
		s.root = root
		return nil
	}
	if fi, serr := os.Stat(s.dir); errors.Is(err, fs.ErrNotExist) || serr == nil && !fi.IsDir() {
		return s.fail("open", "", driver.KindNoStore,
			fmt.Errorf("not a directory; make it, or say ?create=1 (Options.Create): %w", err))
	}
	return s.fail("open", "", kindOf(err), err)
}

// makeDirs is os.MkdirAll that syncs the parent of every directory it makes.
func makeDirs(dir string) error {
	var missing []string
	for d := dir; ; d = filepath.Dir(d) {
		if _, err := os.Stat(d); err == nil || d == filepath.Dir(d) {
			break
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		missing = append(missing, d)
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	for _, d := range slices.Backward(missing) {
		f, err := os.Open(filepath.Dir(d))
		if err != nil {
			return err
		}
		err = errors.Join(f.Sync(), f.Close())
		if err != nil {
			return err
		}
	}
	return nil
}

// Opener opens file:///dir. Parameters: mode=ro|rw|beside, create=1|0, guard=on|off (see Options).
func Opener(ctx context.Context, u *url.URL) (driver.Store, error) {
	fail := func(format string, args ...any) (driver.Store, error) {
		return nil, &driver.Error{Op: "open", Path: "file://" + u.Host + u.Path, Kind: driver.KindInvalid, Err: fmt.Errorf(format, args...)}
	}
	if u.User != nil || u.Fragment != "" || u.Opaque != "" || (u.Host != "" && u.Host != "localhost") {
		return fail("want file:///absolute/path: three slashes, no host, user or fragment")
	}
	if !strings.HasPrefix(u.Path, "/") {
		return fail("want file:///absolute/path")
	}
	var o Options
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return fail("the query cannot be read")
	}
	for name, values := range q {
		v := values[len(values)-1]
		switch name + "=" + v {
		case "mode=ro":
			o.ReadOnly = true
		case "mode=beside":
			o.Beside = true
		case "mode=rw", "create=0", "guard=on":
		case "create=1":
			o.Create = true
		case "guard=off":
			o.NoGuard = true
		case "mode=" + v, "create=" + v, "guard=" + v:
			return fail("parameter %s=%s is not known; known are mode=ro|rw|beside, create=0|1, guard=on|off", name, v)
		default: // its value is none of ours, and may be a secret
			return fail("parameter %q is not known; known are mode=ro|rw|beside, create=0|1, guard=on|off", name)
		}
	}
	s, err := Open(ctx, filepath.FromSlash(u.Path), &o)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Capabilities describes the store.
func (s *Store) Capabilities() driver.Capabilities {
	return driver.Capabilities{Name: "local", ObjectSize: s.opt.ObjectSize, DeleteBatch: 1000, Concurrency: 16}
}

// Syncs counts the calls of fsync(2) that all handles of this process on this directory have made so far, for files and
// for directories.
func (s *Store) Syncs() (files, dirs int64) { return s.disk.fileSyncs.Load(), s.disk.dirSyncs.Load() }

// Close waits for the requests under way and gives up this handle's share of the lock. Readers that are open stay valid.
func (s *Store) Close() error {
	s.mu.Lock()
	was := s.closed
	s.closed = true
	s.mu.Unlock()
	s.busy.Wait()
	if was {
		return nil
	}
	err := errors.Join(s.disk.release(s.opt), s.root.Close())
	if err != nil {
		return s.fail("close", "", driver.KindOther, err)
	}
	return nil
}

// begin counts a request in; the caller must call s.busy.Done when it gets nil.
func (s *Store) begin(ctx context.Context, op, key string) error {
	if err := ctx.Err(); err != nil {
		return s.fail(op, key, driver.KindOther, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return s.fail(op, key, driver.KindClosed, nil)
	}
	s.busy.Add(1)
	return nil
}

// beginWrite is begin for what changes the store.
func (s *Store) beginWrite(ctx context.Context, op, key string) error {
	if err := s.begin(ctx, op, key); err != nil {
		return err
	}
	if s.opt.ReadOnly {
		s.busy.Done()
		return s.fail(op, key, driver.KindPermission, errors.New("the store was opened read-only"))
	}
	return nil
}

func (s *Store) checkKey(op, key string) error {
	if err := driver.CheckKey(key); err != nil {
		return s.fail(op, key, driver.KindInvalid, err)
	}
	return nil
}
