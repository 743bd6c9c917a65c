package forstfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/fault"
	"github.com/forst-go/forst/forstfs/mem"
)

func placed(dir string, p forstfs.Placement, maxLag time.Duration) *forstfs.Options {
	o := small()
	o.Placement, o.LocalDir, o.MaxLag, o.SkipProbe = p, dir, maxLag, true
	return o
}

// killed is the disk that a process leaves which is killed at this moment.
func killed(t testing.TB, dir string) string {
	t.Helper()
	for {
		left := t.TempDir()
		err := os.CopyFS(left, os.DirFS(dir))
		if _, gone := os.Stat(dir); gone == nil && errors.Is(err, os.ErrNotExist) {
			continue // the process has just deleted a file
		}
		must(t, err)
		return left
	}
}

// A volume is opened without the disk that it was written with: an error that names what is lost, before anybody is fenced. AcceptLoss goes on without it, once.
func TestLostLocalDirectory(t *testing.T) {
	b, dir := bucket(), t.TempDir()
	v := mount(t, b, placed(dir, forstfs.PlaceForSt, 0))
	defer v.Close()
	must(t, v.MkdirAll(ctx, "/db"))
	write(t, v, "/db/000001.sst", content(5000, 1), true)
	write(t, v, "/db/000002.log", content(700, 2), true)
	write(t, v, "/db/MANIFEST-000003", content(300, 3), true)
	for _, o := range []*forstfs.Options{small(), placed(t.TempDir(), forstfs.PlaceForSt, 0), placed(t.TempDir(), forstfs.PlaceLocalWAL, time.Second)} {
		_, err := forstfs.Open(ctx, store(t, b), o)
		if !errors.Is(err, forstfs.ErrLocalLost) || !strings.Contains(err.Error(), "/db/000002.log") || !strings.Contains(err.Error(), "/db/MANIFEST-000003") {
			t.Fatalf("opened without its disk: %v", err)
		}
	}
	if _, err := forstfs.OpenReadOnly(ctx, store(t, b), small()); !errors.Is(err, forstfs.ErrLocalLost) {
		t.Fatalf("opened read-only without its disk: %v", err)
	}
	if _, err := v.Snapshot(ctx, "s", nil); !errors.Is(err, forstfs.ErrLocalLost) {
		t.Fatalf("a snapshot without the local files: %v", err)
	}
	must(t, v.Sync(ctx)) // nobody was fenced

	o := small()
	o.AcceptLoss = true
	r, err := forstfs.OpenReadOnly(ctx, store(t, b), o)
	must(t, err)
	same(t, r, "/db/000001.sst", content(5000, 1))
	f, err := r.Open(ctx, "/db/000002.log", nil)
	must(t, err)
	if _, err := f.ReadAt(make([]byte, 1), 0); !errors.Is(err, forstfs.ErrLocalLost) || errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("read what is on another disk: %v", err)
	}
	must(t, f.Close())
	must(t, r.Close())

	w := mount(t, b, o)
	same(t, w, "/db/000001.sst", content(5000, 1))
	if names, err := w.List(ctx, "/db"); err != nil || fmt.Sprint(names) != "[000001.sst]" {
		t.Fatalf("what is left: %v %v", names, err)
	}
	must(t, w.Close())
	must(t, mount(t, b, nil).Close()) // accepted for good
	if _, err := forstfs.Open(ctx, store(t, b), placed(killed(t, dir), forstfs.PlaceForSt, 0)); err != nil {
		t.Fatalf("the old disk, of which nothing is needed any more: %v", err)
	}
}

func TestWrongLocalDirectory(t *testing.T) {
	b, dir := bucket(), t.TempDir()
	use := func(dir string) {
		t.Helper()
		v := mount(t, b, placed(dir, forstfs.PlaceForSt, 0))
		write(t, v, "/a.log", content(100, 1), true)
		must(t, v.Close())
	}
	use(dir)
	old := killed(t, dir)
	use(dir)
	other := t.TempDir()
	v := mount(t, bucket(), placed(other, forstfs.PlaceForSt, 0))
	write(t, v, "/a.log", content(100, 1), true)
	must(t, v.Close())
	foreign, broken := t.TempDir(), killed(t, dir)
	must(t, os.WriteFile(filepath.Join(foreign, "letter.txt"), nil, 0o666))
	must(t, os.WriteFile(filepath.Join(broken, "identity"), []byte("forstloc"), 0o666))
	for what, dir := range map[string]string{"an older copy": old, "of another volume": other, "somebody's files": foreign, "damaged": broken} {
		_, err := forstfs.Open(ctx, store(t, b), placed(dir, forstfs.PlaceForSt, 0))
		if !errors.Is(err, forstfs.ErrLocalDir) {
			t.Errorf("%s: %v", what, err)
		}
	}
	v = mount(t, b, placed(dir, forstfs.PlaceForSt, 0))
	if _, err := forstfs.Open(ctx, store(t, b), placed(dir, forstfs.PlaceForSt, 0)); !errors.Is(err, forstfs.ErrBusy) {
		t.Errorf("a directory that is in use: %v", err)
	}
	same(t, v, "/a.log", content(100, 1))
	must(t, v.Close())
	// Back to everything in the volume: what is on the disk stays there until it is rewritten or moved.
	o := small()
	o.LocalDir = dir
	v = mount(t, b, o)
	must(t, v.Rename(ctx, "/a.log", "/b.log"))
	must(t, v.Close())
	v = mount(t, b, nil)
	same(t, v, "/b.log", content(100, 1))
	must(t, v.Close())
}

func TestPlacementOptions(t *testing.T) {
	for _, o := range []*forstfs.Options{
		{Placement: forstfs.PlaceForSt}, {Placement: forstfs.PlaceLocally(forstfs.ClassLock), LocalDir: "x"}, {LocalDir: "x", MaxLag: time.Second},
		{Placement: forstfs.PlaceLocalWAL, LocalDir: "x", DirSync: forstfs.Ordered}, {Placement: forstfs.PlaceForSt, LocalDir: "x", DirSync: forstfs.Ordered},
		{Placement: forstfs.PlaceLocally(forstfs.ClassMarker), LocalDir: "x", DirSync: forstfs.Ordered}, {Placement: forstfs.PlaceLocalWAL, LocalDir: "x", MaxLag: -1},
	} {
		if err := o.Validate(); err == nil {
			t.Errorf("%+v is valid", o)
		}
	}
	must(t, (&forstfs.Options{Placement: forstfs.PlaceLocally(forstfs.ClassOther), LocalDir: "x", DirSync: forstfs.Ordered}).Validate())
	for p, want := range map[forstfs.Placement]string{forstfs.PlaceForSt: "ForSt", forstfs.PlaceLocally(forstfs.ClassSST, forstfs.ClassTemp): "local(sst,temp)"} {
		if p.String() != want {
			t.Errorf("%v is not %s", p, want)
		}
	}
}

// A process writes a log that follows and is killed after each step; its disk is there, or it is lost, too. With the disk every synced byte is there, without it all but those of
// the last MaxLag; in each case a prefix, and never a table that is younger than a missing byte of the log.
func TestLogThatFollows(t *testing.T) {
	const maxLag = time.Second
	for stop := 1; stop <= 40; stop++ {
		synctest.Test(t, func(t *testing.T) {
			b, dir := bucket(), t.TempDir()
			v := mount(t, b, placed(dir, forstfs.PlaceLocalWAL, maxLag))
			defer v.Close()
			f, err := v.Create(ctx, "/1.log", nil)
			must(t, err)
			var want []byte
			acked := map[int]time.Time{} // bytes, and when they were
			for i := range stop {
				p := content(100+40*i, uint64(i))
				want = append(want, p...)
				_, err := f.Write(p)
				must(t, err)
				must(t, f.Sync())
				acked[len(want)] = time.Now()
				if i%7 == 6 {
					write(t, v, fmt.Sprintf("/%d.mark", len(want)), nil, false)
					must(t, v.Sync(ctx))
				}
				time.Sleep(90 * time.Millisecond)
			}
			lost := time.Now()
			left := killed(t, dir)
			o := small()
			_, err = forstfs.Open(ctx, store(t, b), o)
			if !errors.Is(err, forstfs.ErrLocalLost) || !strings.Contains(err.Error(), "in the last 1s") {
				t.Fatalf("opened without its disk: %v", err)
			}
			// The bucket is copied, so that both ends can be seen.
			b2 := copyBucket(t, b)
			w := mount(t, b, placed(left, forstfs.PlaceLocalWAL, maxLag))
			same(t, w, "/1.log", want)
			must(t, w.Close())
			must(t, mount(t, b, nil).Close()) // closed in peace: no disk is needed

			o.AcceptLoss = true
			w = mount(t, b2, o)
			got := read(t, w, "/1.log")
			if !bytes.HasPrefix(want, got) {
				t.Fatalf("%d bytes that are no prefix", len(got))
			}
			for n, at := range acked {
				if n > len(got) && lost.Sub(at) > maxLag {
					t.Fatalf("%d bytes are there; %d were acknowledged %v before the end", len(got), n, lost.Sub(at))
				}
			}
			names, err := w.List(ctx, "/")
			must(t, err)
			for _, name := range names {
				var n int
				if _, err := fmt.Sscanf(name, "%d.mark", &n); err == nil && n > len(got) {
					t.Fatalf("%s is there, and only %d bytes", name, len(got))
				}
			}
			must(t, w.Close())
		})
	}
}

func copyBucket(t testing.TB, b *mem.Bucket) *mem.Bucket {
	t.Helper()
	from, to := store(t, b), bucket()
	s := store(t, to)
	for info, err := range from.List(ctx, "", "") {
		must(t, err)
		data, err := driver.ReadAll(ctx, from, info.Key)
		must(t, err)
		must(t, s.Put(ctx, info.Key, data, driver.PutOptions{}))
	}
	return to
}

// The store does not answer: Sync goes on for MaxLag, then it waits; the lag is a metric; when the store is back, so is Sync.
func TestSyncWaitsForTheLag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bucket()
		s := fault.New(store(t, b), &fault.Options{})
		o := placed(t.TempDir(), forstfs.PlaceLocalWAL, time.Second)
		o.RetryBudget = time.Hour
		v, err := forstfs.Open(ctx, s, o)
		must(t, err)
		f, err := v.Create(ctx, "/1.log", nil)
		must(t, err)
		must(t, v.Sync(ctx))
		up := s.Add(fault.Rule{Ops: []fault.Op{fault.Put}, Do: fault.Fail(nil)})
		go func() {
			time.Sleep(time.Minute)
			up()
		}()
		begin := time.Now()
		free := 0
		for i := 0; time.Since(begin) < time.Minute; i++ {
			at := time.Now()
			_, err := f.Write(content(50, uint64(i)))
			must(t, err)
			must(t, f.Sync())
			if time.Since(at) == 0 {
				free++
			}
			if m := v.Metrics().Local; m.Lag > time.Second || m.LagBytes == 0 && time.Since(begin) < time.Minute {
				t.Fatalf("after a Sync: %+v", m)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if m := v.Metrics().Local; free < 9 || free > 12 || m.LagWaits == 0 {
			t.Fatalf("%d syncs did not wait; %+v", free, m)
		}
		must(t, f.Close())
		must(t, v.Close())
		_ = s.Drain(ctx)
	})
}

// Renames and links across placements, with each request failing in turn and a kill behind it: the file is there under its old name or its new one, whole.
func TestMovesAreWhole(t *testing.T) {
	want := content(40_000, 9)
	for _, c := range []struct{ from, to string }{{"/a.dbtmp", "/OPTIONS-000001"}, {"/OPTIONS-000001", "/b.dbtmp"}} {
		for _, link := range []bool{false, true} {
			for nth := 1; ; nth++ {
				b, dir := bucket(), t.TempDir()
				s := fault.New(store(t, b), &fault.Options{})
				o := placed(dir, forstfs.PlaceLocally(forstfs.ClassTemp), 0)
				o.RetryBudget = 50 * time.Millisecond
				v, err := forstfs.Open(ctx, s, o)
				must(t, err)
				write(t, v, c.from, want, true)
				failed := false
				s.Add(fault.Rule{Ops: []fault.Op{fault.Put}, After: nth - 1, Do: fault.Fail(nil)})
				do := v.Rename
				if link {
					do = v.Link
				}
				if err := do(ctx, c.from, c.to); err != nil {
					failed = true
				} else if err := v.Sync(ctx); err != nil {
					failed = true
				}
				w := mount(t, b, placed(killed(t, dir), forstfs.PlaceLocally(forstfs.ClassTemp), 0))
				there := 0
				for _, name := range []string{c.from, c.to} {
					if _, err := w.Stat(ctx, name); err == nil {
						same(t, w, name, want)
						there++
					}
				}
				if there == 0 || !link && there != 1 || !failed && link && there != 2 {
					t.Fatalf("%s to %s, put %d: it is there %d times", c.from, c.to, nth, there)
				}
				if names, err := w.List(ctx, "/"); err != nil || len(names) != there {
					t.Fatalf("what is there: %v %v", names, err)
				}
				must(t, w.Close())
				_ = v.Close()
				if !failed {
					break
				}
			}
		}
	}
}

// A damaged or torn redo log gives what is whole of it.
func TestTornRedoLog(t *testing.T) {
	b, dir := bucket(), t.TempDir()
	o := placed(dir, forstfs.PlaceLocalWAL, time.Hour)
	v := mount(t, b, o)
	defer v.Close()
	f, err := v.Create(ctx, "/1.log", nil)
	must(t, err)
	var want []byte
	for i := range 5 {
		p := content(100, uint64(i))
		_, err := f.Write(p)
		must(t, err)
		must(t, f.Sync())
		want = append(want, p...)
	}
	for cut := 0; cut <= 5*120; cut += 37 {
		for _, flip := range []bool{false, true} {
			left := killed(t, dir)
			logs, err := filepath.Glob(filepath.Join(left, "redo", "*"))
			must(t, err)
			if len(logs) != 1 {
				t.Fatalf("redo logs: %v", logs)
			}
			data, err := os.ReadFile(logs[0])
			must(t, err)
			if flip && cut < len(data) {
				data[cut] ^= 4
			} else {
				data = data[:min(cut, len(data))]
			}
			must(t, os.WriteFile(logs[0], data, 0o666))
			b2 := copyBucket(t, b)
			w := mount(t, b2, placed(left, forstfs.PlaceLocalWAL, time.Hour))
			got := read(t, w, "/1.log")
			if !bytes.HasPrefix(want, got) || len(got) != min(cut, 600)/120*100 {
				t.Fatalf("cut at %d: %d bytes", cut, len(got))
			}
			must(t, w.Close())
		}
	}
}

func TestReservedNames(t *testing.T) {
	v := mount(t, bucket(), placed(t.TempDir(), forstfs.PlaceForSt, 0))
	defer v.Close()
	for _, name := range []string{"/.forst", ".forst/local", "/a/../.forst/x"} {
		if _, err := v.Stat(ctx, name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Stat %s: %v", name, err)
		}
		_, err := v.Create(ctx, name, nil)
		for _, err := range []error{err, v.Remove(ctx, name), v.RemoveAll(ctx, name), v.MkdirAll(ctx, name), v.Rename(ctx, name, "/x"), v.Rename(ctx, "/x", name)} {
			if !errors.Is(err, fs.ErrPermission) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	write(t, v, "/.forsta", nil, false)
	names, err := v.List(ctx, "/")
	must(t, err)
	if fmt.Sprint(names) != "[.forsta]" {
		t.Errorf("%v", names)
	}
	must(t, v.Walk(ctx, func(p string, _ forstfs.FileInfo) error {
		if strings.HasPrefix(p, "/.forst/") {
			t.Errorf("%s is shown", p)
		}
		return nil
	}))
}
