package forstfs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/mem"
	"github.com/forst-go/forst/internal/journal"
)

// shown opens a snapshot for reading.
func shown(t testing.TB, b *mem.Bucket, name string) *forstfs.FS {
	t.Helper()
	o := small()
	o.CacheBytes = -1 // reads must find everything in the store
	v, err := forstfs.OpenSnapshot(ctx, store(t, b), name, o)
	must(t, err)
	return v
}

func snap(t testing.TB, v *forstfs.FS, name string, o *forstfs.SnapshotOptions) forstfs.SnapshotInfo {
	t.Helper()
	info, err := v.Snapshot(ctx, name, o)
	must(t, err)
	return info
}

func names(t testing.TB, v *forstfs.FS) (out []string) {
	t.Helper()
	must(t, v.Walk(ctx, func(p string, _ forstfs.FileInfo) error { out = append(out, p); return nil }))
	return out
}

// tidy waits until what is to be deleted is deleted, and says which keys below a prefix are left.
func tidy(t testing.TB, v *forstfs.FS, b *mem.Bucket, prefix string) (keys []string) {
	t.Helper()
	must(t, v.Checkpoint(ctx))
	_, err := v.Sweep(ctx)
	must(t, err)
	for info, err := range store(t, b).List(ctx, prefix, "") {
		must(t, err)
		keys = append(keys, info.Key)
	}
	return keys
}

func TestSnapshotLife(t *testing.T) {
	b := bucket()
	v := mount(t, b, nil)
	wal, sst, other := content(9000, 1), content(300_000, 2), content(500, 3)
	must(t, v.MkdirAll(ctx, "/db"))
	must(t, v.MkdirAll(ctx, "/x/y"))
	write(t, v, "/db/1.log", wal, false) // its bytes are in the order by Close, and in no sync
	write(t, v, "/db/2.sst", sst, true)
	must(t, v.Link(ctx, "/db/2.sst", "/db/two.sst"))
	write(t, v, "/x/y/other", other, true)
	all := snap(t, v, "all", &forstfs.SnapshotOptions{Meta: []byte("meta")})
	if all.Files != 3 || all.Bytes != 309_500 || all.Dir != "/" || string(all.Meta) != "meta" || all.Frame == 0 {
		t.Fatalf("%+v", all)
	}
	db := snap(t, v, "db", &forstfs.SnapshotOptions{Dir: "db"})
	if db.Files != 2 || db.Bytes != 309_000 || db.Dir != "/db" || db.ID == all.ID {
		t.Fatalf("%+v", db)
	}
	must(t, v.RemoveAll(ctx, "/db"))
	write(t, v, "/x/y/other", []byte("changed"), true)
	check := func() {
		t.Helper()
		s := shown(t, b, "all")
		same(t, s, "/db/1.log", wal)
		same(t, s, "/db/two.sst", sst)
		same(t, s, "/x/y/other", other)
		if _, err := s.Create(ctx, "/new", nil); !errors.Is(err, forstfs.ErrReadOnly) {
			t.Errorf("Create in a snapshot: %v", err)
		}
		if changed, err := s.Refresh(ctx); changed || err != nil {
			t.Errorf("Refresh of a snapshot: %v, %v", changed, err)
		}
		must(t, s.Close())
		s = shown(t, b, db.ID)
		if got := names(t, s); !slices.Equal(got, []string{"/db", "/db/1.log", "/db/2.sst", "/db/two.sst"}) {
			t.Errorf("the snapshot of the directory holds %q", got)
		}
		same(t, s, "/db/2.sst", sst)
		must(t, s.Close())
	}
	check()
	tidy(t, v, b, "")
	must(t, v.Checkpoint(ctx))
	check()
	must(t, v.Close())
	v = mount(t, b, nil) // another owner, whose sweep must leave all this alone
	tidy(t, v, b, "")
	check()
	if got, err := v.Snapshots(ctx); err != nil || len(got) != 2 || got[0].Name != "all" || string(got[0].Meta) != "meta" || !got[0].Created.Equal(all.Created) {
		t.Errorf("%+v, %v", got, err)
	}

	// Back to the directory, then to everything.
	must(t, v.Restore(ctx, "db"))
	same(t, v, "/db/1.log", wal)
	same(t, v, "/db/two.sst", sst)
	same(t, v, "/x/y/other", []byte("changed"))
	must(t, v.Restore(ctx, all.ID))
	same(t, v, "/x/y/other", other)
	must(t, v.RemoveSnapshot(ctx, "all"))
	must(t, v.RemoveSnapshot(ctx, db.ID))
	tidy(t, v, b, "")
	must(t, v.Close())
	v = mount(t, b, nil)
	same(t, v, "/db/1.log", wal) // bytes of the body of a snapshot that is gone
	same(t, v, "/db/two.sst", sst)
	if got, _ := v.Snapshots(ctx); len(got) != 0 {
		t.Errorf("left: %+v", got)
	}
	must(t, v.RemoveAll(ctx, "/db"))
	must(t, v.RemoveAll(ctx, "/x"))
	if left := append(tidy(t, v, b, "data/"), tidy(t, v, b, "snapshot/")...); len(left) > 0 {
		t.Errorf("left in the store: %q", left)
	}
	must(t, v.Close())
}

func TestSnapshotBadInput(t *testing.T) {
	b := bucket()
	v := mount(t, b, nil)
	must(t, v.MkdirAll(ctx, "/d"))
	write(t, v, "/d/f", []byte("x"), true)
	snap(t, v, "one", nil)
	for _, name := range []string{"", "a/b", "a b", "-x", ".x", "a@b", "a\x00", "\xff", strings.Repeat("n", 256), "00000001-0000000000000001-00000001", "a\nb", `a"b`} {
		if _, err := v.Snapshot(ctx, name, nil); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("name %q: %v", name, err)
		}
	}
	for what, c := range map[string]struct {
		got  error
		want error
	}{
		"taken":               {second(v.Snapshot(ctx, "one", nil)), forstfs.ErrSnapshotExists},
		"no directory":        {second(v.Snapshot(ctx, "n", &forstfs.SnapshotOptions{Dir: "/nope"})), fs.ErrNotExist},
		"a file":              {second(v.Snapshot(ctx, "n", &forstfs.SnapshotOptions{Dir: "/d/f"})), forstfs.ErrNotDir},
		"above the root":      {second(v.Snapshot(ctx, "n", &forstfs.SnapshotOptions{Dir: "../x"})), fs.ErrInvalid},
		"too much meta":       {second(v.Snapshot(ctx, "n", &forstfs.SnapshotOptions{Meta: make([]byte, 1<<20+1)})), fs.ErrInvalid},
		"negative expiry":     {second(v.Snapshot(ctx, "n", &forstfs.SnapshotOptions{ExpireAfter: -1})), fs.ErrInvalid},
		"remove what is not":  {v.RemoveSnapshot(ctx, "nope"), forstfs.ErrNoSnapshot},
		"remove no id":        {v.RemoveSnapshot(ctx, "00000001-0000000000000001-00000001"), forstfs.ErrNoSnapshot},
		"restore what is not": {v.Restore(ctx, "nope"), forstfs.ErrNoSnapshot},
		"open what is not":    {second(forstfs.OpenSnapshot(ctx, store(t, b), "nope", nil)), forstfs.ErrNoSnapshot},
		"open nothing":        {second(forstfs.OpenSnapshot(ctx, store(t, b), "", nil)), forstfs.ErrNoSnapshot},
		"request what is not": {forstfs.RequestRemoveSnapshot(ctx, store(t, b), nil, "nope"), forstfs.ErrNoSnapshot},
		"request nowhere":     {forstfs.RequestCollect(ctx, store(t, bucket()), nil), forstfs.ErrNoVolume},
	} {
		if !errors.Is(c.got, c.want) {
			t.Errorf("%s: %v, want %v", what, c.got, c.want)
		}
	}
	if _, err := v.Retain(ctx, forstfs.Retention{}); err == nil {
		t.Error("Retain without a rule")
	}
	o := small()
	o.Snapshot = "one"
	if _, err := forstfs.Open(ctx, store(t, b), o); err == nil || v.Sync(ctx) != nil {
		t.Errorf("a snapshot was opened for writing: %v", err)
	}
	lock, err := v.Lock(ctx, "/d/LOCK")
	must(t, err)
	if err := v.Restore(ctx, "one"); err == nil || !strings.Contains(err.Error(), "/d/LOCK") {
		t.Errorf("Restore under a lock: %v", err)
	}
	must(t, lock.Close())
	must(t, v.Close())
	r, err := forstfs.OpenReadOnly(ctx, store(t, b), nil)
	must(t, err)
	for what, err := range map[string]error{"snapshot": second(r.Snapshot(ctx, "two", nil)), "remove": r.RemoveSnapshot(ctx, "one"), "restore": r.Restore(ctx, "one"),
		"retain": second(r.Retain(ctx, forstfs.Retention{KeepLast: 1}))} {
		if !errors.Is(err, forstfs.ErrReadOnly) {
			t.Errorf("%s of a read-only volume: %v", what, err)
		}
	}
	must(t, r.Close())
	if _, err := v.Snapshots(ctx); !errors.Is(err, forstfs.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

// TestSnapshotSeesWhatWasIssued: everything issued before the call is in it, nothing issued after it has returned.
func TestSnapshotSeesWhatWasIssued(t *testing.T) {
	b := bucket()
	v := mount(t, b, nil)
	defer v.Close()
	f, err := v.Create(ctx, "/log", nil)
	must(t, err)
	var want []string
	for i := range 30 {
		name := fmt.Sprintf("/f%02d", i)
		write(t, v, name, []byte(name), false)
		want = append(want, name)
		_, err := f.Write([]byte("record "))
		must(t, err)
		if i%3 == 0 {
			must(t, f.Sync())
		}
		snap(t, v, fmt.Sprint("s", i), nil)
		write(t, v, "/later", nil, false)
		s := shown(t, b, fmt.Sprint("s", i))
		if got := names(t, s); !slices.Equal(got, append(slices.Clone(want), "/log")) {
			t.Fatalf("snapshot %d: %q", i, got)
		}
		if got := read(t, s, "/log"); len(got) != 7*(i/3*3+1) {
			t.Fatalf("snapshot %d: the log has %d bytes", i, len(got))
		}
		must(t, s.Close())
		must(t, v.Remove(ctx, "/later"))
		if i == 10 {
			must(t, v.Checkpoint(ctx))
		}
	}
	must(t, f.Close())
}

func TestSnapshotSizesAndLedger(t *testing.T) {
	b := bucket()
	v := mount(t, b, nil)
	defer v.Close()
	write(t, v, "/a.sst", content(40_000, 1), true)
	write(t, v, "/b.sst", content(30_000, 2), true)
	write(t, v, "/c.sst", content(20_000, 3), true)
	snap(t, v, "one", nil)
	must(t, v.Remove(ctx, "/a.sst"))
	snap(t, v, "two", nil)
	must(t, v.Remove(ctx, "/b.sst"))
	must(t, v.Sync(ctx))
	got, err := v.SnapshotSizes(ctx)
	must(t, err)
	body := func(i int) int64 {
		info, err := store(t, b).Stat(ctx, journal.SnapshotPrefix+got[i].ID)
		must(t, err)
		return info.Size
	}
	if got[0].Exclusive != 40_000+body(0) || got[0].Shared != 50_000 || got[1].Exclusive != body(1) || got[1].Shared != 50_000 {
		t.Errorf("%+v (bodies %d, %d)", got, body(0), body(1))
	}
	l := v.Metrics().Ledger
	if l.Live != 0 || l.Shared != 20_000 || l.Snapshots != 70_000+body(0)+body(1) || l.Garbage != 0 {
		t.Errorf("%v", l)
	}
	var sum int64
	for info, err := range store(t, b).List(ctx, "", "") {
		must(t, err)
		if strings.HasPrefix(info.Key, "data/") || strings.HasPrefix(info.Key, "snapshot/") {
			sum += info.Size
		}
	}
	if sum != l.Live+l.Shared+l.Snapshots+l.Garbage {
		t.Errorf("the store has %d bytes, the ledger says %v", sum, l)
	}
	listed, err := forstfs.ListSnapshots(ctx, store(t, b), nil)
	must(t, err)
	if fmt.Sprint(listed) != fmt.Sprint(got) {
		t.Errorf("from outside: %+v, want %+v", listed, got)
	}
	must(t, v.RemoveSnapshot(ctx, "one"))
	tidy(t, v, b, "")
	if l := v.Metrics().Ledger; l.Snapshots != 30_000+body(1) {
		t.Errorf("after the removal: %v", l)
	}
}

// TestRequestsAreServed: a process that does not own the volume leaves requests, and fences nobody.
func TestRequestsAreServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bucket()
		o := small()
		o.RequestInterval = time.Minute
		v := mount(t, b, o)
		write(t, v, "/a.sst", content(40_000, 1), true)
		snap(t, v, "one", nil)
		snap(t, v, "two", nil)
		must(t, v.Remove(ctx, "/a.sst"))
		must(t, v.Sync(ctx))
		must(t, forstfs.RequestRemoveSnapshot(ctx, store(t, b), nil, "one"))
		must(t, v.Checkpoint(ctx))
		if got, _ := v.Snapshots(ctx); len(got) != 1 || got[0].Name != "two" {
			t.Errorf("with an image: %+v", got)
		}
		must(t, forstfs.RequestRemoveSnapshot(ctx, store(t, b), nil, "two"))
		must(t, forstfs.RequestRemoveSnapshot(ctx, store(t, b), nil, "two"))
		must(t, forstfs.RequestCollect(ctx, store(t, b), nil))
		must(t, store(t, b).Put(ctx, journal.RequestPrefix+"junk", []byte("junk"), driver.PutOptions{}))
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if got, _ := v.Snapshots(ctx); len(got) != 0 {
			t.Errorf("within the interval: %+v", got)
		}
		for _, prefix := range []string{"request/", "snapshot/", "data/"} {
			if n := objects(t, b, prefix); n != 0 {
				t.Errorf("%d objects below %s", n, prefix)
			}
		}
		must(t, v.Err())
		must(t, v.Close())
	})
}

// TestSnapshotsBesideAll takes snapshots beside writers, uploads, packs, removals and other snapshots, under -race, and looks at each of them.
func TestSnapshotsBesideAll(t *testing.T) {
	b := bucket()
	v := mount(t, b, nil)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	run := func(f func(i int)) {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
					f(i)
				}
			}
		})
	}
	for w := range 2 {
		must(t, v.MkdirAll(ctx, fmt.Sprint("/w", w)))
		run(func(i int) {
			dir := fmt.Sprint("/w", w)
			write(t, v, fmt.Sprintf("%s/%d.sst", dir, i%5), bytes.Repeat([]byte{byte(i)}, 100_000), false)
			write(t, v, fmt.Sprintf("%s/%d.log", dir, i%5), bytes.Repeat([]byte{byte(i)}, 3000), true)
			must(t, v.Remove(ctx, fmt.Sprintf("%s/%d.sst", dir, i%5)))
		})
	}
	run(func(int) { must(t, v.Checkpoint(ctx)) })
	var takers sync.WaitGroup
	for w := range 3 {
		takers.Go(func() {
			for i := range 12 {
				name := fmt.Sprintf("s%d-%d", w, i)
				snap(t, v, name, nil)
				s := shown(t, b, name)
				must(t, s.Walk(ctx, func(p string, info forstfs.FileInfo) error {
					if info.IsDir() {
						return nil
					}
					got := read(t, s, p)
					if int64(len(got)) != info.Size() || len(got) > 0 && bytes.Count(got, got[:1]) != len(got) {
						t.Errorf("%s in %s: %d bytes, mixed", p, name, len(got))
					}
					return nil
				}))
				must(t, s.Close())
				if i%2 == 0 {
					must(t, v.RemoveSnapshot(ctx, name))
				}
			}
		})
	}
	takers.Wait()
	close(stop)
	wg.Wait()
	all, err := v.Snapshots(ctx)
	if err != nil || len(all) != 18 {
		t.Errorf("%d snapshots, %v", len(all), err)
	}
	_, err = v.Retain(ctx, forstfs.Retention{KeepLast: 1})
	must(t, err)
	must(t, v.RemoveSnapshot(ctx, mustOne(t, v)))
	for w := range 2 {
		must(t, v.RemoveAll(ctx, fmt.Sprint("/w", w)))
	}
	if left := append(tidy(t, v, b, "data/"), tidy(t, v, b, "snapshot/")...); len(left) > 0 {
		t.Errorf("left in the store: %q", left)
	}
	must(t, v.Close())
}

func mustOne(t testing.TB, v *forstfs.FS) string {
	t.Helper()
	all, err := v.Snapshots(ctx)
	if err != nil || len(all) != 1 {
		t.Fatalf("%+v, %v", all, err)
	}
	return all[0].Name
}

// TestSnapshotGivenUp: what was begun when the context ended is undone.
func TestSnapshotGivenUp(t *testing.T) {
	b := bucket()
	s := &spy{Store: store(t, b)}
	cctx, cancel := context.WithCancel(ctx)
	s.put = func(key string, _ []byte) error {
		if strings.HasPrefix(key, journal.SnapshotPrefix) {
			cancel()
		}
		return nil
	}
	v, err := forstfs.Open(ctx, s, small())
	must(t, err)
	write(t, v, "/f", []byte("x"), true)
	if _, err := v.Snapshot(cctx, "s", nil); !errors.Is(err, context.Canceled) && err != nil {
		t.Errorf("%v", err)
	}
	snap(t, v, "t", nil)
	must(t, v.Close())
	v = mount(t, b, nil)
	all, err := v.Snapshots(ctx)
	must(t, err)
	if n := len(tidy(t, v, b, "snapshot/")); n != len(all) {
		t.Errorf("%d bodies of %d snapshots", n, len(all))
	}
	must(t, v.Close())
}
