package forstfs

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/forst-go/forst/internal/localdisk"
	"github.com/forst-go/forst/internal/namespace"
)

// Errors of the local side of a volume.
var (
	// ErrLocalLost: a part of the volume is on another disk. Open it with the local directory it was written with, restore a snapshot, or give the part up
	// with Options.AcceptLoss.
	ErrLocalLost = errors.New("a part of the volume is only in the local directory it was written with")
	// ErrLocalDir: Options.LocalDir is not the one that goes with the volume: find the right one, or use an empty one with Options.AcceptLoss.
	ErrLocalDir = errors.New("the local directory does not go with the volume")
)

const (
	identityFile = "identity"
	lockFile     = "lock"
	filesDir     = "files"
	redoDir      = "redo"

	identityMagic = "forstloc"
	identitySize  = 60
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// localDir is the part of a volume on this machine's disk: files by inode. Names are in the volume's namespace, so that listings, renames and
// removals have one order, whatever the placement.
type localDir struct {
	path  string
	root  localdisk.Disk
	lock  io.Closer
	isNew bool     // it had no identity: it holds nothing
	vol   [16]byte // the volume that it goes with
	id    [16]byte // its own
	epoch uint64   // of the last writer that used it

	alone atomic.Int64 // Syncs of logs that no frame knows of

	mu     sync.Mutex
	sizes  map[namespace.Inode]int64 // of files that have bytes
	logs   map[namespace.Inode]bool  // redo logs
	dying  map[namespace.Inode]bool  // no name is left; goes when that is acknowledged
	retire map[namespace.Inode]int64 // redo logs that go when the volume has so many bytes of their file
	lag    lag
}

// openLocalDir opens or makes the directory and locks it for this process. Nothing that it holds is changed.
func openLocalDir(ctx context.Context, dir string) (d *localDir, err error) {
	root, err := localdisk.Open(ctx, dir)
	if err != nil {
		return nil, fmt.Errorf("local directory: %w", err)
	}
	d = &localDir{path: dir, root: root, sizes: map[namespace.Inode]int64{}, logs: map[namespace.Inode]bool{},
		dying: map[namespace.Inode]bool{}, retire: map[namespace.Inode]int64{}}
	defer func() {
		if err != nil {
			d.close()
			err = fmt.Errorf("local directory %s: %w", dir, err)
		}
	}()
	switch d.lock, err = root.Lock(lockFile); {
	case errors.Is(err, localdisk.ErrLocked):
		return d, fmt.Errorf("%w: %w", ErrBusy, err)
	case err != nil:
		return d, err
	}
	switch err := d.readIdentity(); {
	case errors.Is(err, fs.ErrNotExist):
		if err := d.mustBeEmpty(); err != nil {
			return d, err
		}
		d.isNew = true
	case err != nil:
		return d, err
	}
	for _, sub := range []string{filesDir, redoDir} {
		if err := root.Mkdir(sub); err != nil && !errors.Is(err, fs.ErrExist) {
			return d, err
		}
		if err := d.scan(sub); err != nil {
			return d, err
		}
	}
	return d, nil
}

// mustBeEmpty refuses a directory of somebody else's files.
func (d *localDir) mustBeEmpty() error {
	entries, err := d.root.ReadDir(".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		switch e.Name() {
		case lockFile, filesDir, redoDir, identityFile + ".new": // a first open that was interrupted
		default:
			return fmt.Errorf("%w: it holds %q and no identity: choose an empty one", ErrLocalDir, e.Name())
		}
	}
	return nil
}

// scan takes stock of a subdirectory.
func (d *localDir) scan(sub string) error {
	entries, err := d.root.ReadDir(sub)
	if err != nil {
		return err
	}
	for _, e := range entries {
		ino, err := strconv.ParseUint(e.Name(), 16, 64)
		if err != nil || localName(sub, namespace.Inode(ino)) != path.Join(sub, e.Name()) {
			return fmt.Errorf("%w: it holds %s, which is none of its files", ErrLocalDir, path.Join(sub, e.Name()))
		}
		if sub == redoDir {
			d.logs[namespace.Inode(ino)] = true
			continue
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		d.sizes[namespace.Inode(ino)] = info.Size()
	}
	return nil
}

func localName(sub string, ino namespace.Inode) string {
	return fmt.Sprintf("%s/%016x", sub, uint64(ino))
}

func (d *localDir) readIdentity() error {
	f, err := d.root.OpenFile(identityFile, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 4096))
	if err != nil {
		return err
	}
	switch {
	case len(b) != identitySize || string(b[:8]) != identityMagic || crc32.Checksum(b[:56], castagnoli) != binary.LittleEndian.Uint32(b[56:]):
		return fmt.Errorf("%w: %s is not readable", ErrLocalDir, identityFile)
	case binary.LittleEndian.Uint16(b[8:]) != 1 || !bytes.Equal(b[10:16], make([]byte, 6)):
		return fmt.Errorf("%w: %s is of a newer version", ErrFormat, identityFile)
	}
	copy(d.vol[:], b[16:])
	copy(d.id[:], b[32:])
	d.epoch = binary.LittleEndian.Uint64(b[48:])
	return nil
}

// claim makes the directory go with a volume, durably, from this epoch on.
func (d *localDir) claim(vol [16]byte, epoch uint64) error {
	if d.isNew || d.vol != vol {
		_, _ = rand.Read(d.id[:]) // never fails
	}
	b := make([]byte, 0, identitySize)
	b = append(b, identityMagic...)
	b = binary.LittleEndian.AppendUint16(b, 1)
	b = append(b, make([]byte, 6)...)
	b = append(b, vol[:]...)
	b = append(b, d.id[:]...)
	b = binary.LittleEndian.AppendUint64(b, epoch)
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	const fresh = identityFile + ".new"
	f, err := d.root.OpenFile(fresh, os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return d.failed(err)
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = d.root.Rename(fresh, identityFile)
	}
	if err == nil {
		err = d.root.SyncDir(".")
	}
	if err == nil {
		d.isNew, d.vol, d.epoch = false, vol, epoch
	}
	return d.failed(err)
}

// keepOnly removes, durably, every file and log that is not wanted.
func (d *localDir) keepOnly(file, log func(namespace.Inode) bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var errs []error
	for ino := range d.sizes {
		if !file(ino) {
			errs = append(errs, d.unlink(filesDir, ino))
			delete(d.sizes, ino)
		}
	}
	for ino := range d.logs {
		if !log(ino) {
			errs = append(errs, d.unlink(redoDir, ino))
			delete(d.logs, ino)
		}
	}
	return d.failed(errors.Join(append(errs, d.root.SyncDir(filesDir), d.root.SyncDir(redoDir))...))
}

// failed says of an error of the disk where it happened.
func (d *localDir) failed(err error) error {
	switch {
	case err == nil, errors.Is(err, ErrLocalLost), errors.Is(err, fs.ErrClosed):
		return err
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("local directory %s: %w: make room there; nothing that was acknowledged is lost", d.path, err)
	}
	return fmt.Errorf("local directory %s: %w", d.path, err)
}

func (d *localDir) unlink(sub string, ino namespace.Inode) error {
	err := d.root.Remove(localName(sub, ino))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// size is how many bytes a local file has.
func (d *localDir) size(ino namespace.Inode) int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.sizes[ino]
}

func (d *localDir) totals() (files int, size int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, n := range d.sizes {
		size += n
	}
	return len(d.sizes), size
}

// letLocalGo closes everything on the local disk: handles of files may outlive the volume.
func (v *FS) letLocalGo() {
	v.mu.Lock()
	for _, n := range v.nodes {
		if n.loc != nil {
			n.loc.close()
		}
		if n.redo != nil {
			n.redo.close(0)
		}
	}
	v.mu.Unlock()
	v.home.close()
}

// close unlocks and lets go.
func (d *localDir) close() {
	if d.lock != nil {
		_ = d.lock.Close()
	}
	_ = d.root.Close()
}
