package forstfs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"strconv"
	"strings"
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

// The stress test: writers that own their files, readers that know of every file what must be in it, because its name tells (see pattern), and
// checkpoints, sweeps, refreshes of a reader and crashes beside them, over a store that is slow, loses replies and repeats requests. All in
// virtual time.

// pattern fills p with what a file of this number holds at off.
func pattern(p []byte, number uint64, off int64) {
	for i := range p {
		x := (number*0x9e3779b97f4a7c15 + uint64(off+int64(i))) * 0xbf58476d1ce4e5b9
		p[i] = byte(x >> 56)
	}
}

func patternOf(number uint64, n int) []byte {
	p := make([]byte, n)
	pattern(p, number, 0)
	return p
}

// numberOf gives the number in a name like "w3/000123-7.sst".
func numberOf(name string) (n uint64, ok bool) {
	base, _, _ := strings.Cut(path.Base(name), "-")
	n, err := strconv.ParseUint(base, 10, 64)
	return n, err == nil
}

// stress is one run.
type stress struct {
	t    *testing.T
	seed uint64
	b    *mem.Bucket
	v    *forstfs.FS
	next atomic.Uint64 // of files

	mu       sync.Mutex
	promised map[uint64]int64 // number of a file that was synced and not removed since, and how many of its bytes
}

func (s *stress) fail(format string, args ...any) {
	s.t.Errorf("seed %d: %s", s.seed, fmt.Sprintf(format, args...))
}

func (s *stress) check(what string, err error) bool {
	if err != nil {
		s.fail("%s: %v", what, err)
	}
	return err == nil
}

func (s *stress) promise(number uint64, n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.promised[number] = max(s.promised[number], n)
}

func (s *stress) release(number uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.promised, number)
}

// owned is a file of a worker.
type owned struct {
	number uint64
	names  []string
	size   int64
	w      *forstfs.File // open for writing, or nil
	synced int64
}

// worker does n random things to files of its own.
func (s *stress) worker(id, n int) {
	r := rand.New(rand.NewPCG(s.seed, uint64(id)))
	dir := fmt.Sprintf("/w%d", id)
	s.check("mkdir", s.v.MkdirAll(ctx, dir))
	var files []*owned
	pick := func() *owned {
		if len(files) == 0 {
			return nil
		}
		return files[r.IntN(len(files))]
	}
	fresh := func(f *owned) string {
		return fmt.Sprintf("%s/%06d-%d%s", dir, f.number, r.Uint32(), []string{".sst", ".log", ""}[f.number%3])
	}
	for range n {
		f := pick()
		switch k := r.IntN(20); {
		case f == nil || k < 3:
			f = &owned{number: s.next.Add(1)}
			f.names = []string{fresh(f)}
			w, err := s.v.Create(ctx, f.names[0], nil)
			if !s.check("create", err) {
				return
			}
			f.w = w
			files = append(files, f)
		case k < 9:
			if f.w == nil {
				continue
			}
			p := make([]byte, r.IntN(1<<r.IntN(17)))
			pattern(p, f.number, f.size)
			if _, err := f.w.Write(p); !s.check("write", err) {
				return
			}
			f.size += int64(len(p))
		case k < 12:
			if f.w == nil || len(f.names) == 0 {
				continue
			}
			if !s.check("sync", f.w.Sync()) {
				return
			}
			f.synced = f.size
			s.promise(f.number, f.size)
		case k < 13:
			if f.w != nil {
				if !s.check("close", f.w.Close()) {
					return
				}
				f.w = nil
			}
		case k < 14:
			i := r.IntN(len(f.names))
			to := fresh(f)
			if !s.check("rename", s.v.Rename(ctx, f.names[i], to)) {
				return
			}
			f.names[i] = to
		case k < 15:
			to := fresh(f)
			if !s.check("link", s.v.Link(ctx, f.names[0], to)) {
				return
			}
			f.names = append(f.names, to)
		case k < 16:
			i := r.IntN(len(f.names))
			if len(f.names) == 1 {
				s.release(f.number)
			}
			var h *forstfs.File
			var err error
			if r.IntN(2) == 0 { // read it beyond its end
				h, err = s.v.Open(ctx, f.names[i], nil)
				s.check("open", err)
			}
			if r.IntN(2) == 0 {
				err = s.v.Remove(ctx, f.names[i])
			} else {
				err = s.v.RemoveAll(ctx, f.names[i])
			}
			if !s.check("remove", err) {
				return
			}
			f.names = append(f.names[:i:i], f.names[i+1:]...)
			if h != nil {
				s.handle(r, h, f.number, f.size)
				s.check("close", h.Close())
			}
			if len(f.names) > 0 {
				continue
			}
			if f.w != nil {
				p := make([]byte, 3000)
				pattern(p, f.number, f.size)
				_, err := f.w.Write(p)
				s.check("write to an unlinked file", err)
				s.check("sync of an unlinked file", f.w.Sync())
				s.handle(r, f.w, f.number, f.size+3000)
				s.check("close", f.w.Close())
			}
			for j := range files {
				if files[j] == f {
					files = append(files[:j], files[j+1:]...)
					break
				}
			}
		case k < 17:
			if !s.check("FS.Sync", s.v.Sync(ctx)) {
				return
			}
		default:
			if len(f.names) == 0 {
				continue
			}
			h, err := s.v.Open(ctx, f.names[0], &forstfs.OpenOptions{Access: forstfs.Access(r.IntN(3))})
			if !s.check("open", err) {
				return
			}
			s.handle(r, h, f.number, f.size)
			s.check("close", h.Close())
		}
	}
	for _, f := range files {
		if f.w != nil {
			if !s.check("close", f.w.Close()) {
				return
			}
		}
	}
	s.check("sync", s.v.Sync(ctx))
	for _, f := range files {
		s.promise(f.number, f.size)
	}
}

// handle reads an open file of this number and size, whole or in part, and compares.
func (s *stress) handle(r *rand.Rand, h *forstfs.File, number uint64, size int64) {
	info, err := h.Stat()
	if s.check("stat", err) && info.Size() != size {
		s.fail("%s has %d bytes, want %d", h.Name(), info.Size(), size)
	}
	if r.IntN(2) == 0 {
		got, err := io.ReadAll(io.NewSectionReader(h, 0, size+10))
		if s.check("read", err) && !bytes.Equal(got, patternOf(number, int(size))) {
			s.fail("%s: wrong bytes (%d of %d)", h.Name(), len(got), size)
		}
		return
	}
	for range 4 {
		off := r.Int64N(size + 1)
		p := make([]byte, r.Int64N(size+20))
		want := make([]byte, min(int64(len(p)), size-off))
		pattern(want, number, off)
		n, err := h.ReadAt(p, off)
		if n != len(want) || err != nil && (err != io.EOF || n == len(p)) || n < len(p) && err == nil {
			s.fail("%s: ReadAt(%d, %d) of %d bytes: %d, %v", h.Name(), len(p), off, size, n, err)
		} else if !bytes.Equal(p[:n], want) {
			s.fail("%s: wrong bytes at %d+%d of %d", h.Name(), off, n, size)
		}
	}
}

// tree reads every file of a volume and demands that each holds the beginning of what it must, and gives the sizes.
func (s *stress) tree(v *forstfs.FS, stale bool) map[uint64]int64 {
	sizes := map[uint64]int64{}
	var names []string
	err := v.Walk(ctx, func(p string, i forstfs.FileInfo) error {
		if !i.IsDir() {
			names = append(names, p)
		}
		return nil
	})
	s.check("walk", err)
	for _, name := range names {
		number, ok := numberOf(name)
		if !ok {
			s.fail("a name that nobody has given: %q", name)
			continue
		}
		h, err := v.Open(ctx, name, nil)
		if errors.Is(err, fs.ErrNotExist) && stale {
			continue // a refresh has come between
		}
		if !s.check("open", err) {
			continue
		}
		info, err := h.Stat()
		s.check("stat", err)
		got, err := io.ReadAll(h)
		switch {
		case stale && errors.Is(err, forstfs.ErrStale):
		case err != nil:
			s.fail("read of %s: %v", name, err)
		case !bytes.Equal(got, patternOf(number, len(got))) || !stale && int64(len(got)) != info.Size():
			s.fail("%s holds %d wrong bytes of %d", name, len(got), info.Size())
		default:
			sizes[number] = max(sizes[number], int64(len(got)))
		}
		s.check("close", h.Close())
	}
	return sizes
}

// crash opens what a crash now would leave, and demands every promise of it.
func (s *stress) crash(seed uint64) {
	s.mu.Lock()
	promised := maps.Clone(s.promised)
	clone := s.b.CrashClone(seed)
	s.mu.Unlock()
	st, err := clone.Open("vol")
	if !s.check("crash clone", err) {
		return
	}
	v, err := forstfs.Open(ctx, st, small())
	if !s.check("open after a crash", err) {
		return
	}
	sizes := s.tree(v, false)
	for number, n := range promised {
		if got, ok := sizes[number]; !ok || got < n {
			s.fail("crash %d: file %d has %d bytes (there: %v), %d were synced", seed, number, got, ok, n)
		}
	}
	s.check("close", v.Close())
}

func (s *stress) run(workers, steps int) {
	s.b = bucket()
	s.promised = map[uint64]int64{}
	s.check("create", mount(s.t, s.b, nil).Close())
	o := small()
	o.FlushDelay = []time.Duration{-1, 10 * time.Millisecond, time.Second}[s.seed%3]
	o.RetryBudget = time.Hour
	o.MaxInflight = 1 + int(s.seed%4)
	o.FrameLimit = 1 << (10 + s.seed%6)
	o.CacheBytes = []int64{-1, 256 << 10, 4 << 20}[s.seed/3%3]
	o.ImageFrames = []int{1000, 30}[s.seed%2]
	ms := time.Millisecond
	st := fault.New(store(s.t, s.b), &fault.Options{Seed: s.seed, Latency: fault.FixedLatency(20*ms, 10*ms, 50e6), Rules: []fault.Rule{
		{Prob: 0.03, Do: fault.Fail(nil)},
		{Ops: []fault.Op{fault.Put, fault.Delete}, Prob: 0.03, Do: fault.LostReply(nil)},
		{Ops: []fault.Op{fault.Put, fault.Delete}, Prob: 0.03, Do: fault.Twice(300 * ms)},
		{Ops: []fault.Op{fault.Put, fault.Delete}, Prob: 0.03, Do: fault.Late(nil, 200*ms)},
		{Ops: []fault.Op{fault.Get}, Prob: 0.03, Do: fault.ShortRead(100, nil)},
		{Prob: 0.1, Do: fault.Delay(70 * ms)},
	}})
	v, err := forstfs.Open(ctx, retrying{st}, o)
	if !s.check("open", err) {
		return
	}
	s.v = v
	stop, cancel := context.WithCancel(ctx)
	var work, beside sync.WaitGroup
	every := func(d time.Duration, do func(n uint64)) {
		beside.Go(func() {
			for n := uint64(1); ; n++ {
				select {
				case <-stop.Done():
					return
				case <-time.After(d):
					do(n)
				}
			}
		})
	}
	for i := range workers {
		work.Go(func() { s.worker(i, steps) })
	}
	every(300*ms, func(uint64) { s.check("checkpoint", v.Checkpoint(ctx)) })
	every(700*ms, func(uint64) { _, err := v.Sweep(ctx); s.check("sweep", err) })
	every(500*ms, func(n uint64) { s.crash(s.seed<<8 + n) })
	every(200*ms, func(uint64) { _ = v.Metrics().String() })
	ro, err := forstfs.OpenReadOnly(ctx, store(s.t, s.b), small())
	if s.check("open read-only", err) {
		every(100*ms, func(uint64) { _, err := ro.Refresh(ctx); s.check("refresh", err) })
		every(150*ms, func(uint64) { s.tree(ro, true) })
	}
	work.Wait()
	cancel()
	beside.Wait()
	if ro != nil {
		_, err := ro.Refresh(ctx)
		s.check("refresh", err)
		s.tree(ro, false)
		s.check("close", ro.Close())
	}
	s.tree(v, false)
	m := v.Metrics()
	for i := 0; i < 1000 && m.UploadMemory != 0; i++ { // a pack is perhaps on its way
		time.Sleep(100 * ms)
		m = v.Metrics()
	}
	if m.UploadMemory != 0 || m.AheadMemory != 0 {
		s.fail("all files are closed, and %d bytes to upload and %d read ahead are still charged", m.UploadMemory, m.AheadMemory)
	}
	s.check("close", v.Close())
	s.crash(s.seed)
	s.leftovers()
}

// leftovers demands that a takeover, its sweep and a close leave no data object that no file needs.
func (s *stress) leftovers() {
	v := mount(s.t, s.b, nil)
	_, err := v.Sweep(ctx)
	s.check("sweep", err)
	used := v.Metrics().Namespace
	s.check("removeall", v.RemoveAll(ctx, "/w0"))
	s.check("removeall", v.RemoveAll(ctx, "/w1"))
	s.check("removeall", v.RemoveAll(ctx, "/w2"))
	s.check("close", v.Close())
	if n := objects(s.t, s.b, "vol/data/"); n != 0 {
		s.fail("%d data objects are left of an empty volume (there were %+v)", n, used)
	}
}

// retrying repeats failed reads, lists and deletes, as every driver does; a fault store on top of mem does not.
type retrying struct{ driver.Store }

func (r retrying) Get(ctx context.Context, key string, off, n int64) (rc io.ReadCloser, err error) {
	for range 20 {
		if rc, err = r.Store.Get(ctx, key, off, n); err == nil {
			var b []byte
			b, err = io.ReadAll(rc)
			_ = rc.Close()
			rc = io.NopCloser(bytes.NewReader(b))
		}
		if driver.KindOf(err) != driver.KindTransient {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	return rc, nil
}

func (r retrying) Delete(ctx context.Context, keys []string) (err error) {
	for range 20 {
		if err = r.Store.Delete(ctx, keys); driver.KindOf(err) != driver.KindTransient {
			return err
		}
	}
	return err
}

func (r retrying) List(ctx context.Context, prefix, after string) seq {
	return func(yield func(driver.Info, error) bool) {
		for try := 0; ; try++ {
			all, err := driver.ListAll(ctx, r.Store, prefix, after)
			if err != nil && try < 20 && driver.KindOf(err) == driver.KindTransient {
				continue
			}
			for _, i := range all {
				if !yield(i, nil) {
					return
				}
			}
			if err != nil {
				yield(driver.Info{}, err)
			}
			return
		}
	}
}

type seq = iter.Seq2[driver.Info, error]

func TestStress(t *testing.T) {
	first, rounds, steps := uint64(1), 12, 250
	if os.Getenv("FORST_NIGHTLY") != "" {
		rounds, steps = 500, 600
	}
	if s := os.Getenv("FORST_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		must(t, err)
		first, rounds = n, 1
	}
	if testing.Short() {
		rounds = min(rounds, 4)
	}
	for seed := first; seed < first+uint64(rounds); seed++ {
		synctest.Test(t, func(t *testing.T) { (&stress{t: t, seed: seed}).run(3, steps) })
		if t.Failed() {
			t.Fatalf("repeat with FORST_SEED=%d", seed)
		}
	}
}
