package s3_test

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/s3"
)

// page answers a list request.
func page(next string, keys ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `<ListBucketResult><IsTruncated>%t</IsTruncated><NextContinuationToken>%s</NextContinuationToken>`, next != "", next)
		for _, k := range keys {
			fmt.Fprintf(w, `<Contents><Key>%s</Key><Size>3</Size><LastModified>2026-01-02T03:04:05.000Z</LastModified></Contents>`, k)
		}
		fmt.Fprint(w, `</ListBucketResult>`)
	}
}

// TestListPages: tokens are followed, foreign names left out, and requests are flat.
func TestListPages(t *testing.T) {
	f := newFake(t, page("t1", "vol/", "vol/a", "vol/a b", "vol/b/"), page("t2"), refuse(503, "SlowDown"), page("", "vol/c"))
	infos, err := driver.ListAll(t.Context(), f.store(t, nil), "", "A")
	var keys []string
	for _, i := range infos {
		keys = append(keys, i.Key)
		if i.Size != 3 || !i.ModTime.Equal(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)) {
			t.Errorf("%+v", i)
		}
	}
	if err != nil || !slices.Equal(keys, []string{"a", "c"}) {
		t.Errorf("%q, %v", keys, err)
	}
	for i, r := range f.requests {
		q := r.URL.Query()
		token := []string{"", "t1", "t2", "t2"}[i]
		if q.Get("prefix") != "vol/" || q.Get("list-type") != "2" || q.Has("delimiter") || q.Get("continuation-token") != token || q.Get("start-after") != "vol/A" {
			t.Errorf("request %d: %v", i, r.URL)
		}
	}
}

// TestListsThatLie: a store whose lists cannot be trusted is found out.
func TestListsThatLie(t *testing.T) {
	for name, steps := range map[string][]http.HandlerFunc{
		"out of order":     {page("", "vol/b", "vol/a")},
		"twice":            {page("t", "vol/b"), page("", "vol/b")},
		"before the start": {page("", "vol/A")},
		"same token":       {page("t", "vol/c"), page("t")},
		"no token": {func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>`)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			if infos, err := driver.ListAll(t.Context(), newFake(t, steps...).store(t, nil), "", "B"); driver.KindOf(err) != driver.KindCorrupt {
				t.Errorf("%v, %v, want %v", infos, err, driver.KindCorrupt)
			}
		})
	}
	if _, err := driver.ListAll(t.Context(), newFake(t, page("", "vol/x")).store(t, nil), "y", ""); driver.KindOf(err) != driver.KindCorrupt {
		t.Errorf("prefix ignored: %v", err)
	}
}

// deletes serves DeleteObjects: refused keys get their code, once or for ever.
type deletes struct {
	mu      sync.Mutex
	codes   map[string]string // key -> error code
	forever bool
	batches []int
}

func (d *deletes) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Quiet  bool
		Object []struct{ Key string }
	}
	if err := xml.NewDecoder(r.Body).Decode(&in); err != nil || !in.Quiet || !r.URL.Query().Has("delete") {
		http.Error(w, "bad request", http.StatusBadRequest)
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.batches = append(d.batches, len(in.Object))
	fmt.Fprint(w, `<DeleteResult>`)
	for _, o := range in.Object {
		if code, ok := d.codes[o.Key]; ok {
			fmt.Fprintf(w, `<Error><Key>%s</Key><Code>%s</Code><Message>no</Message></Error>`, o.Key, code)
			if !d.forever {
				delete(d.codes, o.Key)
			}
		}
	}
	fmt.Fprint(w, `</DeleteResult>`)
}

func (d *deletes) store(t *testing.T) *s3.Store {
	srv := httptest.NewServer(d)
	t.Cleanup(srv.Close)
	return (&fake{Server: srv}).store(t, func(c *s3.Config) {
		if d.forever && len(d.codes) > 1 { // some of them worth retrying until the time is up
			c.RetryTimeout = 400 * time.Millisecond
		}
	})
}

func TestDeleteBatches(t *testing.T) {
	var keys []string
	for i := range 2500 {
		keys = append(keys, fmt.Sprintf("d/%04d", i))
	}
	t.Run("repeats only what failed", func(t *testing.T) {
		d := &deletes{codes: map[string]string{"vol/d/0007": "InternalError", "vol/d/0008": "SlowDown", "vol/d/2400": "NoSuchKey"}}
		if err := d.store(t).Delete(t.Context(), keys); err != nil {
			t.Fatal(err)
		}
		slices.Sort(d.batches)
		if want := []int{2, 500, 1000, 1000}; !slices.Equal(d.batches, want) {
			t.Errorf("batches of %v, want %v", d.batches, want)
		}
	})
	t.Run("reports each kind", func(t *testing.T) {
		d := &deletes{forever: true, codes: map[string]string{"vol/d/0007": "AccessDenied", "vol/d/1500": "InternalError", "vol/d/0009": "InternalError"}}
		err := d.store(t).Delete(t.Context(), keys)
		if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "vol/d/0007") || !strings.Contains(err.Error(), "vol/d/1500") {
			t.Errorf("got %v", err)
		}
		if n := d.batches[0] + d.batches[1] + d.batches[2]; n < 2500-1000 {
			t.Errorf("one refusal kept %v from being tried", d.batches)
		}
	})
	t.Run("a refusal goes before what may pass", func(t *testing.T) {
		for _, codes := range []map[string]string{
			{"vol/d/0003": "InternalError", "vol/d/0007": "AccessDenied"},
			{"vol/d/0003": "AccessDenied", "vol/d/0007": "InternalError"},
		} {
			d := &deletes{forever: true, codes: codes}
			err := d.store(t).Delete(t.Context(), keys[:10])
			var e *driver.Error
			if !errors.Is(err, fs.ErrPermission) || len(d.batches) != 1 || !errors.As(err, &e) || e.Path != "s3://bucket/vol/d/000" {
				t.Errorf("%v: %v after batches %v", codes, err, d.batches)
			}
		}
	})
	t.Run("gone is deleted", func(t *testing.T) {
		d := &deletes{forever: true, codes: map[string]string{"vol/d/0003": "NoSuchKey", "vol/d/0007": "NoSuchVersion"}}
		if err := d.store(t).Delete(t.Context(), keys[:10]); err != nil || len(d.batches) != 1 {
			t.Errorf("%v after batches %v", err, d.batches)
		}
	})
	t.Run("unknown code", func(t *testing.T) {
		d := &deletes{forever: true, codes: map[string]string{"vol/d/0007": "Whatever"}}
		if err := d.store(t).Delete(t.Context(), keys[:10]); driver.KindOf(err) != driver.KindOther || len(d.batches) != 3 {
			t.Errorf("%v after batches %v", err, d.batches)
		}
	})
	t.Run("no batches in this store", func(t *testing.T) {
		f := newFake(t, refuse(501, "NotImplemented"), status(204))
		if err := f.store(t, nil).Delete(t.Context(), keys[:30]); err != nil {
			t.Fatal(err)
		}
		if f.count() != 31 {
			t.Errorf("%d requests, want 1 + 30", f.count())
		}
	})
	t.Run("MD5 for old stores", func(t *testing.T) {
		f := newFake(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `<DeleteResult></DeleteResult>`) })
		s := f.store(t, func(c *s3.Config) { c.Checksum = s3.ChecksumMD5 })
		if err := s.Delete(t.Context(), keys[:2]); err != nil || f.requests[0].Header.Get("Content-Md5") == "" {
			t.Errorf("%v, %v", err, f.requests[0].Header)
		}
	})
	t.Run("illegal key", func(t *testing.T) {
		f := newFake(t, ok)
		if err := f.store(t, nil).Delete(t.Context(), []string{"a", "/b"}); driver.KindOf(err) != driver.KindInvalid || f.count() != 0 {
			t.Errorf("%v after %d requests", err, f.count())
		}
	})
}

// TestStatTellsBucketFromObject: only an answer that says so is "not exist".
func TestStatTellsBucketFromObject(t *testing.T) {
	for _, tc := range []struct {
		name  string
		steps []http.HandlerFunc
		kind  driver.Kind
	}{
		{"object", []http.HandlerFunc{status(404), refuse(404, "NoSuchKey")}, driver.KindNotExist},
		{"bucket", []http.HandlerFunc{status(404), refuse(404, "NoSuchBucket"), status(404), refuse(404, "NoSuchBucket"), status(404), refuse(404, "NoSuchBucket")}, driver.KindNoStore},
		{"neither says so", []http.HandlerFunc{status(404)}, driver.KindOther},
		{"forbidden", []http.HandlerFunc{status(403)}, driver.KindPermission},
		{"they never agree", []http.HandlerFunc{status(404), object([]byte("x"), "e", -1, false), status(404), object([]byte("x"), "e", -1, false), status(404), object([]byte("x"), "e", -1, false)}, driver.KindTransient},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := newFake(t, tc.steps...).store(t, nil).Stat(t.Context(), "k")
			if driver.KindOf(err) != tc.kind || err == nil {
				t.Errorf("got %v, want %v", err, tc.kind)
			}
		})
	}
	f := newFake(t, status(404), refuse(416, "InvalidRange"), object(nil, `"e"`, -1, false))
	if info, err := f.store(t, nil).Stat(t.Context(), "k"); err != nil || info.Size != 0 || info.Key != "k" {
		t.Errorf("an empty object that came between: %+v, %v", info, err)
	}
}

func TestParseURL(t *testing.T) {
	u, err := url.Parse("s3://bucket/a/b/?region=eu-west-3&endpoint=https%3A%2F%2Fhost%3A9000&path_style=false&profile=p&sse=aws:kms&kms_key=k&ca=/f" +
		"&checksum=md5&concurrency=7&journal_connections=3&retry_timeout=2m&attempt_timeout=3s")
	if err != nil {
		t.Fatal(err)
	}
	c, err := s3.ParseURL(u)
	if err != nil {
		t.Fatal(err)
	}
	if c.Bucket != "bucket" || c.Prefix != "a/b" || c.Region != "eu-west-3" || c.Endpoint != "https://host:9000" || *c.PathStyle || c.Profile != "p" ||
		c.SSE != "aws:kms" || c.KMSKey != "k" || c.CAFile != "/f" || c.Checksum != "md5" || c.Concurrency != 7 || c.JournalConnections != 3 ||
		c.RetryTimeout != 2*time.Minute || c.AttemptTimeout != 3*time.Second {
		t.Errorf("%+v", c)
	}
}

// TestBadSettings: each is refused when the store is opened, before any request, with words that help and hold no secret.
func TestBadSettings(t *testing.T) {
	t.Setenv("AWS_REGION", "")
	t.Setenv("AWS_DEFAULT_REGION", "")
	t.Setenv("AWS_CONFIG_FILE", os.DevNull)
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for raw, want := range map[string]string{
		"s3://key:" + topSecret + "@bucket/p":                             "credentials do not belong in a URL",
		"s3://bucket/p?endpoint=http://key:" + topSecret + "@h":           "credentials do not belong in a URL",
		"s3://bucket/p?endpoint=http://key:" + topSecret + "%2525zz@h%00": "endpoint",
		"s3://bucket/p?secret_key=" + topSecret:                           "known are: attempt_timeout, ca, checksum",
		"s3://bucket/p?region=a&region=b":                                 "2 times",
		"s3://bucket/p?region=%zz":                                        "not well-formed",
		"s3://bucket/p?concurrency=many":                                  "is not a int",
		"s3://bucket/p?concurrency=-1&region=r":                           "positive",
		"s3://bucket/p?retry_timeout=-1s&region=r":                        "positive",
		"s3://bucket/p?checksum=crc":                                      "want crc32c, md5 or none",
		"s3://bucket/p?sse=yes":                                           "aws:kms",
		"s3://bucket/p?kms_key=k":                                         "needs sse",
		"s3://bucket/p?endpoint=host:9000":                                "want http://host:port",
		"s3://bucket/p?endpoint=http://h?x=y":                             "no query",
		"s3://bucket/p?ca=/does/not/exist&region=r":                       "no such file",
		"s3://bucket/p?region=r&ca=" + empty:                              "no PEM certificate",
		"s3://bucket/p?profile=nobody&region=r":                           "nobody",
		"s3://bucket/p":                                                   "no region",
		"s3:///p":                                                         "no bucket",
		"s3:bucket":                                                       "want s3://",
		"s3://bucket/p?region=r#x":                                        "want s3://",
		"s3://bucket/a//b?region=r":                                       "empty segment",
		"s3://bucket/a%20b?region=r":                                      "not legal",
		"s3://bucket/" + strings.Repeat("abcdefgh/", 57) + "?region=r":    "prefix of",
		"s3://bu%20cket/p?region=r":                                       "",
		"s3://name--usw2-az1--x-s3/p?region=r":                            "directory bucket",
	} {
		t.Run(want, func(t *testing.T) {
			var r driver.Registry
			r.Register("s3", s3.OpenURL)
			s, err := r.Open(t.Context(), raw)
			if err == nil {
				s.Close()
				t.Fatalf("%s was opened", raw)
			}
			kind := driver.KindInvalid
			if strings.Contains(raw, "--x-s3") {
				kind = driver.KindUnsupported
			}
			if driver.KindOf(err) != kind || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %v with %q", raw, err, kind, want)
			}
			hasNoSecret(t, err)
		})
	}
	for _, c := range []*s3.Config{nil, {Bucket: "b", Region: "r", AccessKey: "only"}, {Bucket: "b", Region: "r", SecretKey: driver.NewSecret(topSecret)}} {
		if _, err := s3.Open(t.Context(), c); driver.KindOf(err) != driver.KindInvalid {
			t.Errorf("%v", err)
		}
	}
	if text := fmt.Sprintf("%v %+v %#v", s3.Config{SecretKey: driver.NewSecret(topSecret)}, &s3.Config{SecretKey: driver.NewSecret(topSecret)}, s3.Config{SecretKey: driver.NewSecret(topSecret)}); strings.Contains(text, topSecret) {
		t.Error("a printed Config shows its secret")
	}
}

func TestEndpointOfEnvironment(t *testing.T) {
	t.Setenv("AWS_ENDPOINT_URL", "http://key:"+topSecret+"@127.0.0.1:1")
	_, err := s3.Open(t.Context(), &s3.Config{Bucket: "b", Region: "r", AccessKey: "key", SecretKey: driver.NewSecret("x")})
	if driver.KindOf(err) != driver.KindInvalid || !strings.Contains(err.Error(), "credentials do not belong") {
		t.Fatalf("got %v", err)
	}
	hasNoSecret(t, err)
}

// TestNoCredentials: a machine that has none gets told how to give some, at once.
func TestNoCredentials(t *testing.T) {
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_SESSION_TOKEN"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_CONFIG_FILE", os.DevNull)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
	f := newFake(t, ok)
	s := f.store(t, func(c *s3.Config) { c.AccessKey, c.SecretKey, c.SessionToken = "", driver.Secret{}, driver.Secret{} })
	err := s.Put(t.Context(), "k", []byte("v"), driver.PutOptions{})
	if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "AWS_ACCESS_KEY_ID") || f.count() != 0 {
		t.Errorf("%v after %d requests", err, f.count())
	}
}

// TestCredentialsThatAreRenewed: a machine's role whose source fails for a moment has had credentials before, so that it is asked again.
func TestCredentialsThatAreRenewed(t *testing.T) {
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_SESSION_TOKEN"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_CONFIG_FILE", os.DevNull)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
	expired := func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"AccessKeyId":"role","SecretAccessKey":%q,"Token":%q,"Expiration":"2020-01-01T00:00:00Z"}`, topSecret, topToken)
	}
	source := newFake(t, expired, status(http.StatusBadRequest), expired)
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", source.URL)
	var retries []s3.Retry
	f := newFake(t, ok)
	s := f.store(t, func(c *s3.Config) {
		c.AccessKey, c.SecretKey, c.SessionToken = "", driver.Secret{}, driver.Secret{}
		c.OnRetry = func(r s3.Retry) { retries = append(retries, r) }
	})
	for range 2 {
		if err := s.Put(t.Context(), "k", []byte("v"), driver.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if len(retries) != 1 || !strings.Contains(retries[0].Err.Error(), "renewing credentials") || source.count() != 3 || f.count() != 2 {
		t.Errorf("%d requests after %d for credentials, repeated for %+v", f.count(), source.count(), retries)
	}
}

// TestProfile: the shared files of the SDK work, endpoint included.
func TestProfile(t *testing.T) {
	f := newFake(t, ok)
	dir := t.TempDir()
	conf := filepath.Join(dir, "config")
	text := fmt.Sprintf("[profile lab]\nregion = lab-1\nendpoint_url = %s\naws_access_key_id = lab-key\naws_secret_access_key = %s\n", f.URL, topSecret)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"} {
		t.Setenv(name, "")
		os.Unsetenv(name)
	}
	t.Setenv("AWS_CONFIG_FILE", conf)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
	s, err := s3.Open(t.Context(), &s3.Config{Bucket: "bucket", Profile: "lab"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Put(t.Context(), "k", []byte("v"), driver.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	if a := f.requests[0].Header.Get("Authorization"); !strings.Contains(a, "Credential=lab-key/") || !strings.Contains(a, "/lab-1/s3/") || f.requests[0].URL.Path != "/bucket/k" {
		t.Errorf("%s, %s", a, f.requests[0].URL)
	}
}

// TestCloseWaits for calls that are slow to end.
func TestCloseWaits(t *testing.T) {
	entered, ended := make(chan struct{}), atomic.Bool{}
	s := newFake(t, ok).store(t, func(c *s3.Config) {
		c.WrapTransport = func(http.RoundTripper) http.RoundTripper {
			return roundTripper(func(r *http.Request) (*http.Response, error) {
				close(entered)
				<-r.Context().Done()
				for range 10_000 {
					runtime.Gosched()
				}
				ended.Store(true)
				return nil, r.Context().Err()
			})
		}
	})
	go s.Put(t.Context(), "k", nil, driver.PutOptions{})
	<-entered
	s.Close()
	if !ended.Load() {
		t.Error("Close returned before a call under way had ended")
	}
}

// TestCloseWithAForgottenBody: Close does not wait for a reader that never comes back, and ends its body.
func TestCloseWithAForgottenBody(t *testing.T) {
	s := newFake(t, object([]byte("0123456789"), `"e"`, 5, true)).store(t, nil)
	body, err := s.Get(t.Context(), "k", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(body, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if n, err := body.Read(make([]byte, 5)); n != 0 || driver.KindOf(err) != driver.KindClosed {
		t.Errorf("%d bytes of a closed store: %v", n, err)
	}
	if err := body.Close(); err != nil {
		t.Error(err)
	}
}

// TestClose: later calls are refused, calls under way end, nothing is left running.
func TestClose(t *testing.T) {
	hang := func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	before := runtime.NumGoroutine()
	f := newFake(t, hang)
	s := f.store(t, nil)
	errs := make(chan error, 8)
	for range cap(errs) {
		go func() { errs <- s.Put(t.Context(), "k", []byte("v"), driver.PutOptions{}) }()
	}
	for f.count() < cap(errs) {
		runtime.Gosched()
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for range cap(errs) {
		if err := <-errs; driver.KindOf(err) != driver.KindClosed {
			t.Errorf("a call under way: %v", err)
		}
	}
	for op, err := range everyOp(t.Context(), s) {
		if !errors.Is(err, fs.ErrClosed) {
			t.Errorf("%s after Close: %v", op, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	f.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for runtime.NumGoroutine() > before { // connections take a moment to notice
		if ctx.Err() != nil {
			buf := make([]byte, 1<<16)
			t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
		}
		runtime.Gosched()
	}
}
