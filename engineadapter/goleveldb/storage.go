// Package goleveldb lets a LevelDB database (github.com/syndtr/goleveldb) live in a forst volume: the volume is its storage, and the store
// behind the volume is its only durable home.
//
//	vol, err := forst.Open(ctx, "s3://bucket/db", &forstfs.Options{Create: forstfs.CreateIfMissing})
//	...
//	stor, err := goleveldb.Open(vol, "/db", nil)
//	...
//	db, err := leveldb.Open(stor, goleveldb.Tune(nil))
//
// Close the database first, then the storage, then the volume. Several databases may share one volume, each in its own directory. The files
// are those of storage.OpenFile, so a directory can be copied into a volume and back.
//
// # What is durable when
//
// A write with opt.WriteOptions.Sync is in the store when it returns, for one PUT that concurrent writes share; what is not synced may be lost by a
// crash, the newest first. A table is in the store before the MANIFEST names it. The file CURRENT is replaced in one step.
//
// # When the volume fails
//
// Errors come back to the caller: goleveldb does not end the process. After forstfs.ErrFenced, close the database, the storage and the volume, and open
// all three again, after a pause.
package goleveldb

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"sync"

	"github.com/syndtr/goleveldb/leveldb/storage"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/internal/mutant"
)

// Options change Open. nil is ready to use.
type Options struct {
	// Log is called with what goleveldb has to say about its work, one line each; nil drops it. No file LOG is written: it would
	// cost requests.
	Log func(line string)
}

// Open makes a directory of the volume a storage for leveldb.Open, and makes the directory if it is not there. It takes the directory's LOCK, which
// excludes a second Open within this process; across processes the volume has one writer. On a read-only volume the storage is read-only.
//
// A storage may be used from many goroutines.
func Open(vol *forstfs.FS, dir string, o *Options) (storage.Storage, error) {
	s := &volume{vol: vol, dir: dir, log: func(string) {}}
	if o != nil && o.Log != nil {
		s.log = o.Log
	}
	if !vol.ReadOnly() {
		if err := vol.MkdirAll(s.ctx(), dir); err != nil {
			return nil, err
		}
	}
	l, err := vol.Lock(s.ctx(), s.at("LOCK"))
	if err != nil {
		return nil, err
	}
	s.lock = l
	if mutant.On("goleveldb/directory-not-locked") {
		if err := l.Close(); err != nil {
			return nil, err
		}
	}
	if !vol.ReadOnly() {
		if err := s.unborn(); err != nil {
			return nil, errors.Join(err, l.Close())
		}
	}
	return s, nil
}

// errReadOnly matches fs.ErrPermission.
var errReadOnly = forstfs.ErrReadOnly

type volume struct {
	vol  *forstfs.FS
	dir  string
	log  func(string)
	lock io.Closer

	mu     sync.Mutex
	closed bool
	holder *locker
}

func (s *volume) ctx() context.Context { return context.Background() }

func (s *volume) at(name string) string { return path.Join(s.dir, name) }

// usable checks what every method checks.
func (s *volume) usable(write bool, fds ...storage.FileDesc) error {
	for _, fd := range fds {
		if !storage.FileDescOk(fd) {
			return storage.ErrInvalidFile
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return storage.ErrClosed
	case write && s.vol.ReadOnly():
		return errReadOnly
	}
	return nil
}

// locker is goleveldb's own lock on the storage, for one database at a time.
type locker struct{ s *volume }

func (l *locker) Unlock() {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	if l.s.holder == l {
		l.s.holder = nil
	}
}

func (s *volume) Lock() (storage.Locker, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return nil, storage.ErrClosed
	case s.holder != nil && !mutant.On("goleveldb/lock-is-shared"):
		return nil, storage.ErrLocked
	}
	s.holder = &locker{s}
	return s.holder, nil
}

func (s *volume) Log(line string) { s.log(line) }

// List gives what is in the directory; names that are not goleveldb's are not mentioned.
func (s *volume) List(ft storage.FileType) ([]storage.FileDesc, error) {
	if err := s.usable(false); err != nil {
		return nil, err
	}
	names, err := s.vol.List(s.ctx(), s.dir)
	if err != nil {
		return nil, err
	}
	var fds []storage.FileDesc
	for _, n := range names {
		if fd, ok := parse(n); ok && (fd.Type&ft != 0 && !mutant.On("goleveldb/list-one-type") || fd.Type == ft) {
			fds = append(fds, fd)
		}
	}
	return fds, nil
}

// name is the file that has a descriptor: a table may still have the name that LevelDB gave it before 2014.
func (s *volume) name(fd storage.FileDesc) (string, error) {
	p := s.at(fd.String())
	_, err := s.vol.Stat(s.ctx(), p)
	if err == nil || fd.Type != storage.TypeTable || !errors.Is(err, fs.ErrNotExist) {
		return p, err
	}
	old := s.at(oldTable(fd))
	if _, oerr := s.vol.Stat(s.ctx(), old); oerr != nil {
		return p, err
	}
	return old, nil
}

func (s *volume) Open(fd storage.FileDesc) (storage.Reader, error) {
	if err := s.usable(false, fd); err != nil {
		return nil, err
	}
	p, err := s.name(fd)
	if err != nil {
		return nil, err
	}
	f, err := s.vol.Open(s.ctx(), p, nil)
	if err != nil {
		return nil, err
	}
	return &reader{f: f}, nil
}

// Create makes a new file; whoever reads the one it replaces goes on doing so.
func (s *volume) Create(fd storage.FileDesc) (storage.Writer, error) {
	if err := s.usable(true, fd); err != nil {
		return nil, err
	}
	f, err := s.vol.Create(s.ctx(), s.at(fd.String()), &forstfs.CreateOptions{Category: "goleveldb-" + fd.Type.String()})
	if err != nil {
		return nil, err
	}
	return &writer{f: f}, nil
}

func (s *volume) Remove(fd storage.FileDesc) error {
	if err := s.usable(true, fd); err != nil {
		return err
	}
	p, err := s.name(fd)
	if err != nil {
		return err
	}
	return s.vol.Remove(s.ctx(), p)
}

func (s *volume) Rename(oldfd, newfd storage.FileDesc) error {
	if err := s.usable(true, oldfd, newfd); err != nil || oldfd == newfd {
		return err
	}
	p, err := s.name(oldfd)
	if err != nil {
		return err
	}
	return s.vol.Rename(s.ctx(), p, s.at(newfd.String()))
}

// Close releases the lock and makes everything that the database has issued durable. Files that are open stay usable.
func (s *volume) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return storage.ErrClosed
	}
	s.closed = true
	var err error
	if !s.vol.ReadOnly() {
		err = s.vol.Sync(s.ctx())
	}
	return errors.Join(s.lock.Close(), err)
}

// writer is a file that is being written. Sync means the same for all kinds of files: what was written is in the store.
type writer struct {
	f      *forstfs.File
	closed bool
}

func (w *writer) Write(p []byte) (int, error) { return w.f.Write(p) }

func (w *writer) Sync() error {
	if mutant.On("goleveldb/sync-dropped") {
		return nil
	}
	return w.f.Sync()
}

func (w *writer) Close() error {
	if w.closed {
		return storage.ErrClosed
	}
	w.closed = true
	return w.f.Close()
}

// reader is a file that is read: at any offset from many goroutines, from its own position by one.
type reader struct {
	f      *forstfs.File
	pos    int64
	mu     sync.Mutex
	closed bool
}

func (r *reader) ReadAt(p []byte, off int64) (int, error) { return r.f.ReadAt(p, off) }

func (r *reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, err := r.f.ReadAt(p, r.pos)
	r.pos += int64(n)
	if n > 0 && err == io.EOF {
		err = nil
	}
	return n, err
}

func (r *reader) Seek(off int64, whence int) (int64, error) {
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		off += r.pos
	case io.SeekEnd:
		info, err := r.f.Stat()
		if err != nil {
			return 0, err
		}
		off += info.Size()
	default:
		return 0, &os.PathError{Op: "seek", Path: r.f.Name(), Err: fs.ErrInvalid}
	}
	if off < 0 {
		return 0, &os.PathError{Op: "seek", Path: r.f.Name(), Err: fs.ErrInvalid}
	}
	r.pos = off
	return off, nil
}

func (r *reader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return storage.ErrClosed
	}
	r.closed = true
	return r.f.Close()
}
