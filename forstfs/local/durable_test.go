//go:build unix && !solaris && !aix

package local

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/forst-go/forst/forstfs/driver"
)

func open(t *testing.T, dir string, o *Options) *Store {
	t.Helper()
	s, err := Open(t.Context(), dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func (s *Store) putString(t *testing.T, key, data string) error {
	t.Helper()
	return s.Put(t.Context(), key, []byte(data), driver.PutOptions{})
}

func mustPut(t *testing.T, s *Store, key, data string) {
	t.Helper()
	if err := s.putString(t, key, data); err != nil {
		t.Fatal(err)
	}
}

func TestSyncsPerRequest(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "a/b"), &Options{Create: true})
	count := func(what string, files, dirs int64, f func() error) {
		t.Helper()
		f0, d0 := s.Syncs()
		if err := f(); err != nil {
			t.Fatal(err)
		}
		f1, d1 := s.Syncs()
		if f1-f0 != files || d1-d0 != dirs {
			t.Errorf("%s: %d file syncs and %d directory syncs, want %d and %d", what, f1-f0, d1-d0, files, dirs)
		}
	}
	create := func(key string) func() error {
		return func() error { return s.Put(t.Context(), key, []byte(key), driver.PutOptions{IfAbsent: true}) }
	}
	count("first Put in two new directories", 1, 3, create("journal/0/1"))
	count("create in a known directory", 1, 1, create("journal/0/2"))
	count("Put in a known directory", 1, 1, func() error { return s.putString(t, "journal/0/2", "new") })
	count("Put in a new directory beside", 1, 2, create("journal/1/1"))
	count("Put in the root", 1, 1, create("volume"))
	count("refused create", 0, 0, func() error {
		if err := create("volume")(); driver.KindOf(err) != driver.KindExist {
			return fmt.Errorf("not refused: %w", err)
		}
		return nil
	})
	count("copy", 0, 1, func() error { return s.Copy(t.Context(), "volume", "journal/0/copy") })
	count("reads", 0, 0, func() error {
		_, err := driver.ReadAll(t.Context(), s, "journal/0/1")
		infos, lerr := driver.ListAll(t.Context(), s, "", "")
		if len(infos) != 5 {
			t.Errorf("%v", infos)
		}
		return errors.Join(err, lerr)
	})
	count("delete of three keys in two directories", 0, 2, func() error {
		return s.Delete(t.Context(), []string{"journal/0/1", "journal/0/2", "journal/1/1", "journal/1/none", "none"})
	})
}

// TestWhatAnEarlierProcessLeftIsSyncedBeforeItIsSeen: an object may be visible and not yet durable when a process takes over.
func TestWhatAnEarlierProcessLeftIsSyncedBeforeItIsSeen(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, nil)
	mustPut(t, s, "journal/0/1", "x")
	mustPut(t, s, "other/1", "x")
	s.Close()
	for name, read := range map[string]func(*Store) error{
		"get":  func(s *Store) error { _, err := driver.ReadAll(t.Context(), s, "journal/0/1"); return err },
		"stat": func(s *Store) error { _, err := s.Stat(t.Context(), "journal/0/1"); return err },
		"list": func(s *Store) error { _, err := driver.ListAll(t.Context(), s, "journal/0/", ""); return err },
		"lost create": func(s *Store) error {
			err := s.Put(t.Context(), "journal/0/1", nil, driver.PutOptions{IfAbsent: true})
			if driver.KindOf(err) == driver.KindExist {
				return nil
			}
			return fmt.Errorf("not refused: %w", err)
		},
	} {
		s := open(t, dir, nil)
		var synced []string
		s.disk.syncFile = func(f *os.File, _ bool) error {
			rel, _ := filepath.Rel(s.dir, f.Name())
			synced = append(synced, rel)
			return f.Sync()
		}
		for range 2 { // the second time it is known
			if err := read(s); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if got := strings.Join(synced, " "); got != "journal . journal/0" {
			t.Errorf("%s syncs %q, want the directory and its parents, once", name, got)
		}
		s.Close()
	}
	ro := open(t, dir, &Options{ReadOnly: true})
	if _, err := driver.ReadAll(t.Context(), ro, "journal/0/1"); err != nil {
		t.Error(err)
	}
	if _, d := ro.Syncs(); d != 0 {
		t.Errorf("a reader made %d syncs", d)
	}
}

// TestNothingIsKnownAfterTheLockWasAway: between two writers of this process another process may have been there.
func TestNothingIsKnownAfterTheLockWasAway(t *testing.T) {
	dir := t.TempDir()
	_ = open(t, dir, &Options{ReadOnly: true}) // keeps the process's state of the directory alive
	w := open(t, dir, nil)
	mustPut(t, w, "d/key", "x")
	w.Close()
	w = open(t, dir, nil)
	_, before := w.Syncs()
	if _, err := w.Stat(t.Context(), "d/key"); err != nil {
		t.Fatal(err)
	}
	if _, after := w.Syncs(); after-before != 2 {
		t.Errorf("%d directory syncs before what may be another's is seen, want 2", after-before)
	}
}

// TestPutOrder: the bytes are synced before the name exists, the name before Put returns, a new directory's own name too.
func TestPutOrder(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	var events []string
	s.disk.syncFile = func(f *os.File, dir bool) error {
		rel, _ := filepath.Rel(s.dir, f.Name())
		_, err := s.root.Stat("a/b/key")
		if !dir {
			data, rerr := os.ReadFile(f.Name())
			events = append(events, fmt.Sprintf("sync file of %d bytes, visible %t, %v", len(data), err == nil, rerr))
		} else {
			events = append(events, fmt.Sprintf("sync %s, visible %t", rel, err == nil))
		}
		return f.Sync()
	}
	mustPut(t, s, "a/b/key", "12345")
	want := []string{"sync file of 5 bytes, visible false, <nil>", "sync ., visible false", "sync a, visible false", "sync a/b, visible true"}
	if got := strings.Join(events, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
	left, err := os.ReadDir(filepath.Join(s.dir, tempDir))
	if err != nil || len(left) > 0 {
		t.Errorf("temporary files: %v, %v", left, err)
	}
}

// TestNobodySeesWhatIsNotDurable: while a Put waits for the sync of its directory, readers, listers and losers wait too.
func TestNobodySeesWhatIsNotDurable(t *testing.T) {
	for _, failing := range []bool{false, true} {
		s := open(t, t.TempDir(), nil)
		mustPut(t, s, "d/other", "x") // the directory is known
		linked, gate := make(chan struct{}), make(chan struct{})
		var durable atomic.Bool
		var once sync.Once
		s.disk.syncFile = func(f *os.File, dir bool) error {
			if !dir {
				return f.Sync()
			}
			once.Do(func() { close(linked) })
			<-gate
			if failing {
				return syscall.EIO
			}
			durable.Store(true)
			return f.Sync()
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			defer once.Do(func() { close(linked) })
			if err := s.putString(t, "d/key", "bytes"); (err != nil) != failing {
				t.Errorf("Put: %v", err)
			}
		})
		<-linked
		var answered atomic.Int32
		for name, f := range map[string]func() error{
			"get":    func() error { _, err := driver.ReadAll(t.Context(), s, "d/key"); return err },
			"stat":   func() error { _, err := s.Stat(t.Context(), "d/key"); return err },
			"list":   func() error { _, err := driver.ListAll(t.Context(), s, "d/", ""); return err },
			"create": func() error { return s.Put(t.Context(), "d/key", nil, driver.PutOptions{IfAbsent: true}) },
			"copy":   func() error { return s.Copy(t.Context(), "d/key", "d/key") },
		} {
			wg.Go(func() {
				err := f()
				if !failing && !durable.Load() {
					t.Errorf("%s answers before the object is durable", name)
				}
				answered.Add(1)
				kind := driver.KindOf(err)
				if failing && (err == nil || kind != driver.KindOther || !strings.Contains(err.Error(), "start the process anew")) {
					t.Errorf("%s after a failed sync: %v", name, err)
				}
				if !failing && err != nil && !(name == "create" && kind == driver.KindExist) {
					t.Errorf("%s: %v", name, err)
				}
			})
		}
		// All five wait, or have given a hasty answer.
		limit := time.Now().Add(20 * time.Second) // so that a broken store ends the test
		for waiting := 0; waiting+int(answered.Load()) < 5; {
			if time.Now().After(limit) {
				t.Errorf("%d callers wait for the Put, want 5", waiting)
				break
			}
			s.disk.mu.Lock()
			if l := s.disk.landings["d/key"]; l != nil {
				waiting = l.waiting
			}
			s.disk.mu.Unlock()
			runtime.Gosched()
		}
		if n := answered.Load(); n > 0 {
			t.Errorf("%d callers had an answer while the Put was not durable", n)
		}
		close(gate)
		wg.Wait()
		if failing {
			// A sync that succeeds after one that failed proves nothing.
			s.disk.syncFile = func(f *os.File, _ bool) error { return f.Sync() }
			if err := s.putString(t, "d/key2", "x"); err == nil {
				t.Error("a Put succeeds in a directory of unknown state")
			}
			mustPut(t, s, "elsewhere/key", "x")
			s.Close()
			s = open(t, s.dir, nil) // as a new process would
			mustPut(t, s, "d/key2", "x")
		}
	}
}

// TestCloseWaits: a request that was begun ends as it would have without Close.
func TestCloseWaits(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	begun, gate := make(chan struct{}), make(chan struct{})
	var once sync.Once
	s.disk.syncFile = func(f *os.File, dir bool) error {
		if !dir {
			once.Do(func() { close(begun) })
			<-gate
		}
		return f.Sync()
	}
	var done atomic.Bool
	go func() {
		defer once.Do(func() { close(begun) })
		if err := s.putString(t, "d/key", "x"); err != nil {
			t.Errorf("Put: %v", err)
		}
		done.Store(true)
	}()
	<-begun
	go func() {
		for closed := false; !closed; runtime.Gosched() {
			s.mu.Lock()
			closed = s.closed
			s.mu.Unlock()
		}
		close(gate)
	}()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	data, err := os.ReadFile(filepath.Join(s.dir, "d/key"))
	if err != nil || string(data) != "x" {
		t.Errorf("Close came back before the Put: %q, %v", data, err)
	}
	for !done.Load() {
		runtime.Gosched()
	}
}

func TestFailedFileSyncLeavesNothing(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	for err, kind := range map[error]driver.Kind{syscall.EIO: driver.KindOther, syscall.ENOSPC: driver.KindNoSpace, syscall.EDQUOT: driver.KindNoSpace} {
		s.disk.syncFile = func(*os.File, bool) error { return err }
		if perr := s.putString(t, "key", "bytes"); driver.KindOf(perr) != kind || !errors.Is(perr, err) {
			t.Errorf("%v", perr)
		}
	}
	if _, err := s.Stat(t.Context(), "key"); driver.KindOf(err) != driver.KindNotExist {
		t.Errorf("%v", err)
	}
	if left, err := os.ReadDir(filepath.Join(s.dir, tempDir)); err != nil || len(left) > 0 {
		t.Errorf("temporary files: %v, %v", left, err)
	}
	s.disk.syncFile = func(f *os.File, _ bool) error { return f.Sync() }
	mustPut(t, s, "key", "bytes")
}

// TestSyncsAreShared: Puts that wait for the same directory need not each sync it. A machine under load may run them one after the other, so they get some
// rounds to wait for each other; Puts that share nothing fail in every one.
func TestSyncsAreShared(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	mustPut(t, s, "d/first", "x")
	const n, rounds = 20, 100
	for round := range rounds {
		dirs := putTogether(t, s, round, n)
		if dirs < n {
			t.Logf("round %d: %d directory syncs for %d concurrent Puts", round, dirs, n)
			return
		}
	}
	t.Errorf("never less than %d directory syncs for %d concurrent Puts", n, n)
}

// putTogether makes n Puts at once, and gives the number of times that they synced their directory.
func putTogether(t *testing.T, s *Store, round, n int) int {
	var files atomic.Int32
	all := make(chan struct{})
	var hang sync.Once
	s.disk.syncFile = func(f *os.File, dir bool) error {
		if !dir {
			if files.Add(1) == int32(n) {
				close(all)
			}
			return nil
		}
		select { // the first sync of the directory lasts until every Put has its bytes
		case <-all:
		case <-time.After(time.Minute): // so that a broken Put ends the test
			hang.Do(func() {
				t.Error("the Puts do not sync their files")
				close(all)
			})
		}
		return nil
	}
	_, before := s.Syncs()
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { mustPut(t, s, fmt.Sprintf("d/%d-%d", round, i), "x") })
	}
	wg.Wait()
	_, after := s.Syncs()
	return int(after - before)
}

// TestFileCutUnderAReader: bytes that are gone are an error, not the end.
func TestFileCutUnderAReader(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	mustPut(t, s, "key", strings.Repeat("x", 10_000))
	r, err := s.Get(t.Context(), "key", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := os.Truncate(filepath.Join(s.dir, "key"), 100); err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	if driver.KindOf(err) != driver.KindCorrupt || len(data) != 100 {
		t.Errorf("%d bytes, %v", len(data), err)
	}
}
