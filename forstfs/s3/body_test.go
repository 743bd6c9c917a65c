package s3_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/s3"
)

// TestBodyResumes: a body that breaks goes on with what is missing, of the same object.
func TestBodyResumes(t *testing.T) {
	content := bytes.Repeat([]byte("abcdefghijklmnopqrstuvwxyz"), 4000) // 104,000 bytes
	broken := func(n int) http.HandlerFunc { return object(content, `"e1"`, n, false) }
	whole := object(content, `"e1"`, -1, false)
	for _, tc := range []struct {
		name   string
		off, n int64
		steps  []http.HandlerFunc
		want   []string
	}{
		{"whole object", 0, -1, []http.HandlerFunc{broken(50_000), broken(10), whole},
			[]string{"GET", `GET Range:bytes=50000-103999 If-Match:"e1"`, `GET Range:bytes=50010-103999 If-Match:"e1"`}},
		{"range", 100, 90_000, []http.HandlerFunc{broken(40_000), whole},
			[]string{"GET Range:bytes=100-90099", `GET Range:bytes=40100-90099 If-Match:"e1"`}},
		{"rest", 1000, -1, []http.HandlerFunc{broken(1), whole},
			[]string{"GET Range:bytes=1000-", `GET Range:bytes=1001-103999 If-Match:"e1"`}},
		{"past the end", 103_000, 10_000, []http.HandlerFunc{broken(500), whole},
			[]string{"GET Range:bytes=103000-112999", `GET Range:bytes=103500-103999 If-Match:"e1"`}},
		{"before the first byte", 0, -1, []http.HandlerFunc{broken(0), whole},
			[]string{"GET", `GET Range:bytes=0-103999 If-Match:"e1"`}},
		{"resuming is refused for a moment", 0, -1, []http.HandlerFunc{broken(50_000), refuse(503, "SlowDown"), whole},
			[]string{"GET", `GET Range:bytes=50000-103999 If-Match:"e1"`, `GET Range:bytes=50000-103999 If-Match:"e1"`}},
		{"stall", 0, -1, []http.HandlerFunc{object(content, `"e1"`, 50_000, true), whole},
			[]string{"GET", `GET Range:bytes=50000-103999 If-Match:"e1"`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, tc.steps...)
			told := 0
			s := f.store(t, func(c *s3.Config) {
				if tc.name == "stall" {
					c.AttemptTimeout = 500 * time.Millisecond
				}
				c.OnRetry = func(r s3.Retry) { told++ }
			})
			r, err := s.Get(t.Context(), "k", tc.off, tc.n)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			got, err := io.ReadAll(r)
			want := content[tc.off:]
			if tc.n >= 0 {
				want = want[:min(int64(len(want)), tc.n)]
			}
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d bytes, %v, want %d", len(got), err, len(want))
			}
			if !slices.Equal(f.seen(), tc.want) {
				t.Errorf("requests %q, want %q", f.seen(), tc.want)
			}
			if tc.name == "before the first byte" && told != 1 {
				t.Errorf("told of %d repetitions, want 1", told)
			}
		})
	}
}

// TestBodyFails: what cannot be had whole ends with an error and never with io.EOF.
func TestBodyFails(t *testing.T) {
	content := bytes.Repeat([]byte("x"), 1000)
	whole := object(content, `"e1"`, -1, false)
	head := func(header ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", `"e1"`)
			for i := 0; i+1 < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			if r.Header.Get("Range") != "" && w.Header().Get("Content-Range") != "" {
				w.WriteHeader(http.StatusPartialContent)
			}
			w.Write(content[:100])
		}
	}
	for _, tc := range []struct {
		name  string
		n     int64
		steps []http.HandlerFunc
		kind  driver.Kind
	}{
		{"replaced meanwhile", -1, []http.HandlerFunc{object(content, `"e1"`, 500, false), object(content, `"e2"`, -1, false)}, driver.KindTransient},
		{"deleted meanwhile", -1, []http.HandlerFunc{object(content, `"e1"`, 500, false), refuse(404, "NoSuchKey")}, driver.KindNotExist},
		{"always cut before the first byte", -1, []http.HandlerFunc{object(content, `"e1"`, 0, false)}, driver.KindCorrupt},
		{"If-Match ignored", -1, []http.HandlerFunc{object(content, `"e1"`, 500, false), func(w http.ResponseWriter, r *http.Request) {
			r.Header.Del("If-Match")
			object(content, `"e2"`, -1, false)(w, r)
		}}, driver.KindCorrupt},
		{"range ignored", 100, []http.HandlerFunc{head()}, driver.KindUnsupported},
		{"another range", 100, []http.HandlerFunc{head("Content-Range", "bytes 1-100/1000")}, driver.KindCorrupt},
		{"a shorter range", 200, []http.HandlerFunc{head("Content-Range", "bytes 0-99/1000")}, driver.KindCorrupt},
		{"a longer range", 50, []http.HandlerFunc{head("Content-Range", "bytes 0-99/1000")}, driver.KindCorrupt},
		{"no sense in Content-Range", 100, []http.HandlerFunc{head("Content-Range", "bytes */1000")}, driver.KindCorrupt},
		{"a range of an object of no size", 100, []http.HandlerFunc{head("Content-Range", "bytes 0-99/*")}, driver.KindCorrupt},
		{"a range beyond the object's size", 100, []http.HandlerFunc{head("Content-Range", "bytes 0-99/50")}, driver.KindCorrupt},
		{"past the end", 100, []http.HandlerFunc{refuse(416, "InvalidRange")}, driver.KindRange},
		{"past the end, no code", 100, []http.HandlerFunc{status(416)}, driver.KindRange},
		{"no length", -1, []http.HandlerFunc{func(w http.ResponseWriter, _ *http.Request) {
			w.Write(content)
			w.(http.Flusher).Flush()
			w.Write(content)
		}}, driver.KindCorrupt},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, tc.steps...)
			s := f.store(t, nil)
			r, err := s.Get(t.Context(), "k", 0, tc.n)
			var got []byte
			if err == nil {
				got, err = io.ReadAll(r)
				if _, err2 := r.Read(make([]byte, 1)); err2 != err {
					t.Errorf("the next Read gives %v", err2)
				}
				r.Close()
			}
			if driver.KindOf(err) != tc.kind || err == nil || errors.Is(err, io.EOF) {
				t.Errorf("%d bytes, %v, want %v", len(got), err, tc.kind)
			}
		})
	}
	t.Run("no error", func(t *testing.T) { // the table's content is good by itself
		if got, err := driver.ReadAll(t.Context(), newFake(t, whole).store(t, nil), "k"); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	})
}

// TestBodyFromAWS: Amazon sends the checksum of a whole object, and a body that does not have it must not pass. The transport is
// a stand-in, because this is the default for Amazon's own endpoints only.
func TestBodyFromAWS(t *testing.T) {
	var host, path string
	answer := func(sum string, body io.Reader) *s3.Store {
		s, err := s3.Open(t.Context(), &s3.Config{
			Bucket: "bucket", Region: "eu-west-3", AccessKey: "key", SecretKey: driver.NewSecret(topSecret),
			WrapTransport: func(http.RoundTripper) http.RoundTripper {
				return roundTripper(func(r *http.Request) (*http.Response, error) {
					host, path = r.URL.Host, r.URL.Path
					h := http.Header{"Content-Length": {"9"}, "Etag": {`"e"`}, "X-Amz-Checksum-Crc32c": {sum}, "X-Amz-Checksum-Type": {"FULL_OBJECT"}}
					code := http.StatusOK
					if r.Header.Get("Range") != "" {
						code = http.StatusInternalServerError // a resume: not what this test is about
					}
					return &http.Response{StatusCode: code, Header: h, ContentLength: 9, Body: io.NopCloser(body), Request: r}, nil
				})
			},
			RetryTimeout: time.Millisecond,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}
	if got, err := driver.ReadAll(t.Context(), answer("4waSgw==", strings.NewReader("123456789")), "k"); err != nil || string(got) != "123456789" {
		t.Errorf("good: %q, %v", got, err)
	}
	if host != "bucket.s3.eu-west-3.amazonaws.com" || path != "/k" {
		t.Errorf("sent to %s%s", host, path)
	}
	if got, err := driver.ReadAll(t.Context(), answer("4waSgw==", strings.NewReader("123456780")), "k"); driver.KindOf(err) != driver.KindCorrupt {
		t.Errorf("damaged: %q, %v", got, err)
	}
}

// TestBodyOfTransportThatEndsEarly: io.EOF from below, too early, must not look like the end.
func TestBodyOfTransportThatEndsEarly(t *testing.T) {
	s := newFake(t, ok).store(t, func(c *s3.Config) {
		c.WrapTransport = func(http.RoundTripper) http.RoundTripper {
			return roundTripper(func(r *http.Request) (*http.Response, error) {
				h := http.Header{"Content-Length": {"9"}, "Etag": {`"e"`}}
				code := http.StatusOK
				if r.Header.Get("Range") != "" {
					code = http.StatusPartialContent
					h.Set("Content-Range", "bytes 0-8/9")
				}
				return &http.Response{StatusCode: code, Header: h, ContentLength: 9, Body: io.NopCloser(strings.NewReader("")), Request: r}, nil
			})
		}
	})
	r, err := s.Get(t.Context(), "k", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := r.Read(make([]byte, 9)); driver.KindOf(err) != driver.KindCorrupt || errors.Is(err, io.EOF) {
		t.Errorf("got %v", err)
	}
}

// TestBodyEndsWithItsContext, or with the store's Close, and says which.
func TestBodyEndsWithItsContext(t *testing.T) {
	content := bytes.Repeat([]byte("x"), 1000)
	stalled := object(content, `"e1"`, 500, true)
	t.Run("context", func(t *testing.T) {
		s := newFake(t, stalled).store(t, nil)
		ctx, cancel := context.WithCancel(t.Context())
		r, err := s.Get(ctx, "k", 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if _, err := io.ReadFull(r, make([]byte, 500)); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Millisecond, cancel)
		if _, err := r.Read(make([]byte, 1)); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("Close", func(t *testing.T) {
		s := newFake(t, stalled).store(t, nil)
		r, err := s.Get(t.Context(), "k", 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Millisecond, func() { s.Close() })
		if _, err := io.ReadAll(r); driver.KindOf(err) != driver.KindClosed {
			t.Errorf("got %v", err)
		}
		r.Close()
	})
}

// TestBodyOfASlowReader: only a wait for the store counts against the store's time, however long its reader takes between two reads.
func TestBodyOfASlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gets := 0
		s, err := s3.Open(t.Context(), &s3.Config{Bucket: "bucket", Endpoint: "http://store", AccessKey: "a", SecretKey: driver.NewSecret(topSecret),
			WrapTransport: over(func(r *http.Request) (*http.Response, error) {
				gets++
				return &http.Response{StatusCode: 200, Header: http.Header{"Etag": {`"e"`}, "Content-Length": {"4"}}, ContentLength: 4, Request: r,
					Body: io.NopCloser(&bodyOf{r.Context(), strings.NewReader("abcd")})}, nil
			})})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		r, err := s.Get(t.Context(), "k", 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		var got []byte
		for range 4 {
			time.Sleep(time.Hour)
			b := make([]byte, 1)
			if _, err := io.ReadFull(r, b); err != nil {
				t.Fatal(err)
			}
			got = append(got, b...)
		}
		if string(got) != "abcd" || gets != 1 {
			t.Errorf("%q by %d GETs", got, gets)
		}
	})
}

// bodyOf is the body of an answer: it ends with its request.
type bodyOf struct {
	ctx context.Context
	r   io.Reader
}

func (b *bodyOf) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	return b.r.Read(p)
}

// TestCloseOfAStalledBody does not wait for the rest.
func TestCloseOfAStalledBody(t *testing.T) {
	f := newFake(t, object(make([]byte, 1000), `"e1"`, 500, true))
	s := f.store(t, func(c *s3.Config) { c.AttemptTimeout = time.Hour })
	r, err := s.Get(t.Context(), "k", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	r.Close() // would last an hour
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Read after Close: %v", err)
	}
}
