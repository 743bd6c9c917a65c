package forstfs

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/forst-go/forst/cache"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/namespace"
)

// ErrCacheFull says that the volume does not fit on the disk that Options.CacheLocalOnly is to keep it on: raise CacheDiskBytes, lower CacheReserve,
// make room on the disk, or use CacheNormal.
var ErrCacheFull = errors.New("the local disk cache has no room for the volume")

// warmParallel is how many objects are fetched at once.
const warmParallel = 8

// WarmReport says what Warm found and did, in bytes of data objects.
type WarmReport struct {
	Objects int
	Bytes   int64 // of all data objects of the volume
	Fetched int64
	Held    int64 // in the cache at the end; less than Bytes if the cache is too small
}

// Warm brings all data objects of the volume into the cache, on disk if it has a disk. progress, if not nil, is told the bytes that are settled
// and all bytes; it is called from several goroutines, one at a time.
func (v *FS) Warm(ctx context.Context, progress func(done, all int64)) (WarmReport, error) {
	var r WarmReport
	if err := v.usable(); err != nil {
		return r, err
	}
	objects := v.objects()
	for _, o := range objects {
		r.Bytes += o.Size
	}
	r.Objects = len(objects)
	ctx, cancel := context.WithCancel(driver.WithComponent(ctx, driver.CompReadahead))
	defer cancel()
	defer context.AfterFunc(v.bg, cancel)()
	var mu sync.Mutex
	var settled int64
	var fetched atomic.Int64
	err := parallelN(objects, warmParallel, func(o *cache.Object) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := v.cache.Warm(ctx, o)
		fetched.Add(n)
		if err != nil {
			if v.inUse(o.ID) {
				cancel()
				return staleErr(err)
			}
			err = nil // its last file was removed meanwhile
		}
		mu.Lock()
		defer mu.Unlock()
		settled += o.Size
		if progress != nil {
			progress(settled, r.Bytes)
		}
		return nil
	})
	r.Fetched = fetched.Load()
	for _, o := range objects {
		r.Held += v.cache.Holds(o)
	}
	if err != nil {
		return r, fmt.Errorf("warm volume %s: %w", v.o.Name, err)
	}
	return r, nil
}

// objects describes the data objects of the acknowledged namespace.
func (v *FS) objects() []*cache.Object {
	v.machine.mu.Lock()
	defer v.machine.mu.Unlock()
	var all []*cache.Object
	for c := range v.machine.acked.Containers() {
		if c.Kind != namespace.Frame {
			o := v.object(c)
			o.Source = source{v, c, false}
			all = append(all, o)
		}
	}
	return all
}

// inUse reports whether an object still belongs to the volume.
func (v *FS) inUse(id cache.ID) bool {
	for _, o := range v.objects() {
		if o.ID == id {
			return true
		}
	}
	return false
}

// keepLocal begins LocalOnly: it fetches what is missing and returns when the disk has taken all of the volume.
func (v *FS) keepLocal(ctx context.Context) error {
	if v.o.CacheMode != CacheLocalOnly {
		return nil
	}
	owners := map[[16]byte]bool{v.id: true} // a clone reads other volumes' objects, too
	for _, o := range v.objects() {
		owners[o.ID.Volume] = true
	}
	for id := range owners {
		if !v.cache.Pin(id) {
			return errors.New("Options.CacheMode LocalOnly keeps the volume on a local disk: the cache has none")
		}
		free := v.freeCache
		v.freeCache = func() error {
			v.cache.Unpin(id)
			return free()
		}
	}
	v.local.Store(true)
	return v.fillLocal(ctx)
}

func (v *FS) fillLocal(ctx context.Context) error {
	bs := v.cache.BlockSize()
	var missing int64
	for _, o := range v.objects() {
		missing += (o.Size - v.cache.Holds(o) + bs - 1) / bs * bs
	}
	if room := v.cache.PinRoom(); missing > room {
		return fmt.Errorf("%w: %d bytes are missing there and %d can be kept", ErrCacheFull, missing, room)
	}
	r, err := v.Warm(ctx, nil)
	if err == nil && r.Held < r.Bytes {
		err = fmt.Errorf("%w: it took %d of %d bytes; is the disk full, or does it fail?", ErrCacheFull, r.Held, r.Bytes)
	}
	return err
}

// admit refuses bulk bytes of a LocalOnly volume that the disk could not keep. A sixteenth of the cache is left for logs, which are
// never refused.
func (v *FS) admit(n int) error {
	if !v.local.Load() {
		return nil
	}
	need := int64(n) + v.budget.inUse() + v.cache.Capacity()/16
	if room := v.cache.PinRoom(); need > room {
		return fmt.Errorf("%w: %d bytes are asked for, those on their way and a reserve for logs included, and %d can be kept", ErrCacheFull, need, room)
	}
	return nil
}

// cacheDisk hears that the cache's disk fails, or works again.
func (v *FS) cacheDisk(dir string, err error) {
	if err != nil {
		v.o.Logger.Warn("the cache's disk is bypassed", "volume", v.o.Name, "dir", dir, "err", err)
	}
	v.listen().CacheDisk(dir, err)
	if err == nil {
		v.refill()
	}
}

// cacheShrunk hears that the cache has given space back.
func (v *FS) cacheShrunk(dir string, given, left int64) {
	v.o.Logger.Warn("the cache's disk is full: the cache got smaller", "volume", v.o.Name, "dir", dir, "given", given, "left", left)
	v.listen().CacheShrunk(dir, given, left)
}

// refill fetches again what a failing disk has lost of a LocalOnly volume.
func (v *FS) refill() {
	if !v.local.Load() {
		return
	}
	v.spawn(func() {
		if err := v.fillLocal(v.bg); err != nil && v.bg.Err() == nil {
			v.o.Logger.Warn("the volume is not all on the local disk", "volume", v.o.Name, "err", err)
		}
	})
}
