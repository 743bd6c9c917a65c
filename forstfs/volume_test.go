package forstfs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/mem"
)

var ctx = context.Background()

func bucket() *mem.Bucket { return mem.NewBucket(nil) }

func store(t testing.TB, b *mem.Bucket) driver.Store {
	t.Helper()
	s, err := b.Open("vol")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// small are options that reach every path with few bytes.
func small() *forstfs.Options {
	return &forstfs.Options{
		Create: forstfs.CreateIfMissing, ObjectSize: 64 << 10, MaxInflight: 4, FrameLimit: 16 << 10, FlushDelay: -1,
		CacheBytes: 1 << 20, RetryBudget: 5 * time.Second,
	}
}

func mount(t testing.TB, b *mem.Bucket, o *forstfs.Options) *forstfs.FS {
	t.Helper()
	if o == nil {
		o = small()
	}
	v, err := forstfs.Open(ctx, store(t, b), o)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func content(n int, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func write(t testing.TB, v *forstfs.FS, name string, data []byte, sync bool) {
	t.Helper()
	f, err := v.Create(ctx, name, nil)
	must(t, err)
	for p := data; len(p) > 0; {
		k := min(len(p), 5000)
		_, err := f.Write(p[:k])
		must(t, err)
		p = p[k:]
	}
	if sync {
		must(t, f.Sync())
	}
	must(t, f.Close())
}

func read(t testing.TB, v *forstfs.FS, name string) []byte {
	t.Helper()
	f, err := v.Open(ctx, name, nil)
	must(t, err)
	defer f.Close()
	b, err := io.ReadAll(f)
	must(t, err)
	return b
}

func same(t testing.TB, v *forstfs.FS, name string, want []byte) {
	t.Helper()
	if got := read(t, v, name); !bytes.Equal(got, want) {
		t.Fatalf("%s: %d bytes, want %d, and they differ", name, len(got), len(want))
	}
	f, err := v.Open(ctx, name, &forstfs.OpenOptions{Access: forstfs.AccessRandom})
	must(t, err)
	defer f.Close()
	r := rand.New(rand.NewPCG(7, 7))
	for range 20 {
		if len(want) == 0 {
			break
		}
		off := r.IntN(len(want))
		p := make([]byte, r.IntN(len(want)-off)+1)
		if n, err := f.ReadAt(p, int64(off)); n != len(p) || err != nil {
			t.Fatalf("%s: ReadAt(%d, %d) = %d, %v", name, len(p), off, n, err)
		}
		if !bytes.Equal(p, want[off:off+len(p)]) {
			t.Fatalf("%s: wrong bytes at %d", name, off)
		}
	}
}

func TestReopen(t *testing.T) {
	sizes := map[string]int{"empty": 0, "one": 1, "small.log": 3000, "frame.log": 16 << 10, "spill.log": 100_000, "a.sst": 1000, "b.sst": 64 << 10, "c.sst": 300_000}
	for _, how := range []string{"crash", "close", "checkpoint", "checkpoint twice"} {
		t.Run(how, func(t *testing.T) {
			b := bucket()
			v := mount(t, b, nil)
			must(t, v.MkdirAll(ctx, "/db/sub"))
			for name, n := range sizes {
				write(t, v, "/db/"+name, content(n, uint64(n)), false)
			}
			must(t, v.Sync(ctx))
			for name, n := range sizes {
				same(t, v, "/db/"+name, content(n, uint64(n)))
			}
			if strings.HasPrefix(how, "checkpoint") {
				must(t, v.Checkpoint(ctx))
			}
			if how == "checkpoint twice" {
				write(t, v, "/db/late", content(77, 77), true)
				must(t, v.Checkpoint(ctx))
				write(t, v, "/db/later", content(78, 78), true)
			}
			if how == "crash" {
				defer v.Close()
			} else {
				for name, n := range sizes {
					same(t, v, "/db/"+name, content(n, uint64(n)))
				}
				must(t, v.Close())
			}
			w := mount(t, b, nil)
			defer w.Close()
			for name, n := range sizes {
				same(t, w, "/db/"+name, content(n, uint64(n)))
			}
			names, err := w.List(ctx, "/db")
			must(t, err)
			want := len(sizes) + 1
			if how == "checkpoint twice" {
				want += 2
				same(t, w, "/db/late", content(77, 77))
				same(t, w, "/db/later", content(78, 78))
			}
			if len(names) != want {
				t.Fatalf("names %v", names)
			}
		})
	}
}

func TestUnsyncedBytesAreReadable(t *testing.T) {
	for _, name := range []string{"x.log", "x.sst"} {
		v := mount(t, bucket(), nil)
		f, err := v.Create(ctx, name, nil)
		must(t, err)
		var want []byte
		for i := range 60 {
			p := content(4000, uint64(i))
			_, err := f.Write(p)
			must(t, err)
			want = append(want, p...)
			if i%7 == 0 {
				must(t, f.Sync())
			}
			if i%13 == 0 {
				must(t, f.SyncHint())
			}
			same(t, v, name, want)
			info, err := v.Stat(ctx, name)
			must(t, err)
			if info.Size() != int64(len(want)) {
				t.Fatalf("size %d, want %d", info.Size(), len(want))
			}
			p = make([]byte, 10)
			if n, err := f.ReadAt(p, int64(len(want)-4)); n != 4 || err != io.EOF {
				t.Fatalf("read past the end: %d, %v", n, err)
			}
			if n, err := f.ReadAt(p[:4], int64(len(want)-4)); n != 4 || err != nil {
				t.Fatalf("read that ends at the end: %d, %v", n, err)
			}
		}
		must(t, f.Close())
		same(t, v, name, want)
		must(t, v.Close())
	}
}

func TestOpenHandleOutlivesItsName(t *testing.T) {
	for _, name := range []string{"x.log", "x.sst"} {
		b := bucket()
		v := mount(t, b, nil)
		data := content(200_000, 1)
		write(t, v, name, data, true)
		f, err := v.Open(ctx, name, nil)
		must(t, err)
		must(t, v.Remove(ctx, name))
		must(t, v.Checkpoint(ctx))
		must(t, v.Checkpoint(ctx))
		if _, err := v.Stat(ctx, name); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("stat of a removed file: %v", err)
		}
		got, err := io.ReadAll(io.NewSectionReader(f, 0, int64(len(data))))
		must(t, err)
		if !bytes.Equal(got, data) {
			t.Fatal("the open handle reads other bytes")
		}
		must(t, f.Close())
		must(t, v.Close())
		if n := objects(t, b, "vol/data/"); n != 0 {
			t.Fatalf("%s: %d data objects are left of a removed file", name, n)
		}
	}
}

func objects(t testing.TB, b *mem.Bucket, prefix string) int {
	t.Helper()
	s, err := b.Open("")
	must(t, err)
	defer s.Close()
	all, err := driver.ListAll(ctx, s, prefix, "")
	must(t, err)
	return len(all)
}

func TestLaterOpenFencesTheEarlier(t *testing.T) {
	b := bucket()
	v := mount(t, b, nil)
	defer v.Close()
	write(t, v, "a", []byte("1"), true)
	w := mount(t, b, nil)
	defer w.Close()
	f, err := v.Create(ctx, "b", nil)
	must(t, err)
	if err := f.Sync(); !errors.Is(err, forstfs.ErrFenced) {
		t.Fatalf("sync of a fenced writer: %v", err)
	}
	if err := v.Sync(ctx); !errors.Is(err, forstfs.ErrFenced) {
		t.Fatalf("a fenced writer: %v", err)
	}
	if _, err := v.Create(ctx, "c", nil); !errors.Is(err, forstfs.ErrFenced) {
		t.Fatalf("create on a fenced volume: %v", err)
	}
	same(t, w, "a", []byte("1"))
	if _, err := w.Stat(ctx, "b"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("what the fenced writer did not get acknowledged: %v", err)
	}
}

func TestReadOnlyFollows(t *testing.T) {
	b := bucket()
	v := mount(t, b, nil)
	defer v.Close()
	write(t, v, "a", []byte("1"), true)
	r, err := forstfs.OpenReadOnly(ctx, store(t, b), nil)
	must(t, err)
	defer r.Close()
	same(t, r, "a", []byte("1"))
	if _, err := r.Create(ctx, "x", nil); !errors.Is(err, forstfs.ErrReadOnly) || !errors.Is(err, fs.ErrPermission) {
		t.Fatalf("create on a read-only volume: %v", err)
	}
	h, err := r.Open(ctx, "a", nil)
	must(t, err)
	defer h.Close()
	for i := range 30 {
		write(t, v, fmt.Sprintf("f%d.sst", i), content(1000*i, uint64(i)), true)
		if i%10 == 9 {
			must(t, v.Checkpoint(ctx))
		}
		if i == 15 {
			must(t, v.Remove(ctx, "a"))
			must(t, v.Sync(ctx))
		}
		changed, err := r.Refresh(ctx)
		must(t, err)
		if !changed {
			t.Fatal("the reader has not noticed")
		}
		same(t, r, fmt.Sprintf("f%d.sst", i), content(1000*i, uint64(i)))
	}
	must(t, v.Sync(ctx))
	if changed, err := r.Refresh(ctx); changed || err != nil {
		t.Fatalf("refresh without news: %v, %v", changed, err)
	}
	if _, err := r.Stat(ctx, "a"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
}

func TestIOFS(t *testing.T) {
	v := mount(t, bucket(), nil)
	defer v.Close()
	must(t, v.MkdirAll(ctx, "/db/deep/er"))
	write(t, v, "/db/a.sst", content(100_000, 3), false)
	write(t, v, "/db/deep/b", content(10, 3), false)
	write(t, v, "/top", nil, false)
	if err := fstest.TestFS(v.IOFS(ctx), "db/a.sst", "db/deep/b", "top", "db/deep/er"); err != nil {
		t.Fatal(err)
	}
}

func TestOpenErrors(t *testing.T) {
	b := bucket()
	must1 := func(err, want error) {
		t.Helper()
		if !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
	}
	_, err := forstfs.Open(ctx, store(t, b), nil)
	must1(err, forstfs.ErrNoVolume)
	_, err = forstfs.OpenReadOnly(ctx, store(t, b), nil)
	must1(err, forstfs.ErrNoVolume)
	if n := objects(t, b, ""); n != 0 {
		t.Fatalf("a failed open has made %d objects", n)
	}
	s := store(t, b)
	must(t, s.Put(ctx, "photo", []byte("x"), driver.PutOptions{}))
	for _, o := range []*forstfs.Options{nil, {Create: forstfs.CreateIfMissing}, {Create: forstfs.CreateNew}} {
		_, err = forstfs.Open(ctx, store(t, b), o)
		must1(err, forstfs.ErrForeign)
	}
	if n := objects(t, b, ""); n != 1 {
		t.Fatalf("a failed open has left %d objects", n)
	}
	must(t, s.Delete(ctx, []string{"photo"}))
	v := mount(t, b, nil)
	must(t, v.Close())
	_, err = forstfs.Open(ctx, store(t, b), &forstfs.Options{Create: forstfs.CreateNew})
	must1(err, forstfs.ErrExists)
	v = mount(t, b, nil)
	must(t, v.Drop(ctx))
	must1(v.Sync(ctx), forstfs.ErrDropped)
	v.Close()
	_, err = forstfs.Open(ctx, store(t, b), small())
	must1(err, forstfs.ErrDropped)
	_, err = forstfs.OpenReadOnly(ctx, store(t, b), nil)
	must1(err, forstfs.ErrDropped)
}
