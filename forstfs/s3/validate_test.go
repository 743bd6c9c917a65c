package s3_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/s3"
)

// TestValidate: each bad setting is named by itself, in a Config that is right otherwise.
func TestValidate(t *testing.T) {
	good := func() *s3.Config {
		return &s3.Config{Bucket: "bucket", Prefix: "p", Region: "r", AccessKey: "a", SecretKey: driver.NewSecret(topSecret), Checksum: s3.ChecksumCRC32C,
			Concurrency: 1, JournalConnections: 1, AttemptTimeout: time.Second, MinBandwidth: 1}
	}
	if err := good().Validate(); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, want string
		change     func(*s3.Config)
	}{
		{"bucket with a space", "is not the name of a bucket", func(c *s3.Config) { c.Bucket = "a b" }},
		{"bucket with a slash", "is not the name of a bucket", func(c *s3.Config) { c.Bucket = "a/b" }},
		{"prefix with a slash at its end", "prefix", func(c *s3.Config) { c.Prefix = "p/" }},
		{"endpoint that is no URL", "not a URL", func(c *s3.Config) { c.Endpoint = "http://h%zz" }},
		{"endpoint of another scheme", "want http://host:port", func(c *s3.Config) { c.Endpoint = "ftp://host" }},
		{"endpoint without a host", "want http://host:port", func(c *s3.Config) { c.Endpoint = "https://" }},
		{"endpoint with a query", "no query", func(c *s3.Config) { c.Endpoint = "https://host?a=b" }},
		{"endpoint with a fragment", "no fragment", func(c *s3.Config) { c.Endpoint = "https://host#a" }},
		{"access key alone", "needed together", func(c *s3.Config) { c.SecretKey = driver.Secret{} }},
		{"no connections", "positive", func(c *s3.Config) { c.Concurrency = 0 }},
		{"no connections of the journal", "positive", func(c *s3.Config) { c.JournalConnections = 0 }},
		{"negative retry timeout", "positive", func(c *s3.Config) { c.RetryTimeout = -1 }},
		{"no time for an attempt", "positive", func(c *s3.Config) { c.AttemptTimeout = 0 }},
		{"no bandwidth", "positive", func(c *s3.Config) { c.MinBandwidth = 0 }},
		{"KMS key with AES256", "needs sse", func(c *s3.Config) { c.SSE, c.KMSKey = "AES256", "k" }},
	} {
		c := good()
		tc.change(c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
	}
}

// over answers in place of the network.
func over(f roundTripper) func(http.RoundTripper) http.RoundTripper {
	return func(http.RoundTripper) http.RoundTripper { return f }
}

// TestAddressing: AWS is asked by the bucket's host, others by path; a dot in the name would not match AWS's certificate.
func TestAddressing(t *testing.T) {
	yes, no := true, false
	for _, tc := range []struct {
		endpoint, bucket string
		path             *bool
		want             string
	}{
		{"", "bucket", nil, "bucket.s3.eu-west-3.amazonaws.com/k"},
		{"", "bucket.c", nil, "s3.eu-west-3.amazonaws.com/bucket.c/k"},
		{"", "bucket", &yes, "s3.eu-west-3.amazonaws.com/bucket/k"},
		{"https://s3.cn-north-1.amazonaws.com.cn", "bucket", nil, "bucket.s3.cn-north-1.amazonaws.com.cn/k"},
		{"https://s3.eu-west-3.amazonaws.com", "bucket", nil, "bucket.s3.eu-west-3.amazonaws.com/k"},
		{"https://amazonaws.com.example.org", "bucket", nil, "amazonaws.com.example.org/bucket/k"},
		{"http://127.0.0.1:9000/", "bucket", nil, "127.0.0.1:9000/bucket/k"},
		{"http://store:9000", "bucket", &no, "bucket.store:9000/k"},
	} {
		var got string
		s, err := s3.Open(t.Context(), &s3.Config{Bucket: tc.bucket, Region: "eu-west-3", Endpoint: tc.endpoint, PathStyle: tc.path,
			AccessKey: "a", SecretKey: driver.NewSecret(topSecret), WrapTransport: over(func(r *http.Request) (*http.Response, error) {
				got = r.URL.Host + r.URL.Path
				return &http.Response{StatusCode: 200, Header: http.Header{"Etag": {`"e"`}}, Body: http.NoBody, Request: r}, nil
			})})
		if err != nil {
			t.Errorf("%+v: %v", tc, err)
			continue
		}
		if err := s.Put(t.Context(), "k", []byte("v"), driver.PutOptions{}); err != nil || got != tc.want {
			t.Errorf("%s, bucket %s: asked %q (%v), want %q", tc.endpoint, tc.bucket, got, err, tc.want)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}
