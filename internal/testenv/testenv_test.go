package testenv

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// EnvChild makes TestMain run a part of a test in a process of its own.
const EnvChild = "FORST_TESTENV_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(EnvChild) == "server" {
		m, err := startMinio(context.Background(), "forstchild", "forstchildsecret")
		if err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		fmt.Println(m.pid, m.guard.dir, m.endpoint)
		select {} // until it is killed
	}
	if os.Getenv(EnvChild) == "container" {
		m, err := startMinioContainer(context.Background(), "forstchild", "forstchildsecret")
		if err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		fmt.Println(m.container.name, m.container.dir, m.endpoint)
		select {} // until it is killed
	}
	os.Exit(m.Run())
}

func child(t *testing.T, mode string, args []string, env ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(append(os.Environ(), EnvChild+"="+mode, EnvS3+"=", EnvRequire+"="), env...)
	return cmd
}

// TestNeedInChild is what TestNeed runs in child processes.
func TestNeedInChild(t *testing.T) {
	if os.Getenv(EnvChild) != "need" {
		return
	}
	Need(t, "s3")
	fmt.Println("went on")
}

// TestNeed: a bare machine skips, a run that requires the server fails, and a misspelt requirement fails, too.
func TestNeed(t *testing.T) {
	bare := "FORST_CACHE=" + t.TempDir()
	for _, tc := range []struct {
		name string
		env  []string
		fail bool
		want string
	}{
		{"bare", []string{bare}, false, "SKIP: TestNeedInChild"},
		{"required", []string{bare, EnvRequire + "=s3"}, true, "s3 is required"},
		{"required among others", []string{bare, EnvRequire + "=,s3"}, true, "s3 is required"},
		{"misspelt", []string{bare, EnvRequire + "=S3"}, true, `"S3", which is no server`},
		{"given", []string{bare, EnvRequire + "=s3", EnvS3 + "=http://a:b@127.0.0.1:1"}, false, "went on"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			out, err := child(t, "need", []string{"-test.run=^TestNeedInChild$", "-test.v"}, tc.env...).CombinedOutput()
			if (err != nil) != tc.fail || !strings.Contains(string(out), tc.want) {
				t.Errorf("%v, want failure: %t and %q in\n%s", err, tc.fail, tc.want, out)
			}
		})
	}
}

// TestNothingStaysBehind: when the process that started a server is killed, the server and its data go.
func TestNothingStaysBehind(t *testing.T) {
	Need(t, "s3")
	if _, err := os.Stat(MinioPath()); err != nil {
		t.Fatal(err)
	}
	cmd := child(t, "server", nil)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	var dir, endpoint string
	line, err := bufio.NewReader(out).ReadString('\n')
	if _, err2 := fmt.Sscan(line, &pid, &dir, &endpoint); errors.Join(err, err2) != nil {
		t.Fatalf("%q: %v %v", line, err, err2)
	}
	if err := syscall.Kill(pid, 0); err != nil {
		t.Errorf("the server does not run: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "data")); err != nil {
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
	eventually(t, "the data is gone", func() bool {
		_, err := os.Stat(dir)
		return errors.Is(err, os.ErrNotExist)
	})
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for !ok() {
		if ctx.Err() != nil {
			t.Fatalf("never: %s", what)
		}
		runtime.Gosched()
	}
}

// TestServerKeepsItsData over a kill and a restart, on the same address.
func TestServerKeepsItsData(t *testing.T) {
	s := StartS3(t)
	bucket := s.Bucket(t)
	if !s.Alive() {
		t.Error("a started server is not alive")
	}
	s.Pause(t)
	for _, stat := range threads(t, s.m.pid) {
		if f := strings.Fields(stat); len(f) > 2 && f[2] != "T" {
			t.Errorf("a thread of a paused server is not stopped: %s", stat)
		}
	}
	s.Resume(t)
	before := s.Endpoint
	s.Kill(t)
	if s.Alive() {
		t.Error("a killed server is alive")
	}
	s.Restart(t)
	if s.Endpoint != before {
		t.Errorf("moved from %s to %s", before, s.Endpoint)
	}
	if !bucketExists(t, s, bucket) {
		t.Error("the bucket is gone")
	}
}

// threads returns what Linux says of each thread of a process.
func threads(t *testing.T, pid int) []string {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(b))
	}
	return all
}

// TestRun: the command gets the servers and its exit status comes back; a failing command leaves nothing behind.
func TestRun(t *testing.T) {
	Need(t, "s3")
	t.Setenv(EnvRequire, "kerberos") // what the caller requires stays
	out := filepath.Join(t.TempDir(), "out")
	status, err := Run([]string{"s3"}, []string{"sh", "-c", `echo "$FORST_TEST_S3 $FORST_REQUIRE $AWS_ACCESS_KEY_ID $FORST_TEST_S3_URL" >` + out + `; exit 7`})
	if status != 7 || err != nil {
		t.Errorf("status %d, %v", status, err)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	var server, require, key, ready string
	if _, err := fmt.Sscan(string(b), &server, &require, &key, &ready); err != nil || require != "kerberos,s3" || !strings.Contains(server, key+":") || !strings.HasPrefix(ready, "s3://forst/run?") {
		t.Errorf("%s: %v", b, err)
	}
	_, host, _ := strings.Cut(server, "@")
	if _, err := http.Get("http://" + host); err == nil {
		t.Error("the server still runs")
	}
	if status, err := Run([]string{"nonsense"}, []string{"true"}); status == 0 || err == nil {
		t.Error("an unknown server was accepted")
	}
}

// TestRunEndsOnSignal: Ctrl-C reaches the command, and then the servers go.
func TestRunEndsOnSignal(t *testing.T) {
	Need(t, "s3")
	file := filepath.Join(t.TempDir(), "server")
	type result struct {
		status int
		err    error
	}
	done := make(chan result, 1)
	go func() {
		status, err := Run([]string{"s3"}, []string{"sh", "-c", `trap 'exit 9' TERM; echo "$FORST_TEST_S3" >` + file + `.tmp; mv ` + file + `.tmp ` + file + `; while :; do sleep 0.05; done`})
		done <- result{status, err}
	}()
	eventually(t, "the command runs", func() bool {
		_, err := os.Stat(file)
		return err == nil
	})
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if r := <-done; r.status != 9 || r.err != nil {
		t.Errorf("status %d, %v", r.status, r.err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, host, _ := strings.Cut(strings.TrimSpace(string(b)), "@")
	if _, err := http.Get("http://" + host); err == nil {
		t.Error("the server still runs")
	}
}

func bucketExists(t *testing.T, s *S3Server, name string) bool {
	t.Helper()
	_, err := s.m.client().HeadBucket(t.Context(), &s3.HeadBucketInput{Bucket: aws.String(name)})
	var missing *types.NotFound
	if err != nil && !errors.As(err, &missing) {
		t.Fatal(err)
	}
	return err == nil
}

func TestBucketsAreFreshAndGo(t *testing.T) {
	server := S3(t)
	var names []string
	t.Run("inside", func(t *testing.T) {
		names = append(names, server.Bucket(t), server.Bucket(t))
		for _, name := range names {
			if !bucketExists(t, server, name) {
				t.Errorf("bucket %s was not made", name)
			}
		}
	})
	if names[0] == names[1] {
		t.Error("two buckets of one name")
	}
	for _, name := range names {
		eventually(t, "a bucket goes with its test", func() bool { return !bucketExists(t, server, name) })
	}
}
