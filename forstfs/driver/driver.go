// Package driver is the contract between forst and a store of objects.
//
// A store is the durable home of a volume: a bucket and a prefix, a directory of a distributed file system, a local
// directory. A driver does only what every store does natively (see docs/protocol.md): whole objects, ranges, flat
// lists, deletes and one primitive of mutual exclusion, create-if-absent. Everything a file system needs on top is in
// package forstfs, once for all stores.
//
// Every "must", "may" and "never" below is a case of conformance.RunStore.
package driver

import (
	"context"
	"io"
	"iter"
	"time"
)

// Store is a flat space of immutable objects under one root (for example "s3://bucket/prefix"); keys are relative to
// that root. All methods may be called from many goroutines at once. Keys follow the grammar of CheckKey; a key must
// never be a "/"-prefix of another key (a store may refuse the second one with KindInvalid).
//
// Errors are *Error and match the sentinels of io/fs through errors.Is. A method whose context has ended returns an
// error that matches context.Canceled or context.DeadlineExceeded; what it was asked to do may still happen, at any
// later time, unless the method says otherwise.
//
// Drivers retry transient failures themselves, within their own deadline. A request may therefore reach the store more
// than once, and late; with IfAbsent that shows as KindExist for an object that this very call created.
//
// An open store must not keep anything of calls that are over and of readers that are closed: a process uses it for months.
type Store interface {
	// Put stores data as the object key. The object becomes visible at once and as a whole, to Get, Stat and List, and
	// is durable when Put returns nil. Nobody ever sees a part of it, whatever happens to the caller or the store.
	//
	// With o.IfAbsent an existing object is never replaced: of any number of racing callers exactly one gets nil, the
	// others get KindExist, and can then read the winner's object at once. Without it, an existing object is replaced at
	// once and as a whole. A key may be put again after a Delete, and so may a key of which only deleted keys were below.
	//
	// After any error but KindExist and KindInvalid the outcome is unknown: the object may exist, now or later.
	// Put does not keep or modify data after it has returned.
	Put(ctx context.Context, key string, data []byte, o PutOptions) error

	// Get opens the bytes [off, off+n) of an object; n < 0 means up to its end. A range that reaches past the end is cut
	// there. A range that starts at or past the end is KindRange, except off 0 with n < 0, which reads any object,
	// an empty one too. n == 0 is KindInvalid. The reader gives exactly the bytes of the range and then io.EOF; when it
	// cannot, it returns another error, never a short result followed by io.EOF. The caller must Close it. Use ReadFull
	// or ReadAll unless streaming is the point.
	Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error)

	// Stat describes one object; a missing one is KindNotExist.
	Stat(ctx context.Context, key string) (Info, error)

	// List gives the objects whose keys begin with prefix and are strictly greater than after, in ascending byte order
	// of the keys. The prefix is a plain string prefix and may be empty or end in the middle of a path segment (see
	// CheckPrefix; an illegal one is KindInvalid); after is empty, a key that need not exist, or the beginning of one. The
	// loop body may use the store. The list contains every object whose Put returned before List was called and that was not deleted since. It ends
	// after the first error, which is the last pair.
	List(ctx context.Context, prefix, after string) iter.Seq2[Info, error]

	// Delete removes objects; a missing one is success. Any number of keys may be given, also twice; with an illegal one
	// among them nothing is deleted. When Delete returns nil, nobody sees them. After an error some of them may be gone, now
	// or later, and the same call may be repeated.
	Delete(ctx context.Context, keys []string) error

	// Capabilities describes the store; it makes no request and never changes.
	Capabilities() Capabilities

	// Close releases connections and goroutines; every later call returns KindClosed. Requests that are under way are
	// waited for or cancelled. Close may be called more than once.
	Close() error
}

// PutOptions change one Put.
type PutOptions struct {
	// IfAbsent creates the object only if no object has this key.
	IfAbsent bool
}

// Info describes an object.
type Info struct {
	Key     string
	Size    int64     // bytes
	ModTime time.Time // when the store took it, by the store's clock; zero if unknown
}

// Capabilities are what callers may adapt to. They are not permissions to break the contract.
type Capabilities struct {
	Name        string // "s3", "local", ... for messages and metrics
	ObjectSize  int64  // preferred size of a big object in bytes
	MaxObject   int64  // largest object that Put takes in bytes; 0 means limited by memory only
	ListPage    int    // keys that one LIST request gives; 0 means no pages
	DeleteBatch int    // keys that one DELETE request takes
	Concurrency int    // requests in flight that the store serves well from one process
	Volatile    bool   // what is stored ends with the process: tests only
}

// Copier is an optional interface: a copy on the server, without moving bytes through the caller. The copy is a Put:
// visible as a whole, durable on return, and it may replace what dst holds, so callers use fresh keys.
type Copier interface {
	Copy(ctx context.Context, src, dst string) error
}

// Unwrapper is implemented by wrappers; see As.
type Unwrapper interface{ Unwrap() Store }

// As looks for T in s and in what it wraps, outermost first.
func As[T any](s Store) (T, bool) {
	for s != nil {
		if t, ok := s.(T); ok {
			return t, true
		}
		u, ok := s.(Unwrapper)
		if !ok {
			break
		}
		s = u.Unwrap()
	}
	var zero T
	return zero, false
}
