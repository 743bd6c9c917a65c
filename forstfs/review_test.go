package forstfs_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/fault"
	"github.com/forst-go/forst/forstfs/mem"
)

// faulty mounts a volume over a store that does what f says.
func faulty(t testing.TB, b *mem.Bucket, f *fault.Options, o *forstfs.Options) (*forstfs.FS, *fault.Store) {
	t.Helper()
	if o == nil {
		o = small()
	}
	s := fault.New(store(t, b), f)
	v, err := forstfs.Open(ctx, s, o)
	must(t, err)
	return v, s
}

func create(t testing.TB, v *forstfs.FS, name string, data []byte) *forstfs.File {
	t.Helper()
	f, err := v.Create(ctx, name, nil)
	must(t, err)
	_, err = f.Write(data)
	must(t, err)
	return f
}

func TestReadsAtTheFarEndOfTheRange(t *testing.T) {
	v := mount(t, bucket(), nil)
	defer v.Close()
	for name, n := range map[string]int{"none": 0, "none.sst": 0, "some": 100, "some.sst": 100_000} {
		write(t, v, name, content(n, 1), true)
		f, err := v.Open(ctx, name, nil)
		must(t, err)
		for _, off := range []int64{int64(n), int64(n) + 1, math.MaxInt64 - 5, math.MaxInt64} {
			if k, err := f.ReadAt(make([]byte, 10), off); k != 0 || err != io.EOF {
				t.Errorf("%s: ReadAt(10 bytes, %d) = %d, %v; want 0, EOF", name, off, k, err)
			}
			must(t, f.Prefetch(off, math.MaxInt64))
		}
		must(t, f.Prefetch(0, math.MaxInt64))
		must(t, f.Prefetch(50, -1))
		if _, err := f.ReadAt(make([]byte, 1), -1); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%s: ReadAt(-1): %v", name, err)
		}
		if k, err := f.ReadAt(nil, 0); k != 0 || err != nil {
			t.Errorf("%s: ReadAt of nothing: %d, %v", name, k, err)
		}
		must(t, f.Close())
	}
}

// A store that says "not there" or "exists" where that makes no sense must not look to an engine like a file that is not
// there: Pebble would take it for corruption, or for an empty database.
func TestStoreErrorsNeverLookLikeMissingFiles(t *testing.T) {
	for _, kind := range []driver.Kind{driver.KindNotExist, driver.KindExist, driver.KindNoStore, driver.KindPermission, driver.KindTransient} {
		for _, prefix := range []string{"journal/", "data/"} {
			t.Run(kind.String()+" "+prefix, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					o := small()
					o.RetryBudget = time.Second
					v, s := faulty(t, bucket(), nil, o)
					f := create(t, v, "x.sst", content(30_000, 1))
					s.Add(fault.Rule{Ops: []fault.Op{fault.Put}, Prefix: prefix, Do: fault.Fail(&driver.Error{Kind: kind, Err: errors.New("odd")})})
					check := func(what string, err error) {
						t.Helper()
						if err == nil {
							t.Errorf("%s succeeds on a store that takes nothing", what)
						}
						if errors.Is(err, fs.ErrNotExist) || os.IsNotExist(err) || errors.Is(err, fs.ErrExist) || os.IsExist(err) {
							t.Errorf("%s looks like a missing or an existing file: %v", what, err)
						}
						if prefix == "journal/" && !errors.Is(err, forstfs.ErrFailed) {
							t.Errorf("%s: %v, want ErrFailed", what, err)
						}
					}
					check("Sync", f.Sync())
					check("Close", f.Close())
					if prefix == "journal/" {
						check("FS.Sync", v.Sync(ctx))
						check("FS.Err", v.Err())
						_, err := v.Create(ctx, "y", nil)
						check("Create", err)
						check("FS.Close", v.Close())
					} else {
						must(t, v.Close())
					}
				})
			})
		}
	}
}

func TestSyncOfAnyHandleMakesTheFileDurable(t *testing.T) {
	for _, name := range []string{"x.log", "x.sst"} {
		b := bucket()
		v := mount(t, b, nil)
		data := content(20_000, 1)
		w := create(t, v, name, data)
		r, err := v.Open(ctx, name, nil)
		must(t, err)
		must(t, r.Sync())
		u := mount(t, b, nil)
		same(t, u, name, data)
		must(t, u.Close())
		must(t, r.Close())
		_ = w.Close()
		_ = v.Close()
	}
}

// gauge measures the memory that a store is asked to take at the same time.
type gauge struct {
	driver.Store
	now, most atomic.Int64
	gate      chan struct{}
}

func (g *gauge) Put(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
	if len(key) > 5 && key[:5] == "data/" {
		n := g.now.Add(int64(len(data)))
		for m := g.most.Load(); n > m && !g.most.CompareAndSwap(m, n); m = g.most.Load() {
		}
		defer g.now.Add(-int64(len(data)))
		<-g.gate
	}
	return g.Store.Put(ctx, key, data, o)
}

// A file that is no SST may be as large as it likes: what it spills is bounded in memory, too, when the store is slow.
func TestLargeFilesOfAnyClassAreBoundedInMemory(t *testing.T) {
	for _, name := range []string{"x.sst", "backup"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := small()
				o.FrameLimit = 1 << 20
				o.ObjectSize = 1 << 20
				g := &gauge{Store: store(t, bucket()), gate: make(chan struct{})}
				v, err := forstfs.Open(ctx, g, o)
				must(t, err)
				data := content(1<<20, 1)
				var wrote atomic.Int64
				f, err := v.Create(ctx, name, nil)
				must(t, err)
				done := make(chan error, 1)
				go func() {
					for range 64 {
						if _, err := f.Write(data); err != nil {
							done <- err
							return
						}
						wrote.Add(int64(len(data)))
					}
					done <- f.Close()
				}()
				synctest.Wait() // the store takes nothing: the writer must have stopped
				if n := wrote.Load(); n > 24<<20 {
					t.Errorf("%d bytes were taken while nothing could be stored", n)
				}
				close(g.gate)
				must(t, <-done)
				for i := range 64 {
					p := make([]byte, len(data))
					r, err := v.Open(ctx, name, nil)
					must(t, err)
					_, err = r.ReadAt(p, int64(i)<<20)
					must(t, err)
					if !bytes.Equal(p, data) {
						t.Fatalf("wrong bytes in MiB %d", i)
					}
					must(t, r.Close())
				}
				must(t, v.Close())
			})
		})
	}
}

// watcher reports requests that reach the store after Close of the volume has closed it.
type watcher struct {
	driver.Store
	mu     sync.Mutex
	closed bool
	late   []string
}

func (w *watcher) Put(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
	w.mu.Lock()
	if w.closed {
		w.late = append(w.late, "put "+key)
	}
	w.mu.Unlock()
	return w.Store.Put(ctx, key, data, o)
}

func (w *watcher) Close() error {
	err := w.Store.Close()
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	return err
}

// Whatever handles do beside Close and after it: no request is made any more when it has returned, nothing hangs, and nothing
// reports a cancelled context that nobody cancelled.
func TestHandlesOutliveTheVolume(t *testing.T) {
	for round := range 30 {
		w := &watcher{Store: store(t, bucket())}
		v, err := forstfs.Open(ctx, w, small())
		must(t, err)
		write(t, v, "old.sst", content(200_000, 9), true)
		var wg sync.WaitGroup
		var files []*forstfs.File
		for i := range 6 {
			name := string(rune('a'+i)) + []string{".sst", ".log"}[i%2]
			f, err := v.Create(ctx, name, nil)
			must(t, err)
			files = append(files, f)
			wg.Go(func() {
				for k := range 50 {
					_, err := f.Write(content(3000, uint64(i)))
					if err == nil && k%5 == 4 {
						err = f.Sync()
					}
					if err != nil {
						if !errors.Is(err, forstfs.ErrClosed) {
							t.Errorf("beside Close: %v", err)
						}
						return
					}
				}
			})
		}
		r, err := v.Open(ctx, "old.sst", &forstfs.OpenOptions{Access: forstfs.AccessSequential})
		must(t, err)
		wg.Go(func() {
			if _, err := io.ReadAll(r); err != nil && !errors.Is(err, forstfs.ErrClosed) && !errors.Is(err, fs.ErrClosed) {
				t.Errorf("reading beside Close: %v", err)
			}
		})
		if round%2 == 0 {
			time.Sleep(time.Duration(round) * 50 * time.Microsecond) // any moment will do
		}
		must(t, v.Close())
		wg.Wait()
		for _, f := range files {
			if _, err := f.Write(content(200_000, 1)); !errors.Is(err, forstfs.ErrClosed) {
				t.Errorf("Write after Close: %v", err)
			}
			_ = f.Sync()
			if err := f.Close(); err != nil && !errors.Is(err, forstfs.ErrClosed) {
				t.Errorf("File.Close after Close: %v", err)
			}
		}
		_ = r.Close()
		if len(w.late) > 0 {
			t.Fatalf("round %d: requests after Close: %q", round, w.late)
		}
	}
}

// An upload that Close interrupts ends with ErrClosed.
func TestCloseInterruptsUploads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, s := faulty(t, bucket(), nil, nil)
		s.Add(fault.Rule{Ops: []fault.Op{fault.Put}, Prefix: "data/", Do: fault.Hang()})
		f := create(t, v, "x.sst", content(3000, 1))
		done := make(chan error)
		go func() { done <- f.Close() }()
		synctest.Wait()
		must(t, v.Close())
		if err := <-done; !errors.Is(err, forstfs.ErrClosed) || errors.Is(err, context.Canceled) {
			t.Errorf("Close of a file beside Close of its volume: %v, want ErrClosed", err)
		}
	})
}

// A writer that knows that it was fenced sends nothing any more; an unlinked file is not stored either.
func TestNothingIsUploadedForNobody(t *testing.T) {
	b := bucket()
	tr := &fault.Trace{}
	v, _ := faulty(t, b, &fault.Options{Trace: tr}, nil)
	for _, name := range []string{"x.sst", "x.log"} {
		f := create(t, v, name, content(12_000, 1))
		must(t, v.Remove(ctx, name))
		must(t, f.Sync())
		must(t, f.Close())
	}
	must(t, v.Sync(ctx))
	if n := tr.Count(fault.Put, "data/"); n != 0 {
		t.Errorf("%d objects were made of files without a name", n)
	}
	f := create(t, v, "y.sst", content(12_000, 1))
	g := create(t, v, "y.log", content(12_000, 1))
	w := mount(t, b, nil)
	defer w.Close()
	if err := v.Sync(ctx); !errors.Is(err, forstfs.ErrFenced) {
		t.Fatalf("Sync of a fenced writer: %v", err)
	}
	before := tr.Count("", "")
	for _, f := range []*forstfs.File{f, g} {
		if err := f.Sync(); !errors.Is(err, forstfs.ErrFenced) {
			t.Errorf("Sync of a fenced writer: %v", err)
		}
		if err := f.Close(); !errors.Is(err, forstfs.ErrFenced) {
			t.Errorf("Close of a fenced writer: %v", err)
		}
	}
	for _, name := range []string{"y.sst", "y.log"} { // its bytes are lost, which must not look like their end
		r, err := v.Open(ctx, name, nil)
		must(t, err)
		p := make([]byte, 100)
		if n, err := r.ReadAt(p, 11_000); n > 0 && err == nil {
			if !bytes.Equal(p, content(12_000, 1)[11_000:11_100]) {
				t.Errorf("%s: wrong bytes", name)
			}
		} else if !errors.Is(err, forstfs.ErrFenced) {
			t.Errorf("reading %s on: %d, %v", name, n, err)
		}
		must(t, r.Close())
	}
	if err := v.Close(); !errors.Is(err, forstfs.ErrFenced) {
		t.Errorf("Close of a fenced volume: %v", err)
	}
	if n := tr.Count("", "") - before; n != 0 {
		t.Errorf("a fenced writer made %d requests:\n%v", n, tr)
	}
	if m := v.Metrics().UploadMemory; m != 0 {
		t.Errorf("%d bytes of memory are still charged after Close", m)
	}
}

// A listener may use the volume: none is called while a lock is held.
func TestListenersMayUseTheVolume(t *testing.T) {
	o := small()
	var v *forstfs.FS
	var once sync.Once
	images := 0
	o.Listener = &forstfs.EventListener{
		Image: func(uint64, int64) {
			images++
			once.Do(func() { must(t, v.Checkpoint(ctx)) })
		},
		Deleted: func(int) {
			if err := v.Sync(ctx); err != nil && !errors.Is(err, forstfs.ErrClosed) { // Close deletes, too
				t.Error(err)
			}
		},
	}
	v = mount(t, bucket(), o)
	write(t, v, "x.sst", content(10_000, 1), true)
	must(t, v.Checkpoint(ctx))
	if images != 1 {
		t.Errorf("%d images told of: the second Checkpoint had nothing to write", images)
	}
	must(t, v.Remove(ctx, "x.sst"))
	must(t, v.Close())
}
