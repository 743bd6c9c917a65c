package testenv

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// EnvS3 names the shared server of a run: http://ACCESSKEY:SECRETKEY@127.0.0.1:PORT.
const EnvS3 = "FORST_TEST_S3"

// EnvS3URL is an s3:// URL on the shared server of a run, for commands; its bucket exists, its prefix is empty.
const EnvS3URL = "FORST_TEST_S3_URL"

// S3Server is an S3-compatible server for tests.
type S3Server struct {
	Endpoint  string // http://127.0.0.1:port
	AccessKey string
	SecretKey string

	m     *minio
	owned bool // by one test, which may kill it
}

var (
	keysOnce sync.Once
	keys     [2]string // the credentials of every server that this process starts

	sharedOnce sync.Once
	shared     *S3Server
	sharedErr  error
)

// processKeys returns the credentials of this process's servers, and puts them into the environment for the SDK's default
// chain, here and in child processes: with them an URL alone opens a store. The credentials of a shared server are used for
// private ones, too, because the environment has place for one pair.
func processKeys() (access, secret string) {
	keysOnce.Do(func() {
		keys = [2]string{"forst" + randomText(6), randomText(20)}
		if u, err := url.Parse(os.Getenv(EnvS3)); err == nil && u.User != nil {
			pw, _ := u.User.Password()
			keys = [2]string{u.User.Username(), pw}
		}
		for _, kv := range awsEnv(keys[0], keys[1]) {
			name, value, _ := strings.Cut(kv, "=")
			os.Setenv(name, value)
		}
	})
	return keys[0], keys[1]
}

// awsEnv is the environment for the SDK's default chain. It shuts out what the machine may have.
func awsEnv(access, secret string) []string {
	return []string{
		"AWS_ACCESS_KEY_ID=" + access, "AWS_SECRET_ACCESS_KEY=" + secret, "AWS_SESSION_TOKEN=", "AWS_REGION=us-east-1",
		"AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null", "AWS_PROFILE=",
		"AWS_ENDPOINT_URL=", "AWS_ENDPOINT_URL_S3=", "AWS_CA_BUNDLE=",
	}
}

// S3 returns the server that all tests of the run share, started if need be. See Need for when it skips. Tests must not stop
// it; they keep apart by Bucket or URL.
func S3(t testing.TB) *S3Server {
	t.Helper()
	Need(t, "s3")
	access, secret := processKeys()
	sharedOnce.Do(func() {
		if raw := os.Getenv(EnvS3); raw != "" {
			u, err := url.Parse(raw)
			if err != nil || u.User == nil {
				sharedErr = errors.New(EnvS3 + " must be http://ACCESSKEY:SECRETKEY@HOST:PORT")
				return
			}
			endpoint := (&url.URL{Scheme: u.Scheme, Host: u.Host}).String()
			shared = &S3Server{Endpoint: endpoint, AccessKey: access, SecretKey: secret, m: &minio{endpoint: endpoint, access: access, secret: secret}}
			return
		}
		m, err := startMinio(context.Background(), access, secret)
		if err != nil {
			sharedErr = err
			return
		}
		// The guard ends it with this process.
		shared = &S3Server{Endpoint: m.endpoint, AccessKey: access, SecretKey: secret, m: m}
	})
	if sharedErr != nil {
		t.Fatal(sharedErr)
	}
	return shared
}

// StartS3 starts a server for this test alone, which may be killed, paused and restarted; it and its data go with the test.
func StartS3(t testing.TB) *S3Server {
	t.Helper()
	Need(t, "s3")
	if _, err := os.Stat(MinioPath()); err != nil {
		t.Fatalf("a private server needs the binary even where %s names a shared one: %v", EnvS3, err)
	}
	access, secret := processKeys()
	m, err := startMinio(t.Context(), access, secret)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.end(); err != nil {
			t.Errorf("ending MinIO: %v", err)
		}
	})
	return &S3Server{Endpoint: m.endpoint, AccessKey: access, SecretKey: secret, m: m, owned: true}
}

// Bucket makes a fresh bucket, which is emptied and removed with the test.
func (s *S3Server) Bucket(t testing.TB) string {
	t.Helper()
	name := "t-" + randomText(8)
	client := s.m.client()
	if _, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String(name)}); err != nil {
		t.Fatalf("creating a bucket: %v", err)
	}
	if !s.owned { // a private server goes as a whole
		t.Cleanup(func() {
			if err := removeBucket(context.Background(), client, name); err != nil {
				t.Errorf("removing bucket %s: %v", name, err)
			}
		})
	}
	return name
}

// URL is an s3:// URL of a fresh bucket with a prefix. The credentials are in the environment of this process.
func (s *S3Server) URL(t testing.TB) string {
	t.Helper()
	return s.URLIn(s.Bucket(t), "vol")
}

// URLIn is the URL of a prefix in a bucket.
func (s *S3Server) URLIn(bucket, prefix string) string {
	q := url.Values{"endpoint": {s.Endpoint}, "region": {"us-east-1"}}
	return fmt.Sprintf("s3://%s/%s?%s", bucket, prefix, q.Encode())
}

// Kill ends a private server with SIGKILL. Its data stays.
func (s *S3Server) Kill(t testing.TB) { s.tell(t, "kill") }

// Pause stops a private server with SIGSTOP: connections stay open and nothing answers.
func (s *S3Server) Pause(t testing.TB) { s.tell(t, "stop") }

// Resume continues a paused server; what it was sent meanwhile is carried out now.
func (s *S3Server) Resume(t testing.TB) { s.tell(t, "cont") }

// Restart starts a killed server again, on the same port and data, and waits until it is ready.
func (s *S3Server) Restart(t testing.TB) {
	t.Helper()
	s.mustOwn(t)
	if err := s.m.start(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// Alive reports whether the server's process exists.
func (s *S3Server) Alive() bool { return s.m.pid != 0 && syscall.Kill(s.m.pid, 0) == nil }

func (s *S3Server) tell(t testing.TB, command string) {
	t.Helper()
	s.mustOwn(t)
	if _, err := s.m.guard.tell(command); err != nil {
		t.Fatal(err)
	}
}

func (s *S3Server) mustOwn(t testing.TB) {
	t.Helper()
	if !s.owned {
		t.Fatal("the shared server must not be stopped: use testenv.StartS3")
	}
}

// removeBucket empties and removes a bucket in one request, which MinIO has for this.
func removeBucket(ctx context.Context, client *s3.Client, name string) error {
	_, err := client.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: aws.String(name)}, func(o *s3.Options) {
		o.APIOptions = append(o.APIOptions, addHeader("x-minio-force-delete", "true"))
	})
	return err
}
