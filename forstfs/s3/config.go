package s3

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/forst-go/forst/forstfs/driver"
)

// Checksums that Put can send with the data; the store compares before it stores.
const (
	ChecksumCRC32C = "crc32c" // x-amz-checksum-crc32c; ignored by stores that do not know it
	ChecksumMD5    = "md5"    // Content-MD5; for older S3-compatible stores
	ChecksumNone   = "none"
)

// Config is what Open needs. The zero value of every field but Bucket is a working default.
type Config struct {
	Bucket string // required; it must exist
	Prefix string // below it all keys are kept; may be empty; legal by driver.CheckKey

	Region    string // default: the SDK's (AWS_REGION, profile); "us-east-1" if Endpoint is set
	Endpoint  string // "http://host:port" or "https://host" of an S3-compatible store; default: the SDK's, in the end AWS
	PathStyle *bool  // "host/bucket/key" instead of "bucket.host/key"; default: true unless the endpoint is AWS and the bucket's name has no dot

	// Credentials. With AccessKey empty, the SDK's own chain decides: environment, profile, web identity, container, IMDS.
	AccessKey    string
	SecretKey    driver.Secret
	SessionToken driver.Secret
	Profile      string // a profile of the shared configuration; default: AWS_PROFILE

	SSE    string // "", "AES256", "aws:kms", "aws:kms:dsse": encryption at rest asked for each object; "" leaves it to the bucket
	KMSKey string // key id or ARN for the two kms forms; "" is the account's default key

	CAFile   string // PEM file of certificates trusted in addition to the system's
	Checksum string // ChecksumCRC32C (default), ChecksumMD5, ChecksumNone

	Concurrency int // requests in flight that connections are kept for; default 64

	// JournalConnections are kept apart for requests of driver.CompCommit, so that a commit never waits for a connection
	// behind bulk transfers; default 8.
	JournalConnections int

	// RetryTimeout ends the retries of one call; default 60 s. The time to move the call's own bytes at MinBandwidth comes on top,
	// and an attempt that began in time may take AttemptTimeout.
	RetryTimeout time.Duration
	// AttemptTimeout is how long one attempt may go without an answer, before the time for its bytes; default 5 s; it doubles
	// with each attempt up to eight times that. It is also how long a body may stall.
	AttemptTimeout time.Duration
	// MinBandwidth in bytes/s sizes the timeouts of big objects; default 1 MiB/s.
	MinBandwidth int64

	// OnRetry, if set, is called before each wait for another attempt, from the goroutine of the call; it must not block.
	OnRetry func(Retry)
	// WrapTransport, if set, wraps both HTTP transports: to count or trace requests.
	WrapTransport func(http.RoundTripper) http.RoundTripper
	// Seed makes the jitter of the retries repeatable; 0 takes a random one.
	Seed uint64
}

// Retry describes a failed attempt that will be repeated.
type Retry struct {
	Op        string
	Path      string
	Component driver.Component
	Attempt   int           // 1 for the first attempt
	Wait      time.Duration // until the next attempt
	Err       error         // what the attempt met, without secrets
}

// EnsureDefaults returns a copy with the defaults filled in that do not depend on the environment. c may be nil.
func (c *Config) EnsureDefaults() *Config {
	var d Config
	if c != nil {
		d = *c
	}
	d.Prefix = strings.Trim(d.Prefix, "/")
	if d.Checksum == "" {
		d.Checksum = ChecksumCRC32C
	}
	if d.Concurrency == 0 {
		d.Concurrency = 64
	}
	if d.JournalConnections == 0 {
		d.JournalConnections = 8
	}
	if d.RetryTimeout == 0 {
		d.RetryTimeout = time.Minute
	}
	if d.AttemptTimeout == 0 {
		d.AttemptTimeout = 5 * time.Second
	}
	if d.MinBandwidth == 0 {
		d.MinBandwidth = 1 << 20
	}
	return &d
}

// Validate reports the first setting that cannot work. It makes no request.
func (c *Config) Validate() error {
	switch {
	case c.Bucket == "":
		return errors.New("no bucket: want s3://bucket/prefix")
	case strings.HasSuffix(c.Bucket, "--x-s3"):
		return &unsupportedBucket{c.Bucket}
	case strings.ContainsAny(c.Bucket, "/ :?#@%"):
		return fmt.Errorf("%q is not the name of a bucket", c.Bucket)
	}
	if c.Prefix != "" {
		if err := driver.CheckKey(c.Prefix); err != nil {
			return fmt.Errorf("prefix: %w", err)
		}
		if len(c.Prefix) > maxS3Key-driver.MaxKey-1 {
			return fmt.Errorf("prefix of %d bytes: at most %d are legal, so that every key fits in S3's %d", len(c.Prefix), maxS3Key-driver.MaxKey-1, maxS3Key)
		}
	}
	if err := checkEndpoint(c.Endpoint); err != nil {
		return err
	}
	if (c.AccessKey == "") != c.SecretKey.Empty() {
		return errors.New("an access key and a secret key are needed together")
	}
	switch c.SSE {
	case "", "AES256", "aws:kms", "aws:kms:dsse":
	default:
		return fmt.Errorf("sse %q: want AES256, aws:kms or aws:kms:dsse", c.SSE)
	}
	if c.KMSKey != "" && !strings.HasPrefix(c.SSE, "aws:kms") {
		return errors.New("a KMS key needs sse=aws:kms or sse=aws:kms:dsse")
	}
	switch c.Checksum {
	case ChecksumCRC32C, ChecksumMD5, ChecksumNone:
	default:
		return fmt.Errorf("checksum %q: want %s, %s or %s", c.Checksum, ChecksumCRC32C, ChecksumMD5, ChecksumNone)
	}
	if c.Concurrency < 1 || c.JournalConnections < 1 {
		return errors.New("concurrency must be positive")
	}
	if c.RetryTimeout < 0 || c.AttemptTimeout <= 0 || c.MinBandwidth <= 0 {
		return errors.New("timeouts and bandwidth must be positive")
	}
	return nil
}

// maxS3Key is S3's limit for a key in bytes.
const maxS3Key = 1024

// unsupportedBucket refuses S3 Express One Zone, whose lists are not in key order; a volume is found by its lists.
type unsupportedBucket struct{ bucket string }

func (e *unsupportedBucket) Error() string {
	return fmt.Sprintf("%s is a directory bucket (S3 Express One Zone): it lists keys in no order, and a volume is found by ordered lists; use a general purpose bucket", e.bucket)
}

func checkEndpoint(raw string) error {
	if raw == "" {
		return nil
	}
	u, err := url.Parse(raw)
	if err != nil {
		return errors.New("endpoint: not a URL (want http://host:port or https://host)") // err would repeat the text, which may hold a password
	}
	switch {
	case u.User != nil:
		return errors.New("endpoint: credentials do not belong in a URL: use the environment, a profile or Config")
	case (u.Scheme != "http" && u.Scheme != "https") || u.Host == "":
		return errors.New("endpoint: want http://host:port or https://host")
	case u.RawQuery != "" || u.Fragment != "":
		return errors.New("endpoint: no query and no fragment allowed")
	}
	return nil
}

// isAWS reports whether the endpoint (empty: AWS's own) belongs to AWS.
func isAWS(endpoint string) bool {
	if endpoint == "" {
		return true
	}
	u, err := url.Parse(endpoint)
	if err != nil {
		return false
	}
	host := u.Hostname()
	if _, err := netip.ParseAddr(host); err == nil {
		return false
	}
	return strings.HasSuffix(host, ".amazonaws.com") || strings.HasSuffix(host, ".amazonaws.com.cn")
}
