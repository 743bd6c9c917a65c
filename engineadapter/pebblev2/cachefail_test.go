package pebblev2_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/forst-go/forst/cache/disk"
	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/mem"
)

func memHomeOpen() (driver.Store, error) { return mem.NewBucket(nil).Open("db") }

// badDisk is a disk that fails when it is told to. It keeps the real files.
type badDisk struct {
	read, write, full atomic.Bool
	failed            atomic.Int64
}

var osDisk = disk.OS()

func (d *badDisk) Open(path string, size int64) (disk.File, error) {
	if size >= 0 {
		if err := d.refuse(); err != nil {
			return nil, err
		}
	}
	f, err := osDisk.Open(path, size)
	if err != nil {
		return nil, err
	}
	return &badFile{f, d}, nil
}

func (d *badDisk) Free(string) (int64, error) { return math.MaxInt64, nil }

func (d *badDisk) refuse() error {
	switch {
	case d.full.Load():
		d.failed.Add(1)
		return syscall.ENOSPC
	case d.write.Load():
		d.failed.Add(1)
		return syscall.EIO
	}
	return nil
}

type badFile struct {
	disk.File
	d *badDisk
}

// Close makes room: the cache closes a file that it removes.
func (f *badFile) Close() error {
	f.d.full.Store(false)
	return f.File.Close()
}

func (f *badFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.d.refuse(); err != nil {
		n, _ := f.File.WriteAt(p[:len(p)/2], off) // torn
		return n, err
	}
	return f.File.WriteAt(p, off)
}

func (f *badFile) ReadAt(p []byte, off int64) (int, error) {
	if f.d.read.Load() {
		f.d.failed.Add(1)
		return 0, syscall.EIO
	}
	return f.File.ReadAt(p, off)
}

// A disk that fails below the cache of a running database costs time and nothing else: writes fail, reads fail, it is full, bits flip in what it keeps
// while it is in use and while it is not.
func TestCacheDiskFails(t *testing.T) {
	f := newFailing(t.TempDir(), time.Minute)
	t.Logf("seed %d", f.seed)
	if err := f.run(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d calls of the disk failed", f.d.failed.Load())
}

// failing is a database over a cache on a failing disk.
type failing struct {
	dir      string
	patience time.Duration // for what must happen sooner or later
	seed     uint64
	bucket   *mem.Bucket
	d        badDisk

	vol    *forstfs.FS
	db     *cachedDB
	shrunk atomic.Int64 // events that told of a smaller cache, in this life: one for each segment

	mu      sync.Mutex
	events  []string // of the cache's disk
	corrupt error    // what Pebble found wrong, if anything
}

func newFailing(dir string, patience time.Duration) *failing {
	return &failing{dir: dir, patience: patience, seed: rand.Uint64(), bucket: mem.NewBucket(nil)}
}

func (f *failing) event(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events = append(f.events, fmt.Sprintf(format, args...))
}

// wantEvent waits for the next event, which must begin with this.
func (f *failing) wantEvent(want string) error {
	var got []string
	if err := f.until("an event: "+want, func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		got = f.events
		return len(got) > 0
	}); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events = f.events[1:]
	if !strings.HasPrefix(got[0], want) {
		return fmt.Errorf("the listener was told %q, want %q", got, want)
	}
	return nil
}

func (f *failing) noEvent() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.events) > 0 {
		return fmt.Errorf("the listener was told %q, want nothing", f.events)
	}
	return nil
}

func (f *failing) until(what string, done func() bool) error {
	for end := time.Now().Add(f.patience); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return fmt.Errorf("after %v: no %s", f.patience, what)
		}
	}
	return nil
}

func (f *failing) open() error {
	s, err := f.bucket.Open("db")
	if err != nil {
		return err
	}
	o := cachedOptions(f.dir)
	o.Shared = &forstfs.Shared{CacheSystem: &f.d}
	o.Listener = &forstfs.EventListener{
		CacheDisk: func(dir string, err error) {
			if dir != f.dir {
				f.event("another directory: %s", dir)
			}
			f.event("disk: %v", err)
		},
		CacheShrunk: func(_ string, given, left int64) {
			if given > 0 && left >= 0 {
				f.shrunk.Add(1)
			}
		},
	}
	if f.vol, err = forstfs.Open(context.Background(), s, volOptions(o)); err != nil {
		return err
	}
	f.db, err = openCached(f.vol, f.seed, func(what string) { panic(what) }, func(e error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.corrupt = errors.Join(f.corrupt, e)
	})
	if err != nil {
		return errors.Join(err, f.vol.Close())
	}
	return nil
}

func (f *failing) close() error {
	err := errors.Join(f.db.db.Close(), f.vol.Close())
	if n := f.shrunk.Swap(0); n != f.disk().Shrunk {
		err = errors.Join(err, fmt.Errorf("the listener was told %d times of a smaller cache: %v", n, f.disk()))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return errors.Join(err, f.corrupt)
}

// work writes and reads; whatever the disk does, nothing of that may fail.
func (f *failing) work(n int) error {
	for range n {
		if err := errors.Join(f.db.write(), f.db.read(40)); err != nil {
			return err
		}
	}
	return nil
}

// workUntil works, n rounds at least, until the metrics of the disk say so.
func (f *failing) workUntil(what string, done func(disk.Metrics) bool) error {
	var failed error
	err := f.until(what, func() bool {
		failed = f.work(1)
		return failed != nil || done(f.disk())
	})
	if failed != nil {
		return failed
	}
	if err != nil {
		return fmt.Errorf("%w: %v", err, f.disk())
	}
	return nil
}

func (f *failing) disk() disk.Metrics { return f.vol.Metrics().Cache.Disk }

func (f *failing) run() (err error) {
	if err := f.open(); err != nil {
		return err
	}
	defer func() {
		if f.db != nil {
			err = errors.Join(err, f.close())
		}
	}()
	if err := f.work(60); err != nil {
		return err
	}
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"writes fail", func() error { return f.broken(&f.d.write) }},
		{"reads fail", func() error { return f.broken(&f.d.read) }},
		{"the disk is full", f.fullDisk},
		{"bits flip while it is in use", f.flipInUse},
		{"bits flip while it is not", f.flipAtRest},
	} {
		if err := errors.Join(step.do(), f.noEvent()); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}
	return nil
}

// broken makes the disk fail until it is bypassed, and heals it.
func (f *failing) broken(what *atomic.Bool) error {
	before := f.disk()
	what.Store(true)
	if err := f.workUntil("bypass", func(m disk.Metrics) bool { return m.Bypassed }); err != nil {
		return err
	}
	if err := f.wantEvent("disk: input/output error"); err != nil {
		return err
	}
	if err := f.until("count of three errors and one bypass", func() bool {
		m := f.disk()
		return m.ReadErrors+m.WriteErrors-before.ReadErrors-before.WriteErrors >= 3 && m.Bypasses == before.Bypasses+1
	}); err != nil {
		return fmt.Errorf("%w: %v", err, f.disk())
	}
	if err := f.work(5); err != nil {
		return err
	}
	what.Store(false)
	if err := f.workUntil("return of the disk", func(m disk.Metrics) bool { return !m.Bypassed }); err != nil {
		return err
	}
	if err := f.wantEvent("disk: <nil>"); err != nil {
		return err
	}
	back := f.disk()
	return f.workUntil("use of the disk", func(m disk.Metrics) bool { return m.Hits > back.Hits && m.Written > back.Written })
}

func (f *failing) fullDisk() error {
	before := f.disk()
	f.d.full.Store(true)
	if err := f.workUntil("smaller cache", func(m disk.Metrics) bool { return m.Shrunk > before.Shrunk || m.Bypassed }); err != nil {
		return err
	}
	m := f.disk()
	if m.Bypassed || m.WriteErrors == before.WriteErrors {
		return fmt.Errorf("a full disk does not make the cache smaller, or is not counted: %v, before %v", m, before)
	}
	return f.workUntil("use of what is left", func(n disk.Metrics) bool { return n.Hits > m.Hits })
}

// flip changes a bit in each so many bytes of the files.
func (f *failing) flip(pattern string, every int64) error {
	names, err := filepath.Glob(filepath.Join(f.dir, pattern))
	if err != nil || len(names) == 0 {
		return fmt.Errorf("no files %s (%v)", pattern, err)
	}
	r := rand.New(rand.NewPCG(f.seed, 3))
	for _, name := range names {
		h, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		info, err := h.Stat()
		for at := int64(0); err == nil && at < info.Size(); at += every {
			b := make([]byte, 1)
			off := min(at+r.Int64N(every), info.Size()-1)
			if _, err = h.ReadAt(b, off); err == nil {
				b[0] ^= 1 << r.IntN(8)
				_, err = h.WriteAt(b, off)
			}
		}
		if err = errors.Join(err, h.Close()); err != nil {
			return err
		}
	}
	return nil
}

func (f *failing) flipInUse() error {
	before := f.disk()
	var failed error
	err := f.workUntil("block found wrong", func(m disk.Metrics) bool {
		failed = f.flip("slots-*", 8<<10) // again: what was flipped may have been replaced before it was read
		return failed != nil || m.VerifyFailures > before.VerifyFailures+5
	})
	return errors.Join(err, failed)
}

func (f *failing) flipAtRest() error {
	err := f.close()
	f.db = nil
	if err != nil {
		return err
	}
	// Some records, many blocks, and the notes of the policy.
	if err := errors.Join(f.flip("slots-*", 400), f.flip("heat", 100)); err != nil {
		return err
	}
	if err := f.open(); err != nil { // reads all
		return err
	}
	if m := f.disk(); m.Damaged == 0 {
		return fmt.Errorf("nothing damaged: %v", m)
	}
	return f.work(20)
}

// corruption makes Pebble report what it finds wrong in place of ending the process.
func corruption(o *pebble.Options, report func(error)) {
	o.EventListener = &pebble.EventListener{DataCorruption: func(info pebble.DataCorruptionInfo) { report(fmt.Errorf("corruption: %v", info)) }}
}
