package s3_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/s3"
)

// TestTransportErrors: what the network says is in the error, is never taken for the end of the caller's context, and is worth repeating.
func TestTransportErrors(t *testing.T) {
	dial := func(err error) error { return &net.OpError{Op: "dial", Net: "tcp", Err: err} }
	for _, tc := range []struct {
		name, want string
		err        error
		few        bool // given up after some attempts
	}{
		{"refused", "dial tcp: refused", dial(errors.New("refused")), false},
		{"dial timeout", "dial tcp", dial(context.DeadlineExceeded), false},
		{"attempt timeout", "no answer in time", context.DeadlineExceeded, false},
		{"cut", "the wire is cut", errors.New("the wire is cut"), false},
		{"no such host", "correct the endpoint", &net.DNSError{Err: "no such host", Name: "store", IsNotFound: true}, true},
		{"name server is away", "server misbehaving", &net.DNSError{Err: "server misbehaving", Name: "store"}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var n atomic.Int64
				s, err := s3.Open(t.Context(), &s3.Config{Bucket: "b", Endpoint: "http://store", AccessKey: "a", SecretKey: driver.NewSecret(topSecret),
					WrapTransport: over(func(*http.Request) (*http.Response, error) { n.Add(1); return nil, tc.err })})
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				err = s.Put(t.Context(), "k", []byte("v"), driver.PutOptions{})
				if driver.KindOf(err) != driver.KindTransient || !strings.Contains(err.Error(), tc.want) || driver.IsCanceled(err) {
					t.Errorf("%v, want %q", err, tc.want)
				}
				if (n.Load() == 4) != tc.few || n.Load() < 4 {
					t.Errorf("%d attempts", n.Load())
				}
			})
		})
	}
}

// TestResponseErrorText: what the server said, what its operator can look for, and what to do.
func TestResponseErrorText(t *testing.T) {
	for want, e := range map[string]s3.ResponseError{
		"AccessDenied: no (HTTP 403, request R1): ask": {Status: 403, Code: "AccessDenied", Message: "no", RequestID: "R1", Hint: "ask"},
		"AccessDenied (HTTP 403)":                      {Status: 403, Code: "AccessDenied"},
		"no error code (HTTP 500)":                     {Status: 500},
	} {
		if got := e.Error(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
