package enginetest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/forst-go/forst"
	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/internal/testenv"
)

const envCounter = "FORST_TEST_COUNTER"

// AutomountChild lets a test binary be the program that RunAutomount mounts a volume into: count opens a database at a directory with
// default options and counts its own runs in it. A TestMain calls it and exits when it returns true.
func AutomountChild(count func(dir string) (int, error)) bool {
	dir := os.Getenv(envCounter)
	switch dir {
	case "":
		return false
	case "-":
		fmt.Println("nothing to do")
		return true
	}
	n, err := count(dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, "program:", err)
		os.Exit(1)
	}
	fmt.Printf("run %d\n", n)
	return true
}

// program runs the child once.
func program(t *testing.T, dir, mount string, env ...string) (stdout, stderr string, status int) {
	t.Helper()
	cmd := exec.Command(must(os.Executable())(t))
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, "FORST_MOUNT") }),
		envCounter+"="+dir, "FORST_MOUNT="+mount)
	cmd.Env = append(cmd.Env, env...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// RunAutomount runs a program that hides its options with a package that mounts by environment.
func RunAutomount(t *testing.T) {
	const create = "FORST_MOUNT_CREATE=1"
	t.Run("CountsOnAnyMachine", func(t *testing.T) {
		for name, url := range map[string]string{"local": "file://" + t.TempDir(), "s3": testenv.S3(t).URL(t)} {
			t.Run(name, func(t *testing.T) {
				for want := 1; want <= 3; want++ {
					dir := filepath.Join(t.TempDir(), "data", "db") // another machine each time: nothing local is there
					out, errs, status := program(t, dir, dir+"="+url, create)
					if status != 0 || out != fmt.Sprintf("run %d\n", want) {
						t.Fatalf("run %d: status %d, %q\n%s", want, status, out, errs)
					}
					if !strings.Contains(errs, dir+" is the volume ") {
						t.Errorf("the program does not say what it does:\n%s", errs)
					}
					if names := must(os.ReadDir(dir))(t); len(names) > 0 {
						t.Errorf("%d files are on the disk, the first is %s", len(names), names[0].Name())
					}
				}
				root := filepath.Join(t.TempDir(), "db")
				if out, errs, _ := program(t, filepath.Join(root, "second"), root+"="+url+"#/nodes"); out != "run 1\n" {
					t.Errorf("a second database in the volume: %q\n%s", out, errs)
				}
				if out, errs, _ := program(t, root, root+"="+url+"#/nodes/second"); out != "run 2\n" {
					t.Errorf("the second database by its own path: %q\n%s", out, errs)
				}
			})
		}
	})
	t.Run("WithoutIt", func(t *testing.T) {
		dir := t.TempDir()
		if out, errs, status := program(t, dir, ""); status != 0 || out != "run 1\n" || strings.Contains(errs, "forst") {
			t.Errorf("status %d, %q, %q", status, out, errs)
		}
		if len(must(os.ReadDir(dir))(t)) == 0 {
			t.Error("the database is not on the disk")
		}
		// The disk's own database is not hidden.
		vol := "file://" + t.TempDir()
		if out, errs, status := program(t, dir, dir+"="+vol, create); status == 0 || !strings.Contains(errs, "forst import") {
			t.Errorf("a database was hidden: status %d, %q\n%s", status, out, errs)
		}
	})
	t.Run("Refuses", func(t *testing.T) {
		const secret = "Tr0ub4dor"
		foreign := t.TempDir()
		ok(t, os.WriteFile(filepath.Join(foreign, "precious"), []byte("x"), 0o644))
		dir := filepath.Join(t.TempDir(), "db")
		for _, c := range []struct{ mount, want string }{
			{"nonsense", "want DIR=URL"},
			{dir + "=ftp://user:" + secret + "@host/x", `scheme "ftp"`},
			{dir + "=s3://u:" + secret + "@host:port/x", "cannot be read"},
			{dir + "=file://" + foreign, "not a forst volume"},
			{dir + "=file://" + t.TempDir(), "FORST_MOUNT_CREATE=1 makes a new volume"},
			{dir + "=file:///nowhere/at/all?token=" + secret, "token"},
		} {
			out, errs, status := program(t, dir, c.mount)
			if status != 78 || out != "" || !strings.Contains(errs, c.want) {
				t.Errorf("%s: status %d, %q; want %q in\n%s", c.mount, status, out, c.want, errs)
			}
			if strings.Contains(errs, secret) {
				t.Errorf("%s: a secret is shown:\n%s", c.mount, errs)
			}
		}
	})
	t.Run("TakesNothingOverWithoutNeed", func(t *testing.T) {
		url := "file://" + t.TempDir()
		vol := must(forst.Open(t.Context(), url, &forstfs.Options{Create: forstfs.CreateIfMissing}))(t)
		epoch := vol.Epoch()
		ok(t, vol.Close())
		if out, errs, status := program(t, "-", "/data/db="+url); status != 0 || out != "nothing to do\n" || !strings.Contains(errs, "when it is first used") {
			t.Errorf("status %d, %q\n%s", status, out, errs)
		}
		vol = must(forst.Open(t.Context(), url, nil))(t)
		equal(t, "epoch", vol.Epoch(), epoch+1)
		ok(t, vol.Close())
	})
}
