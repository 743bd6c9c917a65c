package pebbleremote_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/objstorage"
	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/objstorage/remote"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/forst-go/forst/engineadapter/internal/enginetest"
	"github.com/forst-go/forst/engineadapter/pebbleremote"
)

// database opens a database whose tables are in s and whose other files are on disk, with small tables.
func database(t testing.TB, disk vfs.FS, s *pebbleremote.Storage, strategy remote.CreateOnSharedStrategy) *pebble.DB {
	t.Helper()
	o := &pebble.Options{
		FS:                          disk,
		FormatMajorVersion:          pebble.FormatNewest,
		MemTableSize:                64 << 10,
		CacheSize:                   64 << 10,
		L0CompactionThreshold:       2,
		LBaseMaxBytes:               64 << 10,
		DisableAutomaticCompactions: true,
		Logger:                      quiet{},
		EventListener:               &pebble.EventListener{BackgroundError: func(err error) { t.Errorf("background error: %+v", err) }},
	}
	o.TargetFileSizes[0] = 32 << 10
	o.Experimental.RemoteStorage = remote.MakeSimpleFactory(map[remote.Locator]remote.Storage{"": s, "other": s})
	o.Experimental.CreateOnShared = strategy
	db, err := pebble.Open("db", o)
	ok(t, err)
	ok(t, db.SetCreatorID(1))
	return db
}

type quiet struct{}

func (quiet) Infof(string, ...any)           {}
func (quiet) Errorf(string, ...any)          {}
func (quiet) Fatalf(format string, a ...any) { panic(fmt.Sprintf(format, a...)) }

func key(i int) []byte          { return fmt.Appendf(nil, "k%05d", i) }
func value(round, i int) []byte { return bytes.Repeat(fmt.Appendf(nil, "%d/%d.", round, i), 20) }

func fill(t testing.TB, db *pebble.DB, round int) {
	t.Helper()
	for i := range 1500 {
		ok(t, db.Set(key(i), value(round, i), pebble.NoSync))
	}
	ok(t, db.Flush())
}

func verify(t testing.TB, db *pebble.DB, round int) {
	t.Helper()
	it, err := db.NewIter(nil)
	ok(t, err)
	n := 0
	for valid := it.First(); valid; valid = it.Next() {
		if !bytes.Equal(it.Key(), key(n)) || !bytes.Equal(it.Value(), value(round, n)) {
			t.Fatalf("key %d: %q", n, it.Key())
		}
		n++
	}
	ok(t, it.Close())
	if n != 1500 {
		t.Fatalf("%d keys, want 1500", n)
	}
	v, c, err := db.Get(key(777))
	ok(t, err)
	if !bytes.Equal(v, value(round, 777)) {
		t.Fatal("Get gives another value")
	}
	ok(t, c.Close())
}

// TestDatabase writes, flushes, compacts and reopens a database with its tables in the store; the cold one has no cached block.
func TestDatabase(t *testing.T) {
	onHomes(t, func(t *testing.T, h enginetest.Home) {
		for name, strategy := range map[string]remote.CreateOnSharedStrategy{"all": remote.CreateOnSharedAll, "lower": remote.CreateOnSharedLower} {
			t.Run(name, func(t *testing.T) {
				store, disk := h.Open(t), vfs.NewMem()
				defer store.Close()
				s := newStorage(t, store, nil)
				db := database(t, disk, s, strategy)
				for round := range 2 {
					fill(t, db, round)
					ok(t, db.Compact(ctx, key(0), key(99999), false))
					verify(t, db, round)
				}
				if len(must(tables(s))(t)) == 0 {
					t.Fatal("no table in the store")
				}
				ok(t, db.Close())
				ok(t, s.Close())

				s = newStorage(t, store, nil)
				db = database(t, disk, s, strategy)
				verify(t, db, 1)
				ok(t, db.DeleteRange(key(0), key(99999), nil))
				ok(t, db.Compact(ctx, key(0), key(99999), false))
				ok(t, db.Close()) // waits for what is to be deleted
				if left, err := s.List("", ""); err != nil || len(left) > 2 {
					t.Errorf("left behind in the store: %q, %v", left, err)
				}
				for _, name := range must(disk.List("db"))(t) {
					if strategy == remote.CreateOnSharedAll && strings.HasSuffix(name, ".sst") {
						t.Errorf("a table on the disk: %s", name)
					}
				}
				cleanup(t, s)
			})
		}
	})
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T { t.Helper(); ok(t, err); return v }
}

func cleanup(t testing.TB, s *pebbleremote.Storage) {
	for _, name := range must(s.List("", ""))(t) {
		ok(t, s.Delete(name))
	}
}

func tables(s *pebbleremote.Storage) (names []string, err error) {
	all, err := s.List("", "")
	for _, n := range all {
		if strings.HasSuffix(n, ".sst") {
			names = append(names, n)
		}
	}
	return names, err
}

// TestDatabaseRequests: a table is two PUTs and no read; a cold database reads each with one Stat and few GETs.
func TestDatabaseRequests(t *testing.T) {
	c, disk := count(enginetest.MemHome().Open(t)), vfs.NewMem()
	s := newStorage(t, c, nil)
	db := database(t, disk, s, remote.CreateOnSharedAll)
	fill(t, db, 0)
	ok(t, db.Compact(ctx, key(0), key(99999), false))
	verify(t, db, 0)
	ok(t, db.Close())
	n := c.take()
	if n["put"] == 0 || n["put"]%2 != 0 || n["get"] != 0 || n["stat"] != 0 {
		t.Errorf("writing, compacting and reading back: %v", n)
	}
	t.Logf("written: %v", n)
	left, err := tables(s)
	ok(t, err)
	s = newStorage(t, c, nil)
	db = database(t, disk, s, remote.CreateOnSharedAll)
	verify(t, db, 0)
	ok(t, db.Close())
	n = c.take()
	t.Logf("%d tables read cold: %v", len(left), n)
	if n["put"] != 0 || n["get"] > len(left) || n["stat"] > 2*len(left) {
		t.Errorf("%d tables of one GET each, read cold: %v", len(left), n)
	}
}

// TestExternalFile puts a table under a name of its own and makes it part of a database, which never deletes it.
func TestExternalFile(t *testing.T) {
	onHomes(t, func(t *testing.T, h enginetest.Home) {
		store, disk := h.Open(t), vfs.NewMem()
		defer store.Close()
		s := newStorage(t, store, nil)
		db := database(t, disk, s, remote.CreateOnSharedAll)
		w, err := s.CreateObject("backup/one.sst")
		ok(t, err)
		tw := sstable.NewWriter(objstorageprovider.NewRemoteWritable(w), sstable.WriterOptions{TableFormat: db.TableFormat()})
		for i := range 1500 {
			ok(t, tw.Set(key(i), value(9, i)))
		}
		ok(t, tw.Close())
		size, err := s.Size("backup/one.sst")
		ok(t, err)
		_, err = db.IngestExternalFiles(ctx, []pebble.ExternalFile{{
			Locator: "other", ObjName: "backup/one.sst", Size: uint64(size), StartKey: key(0), EndKey: key(99999), HasPointKey: true,
		}})
		ok(t, err)
		verify(t, db, 9)
		ok(t, db.Close())

		s = newStorage(t, store, nil)
		db = database(t, disk, s, remote.CreateOnSharedAll)
		verify(t, db, 9)
		fill(t, db, 10)
		ok(t, db.Compact(ctx, key(0), key(99999), false))
		verify(t, db, 10)
		ok(t, db.Close())
		if _, err := s.Size("backup/one.sst"); err != nil {
			t.Errorf("the external file after the compaction that replaced it: %v", err)
		}
	})
}

// failing is a table under way whose writing ends with an error of Pebble's side.
type failing struct {
	objstorage.Writable
	left int
}

var errBroken = errors.New("broken")

func (f *failing) Write(p []byte) error {
	if f.left--; f.left < 0 {
		return errBroken
	}
	return f.Writable.Write(p)
}

// TestTableGivenUp: Pebble gives up a table that it has half written; nothing of it is in the store.
func TestTableGivenUp(t *testing.T) {
	s := newStorage(t, enginetest.MemHome().Open(t), nil)
	w, err := s.CreateObject("one.sst")
	ok(t, err)
	f := &failing{objstorageprovider.NewRemoteWritable(w), 10}
	tw := sstable.NewWriter(f, sstable.WriterOptions{BlockSize: 512, TableFormat: sstable.TableFormatMax})
	for i := range 1500 {
		if err = tw.Set(key(i), value(0, i)); err != nil {
			break
		}
	}
	if err := tw.Close(); !errors.Is(err, errBroken) || f.left >= 0 {
		t.Fatalf("a table with an error is finished: %v", err)
	}
	if names, err := s.List("", ""); err != nil || len(names) != 0 {
		t.Errorf("left %q, %v", names, err)
	}
}
