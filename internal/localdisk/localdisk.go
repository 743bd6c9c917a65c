// Package localdisk is the little that a volume needs of a directory on this machine's disk, so that tests can put a disk in its place that
// fails, is full or loses power. Names are relative and use slashes.
package localdisk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// ErrLocked says that another process has the directory.
var ErrLocked = errors.New("another process has the local directory open; stop it first")

// Disk is a directory. Calls may run in parallel.
type Disk interface {
	// OpenFile opens or makes a file, with the flags of package os. Its name is durable after SyncDir of its directory.
	OpenFile(name string, flag int) (File, error)
	// Mkdir makes a directory. It is an error that matches fs.ErrExist if it is there.
	Mkdir(name string) error
	// Remove removes a file, and Rename gives it another name in place of whatever has it, in the same directory; durable after SyncDir.
	Remove(name string) error
	Rename(from, to string) error
	ReadDir(name string) ([]fs.DirEntry, error)
	// SyncDir makes durable which names a directory has.
	SyncDir(name string) error
	// Lock locks a file for this process alone, without waiting, until the result is closed or the process ends. Otherwise it is ErrLocked.
	Lock(name string) (io.Closer, error)
	Close() error
}

// File is an open file. Its bytes are durable after Sync.
type File interface {
	io.Reader
	io.ReaderAt
	io.Writer
	io.Closer
	Sync() error
}

type key struct{}

// With makes Open below ctx open directories by this function.
func With(ctx context.Context, open func(dir string) (Disk, error)) context.Context {
	return context.WithValue(ctx, key{}, open)
}

// Open opens a directory on this machine's disk and makes it if it is missing, durably.
func Open(ctx context.Context, dir string) (Disk, error) {
	if open, ok := ctx.Value(key{}).(func(string) (Disk, error)); ok {
		return open(dir)
	}
	if err := make1(dir); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return real{root}, nil
}

// make1 makes a directory and those above it, and makes their names durable: a file in a directory that vanishes is gone, however often it was synced.
func make1(dir string) error {
	dir = filepath.Clean(dir)
	if info, err := os.Stat(dir); err == nil {
		if !info.IsDir() {
			return fmt.Errorf("%s is not a directory", dir)
		}
		return nil
	}
	up := filepath.Dir(dir)
	if up != dir {
		if err := make1(up); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o777); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	f, err := os.Open(up)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

type real struct{ root *os.Root }

func (r real) OpenFile(name string, flag int) (File, error) {
	f, err := r.root.OpenFile(name, flag, 0o666)
	if err != nil {
		return nil, err // no nil *os.File in an interface
	}
	return f, nil
}

func (r real) Mkdir(name string) error                    { return r.root.Mkdir(name, 0o777) }
func (r real) Remove(name string) error                   { return r.root.Remove(name) }
func (r real) Rename(from, to string) error               { return r.root.Rename(from, to) }
func (r real) ReadDir(name string) ([]fs.DirEntry, error) { return fs.ReadDir(r.root.FS(), name) }
func (r real) Close() error                               { return r.root.Close() }

func (r real) SyncDir(name string) error {
	f, err := r.root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func (r real) Lock(name string) (io.Closer, error) {
	f, err := r.root.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, err
	}
	if err := flockFile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return locked{f}, nil
}

type locked struct{ f *os.File }

func (l locked) Close() error { return unlockFile(l.f) }
