package pebblev2_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/forst-go/forst/engineadapter/pebblev2"
)

func manifestMarker(t testing.TB, fs vfs.FS, dir string) string {
	t.Helper()
	for _, n := range must(fs.List(dir))(t) {
		if strings.HasPrefix(n, "marker.manifest.") {
			return fs.PathJoin(dir, n)
		}
	}
	t.Fatalf("no manifest marker in %s", dir)
	return ""
}

// Without its manifest marker a database looks to Pebble like none: it would make an empty one over it and delete every table.
func TestDatabaseWithoutMarkerIsRefused(t *testing.T) {
	fs := newFS(t)
	db := openDB(t, "/db", options(fs))
	ok(t, db.Set([]byte("a"), []byte("1"), pebble.Sync))
	ok(t, db.Flush())
	ok(t, db.Close())
	marker := manifestMarker(t, fs, "/db")
	ok(t, fs.Remove(marker))
	before := must(fs.List("/db"))(t) // a tool may still look
	if _, err := pebble.Open("/db", logged(t, options(fs))); !errors.Is(err, pebblev2.ErrNoManifestMarker) {
		t.Fatalf("Open without a manifest marker: %v", err)
	}
	equalNames(t, "nothing was touched", must(fs.List("/db"))(t), before...)
	write(t, fs, marker, "") // what the message says
	db = openDB(t, "/db", options(fs))
	sameContents(t, "after the marker was restored", contents(t, db), map[string]string{"a": "1"})
	ok(t, db.Close())
}

func TestUnfinishedCheckpointIsRefused(t *testing.T) {
	fs := newFS(t)
	db := openDB(t, "/db", options(fs))
	ok(t, db.Set([]byte("a"), []byte("1"), pebble.Sync))
	ok(t, db.Checkpoint("/cp", pebble.WithFlushedWAL()))
	ok(t, db.Close())
	ok(t, fs.Remove(manifestMarker(t, fs, "/cp"))) // it is the last but the WAL
	if _, err := pebble.Open("/cp", logged(t, options(fs))); !errors.Is(err, pebblev2.ErrNoManifestMarker) {
		t.Fatalf("Open of an unfinished checkpoint: %v", err)
	}
	ok(t, fs.RemoveAll("/cp")) // what the message says
	ok(t, openDB(t, "/cp", options(fs)).Close())
}

// A crash while a database is created leaves a MANIFEST without a marker; that is no reason to refuse.
func TestUnfinishedCreationIsRepeated(t *testing.T) {
	fs := newFS(t)
	ok(t, fs.MkdirAll("/db", 0o755))
	write(t, fs, "/db/MANIFEST-000001", "torn")
	write(t, fs, "/db/some.sst", "not Pebble's")
	ok(t, openDB(t, "/db", options(fs)).Close())
}

// Only a directory that a database works in is guarded, and only while it does.
func TestGuardIsForLockedDirectories(t *testing.T) {
	fs := newFS(t)
	for _, dir := range []string{"/a", "/b"} {
		ok(t, fs.MkdirAll(dir, 0o755))
		write(t, fs, dir+"/000001.sst", "x")
	}
	l := must(fs.Lock("a/LOCK"))(t)
	other := must(fs.Lock("b/OTHER"))(t)
	if _, err := fs.List("/a/"); !errors.Is(err, pebblev2.ErrNoManifestMarker) {
		t.Errorf("List of the locked directory: %v", err)
	}
	must(fs.List("/b"))(t)
	write(t, fs, "/a/CURRENT", "") // a database of version 1: Pebble has its own message
	must(fs.List("/a"))(t)
	ok(t, fs.Remove("/a/CURRENT"))
	ok(t, l.Close())
	must(fs.List("/a"))(t)
	ok(t, other.Close())
}
