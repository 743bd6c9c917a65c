package forstfs_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/forst-go/forst/cache"
	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/mem"
	"github.com/forst-go/forst/internal/journal"
	"github.com/forst-go/forst/internal/namespace"
)

// relative opens "../name" below a bucket, as forst.Open does with URLs.
func relative(b *mem.Bucket) func(context.Context, string) (driver.Store, error) {
	return func(_ context.Context, location string) (driver.Store, error) {
		return b.Open(strings.TrimPrefix(location, "../"))
	}
}

// borrowed makes a volume "src" with a table, and "dst" that borrows it. Both are closed.
func borrowed(t *testing.T, b *mem.Bucket, data []byte) {
	t.Helper()
	ctx := t.Context()
	src := under(t, b, "src")
	v, err := forstfs.Open(ctx, src, &forstfs.Options{Create: forstfs.CreateNew, SkipProbe: true, ObjectSize: 4096})
	must(t, err)
	f, err := v.Create(ctx, "/t.sst", nil)
	must(t, err)
	_, err = f.Write(data)
	must(t, errors.Join(err, f.Close(), v.Checkpoint(ctx)))
	id := v.VolumeID()
	must(t, v.Close())

	var body []byte
	src = under(t, b, "src")
	for info, err := range src.List(ctx, journal.ImagePrefix, "") {
		must(t, err)
		raw, err := driver.ReadAll(ctx, src, info.Key)
		must(t, err)
		im, err := journal.DecodeImage(raw)
		must(t, err)
		body = im.Body
	}
	st, err := namespace.Decode(body)
	must(t, err)
	lent, err := st.Lend(namespace.Owner{Volume: id, URL: "../src"}, nil)
	must(t, err)
	dst := under(t, b, "dst")
	clone := journal.VolumeID{1, 2, 3}
	_, err = journal.BirthImages(ctx, dst, clone, lent.Encode(), 0, nil)
	must(t, err)
	_, err = journal.CreateRoot(ctx, dst, journal.RootOptions{Volume: clone})
	must(t, errors.Join(err, dst.Close(), src.Close()))
}

func under(t *testing.T, b *mem.Bucket, prefix string) *mem.Store {
	t.Helper()
	s, err := b.Open(prefix)
	must(t, err)
	return s
}

func readHead(t *testing.T, v *forstfs.FS, name string, n int) ([]byte, error) {
	t.Helper()
	f, err := v.Open(t.Context(), name, nil)
	must(t, err)
	defer f.Close()
	p := make([]byte, n)
	_, err = f.ReadAt(p, 0)
	return p, err
}

// TestBorrowedBytes: a clone reads the bytes of its lender where they are, under the lender's name in the cache, writes beside them, and
// deletes nothing that it does not own.
func TestBorrowedBytes(t *testing.T) {
	ctx := t.Context()
	b := mem.NewBucket(nil)
	data := bytes.Repeat([]byte("0123456789abcdef"), 2000)
	borrowed(t, b, data)
	shared, err := cache.New(&cache.Options{Memory: 1 << 20})
	must(t, err)
	defer shared.Close()
	src, err := forstfs.OpenReadOnly(ctx, under(t, b, "src"), &forstfs.Options{Cache: shared})
	must(t, err)
	if got, err := readHead(t, src, "/t.sst", len(data)); err != nil || !bytes.Equal(got, data) {
		t.Fatalf("the lender: %v", err)
	}
	must(t, src.Close())
	o := &forstfs.Options{Cache: shared, OpenStore: relative(b), ObjectSize: 4096}
	v, err := forstfs.Open(ctx, under(t, b, "dst"), o)
	must(t, err)
	before := v.Metrics().Store.Sum("get", driver.CompRead)
	if got, err := readHead(t, v, "/t.sst", len(data)); err != nil || !bytes.Equal(got, data) {
		t.Fatalf("the clone: %v", err)
	}
	if n := v.Metrics().Store.Sum("get", driver.CompRead).Calls - before.Calls; n != 0 {
		t.Errorf("%d GETs for what the lender's reader has in the shared cache", n)
	}
	objects := b.Len()
	must(t, errors.Join(v.Remove(ctx, "/t.sst"), v.Sync(ctx), v.Checkpoint(ctx)))
	_, err = v.Sweep(ctx)
	must(t, errors.Join(err, v.Close()))
	if b.Len() < objects {
		t.Errorf("%d objects, before the removal in the clone %d", b.Len(), objects)
	}
	src, err = forstfs.OpenReadOnly(ctx, under(t, b, "src"), nil)
	must(t, err)
	if got, err := readHead(t, src, "/t.sst", len(data)); err != nil || !bytes.Equal(got, data) {
		t.Fatalf("the lender, after the clone has removed the file: %v", err)
	}
	must(t, src.Close())
}

// TestSourceGone: what cannot be borrowed any more is ErrSourceGone, and never looks like a missing file.
func TestSourceGone(t *testing.T) {
	ctx := t.Context()
	data := bytes.Repeat([]byte("x"), 5000)
	for name, breakIt := range map[string]func(t *testing.T, b *mem.Bucket, o *forstfs.Options){
		"object": func(t *testing.T, b *mem.Bucket, _ *forstfs.Options) {
			src := under(t, b, "src")
			infos, err := driver.ListAll(ctx, src, journal.DataPrefix, "")
			must(t, err)
			for _, i := range infos {
				must(t, src.Delete(ctx, []string{i.Key}))
			}
		},
		"store": func(_ *testing.T, _ *mem.Bucket, o *forstfs.Options) {
			o.OpenStore = func(context.Context, string) (driver.Store, error) {
				return nil, &driver.Error{Op: "open", Path: "x", Kind: driver.KindNoStore, Err: fs.ErrNotExist}
			}
		},
		"no way": func(_ *testing.T, _ *mem.Bucket, o *forstfs.Options) { o.OpenStore = nil },
	} {
		for _, readOnly := range []bool{false, true} {
			b := mem.NewBucket(nil)
			borrowed(t, b, data)
			o := &forstfs.Options{OpenStore: relative(b)}
			breakIt(t, b, o)
			open := forstfs.Open
			if readOnly {
				open = forstfs.OpenReadOnly
			}
			v, err := open(ctx, under(t, b, "dst"), o)
			must(t, err)
			_, err = readHead(t, v, "/t.sst", len(data))
			if !errors.Is(err, forstfs.ErrSourceGone) || errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s, read-only %v: %v", name, readOnly, err)
			}
			if err == nil || !strings.Contains(err.Error(), "../src") {
				t.Errorf("%s: the error does not say where: %v", name, err)
			}
			must(t, v.Close())
		}
	}
	b := mem.NewBucket(nil)
	borrowed(t, b, data)
	fails := 1
	open := relative(b)
	v, err := forstfs.OpenReadOnly(ctx, under(t, b, "dst"), &forstfs.Options{OpenStore: func(ctx context.Context, l string) (driver.Store, error) {
		if fails--; fails >= 0 {
			return nil, &driver.Error{Op: "open", Path: l, Kind: driver.KindTransient}
		}
		return open(ctx, l)
	}})
	must(t, err)
	if _, err := readHead(t, v, "/t.sst", len(data)); driver.KindOf(err) != driver.KindTransient || errors.Is(err, forstfs.ErrSourceGone) {
		t.Errorf("a lender that does not answer: %v", err)
	}
	if got, err := readHead(t, v, "/t.sst", len(data)); err != nil || !bytes.Equal(got, data) {
		t.Errorf("when it answers again: %v", err)
	}
	must(t, v.Close())
}
