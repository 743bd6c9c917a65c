package move_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	pebble1 "github.com/cockroachdb/pebble"
	"github.com/cockroachdb/pebble/v2"
	"github.com/syndtr/goleveldb/leveldb"

	"github.com/forst-go/forst/engineadapter/pebblev2"
	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/fault"
	"github.com/forst-go/forst/forstfs/local"
	"github.com/forst-go/forst/forstfs/mem"
	"github.com/forst-go/forst/forstfs/s3"
	"github.com/forst-go/forst/internal/testenv"
	"github.com/forst-go/forst/move"
)

var ctx = context.Background()

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%+v", err)
	}
}

const records = 1200

func record(i int) (k, v []byte) {
	r := rand.New(rand.NewPCG(uint64(i), 3))
	v = make([]byte, 300)
	for j := range v {
		v[j] = byte(r.Uint32())
	}
	return fmt.Appendf(nil, "key-%05d", i), v
}

// engines make a local database with all records in tables and logs, and look for them.
var engines = []struct {
	name string
	make func(t *testing.T, dir string)
	look func(t *testing.T, dir string)
}{
	{"pebble v2", func(t *testing.T, dir string) {
		db, err := pebble.Open(dir, &pebble.Options{MemTableSize: 64 << 10})
		ok(t, err)
		for i := range records {
			k, v := record(i)
			ok(t, db.Set(k, v, pebble.NoSync))
			if i == records/2 {
				ok(t, db.Flush())
			}
		}
		ok(t, db.Close())
	}, func(t *testing.T, dir string) {
		db, err := pebble.Open(dir, &pebble.Options{ErrorIfNotExists: true})
		ok(t, err)
		hasRecords(t, db)
	}},
	{"pebble v1", func(t *testing.T, dir string) {
		db, err := pebble1.Open(dir, &pebble1.Options{MemTableSize: 64 << 10})
		ok(t, err)
		for i := range records {
			k, v := record(i)
			ok(t, db.Set(k, v, pebble1.NoSync))
		}
		ok(t, db.Close())
	}, func(t *testing.T, dir string) {
		db, err := pebble1.Open(dir, &pebble1.Options{ErrorIfNotExists: true})
		ok(t, err)
		hasRecords(t, db)
	}},
	{"goleveldb", func(t *testing.T, dir string) {
		db, err := leveldb.OpenFile(dir, nil)
		ok(t, err)
		for i := range records {
			k, v := record(i)
			ok(t, db.Put(k, v, nil))
		}
		ok(t, db.Close())
	}, func(t *testing.T, dir string) {
		db, err := leveldb.OpenFile(dir, nil)
		ok(t, err)
		for i := range records {
			k, v := record(i)
			got, err := db.Get(k, nil)
			ok(t, err)
			same(t, k, got, v)
		}
		ok(t, db.Close())
	}},
}

func same(t *testing.T, k, got, want []byte) {
	t.Helper()
	if string(got) != string(want) {
		t.Fatalf("%s: %d bytes, not those that were written", k, len(got))
	}
}

// home is where a volume is; each call opens its store.
type home func() (driver.Store, error)

func inMemory() home {
	b := mem.NewBucket(nil)
	return func() (driver.Store, error) { return b.Open("vol") }
}

// homes calls fn for a volume in memory, on a local directory and on a server.
func homes(t *testing.T, fn func(t *testing.T, fresh func() home)) {
	t.Run("mem", func(t *testing.T) { fn(t, inMemory) })
	t.Run("local", func(t *testing.T) {
		fn(t, func() home {
			dir := t.TempDir()
			return func() (driver.Store, error) { return local.Open(ctx, dir, nil) }
		})
	})
	t.Run("s3", func(t *testing.T) {
		server := testenv.S3(t)
		bucket := server.Bucket(t)
		n := 0
		fn(t, func() home {
			n++
			u, err := url.Parse(server.URLIn(bucket, fmt.Sprintf("vol%d", n)))
			return func() (driver.Store, error) {
				if err != nil {
					return nil, err
				}
				return s3.OpenURL(ctx, u)
			}
		})
	})
}

func open(t testing.TB, b home, rules ...fault.Rule) *forstfs.FS {
	t.Helper()
	s, err := b()
	ok(t, err)
	v, err := forstfs.Open(ctx, fault.New(s, &fault.Options{Rules: rules}), &forstfs.Options{
		Create: forstfs.CreateIfMissing, SkipProbe: true, CacheMode: forstfs.CacheOff, ObjectSize: 64 << 10, RetryBudget: time.Minute})
	ok(t, err)
	t.Cleanup(func() { _ = v.Close() })
	return v
}

func TestRoundTrip(t *testing.T) {
	homes(t, roundTrip)
}

func roundTrip(t *testing.T, fresh func() home) {
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			b, dir := fresh(), t.TempDir()
			e.make(t, dir)
			v := open(t, b)
			var most int64
			var mu sync.Mutex
			res, err := move.Import(ctx, v, dir, &move.Options{Progress: func(done, total int64) {
				mu.Lock()
				defer mu.Unlock()
				if most = max(most, done); done > total {
					t.Errorf("%d bytes of %d are done", done, total)
				}
			}})
			ok(t, err)
			if res.Path != "/db" || res.Bytes < records*300 || most != 2*res.Bytes {
				t.Fatalf("%+v, progress up to %d", res, most)
			}
			if _, err := move.Import(ctx, v, dir, nil); !errors.Is(err, move.ErrNotEmpty) {
				t.Fatalf("imported over a database: %v", err)
			}
			out := filepath.Join(t.TempDir(), "new", "place")
			back, err := move.Export(ctx, v, out, nil)
			ok(t, err)
			if back.Bytes != res.Bytes || back.Files != res.Files {
				t.Fatalf("%+v came in, %+v out", res, back)
			}
			if _, err := move.Export(ctx, v, out, nil); !errors.Is(err, move.ErrNotEmpty) {
				t.Fatalf("exported over a database: %v", err)
			}
			e.look(t, out)
			e.look(t, dir)
		})
	}
}

// What was imported is a database on the volume, too.
func TestImportedIsOpened(t *testing.T) {
	b, dir := inMemory(), t.TempDir()
	engines[0].make(t, dir)
	v := open(t, b)
	_, err := move.Import(ctx, v, dir, &move.Options{Path: "/some/where"})
	ok(t, err)
	db, err := pebble.Open("/some/where", pebblev2.Tune(&pebble.Options{FS: pebblev2.New(v), ErrorIfNotExists: true}))
	ok(t, err)
	k, want := record(7)
	got, c, err := db.Get(k)
	ok(t, err)
	same(t, k, got, want)
	ok(t, c.Close())
	ok(t, db.Close())
}

// An import is stopped after each part of its bytes, as by a kill: the volume is left as it is and taken over. It never shows a database before it is whole, and goes on
// where it stopped.
func TestImportResumes(t *testing.T) { homes(t, importResumes) }

func importResumes(t *testing.T, fresh func() home) {
	b, dir := fresh(), t.TempDir()
	engines[0].make(t, dir)
	var resumed int64
	for stop := int64(50_000); ; stop += 100_000 {
		v := open(t, b)
		c, cancel := context.WithCancel(ctx)
		res, err := move.Import(c, v, dir, &move.Options{Parallel: 1, Progress: func(done, _ int64) {
			if done > stop {
				cancel()
			}
		}})
		cancel()
		if err == nil {
			if resumed = res.Resumed; resumed == 0 {
				t.Fatalf("nothing was kept of what was imported before: %+v", res)
			}
			break
		}
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("%v", err)
		}
		if _, err := v.Stat(ctx, "/db"); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("half an import is there: %v", err)
		}
		if dbs, err := move.Databases(ctx, v); err != nil || len(dbs) != 0 {
			t.Fatalf("half an import looks like a database: %v %v", dbs, err)
		}
	}
	v := open(t, b)
	names, err := v.List(ctx, "/")
	ok(t, err)
	if len(names) != 1 || names[0] != "db" {
		t.Fatalf("left behind: %v", names)
	}
	out := filepath.Join(t.TempDir(), "out")
	_, err = move.Export(ctx, v, out, nil)
	ok(t, err)
	engines[0].look(t, out)
}

func TestRefuses(t *testing.T) {
	v := open(t, inMemory())
	if _, err := move.Import(ctx, v, t.TempDir(), nil); !errors.Is(err, move.ErrNoDatabase) {
		t.Fatalf("an empty directory: %v", err)
	}
	if _, err := move.Import(ctx, v, filepath.Join(t.TempDir(), "none"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("no directory: %v", err)
	}
	dir := t.TempDir()
	db, err := leveldb.OpenFile(dir, nil)
	ok(t, err)
	ok(t, db.Put([]byte("a"), []byte("b"), nil))
	if _, err := move.Import(ctx, v, dir, nil); !errors.Is(err, move.ErrOpen) {
		t.Fatalf("a database that is open: %v", err)
	}
	ok(t, db.Close())
	if _, err := move.Export(ctx, v, filepath.Join(t.TempDir(), "x"), nil); !errors.Is(err, move.ErrNoDatabase) {
		t.Fatalf("an empty volume: %v", err)
	}
	ok(t, os.Symlink("CURRENT", filepath.Join(dir, "000099.ldb")))
	if _, err := move.Import(ctx, v, dir, nil); err == nil {
		t.Fatalf("a link was taken for a table")
	}
	if names, err := v.List(ctx, "/"); err != nil || len(names) != 0 {
		t.Fatalf("refused, and left %v %v", names, err)
	}
}

// A store that gives back other bytes than it got is found out before the database appears.
func TestVerifies(t *testing.T) {
	b, dir := inMemory(), t.TempDir()
	engines[0].make(t, dir)
	v := open(t, b, fault.Rule{Ops: []fault.Op{fault.Get}, Prefix: "data/", Do: fault.Flip(1000)})
	if _, err := move.Import(ctx, v, dir, nil); !errors.Is(err, move.ErrVerify) {
		t.Fatalf("flipped bits were imported: %v", err)
	}
	if _, err := v.Stat(ctx, "/db"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("and the database is there: %v", err)
	}
}

// hasRecords closes the database, too.
func hasRecords(t *testing.T, db interface {
	io.Closer
	Get(key []byte) ([]byte, io.Closer, error)
}) {
	t.Helper()
	for i := range records {
		k, v := record(i)
		got, c, err := db.Get(k)
		ok(t, err)
		same(t, k, got, v)
		ok(t, c.Close())
	}
	ok(t, db.Close())
}
