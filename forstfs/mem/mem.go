// Package mem keeps objects in memory: the fastest store that keeps the whole contract of package driver, for tests,
// simulations and demonstrations. It is strict where real stores are lenient (a key that is a "/"-prefix of another is
// refused), does no I/O, starts no goroutine and reads no clock but time.Now, so it works inside testing/synctest.
//
// A Bucket is the store's side: what outlives its users. A Store is one user's handle on a part of a Bucket, so two
// writers of one volume in one process are two handles over one Bucket. Put is atomic and durable when it returns;
// what a crash may change is only what is under way at that moment, and CrashClone makes such a world.
package mem

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"net/url"
	"strings"
	"sync"

	"github.com/forst-go/forst/forstfs/driver"
)

// Phase is a moment in the life of a request.
type Phase uint8

const (
	Sent   Phase = iota // under way: it may land or be lost in a crash
	Landed              // done in the bucket; the reply is under way
)

// Request describes a request that changes the bucket.
type Request struct {
	Op       string   // "put", "delete" or "copy"
	Keys     []string // full keys in the bucket; one for put and copy
	Data     []byte   // of a put; read only, valid until the request is over
	IfAbsent bool
}

// Options change a Bucket. The zero value and nil are good for most tests.
type Options struct {
	Name     string // shown in errors; "mem" if empty
	ListPage int    // keys that List reads at one time; 1000 if 0
	// Hold, when not nil, is called for every changing request without a lock held, in both phases. It may block to keep
	// the request under way; the phase Sent may return an error, and then the request never lands.
	Hold func(ctx context.Context, p Phase, r Request) error
}

func (o *Options) orDefault() Options {
	var v Options
	if o != nil {
		v = *o
	}
	if v.Name == "" {
		v.Name = "mem"
	}
	if v.ListPage <= 0 {
		v.ListPage = 1000
	}
	return v
}

// New makes an empty Bucket and opens one Store on all of it.
func New(o *Options) *Store { return NewBucket(o).open("") }

// Store is one handle on a Bucket. It implements driver.Store and driver.Copier.
type Store struct {
	b      *Bucket
	prefix string // empty, or ends in "/"

	mu     sync.Mutex
	closed bool
	busy   sync.WaitGroup // requests under way
}

var (
	_ driver.Store  = (*Store)(nil)
	_ driver.Copier = (*Store)(nil)
)

// Bucket gives the bucket behind the handle.
func (s *Store) Bucket() *Bucket { return s.b }

// CrashClone clones the bucket as Bucket.CrashClone does and opens the same part of the clone.
func (s *Store) CrashClone(seed uint64) *Store { return s.b.CrashClone(seed).open(s.prefix) }

func (s *Store) url(key string) string { return "mem://" + s.b.opt.Name + "/" + s.prefix + key }

func (s *Store) fail(op, key string, kind driver.Kind, err error) error {
	return &driver.Error{Op: op, Path: s.url(key), Kind: kind, Err: err}
}

// begin counts the request in; the caller must call s.busy.Done when it gets nil.
func (s *Store) begin(ctx context.Context, op, key string) error {
	if err := ctx.Err(); err != nil {
		return s.fail(op, key, driver.KindOther, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return s.fail(op, key, driver.KindClosed, nil)
	}
	s.busy.Add(1)
	return nil
}

func (s *Store) checkKey(op, key string) error {
	if err := driver.CheckKey(key); err != nil {
		return s.fail(op, key, driver.KindInvalid, err)
	}
	return nil
}

// Put stores a copy of data. It is visible and durable (for as long as the Bucket lives) when Put returns nil.
func (s *Store) Put(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
	if err := s.checkKey("put", key); err != nil {
		return err
	}
	if err := s.begin(ctx, "put", key); err != nil {
		return err
	}
	defer s.busy.Done()
	r := Request{Op: "put", Keys: []string{s.prefix + key}, Data: bytes.Clone(data), IfAbsent: o.IfAbsent}
	return s.change(ctx, key, r)
}

// Copy makes dst an object with the bytes of src. Both handles and names are of this store.
func (s *Store) Copy(ctx context.Context, src, dst string) error {
	if err := s.checkKey("copy", src); err != nil {
		return err
	}
	if err := s.checkKey("copy", dst); err != nil {
		return err
	}
	if err := s.begin(ctx, "copy", src); err != nil {
		return err
	}
	defer s.busy.Done()
	obj, ok := s.b.find(s.prefix + src)
	if !ok {
		return s.fail("copy", src, driver.KindNotExist, nil)
	}
	return s.change(ctx, dst, Request{Op: "copy", Keys: []string{s.prefix + dst}, Data: obj.data})
}

// Delete removes objects in one step.
func (s *Store) Delete(ctx context.Context, keys []string) error {
	full := make([]string, len(keys))
	for i, key := range keys {
		if err := s.checkKey("delete", key); err != nil {
			return err
		}
		full[i] = s.prefix + key
	}
	if err := s.begin(ctx, "delete", ""); err != nil {
		return err
	}
	defer s.busy.Done()
	if len(keys) == 0 {
		return nil
	}
	return s.change(ctx, keys[0], Request{Op: "delete", Keys: full})
}

// change runs one request through both phases. Its data belongs to the bucket.
func (s *Store) change(ctx context.Context, key string, r Request) error {
	under := s.b.announce(r)
	if hold := s.b.opt.Hold; hold != nil {
		if err := hold(ctx, Sent, r); err != nil {
			s.b.withdraw(under)
			return s.wrap(ctx, r.Op, key, err)
		}
	}
	err := s.b.land(under)
	if hold := s.b.opt.Hold; hold != nil {
		if herr := hold(ctx, Landed, r); herr != nil && err == nil {
			return s.wrap(ctx, r.Op, key, herr)
		}
	}
	if err != nil {
		return s.fail(r.Op, key, err.kind, err.cause)
	}
	return nil
}

func (s *Store) wrap(ctx context.Context, op, key string, err error) error {
	if _, ok := err.(*driver.Error); ok {
		return err
	}
	if driver.IsCanceled(err) {
		return s.fail(op, key, driver.KindOther, err)
	}
	return s.fail(op, key, driver.KindTransient, err)
}

// Get opens a range. The reader stays valid when the object is replaced or deleted.
func (s *Store) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	if err := s.checkKey("get", key); err != nil {
		return nil, err
	}
	if off < 0 || n == 0 {
		return nil, s.fail("get", key, driver.KindInvalid, fmt.Errorf("range of %d bytes at %d", n, off))
	}
	if err := s.begin(ctx, "get", key); err != nil {
		return nil, err
	}
	defer s.busy.Done()
	obj, ok := s.b.find(s.prefix + key)
	if !ok {
		return nil, s.fail("get", key, driver.KindNotExist, nil)
	}
	size := int64(len(obj.data))
	if off >= size && (off > 0 || n > 0) {
		return nil, s.fail("get", key, driver.KindRange, fmt.Errorf("offset %d in an object of %d bytes", off, size))
	}
	end := size
	if n > 0 && n < size-off {
		end = off + n
	}
	return &reader{ctx: ctx, s: s, key: key, r: bytes.NewReader(obj.data[off:end])}, nil
}

type reader struct {
	ctx context.Context
	s   *Store
	key string
	r   *bytes.Reader
}

func (r *reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil && r.r.Len() > 0 {
		return 0, r.s.fail("get", r.key, driver.KindOther, err)
	}
	return r.r.Read(p)
}

func (r *reader) Close() error { return nil }

// Stat describes one object.
func (s *Store) Stat(ctx context.Context, key string) (driver.Info, error) {
	if err := s.checkKey("stat", key); err != nil {
		return driver.Info{}, err
	}
	if err := s.begin(ctx, "stat", key); err != nil {
		return driver.Info{}, err
	}
	defer s.busy.Done()
	obj, ok := s.b.find(s.prefix + key)
	if !ok {
		return driver.Info{}, s.fail("stat", key, driver.KindNotExist, nil)
	}
	return driver.Info{Key: key, Size: int64(len(obj.data)), ModTime: obj.time}, nil
}

// List reads one page at a time, each atomically, as S3 does.
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[driver.Info, error] {
	return func(yield func(driver.Info, error) bool) {
		for _, p := range []string{prefix, after} {
			if err := driver.CheckPrefix(p); err != nil {
				yield(driver.Info{}, s.fail("list", p, driver.KindInvalid, err))
				return
			}
		}
		from := ""
		if after != "" {
			from = s.prefix + after
		}
		for {
			page, err := s.page(ctx, prefix, from)
			if err != nil {
				yield(driver.Info{}, err)
				return
			}
			for _, info := range page {
				from = info.Key
				info.Key = strings.TrimPrefix(info.Key, s.prefix)
				if !yield(info, nil) {
					return
				}
			}
			if len(page) < s.b.opt.ListPage {
				return
			}
		}
	}
}

func (s *Store) page(ctx context.Context, prefix, from string) ([]driver.Info, error) {
	if err := s.begin(ctx, "list", prefix); err != nil {
		return nil, err
	}
	defer s.busy.Done()
	return s.b.page(s.prefix+prefix, from), nil
}

// Capabilities describes the store.
func (s *Store) Capabilities() driver.Capabilities {
	return driver.Capabilities{
		Name: "mem", ObjectSize: 4 << 20, ListPage: s.b.opt.ListPage, DeleteBatch: 1000, Concurrency: 64, Volatile: true,
	}
}

// Close ends the handle and waits for its requests; the Bucket and its other handles go on.
func (s *Store) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.busy.Wait()
	return nil
}

// Announce tells the bucket of a Put that somebody (a wrapper that models a slow network) holds back: CrashClone may let
// it land. The caller must not change data before it has called withdraw, which it does when the Put is done or dropped.
func (s *Store) Announce(key string, data []byte, o driver.PutOptions) (withdraw func()) {
	r := s.b.announce(Request{Op: "put", Keys: []string{s.prefix + key}, Data: data, IfAbsent: o.IfAbsent})
	return func() { s.b.withdraw(r) }
}

// AnnounceDelete is Announce for a Delete.
func (s *Store) AnnounceDelete(keys []string) (withdraw func()) {
	full := make([]string, len(keys))
	for i, key := range keys {
		full[i] = s.prefix + key
	}
	r := s.b.announce(Request{Op: "delete", Keys: full})
	return func() { s.b.withdraw(r) }
}

// Opener opens URLs of the form mem://name/prefix on this bucket; name must be the bucket's.
func (b *Bucket) Opener() driver.Opener {
	return func(_ context.Context, u *url.URL) (driver.Store, error) {
		fail := func(kind driver.Kind, format string, args ...any) (driver.Store, error) {
			return nil, &driver.Error{Op: "open", Path: "mem://" + u.Host + u.Path, Kind: kind, Err: fmt.Errorf(format, args...)}
		}
		switch {
		case u.User != nil || u.RawQuery != "" || u.Fragment != "":
			return fail(driver.KindInvalid, "a mem URL is mem://name/prefix and takes no user, query or fragment")
		case u.Host != b.opt.Name:
			return fail(driver.KindNoStore, "no bucket of this name; this program has %q", b.opt.Name)
		}
		s, err := b.Open(strings.Trim(u.Path, "/"))
		if err != nil {
			return nil, err
		}
		return s, nil
	}
}
