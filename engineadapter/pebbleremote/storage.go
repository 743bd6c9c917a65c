// Package pebbleremote is Pebble's own plug for remote tables, remote.Storage, over any store of objects and forst's block cache. It is for programs that want only
// their tables remote:
//
//	store, err := pebbleremote.New(objects, nil) // objects is a driver.Store with a prefix of this database's own
//	opts.FormatMajorVersion = pebble.FormatNewest // FormatVirtualSSTables at least
//	opts.Experimental.RemoteStorage = remote.MakeSimpleFactory(map[remote.Locator]remote.Storage{"": store})
//	opts.Experimental.CreateOnShared = remote.CreateOnSharedAll
//	db, err := pebble.Open(dir, opts)
//	err = db.SetCreatorID(1) // before the first flush; another number for every database that shares the prefix
//
// Tables are durable in the store when Pebble has finished them. The log, the MANIFEST and the catalog that says which objects are tables stay in Options.FS: who
// loses that loses the database, and the objects that are left are not one. Package pebblev2 keeps everything in the store; both may be used together.
//
// Every table is two objects (Pebble adds an empty marker for each database that refers to it). A name is written once: an object
// that another process replaces must not be open here, because its readers would get blocks of both. Objects of tables that a crash kept out of the MANIFEST stay until somebody
// deletes them; Pebble has no sweep for them.
package pebbleremote

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/objstorage/remote"

	"github.com/forst-go/forst/cache"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/mutant"
)

// DefaultMaxObject is Options.MaxObject of zero, in bytes.
const DefaultMaxObject = 1 << 30

// Options change New. The zero value and nil are ready to use.
type Options struct {
	// Cache keeps blocks of the objects; it may be shared with volumes and with other Storages, and must be closed after them. nil means one of its own with
	// the default memory. What a Storage has cached is of no use to the next one: names may be used again after a crash.
	Cache *cache.Cache

	// MaxObject is the largest object that CreateObject collects, in bytes: an object is in memory until it is closed, and takes up to twice its size while it grows. 0 means DefaultMaxObject, or the
	// most that the store takes in one object if that is less. More than the store takes is an error.
	MaxObject int64
}

// Storage is a remote.Storage. All methods may be called from many goroutines at once.
type Storage struct {
	store    driver.Store
	cache    *cache.Cache
	ownCache bool
	max      int64
	id       [16]byte
	nums     atomic.Uint64

	ctx    context.Context // of calls that Pebble gives none
	cancel context.CancelFunc

	mu      sync.Mutex
	objects map[string]*object
}

var _ remote.Storage = (*Storage)(nil)

// object is what is known of the bytes that a name stands for. When it stands for others, there is another object with another number, and so other blocks.
type object struct {
	info  driver.Info
	own   bool // this Storage wrote it; info has the size only
	num   uint64
	stale atomic.Bool // deleted or replaced through this Storage
}

// New makes a Storage of the objects below the root of store, which should be a prefix of its own (not that of a volume). The store stays the caller's: it is closed
// after the Storage.
func New(store driver.Store, o *Options) (*Storage, error) {
	if o == nil {
		o = &Options{}
	}
	most := store.Capabilities().MaxObject
	s := &Storage{store: store, cache: o.Cache, max: o.MaxObject, objects: map[string]*object{}}
	switch {
	case s.max < 0:
		return nil, fmt.Errorf("pebbleremote: MaxObject is %d: give a number of bytes, or 0 for the default", s.max)
	case s.max == 0:
		s.max = DefaultMaxObject
		if most > 0 {
			s.max = min(s.max, most)
		}
	case most > 0 && s.max > most:
		return nil, fmt.Errorf("pebbleremote: MaxObject is %d, and the store takes objects of at most %d bytes: lower it", s.max, most)
	}
	if s.cache == nil {
		c, err := cache.New(nil)
		if err != nil {
			return nil, fmt.Errorf("pebbleremote: the block cache: %w", err)
		}
		s.cache, s.ownCache = c, true
	}
	_, _ = rand.Read(s.id[:]) // never fails
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// Close ends the calls that are under way and takes the Storage's blocks out of the cache; it is called after the databases were closed, which do not do it. The
// store and a cache from Options are the caller's. Later calls fail with an error that matches fs.ErrClosed. Close may be called more than once.
func (s *Storage) Close() error {
	s.cancel()
	s.mu.Lock()
	objects := s.objects
	s.objects = map[string]*object{}
	s.mu.Unlock()
	for _, o := range objects {
		s.forget(o)
	}
	if s.ownCache {
		return s.cache.Close()
	}
	return nil
}

// check is the error of a call on a Storage that was closed.
func (s *Storage) check(op, name string) error {
	if s.ctx.Err() == nil {
		return nil
	}
	return &driver.Error{Op: op, Path: name, Kind: driver.KindClosed, Err: errors.New("the remote storage was closed; close it after its databases")}
}

// Size asks the store for the size of an object in bytes.
func (s *Storage) Size(name string) (int64, error) {
	if err := s.check("stat", name); err != nil {
		return 0, err
	}
	info, err := s.store.Stat(s.ctx, name)
	return info.Size, err
}

// Delete removes an object for good and at once; a missing one is success. Readers of it fail from then on.
func (s *Storage) Delete(name string) error {
	if err := s.check("delete", name); err != nil {
		return err
	}
	s.replace(name, nil)
	return s.store.Delete(s.ctx, []string{name})
}

// List gives the names that begin with prefix, in full, in ascending order. (The documentation of remote.Storage in v2.1 says that the prefix is cut off; the
// storages in Pebble itself give full names, later documentation says so, and Pebble only counts them.) With a delimiter, names that are the same up to the first one after
// the prefix are one result, which ends before the delimiter; one that stands right behind the prefix does not count.
func (s *Storage) List(prefix, delimiter string) ([]string, error) {
	if err := s.check("list", prefix); err != nil {
		return nil, err
	}
	names := []string{}
	seen := map[string]bool{}
	for info, err := range s.store.List(s.ctx, prefix, "") {
		if err != nil {
			return nil, err
		}
		name := info.Key
		if mutant.On("pebbleremote/list-short-names") {
			names = append(names, strings.TrimPrefix(name, prefix))
			continue
		}
		if delimiter != "" {
			from := len(prefix)
			if strings.HasPrefix(name[from:], delimiter) {
				from += len(delimiter)
			}
			if i := strings.Index(name[from:], delimiter); i >= 0 {
				name = name[:from+i]
			}
			if seen[name] {
				continue
			}
			seen[name] = true
		}
		names = append(names, name)
	}
	return names, nil
}

// IsNotExistError reports whether the store said that an object is not there. A store that does not answer, or is not there itself, is another error: Pebble takes a
// missing table for corruption.
func (s *Storage) IsNotExistError(err error) bool {
	return driver.KindOf(err) == driver.KindNotExist || mutant.On("pebbleremote/every-error-is-not-exist") && err != nil
}

// replace makes a name stand for other bytes, or for none.
func (s *Storage) replace(name string, o *object) {
	s.mu.Lock()
	old := s.objects[name]
	if o != nil {
		s.objects[name] = o
	} else {
		delete(s.objects, name)
	}
	s.mu.Unlock()
	if old != nil {
		s.forget(old)
	}
}

func (s *Storage) forget(o *object) {
	if mutant.On("pebbleremote/replaced-not-stale") {
		return
	}
	o.stale.Store(true)
	s.cache.Drop(s.cacheID(o))
}

func (s *Storage) cacheID(o *object) cache.ID {
	return cache.ID{Volume: s.id, Num: o.num, Kind: cache.KindObject}
}

// find is the object that a name stands for. What this Storage has written is known; of everything else the store is asked each time.
func (s *Storage) find(ctx context.Context, name string) (*object, error) {
	s.mu.Lock()
	o := s.objects[name]
	s.mu.Unlock()
	if o != nil && o.own {
		return o, nil
	}
	info, err := s.store.Stat(ctx, name)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := s.objects[name]; now != o { // somebody else was faster, and knows at least as much
		if now != nil {
			return now, nil
		}
		o = nil
	}
	if o == nil || o.info.Size != info.Size || !o.info.ModTime.Equal(info.ModTime) {
		if o != nil {
			s.forget(o)
		}
		o = &object{info: info, num: s.nums.Add(1)}
		s.objects[name] = o
	}
	return o, nil
}

// source reads an object for the cache; see cache.Source.
type source struct {
	store driver.Store
	name  string
}

func (s source) Fetch(ctx context.Context, off, n int64) (io.ReadCloser, error) {
	return s.store.Get(ctx, s.name, off, n)
}
