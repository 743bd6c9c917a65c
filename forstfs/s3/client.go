package s3

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/logging"

	"github.com/forst-go/forst/forstfs/driver"
)

// newClient builds the SDK's client and the two transports under it. It reads the environment and the shared configuration
// files, and makes no request.
func newClient(ctx context.Context, c *Config) (*s3.Client, *pools, error) {
	load := []func(*config.LoadOptions) error{
		config.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} }), // see retry.go
		config.WithLogger(logging.Nop{}),
		config.WithAppID("forst"),
		// Put sends its own checksum and DeleteObjects always has one; stores other than AWS trip over more.
		config.WithRequestChecksumCalculation(aws.RequestChecksumCalculationWhenRequired),
	}
	if c.Region != "" {
		load = append(load, config.WithRegion(c.Region))
	}
	if c.Profile != "" {
		load = append(load, config.WithSharedConfigProfile(c.Profile))
	}
	if c.AccessKey != "" {
		load = append(load, config.WithCredentialsProvider(
			credentials.NewStaticCredentialsProvider(c.AccessKey, c.SecretKey.Reveal(), c.SessionToken.Reveal())))
	}
	cfg, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return nil, nil, fmt.Errorf("AWS configuration: %w", err)
	}
	pools, err := newPools(c, cfg.HTTPClient)
	if err != nil {
		return nil, nil, err
	}
	if cfg.Credentials != nil {
		cfg.Credentials = &markedCredentials{inner: cfg.Credentials}
	}
	client := s3.NewFromConfig(cfg, func(o *s3.Options) {
		o.HTTPClient = pools
		o.DisableLogOutputChecksumValidationSkipped = true
		if c.Endpoint != "" {
			o.BaseEndpoint = aws.String(strings.TrimRight(c.Endpoint, "/"))
		}
		amazon := isAWS(aws.ToString(o.BaseEndpoint))
		if o.Region == "" && !amazon {
			o.Region = "us-east-1" // a name to sign with; such stores take any or this one
		}
		o.UsePathStyle = !amazon || strings.Contains(c.Bucket, ".")
		if c.PathStyle != nil {
			o.UsePathStyle = *c.PathStyle
		}
		if !amazon {
			o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		}
	})
	if err := checkEndpoint(aws.ToString(client.Options().BaseEndpoint)); err != nil {
		return nil, nil, err // from the environment or a profile
	}
	if client.Options().Region == "" {
		return nil, nil, errors.New("no region: add region=... to the URL or set AWS_REGION")
	}
	return client, pools, nil
}

// markedCredentials tells failures of the source of credentials apart from all others, and the first from later ones.
type markedCredentials struct {
	inner aws.CredentialsProvider
	had   atomic.Bool
}

func (m *markedCredentials) Retrieve(ctx context.Context) (aws.Credentials, error) {
	c, err := m.inner.Retrieve(ctx)
	if err != nil {
		return c, &credentialsError{err: err, refreshed: m.had.Load()}
	}
	m.had.Store(true)
	return c, nil
}

// pools is the SDK's HTTP client: it sends requests of commits over connections of their own.
type pools struct {
	bulk, journal http.RoundTripper
	close         func()
}

// Do sends one request and follows no redirect: a redirect to another host needs another signature.
func (p *pools) Do(req *http.Request) (*http.Response, error) {
	if err := inOnePiece(req); err != nil {
		return nil, err
	}
	if driver.ComponentOf(req.Context()) == driver.CompCommit {
		return p.journal.RoundTrip(req)
	}
	return p.bulk.RoundTrip(req)
}

// writeBuffer is what a connection collects before it writes to the network.
const writeBuffer = 64 << 10

// inOnePiece lets the head and the body of a small request leave in one write. net/http sends the head alone where it does not know the body's type, which the SDK
// hides: that costs a packet, and a process that is stopped, or a machine that dies, between the two leaves half a request at the server. MinIO
// locks the object for it, for 30 s, against whoever takes over.
func inOnePiece(req *http.Request) error {
	if req.Body == nil || req.ContentLength <= 0 || req.ContentLength > writeBuffer-8<<10 { // the head fits, too
		return nil
	}
	b := make([]byte, req.ContentLength)
	_, err := io.ReadFull(req.Body, b)
	if cerr := req.Body.Close(); err == nil {
		err = cerr
	}
	req.Body = io.NopCloser(bytes.NewReader(b))
	return err
}

// newPools starts from the transport that the SDK configured (proxy, AWS_CA_BUNDLE, FIPS curves).
func newPools(c *Config, base any) (*pools, error) {
	build, ok := base.(*awshttp.BuildableClient)
	if !ok {
		build = awshttp.NewBuildableClient()
	}
	proto := build.GetTransport()
	if err := addCA(proto, c.CAFile); err != nil {
		return nil, err
	}
	proto.DialContext = (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}).DialContext
	proto.TLSHandshakeTimeout = 5 * time.Second
	proto.IdleConnTimeout = time.Minute
	proto.DisableCompression = true
	proto.MaxIdleConns, proto.MaxConnsPerHost = 0, 0
	proto.WriteBufferSize, proto.ReadBufferSize = writeBuffer, 64<<10
	// One HTTP/2 connection would carry, and slow, everything.
	proto.ForceAttemptHTTP2 = false
	proto.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}

	bulk, journal := proto, proto.Clone()
	bulk.MaxIdleConnsPerHost = c.Concurrency
	journal.MaxIdleConnsPerHost = c.JournalConnections
	p := &pools{bulk: bulk, journal: journal, close: func() {
		bulk.CloseIdleConnections()
		journal.CloseIdleConnections()
	}}
	if c.WrapTransport != nil {
		p.bulk, p.journal = c.WrapTransport(bulk), c.WrapTransport(journal)
	}
	return p, nil
}

func addCA(t *http.Transport, file string) error {
	if file == "" {
		return nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("ca: %w", err)
	}
	if t.TLSClientConfig == nil {
		t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	pool := t.TLSClientConfig.RootCAs
	if pool == nil {
		if pool, err = x509.SystemCertPool(); err != nil {
			pool = x509.NewCertPool()
		}
	} else {
		pool = pool.Clone()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return fmt.Errorf("ca: %s holds no PEM certificate", file)
	}
	t.TLSClientConfig.RootCAs = pool
	return nil
}
