package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/internal/testenv"
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

// The life of an import and of an export of a snapshot, from the command line: the import is killed, again and again, and goes on; a directory that is open is refused; what
// comes out is what the snapshot holds, and stock Pebble opens it.
func TestMoveLocal(t *testing.T) { moves(t, fileURL(t.TempDir())) }

func TestMoveS3(t *testing.T) {
	t.Parallel()
	moves(t, testenv.S3(t).URL(t))
}

func moves(t *testing.T, url string) {
	c := commander{t}
	src := t.TempDir()
	db, err := pebble.Open(src, &pebble.Options{MemTableSize: 256 << 10, Logger: noPebbleLog{}})
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(err)
	value := []byte(pattern(4000))[:4000:4000]
	for i := range 1500 {
		check(db.Set(fmt.Appendf(nil, "k%05d", i), append(value, byte(i)), pebble.NoSync))
	}
	// In a process of its own: the engine's lock is no lock within one process.
	if out, err := exec.Command(os.Args[0], "import", src, url).CombinedOutput(); err == nil || !strings.Contains(string(out), "open") {
		t.Fatalf("import of a database that is open: %v\n%s", err, out)
	}
	check(db.Close())

	// SIGKILL, each time a little later, until it gets through.
	resumed := false
	for wait := 20 * time.Millisecond; ; wait += wait / 2 {
		p := exec.Command(os.Args[0], "import", "--json", src, url)
		var out, errs strings.Builder
		p.Stdout, p.Stderr = &out, &errs
		check(p.Start())
		kill := time.AfterFunc(wait, func() { _ = p.Process.Kill() })
		err := p.Wait()
		kill.Stop()
		if err == nil {
			var r moveResult
			fromJSON(t, out.String(), &r)
			resumed = r.Resumed > 0
			break
		}
		if p.ProcessState.ExitCode() != -1 { // it was not killed
			t.Fatalf("import: %v\n%s", err, errs.String())
		}
		if code, out, _ := forstRun(t, "ls", url); code == exitOK && strings.Contains("\n"+out, "\ndb/\n") {
			break // it was killed behind its last step: what is there has to be whole
		}
	}
	t.Logf("resumed: %v", resumed)
	c.want(exitUsage, nil, "import", src, url)
	c.want(exitOK, []string{"swept"}, "gc", "--now", "--take-over", url)
	c.want(exitOK, []string{" is whole", "0 orphans"}, "verify", url)

	// A snapshot, and then all is removed.
	c.want(exitOK, []string{"took "}, "snapshot", "create", "--take-over", url, "all")
	v, err := openVolume(t.Context(), url, forstfs.Options{})
	check(err)
	check(v.RemoveAll(t.Context(), "/db"))
	check(v.Close())
	c.want(exitUsage, nil, "export", url, filepath.Join(t.TempDir(), "none"))
	dst := filepath.Join(t.TempDir(), "out")
	c.want(exitFailed, []string{"no snapshot of this name"}, "export", withSnapshot(url, "other"), dst)
	c.want(exitOK, []string{"exported /db"}, "export", withSnapshot(url, "all"), dst)
	db, err = pebble.Open(dst, &pebble.Options{ErrorIfNotExists: true, Logger: noPebbleLog{}})
	check(err)
	it, err := db.NewIter(nil)
	check(err)
	n := 0
	for ok := it.First(); ok; ok = it.Next() {
		if string(it.Key()) != fmt.Sprintf("k%05d", n) || !bytes.Equal(it.Value(), append(value, byte(n))) {
			t.Fatalf("key %d is %q", n, it.Key())
		}
		n++
	}
	check(it.Close())
	check(db.Close())
	if n != 1500 {
		t.Errorf("%d records came out", n)
	}
}

type noPebbleLog struct{}

func (noPebbleLog) Infof(string, ...any)              {}
func (noPebbleLog) Errorf(string, ...any)             {}
func (noPebbleLog) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
