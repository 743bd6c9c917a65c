package s3_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/s3"
	"github.com/forst-go/forst/internal/testenv"
)

// open opens a store on a fresh bucket of the test server.
func open(t testing.TB, change func(*s3.Config)) *s3.Store {
	t.Helper()
	server := testenv.S3(t)
	cfg := &s3.Config{
		Bucket: server.Bucket(t), Prefix: "a/prefix", Endpoint: server.Endpoint,
		AccessKey: server.AccessKey, SecretKey: driver.NewSecret(server.SecretKey),
	}
	if change != nil {
		change(cfg)
	}
	s, err := s3.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestRegistryOpensURL(t *testing.T) {
	server := testenv.S3(t)
	var r driver.Registry
	r.Register("s3", s3.OpenURL)
	s, err := r.Open(t.Context(), server.URL(t)+"&retry_timeout=10s&concurrency=4")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Put(t.Context(), "k", []byte("v"), driver.PutOptions{IfAbsent: true}); err != nil {
		t.Fatal(err)
	}
	if got, err := driver.ReadAll(t.Context(), s, "k"); err != nil || string(got) != "v" {
		t.Fatalf("got %q, %v", got, err)
	}
	if got := s.Capabilities().Concurrency; got != 4 {
		t.Errorf("concurrency %d, want 4", got)
	}
}

// counter counts the requests that reach the transport.
type counter struct {
	next http.RoundTripper
	n    *atomic.Int64
}

func (c counter) RoundTrip(r *http.Request) (*http.Response, error) {
	c.n.Add(1)
	return c.next.RoundTrip(r)
}

// TestOneRequestPerCall pins what each method costs.
func TestOneRequestPerCall(t *testing.T) {
	var n atomic.Int64
	s := open(t, func(c *s3.Config) {
		c.WrapTransport = func(rt http.RoundTripper) http.RoundTripper { return counter{rt, &n} }
	})
	ctx := t.Context()
	count := func(what string, want int64, f func() error) {
		t.Helper()
		n.Store(0)
		if err := f(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if got := n.Load(); got != want {
			t.Errorf("%s: %d requests, want %d", what, got, want)
		}
	}
	big := make([]byte, 5<<20)
	count("put", 1, func() error { return s.Put(ctx, "x", []byte("hello"), driver.PutOptions{}) })
	count("put empty", 1, func() error { return s.Put(ctx, "empty", nil, driver.PutOptions{}) })
	count("put if absent", 1, func() error { return s.Put(ctx, "y", big, driver.PutOptions{IfAbsent: true}) })
	count("put if absent, taken", 1, func() error { // a refused big body may break its connection, and cost more
		if err := s.Put(ctx, "y", big[:4096], driver.PutOptions{IfAbsent: true}); !errors.Is(err, fs.ErrExist) {
			t.Errorf("got %v, want ErrExist", err)
		}
		return nil
	})
	count("get", 1, func() error { _, err := driver.ReadAll(ctx, s, "y"); return err })
	count("get range", 1, func() error { return driver.ReadFull(ctx, s, "y", 4096, make([]byte, 4096)) })
	count("stat", 1, func() error { _, err := s.Stat(ctx, "x"); return err })
	count("stat missing", 2, func() error {
		if _, err := s.Stat(ctx, "none"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("got %v, want ErrNotExist", err)
		}
		return nil
	})
	count("list", 1, func() error { _, err := driver.ListAll(ctx, s, "", ""); return err })
	count("copy", 1, func() error { return s.Copy(ctx, "x", "x-copy") })
	count("delete one", 1, func() error { return s.Delete(ctx, []string{"x"}) })
	count("delete many", 1, func() error { return s.Delete(ctx, []string{"x", "y", "z", "empty", "x-copy"}) })
	count("delete none", 0, func() error { return s.Delete(ctx, nil) })
	if all, err := driver.ListAll(ctx, s, "", ""); err != nil || len(all) != 0 {
		t.Errorf("left over: %v, %v", all, err)
	}
}

// TestOutsidersAreLeftOut: objects beside the prefix, and names that forst never makes, are invisible and harmless.
func TestOutsidersAreLeftOut(t *testing.T) {
	server := testenv.S3(t)
	bucket := server.Bucket(t)
	at := func(prefix string) *s3.Store {
		s, err := s3.Open(t.Context(), &s3.Config{Bucket: bucket, Prefix: prefix, Endpoint: server.Endpoint,
			AccessKey: server.AccessKey, SecretKey: driver.NewSecret(server.SecretKey)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}
	root, vol, other := at(""), at("vol"), at("vol2")
	for _, s := range []*s3.Store{root, vol, other} {
		if err := s.Put(t.Context(), "k", []byte(s.String()), driver.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	infos, err := driver.ListAll(t.Context(), vol, "", "")
	if err != nil || len(infos) != 1 || infos[0].Key != "k" {
		t.Errorf("vol: %v, %v", infos, err)
	}
	infos, err = driver.ListAll(t.Context(), root, "", "")
	if err != nil || len(infos) != 3 {
		t.Errorf("root: %v, %v", infos, err)
	}
}

// TestCopyKeepsUnusualKeys: the source of a copy is a header with escapes of its own.
func TestCopyKeepsUnusualKeys(t *testing.T) {
	s := open(t, nil)
	for _, key := range []string{"a+b=c@d~e,f/x-y_z.0", "a//b"[:1] + "%"[:0] + "/=,~@+"} {
		if err := s.Put(t.Context(), key, []byte(key), driver.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := s.Copy(t.Context(), key, "copy/"+key); err != nil {
			t.Fatal(err)
		}
		if got, err := driver.ReadAll(t.Context(), s, "copy/"+key); err != nil || string(got) != key {
			t.Errorf("%q: got %q, %v", key, got, err)
		}
	}
	if err := s.Copy(t.Context(), "missing", "x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("copy of a missing object: %v", err)
	}
}

// TestWrongCredentials: the error says what is wrong and holds no secret.
func TestWrongCredentials(t *testing.T) {
	const secret = "do-not-print-this-secret"
	for _, tc := range []struct {
		name, want string
		change     func(*s3.Config)
	}{
		{"wrong secret", "SignatureDoesNotMatch", func(c *s3.Config) { c.SecretKey = driver.NewSecret(secret) }},
		{"unknown key", "InvalidAccessKeyId", func(c *s3.Config) { c.AccessKey, c.SecretKey = "nobody", driver.NewSecret(secret) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := open(t, tc.change)
			for op, err := range everyOp(t.Context(), s) {
				if !errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%s: %v, want ErrPermission", op, err)
				}
				var r *s3.ResponseError
				if op != "stat" && (!errors.As(err, &r) || r.Code != tc.want) { // a HEAD has no code
					t.Errorf("%s: %v, want code %s", op, err, tc.want)
				}
				if err != nil && bytes.Contains([]byte(err.Error()), []byte(secret)) {
					t.Errorf("%s: the secret is in the error", op)
				}
			}
		})
	}
}

// TestMissingBucket is never a missing object.
func TestMissingBucket(t *testing.T) {
	s := open(t, func(c *s3.Config) { c.Bucket = "there-is-no-such-bucket" })
	for op, err := range everyOp(t.Context(), s) {
		if driver.KindOf(err) != driver.KindNoStore || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v, want %v", op, err, driver.KindNoStore)
		}
	}
}

// everyOp calls each method once.
func everyOp(ctx context.Context, s *s3.Store) map[string]error {
	errs := map[string]error{}
	errs["put"] = s.Put(ctx, "k", []byte("v"), driver.PutOptions{IfAbsent: true})
	_, errs["get"] = driver.ReadAll(ctx, s, "k")
	errs["range"] = driver.ReadFull(ctx, s, "k", 0, make([]byte, 1))
	_, errs["stat"] = s.Stat(ctx, "k")
	_, errs["list"] = driver.ListAll(ctx, s, "", "")
	errs["delete"] = s.Delete(ctx, []string{"k"})
	errs["delete many"] = s.Delete(ctx, []string{"k", "l"})
	errs["copy"] = s.Copy(ctx, "k", "l")
	return errs
}

// TestPutLetsGoOfData: after Put was cancelled in the middle, the caller may write to the bytes. The race detector watches.
func TestPutLetsGoOfData(t *testing.T) {
	s := open(t, nil)
	data := make([]byte, 8<<20)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			own := bytes.Clone(data)
			ctx, cancel := context.WithCancel(t.Context())
			go func() { // somewhere in the middle, by the amount of other work
				for range i * 50000 {
					rand.Uint64()
				}
				cancel()
			}()
			err := s.Put(ctx, "big-"+string(rune('a'+i)), own, driver.PutOptions{})
			if err != nil && !driver.IsCanceled(err) {
				t.Errorf("put: %v", err)
			}
			for j := range own {
				own[j] = 1
			}
			if err == nil {
				return
			}
			got, err := driver.ReadAll(t.Context(), s, "big-"+string(rune('a'+i)))
			switch {
			case errors.Is(err, fs.ErrNotExist):
			case err != nil:
				t.Errorf("read: %v", err)
			case !bytes.Equal(got, data):
				t.Error("a cancelled Put left something else than the whole object")
			}
		})
	}
	wg.Wait()
}

// TestServerKilledAndPaused: calls outlast a server that dies and comes back, and one that hangs.
func TestServerKilledAndPaused(t *testing.T) {
	server := testenv.StartS3(t)
	retried := make(chan s3.Retry, 1000)
	s, err := s3.Open(t.Context(), &s3.Config{Bucket: server.Bucket(t), Endpoint: server.Endpoint,
		AccessKey: server.AccessKey, SecretKey: driver.NewSecret(server.SecretKey), AttemptTimeout: time.Second,
		OnRetry: func(r s3.Retry) {
			select {
			case retried <- r:
			default:
			}
		}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	data := make([]byte, 1<<20)
	if err := s.Put(t.Context(), "before", data, driver.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	body, err := s.Get(t.Context(), "before", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()

	server.Kill(t)
	done := make(chan error, 1)
	go func() { done <- s.Put(t.Context(), "during", data, driver.PutOptions{IfAbsent: true}) }()
	select { // the call has met the dead server
	case r := <-retried:
		if r.Op != "put" || r.Attempt != 1 || r.Err == nil {
			t.Errorf("retry %+v", r)
		}
	case err := <-done:
		t.Fatalf("put to a dead server ended at once: %v", err)
	}
	server.Restart(t)
	if err := <-done; err != nil {
		t.Errorf("put during the restart: %v", err)
	}
	if got, err := io.ReadAll(body); err != nil || !bytes.Equal(got, data) {
		t.Errorf("the body that was open during the restart: %d bytes, %v", len(got), err)
	}

	for len(retried) > 0 {
		<-retried
	}
	server.Pause(t)
	go func() {
		_, err := driver.ReadAll(t.Context(), s, "before")
		done <- err
	}()
	for hung := true; hung; {
		select {
		case r := <-retried:
			hung = r.Op != "get"
		case err := <-done:
			t.Fatalf("get from a server that hangs ended: %v", err)
		}
	}
	server.Resume(t)
	if err := <-done; err != nil {
		t.Errorf("get from a server that hung: %v", err)
	}
}

func TestURLOfServerNeedsNoSecret(t *testing.T) {
	server := testenv.S3(t)
	u, err := url.Parse(server.URL(t))
	if err != nil || u.User != nil || bytes.Contains([]byte(u.String()), []byte(server.SecretKey)) {
		t.Errorf("%v, %v", u, err)
	}
}
