//go:build linux

package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/forst-go/forst/forstfs/driver"
)

// limited runs f while the process has a lower limit of a resource.
func limited(t *testing.T, resource int, limit uint64, f func()) {
	t.Helper()
	var old syscall.Rlimit
	if err := syscall.Getrlimit(resource, &old); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(resource, &syscall.Rlimit{Cur: limit, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Setrlimit(resource, &old); err != nil {
			t.Fatal(err)
		}
	}()
	f()
}

var (
	faultKeys = []string{"a/1", "a/b/2", "c/3", "c/d/e/4", "top"} // with their names as their bytes
	faultAll  = strings.Join(faultKeys, " ") + " "
	create    = driver.PutOptions{IfAbsent: true}
)

func list(s *Store, prefix string) (got string, err error) {
	infos, err := driver.ListAll(context.Background(), s, prefix, "")
	for _, i := range infos {
		got += i.Key + " "
	}
	return got, err
}

// requests are one of each kind, on a store with faultKeys and an empty directory "gone", that knows nothing of its directories.
var requests = []struct {
	name string
	do   func(s *Store) error
	then string // the keys afterwards
}{
	{"list", func(s *Store) error {
		got, err := list(s, "")
		if err == nil && got != faultAll {
			err = fmt.Errorf("a short list: %s", got)
		}
		return err
	}, faultAll},
	{"list below", func(s *Store) error {
		got, err := list(s, "c/")
		if err == nil && got != "c/3 c/d/e/4 " {
			err = fmt.Errorf("a short list: %s", got)
		}
		return err
	}, faultAll},
	{"get", func(s *Store) error {
		p, err := driver.ReadAll(context.Background(), s, "c/d/e/4")
		if err == nil && string(p) != "c/d/e/4" {
			err = fmt.Errorf("wrong bytes: %q", p)
		}
		return err
	}, faultAll},
	{"stat", func(s *Store) error { _, err := s.Stat(context.Background(), "c/d/e/4"); return err }, faultAll},
	{"put", func(s *Store) error {
		return s.Put(context.Background(), "a/b/2", []byte("a/b/2"), driver.PutOptions{})
	}, faultAll},
	{"create", func(s *Store) error { return s.Put(context.Background(), "c/x/5", []byte("c/x/5"), create) }, "a/1 a/b/2 c/3 c/d/e/4 c/x/5 top "},
	{"create in vain", func(s *Store) error {
		err := s.Put(context.Background(), "a/b/2", []byte("x"), create)
		if driver.KindOf(err) == driver.KindExist {
			return nil
		}
		return errors.Join(err, errors.New("the key is there"))
	}, faultAll},
	{"create where there was a directory", func(s *Store) error {
		return s.Put(context.Background(), "gone", []byte("gone"), create)
	}, "a/1 a/b/2 c/3 c/d/e/4 gone top "},
	{"copy", func(s *Store) error { return s.Copy(context.Background(), "top", "a/z") }, "a/1 a/b/2 a/z c/3 c/d/e/4 top "},
	{"delete", func(s *Store) error { return s.Delete(context.Background(), []string{"a/b/2", "c/3", "none"}) }, "a/1 c/d/e/4 top "},
}

// eachStep does each request with a fault at its first step, its second, and so on, until one meets none: it fails with the error of the system, which says nothing
// about objects, and they are what they were, or what the request makes of them. faulty does one with the fault at a step, and reports whether that was met.
func eachStep(t *testing.T, want error, faulty func(step int, s *Store, do func() error) (met bool, err error)) {
	for _, r := range requests {
		t.Run(r.name, func(t *testing.T) {
			failed := 0
			for step := 0; ; step++ {
				if step > 1000 {
					t.Fatal("it never ends")
				}
				dir := t.TempDir()
				s := open(t, dir, nil)
				for _, key := range append(faultKeys, "gone/once/1") {
					mustPut(t, s, key, key)
				}
				if err := errors.Join(s.Delete(t.Context(), []string{"gone/once/1"}), s.Close()); err != nil {
					t.Fatal(err)
				}
				s = open(t, dir, nil)
				met, err := faulty(step, s, func() error { return r.do(s) })
				if kind := driver.KindOf(err); err != nil && (!errors.Is(err, want) || kind == driver.KindNotExist || kind == driver.KindExist || kind == driver.KindNoStore ||
					errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist)) {
					t.Fatalf("step %d: %v (%v)", step, err, kind)
				}
				if left, lerr := os.ReadDir(filepath.Join(dir, tempDir)); lerr != nil || err == nil && len(left) > 0 {
					t.Fatalf("step %d: left are %v, %v", step, left, lerr)
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				s = open(t, dir, nil)
				got, lerr := list(s, "")
				if lerr != nil || err == nil && got != r.then {
					t.Fatalf("step %d: %v; then there are %q, %v, not %q", step, err, got, lerr, r.then)
				}
				for _, key := range faultKeys { // what the request is not about
					if strings.Contains(r.then, key+" ") && !strings.Contains(got, key+" ") {
						t.Fatalf("step %d: %v; then there are %q", step, err, got)
					}
				}
				for _, key := range strings.Fields(got) {
					want := key
					if key == "a/z" {
						want = "top"
					}
					if p, err := driver.ReadAll(t.Context(), s, key); err != nil || string(p) != want {
						t.Fatalf("step %d: then %s is %q, %v", step, key, p, err)
					}
				}
				if again := r.do(s); again != nil && driver.KindOf(again) != driver.KindExist {
					t.Fatalf("again, after step %d: %v", step, again)
				}
				if err := s.Close(); err != nil { // its descriptors would be missed in the next step
					t.Fatal(err)
				}
				if !met {
					break
				}
				if err != nil {
					failed++
				}
			}
			if failed < 1 {
				t.Error("it never failed: this test proves nothing")
			}
		})
	}
}

func TestNoDescriptors(t *testing.T) {
	eachStep(t, syscall.EMFILE, func(step int, s *Store, do func() error) (met bool, err error) {
		limited(t, syscall.RLIMIT_NOFILE, uint64(3+step), func() { err = do() })
		return err != nil || step < 10, err
	})
}

func TestEverySync(t *testing.T) {
	eachStep(t, syscall.EIO, func(step int, s *Store, do func() error) (met bool, err error) {
		s.disk.syncFile = func(f *os.File, _ bool) error {
			if step--; step == -1 {
				met = true
				return syscall.EIO
			}
			return f.Sync()
		}
		if err = do(); met && err == nil {
			t.Fatal("a failed sync is swallowed")
		}
		return met, err
	})
}

// TestFileTooLarge makes writes end in the middle, as on a full disk: Put fails, and nothing is changed or left.
func TestFileTooLarge(t *testing.T) {
	if os.Getenv("FORST_TEST_CHILD") == "" { // in a process of its own: go test writes files, too
		c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestFileTooLarge$")
		c.Env = append(os.Environ(), "FORST_TEST_CHILD=1")
		c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		runtime.LockOSThread() // whose end the child would take for that of the process
		defer runtime.UnlockOSThread()
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	s := open(t, t.TempDir(), nil)
	mustPut(t, s, "d/old", "old")
	data := bytes.Repeat([]byte{7}, 3<<20)
	for _, limit := range []uint64{0, 1, 1 << 20, 1<<20 + 1, 3<<20 - 1} {
		for _, o := range []driver.PutOptions{{}, {IfAbsent: true}} {
			key := "d/old"
			if o.IfAbsent {
				key = "d/new"
			}
			limited(t, syscall.RLIMIT_FSIZE, limit, func() {
				if err := s.Put(t.Context(), key, data, o); !errors.Is(err, syscall.EFBIG) {
					t.Fatalf("Put of %d bytes with room for %d: %v", len(data), limit, err)
				}
			})
		}
		if infos, err := driver.ListAll(t.Context(), s, "", ""); err != nil || len(infos) != 1 || infos[0].Size != 3 {
			t.Fatalf("room for %d: then there are %v, %v", limit, infos, err)
		}
		if left, err := os.ReadDir(filepath.Join(s.dir, tempDir)); err != nil || len(left) > 0 {
			t.Fatalf("room for %d: left are %v, %v", limit, left, err)
		}
	}
}
