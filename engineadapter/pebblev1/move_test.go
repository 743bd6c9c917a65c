package pebblev1_test

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble"
	"github.com/cockroachdb/pebble/vfs"

	"github.com/forst-go/forst/engineadapter/pebblev1"
	"github.com/forst-go/forst/move"
)

// TestThereAndBack: a database directory of stock Pebble v1 is imported, opened, used and left with a log that is not flushed, on every kind of store; what is exported from there
// stock Pebble opens, checks and goes on with.
func TestThereAndBack(t *testing.T) {
	for _, h := range homes {
		for _, format := range formats {
			t.Run(fmt.Sprintf("%s/format %s", h.Name, format), func(t *testing.T) { testThereAndBack(t, h.New(t), format) })
		}
	}
}

func testThereAndBack(t *testing.T, h home, format pebble.FormatMajorVersion) {
	ctx, want := context.Background(), map[string]string{}
	stock := func() *pebble.Options {
		// No compactions: CheckLevels of v1 reads, without a lock, what they write.
		return logged(t, &pebble.Options{FS: vfs.Default, FormatMajorVersion: format, MemTableSize: 64 << 10, DisableAutomaticCompactions: true})
	}
	write := func(db *pebble.DB, who string) {
		t.Helper()
		for i := range 300 {
			k, v := fmt.Sprintf("%s-%04d", who, i), fmt.Sprintf("%s %0300d", who, i)
			ok(t, db.Set([]byte(k), []byte(v), pebble.NoSync))
			want[k] = v
			if i == 200 {
				ok(t, db.Flush()) // the rest stays in the log
			}
		}
		for k := range maps.Clone(want) {
			if k[len(k)-1] == '7' {
				ok(t, db.Delete([]byte(k), pebble.NoSync))
				delete(want, k)
			}
		}
		ok(t, db.LogData(nil, pebble.Sync))
	}

	src := filepath.Join(t.TempDir(), "src")
	db := must(pebble.Open(src, stock()))(t)
	write(db, "disk")
	ok(t, db.Close())

	vol := openVol(t, h.Open(t), nil)
	must(move.Import(ctx, vol, src, nil))(t)
	for _, who := range []string{"volume", "volume again"} {
		o := options(t, pebblev1.New(vol))
		o.FormatMajorVersion = format
		db = openDB(t, "/db", o)
		sameContents(t, "as it was left", db, want)
		write(db, who)
		ok(t, db.Compact([]byte("a"), []byte("z"), false))
		ok(t, db.Set([]byte("last"), []byte(who), pebble.Sync)) // in the log only
		want["last"] = who
		ok(t, db.Close())
		ok(t, vol.Close())
		vol = openVol(t, h.Open(t), nil)
	}

	dst := filepath.Join(t.TempDir(), "dst")
	must(move.Export(ctx, vol, dst, nil))(t)
	for range 2 {
		db = must(pebble.Open(dst, stock()))(t)
		sameContents(t, "what was exported", db, want)
		ok(t, db.CheckLevels(nil))
		write(db, "disk again")
		ok(t, db.Close())
	}
	// What came in is as it was.
	db = must(pebble.Open(src, stock()))(t)
	if got := must(scan(db))(t); len(got) == 0 || len(got) >= len(want) {
		t.Errorf("the imported directory has %d keys", len(got))
	}
	ok(t, db.Close())
}
