package pebblev2_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/forst-go/forst/engineadapter/pebblev2"
	"github.com/forst-go/forst/forstfs"
)

// contents reads a whole database.
func contents(t testing.TB, r pebble.Reader) map[string]string {
	t.Helper()
	return must(scan(r))(t)
}

func scan(r pebble.Reader) (map[string]string, error) {
	it, err := r.NewIter(nil)
	if err != nil {
		return nil, err
	}
	m := map[string]string{}
	for valid := it.First(); valid; valid = it.Next() {
		m[string(it.Key())] = string(it.Value())
	}
	return m, it.Close() // gives the iterator's error, too
}

func sameContents(t testing.TB, what string, got, want map[string]string) {
	t.Helper()
	if maps.Equal(got, want) {
		return
	}
	for _, k := range slices.Sorted(maps.Keys(want)) {
		if v, there := got[k]; !there || v != want[k] {
			t.Fatalf("%s: %d keys, want %d; %q is %.40q (there: %v), want %.40q", what, len(got), len(want), k, v, there, want[k])
		}
	}
	t.Fatalf("%s: %d keys, want %d", what, len(got), len(want))
}

// ingest builds a table with one key beside the database and ingests it.
func ingest(t testing.TB, fs vfs.FS, db *pebble.DB, key, value string) {
	t.Helper()
	f := create(t, fs, "/ext.sst")
	w := sstable.NewWriter(objstorageprovider.NewFileWritable(f), sstable.WriterOptions{TableFormat: db.TableFormat()})
	ok(t, w.Set([]byte(key), []byte(value)))
	ok(t, w.Close())
	ok(t, db.Ingest(context.Background(), []string{"/ext.sst"}))
	if _, err := fs.Stat("/ext.sst"); err == nil {
		t.Fatal("the ingested file is still there under its old name")
	}
}

func TestDatabase(t *testing.T) {
	for _, h := range homes {
		t.Run(h.Name, func(t *testing.T) { testDatabase(t, h.New(t)) })
	}
}

func testDatabase(t *testing.T, h home) {
	machine, fs := start(t, h, nil)
	db := openDB(t, "/db", options(fs))
	want := map[string]string{}
	set := func(k, v string) {
		t.Helper()
		ok(t, db.Set([]byte(k), []byte(v), pebble.Sync))
		want[k] = v
	}
	bulk := func(round int) {
		t.Helper()
		b := db.NewBatch()
		for i := range 400 {
			k, v := fmt.Sprintf("key%04d", (i*37+round)%1000), strings.Repeat(fmt.Sprint(round, i), 30)
			ok(t, b.Set([]byte(k), []byte(v), nil))
			want[k] = v
		}
		ok(t, b.Commit(pebble.Sync))
	}
	for round := range 6 {
		bulk(round)
		set(fmt.Sprintf("round%d", round), "x")
	}
	ok(t, db.DeleteRange([]byte("key0100"), []byte("key0200"), pebble.Sync))
	maps.DeleteFunc(want, func(k, _ string) bool { return "key0100" <= k && k < "key0200" })
	ok(t, db.Flush())
	for i := 0; i < 1000; i += 10 {
		k := fmt.Sprintf("key%04d", i)
		ok(t, db.Delete([]byte(k), pebble.Sync))
		delete(want, k)
	}
	ingest(t, fs, db, "ingested", "one")
	want["ingested"] = "one"
	set("ingested2", "memtable")
	ingest(t, fs, db, "ingested2", "overlaps the memtable")
	want["ingested2"] = "overlaps the memtable"
	sameContents(t, "before the checkpoint", contents(t, db), want)
	ok(t, db.Checkpoint("/checkpoints/one", pebble.WithFlushedWAL()))
	atCheckpoint := maps.Clone(want)
	bulk(77)
	ok(t, db.Compact(context.Background(), []byte("a"), []byte("z"), true))
	bulk(78)
	set("last", "word")
	sameContents(t, "before the end", contents(t, db), want)

	machine.Die() // nothing is closed, nothing local is left; another one opens the store
	vol2 := openVol(t, h.Open(t), nil)
	fs2 := pebblev2.New(vol2)
	o := options(fs2)
	o.ErrorIfNotExists = true
	db2 := openDB(t, "/db", o)
	sameContents(t, "on another machine", contents(t, db2), want)
	sst := must(fs2.List("/db"))(t)
	ok(t, db2.Close())
	equal(t, "tables were made", slices.ContainsFunc(sst, func(n string) bool { return strings.HasSuffix(n, ".sst") }), true)

	cp := openDB(t, "/checkpoints/one", options(fs2))
	sameContents(t, "the checkpoint", contents(t, cp), atCheckpoint)
	ok(t, cp.Set([]byte("branch"), nil, pebble.Sync))
	ok(t, cp.Close())
	db2 = openDB(t, "/db", options(fs2))
	sameContents(t, "after the checkpoint was written to", contents(t, db2), want)
	ok(t, db2.Compact(context.Background(), []byte("a"), []byte("z"), false))
	ok(t, db2.Close())
	ok(t, vol2.Close())

	// Closed in good order, and opened once more.
	db3 := openDB(t, "/db", options(pebblev2.New(openVol(t, h.Open(t), nil))))
	sameContents(t, "after a clean close", contents(t, db3), want)
	ok(t, db3.Close())
}

func TestDisableWALAndFlush(t *testing.T) {
	h := memHome()
	machine, fs := start(t, h, nil)
	o := options(fs)
	o.DisableWAL = true
	db := openDB(t, "/db", o)
	want := map[string]string{}
	for i := range 300 {
		k := fmt.Sprint("k", i)
		ok(t, db.Set([]byte(k), []byte("v"), pebble.NoSync))
		want[k] = "v"
	}
	ok(t, db.Flush())
	ok(t, db.Set([]byte("never flushed"), nil, pebble.NoSync))
	machine.Die()
	db = openDB(t, "/db", options(pebblev2.New(openVol(t, h.Open(t), nil))))
	sameContents(t, "what was flushed", contents(t, db), want)
	ok(t, db.Close())
}

func TestReadOnly(t *testing.T) {
	h := memHome()
	db := openDB(t, "/db", options(pebblev2.New(openVol(t, h.Open(t), nil))))
	want := map[string]string{}
	for i := range 2000 {
		k := fmt.Sprint("k", i)
		ok(t, db.Set([]byte(k), []byte(strings.Repeat("v", 100)), pebble.NoSync))
		want[k] = strings.Repeat("v", 100)
	}
	ok(t, db.LogData(nil, pebble.Sync))

	// A reader beside the live writer: tables, MANIFEST and the tail of the WAL.
	vol := must(forstfs.OpenReadOnly(context.Background(), h.Open(t), nil))(t)
	o := options(pebblev2.New(vol))
	o.ReadOnly = true
	ro := openDB(t, "/db", o)
	sameContents(t, "a reader beside the writer", contents(t, ro), want)
	if err := ro.Set([]byte("x"), nil, pebble.Sync); !errors.Is(err, pebble.ErrReadOnly) {
		t.Errorf("Set on a read-only database: %v", err)
	}
	if _, err := o.FS.Create("/db/x", ""); !errors.Is(err, forstfs.ErrReadOnly) {
		t.Errorf("Create on a read-only volume: %v", err)
	}
	ok(t, ro.Close())
	ok(t, vol.Close())
	ok(t, db.Set([]byte("and the writer"), []byte("goes on"), pebble.Sync))
	ok(t, db.Close())
}

// stopLogger stops the goroutine that Pebble would end the process from.
type stopLogger struct {
	testLogger
	fatal chan string
}

func (l stopLogger) Fatalf(format string, args ...any) {
	l.fatal <- fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func TestFencedDatabaseNeverAcknowledges(t *testing.T) {
	h := memHome()
	vol := openVol(t, h.Open(t), nil)
	o := options(pebblev2.New(vol))
	log := stopLogger{testLogger{}, make(chan string, 16)}
	o.Logger = log
	db := must(pebble.Open("/db", o))(t)
	ok(t, db.Set([]byte("a"), []byte("1"), pebble.Sync))

	db2 := openDB(t, "/db", options(pebblev2.New(openVol(t, h.Open(t), nil))))
	acked := make(chan error, 1)
	go func() {
		defer close(acked)
		acked <- db.Set([]byte("b"), []byte("2"), pebble.Sync)
	}()
	select {
	case msg := <-log.fatal:
		if !strings.Contains(msg, forstfs.ErrFenced.Error()) {
			t.Errorf("Pebble ended with %q, which does not say that the volume is fenced", msg)
		}
	case err := <-acked:
		if err == nil {
			t.Fatal("a fenced database acknowledged a commit")
		}
	}
	if !errors.Is(vol.Err(), forstfs.ErrFenced) {
		t.Errorf("the volume's error is %v", vol.Err())
	}
	sameContents(t, "the new writer", contents(t, db2), map[string]string{"a": "1"})
	ok(t, db2.Close())
}

func TestSeveralDatabasesInOneVolume(t *testing.T) {
	h := memHome()
	machine, fs := start(t, h, nil)
	want := map[string]string{}
	for i := range 4 {
		dir := fmt.Sprint("shard", i)
		db := openDB(t, dir, options(fs))
		ok(t, db.Set([]byte(dir), []byte("x"), pebble.Sync))
		want[dir] = "x"
	}
	if _, err := pebble.Open("/shard1", options(fs)); err == nil {
		t.Fatal("one directory was opened twice in one process")
	}
	machine.Die()
	fs2 := pebblev2.New(openVol(t, h.Open(t), nil))
	got := map[string]string{}
	for i := range 4 {
		db := openDB(t, fmt.Sprint("/shard", i), options(fs2))
		maps.Copy(got, contents(t, db))
		ok(t, db.Close())
	}
	sameContents(t, "all shards", got, want)
}

func TestWALInAnotherDirectory(t *testing.T) {
	h := memHome()
	open := func(fs vfs.FS) *pebble.DB {
		o := options(fs)
		o.WALDir = "/wal/of/db"
		return openDB(t, "/db", o)
	}
	machine, fs := start(t, h, nil)
	ok(t, open(fs).Set([]byte("a"), []byte("1"), pebble.Sync))
	machine.Die()
	db := open(pebblev2.New(openVol(t, h.Open(t), nil)))
	sameContents(t, "with a WAL elsewhere", contents(t, db), map[string]string{"a": "1"})
	ok(t, db.Close())
}
