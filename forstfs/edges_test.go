package forstfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/fault"
	"github.com/forst-go/forst/internal/journal"
)

func TestHugeDirectory(t *testing.T) {
	n := 100_000
	if testing.Short() {
		n = 10_000
	}
	b := bucket()
	v := mount(t, b, &forstfs.Options{Create: forstfs.CreateIfMissing, SkipProbe: true})
	must(t, v.MkdirAll(ctx, "/d"))
	for i := range n {
		f, err := v.Create(ctx, fmt.Sprintf("/d/%07d", i), nil)
		must(t, err)
		must(t, f.Close())
	}
	must(t, v.Checkpoint(ctx))
	for i := range n / 10 {
		must(t, v.Rename(ctx, fmt.Sprintf("/d/%07d", i), fmt.Sprintf("/d/x%07d", i)))
	}
	must(t, v.Sync(ctx))
	for range 2 {
		names, err := v.List(ctx, "/d")
		must(t, err)
		infos, err := v.ReadDir(ctx, "/d")
		must(t, err)
		if len(names) != n || len(infos) != n || !slices.IsSorted(names) || names[n-1] != fmt.Sprintf("x%07d", n/10-1) {
			t.Fatalf("%d names, want %d; the last is %s", len(names), n, names[len(names)-1])
		}
		must(t, v.Close())
		v = mount(t, b, nil)
	}
	must(t, v.RemoveAll(ctx, "/d"))
	must(t, v.Close())
	v = mount(t, b, nil)
	if names, err := v.List(ctx, "/"); err != nil || len(names) != 0 {
		t.Fatalf("%v, %v", names, err)
	}
	must(t, v.Close())
}

func TestOddNames(t *testing.T) {
	var names []string
	for c := 1; c < 256; c++ {
		if c != '/' && c != '.' {
			names = append(names, string([]byte{byte(c)}), string([]byte{'a', byte(c), 'z'}))
		}
	}
	names = append(names, "...", "..a", " ", "a b", "\xff\xfe", "é", "\u202e", "-rf", "%2F", "a\\b", "CON", strings.Repeat("n", 255), strings.Repeat("m", 4000), "volume", "journal", "data")
	slices.Sort(names)
	names = slices.Compact(names)
	b := bucket()
	v := mount(t, b, nil)
	must(t, v.MkdirAll(ctx, "/odd"))
	for i, n := range names {
		write(t, v, "/odd/"+n, []byte(fmt.Sprint(i)), false)
	}
	for round := range 3 {
		got, err := v.List(ctx, "/odd")
		must(t, err)
		if !slices.Equal(got, names) {
			t.Fatalf("round %d: %q, want %q", round, got, names)
		}
		for i, n := range names {
			same(t, v, "/odd/"+n, []byte(fmt.Sprint(i)))
		}
		if round == 1 {
			must(t, v.Checkpoint(ctx))
		}
		must(t, v.Close())
		v = mount(t, b, nil)
	}
	for _, bad := range []string{"/odd/\x00", "..", "/../x", "/" + strings.Repeat("x", 5000)} {
		_, err := v.Create(ctx, bad, nil)
		if !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("Create(%.20q): %v", bad, err)
		}
		if _, err := v.Stat(ctx, bad); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Stat(%.20q): %v", bad, err)
		}
	}
	must(t, v.Close())
}

func TestNothingAtAll(t *testing.T) {
	for _, name := range []string{"x.sst", "x.log"} {
		b := bucket()
		tr := &fault.Trace{}
		v, _ := faulty(t, b, &fault.Options{Trace: tr}, nil)
		must(t, v.Checkpoint(ctx)) // of an empty volume
		f, err := v.Create(ctx, name, nil)
		must(t, err)
		for range 2 {
			n, err := f.Write(nil)
			if n != 0 || err != nil {
				t.Errorf("Write(nil): %d, %v", n, err)
			}
			must(t, f.SyncHint())
			must(t, f.Sync())
		}
		if n, err := f.ReadAt(nil, 0); n != 0 || err != nil {
			t.Errorf("ReadAt(nil, 0): %d, %v", n, err)
		}
		if n, err := f.ReadAt(make([]byte, 1), 0); n != 0 || err != io.EOF {
			t.Errorf("ReadAt of an empty file: %d, %v", n, err)
		}
		if n, err := f.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("Read of an empty file: %d, %v", n, err)
		}
		must(t, v.Rename(ctx, name, name+"1"))
		must(t, v.Link(ctx, name+"1", name+"2"))
		must(t, f.Close())
		must(t, v.Checkpoint(ctx))
		must(t, v.Close())
		if n := tr.Count(fault.Put, "data/"); n != 0 {
			t.Errorf("%d objects for no bytes", n)
		}
		v = mount(t, b, nil)
		same(t, v, name+"1", nil)
		same(t, v, name+"2", nil)
		must(t, v.Close())
	}
}

// The smallest settings still store and give back everything, however many files are half-written at a time.
func TestTinySettings(t *testing.T) {
	for _, o := range []forstfs.Options{
		{MaxInflight: 1, ObjectSize: 4096},
		{MaxInflight: 1, ObjectSize: 4096, FrameLimit: 7, CacheBytes: -1},
		{MaxInflight: 1, ObjectSize: 4096, FrameLimit: 100, ImageFrames: 1},
		{MaxInflight: 1, ObjectSize: 1 << 20, FrameLimit: 100, ImageBytes: 1},
		{MaxInflight: 2, ObjectSize: 64 << 10, FrameLimit: 1 << 30, FlushDelay: time.Nanosecond},
	} {
		o.Create = forstfs.CreateIfMissing
		b := bucket()
		v := mount(t, b, &o)
		const files, size = 40, 3000
		var open []*forstfs.File
		for i := range files {
			f, err := v.Create(ctx, fmt.Sprintf("/%d%s", i, []string{".sst", ".log"}[i%2]), nil)
			must(t, err)
			open = append(open, f)
		}
		for at := 0; at < size; {
			k := 1 + at%777
			k = min(k, size-at)
			for i, f := range open {
				p := make([]byte, k)
				pattern(p, uint64(i), int64(at))
				_, err := f.Write(p)
				must(t, err)
			}
			at += k
		}
		for _, f := range open {
			must(t, f.Close())
		}
		must(t, v.Close())
		v = mount(t, b, nil)
		for i, f := range open {
			same(t, v, f.Name(), patternOf(uint64(i), size))
		}
		must(t, v.Close())
	}
}

// A journal that is slow slows down those who fill it: what waits for it is bounded.
func TestTheQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		s := &spy{Store: store(t, bucket())}
		o := small()
		o.FrameLimit = 256 << 10
		v, err := forstfs.Open(ctx, s, o)
		must(t, err)
		s.put = func(key string, _ []byte) error {
			if strings.HasPrefix(key, journal.JournalPrefix) {
				<-gate
			}
			return nil
		}
		const size, files = 100 << 10, 1000
		var closed atomic.Int64
		done := make(chan error, 1)
		data := content(size, 1)
		go func() {
			for i := range files {
				f, err := v.Create(ctx, fmt.Sprint(i), nil)
				if err == nil {
					_, err = f.Write(data)
				}
				if err == nil {
					err = f.Close()
				}
				if err != nil {
					done <- err
					return
				}
				closed.Add(1)
			}
			done <- nil
		}()
		synctest.Wait()
		if n := closed.Load(); n*size > 20<<20 {
			t.Errorf("%d MiB were taken while no frame could be stored", n*size>>20)
		}
		close(gate)
		must(t, <-done)
		must(t, v.Close())
	})
}

// Reading on behind the end of a file that grows, whatever holds its bytes at the moment and however it is read.
func TestReadingAFileThatGrows(t *testing.T) {
	for _, name := range []string{"x.sst", "x.log"} {
		for _, access := range []forstfs.Access{forstfs.AccessDefault, forstfs.AccessRandom, forstfs.AccessSequential} {
			for _, follow := range []bool{false, true} {
				b := bucket()
				o := small()
				o.CacheBytes = 256 << 10
				v := mount(t, b, o)
				w, err := v.Create(ctx, name, nil)
				must(t, err)
				must(t, v.Sync(ctx))
				r := v
				if follow {
					r, err = forstfs.OpenReadOnly(ctx, store(t, b), o)
					must(t, err)
				}
				h, err := r.Open(ctx, name, &forstfs.OpenOptions{Access: access})
				must(t, err)
				rng := rand.New(rand.NewPCG(uint64(access), 1))
				var wrote, got int64
				p := make([]byte, 9000)
				for i := range 120 {
					q := make([]byte, rng.IntN(8000))
					pattern(q, 5, wrote)
					_, err := w.Write(q)
					must(t, err)
					wrote += int64(len(q))
					if i%3 == 0 || follow {
						must(t, w.Sync())
					}
					if i%17 == 16 {
						must(t, v.Checkpoint(ctx))
					}
					if follow {
						_, err := r.Refresh(ctx)
						must(t, err)
					}
					for {
						k := 1 + rng.IntN(len(p))
						n, err := h.Read(p[:k])
						want := make([]byte, n)
						pattern(want, 5, got)
						if !bytes.Equal(p[:n], want) {
							t.Fatalf("%s, access %d, follow %v: wrong bytes at %d+%d of %d", name, access, follow, got, n, wrote)
						}
						got += int64(n)
						if err == io.EOF {
							break
						}
						must(t, err)
					}
					if got != wrote {
						t.Fatalf("%s, access %d, follow %v: at %d of %d the file ends", name, access, follow, got, wrote)
					}
				}
				must(t, h.Close())
				if follow {
					must(t, r.Close())
				}
				must(t, w.Close())
				must(t, v.Close())
			}
		}
	}
}

// What could not be stored is an error to read, too, and what was stored, or is in memory still, is not.
func TestReadingWhatCouldNotBeStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := small()
		o.RetryBudget = time.Second
		v, s := faulty(t, bucket(), nil, o)
		f, err := v.Create(ctx, "x.sst", nil)
		must(t, err)
		part := func(n int) {
			p := make([]byte, n)
			info, err := f.Stat()
			must(t, err)
			pattern(p, 1, info.Size())
			_, err = f.Write(p)
			must(t, err)
		}
		part(64 << 10) // several objects
		must(t, f.Sync())
		heal := s.Add(fault.Rule{Ops: []fault.Op{fault.Put}, Prefix: "data/", Do: fault.Fail(&driver.Error{Kind: driver.KindInvalid, Err: errors.New("too large")})})
		p := make([]byte, 16<<10)
		pattern(p, 1, 64<<10)
		_, err = f.Write(p) // fills an object
		must(t, err)
		synctest.Wait()
		heal()
		if _, err := f.Write(p); err == nil {
			t.Error("Write after an upload has failed succeeds")
		}
		got := make([]byte, 64<<10)
		_, err = f.ReadAt(got, 0)
		must(t, err)
		if !bytes.Equal(got, patternOf(1, len(got))) {
			t.Error("wrong bytes")
		}
		for _, off := range []int64{60 << 10, 64 << 10, 70 << 10} {
			n, err := f.ReadAt(make([]byte, 9000), off)
			if n != 0 || err == nil || err == io.EOF || errors.Is(err, fs.ErrNotExist) {
				t.Errorf("reading at %d what could not be stored: %d, %v", off, n, err)
			}
		}
		if err := f.Sync(); err == nil {
			t.Error("Sync succeeds")
		}
		if err := f.Close(); err == nil {
			t.Error("Close succeeds")
		}
		must(t, v.Remove(ctx, "x.sst"))
		must(t, v.Close()) // the volume itself is well
		if m := v.Metrics().UploadMemory; m != 0 {
			t.Errorf("%d bytes are still charged", m)
		}
	})
}

// A reader of a volume whose writer packs, trims and removes under it: what it knew is stale until it refreshes, and right after it; nothing is
// ever missing or wrong.
func TestReadOnlyUnderABusyWriter(t *testing.T) {
	b := bucket()
	v := mount(t, b, nil)
	data := patternOf(3, 20_000)
	f := create(t, v, "/inline.log", data[:9000])
	must(t, f.Sync())
	write(t, v, "/gone.sst", data, true)
	o := small()
	o.CacheBytes = -1
	r, err := forstfs.OpenReadOnly(ctx, store(t, b), o)
	must(t, err)
	inline, err := r.Open(ctx, "/inline.log", nil)
	must(t, err)
	gone, err := r.Open(ctx, "/gone.sst", nil)
	must(t, err)
	check := func(h *forstfs.File, want []byte, stale bool) {
		t.Helper()
		got, err := io.ReadAll(io.NewSectionReader(h, 0, 1<<20))
		switch {
		case stale && err == nil && bytes.Equal(got, want): // it had kept the bytes
		case stale && !errors.Is(err, forstfs.ErrStale):
			t.Errorf("%s: %d bytes, %v; want ErrStale", h.Name(), len(got), err)
		case !stale && (err != nil || !bytes.Equal(got, want)):
			t.Errorf("%s: %d bytes, %v", h.Name(), len(got), err)
		}
	}
	check(inline, data[:9000], false)
	check(gone, data, false)
	must(t, v.Remove(ctx, "/gone.sst"))
	_, err = f.Write(data[9000:])
	must(t, err)
	must(t, f.Sync())
	for i := range 3 { // trims the frame
		write(t, v, fmt.Sprint("/", i), nil, true)
		must(t, v.Checkpoint(ctx))
	}
	must(t, f.Close())
	must(t, v.Close()) // its deletions are done
	check(inline, data[:9000], true)
	check(gone, nil, true)
	if _, err := r.Stat(ctx, "/gone.sst"); err != nil {
		t.Errorf("before the refresh the reader has forgotten a name: %v", err)
	}
	changed, err := r.Refresh(ctx)
	if !changed || err != nil {
		t.Fatalf("%v, %v", changed, err)
	}
	check(inline, data, false)
	check(gone, nil, true)
	if _, err := r.Open(ctx, "/gone.sst", nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	must(t, inline.Close())
	must(t, gone.Close())
	if n, p, d := r.Retained(); n+p+d != 0 {
		t.Errorf("the reader holds %d files, %d pins, %d deferred", n, p, d)
	}
	must(t, r.Close())
}
