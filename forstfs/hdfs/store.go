// Package hdfs keeps a volume in a directory of HDFS, through github.com/colinmarc/hdfs, without Java.
//
// An object is a file of one block. It is written under a temporary name, closed, and renamed to its own name, for create-if-absent
// without overwriting; so what is visible is complete, and nobody ever waits for the lease of somebody else. What a Put waits for
// before it returns nil is told by SyncReplicated and SyncDisk; docs/hdfs.md says what is promised and what happens on each failure.
//
// The directory must not be in an encryption zone, and must not be erasure coded.
package hdfs

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/forst-go/forst/forstfs/driver"
)

var (
	_ driver.Store  = (*Store)(nil)
	_ driver.Opener = OpenURL
)

// tempDir is below the root. No key has a segment that begins with a dot.
const tempDir = ".forst-tmp"

// Store is a directory of HDFS. See driver.Store for what its methods promise; all may be called at the same time.
type Store struct {
	cfg  *Config
	nns  *namenodes
	seen nodes // DataNodes that failed

	holder  string // the name of this store's leases and the beginning of its temporary files
	counter atomic.Uint64

	life context.Context // ends with Close
	kill context.CancelCauseFunc

	logout func() // of OpenURL's own Kerberos client, which renews its tickets in goroutines; or nil

	mu       sync.Mutex // guards the fields below, and calls.Add against calls.Wait
	closed   bool
	calls    sync.WaitGroup
	dirs     map[string]bool // that are known to exist
	defaults *defaults
	swept    time.Time
}

// defaults are what the cluster says about itself.
type defaults struct {
	replication uint32
	secure      bool // connections to DataNodes begin with a handshake
}

// Open makes a Store. It makes no request: a NameNode that does not answer shows with the first call. The caller must Close the store.
func Open(ctx context.Context, cfg *Config) (*Store, error) {
	cfg = cfg.EnsureDefaults()
	s := &Store{cfg: cfg, dirs: map[string]bool{}}
	if err := reachable(); err != nil {
		return nil, s.fail(call{op: "open"}, driver.KindUnsupported, err)
	}
	if err := cfg.Validate(); err != nil {
		return nil, s.fail(call{op: "open"}, driver.KindInvalid, err)
	}
	if err := ctx.Err(); err != nil {
		return nil, s.fail(call{op: "open"}, driver.KindOther, err)
	}
	s.nns = newNamenodes(cfg)
	s.holder = "forst-" + strconv.FormatUint(rand.Uint64(), 36)
	s.life, s.kill = context.WithCancelCause(context.Background())
	return s, nil
}

// String is the URL of the store without its parameters.
func (s *Store) String() string { return s.path("") }

func (s *Store) path(key string) string {
	host := s.cfg.Nameservice
	if host == "" {
		host = strings.Join(s.cfg.Addresses, ",")
	}
	return strings.TrimRight("hdfs://"+host+s.cfg.Root+"/"+key, "/")
}

// file is the path of an object.
func (s *Store) file(key string) string { return s.cfg.Root + "/" + key }

// call names one method call for errors and sizes its timeouts.
type call struct {
	op, key string
	bytes   int64
}

// running is one entered call.
type running struct {
	call
	s        *Store
	ctx      context.Context // ends with the caller's, or with Close
	cancel   context.CancelCauseFunc
	stop     func() bool
	leave    func() // Close no longer waits for it
	start    time.Time
	deadline time.Time // of its retries
	tries    int
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
	r := &running{call: c, s: s, leave: sync.OnceFunc(s.calls.Done), start: time.Now()}
	r.deadline = r.start.Add(s.cfg.RetryTimeout + s.transferTime(c.bytes))
	r.ctx, r.cancel = context.WithCancelCause(ctx)
	r.stop = context.AfterFunc(s.life, func() { r.cancel(errClosed) })
	return r, nil
}

func (s *Store) transferTime(bytes int64) time.Duration {
	return time.Duration(float64(bytes) / float64(s.cfg.MinBandwidth) * float64(time.Second))
}

func (s *Store) fail(c call, kind driver.Kind, err error) error {
	return &driver.Error{Op: c.op, Path: s.path(c.key), Kind: kind, Err: err}
}

// fail makes the error that the call returns.
func (r *running) fail(err error) error {
	if err == nil {
		return nil
	}
	if r.ctx.Err() != nil {
		kind, err := ended(r.ctx)
		return r.s.fail(r.call, kind, err)
	}
	f := classify(err)
	if r.tries > 0 && f.again {
		return r.s.fail(r.call, f.kind, fmt.Errorf("%w (%d attempts in %v)", f.err, r.tries+1, time.Since(r.start).Round(time.Millisecond)))
	}
	return r.s.fail(r.call, f.kind, f.err)
}

// timeout is how long the next attempt may go without an answer.
func (r *running) timeout() time.Duration { return r.s.cfg.AttemptTimeout << min(r.tries, 3) }

const (
	firstWait  = 20 * time.Millisecond
	longestGap = 3 * time.Second
)

// retry decides about another attempt after err, and waits before it. It returns nil to go on, or the error to end with.
func (r *running) retry(err error) error {
	if r.ctx.Err() != nil {
		return err
	}
	f := classify(err)
	if !f.again {
		return err
	}
	d := min(firstWait<<min(r.tries, 10), longestGap)
	d = d/2 + rand.N(d/2)
	if time.Now().Add(d).After(r.deadline) {
		return err
	}
	r.tries++
	if s := r.s; s.cfg.OnRetry != nil {
		s.cfg.OnRetry(Retry{Op: r.op, Path: s.path(r.key), Component: driver.ComponentOf(r.ctx), Attempt: r.tries, Wait: d, Err: f.err})
	}
	return r.sleep(d)
}

func (r *running) sleep(d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-r.ctx.Done():
		return r.ctx.Err()
	}
}

// ask makes a call to the NameNode, again and again until it is answered or the time is up. A call whose answer was lost may be
// carried out twice; what comes of that is the caller's to know.
func (r *running) ask(method string, req protoreflect.Message, answer protoreflect.FullName) (protoreflect.Message, error) {
	for {
		resp := empty(answer)
		err := r.s.nns.once(r.ctx, r.timeout(), method, req, resp)
		if err == nil {
			return resp, nil
		}
		if err := r.retry(err); err != nil {
			return nil, err
		}
	}
}

// stat asks for what a path is; nil if there is nothing.
func (r *running) stat(path string) (protoreflect.Message, error) {
	resp, err := r.ask("getFileInfo", message("GetFileInfoRequestProto", fields{"src": path}), "GetFileInfoResponseProto")
	if isClass(err, exNotFound, exParentNotDir) {
		return nil, nil
	}
	if err != nil || !has(resp, "fs") {
		return nil, err
	}
	return get(resp, "fs").Message(), nil
}

const isDir = 1 // HdfsFileStatusProto.FileType

func fileType(status protoreflect.Message) protoreflect.EnumNumber {
	return get(status, "fileType").Enum()
}

func infoOf(key string, status protoreflect.Message) driver.Info {
	return driver.Info{Key: key, Size: int64(get(status, "length").Uint()), ModTime: time.UnixMilli(int64(get(status, "modification_time").Uint()))}
}

// Stat implements driver.Store. It costs one call to the NameNode.
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
	status, err := r.stat(s.file(key))
	if err != nil {
		return driver.Info{}, r.fail(err)
	}
	if status == nil || fileType(status) == isDir {
		return driver.Info{}, s.fail(c, driver.KindNotExist, nil)
	}
	return infoOf(key, status), nil
}

// Delete implements driver.Store: one call to the NameNode for each object, several at a time. Directories stay, but for an empty one
// that is named.
func (s *Store) Delete(ctx context.Context, keys []string) error {
	for _, key := range keys {
		if err := driver.CheckKey(key); err != nil {
			return s.fail(call{op: "delete", key: key}, driver.KindInvalid, err)
		}
	}
	c := call{op: "delete"}
	if len(keys) == 1 {
		c.key = keys[0]
	}
	r, err := s.begin(ctx, c)
	if err != nil {
		return err
	}
	defer r.end()
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		errs []error
		next atomic.Int64
	)
	for range min(len(keys), s.cfg.Concurrency) {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(keys) || r.ctx.Err() != nil {
					return
				}
				one := *r
				one.key = keys[i]
				one.deadline = time.Now().Add(s.cfg.RetryTimeout)
				if err := one.remove(s.file(keys[i])); err != nil {
					mu.Lock()
					errs = append(errs, one.fail(err))
					mu.Unlock()
					if len(errs) >= 3 {
						return
					}
				}
			}
		})
	}
	wg.Wait()
	switch {
	case len(errs) == 1:
		return errs[0]
	case len(errs) == 0 && r.ctx.Err() != nil:
		return r.fail(r.ctx.Err())
	}
	return errors.Join(errs...)
}

// remove deletes a file or an empty directory. A missing one, and a directory with something in it, which is no object, are success.
func (r *running) remove(path string) error {
	_, err := r.ask("delete", message("DeleteRequestProto", fields{"src": path, "recursive": false}), "DeleteResponseProto")
	if isClass(err, exNotEmpty, exNotFound, exParentNotDir) {
		return nil
	}
	return err
}

// clusterDefaults asks the cluster about itself, once.
func (r *running) clusterDefaults() (*defaults, error) {
	s := r.s
	s.mu.Lock()
	d := s.defaults
	s.mu.Unlock()
	if d != nil {
		return d, nil
	}
	resp, err := r.ask("getServerDefaults", message("GetServerDefaultsRequestProto", nil), "GetServerDefaultsResponseProto")
	if err != nil {
		return nil, err
	}
	sd := get(resp, "serverDefaults").Message()
	d = &defaults{replication: uint32(get(sd, "replication").Uint()), secure: s.cfg.Protection != "" || get(sd, "encryptDataTransfer").Bool()}
	s.mu.Lock()
	s.defaults = d
	s.mu.Unlock()
	return d, nil
}

// Capabilities implements driver.Store.
func (s *Store) Capabilities() driver.Capabilities {
	return driver.Capabilities{
		Name:        "hdfs",
		ObjectSize:  64 << 20,
		ListPage:    1000, // dfs.ls.limit
		DeleteBatch: 1,
		Concurrency: 16,
	}
}

// Close implements driver.Store: it cancels the calls that are under way, waits for them, and closes the connections. A body that was
// not closed yet gives KindClosed.
func (s *Store) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.kill(errClosed)
	s.calls.Wait()
	s.nns.close()
	if s.logout != nil {
		s.logout()
	}
	return nil
}
