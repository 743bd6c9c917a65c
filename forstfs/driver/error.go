package driver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
)

// Kind classifies an error once, in the driver. Its comment tells the caller what to do.
type Kind uint8

const (
	KindOther       Kind = iota // not classified: do not retry; report it
	KindNotExist                // the object is not there; certain, never a guess after a failure; matches fs.ErrNotExist
	KindExist                   // create-if-absent lost, or its own earlier attempt won: read the key back; matches fs.ErrExist
	KindPermission              // credentials are missing, wrong or not allowed to do this: ask the operator; matches fs.ErrPermission
	KindInvalid                 // the key, range or option is not legal: a bug of the caller; nothing was sent; matches fs.ErrInvalid
	KindRange                   // the range starts at or past the end of the object
	KindNoStore                 // the bucket, the root directory or the server's file system is not there: ask the operator; never KindNotExist
	KindTransient               // the store did not answer or asked to slow down, and the driver's retries are spent: retry later
	KindUnsupported             // the store cannot do this; matches errors.ErrUnsupported
	KindClosed                  // the Store was closed; matches fs.ErrClosed
	KindCorrupt                 // the store gave bytes that fail their checksum, or fewer than it promised, and trying again did not help
	KindNoSpace                 // the store is full
)

var kindNames = [...]string{"error", "not exist", "exists", "permission", "invalid", "range", "no store", "transient",
	"unsupported", "closed", "corrupt", "no space"}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Error is what every method of a Store returns.
type Error struct {
	Op   string // "put", "get", "stat", "list", "delete", "copy", "open"
	Path string // URL of the object or of the store, without secrets
	Kind Kind
	Err  error // the cause; may be nil
}

// Error gives operation, path, kind and cause.
func (e *Error) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("%s %s: %s", e.Op, e.Path, e.Kind)
	}
	return fmt.Sprintf("%s %s: %s: %v", e.Op, e.Path, e.Kind, e.Err)
}

// Unwrap gives the cause, with the sentinels of io/fs that do not belong to the kind taken out: a missing root directory is
// KindNoStore and must not match fs.ErrNotExist because the operating system's error, its cause, does.
func (e *Error) Unwrap() error {
	for _, s := range sentinels {
		if !e.Is(s) && errors.Is(e.Err, s) {
			return &masked{e.Kind, e.Err}
		}
	}
	return e.Err
}

// sentinels are what only the kind decides about.
var sentinels = [...]error{fs.ErrNotExist, fs.ErrExist, fs.ErrPermission, fs.ErrInvalid, fs.ErrClosed, errors.ErrUnsupported}

// masked is a cause below an error of another kind.
type masked struct {
	kind Kind
	err  error
}

func (m *masked) Error() string { return m.err.Error() }

func (m *masked) Is(target error) bool {
	if slices.Contains(sentinels[:], target) {
		return m.kind.is(target)
	}
	return errors.Is(m.err, target)
}

func (m *masked) As(target any) bool { return errors.As(m.err, target) }

// Is matches the sentinel that belongs to the kind.
func (e *Error) Is(target error) bool { return e.Kind.is(target) }

func (k Kind) is(target error) bool {
	switch k {
	case KindNotExist:
		return target == fs.ErrNotExist
	case KindExist:
		return target == fs.ErrExist
	case KindPermission:
		return target == fs.ErrPermission
	case KindInvalid, KindRange:
		return target == fs.ErrInvalid
	case KindClosed:
		return target == fs.ErrClosed
	case KindUnsupported:
		return target == errors.ErrUnsupported
	}
	return false
}

// KindOf returns the kind of the first *Error in err's chain, or KindOther.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return KindOther
}

// IsCanceled reports whether err says that the caller's context ended.
func IsCanceled(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
