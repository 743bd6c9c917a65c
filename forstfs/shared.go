package forstfs

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/forst-go/forst/cache"
	"github.com/forst-go/forst/cache/disk"
)

// What a Shared allows by default.
const (
	sharedUploadMemory = 512 << 20
	sharedAheadMemory  = 256 << 20
	sharedUploads      = 256
	aheadMemory        = 64 << 20 // of one volume, in any case
)

// Shared is what the volumes of a process have in common: the caches, and budgets of memory and requests. Its zero value is ready to
// use; the settings must not change once a volume uses it. forst.Open gives all volumes of the process the same one, forstfs.Open
// gives each volume one of its own unless Options.Shared says otherwise.
//
// No volume waits for another one: each has enough of its own to get on with (two objects in upload), and takes more while there is more.
type Shared struct {
	UploadMemory int64 // bytes of bulk files that are not in the store yet, beyond what each volume has of its own; 0 means 512 MiB
	AheadMemory  int64 // bytes read ahead; 0 means 256 MiB
	Uploads      int   // data objects on their way at the same time; 0 means 256

	// CacheSystem is the disk below the cache directories; nil means that of the operating system. Tests put a failing one in its place.
	CacheSystem disk.System

	once    sync.Once
	pool    *budget
	ahead   *budget
	uploads chan struct{}

	mu     sync.Mutex
	caches map[string]*sharedCache // by directory; "" is the one in memory
}

// sharedCache is a cache with those who use it.
type sharedCache struct {
	c        *cache.Cache
	settings cache.Options
	mu       sync.Mutex
	users    map[*FS]bool
}

// ErrCacheBusy says that another process, or another Shared of this one, uses Options.CacheDir: give each process a directory of its own.
var ErrCacheBusy = disk.ErrLocked

func (s *Shared) init(alone bool) {
	s.once.Do(func() {
		def(&s.AheadMemory, sharedAheadMemory)
		def(&s.UploadMemory, sharedUploadMemory)
		def(&s.Uploads, sharedUploads)
		s.ahead = newBudget(s.AheadMemory)
		if !alone {
			s.pool = newBudget(s.UploadMemory)
		}
		s.uploads = make(chan struct{}, max(s.Uploads, 1))
		s.caches = map[string]*sharedCache{}
	})
}

// join gives the volume its cache and the function that gives it back.
func (s *Shared) join(v *FS) error {
	o := v.o
	v.freeCache = func() error { return nil }
	switch {
	case o.Cache != nil && o.CacheMode != CacheOff:
		v.cache = o.Cache
		return nil
	case o.CacheMode == CacheOff || o.CacheDir == "" && (o.CacheBytes != 0 || o.Shared == nil):
		settings := cache.Options{Memory: o.CacheBytes}
		if o.CacheMode == CacheOff {
			settings.Memory = -1
		}
		c, err := cache.New(&settings)
		if err == nil {
			v.cache, v.freeCache = c, c.Close
		}
		return err
	}
	settings := cache.Options{Memory: o.CacheBytes}
	key := ""
	if o.CacheDir != "" {
		dir, err := filepath.Abs(o.CacheDir)
		if err != nil {
			return fmt.Errorf("cache directory %s: %w", o.CacheDir, err)
		}
		key = dir
		settings.Disk = disk.Options{Dir: dir, Size: o.CacheDiskBytes, Reserve: o.CacheReserve, System: s.CacheSystem}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sc := s.caches[key]
	if sc == nil {
		sc = &sharedCache{settings: settings, users: map[*FS]bool{}}
		if key != "" {
			settings.Disk.OnState = func(err error) { sc.tell(func(v *FS) { v.cacheDisk(key, err) }) }
			settings.Disk.OnShrink = func(given, left int64) { sc.tell(func(v *FS) { v.cacheShrunk(key, given, left) }) }
		}
		c, err := cache.New(&settings)
		if err != nil {
			if errors.Is(err, disk.ErrLocked) {
				err = fmt.Errorf("%w (give each process a cache directory of its own; volumes of one process share theirs through Options.Shared)", err)
			}
			return err
		}
		sc.c = c
		s.caches[key] = sc
	} else if have, want := sc.settings, settings; have.Memory != want.Memory || have.Disk.Size != want.Disk.Size || have.Disk.Reserve != want.Disk.Reserve {
		return fmt.Errorf("cache directory %s is in use by another volume of this process with other sizes (CacheBytes, CacheDiskBytes, CacheReserve): give the same ones", o.CacheDir)
	}
	sc.mu.Lock()
	sc.users[v] = true
	sc.mu.Unlock()
	v.cache = sc.c
	v.freeCache = func() error { return s.leave(key, sc, v) }
	return nil
}

// leave ends a volume's use of a cache; the last one closes it.
func (s *Shared) leave(key string, sc *sharedCache, v *FS) error {
	s.mu.Lock()
	defer s.mu.Unlock() // to the end: whoever opens the directory next finds it unlocked
	sc.mu.Lock()
	delete(sc.users, v)
	left := len(sc.users)
	sc.mu.Unlock()
	if left > 0 {
		return nil
	}
	delete(s.caches, key)
	return sc.c.Close()
}

// tell calls fn for each volume that uses the cache, without a lock.
func (sc *sharedCache) tell(fn func(v *FS)) {
	sc.mu.Lock()
	users := make([]*FS, 0, len(sc.users))
	for v := range sc.users {
		users = append(users, v)
	}
	sc.mu.Unlock()
	for _, v := range users {
		fn(v)
	}
}

// detach gives back to the pool what a volume that has ended will not release any more.
func (b *budget) detach() {
	b.open()
	b.mu.Lock()
	pool, lent := b.pool, b.lent
	b.pool, b.lent = nil, 0
	b.mu.Unlock()
	if pool != nil {
		pool.release(lent)
	}
}
