package s3_test

import (
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/s3"
)

// fake is a server that answers with a script: one step per request, the last one again and again.
type fake struct {
	*httptest.Server
	mu       sync.Mutex
	steps    []http.HandlerFunc
	requests []*http.Request // bodies were read
	bodies   [][]byte
	conns    int
}

func newFake(t testing.TB, steps ...http.HandlerFunc) *fake {
	f := &fake{steps: steps}
	f.Server = httptest.NewUnstartedServer(f)
	f.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			f.mu.Lock()
			f.conns++
			f.mu.Unlock()
		}
	}
	f.Start()
	t.Cleanup(f.Close)
	return f
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client went away
	}
	f.mu.Lock()
	n := len(f.requests)
	f.requests, f.bodies = append(f.requests, r), append(f.bodies, body)
	step := f.steps[min(n, len(f.steps)-1)]
	f.mu.Unlock()
	step(w, r)
}

// seen is the requests so far as "METHOD query-or-range" lines.
func (f *fake) seen() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []string
	for _, r := range f.requests {
		s := r.Method
		for _, h := range []string{"Range", "If-Match", "If-None-Match"} {
			if v := r.Header.Get(h); v != "" {
				s += " " + h + ":" + v
			}
		}
		all = append(all, s)
	}
	return all
}

func (f *fake) count() int { return len(f.seen()) }

// store opens a store on the fake, with timeouts that no busy machine reaches; a test that needs short ones sets them.
func (f *fake) store(t testing.TB, change func(*s3.Config)) *s3.Store {
	t.Helper()
	cfg := &s3.Config{
		Bucket: "bucket", Prefix: "vol", Endpoint: f.URL, AccessKey: "key", SecretKey: driver.NewSecret(topSecret),
		SessionToken: driver.NewSecret(topToken), RetryTimeout: 2 * time.Minute, AttemptTimeout: time.Minute, Seed: 1,
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

const (
	topSecret = "the-secret-key-nobody-may-see"
	topToken  = "the-session-token-nobody-may-see"
)

// refuse answers with an S3 error.
func refuse(status int, code string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/xml")
		w.Header().Set("x-amz-request-id", "REQ1")
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		if r.Method != http.MethodHead {
			fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>the server's words</Message></Error>`, code)
		}
	}
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

func ok(w http.ResponseWriter, _ *http.Request) { w.Header().Set("ETag", `"e1"`) }

// hangUp closes the connection without an answer; the request was received.
func hangUp(w http.ResponseWriter, _ *http.Request) {
	c, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	c.(*net.TCPConn).SetLinger(0) // reset
	c.Close()
}

// object serves content like S3, ranges and If-Match included; cut breaks the connection after so many bytes of the body (-1:
// never), and stall stops there without an end until the client goes.
func object(content []byte, etag string, cut int, stall bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if m := r.Header.Get("If-Match"); m != "" && m != etag {
			refuse(http.StatusPreconditionFailed, "PreconditionFailed")(w, r)
			return
		}
		part, code := content, http.StatusOK
		if v := r.Header.Get("Range"); v != "" {
			lo, hi, _ := strings.Cut(strings.TrimPrefix(v, "bytes="), "-")
			from, _ := strconv.Atoi(lo)
			to := len(content) - 1
			if n, err := strconv.Atoi(hi); err == nil {
				to = min(to, n)
			}
			if from >= len(content) {
				refuse(http.StatusRequestedRangeNotSatisfiable, "InvalidRange")(w, r)
				return
			}
			part, code = content[from:to+1], http.StatusPartialContent
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to, len(content)))
		}
		w.Header().Set("ETag", etag)
		w.Header().Set("Content-Length", strconv.Itoa(len(part)))
		w.WriteHeader(code)
		if r.Method == http.MethodHead {
			return
		}
		if cut < 0 || cut >= len(part) {
			w.Write(part)
			return
		}
		w.Write(part[:cut])
		w.(http.Flusher).Flush()
		if stall {
			<-r.Context().Done()
		}
		panic(http.ErrAbortHandler)
	}
}

// writeCA writes the certificate of a TLS test server as a PEM file.
func writeCA(t *testing.T, srv *httptest.Server) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ca.pem")
	b := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
