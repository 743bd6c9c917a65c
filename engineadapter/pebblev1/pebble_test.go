package pebblev1_test

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble"
	"github.com/cockroachdb/pebble/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/sstable"
	"github.com/cockroachdb/pebble/vfs"

	"github.com/forst-go/forst/engineadapter/pebblev1"
)

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

func sameContents(t testing.TB, what string, r pebble.Reader, want map[string]string) {
	t.Helper()
	if got := must(scan(r))(t); !maps.Equal(got, want) {
		t.Fatalf("%s: %d keys, want %d, or other values", what, len(got), len(want))
	}
}

// ingest builds a table with one key beside the database and ingests it.
func ingest(t testing.TB, fs vfs.FS, db *pebble.DB, key, value string) {
	t.Helper()
	w := sstable.NewWriter(objstorageprovider.NewFileWritable(create(t, fs, "/ext.sst")), sstable.WriterOptions{TableFormat: db.FormatMajorVersion().MaxTableFormat()})
	ok(t, w.Set([]byte(key), []byte(value)))
	ok(t, w.Close())
	ok(t, db.Ingest([]string{"/ext.sst"}))
	if _, err := fs.Stat("/ext.sst"); err == nil {
		t.Fatal("the ingested file is still there under its old name")
	}
}

// formats are the oldest, which finds its MANIFEST by CURRENT, and the newest, which finds it by a marker.
var formats = []pebble.FormatMajorVersion{pebble.FormatMostCompatible, pebble.FormatNewest}

func TestDatabase(t *testing.T) {
	for _, h := range homes {
		for _, format := range formats {
			t.Run(fmt.Sprintf("%s/format %s", h.Name, format), func(t *testing.T) { testDatabase(t, h.New(t), format) })
		}
	}
}

func testDatabase(t *testing.T, h home, format pebble.FormatMajorVersion) {
	machine, fs := start(t, h, nil)
	o := options(t, fs)
	o.FormatMajorVersion = format
	db := openDB(t, "/db", o)
	want := map[string]string{}
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
	for round := range 5 {
		bulk(round)
	}
	ok(t, db.DeleteRange([]byte("key0100"), []byte("key0200"), pebble.Sync))
	maps.DeleteFunc(want, func(k, _ string) bool { return "key0100" <= k && k < "key0200" })
	ok(t, db.Flush())
	ingest(t, fs, db, "ingested", "one")
	want["ingested"] = "one"
	sameContents(t, "before the checkpoint", db, want)
	ok(t, db.Checkpoint("/checkpoints/one", pebble.WithFlushedWAL()))
	atCheckpoint := maps.Clone(want)
	bulk(77)
	ok(t, db.Compact([]byte("a"), []byte("z"), true))
	bulk(78)

	machine.Die() // nothing is closed, nothing local is left; another one opens the store
	vol2 := openVol(t, h.Open(t), nil)
	fs2 := pebblev1.New(vol2)
	o = options(t, fs2)
	o.ErrorIfNotExists = true
	db2 := openDB(t, "/db", o)
	sameContents(t, "on another machine", db2, want)
	equal(t, "format", db2.FormatMajorVersion(), format)
	ok(t, db2.Close())
	cp := openDB(t, "/checkpoints/one", options(t, fs2))
	sameContents(t, "the checkpoint", cp, atCheckpoint)
	ok(t, cp.Set([]byte("branch"), nil, pebble.Sync))
	ok(t, cp.Close())
	db2 = openDB(t, "/db", options(t, fs2))
	sameContents(t, "after the checkpoint was written to", db2, want)
	ok(t, db2.Close())
	ok(t, vol2.Close())
}

// CURRENT is replaced by a rename onto it, at every open.
func TestCurrentIsReplacedAtOnce(t *testing.T) {
	h := memHome()
	for i := range 3 {
		machine, fs := start(t, h, nil)
		db := openDB(t, "/db", options(t, fs))
		ok(t, db.Set(fmt.Appendf(nil, "key%d", i), nil, pebble.Sync))
		name := strings.TrimSpace(read(t, fs, "/db/CURRENT"))
		must(fs.Stat("/db/" + name))(t)
		machine.Die()
		after := pebblev1.New(openVol(t, h.Open(t), nil))
		equal(t, "CURRENT on another machine", strings.TrimSpace(read(t, after, "/db/CURRENT")), name)
	}
	db := openDB(t, "/db", options(t, pebblev1.New(openVol(t, h.Open(t), nil))))
	equal(t, "keys", len(must(scan(db))(t)), 3)
	ok(t, db.Close())
}

// Without what names its MANIFEST a database looks to Pebble like none: it would make an empty one over it and delete every table.
func TestDatabaseWithoutCurrentIsRefused(t *testing.T) {
	for _, format := range formats {
		t.Run(format.String(), func(t *testing.T) {
			fs := pebblev1.New(openVol(t, memHome().Open(t), nil))
			open := func() (*pebble.DB, error) {
				o := logged(t, options(t, fs))
				o.FormatMajorVersion = format
				return pebble.Open("/db", o)
			}
			db := must(open())(t)
			ok(t, db.Set([]byte("a"), []byte("1"), pebble.Sync))
			ok(t, db.Flush())
			ok(t, db.Close())
			var pointer, content string
			for _, n := range must(fs.List("/db"))(t) {
				if n == "CURRENT" && format == pebble.FormatMostCompatible || strings.HasPrefix(n, "marker.manifest.") {
					pointer = "/db/" + n
				}
			}
			content = read(t, fs, pointer)
			ok(t, fs.Remove(pointer))
			before := must(fs.List("/db"))(t)
			if _, err := open(); !errors.Is(err, pebblev1.ErrNoManifestMarker) {
				t.Fatalf("Open without %s: %v", pointer, err)
			}
			equalNames(t, "nothing was touched", must(fs.List("/db"))(t), before...)
			write(t, fs, pointer, content) // what the message says
			db = must(open())(t)
			sameContents(t, "after the file was restored", db, map[string]string{"a": "1"})
			ok(t, db.Close())
		})
	}
}

func TestTune(t *testing.T) {
	o := pebblev1.Tune(nil)
	defer o.Cache.Unref()
	o.EnsureDefaults()
	ok(t, o.Validate())
	equal(t, "WALMinSyncInterval", o.WALMinSyncInterval(), time.Millisecond)
	equal(t, "MemTableSize", o.MemTableSize, 64<<20)
	equal(t, "MemTableStopWritesThreshold", o.MemTableStopWritesThreshold, 4)
	equal(t, "MaxManifestFileSize", o.MaxManifestFileSize, 1<<20)
	equal(t, "BytesPerSync", o.BytesPerSync, 1<<30)
	equal(t, "MaxOpenFiles", o.MaxOpenFiles, 10_000)
	equal(t, "L0StopWritesThreshold", o.L0StopWritesThreshold, 40)
	equal(t, "LBaseMaxBytes", o.LBaseMaxBytes, 256<<20)
	equal(t, "MaxConcurrentCompactions", o.MaxConcurrentCompactions(), 4)
	equal(t, "the cache has room beside the memtables", o.Cache.MaxSize() >= int64(o.MemTableSize)*4, true)
	equal(t, "levels", len(o.Levels), 7)
	equal(t, "TargetFileSize of the last level", o.Levels[6].TargetFileSize, 64<<20)
	for i := range o.Levels {
		l := &o.Levels[i]
		if l.BlockSize != 32<<10 || l.IndexBlockSize != 256<<10 || l.FilterPolicy == nil {
			t.Errorf("level %d: %+v", i, l)
		}
	}

	c := pebble.NewCache(1 << 20)
	defer c.Unref()
	mine := &pebble.Options{MemTableSize: 1 << 20, Cache: c, L0CompactionThreshold: 30, MaxConcurrentCompactions: func() int { return 1 },
		Levels: []pebble.LevelOptions{{TargetFileSize: 1 << 20, BlockSize: 1 << 20}}}
	if got := pebblev1.Tune(mine); got != mine {
		t.Fatal("Tune returns other options than it was given")
	}
	mine.EnsureDefaults()
	ok(t, mine.Validate())
	equal(t, "MemTableSize", mine.MemTableSize, 1<<20)
	equal(t, "Cache", mine.Cache, c)
	equal(t, "L0StopWritesThreshold leaves room above it", mine.L0StopWritesThreshold, 60)
	equal(t, "MaxConcurrentCompactions", mine.MaxConcurrentCompactions(), 1)
	equal(t, "Levels", len(mine.Levels), 1)
	equal(t, "TargetFileSize", mine.Levels[0].TargetFileSize, 1<<20)
	equal(t, "IndexBlockSize is no smaller", mine.Levels[0].IndexBlockSize, 1<<20)
}
