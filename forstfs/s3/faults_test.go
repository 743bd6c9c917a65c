package s3_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/s3"
)

// TestAnswers: what each answer to a PUT, a GET and a HEAD means, and whether it is worth another try.
func TestAnswers(t *testing.T) {
	once, again, few := 1, -1, 3 // requests; -1: until the time is up
	for _, tc := range []struct {
		name     string
		step     http.HandlerFunc
		kind     driver.Kind
		requests int
		says     string
	}{
		{"412", refuse(412, "PreconditionFailed"), driver.KindExist, once, "PreconditionFailed"},
		{"412 without a code", status(412), driver.KindExist, once, ""},
		{"403", refuse(403, "AccessDenied"), driver.KindPermission, once, "s3:PutObject"},
		{"403 without a code", status(403), driver.KindPermission, once, ""},
		{"wrong secret", refuse(403, "SignatureDoesNotMatch"), driver.KindPermission, once, "secret key is wrong"},
		{"unknown key", refuse(403, "InvalidAccessKeyId"), driver.KindPermission, once, "does not know"},
		{"expired token", refuse(400, "ExpiredToken"), driver.KindPermission, once, "new credentials"},
		{"clock", refuse(403, "RequestTimeTooSkewed"), driver.KindPermission, 2, "clock"},
		{"no bucket", refuse(404, "NoSuchBucket"), driver.KindNoStore, few, "create the bucket"},
		{"other region", refuse(301, "PermanentRedirect", "x-amz-bucket-region", "eu-west-3", "Location", "http://127.0.0.1:1/"), driver.KindNoStore, once, "region=eu-west-3"},
		{"other region, malformed", refuse(400, "AuthorizationHeaderMalformed"), driver.KindNoStore, once, "another region"},
		{"redirect without a code", status(301), driver.KindNoStore, once, "another region"},
		{"404 of a proxy", status(404), driver.KindOther, once, "404"},
		{"archived", refuse(403, "InvalidObjectState"), driver.KindOther, once, "lifecycle"},
		{"full", refuse(507, "XMinioStorageFull"), driver.KindNoSpace, once, "full"},
		{"full without a code", status(507), driver.KindNoSpace, once, "full"},
		{"no such feature", refuse(501, "NotImplemented"), driver.KindUnsupported, once, ""},
		{"KMS", refuse(400, "KMS.DisabledException"), driver.KindPermission, once, "KMS"},
		{"bad digest", refuse(400, "BadDigest"), driver.KindCorrupt, 4, "BadDigest"},
		{"parent is an object", refuse(400, "XMinioParentIsObject"), driver.KindInvalid, once, "prefix"},
		{"object is a parent", refuse(409, "XMinioObjectExistsAsDirectory"), driver.KindInvalid, once, "prefix"},
		{"unknown 400", refuse(400, "Whatever"), driver.KindOther, once, "Whatever"},
		{"conflict", refuse(409, "ConditionalRequestConflict"), driver.KindTransient, again, ""},
		{"aborted", refuse(409, "OperationAborted"), driver.KindTransient, again, ""},
		{"slow down", refuse(503, "SlowDown"), driver.KindTransient, again, "SlowDown"},
		{"500", refuse(500, "InternalError"), driver.KindTransient, again, ""},
		{"500 without a code", status(500), driver.KindTransient, again, "HTTP 500"},
		{"502 with a page", refuse(502, "<p>proxy</p>"), driver.KindTransient, again, ""},
		{"429", status(429), driver.KindTransient, again, ""},
		{"request timeout", refuse(400, "RequestTimeout"), driver.KindTransient, again, ""},
		{"reset", hangUp, driver.KindTransient, again, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, tc.step)
			s := f.store(t, func(c *s3.Config) {
				if tc.requests == again {
					c.RetryTimeout = 300 * time.Millisecond
				}
			})
			for op, call := range map[string]func() error{
				"put":  func() error { return s.Put(t.Context(), "k", []byte("v"), driver.PutOptions{IfAbsent: true}) },
				"get":  func() error { _, err := driver.ReadAll(t.Context(), s, "k"); return err },
				"list": func() error { _, err := driver.ListAll(t.Context(), s, "", ""); return err },
			} {
				before := f.count()
				err := call()
				if driver.KindOf(err) != tc.kind || err == nil {
					t.Errorf("%s: %v, want %v", op, err, tc.kind)
					continue
				}
				got := f.count() - before
				if got != tc.requests && (tc.requests != again || got < 2) {
					t.Errorf("%s: %d requests, want %d", op, got, tc.requests)
				}
				if !strings.Contains(err.Error(), tc.says) || !strings.Contains(err.Error(), "s3://bucket/vol") {
					t.Errorf("%s: %v does not say %q or where", op, err, tc.says)
				}
				if errors.Is(err, fs.ErrNotExist) || driver.IsCanceled(err) {
					t.Errorf("%s: %v looks like something else", op, err)
				}
				hasNoSecret(t, err)
			}
		})
	}
}

func hasNoSecret(t testing.TB, err error) {
	t.Helper()
	if text := err.Error(); strings.Contains(text, topSecret) || strings.Contains(text, topToken) {
		t.Errorf("a secret is in %q", text)
	}
}

// TestRetriesSucceed: a call outlasts what passes, and sends the same bytes each time.
func TestRetriesSucceed(t *testing.T) {
	slow := func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	for name, bad := range map[string]http.HandlerFunc{
		"409": refuse(409, "ConditionalRequestConflict"), "500": refuse(500, "InternalError"), "503": refuse(503, "SlowDown"),
		"reset": hangUp, "no answer": slow, "clock": refuse(403, "RequestTimeTooSkewed"), "no bucket for a moment": refuse(404, "NoSuchBucket"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, bad, ok)
			var retries []s3.Retry
			s := f.store(t, func(c *s3.Config) {
				if name == "no answer" {
					c.AttemptTimeout = 200 * time.Millisecond
				}
				c.OnRetry = func(r s3.Retry) { retries = append(retries, r) }
			})
			data := bytes.Repeat([]byte("0123456789"), 10_000)
			ctx := driver.WithComponent(t.Context(), driver.CompCommit)
			if err := s.Put(ctx, "k", data, driver.PutOptions{IfAbsent: true}); err != nil {
				t.Fatal(err)
			}
			for i, body := range f.bodies {
				if !bytes.Equal(body, data) {
					t.Errorf("request %d has a body of %d bytes", i, len(body))
				}
			}
			if want := []string{"PUT If-None-Match:*", "PUT If-None-Match:*"}; !slices.Equal(f.seen(), want) {
				t.Errorf("requests %q, want %q", f.seen(), want)
			}
			if len(retries) != 1 || retries[0].Op != "put" || retries[0].Component != driver.CompCommit || retries[0].Attempt != 1 ||
				retries[0].Path != "s3://bucket/vol/k" || retries[0].Err == nil || driver.IsCanceled(retries[0].Err) {
				t.Errorf("retries %+v", retries)
			}
		})
	}
}

// TestLostReplyIsExist: the first attempt of a create wins and its reply is lost; the second is refused. The caller must see
// that as a loss and read back.
func TestLostReplyIsExist(t *testing.T) {
	for name, lost := range map[string]http.HandlerFunc{"500 after success": refuse(500, "InternalError"), "reset after success": hangUp} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t, lost, refuse(412, "PreconditionFailed"))
			err := f.store(t, nil).Put(t.Context(), "k", []byte("v"), driver.PutOptions{IfAbsent: true})
			if !errors.Is(err, fs.ErrExist) || f.count() != 2 {
				t.Errorf("%v after %d requests, want ErrExist after 2", err, f.count())
			}
		})
	}
}

// TestBigCreateAsksBeforeItRepeats: what was sent once is sent again only if it is not there.
func TestBigCreateAsksBeforeItRepeats(t *testing.T) {
	big := make([]byte, 1<<20)
	for _, tc := range []struct {
		name string
		then []http.HandlerFunc
		want []string
		kind driver.Kind
	}{
		{"there", []http.HandlerFunc{object(big, `"e"`, -1, false)}, []string{"PUT If-None-Match:*", "HEAD"}, driver.KindExist},
		{"not there", []http.HandlerFunc{status(404), ok}, []string{"PUT If-None-Match:*", "HEAD", "PUT If-None-Match:*"}, driver.KindOther},
		{"unknown", []http.HandlerFunc{status(403), refuse(412, "PreconditionFailed")}, []string{"PUT If-None-Match:*", "HEAD", "PUT If-None-Match:*"}, driver.KindExist},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFake(t, append([]http.HandlerFunc{hangUp}, tc.then...)...)
			err := f.store(t, nil).Put(t.Context(), "k", big, driver.PutOptions{IfAbsent: true})
			if driver.KindOf(err) != tc.kind || (err == nil) != (tc.kind == driver.KindOther) || !slices.Equal(f.seen(), tc.want) {
				t.Errorf("%v after %q, want %v after %q", err, f.seen(), tc.kind, tc.want)
			}
		})
	}
}

// TestBigOverwriteDoesNotAsk: that an object is there says nothing of an overwrite, which is sent again.
func TestBigOverwriteDoesNotAsk(t *testing.T) {
	f := newFake(t, hangUp, ok)
	if err := f.store(t, nil).Put(t.Context(), "k", make([]byte, 1<<20), driver.PutOptions{}); err != nil || !slices.Equal(f.seen(), []string{"PUT", "PUT"}) {
		t.Errorf("%v after %q", err, f.seen())
	}
}

// TestPutSendsChecksum and the conditions of encryption.
func TestPutSendsChecksum(t *testing.T) {
	f := newFake(t, ok)
	for _, tc := range []struct {
		checksum, header, want string
	}{
		{"", "X-Amz-Checksum-Crc32c", "4waSgw=="}, // CRC-32C of "123456789" is e3069283
		{s3.ChecksumMD5, "Content-Md5", "JfnnlDI7RTiF9RgfG2JNCw=="},
		{s3.ChecksumNone, "X-Amz-Checksum-Crc32c", ""},
	} {
		s := f.store(t, func(c *s3.Config) { c.Checksum, c.SSE, c.KMSKey = tc.checksum, "aws:kms", "key-1" })
		if err := s.Put(t.Context(), "k", []byte("123456789"), driver.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		r := f.requests[len(f.requests)-1]
		if got := r.Header.Get(tc.header); got != tc.want {
			t.Errorf("checksum %q: %s is %q, want %q", tc.checksum, tc.header, got, tc.want)
		}
		if r.Header.Get("X-Amz-Server-Side-Encryption") != "aws:kms" || r.Header.Get("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id") != "key-1" {
			t.Errorf("encryption was not asked for: %v", r.Header)
		}
		if r.ContentLength != 9 || r.Header.Get("Content-Encoding") != "" || r.Header.Get("If-None-Match") != "" || r.URL.Path != "/bucket/vol/k" {
			t.Errorf("request %v %v", r.URL, r.Header)
		}
	}
}

// TestDeadlines: the caller's deadline matches context errors; the driver's own never does.
func TestDeadlines(t *testing.T) {
	hang := func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	s := newFake(t, hang).store(t, func(c *s3.Config) { c.AttemptTimeout, c.RetryTimeout = 100*time.Millisecond, 300*time.Millisecond })
	err := s.Put(t.Context(), "k", []byte("v"), driver.PutOptions{})
	if driver.KindOf(err) != driver.KindTransient || driver.IsCanceled(err) {
		t.Errorf("own deadline: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Put(ctx, "k", []byte("v"), driver.PutOptions{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("caller's deadline: %v", err)
	}
}

// TestJournalHasItsOwnConnections: commits use neither the connections nor the transport of bulk requests.
func TestJournalHasItsOwnConnections(t *testing.T) {
	f := newFake(t, ok)
	var transports, commits atomic.Int32
	s := f.store(t, func(c *s3.Config) {
		c.WrapTransport = func(rt http.RoundTripper) http.RoundTripper {
			journal := transports.Add(1) == 2
			return roundTripper(func(r *http.Request) (*http.Response, error) {
				if commit := driver.ComponentOf(r.Context()) == driver.CompCommit; commit != journal {
					t.Errorf("a request with commit=%v on the transport with journal=%v", commit, journal)
				} else if commit {
					commits.Add(1)
				}
				return rt.RoundTrip(r)
			})
		}
	})
	for range 3 {
		for _, comp := range []driver.Component{driver.CompCommit, driver.CompFlush} {
			if err := s.Put(driver.WithComponent(t.Context(), comp), "k", []byte("v"), driver.PutOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if f.conns != 2 || commits.Load() != 3 {
		t.Errorf("%d connections for two kinds of requests, %d commits", f.conns, commits.Load())
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestConnectionsAreReused after every kind of end: otherwise each request pays a new handshake.
func TestConnectionsAreReused(t *testing.T) {
	content := bytes.Repeat([]byte("x"), 10_000)
	f := newFake(t,
		object(content, `"e1"`, -1, false), // read to the end
		object(content, `"e1"`, -1, false), // closed early
		refuse(404, "NoSuchKey"), refuse(412, "PreconditionFailed"), status(403), ok, object(content, `"e1"`, -1, false))
	s := f.store(t, nil)
	if _, err := driver.ReadAll(t.Context(), s, "k"); err != nil {
		t.Fatal(err)
	}
	r, err := s.Get(t.Context(), "k", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	driver.ReadAll(t.Context(), s, "k")
	s.Put(t.Context(), "k", nil, driver.PutOptions{IfAbsent: true})
	s.Put(t.Context(), "k", nil, driver.PutOptions{})
	s.Put(t.Context(), "k", nil, driver.PutOptions{})
	if err := driver.ReadFull(t.Context(), s, "k", 5, make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	if f.count() != 7 || f.conns != 1 {
		t.Errorf("%d requests over %d connections, want 7 over 1", f.count(), f.conns)
	}
}

// TestCustomCA: a private authority is trusted when named, and only then.
func TestCustomCA(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(ok))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // it would complain about the handshakes that must fail
	srv.StartTLS()
	defer srv.Close()
	f := &fake{Server: srv}
	s := f.store(t, nil)
	err := s.Put(t.Context(), "k", []byte("v"), driver.PutOptions{})
	if err == nil || driver.KindOf(err) != driver.KindOther || !strings.Contains(err.Error(), "ca=FILE") {
		t.Errorf("unknown authority: %v", err)
	}
	s = f.store(t, func(c *s3.Config) { c.CAFile = writeCA(t, srv) })
	if err := s.Put(t.Context(), "k", []byte("v"), driver.PutOptions{IfAbsent: true}); err != nil {
		t.Errorf("named authority: %v", err)
	}
	plain := httptest.NewServer(http.HandlerFunc(ok))
	defer plain.Close()
	s = f.store(t, func(c *s3.Config) { c.Endpoint = strings.Replace(plain.URL, "http:", "https:", 1) })
	if err := s.Put(t.Context(), "k", []byte("v"), driver.PutOptions{}); err == nil || !strings.Contains(err.Error(), "http:// instead of https://") {
		t.Errorf("no TLS: %v", err)
	}
	s = f.store(t, func(c *s3.Config) { c.Endpoint = strings.Replace(srv.URL, "https:", "http:", 1) })
	if err := s.Put(t.Context(), "k", []byte("v"), driver.PutOptions{}); err == nil || driver.KindOf(err) != driver.KindOther {
		t.Errorf("TLS expected by the server: %v", err)
	}
}
