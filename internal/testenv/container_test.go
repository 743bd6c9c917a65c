package testenv

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestContainerGoesWithItsProcess: when the process that started a container is killed, the container, its image and its files go.
func TestContainerGoesWithItsProcess(t *testing.T) {
	Need(t, "containers")
	cmd := child(t, "container", nil)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var name, dir, endpoint string
	line, err := bufio.NewReader(out).ReadString('\n')
	if err == nil {
		_, err = fmt.Sscan(line, &name, &dir, &endpoint)
	}
	if err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	if !engineHas(t, "ps", name) || !engineHas(t, "images", name) {
		t.Error("there is no container or no image of the name")
	}
	if _, err := os.Stat(filepath.Join(dir, "minio")); err != nil {
		t.Error(err)
	}
	if _, err := http.Get(endpoint); err != nil {
		t.Error(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	eventually(t, "the server is gone", func() bool {
		_, err := http.Get(endpoint)
		return err != nil
	})
	eventually(t, "container, image and files are gone", func() bool {
		_, err := os.Stat(dir)
		return os.IsNotExist(err) && !engineHas(t, "ps", name) && !engineHas(t, "images", name)
	})
}

// engineHas looks for a name in a list of the engine: "ps" or "images".
func engineHas(t *testing.T, list, name string) bool {
	t.Helper()
	args := map[string][]string{"ps": {"ps", "-a", "--format", "{{.Names}}"}, "images": {"images", "--format", "{{.Repository}}"}}[list]
	out, err := exec.Command(docker(), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return strings.Contains(string(out), name)
}

// TestContainerThatCannotStart leaves nothing, and its error shows what the engine said.
func TestContainerThatCannotStart(t *testing.T) {
	Need(t, "containers")
	bad := filepath.Join(t.TempDir(), "Dockerfile")
	if err := os.WriteFile(bad, []byte("FROM scratch\nCOPY nothing /\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := newContainer(t.Context(), "bad", bad, map[string]string{}); err == nil || !strings.Contains(err.Error(), "nothing") {
		t.Errorf("%v", err)
	}
	if engineHas(t, "ps", "forst-test-bad") || engineHas(t, "images", "forst-test-bad") {
		t.Error("something is left in the engine")
	}
	if left, _ := filepath.Glob(filepath.Join(CacheDir(), "images", "bad-*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestNoEngine: without an engine the run ends before anything is built, and says what to do.
func TestNoEngine(t *testing.T) {
	for _, tc := range []struct{ docker, host string }{
		{"no-such-program", ""},
		{"false", "unix:///nowhere.sock"},
	} {
		t.Setenv(EnvDocker, tc.docker)
		t.Setenv("DOCKER_HOST", tc.host)
		status, err := Run([]string{"s3-container"}, []string{"true"})
		if status == 0 || err == nil || !strings.Contains(err.Error(), tc.docker) || !strings.Contains(err.Error(), "docs/testing.md") {
			t.Errorf("%s: status %d, %v", tc.docker, status, err)
		}
	}
	if status, err := Run([]string{"s3", "s3-container"}, []string{"true"}); status == 0 || err == nil || !strings.Contains(err.Error(), "name one") {
		t.Errorf("two of the same: status %d, %v", status, err)
	}
}
