package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
)

func TestImportAndExport(t *testing.T) {
	src := t.TempDir()
	db, err := pebble.Open(src, &pebble.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Set([]byte("a"), []byte("b"), pebble.Sync); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	url := "file://" + t.TempDir()
	call := func(want int, args ...string) string {
		t.Helper()
		var out, errs strings.Builder
		if got := run(t.Context(), args, strings.NewReader(""), &out, &errs); got != want {
			t.Fatalf("forst %v: status %d, %s", args, got, errs.String())
		}
		return out.String() + errs.String()
	}
	if out := call(exitOK, "import", src, url); !strings.Contains(out, "directory /db") {
		t.Fatal(out)
	}
	call(exitUsage, "import", src, url)         // it is there already
	call(exitUsage, "import", t.TempDir(), url) // nothing to import
	call(exitUsage, "export", url, src)         // not empty
	dst := filepath.Join(t.TempDir(), "out")
	if out := call(exitOK, "export", "--json", url, dst); !strings.Contains(out, `"path": "/db"`) {
		t.Fatal(out)
	}
	if _, err := os.Stat(filepath.Join(dst, "LOCK")); !os.IsNotExist(err) {
		t.Fatalf("the lock was exported: %v", err)
	}
	if db, err = pebble.Open(dst, &pebble.Options{ErrorIfNotExists: true}); err != nil {
		t.Fatal(err)
	}
	v, c, err := db.Get([]byte("a"))
	if err != nil || string(v) != "b" {
		t.Fatalf("%q %v", v, err)
	}
	_ = c.Close()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}
