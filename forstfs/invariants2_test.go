package forstfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/fault"
	"github.com/forst-go/forst/forstfs/local"
	"github.com/forst-go/forst/internal/journal"
	"github.com/forst-go/forst/internal/namespace"
)

func TestInvariant5_ObjectsAreDeletedOnlyWhenNothingNeedsThem(t *testing.T) {
	b := bucket()
	var mu sync.Mutex
	gone := map[string]bool{}  // deleted: never to be used again
	runs := map[uint64]bool{}  // numbers of fence runs
	ndata, nframes := 0, 0     // deletions seen
	epochs := map[uint64]int{} // fences seen
	watch := func() *spy {
		s := &spy{Store: store(t, b)}
		s.put = func(key string, data []byte) error {
			mu.Lock()
			defer mu.Unlock()
			if gone[key] {
				t.Errorf("%s was deleted, and is used again", key)
			}
			if n, ok := journal.ParseFrameKey(key); ok {
				f, err := journal.DecodeFrame(bytes.Clone(data))
				must(t, err)
				if f.Kind == journal.FrameFence {
					runs[n] = true
					epochs[f.Epoch]++
				}
			}
			return nil
		}
		s.deletes = func(keys []string) {
			mu.Lock()
			defer mu.Unlock()
			st := recoverNow(t, b) // before the deletion: what is in a frame that is durable now may be relied on
			need := map[string]bool{}
			for c := range st.Needed() {
				if c.Kind == namespace.Frame {
					need[journal.FrameKey(c.Num)] = true
				} else {
					need[forstfs.ObjectKey(c)] = true
				}
			}
			for _, k := range keys {
				gone[k] = true
				if need[k] {
					t.Errorf("%s is deleted while a file in the store needs it", k)
				}
				if n, ok := journal.ParseFrameKey(k); ok {
					nframes++
					delete(gone, k) // the one kind of name that may come twice: below the older image
					if runs[n] {
						t.Errorf("frame %d of a fence run is deleted", n)
					}
				}
				if strings.HasPrefix(k, journal.DataPrefix) {
					ndata++
				}
			}
		}
		return s
	}
	must(t, mount(t, b, nil).Close())
	o := small()
	o.CacheBytes = -1 // what is read is read from the store
	for round := range 6 {
		v, err := forstfs.Open(ctx, watch(), o)
		must(t, err)
		var kept []*forstfs.File
		for i := range 6 {
			name := fmt.Sprintf("/kept-%d%s", i, []string{".sst", ".log"}[i%2])
			write(t, v, name, patternOf(uint64(i), 30_000), true)
			f, err := v.Open(ctx, name, nil)
			must(t, err)
			must(t, v.Remove(ctx, name))
			kept = append(kept, f)
		}
		if round > 0 { // one that an earlier writer has stored
			f, err := v.Open(ctx, "/old.sst", nil)
			must(t, err)
			must(t, v.Remove(ctx, "/old.sst"))
			must(t, v.Sync(ctx))
			kept = append(kept, f)
		}
		write(t, v, "/old.sst", patternOf(6, 30_000), true)
		busy(v, 5, func(err error) { t.Error(err) })
		must(t, v.Checkpoint(ctx))
		_, err = v.Sweep(ctx)
		must(t, err)
		must(t, v.Checkpoint(ctx))
		for i, f := range kept { // open handles need their objects and frames
			got, err := io.ReadAll(f)
			must(t, err)
			if !bytes.Equal(got, patternOf(uint64(i), 30_000)) {
				t.Fatalf("round %d: an open handle of a removed file reads other bytes", round)
			}
			must(t, f.Close())
		}
		if round%2 == 0 { // and a crash: what was being written stays behind for the sweep
			f := create(t, v, "/half.sst", content(200_000, 1))
			_ = f
			defer v.Close()
		} else {
			must(t, v.Close())
		}
	}
	if ndata < 50 || nframes < 50 || len(epochs) < 6 {
		t.Errorf("only %d objects and %d frames were deleted, in %d epochs", ndata, nframes, len(epochs))
	}
}

func TestInvariant6_TroubleNeverLooksLikeAMissingFileOrLikeData(t *testing.T) {
	want := patternOf(1, 50_000)
	for _, tt := range []struct {
		name  string
		rule  fault.Rule
		cause error // what the error must match, if there is to be one
	}{
		{"transient", fault.Rule{Ops: []fault.Op{fault.Get}, Do: fault.Fail(nil)}, nil},
		{"slow down", fault.Rule{Ops: []fault.Op{fault.Get}, Do: fault.Throttle()}, nil},
		{"no permission", fault.Rule{Ops: []fault.Op{fault.Get}, Do: fault.Fail(&driver.Error{Kind: driver.KindPermission})}, fs.ErrPermission},
		{"no store", fault.Rule{Ops: []fault.Op{fault.Get}, Do: fault.Fail(&driver.Error{Kind: driver.KindNoStore})}, nil},
		{"not there", fault.Rule{Ops: []fault.Op{fault.Get}, Do: fault.Fail(&driver.Error{Kind: driver.KindNotExist})}, forstfs.ErrStale},
		{"breaks off", fault.Rule{Ops: []fault.Op{fault.Get}, Do: fault.ShortRead(1000, nil)}, nil},
		{"short", fault.Rule{Ops: []fault.Op{fault.Get}, Do: fault.ShortSilent(1000)}, nil},
		{"empty", fault.Rule{Ops: []fault.Op{fault.Get}, Do: fault.ShortSilent(0)}, nil},
		{"flipped", fault.Rule{Ops: []fault.Op{fault.Get}, Prefix: "journal/", Do: fault.Flip(3000)}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := bucket()
			v := mount(t, b, nil)
			for _, name := range []string{"x.sst", "x.log", "packed.log", "packed.sst"} {
				write(t, v, name, want, true)
				if name == "packed.sst" {
					continue
				}
				f := create(t, v, name+".inline", want[:10_000])
				must(t, f.Sync())
				must(t, f.Close())
			}
			must(t, v.Close())
			for _, cache := range []int64{-1, 1 << 20} {
				for _, access := range []forstfs.Access{forstfs.AccessDefault, forstfs.AccessRandom, forstfs.AccessSequential} {
					o := small()
					o.CacheBytes = cache
					st := fault.New(store(t, b), nil)
					r, err := forstfs.OpenReadOnly(ctx, st, o)
					must(t, err)
					forget := st.Add(tt.rule)
					names, err := r.List(ctx, "/")
					must(t, err)
					failed := 0
					for _, name := range names {
						f, err := r.Open(ctx, name, &forstfs.OpenOptions{Access: access})
						must(t, err)
						n, err := readAll(f, want)
						if n < 0 {
							t.Errorf("%s: wrong bytes", name)
						}
						if err == nil {
							continue // from the cache
						}
						failed++
						if errors.Is(err, fs.ErrNotExist) || os.IsNotExist(err) || err == io.EOF || errors.Is(err, io.EOF) {
							t.Errorf("%s: looks like a missing file or like its end: %v", name, err)
						}
						if tt.cause != nil && !errors.Is(err, tt.cause) {
							t.Errorf("%s: %v, want %v", name, err, tt.cause)
						}
						must(t, f.Close())
					}
					if failed == 0 && cache < 0 {
						t.Errorf("access %d: every read went well", access)
					}
					forget()
					for _, name := range names { // and nothing of it was kept
						f, err := r.Open(ctx, name, &forstfs.OpenOptions{Access: access})
						must(t, err)
						if n, err := readAll(f, want); n < 0 || err != nil {
							t.Errorf("%s, when the store is well again: %d, %v", name, n, err)
						}
						must(t, f.Close())
					}
					must(t, r.Close())
				}
			}
		})
	}
}

// readAll reads a file in small pieces. It gives how many bytes there are, or -1 if they are not the beginning of want.
func readAll(f *forstfs.File, want []byte) (int, error) {
	p := make([]byte, 1777)
	for n := 0; ; {
		k, err := f.ReadAt(p, int64(n))
		if k > len(want)-n || !bytes.Equal(p[:k], want[n:n+k]) {
			return -1, err
		}
		n += k
		if err == io.EOF {
			if info, serr := f.Stat(); serr != nil || int64(n) != info.Size() {
				return -1, err
			}
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

func TestInvariant7_NoRequestUnderTheNamespaceLock(t *testing.T) {
	b := bucket()
	for round := range 3 {
		var v atomic.Pointer[forstfs.FS]
		requests := atomic.Int64{}
		s := &spy{Store: store(t, b), before: func(op, key string) {
			if v := v.Load(); v != nil {
				requests.Add(1)
				if lock := v.HeldLock(); lock != "" {
					t.Errorf("%s %s is asked for while %s is held", op, key, lock)
				}
			}
		}}
		o := small()
		o.CacheBytes = []int64{1 << 20, -1, 256 << 10}[round]
		fsys, err := forstfs.Open(ctx, s, o)
		must(t, err)
		v.Store(fsys)
		busy(fsys, 6, func(err error) { t.Error(err) })
		_, err = fsys.Sweep(ctx)
		must(t, err)
		if round == 2 {
			must(t, fsys.Drop(ctx))
		}
		must(t, fsys.Close())
		if requests.Load() < 100 {
			t.Errorf("only %d requests were looked at", requests.Load())
		}
	}
}

// What a volume at work asks of the store: exactly one PUT for a sync, whatever the size of the file, no HEAD ever, for each image one LIST of the images
// and one of the requests that others have left.
func TestInvariant7_SteadyState(t *testing.T) {
	tr := &fault.Trace{}
	o := small()
	o.CacheBytes = 16 << 20 // room for a block for each frame
	v, _ := faulty(t, bucket(), &fault.Options{Trace: tr}, o)
	f := create(t, v, "/wal.log", nil)
	tr.Reset()
	for i := range 200 {
		_, err := f.Write(content(100, uint64(i)))
		must(t, err)
		must(t, f.Sync())
	}
	if n := tr.Count(fault.Put, "journal/"); n != 200 || tr.Len() != 200 {
		t.Errorf("200 syncs made %d PUTs of frames and %d requests in all", n, tr.Len())
	}
	for i, c := range tr.Calls() {
		if c.Bytes > 400 {
			t.Errorf("sync %d carries %d bytes; 100 are new", i, c.Bytes)
		}
	}
	tr.Reset()
	images := 10
	for i := range images {
		write(t, v, fmt.Sprintf("/%d.sst", i), content(20_000, 1), true)
		same(t, v, fmt.Sprintf("/%d.sst", i), content(20_000, 1))
		must(t, v.Checkpoint(ctx))
		must(t, v.Remove(ctx, fmt.Sprintf("/%d.sst", i)))
	}
	must(t, v.Close())
	if n := tr.Count(fault.Stat, ""); n != 0 {
		t.Errorf("%d HEADs", n)
	}
	if n := tr.Count(fault.List, ""); n > 2*images || tr.Count(fault.List, journal.RequestPrefix) > images {
		t.Errorf("%d LISTs for %d images:\n%v", n, images, tr)
	}
	if n := tr.Count(fault.Get, ""); n != 0 {
		t.Errorf("%d GETs of what this process wrote itself:\n%v", n, tr)
	}
}

func TestInvariant8_CloseGivesEverythingBack(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Log("only on Linux are descriptors counted")
	}
	dir := t.TempDir()
	opens := map[string]func() driver.Store{}
	b := bucket()
	opens["mem"] = func() driver.Store { return store(t, b) }
	opens["local"] = func() driver.Store {
		s, err := local.Open(ctx, dir, nil)
		must(t, err)
		return s
	}
	for name, open := range opens {
		t.Run(name, func(t *testing.T) {
			cycle := func(i int) {
				o := small()
				o.ImageFrames = 40
				v, err := forstfs.Open(ctx, open(), o)
				must(t, err)
				busy(v, 3, func(err error) { t.Error(err) })
				must(t, v.Checkpoint(ctx)) // waits for one that runs by itself, too
				if !v.SameNamespace() {
					t.Fatal("what this process sees is not what it has acknowledged")
				}
				must(t, v.RemoveAll(ctx, "/a"))
				must(t, v.RemoveAll(ctx, "/b"))
				must(t, v.RemoveAll(ctx, "/c"))
				must(t, v.Checkpoint(ctx))
				if !v.SameNamespace() {
					t.Fatal("what this process sees is not what it has acknowledged, when all is removed")
				}
				if n, p, d := v.Retained(); n+p+d != 0 {
					t.Fatalf("an idle volume holds %d files, %d pins, %d deferred deletions", n, p, d)
				}
				if m := v.Metrics(); m.UploadMemory+m.AheadMemory != 0 {
					t.Fatalf("an idle volume has charged %d and %d bytes", m.UploadMemory, m.AheadMemory)
				}
				f := create(t, v, "/left-open.sst", content(50_000, 1)) // nobody closes it
				_ = f
				if i%2 == 0 {
					_, err := v.Sweep(ctx)
					must(t, err)
				}
				must(t, v.Close())
				if !v.CacheClosed() { // its memory is no heap; package cache holds that Close gives it back
					t.Fatal("the cache of a closed volume is open")
				}
				// And an Open that fails.
				if _, err := forstfs.Open(ctx, open(), &forstfs.Options{Create: forstfs.CreateNew}); !errors.Is(err, forstfs.ErrExists) {
					t.Fatal(err)
				}
				r, err := forstfs.OpenReadOnly(ctx, open(), small())
				must(t, err)
				must(t, r.Close())
			}
			for i := range 3 { // pools fill up, and the journal reaches its length
				cycle(i)
			}
			before := footprint()
			cycles := map[string]int{"mem": 40, "local": 6}[name] // local waits for a disk
			for i := range cycles {
				cycle(i)
			}
			// What ends a moment later than Close, as timers do, is waited for; what stays is a leak.
			var after usage
			for range 200 {
				if after = footprint(); after.goroutines <= before.goroutines && after.heap < before.heap+1<<20 {
					break
				}
				runtime.Gosched()
			}
			t.Logf("before %+v, after %d cycles %+v", before, cycles, after)
			if after.goroutines > before.goroutines {
				buf := make([]byte, 1<<16)
				t.Errorf("%d goroutines more after %d cycles\n%s", after.goroutines-before.goroutines, cycles, buf[:runtime.Stack(buf, true)])
			}
			if after.heap > before.heap+1<<20 {
				t.Errorf("%d bytes of heap more after %d cycles", after.heap-before.heap, cycles)
			}
			if after.files > before.files {
				t.Errorf("%d descriptors more after %d cycles", after.files-before.files, cycles)
			}
		})
	}
}

type usage struct {
	goroutines, files int
	heap              int64
}

// footprint is what the process holds, without the objects of mem buckets, which tests keep small.
func footprint() (u usage) {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	u.heap, u.goroutines = int64(m.HeapAlloc), runtime.NumGoroutine()
	if fds, err := os.ReadDir("/proc/self/fd"); err == nil {
		u.files = len(fds)
	}
	return u
}

func TestObjectsNeverGrowBeyondTheFormat(t *testing.T) {
	o := small()
	o.ObjectSize = 1 << 30
	o.MaxInflight = 64
	v := mount(t, bucket(), o)
	defer v.Close()
	r := rand.New(rand.NewPCG(1, 1))
	for range 1000 {
		size := int64(1) << r.IntN(50)
		if n := v.SegmentLimit(size); n < 1 || n > 1<<31 || uint64(uint32(n)) != uint64(n) {
			t.Fatalf("the next object of a file of %d bytes would have %d", size, n)
		}
	}
}

// FlushDelay bounds how long an operation that nobody waits for stays in memory.
func TestFlushDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bucket()
		o := small()
		o.FlushDelay = time.Second
		v := mount(t, b, o)
		f := create(t, v, "/a.log", []byte("1"))
		must(t, f.Close())
		if _, ok := recoverNow(t, b).Lookup("/a.log"); ok {
			t.Error("nobody waits, and yet a frame was sent at once")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if _, ok := recoverNow(t, b).Lookup("/a.log"); !ok {
			t.Error("after FlushDelay the operation is still in memory only")
		}
		must(t, v.Close())
	})
}
