// Package s3 keeps a volume in a bucket of Amazon S3 or of a store that speaks its protocol (MinIO, Ceph, R2, ...).
//
// It uses only what such stores do alike: PUT of a whole object (with If-None-Match for create-if-absent), ranged GET, HEAD,
// flat ListObjectsV2, DeleteObject(s) and CopyObject. Nothing rests on multipart uploads, on conditional DELETE or COPY, or on
// lists with a delimiter.
//
// The bucket must exist, must not be a directory bucket (S3 Express One Zone), and must have neither a lifecycle rule nor Object
// Lock on the prefix. In a bucket with versioning a DELETE leaves a version behind that is paid for.
package s3

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net/url"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/forst-go/forst/forstfs/driver"
)

var (
	_ driver.Store  = (*Store)(nil)
	_ driver.Copier = (*Store)(nil)
	_ driver.Opener = OpenURL
)

const (
	maxPut     = 5 << 30 // S3's limit for one PUT and one COPY
	listPage   = 1000
	maxDeletes = 1000
)

// Store is a bucket and a prefix. See driver.Store for what its methods promise; all may be called at the same time.
type Store struct {
	cfg    *Config
	client *s3.Client
	pools  *pools
	leaks  func(text string) bool // whether text holds a configured secret

	life context.Context // ends with Close
	kill context.CancelFunc

	mu     sync.Mutex // guards closed, and calls.Add against calls.Wait
	closed bool
	calls  sync.WaitGroup

	rndMu sync.Mutex
	rnd   *rand.Rand
}

// Open makes a Store. It reads the environment, the shared configuration files and cfg.CAFile, and makes no request: a missing
// bucket or wrong credentials show with the first call. ctx bounds Open only. The caller must Close the store.
func Open(ctx context.Context, cfg *Config) (*Store, error) {
	cfg = cfg.EnsureDefaults()
	s := &Store{cfg: cfg}
	bad := func(kind driver.Kind, err error) (*Store, error) {
		return nil, s.fail(call{op: "open"}, kind, err)
	}
	s.leaks = leakCheck(cfg.SecretKey.Reveal(), cfg.SessionToken.Reveal())
	if err := cfg.Validate(); err != nil {
		var u *unsupportedBucket
		if errors.As(err, &u) {
			return bad(driver.KindUnsupported, err)
		}
		return bad(driver.KindInvalid, err)
	}
	client, pools, err := newClient(ctx, cfg)
	if err != nil {
		if ctx.Err() != nil {
			return bad(driver.KindOther, ctx.Err())
		}
		return bad(driver.KindInvalid, err)
	}
	s.client, s.pools = client, pools
	seed := cfg.Seed
	if seed == 0 {
		seed = rand.Uint64()
	}
	s.rnd = rand.New(rand.NewPCG(seed, 0))
	s.life, s.kill = context.WithCancel(context.Background())
	return s, nil
}

func leakCheck(secrets ...string) func(string) bool {
	var known []string
	for _, x := range secrets {
		if x != "" {
			known = append(known, x)
		}
	}
	return func(text string) bool {
		for _, x := range known {
			if strings.Contains(text, x) {
				return true
			}
		}
		return false
	}
}

func (s *Store) random() float64 {
	s.rndMu.Lock()
	defer s.rndMu.Unlock()
	return s.rnd.Float64()
}

// String is the URL of the store without its parameters.
func (s *Store) String() string { return s.path("") }

func (s *Store) path(key string) string {
	return strings.TrimRight("s3://"+s.cfg.Bucket+"/"+s.full(key), "/")
}

// full is the key in the bucket.
func (s *Store) full(key string) string {
	if s.cfg.Prefix == "" {
		return key
	}
	return s.cfg.Prefix + "/" + key
}

// running is one entered call.
type running struct {
	ctx    context.Context // ends with the caller's, or with Close
	cancel context.CancelCauseFunc
	stop   func() bool
	leave  func() // Close no longer waits for it
}

// end leaves the call and ends its context.
func (r *running) end() {
	r.leave()
	r.stop()
	r.cancel(nil)
}

// begin enters a call, whose end must be called when it, and the body that it gave out, are over.
func (s *Store) begin(ctx context.Context, c call) (*running, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, s.fail(c, driver.KindClosed, nil)
	}
	if err := ctx.Err(); err != nil {
		return nil, s.fail(c, driver.KindOther, err)
	}
	s.calls.Add(1)
	r := &running{leave: sync.OnceFunc(s.calls.Done)}
	r.ctx, r.cancel = context.WithCancelCause(ctx)
	r.stop = context.AfterFunc(s.life, func() { r.cancel(errClosed) })
	return r, nil
}

// Put implements driver.Store. A retry sends the same bytes; with IfAbsent a retry whose earlier attempt arrived after all
// reports KindExist. data is not read after Put has returned, whatever it returned.
func (s *Store) Put(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
	c := call{op: "put", key: key, bytes: int64(len(data))}
	if err := driver.CheckKey(key); err != nil {
		return s.fail(c, driver.KindInvalid, err)
	}
	if c.bytes > maxPut {
		return s.fail(c, driver.KindInvalid, fmt.Errorf("object of %d bytes: S3 takes at most %d in one PUT", c.bytes, int64(maxPut)))
	}
	r, err := s.begin(ctx, c)
	if err != nil {
		return err
	}
	defer r.end()

	in := s3.PutObjectInput{
		Bucket:               aws.String(s.cfg.Bucket),
		Key:                  aws.String(s.full(key)),
		ContentLength:        aws.Int64(c.bytes),
		ServerSideEncryption: types.ServerSideEncryption(s.cfg.SSE),
	}
	if s.cfg.KMSKey != "" {
		in.SSEKMSKeyId = aws.String(s.cfg.KMSKey)
	}
	if o.IfAbsent {
		in.IfNoneMatch = aws.String("*")
	}
	// The sum is a header, computed here: over https the SDK would otherwise send it as a trailer of a chunked body, which
	// several stores refuse.
	switch s.cfg.Checksum {
	case ChecksumCRC32C:
		sum := binary.BigEndian.AppendUint32(nil, crc32.Checksum(data, castagnoli))
		in.ChecksumCRC32C = aws.String(base64.StdEncoding.EncodeToString(sum))
	case ChecksumMD5:
		sum := md5.Sum(data)
		in.ContentMD5 = aws.String(base64.StdEncoding.EncodeToString(sum[:]))
	}
	repeated := false
	return s.do(r.ctx, c, func(a *attempt) error {
		if repeated && o.IfAbsent && len(data) >= askFirst && s.exists(a.ctx, key) {
			return &answerError{kind: driver.KindExist, final: true, text: "the object is there"}
		}
		repeated = true
		in := in
		in.Body = bytes.NewReader(data)
		_, err := s.client.PutObject(a.ctx, &in)
		return err
	})
}

// askFirst is the size from which a failed create asks whether the object is there before it sends its bytes again. A server that
// refuses a big body closes the connection, often before the client has read the refusal.
const askFirst = 256 << 10

// exists reports that an object is certainly there. False means nothing.
func (s *Store) exists(ctx context.Context, key string) bool {
	_, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: aws.String(s.cfg.Bucket), Key: aws.String(s.full(key))})
	return err == nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Stat implements driver.Store. It costs one HEAD, and for a missing object one GET more: the answer to a HEAD has no body, and
// only a body tells a missing object from a missing bucket.
func (s *Store) Stat(ctx context.Context, key string) (driver.Info, error) {
	c := call{op: "stat", key: key}
	if err := driver.CheckKey(key); err != nil {
		return driver.Info{}, s.fail(c, driver.KindInvalid, err)
	}
	r, err := s.begin(ctx, c)
	if err != nil {
		return driver.Info{}, err
	}
	defer r.end()
	info := driver.Info{Key: key}
	err = s.do(r.ctx, c, func(a *attempt) error {
		out, err := s.client.HeadObject(a.ctx, &s3.HeadObjectInput{Bucket: aws.String(s.cfg.Bucket), Key: aws.String(s.full(key))})
		if err != nil {
			var missing *types.NotFound
			if errors.As(err, &missing) {
				return s.whyMissing(a.ctx, key)
			}
			return err
		}
		if out.ContentLength == nil {
			return &answerError{kind: driver.KindCorrupt, text: "the answer to HEAD has no Content-Length"}
		}
		info.Size, info.ModTime = *out.ContentLength, aws.ToTime(out.LastModified)
		return nil
	})
	if err != nil {
		return driver.Info{}, err
	}
	return info, nil
}

// whyMissing asks again with a GET and returns its error. If the object has come to be in between, the HEAD is repeated.
func (s *Store) whyMissing(ctx context.Context, key string) error {
	out, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(s.cfg.Bucket), Key: aws.String(s.full(key)), Range: aws.String("bytes=0-0")})
	if err != nil {
		if f := classify(err); f.kind != driver.KindRange { // an empty object has no byte 0, but it is there
			return err
		}
	} else {
		io.Copy(io.Discard, io.LimitReader(out.Body, 64))
		out.Body.Close()
	}
	return &answerError{kind: driver.KindTransient, text: "HEAD and GET disagree on whether the object exists"}
}

// Copy implements driver.Copier with CopyObject. S3 refuses a copy of an object to itself, which is nothing to do but to see
// that the object is there.
func (s *Store) Copy(ctx context.Context, src, dst string) error {
	c := call{op: "copy", key: src}
	if err := errors.Join(driver.CheckKey(src), driver.CheckKey(dst)); err != nil {
		return s.fail(c, driver.KindInvalid, err)
	}
	if src == dst {
		_, err := s.Stat(ctx, src)
		return err
	}
	// The store moves the bytes, but before it answers; its speed is its own, so the time is that of a big object.
	c.bytes = 64 << 20
	r, err := s.begin(ctx, c)
	if err != nil {
		return err
	}
	defer r.end()
	in := s3.CopyObjectInput{
		Bucket:               aws.String(s.cfg.Bucket),
		Key:                  aws.String(s.full(dst)),
		CopySource:           aws.String(s.cfg.Bucket + "/" + (&url.URL{Path: s.full(src)}).EscapedPath()),
		ServerSideEncryption: types.ServerSideEncryption(s.cfg.SSE),
	}
	if s.cfg.KMSKey != "" {
		in.SSEKMSKeyId = aws.String(s.cfg.KMSKey)
	}
	return s.do(r.ctx, c, func(a *attempt) error {
		in := in
		_, err := s.client.CopyObject(a.ctx, &in)
		return err
	})
}

// Capabilities implements driver.Store.
func (s *Store) Capabilities() driver.Capabilities {
	return driver.Capabilities{
		Name:        "s3",
		ObjectSize:  16 << 20,
		MaxObject:   maxPut,
		ListPage:    listPage,
		DeleteBatch: maxDeletes,
		Concurrency: s.cfg.Concurrency,
	}
}

// Close implements driver.Store: it cancels the calls and bodies that are under way, waits for them, and closes the idle
// connections. A body that was not closed yet gives KindClosed.
func (s *Store) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.kill()
	s.calls.Wait()
	s.pools.close()
	return nil
}
