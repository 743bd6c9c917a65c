package testenv

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// MinIO is built from its last commit, whose source the module registry has. It is AGPL and stays out of go.mod.
const (
	minioModule  = "github.com/minio/minio"
	minioVersion = "v0.0.0-20260212201848-7aac2a2c5b7c"
	minioSum     = "h1:/qdoYujxF5MBLDMVLeiYJ/7fBa1HikX39Dvzb9Ji8pA="
)

// MinioPath is where the binary is or will be.
func MinioPath() string {
	return filepath.Join(CacheDir(), "bin", "minio-"+strings.TrimPrefix(minioVersion, "v0.0.0-"))
}

// BuildMinio builds the binary unless it is there. It may run at the same time in several processes: each builds aside and
// the file appears whole.
func BuildMinio(ctx context.Context, progress io.Writer) error {
	bin := MinioPath()
	if _, err := os.Stat(bin); err == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(bin), 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(bin), "build-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := checkMinioSum(ctx); err != nil {
		return err
	}
	fmt.Fprintf(progress, "building MinIO from source, once (about 3 minutes on 2 cores)\n")
	cmd := exec.CommandContext(ctx, "go", "install", "-trimpath", "-ldflags=-s -w", minioModule+"@"+minioVersion)
	cmd.Dir = os.TempDir() // outside of this module, whose go.mod must not matter
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOBIN="+tmp, "GOWORK=off", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building MinIO: %w\n%s", err, lastLines(out))
	}
	return os.Rename(filepath.Join(tmp, "minio"), bin)
}

// checkMinioSum compares the source with the sum that was reviewed; no go.sum covers "go install".
func checkMinioSum(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", minioModule+"@"+minioVersion)
	cmd.Dir = os.TempDir()
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=")
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("downloading MinIO's source: %w\n%s", err, lastLines(out))
	}
	var m struct{ Sum string }
	if err := json.Unmarshal(out, &m); err != nil {
		return fmt.Errorf("go mod download: %w", err)
	}
	if m.Sum != minioSum {
		return fmt.Errorf("MinIO's source has the sum %s, want %s", m.Sum, minioSum)
	}
	return nil
}

func lastLines(out []byte) string { return string(out[max(0, len(out)-3000):]) }

// minio is a running server.
type minio struct {
	guard     *guard     // of a server that is a process
	container *container // of one that is in a container
	endpoint  string
	access    string
	secret    string
	pid       int
}

// startMinio starts a server with a folder of its own on a free port and waits until it serves a signed request.
func startMinio(ctx context.Context, access, secret string) (*minio, error) {
	var last error
	for range 5 { // another process may take the free port before the server does
		m, err := tryMinio(ctx, access, secret)
		if err == nil {
			return m, nil
		}
		if last = err; !errors.Is(err, errPortTaken) {
			break
		}
	}
	return nil, last
}

// tempBase is read before any test can point TMPDIR at a folder that goes with that test: a shared server outlives it.
var tempBase = os.TempDir()

var errPortTaken = errors.New("the port was taken by another process")

func tryMinio(ctx context.Context, access, secret string) (*minio, error) {
	dir, err := os.MkdirTemp(tempBase, "forst-minio-")
	if err != nil {
		return nil, err
	}
	for _, sub := range []string{"data", "certs"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, errors.Join(err, os.RemoveAll(dir))
		}
	}
	addr, err := freePort()
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	g, err := newGuard(dir, minioEnv(dir, access, secret), MinioPath(), "server", "--quiet",
		"--address", addr, "--certs-dir", filepath.Join(dir, "certs"), filepath.Join(dir, "data"))
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	m := &minio{guard: g, endpoint: "http://" + addr, access: access, secret: secret}
	if err := m.start(ctx); err != nil {
		return nil, errors.Join(err, m.end())
	}
	return m, nil
}

func minioEnv(dir, access, secret string) []string {
	return append(minioSettings(access, secret), "PATH="+os.Getenv("PATH"), "HOME="+dir)
}

func minioSettings(access, secret string) []string {
	return []string{
		"MINIO_ROOT_USER=" + access, "MINIO_ROOT_PASSWORD=" + secret,
		"MINIO_BROWSER=off", "MINIO_UPDATE=off", "MINIO_SCANNER_SPEED=slowest", "NO_COLOR=1",
	}
}

// start runs the server and waits until it is ready.
func (m *minio) start(ctx context.Context) error {
	pid, err := m.guard.run()
	if err != nil {
		return err
	}
	m.pid = pid
	return m.ready(ctx)
}

// ready polls with a real, signed request. Another server on the same port would refuse the random credentials.
func (m *minio) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	client := m.client()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		_, err := client.ListBuckets(ctx, &s3.ListBucketsInput{})
		if err == nil {
			return nil
		}
		log := m.log()
		if strings.Contains(log, "address already in use") || strings.Contains(log, "port is already in use") {
			return errPortTaken
		}
		if strings.Contains(log, "FATAL") {
			return fmt.Errorf("MinIO does not start:\n%s", log)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("MinIO does not become ready: %w\n%s", err, log)
		}
	}
}

func (m *minio) client() *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint: aws.String(m.endpoint),
		Region:       "us-east-1",
		UsePathStyle: true,
		Credentials:  credentials.NewStaticCredentialsProvider(m.access, m.secret, ""),
		Retryer:      aws.NopRetryer{},
	})
}

func (m *minio) log() string {
	if m.container != nil {
		return m.container.log()
	}
	return m.guard.log()
}

func (m *minio) end() error {
	if m.container != nil {
		return m.container.end()
	}
	return m.guard.end()
}

// freePort finds a loopback address that is free now.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

func randomText(bytes int) string {
	b := make([]byte, bytes)
	rand.Read(b)
	return hex.EncodeToString(b)
}
