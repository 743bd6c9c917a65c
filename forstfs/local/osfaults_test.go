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

// TestNoDescriptors lets every request run out of file descriptors at each of its steps: it fails with the error of the system, which is none that says something
// about the objects, and they are what they were, or what the request makes of them.
func TestNoDescriptors(t *testing.T) {
	keys := []string{"a/1", "a/b/2", "c/3", "c/d/e/4", "top"}
	list := func(s *Store, prefix string) (got string, err error) {
		infos, err := driver.ListAll(context.Background(), s, prefix, "")
		for _, i := range infos {
			got += i.Key + " "
		}
		return got, err
	}
	all := strings.Join(keys, " ") + " "
	create := driver.PutOptions{IfAbsent: true}
	for _, r := range []struct {
		name string
		do   func(s *Store) error
		then string // the keys afterwards
	}{
		{"list", func(s *Store) error {
			got, err := list(s, "")
			if err == nil && got != all {
				err = fmt.Errorf("a short list: %s", got)
			}
			return err
		}, all},
		{"list below", func(s *Store) error {
			got, err := list(s, "c/")
			if err == nil && got != "c/3 c/d/e/4 " {
				err = fmt.Errorf("a short list: %s", got)
			}
			return err
		}, all},
		{"get", func(s *Store) error {
			p, err := driver.ReadAll(context.Background(), s, "c/d/e/4")
			if err == nil && string(p) != "c/d/e/4" {
				err = fmt.Errorf("wrong bytes: %q", p)
			}
			return err
		}, all},
		{"stat", func(s *Store) error { _, err := s.Stat(context.Background(), "c/d/e/4"); return err }, all},
		{"put", func(s *Store) error {
			return s.Put(context.Background(), "a/b/2", []byte("a/b/2"), driver.PutOptions{})
		}, all},
		{"create", func(s *Store) error { return s.Put(context.Background(), "c/x/5", []byte("c/x/5"), create) }, "a/1 a/b/2 c/3 c/d/e/4 c/x/5 top "},
		{"create in vain", func(s *Store) error {
			err := s.Put(context.Background(), "a/b/2", []byte("x"), create)
			if driver.KindOf(err) == driver.KindExist {
				return nil
			}
			return errors.Join(err, errors.New("the key is there"))
		}, all},
		{"create where there was a directory", func(s *Store) error {
			return s.Put(context.Background(), "gone", []byte("gone"), create)
		}, "a/1 a/b/2 c/3 c/d/e/4 gone top "},
		{"copy", func(s *Store) error { return s.Copy(context.Background(), "top", "a/z") }, "a/1 a/b/2 a/z c/3 c/d/e/4 top "},
		{"delete", func(s *Store) error { return s.Delete(context.Background(), []string{"a/b/2", "c/3", "none"}) }, "a/1 c/d/e/4 top "},
	} {
		t.Run(r.name, func(t *testing.T) {
			fresh := func() string {
				dir := t.TempDir()
				s := open(t, dir, nil)
				for _, key := range append(keys, "gone/once/1") {
					mustPut(t, s, key, key)
				}
				if err := errors.Join(s.Delete(t.Context(), []string{"gone/once/1"}), s.Close()); err != nil {
					t.Fatal(err)
				}
				return dir
			}
			failed := 0
			for limit := uint64(3); ; limit++ {
				dir := fresh()
				s := open(t, dir, nil) // knows nothing of the directories
				var err error
				limited(t, syscall.RLIMIT_NOFILE, limit, func() { err = r.do(s) })
				if kind := driver.KindOf(err); err != nil && (!errors.Is(err, syscall.EMFILE) || kind == driver.KindNotExist || kind == driver.KindExist || kind == driver.KindNoStore ||
					errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist)) {
					t.Fatalf("with %d descriptors: %v (%v)", limit, err, kind)
				}
				got, lerr := list(s, "")
				if lerr != nil || err == nil && got != r.then {
					t.Fatalf("with %d descriptors: %v; then there are %q, %v, not %q", limit, err, got, lerr, r.then)
				}
				for _, key := range keys { // what the request is not about
					if strings.Contains(r.then, key+" ") && !strings.Contains(got, key+" ") {
						t.Fatalf("with %d descriptors: %v; then there are %q", limit, err, got)
					}
				}
				for _, key := range strings.Fields(got) {
					want := key
					if key == "a/z" {
						want = "top"
					}
					if p, err := driver.ReadAll(t.Context(), s, key); err != nil || string(p) != want {
						t.Fatalf("with %d descriptors: then %s is %q, %v", limit, key, p, err)
					}
				}
				if left, _ := os.ReadDir(filepath.Join(dir, tempDir)); err == nil && len(left) > 0 {
					t.Errorf("with %d descriptors: %d temporary files are left", limit, len(left))
				}
				if err == nil && limit > 10 {
					break
				}
				if again := r.do(s); again != nil && (err != nil || driver.KindOf(again) != driver.KindExist) {
					t.Fatalf("again, after %d descriptors and %v: %v", limit, err, again)
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				if err != nil {
					failed++
				}
				if limit > 1000 {
					t.Fatal("never enough descriptors")
				}
			}
			if failed < 2 {
				t.Errorf("it failed %d times only: this test proves nothing", failed)
			}
		})
	}
}

// TestFileTooLarge makes writes end in the middle, as on a full disk: Put fails, and nothing is changed or left.
func TestFileTooLarge(t *testing.T) {
	if os.Getenv("FORST_TEST_CHILD") == "" { // in a process of its own: go test writes files, too
		c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestFileTooLarge$")
		c.Env = append(os.Environ(), "FORST_TEST_CHILD=1")
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
