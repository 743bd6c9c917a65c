package disk

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// ErrLocked is returned by Open when another process, or another Tier of this one, uses the directory.
var ErrLocked = errors.New("in use by another process")

// File is what the cache needs of a file on its disk, as in os.File.
type File interface {
	ReadAt(p []byte, off int64) (int, error)
	WriteAt(p []byte, off int64) (int, error)
	Close() error
}

// System is the disk below a cache directory: its files of slots and its free space. Its methods may be called from many goroutines at once.
type System interface {
	// Open opens an existing file for reading and writing, or with size >= 0 creates it anew with so many bytes allocated, if the disk can.
	Open(path string, size int64) (File, error)
	// Free is the space in bytes that is left on the disk of a directory.
	Free(dir string) (int64, error)
}

// OS is the disk of the operating system.
func OS() System { return osSystem{} }

// directory is a locked cache directory.
type directory struct {
	path   string
	marker marker
	fresh  bool // there was nothing that could be used
	unlock func() error
}

// openDirectory locks the directory, makes it if need be, and removes what cannot be used any more: everything, if the
// marker is damaged, the block size another one, or one segment larger than the whole cache may be. A directory with
// foreign files is refused.
func openDirectory(path string, o *Options) (*directory, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("cache directory: %w", err)
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, fmt.Errorf("cache directory: %w", err)
	}
	for _, e := range entries {
		if e.Name() != "lost+found" && (!ownName(e.Name()) || e.IsDir()) {
			return nil, fmt.Errorf("cache directory %s holds %s, which is not of a cache: give a directory of its own, or remove it", path, e.Name())
		}
	}
	unlock, err := lock(filepath.Join(path, lockName))
	if err != nil {
		return nil, fmt.Errorf("cache directory %s: %w", path, err)
	}
	d := &directory{path: path, unlock: unlock}
	if err := d.load(o); err != nil {
		return nil, errors.Join(fmt.Errorf("cache directory: %w", err), unlock())
	}
	return d, nil
}

func ownName(name string) bool {
	return name == markerName || name == lockName || name == heatName || name == probeName || strings.HasPrefix(name, slotsPrefix)
}

// load reads the marker, or makes the directory new.
func (d *directory) load(o *Options) error {
	b, err := os.ReadFile(filepath.Join(d.path, markerName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if m, err := decodeMarker(b); err == nil && int(m.blockSize) == o.BlockSize &&
		newLayout(o.BlockSize, int(m.slots)).size() <= o.Size {
		d.marker = m
		return nil
	}
	// Read the names again: the owner before us may have changed them until we had the lock.
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if ownName(e.Name()) && e.Name() != lockName {
			if err := os.Remove(filepath.Join(d.path, e.Name())); err != nil {
				return err
			}
		}
	}
	d.fresh = true
	d.marker.blockSize, d.marker.slots = uint32(o.BlockSize), uint32(o.segmentSlots())
	rand.Read(d.marker.id[:]) // never fails
	return os.WriteFile(filepath.Join(d.path, markerName), d.marker.encode(), 0o600)
}

func (d *directory) file(name string) string { return filepath.Join(d.path, name) }
