//go:build unix && !solaris && !aix

package local

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/forst-go/forst/forstfs/driver"
)

// The test binary is also the other process: it opens the directory, says how that went, and obeys one line.
func TestMain(m *testing.M) {
	if dir := os.Getenv("FORST_LOCAL_CHILD"); dir != "" {
		child(dir, Options{NoGuard: os.Getenv("FORST_LOCAL_NOGUARD") != "", ReadOnly: os.Getenv("FORST_LOCAL_RO") != ""})
		return
	}
	os.Exit(m.Run())
}

func child(dir string, o Options) {
	ctx := context.Background()
	s, err := Open(ctx, dir, &o)
	if err != nil {
		fmt.Println("error:", err)
		return
	}
	fmt.Println("open")
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		if prefix, ok := strings.CutPrefix(in.Text(), "create "); ok {
			won := 0
			for i := range raceKeys {
				if s.Put(ctx, fmt.Sprintf("%s/%d", prefix, i), []byte("child"), driver.PutOptions{IfAbsent: true}) == nil {
					won++
				}
			}
			fmt.Println(won)
		}
	}
	s.Close()
}

const raceKeys = 60

type otherProcess struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func start(t *testing.T, dir string, env ...string) *otherProcess {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), append(env, "FORST_LOCAL_CHILD="+dir)...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &otherProcess{cmd, in, bufio.NewReader(out)}
	t.Cleanup(func() { p.end() })
	return p
}

func (p *otherProcess) line(t *testing.T) string {
	t.Helper()
	line, err := p.out.ReadString('\n')
	if err != nil {
		t.Errorf("the child says nothing: %v", err)
	}
	return strings.TrimSpace(line)
}

func (p *otherProcess) end() {
	p.in.Close()
	_ = p.cmd.Wait()
}

func (p *otherProcess) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

func TestOneProcessAtATime(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir)
	if got := p.line(t); got != "open" {
		t.Fatal(got)
	}
	_, err := Open(t.Context(), dir, nil)
	if err == nil || !strings.Contains(err.Error(), "in use by another process") || !strings.Contains(err.Error(), "mode=ro") {
		t.Errorf("beside another process: %v", err)
	}
	if driver.KindOf(err) != driver.KindOther {
		t.Errorf("kind %v", driver.KindOf(err))
	}
	if _, err := Open(t.Context(), dir, &Options{NoGuard: true}); err == nil {
		t.Error("guard=off beside a process with the guard")
	}
	beside := open(t, dir, &Options{Beside: true})
	mustPut(t, beside, "request/one", "please")
	if err := beside.Delete(t.Context(), []string{"request/one"}); err != nil {
		t.Errorf("a writer beside another process: %v", err)
	}
	ro := open(t, dir, &Options{ReadOnly: true})
	if _, err := driver.ListAll(t.Context(), ro, "", ""); err != nil {
		t.Errorf("a reader beside a writer: %v", err)
	}
	p.end()
	a := open(t, dir, nil)
	b := open(t, dir, nil)
	a.Close()
	if got := start(t, dir).line(t); !strings.Contains(got, "in use") {
		t.Errorf("one of two handles is open, and another process gets: %s", got)
	}
	if got := start(t, dir, "FORST_LOCAL_RO=1").line(t); got != "open" {
		t.Errorf("another process, read-only: %s", got)
	}
	mustPut(t, b, "key", "x")
	b.Close()
	if got := start(t, dir).line(t); got != "open" {
		t.Errorf("no handle is open, and another process gets: %s", got)
	}
}

func TestLeftoversOfTheDeadGo(t *testing.T) {
	dir := t.TempDir()
	for _, env := range []string{"X=", "FORST_LOCAL_NOGUARD=1"} {
		p := start(t, dir, env)
		if got := p.line(t); got != "open" {
			t.Fatal(got)
		}
		left := filepath.Join(dir, tempDir, "leftover")
		if err := os.WriteFile(left, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(t.Context(), dir, nil); err == nil {
			t.Fatal("opened beside a living process")
		}
		_ = open(t, dir, &Options{ReadOnly: true})
		if _, err := os.Stat(left); err != nil {
			t.Errorf("the temporary file of a living process is gone: %v", err)
		}
		if env != "X=" { // a second one that shares must not clean up either
			q := start(t, dir, env)
			if got := q.line(t); got != "open" {
				t.Fatal(got)
			}
			if _, err := os.Stat(left); err != nil {
				t.Errorf("the temporary file of a living process is gone: %v", err)
			}
			q.end()
		}
		p.kill()
		s := open(t, dir, &Options{NoGuard: env != "X="})
		if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the temporary file of a dead process is still there: %v", err)
		}
		s.Close()
	}
}

func TestTwoProcessesWithoutGuard(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, &Options{NoGuard: true})
	p := start(t, dir, "FORST_LOCAL_NOGUARD=1")
	if got := p.line(t); got != "open" {
		t.Fatal(got)
	}
	if got := start(t, dir).line(t); !strings.Contains(got, "in use") {
		t.Errorf("with the guard beside some without: %s", got)
	}
	if _, err := Open(t.Context(), dir, nil); err == nil {
		t.Error("one process opens with and without the guard")
	}
	for round := range 3 {
		prefix := fmt.Sprintf("race%d", round)
		if _, err := fmt.Fprintln(p.in, "create "+prefix); err != nil {
			t.Fatal(err)
		}
		mine := 0
		for i := range raceKeys {
			err := s.Put(t.Context(), fmt.Sprintf("%s/%d", prefix, i), []byte("parent"), driver.PutOptions{IfAbsent: true})
			if err == nil {
				mine++
			} else if driver.KindOf(err) != driver.KindExist {
				t.Error(err)
			}
		}
		var theirs int
		if _, err := fmt.Sscan(p.line(t), &theirs); err != nil {
			t.Fatal(err)
		}
		if mine+theirs != raceKeys {
			t.Errorf("%d and %d winners for %d keys", mine, theirs, raceKeys)
		}
		t.Logf("%d of %d keys won", mine, raceKeys)
	}
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(dir, "a/b/c")
	for _, tt := range []struct {
		dir  string
		o    *Options
		kind driver.Kind
		want string
	}{
		{missing, nil, driver.KindNoStore, "?create=1"},
		{missing, &Options{ReadOnly: true}, driver.KindNoStore, "not a directory"},
		{file, nil, driver.KindNoStore, "not a directory"},
		{"", nil, driver.KindInvalid, "no directory"},
		{missing, &Options{ReadOnly: true, Create: true}, driver.KindInvalid, "exclude"},
		{missing, &Options{Beside: true, Create: true}, driver.KindInvalid, "no other mode"},
		{dir, &Options{ObjectSize: -1}, driver.KindInvalid, "ObjectSize"},
	} {
		s, err := Open(t.Context(), tt.dir, tt.o)
		if s != nil || driver.KindOf(err) != tt.kind || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", tt.dir, err)
		}
		if !strings.Contains(fmt.Sprint(err), tt.want) {
			t.Errorf("%s: %v does not say %q", tt.dir, err, tt.want)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "a")); err == nil {
		t.Error("a refused open made a directory")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ended, dir, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	s := open(t, missing, &Options{Create: true})
	mustPut(t, s, "key", "x")
}

func TestOpener(t *testing.T) {
	dir := t.TempDir()
	var r driver.Registry
	r.Register("file", Opener)
	for raw, want := range map[string]string{
		"file://" + dir:                                  "",
		"file://localhost" + dir:                         "",
		"file://" + dir + "/new%20dir?create=1":          "",
		"file://" + dir + "?mode=ro":                     "",
		"file://" + dir + "?mode=rw&create=0&guard=on":   "",
		"file://" + dir + "/missing":                     "?create=1",
		"file://" + dir + "?mode=append":                 "mode=ro|rw",
		"file://" + dir + "?creat=1":                     "known are",
		"file://host" + dir:                              "three slashes",
		"file://user:hunter2@localhost" + dir:            "three slashes",
		"file:relative/dir":                              "file:///",
		"file://" + dir + "#x":                           "file:///",
		"file://" + dir + "?a=%zz":                       "query",
		"file://" + dir + "/new%20dir?create=1&mode=ro":  "exclude",
		"file://" + dir + "?guard=off":                   "", // in a process of its own only, see below
		"file://" + dir + "/x/../../../../etc?create=no": "known are",
	} {
		s, err := r.Open(t.Context(), raw)
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", raw, err)
		case want == "":
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		case err == nil || s != nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2"):
			t.Errorf("%s: %v, want %q", raw, err, want)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "new dir")); err != nil {
		t.Error(err)
	}
}

func TestReadOnly(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir, nil)
	mustPut(t, w, "a/key", "bytes")
	ro := open(t, dir, &Options{ReadOnly: true})
	for op, err := range map[string]error{
		"put": ro.putString(t, "a/new", "x"), "delete": ro.Delete(t.Context(), []string{"a/key"}), "copy": ro.Copy(t.Context(), "a/key", "b"),
	} {
		if driver.KindOf(err) != driver.KindPermission || !errors.Is(err, fs.ErrPermission) {
			t.Errorf("%s: %v", op, err)
		}
	}
	if data, err := driver.ReadAll(t.Context(), ro, "a/key"); err != nil || string(data) != "bytes" {
		t.Errorf("%q, %v", data, err)
	}
	empty := t.TempDir()
	_ = open(t, empty, &Options{ReadOnly: true})
	if entries, _ := os.ReadDir(empty); len(entries) > 0 {
		t.Errorf("a read-only open made %v", entries)
	}
}

// TestRootGone: a directory that is no longer there must not look like one without objects.
func TestRootGone(t *testing.T) {
	for _, replaced := range []bool{false, true} {
		dir := filepath.Join(t.TempDir(), "root")
		s := open(t, dir, &Options{Create: true})
		mustPut(t, s, "a/key", "bytes")
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if replaced {
			if err := os.Mkdir(dir, 0o777); err != nil {
				t.Fatal(err)
			}
		}
		errs := map[string]error{
			"put": s.putString(t, "b/key", "x"), "delete": s.Delete(t.Context(), []string{"a/key"}), "copy": s.Copy(t.Context(), "a/key", "b"),
			"create": s.Put(t.Context(), "a/key", nil, driver.PutOptions{IfAbsent: true}),
		}
		_, errs["get"] = s.Get(t.Context(), "a/key", 0, -1)
		_, errs["stat"] = s.Stat(t.Context(), "a/key")
		_, errs["list"] = driver.ListAll(t.Context(), s, "", "")
		_, errs["list of a prefix"] = driver.ListAll(t.Context(), s, "a/", "")
		for op, err := range errs {
			if driver.KindOf(err) != driver.KindNoStore || errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s (replaced %t): %v", op, replaced, err)
			}
		}
	}
}

// TestRootMovedAway: what is not found in a directory that is no longer where it was may well be there.
func TestRootMovedAway(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "root")
	s := open(t, dir, &Options{Create: true})
	if err := os.Rename(dir, dir+".bak"); err != nil {
		t.Fatal(err)
	}
	_, serr := s.Stat(t.Context(), "key")
	_, lerr := driver.ListAll(t.Context(), s, "", "")
	for op, err := range map[string]error{"stat": serr, "list": lerr, "delete": s.Delete(t.Context(), []string{"key"})} {
		if driver.KindOf(err) != driver.KindNoStore {
			t.Errorf("%s: %v", op, err)
		}
	}
}

func TestNothingOutsideTheRoot(t *testing.T) {
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, t.TempDir(), nil)
	for _, link := range [][2]string{{outside, "dir"}, {filepath.Join(outside, "secret"), "file"}, {"../..", "up"}} {
		if err := os.Symlink(link[0], filepath.Join(s.dir, link[1])); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range []string{"dir/secret", "file", "up/x"} {
		if data, err := driver.ReadAll(t.Context(), s, key); err == nil {
			t.Errorf("Get %s gives %q", key, data)
		}
		if _, err := s.Stat(t.Context(), key); err == nil {
			t.Errorf("Stat %s", key)
		}
	}
	if err := s.putString(t, "dir/new", "x"); err == nil {
		t.Error("Put through a link")
	}
	if err := s.Delete(t.Context(), []string{"dir/secret"}); err == nil {
		t.Error("Delete through a link")
	}
	if infos, err := driver.ListAll(t.Context(), s, "", ""); err != nil || len(infos) > 0 {
		t.Errorf("List: %v, %v", infos, err)
	}
	if entries, _ := os.ReadDir(outside); len(entries) != 1 {
		t.Errorf("outside: %v", entries)
	}
}

func TestForeignFilesAreNoObjects(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	mustPut(t, s, "a/key", "x")
	for _, name := range []string{".hidden", "a/.swp", "with space", "a/ünicode", "a/key~#", "-tmp.1:2"} {
		if err := os.WriteFile(filepath.Join(s.dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(s.dir, "a/fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(s.dir, "lost+found/empty"), 0o700); err != nil {
		t.Fatal(err)
	}
	infos, err := driver.ListAll(t.Context(), s, "", "")
	if err != nil || len(infos) != 1 || infos[0].Key != "a/key" {
		t.Errorf("%v, %v", infos, err)
	}
}

func TestKinds(t *testing.T) {
	for err, want := range map[error]driver.Kind{
		syscall.ENOSPC: driver.KindNoSpace, syscall.EDQUOT: driver.KindNoSpace, syscall.EACCES: driver.KindPermission,
		syscall.EPERM: driver.KindPermission, syscall.EROFS: driver.KindPermission, syscall.EMFILE: driver.KindTransient,
		syscall.EIO: driver.KindOther, syscall.ENAMETOOLONG: driver.KindInvalid, errors.New("x"): driver.KindOther,
		&driver.Error{Kind: driver.KindNoStore}: driver.KindNoStore,
	} {
		if got := kindOf(&fs.PathError{Op: "open", Err: err}); got != want {
			t.Errorf("%v is %v, want %v", err, got, want)
		}
	}
	for err, want := range map[error]driver.Kind{
		syscall.EPERM: driver.KindUnsupported, syscall.EOPNOTSUPP: driver.KindUnsupported, syscall.ENOSPC: driver.KindNoSpace,
		syscall.EACCES: driver.KindPermission,
	} {
		if got := linkKind(&os.LinkError{Op: "link", Err: err}); got != want {
			t.Errorf("link: %v is %v, want %v", err, got, want)
		}
	}
}

func TestTempDirRemoved(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	if err := os.RemoveAll(filepath.Join(s.dir, tempDir)); err != nil {
		t.Fatal(err)
	}
	mustPut(t, s, "key", "x") // somebody tidied up; that is no reason to fail
}

func BenchmarkPut4K(b *testing.B) {
	s, err := Open(b.Context(), b.TempDir(), nil)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	data := make([]byte, 4096)
	for i := 0; b.Loop(); i++ {
		if err := s.Put(b.Context(), fmt.Sprintf("journal/0/%016x", i), data, driver.PutOptions{IfAbsent: true}); err != nil {
			b.Fatal(err)
		}
	}
	files, dirs := s.Syncs()
	b.ReportMetric(float64(files+dirs)/float64(b.N), "syncs/op")
}

// TestDirectoriesOfOthersStay: an empty directory gives way to an object, but not where another process may be about to put something below it.
func TestDirectoriesOfOthersStay(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, nil)
	mustPut(t, s, "gone/once/1", "x")
	mustPut(t, s, "other", "x")
	if err := s.Delete(t.Context(), []string{"gone/once/1"}); err != nil {
		t.Fatal(err)
	}
	beside := open(t, dir, &Options{Beside: true})
	if err := beside.putString(t, "gone", "x"); driver.KindOf(err) != driver.KindInvalid || !strings.Contains(err.Error(), "mode=beside") {
		t.Errorf("beside a writer: %v", err)
	}
	if err := errors.Join(beside.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	shared := open(t, dir, &Options{NoGuard: true})
	if err := shared.putString(t, "gone", "x"); driver.KindOf(err) != driver.KindInvalid || !strings.Contains(err.Error(), "guard=off") {
		t.Errorf("without the guard: %v", err)
	}
	if err := shared.Close(); err != nil {
		t.Fatal(err)
	}
	mustPut(t, open(t, dir, nil), "gone", "x")
}
