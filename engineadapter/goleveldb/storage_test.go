package goleveldb_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/opt"
	"github.com/syndtr/goleveldb/leveldb/storage"
	"github.com/syndtr/goleveldb/leveldb/util"

	"github.com/forst-go/forst/engineadapter/goleveldb"
	"github.com/forst-go/forst/engineadapter/internal/enginetest"
	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
)

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%+v", err)
	}
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		ok(t, err)
		return v
	}
}

func open(t testing.TB) (storage.Storage, *forstfs.FS) {
	t.Helper()
	vol := enginetest.OpenVol(t, enginetest.MemHome().Open(t), nil)
	return must(goleveldb.Open(vol, "/db", nil))(t), vol
}

func table(n int64) storage.FileDesc    { return storage.FileDesc{Type: storage.TypeTable, Num: n} }
func manifest(n int64) storage.FileDesc { return storage.FileDesc{Type: storage.TypeManifest, Num: n} }

func write(t testing.TB, s storage.Storage, fd storage.FileDesc, content string) {
	t.Helper()
	w := must(s.Create(fd))(t)
	must(w.Write([]byte(content)))(t)
	ok(t, w.Sync())
	ok(t, w.Close())
}

func read(t testing.TB, s storage.Storage, fd storage.FileDesc) string {
	t.Helper()
	r := must(s.Open(fd))(t)
	defer r.Close()
	return string(must(io.ReadAll(r))(t))
}

func put(t testing.TB, vol *forstfs.FS, name, content string) {
	t.Helper()
	f := must(vol.Create(t.Context(), name, nil))(t)
	must(f.Write([]byte(content)))(t)
	ok(t, f.Close())
}

func TestFiles(t *testing.T) {
	s, _ := open(t)
	for _, ft := range []storage.FileType{storage.TypeManifest, storage.TypeJournal, storage.TypeTable, storage.TypeTemp} {
		fd := storage.FileDesc{Type: ft, Num: 7}
		if _, err := s.Open(fd); !os.IsNotExist(err) {
			t.Errorf("Open of nothing: %v", err)
		}
		if err := s.Remove(fd); !os.IsNotExist(err) {
			t.Errorf("Remove of nothing: %v", err)
		}
		write(t, s, fd, "0123456789")
		if got := must(s.List(ft))(t); !slices.Equal(got, []storage.FileDesc{fd}) {
			t.Errorf("List: %v", got)
		}
		r := must(s.Open(fd))(t)
		p := make([]byte, 4)
		if n, err := r.ReadAt(p, 3); n != 4 || err != nil || string(p) != "3456" {
			t.Errorf("ReadAt: %d, %v, %q", n, err, p)
		}
		if n, err := r.ReadAt(p, 8); n != 2 || err != io.EOF {
			t.Errorf("ReadAt at the end: %d, %v", n, err)
		}
		for _, c := range []struct {
			off    int64
			whence int
			pos    int64
			rest   string
		}{{2, io.SeekStart, 2, "23456789"}, {-3, io.SeekEnd, 7, "789"}, {-5, io.SeekCurrent, 5, "56789"}, {100, io.SeekStart, 100, ""}, {0, io.SeekStart, 0, "0123456789"}} {
			if pos, err := r.Seek(c.off, c.whence); pos != c.pos || err != nil {
				t.Errorf("Seek(%d, %d) = %d, %v", c.off, c.whence, pos, err)
			}
			if got := string(must(io.ReadAll(r))(t)); got != c.rest {
				t.Errorf("after Seek(%d, %d): %q", c.off, c.whence, got)
			}
		}
		if _, err := r.Seek(-1, io.SeekStart); err == nil {
			t.Error("Seek to before the beginning gave no error")
		}
		// A file that is made anew does not disturb its readers; a removed one neither.
		write(t, s, fd, "new")
		ok(t, second(r.Seek(0, io.SeekStart)))
		if got := string(must(io.ReadAll(r))(t)); got != "0123456789" {
			t.Errorf("an open file after Create over it: %q", got)
		}
		ok(t, r.Close())
		if err := r.Close(); err != storage.ErrClosed {
			t.Errorf("a second Close: %v", err)
		}
		if got := read(t, s, fd); got != "new" {
			t.Errorf("the new file: %q", got)
		}
		to := storage.FileDesc{Type: ft, Num: 8}
		write(t, s, to, "replaced")
		ok(t, s.Rename(fd, to))
		ok(t, s.Rename(to, to))
		if got := read(t, s, to); got != "new" {
			t.Errorf("after Rename: %q", got)
		}
		if got := must(s.List(ft))(t); !slices.Equal(got, []storage.FileDesc{to}) {
			t.Errorf("List after Rename: %v", got)
		}
		ok(t, s.Remove(to))
	}
	for _, fd := range []storage.FileDesc{{}, {Type: storage.TypeTable, Num: -1}, {Type: storage.TypeAll, Num: 1}} {
		_, oerr := s.Open(fd)
		_, cerr := s.Create(fd)
		for what, err := range map[string]error{"Open": oerr, "Create": cerr, "Remove": s.Remove(fd), "Rename": s.Rename(table(1), fd), "SetMeta": s.SetMeta(fd)} {
			if err != storage.ErrInvalidFile {
				t.Errorf("%s(%v): %v", what, fd, err)
			}
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestForeignNames(t *testing.T) {
	s, vol := open(t)
	for _, n := range []string{"LOG", "LOG.old", "x.log", "1x.log", "000001", "000001.", "000001.sst.bak", ".ldb", "MANIFEST-", "MANIFEST-1x", "MANIFEST", "-1.ldb", "99999999999999999999.log", "CURRENT.x"} {
		put(t, vol, "/db/"+n, "x")
	}
	put(t, vol, "/db/000003.sst", "an old name")
	put(t, vol, "/db/18446744073.ldb", "a long name")
	put(t, vol, "/db/1.tmp", "a short name")
	got := must(s.List(storage.TypeAll))(t)
	want := []storage.FileDesc{{Type: storage.TypeTemp, Num: 1}, table(18446744073), table(3)}
	for _, fd := range want {
		if !slices.Contains(got, fd) {
			t.Errorf("List does not show %v", fd)
		}
	}
	if len(got) != len(want) {
		t.Errorf("List: %v, want %v", got, want)
	}
	if got := read(t, s, table(3)); got != "an old name" {
		t.Errorf("a table with an old name: %q", got)
	}
	ok(t, s.Remove(table(3)))
	if _, err := s.Open(table(3)); !os.IsNotExist(err) {
		t.Errorf("after Remove: %v", err)
	}
}

func TestLocks(t *testing.T) {
	s, vol := open(t)
	if x, err := goleveldb.Open(vol, "db/", nil); err == nil || x != nil {
		t.Fatalf("a second storage in one directory: %v, %v", x, err)
	}
	l := must(s.Lock())(t)
	if _, err := s.Lock(); err != storage.ErrLocked {
		t.Errorf("a second Lock: %v", err)
	}
	l.Unlock()
	l2 := must(s.Lock())(t)
	l.Unlock() // again: it is not its own any more
	if _, err := s.Lock(); err != storage.ErrLocked {
		t.Errorf("Lock after somebody else's Unlock: %v", err)
	}
	l2.Unlock()
	w := must(s.Create(table(1)))(t)
	ok(t, s.Close())
	if err := s.Close(); err != storage.ErrClosed {
		t.Errorf("a second Close: %v", err)
	}
	_, oerr := s.Open(table(1))
	_, cerr := s.Create(table(1))
	_, lerr := s.Lock()
	_, gerr := s.GetMeta()
	_, ierr := s.List(storage.TypeAll)
	for what, err := range map[string]error{"Open": oerr, "Create": cerr, "Lock": lerr, "GetMeta": gerr, "List": ierr,
		"Remove": s.Remove(table(1)), "Rename": s.Rename(table(1), table(2)), "SetMeta": s.SetMeta(manifest(1))} {
		if err != storage.ErrClosed {
			t.Errorf("%s after Close: %v", what, err)
		}
	}
	ok(t, w.Close())
	ok(t, must(goleveldb.Open(vol, "/db", nil))(t).Close())
}

func TestFailuresAreNotMissingFiles(t *testing.T) {
	s, vol := open(t)
	write(t, s, table(1), "x")
	ok(t, vol.Close())
	_, oerr := s.Open(table(1))
	_, nerr := s.Open(table(2))
	_, gerr := s.GetMeta()
	_, cerr := s.Create(table(2))
	for what, err := range map[string]error{"Open": oerr, "Open of nothing": nerr, "GetMeta": gerr, "Create": cerr, "Remove": s.Remove(table(2))} {
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s on a closed volume: %v", what, err)
		}
	}
}

func TestReadOnly(t *testing.T) {
	h := enginetest.MemHome()
	vol := enginetest.OpenVol(t, h.Open(t), nil)
	s := must(goleveldb.Open(vol, "/db", nil))(t)
	db := must(leveldb.Open(s, nil))(t)
	for i := range 100 {
		ok(t, db.Put(fmt.Appendf(nil, "k%d", i), []byte("v"), nil))
	}
	ok(t, db.Put([]byte("last"), []byte("v"), &opt.WriteOptions{Sync: true}))

	ro := must(forstfs.OpenReadOnly(context.Background(), h.Open(t), nil))(t)
	defer ro.Close()
	rs := must(goleveldb.Open(ro, "/db", nil))(t)
	if _, err := rs.Create(table(99)); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("Create: %v", err)
	}
	beside := must(leveldb.Open(rs, &opt.Options{ReadOnly: true}))(t)
	if n := len(contents(t, beside)); n != 101 {
		t.Errorf("a reader beside the writer finds %d keys", n)
	}
	ok(t, beside.Close())
	ok(t, rs.Close())
	ok(t, db.Close())
	ok(t, s.Close())
}

func contents(t testing.TB, db *leveldb.DB) map[string]string {
	t.Helper()
	m := map[string]string{}
	it := db.NewIterator(&util.Range{}, nil)
	defer it.Release()
	for it.Next() {
		m[string(it.Key())] = string(it.Value())
	}
	ok(t, it.Error())
	return m
}

// A crash while a database is created leaves a MANIFEST without a CURRENT.
func TestUnfinishedCreationIsRepeated(t *testing.T) {
	s, vol := open(t)
	write(t, s, manifest(0), "torn")
	put(t, vol, "/db/CURRENT.next", "")
	ok(t, s.Close())
	s = must(goleveldb.Open(vol, "/db", nil))(t)
	db := must(leveldb.Open(s, nil))(t)
	ok(t, db.Put([]byte("a"), nil, nil))
	ok(t, db.Close())
	ok(t, s.Close())

	// But a database that has lost its CURRENT is left to goleveldb, which says so.
	ok(t, vol.Remove(t.Context(), "/db/CURRENT"))
	s = must(goleveldb.Open(vol, "/db", nil))(t)
	if _, err := leveldb.Open(s, nil); err == nil || os.IsNotExist(err) {
		t.Fatalf("a database without a CURRENT: %v", err)
	}
	db = must(leveldb.Recover(s, nil))(t)
	if n := len(contents(t, db)); n != 1 {
		t.Errorf("%d keys after Recover", n)
	}
	ok(t, db.Close())
	ok(t, s.Close())
}

// A directory goes into a volume and back.
func TestCopyInAndOut(t *testing.T) {
	dir := t.TempDir()
	db := must(leveldb.OpenFile(dir, &opt.Options{WriteBuffer: 16 << 10}))(t)
	fill := func(db *leveldb.DB, from, to int) {
		for i := from; i < to; i++ {
			ok(t, db.Put(fmt.Appendf(nil, "key%05d", i), []byte(strings.Repeat(fmt.Sprint(i), 10)), nil))
		}
	}
	fill(db, 0, 2000)
	ok(t, db.Close())
	vol := enginetest.OpenVol(t, enginetest.MemHome().Open(t), nil)
	ok(t, vol.MkdirAll(t.Context(), "/db"))
	for _, e := range must(os.ReadDir(dir))(t) {
		put(t, vol, "/db/"+e.Name(), string(must(os.ReadFile(filepath.Join(dir, e.Name())))(t)))
	}
	s := must(goleveldb.Open(vol, "/db", nil))(t)
	db = must(leveldb.Open(s, goleveldb.Tune(&opt.Options{WriteBuffer: 16 << 10, ErrorIfMissing: true})))(t)
	if n := len(contents(t, db)); n != 2000 {
		t.Fatalf("%d keys in the volume", n)
	}
	fill(db, 2000, 4000)
	ok(t, db.Close())
	ok(t, s.Close())
	out := t.TempDir()
	for _, n := range must(vol.List(t.Context(), "/db"))(t) {
		f := must(vol.Open(t.Context(), "/db/"+n, nil))(t)
		ok(t, os.WriteFile(filepath.Join(out, n), must(io.ReadAll(f))(t), 0o644))
		ok(t, f.Close())
	}
	db = must(leveldb.OpenFile(out, &opt.Options{ErrorIfMissing: true}))(t)
	if n := len(contents(t, db)); n != 4000 {
		t.Fatalf("%d keys on the disk", n)
	}
	ok(t, db.Close())
}

func TestDatabase(t *testing.T) {
	for _, h := range enginetest.Homes {
		t.Run(h.Name, func(t *testing.T) {
			home := h.New(t)
			machine := enginetest.Start(t, home, nil)
			o := goleveldb.Tune(&opt.Options{WriteBuffer: 32 << 10, CompactionTableSize: 16 << 10, CompactionTotalSize: 64 << 10})
			db := must(leveldb.Open(must(goleveldb.Open(machine.Vol, "/db", nil))(t), o))(t)
			var mu sync.Mutex
			want := map[string]string{}
			var wg sync.WaitGroup
			for w := range 4 {
				wg.Go(func() {
					for i := range 40 {
						b := new(leveldb.Batch)
						for j := range 20 {
							k, v := fmt.Sprintf("w%d/%03d", w, (i*7+j)%150), strings.Repeat(fmt.Sprint(i), 40)
							b.Put([]byte(k), []byte(v))
							mu.Lock()
							want[k] = v
							mu.Unlock()
						}
						if err := db.Write(b, &opt.WriteOptions{Sync: i%10 == 9}); err != nil {
							t.Error(err)
						}
					}
				})
			}
			wg.Wait()
			ok(t, db.CompactRange(util.Range{}))
			machine.Die() // nothing is closed, nothing local is left
			vol := enginetest.OpenVol(t, home.Open(t), nil)
			s := must(goleveldb.Open(vol, "/db", nil))(t)
			db = must(leveldb.Open(s, goleveldb.Tune(&opt.Options{ErrorIfMissing: true})))(t)
			got := contents(t, db)
			if len(got) != len(want) {
				t.Errorf("%d keys on another machine, want %d", len(got), len(want))
			}
			for k, v := range want {
				if got[k] != v {
					t.Fatalf("%s is %.20q, want %.20q", k, got[k], v)
				}
			}
			ok(t, db.Close())
			ok(t, s.Close())
			ok(t, vol.Close())
		})
	}
}

func TestTune(t *testing.T) {
	o := goleveldb.Tune(nil)
	if o.GetWriteBuffer() != 64<<20 || o.GetBlockSize() != 32<<10 || o.GetCompactionTableSize(3) != 16<<20 || o.GetCompactionTotalSize(1) != 320<<20 ||
		o.GetOpenFilesCacheCapacity() != 10_000 || o.GetWriteL0PauseTrigger() != 40 || o.Filter == nil || !o.DisableSeeksCompaction {
		t.Errorf("Tune: %+v", o)
	}
	mine := &opt.Options{WriteBuffer: 1 << 20, BlockSize: 4 << 10}
	if got := goleveldb.Tune(mine); got != mine || mine.WriteBuffer != 1<<20 || mine.BlockSize != 4<<10 {
		t.Errorf("Tune changes the caller's choices: %+v", mine)
	}
}

// puts counts PUTs.
type puts struct {
	driver.Store
	n atomic.Int64
}

func (p *puts) Put(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
	p.n.Add(1)
	return p.Store.Put(ctx, key, data, o)
}

// TestSyncedWriteIsOnePut: a synced write costs one PUT; a table two, its object and the frame of the Sync that goleveldb asks for.
func TestSyncedWriteIsOnePut(t *testing.T) {
	store := &puts{Store: enginetest.MemHome().Open(t)}
	s := must(goleveldb.Open(enginetest.OpenVol(t, store, &forstfs.Options{FlushDelay: -1}), "/db", nil))(t)
	db := must(leveldb.Open(s, goleveldb.Tune(nil)))(t)
	ok(t, db.Put([]byte("first"), nil, &opt.WriteOptions{Sync: true}))
	before := store.n.Load()
	for i := range 10 {
		ok(t, db.Put(fmt.Append(nil, i), []byte("v"), &opt.WriteOptions{Sync: true}))
	}
	if n := store.n.Load() - before; n != 10 {
		t.Errorf("%d PUTs for 10 synced writes", n)
	}
	before = store.n.Load()
	write(t, s, table(1000), "x")
	if n := store.n.Load() - before; n != 2 {
		t.Errorf("%d PUTs for a table", n)
	}
	ok(t, db.Close())
	ok(t, s.Close())
}
