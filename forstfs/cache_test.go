package forstfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/forst-go/forst/cache"
	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/mem"
)

// diskOptions are those of a volume with a small cache on disk and next to no memory.
func diskOptions(dir string) *forstfs.Options {
	return &forstfs.Options{Create: forstfs.CreateIfMissing, CacheDir: dir, CacheDiskBytes: 64 << 20, CacheReserve: -1, CacheBytes: 256 << 10,
		ObjectSize: 1 << 20, FlushDelay: -1, SkipProbe: true}
}

func random(n int, seed uint64) []byte {
	p := make([]byte, n)
	r := rand.New(rand.NewPCG(seed, 1))
	for i := range p {
		p[i] = byte(r.Uint32())
	}
	return p
}

func writeFile(t *testing.T, v *forstfs.FS, name string, data []byte) {
	t.Helper()
	f, err := v.Create(ctx, name, nil)
	must(t, err)
	_, err = f.Write(data)
	must(t, err)
	must(t, f.Close())
	must(t, v.Sync(ctx))
}

func checkFile(t *testing.T, v *forstfs.FS, name string, want []byte, step int) {
	t.Helper()
	f, err := v.Open(ctx, name, &forstfs.OpenOptions{Access: forstfs.AccessRandom})
	must(t, err)
	defer f.Close()
	p := make([]byte, min(len(want), 10_000))
	for off := 0; off+len(p) <= len(want); off += step {
		_, err := f.ReadAt(p, int64(off))
		must(t, err)
		if !bytes.Equal(p, want[off:off+len(p)]) {
			t.Fatalf("%s: other bytes at %d", name, off)
		}
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after a minute: %s", what)
		}
	}
}

// What was written through is on disk after a restart: no read waits for the store.
func TestCacheDirIsWarmAfterRestart(t *testing.T) {
	b, dir := mem.NewBucket(nil), t.TempDir()
	data := random(5<<20, 1)
	v, err := forstfs.Open(ctx, store(t, b), diskOptions(dir))
	must(t, err)
	writeFile(t, v, "/a.sst", data)
	must(t, v.Close())
	v, err = forstfs.Open(ctx, store(t, b), diskOptions(dir))
	must(t, err)
	checkFile(t, v, "/a.sst", data, 100_000)
	if m := v.Metrics(); m.ForegroundGETs != 0 || m.Cache.Reasons[cache.ReasonRead].DiskHits == 0 {
		t.Errorf("after a restart:\n%v", m)
	}
	must(t, v.Close())
}

// Volumes that share a directory have one cache; another Shared, as another process, is told what to do.
func TestCacheDirIsShared(t *testing.T) {
	dir, shared := t.TempDir(), &forstfs.Shared{}
	open := func(o *forstfs.Options) (*forstfs.FS, error) {
		return forstfs.Open(ctx, store(t, mem.NewBucket(nil)), o)
	}
	o := diskOptions(dir)
	o.Shared = shared
	v, err := open(o)
	must(t, err)
	w, err := open(o)
	must(t, err)
	writeFile(t, v, "/a.sst", random(1<<20, 1))
	eventually(t, "the other volume shows the cache's blocks", func() bool { return w.Metrics().Cache.Disk.Blocks >= 32 })

	if _, err := open(diskOptions(dir)); !errors.Is(err, forstfs.ErrCacheBusy) || !strings.Contains(err.Error(), "directory of its own") {
		t.Errorf("another process: %v", err)
	}
	other := *o
	other.CacheDiskBytes *= 2
	if _, err := open(&other); err == nil || !strings.Contains(err.Error(), "other sizes") {
		t.Errorf("other sizes: %v", err)
	}
	must(t, v.Close())
	must(t, w.Close())
	v, err = open(diskOptions(dir)) // the last one has unlocked it
	must(t, err)
	must(t, v.Close())
}

// The default cache of a Shared is one for all its volumes, and is gone with the last of them.
func TestSharedCacheInMemory(t *testing.T) {
	shared := &forstfs.Shared{}
	b := mem.NewBucket(nil)
	o := &forstfs.Options{Create: forstfs.CreateIfMissing, Shared: shared, SkipProbe: true}
	v, err := forstfs.Open(ctx, store(t, b), o)
	must(t, err)
	data := random(300_000, 2)
	writeFile(t, v, "/a.sst", data)
	r, err := forstfs.OpenReadOnly(ctx, store(t, b), o)
	must(t, err)
	checkFile(t, r, "/a.sst", data, 10_000)
	if n := r.Metrics().ForegroundGETs; n != 0 {
		t.Errorf("a reader beside the writer made %d GETs for what the writer had cached", n)
	}
	must(t, r.Close())
	must(t, v.Close())
	r, err = forstfs.OpenReadOnly(ctx, store(t, b), o)
	must(t, err)
	checkFile(t, r, "/a.sst", data, 10_000)
	if n := r.Metrics().ForegroundGETs; n == 0 {
		t.Error("the cache outlived the last volume")
	}
	must(t, r.Close())
}

// LocalOnly: Open brings all of it, nothing of it is evicted, no read waits for the store, and what does not fit is refused.
func TestLocalOnly(t *testing.T) {
	b, dir := mem.NewBucket(nil), t.TempDir()
	shared := &forstfs.Shared{}
	v, err := forstfs.Open(ctx, store(t, b), &forstfs.Options{Create: forstfs.CreateIfMissing, ObjectSize: 1 << 20, SkipProbe: true, CacheMode: forstfs.CacheOff})
	must(t, err)
	var files [][]byte
	for i := range 6 {
		files = append(files, random(1<<20+i*1000, uint64(i)))
		writeFile(t, v, fmt.Sprintf("/%d.sst", i), files[i])
	}
	writeFile(t, v, "/small.log", files[0][:50_000])
	must(t, v.Close())

	o := diskOptions(dir)
	o.CacheMode, o.CacheDiskBytes, o.Shared = forstfs.CacheLocalOnly, 4<<20, shared
	if _, err := forstfs.Open(ctx, store(t, b), o); !errors.Is(err, forstfs.ErrCacheFull) {
		t.Fatalf("Open of a volume that does not fit: %v", err)
	}
	o.CacheDiskBytes = 16 << 20
	v, err = forstfs.Open(ctx, store(t, b), o)
	must(t, err)
	// Another volume wants the same disk.
	po := diskOptions(dir)
	po.CacheDiskBytes, po.Shared = 16<<20, shared
	p, err := forstfs.Open(ctx, store(t, mem.NewBucket(nil)), po)
	must(t, err)
	for i := range 12 {
		writeFile(t, p, fmt.Sprintf("/%d.sst", i), random(1<<20, uint64(i)))
	}
	for i := 6; i < 8; i++ {
		files = append(files, random(1<<20, uint64(i)))
		writeFile(t, v, fmt.Sprintf("/%d.sst", i), files[i])
	}
	for i, data := range files {
		checkFile(t, v, fmt.Sprintf("/%d.sst", i), data, 70_000)
		f, err := v.Open(ctx, fmt.Sprintf("/%d.sst", i), &forstfs.OpenOptions{Access: forstfs.AccessSequential})
		must(t, err)
		got := make([]byte, len(data))
		for off := 0; off < len(got); off += 1 << 18 {
			_, err = f.ReadAt(got[off:min(off+1<<18, len(got))], int64(off))
			must(t, err)
		}
		if !bytes.Equal(got, data) {
			t.Errorf("file %d: other bytes", i)
		}
		must(t, f.Close())
	}
	checkFile(t, v, "/small.log", files[0][:50_000], 1000)
	if m := v.Metrics(); m.ForegroundGETs != 0 {
		t.Errorf("%d GETs in the foreground:\n%v", m.ForegroundGETs, m)
	}
	// The limit holds: what does not fit is refused, and says so, and the log goes on.
	f, err := v.Create(ctx, "/big.sst", nil)
	must(t, err)
	refused := false
	for range 16 {
		if _, err := f.Write(make([]byte, 1<<20)); err != nil {
			if refused = errors.Is(err, forstfs.ErrCacheFull); !refused {
				t.Fatal(err)
			}
			break
		}
	}
	if !refused {
		t.Error("16 MiB more were taken")
	}
	must(t, f.Close())
	must(t, v.Remove(ctx, "/big.sst"))
	writeFile(t, v, "/small2.log", []byte("a log is never refused"))
	if m := v.Metrics(); m.Cache.Disk.Capacity > 16<<20 {
		t.Errorf("the cache takes %d bytes", m.Cache.Disk.Capacity)
	}
	must(t, v.Close())
	must(t, p.Close())
}

// A disk that fails is bypassed, which the listener hears, and taken back when it works again; reads stay right.
func TestCacheDiskFails(t *testing.T) {
	b, dir := mem.NewBucket(nil), t.TempDir()
	data := random(12<<20, 3)
	var mu sync.Mutex
	var heard []string
	o := diskOptions(dir)
	o.Listener = &forstfs.EventListener{CacheDisk: func(d string, err error) {
		mu.Lock()
		defer mu.Unlock()
		heard = append(heard, fmt.Sprint(filepath.Base(d) == filepath.Base(dir), err != nil))
	}}
	v, err := forstfs.Open(ctx, store(t, b), o)
	must(t, err)
	writeFile(t, v, "/a.sst", data)
	eventually(t, "all is on disk", func() bool { return v.Metrics().Cache.Disk.Blocks >= 384 })
	// The files lose their blocks under the cache's feet: each read fails, until a block that is written again makes the file long again, and what lies in
	// front of it wrong instead of missing. On a busy machine that may be before three reads in a row have failed: then once more.
	told := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(heard)
	}
	step := 1 << 20
	eventually(t, "the disk is bypassed", func() bool {
		files, err := filepath.Glob(filepath.Join(dir, "slots-*"))
		must(t, err)
		for _, f := range files {
			must(t, os.Truncate(f, 0))
		}
		checkFile(t, v, "/a.sst", data, step) // in another object each time
		step -= 40_000
		if step < 1<<18 {
			step = 1 << 20
		}
		return told() > 0
	})
	eventually(t, "the disk is taken back", func() bool { return told() >= 2 })
	mu.Lock()
	if heard[0] != "true true" || heard[1] != "true false" {
		t.Errorf("heard %q", heard)
	}
	mu.Unlock()
	checkFile(t, v, "/a.sst", data, 40_000)
	must(t, v.Close())
}

// Any byte of any cache file may flip: reads stay right, and the volume opens.
func TestCacheFilesFlip(t *testing.T) {
	b, dir := mem.NewBucket(nil), t.TempDir()
	data := random(1<<20, 4)
	o := diskOptions(dir)
	o.CacheDiskBytes = 3 << 20
	v, err := forstfs.Open(ctx, store(t, b), o)
	must(t, err)
	writeFile(t, v, "/a.sst", data)
	writeFile(t, v, "/a.log", data[:100_000])
	must(t, v.Close())
	r := rand.New(rand.NewPCG(5, 5))
	for round := range 25 {
		flips := 0
		must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || d.Name() == "LOCK" {
				return err
			}
			p, err := os.ReadFile(path)
			if err != nil || len(p) == 0 {
				return err
			}
			if round%5 == 4 || d.Name() != "FORST-CACHE" { // a damaged marker empties the directory, so not each time
				for range 1 + len(p)/(8<<10) {
					p[r.IntN(len(p))] ^= 1 << r.IntN(8)
					flips++
				}
			}
			return os.WriteFile(path, p, 0o600)
		}))
		v, err := forstfs.Open(ctx, store(t, b), o)
		must(t, err)
		checkFile(t, v, "/a.sst", data, 9_000)
		checkFile(t, v, "/a.log", data[:100_000], 5_000)
		m := v.Metrics().Cache.Disk
		if round%5 != 4 && m.VerifyFailures+m.Damaged == 0 {
			t.Errorf("round %d: %d flips and nobody noticed:\n%v", round, flips, m)
		}
		must(t, v.Close())
	}
}
