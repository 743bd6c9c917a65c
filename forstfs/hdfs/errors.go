package hdfs

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/colinmarc/hdfs/v2"

	"github.com/forst-go/forst/forstfs/driver"
)

// Classes of Java that the NameNode reports.
const (
	exNotFound       = "java.io.FileNotFoundException"
	exExists         = "org.apache.hadoop.fs.FileAlreadyExistsException"
	exBeingCreated   = "org.apache.hadoop.hdfs.protocol.AlreadyBeingCreatedException"
	exParentNotDir   = "org.apache.hadoop.fs.ParentNotDirectoryException"
	exNotEmpty       = "org.apache.hadoop.fs.PathIsNotEmptyDirectoryException"
	exAccess         = "org.apache.hadoop.security.AccessControlException"
	exAuthorization  = "org.apache.hadoop.security.authorize.AuthorizationException"
	exIllegal        = "org.apache.hadoop.HadoopIllegalArgumentException"
	exInvalidPath    = "org.apache.hadoop.fs.InvalidPathException"
	exSafeMode       = "org.apache.hadoop.hdfs.server.namenode.SafeModeException"
	exStandby        = "org.apache.hadoop.ipc.StandbyException"
	exRetriable      = "org.apache.hadoop.ipc.RetriableException"
	exNotReplicated  = "org.apache.hadoop.hdfs.server.namenode.NotReplicatedYetException"
	exLeaseExpired   = "org.apache.hadoop.hdfs.server.namenode.LeaseExpiredException"
	exRecovery       = "org.apache.hadoop.hdfs.protocol.RecoveryInProgressException"
	exNSQuota        = "org.apache.hadoop.hdfs.protocol.NSQuotaExceededException"
	exDSQuota        = "org.apache.hadoop.hdfs.protocol.DSQuotaExceededException"
	exQuotaByStorage = "org.apache.hadoop.hdfs.protocol.QuotaByStorageTypeExceededException"
	exCrypto         = "org.apache.hadoop.hdfs.UnknownCryptoProtocolVersionException"
	exIO             = "java.io.IOException"
	exSnapshot       = "org.apache.hadoop.hdfs.protocol.SnapshotAccessControlException"
)

// notDir ends the message of the access error that many calls give, to whomever, in place of exParentNotDir.
const notDir = " (is not a directory)"

// NamenodeError is the cause of a driver.Error when the NameNode refused a call.
type NamenodeError struct {
	Method  string // of ClientProtocol
	Class   string // of Java
	Message string // its first line
	Hint    string // what to do
}

func (e *NamenodeError) Error() string {
	text := fmt.Sprintf("%s: %s (%s)", e.Method, e.Message, e.Class[strings.LastIndexByte(e.Class, '.')+1:])
	if e.Hint != "" {
		text += ": " + e.Hint
	}
	return text
}

// failure is what became of one attempt.
type failure struct {
	kind  driver.Kind
	err   error
	again bool // another attempt may do better
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func transient(format string, args ...any) error {
	return &failure{driver.KindTransient, fmt.Errorf(format, args...), true}
}

func final(kind driver.Kind, err error) error { return &failure{kind, err, false} }

var (
	errClosed = errors.New("the store was closed")
	errSpent  = errors.New("no answer in time")
)

// classify turns the error of a call to the NameNode into a failure. It is called while the caller's context is alive.
func classify(err error) *failure {
	var f *failure
	if errors.As(err, &f) {
		return f
	}
	var remote hdfs.Error
	if !errors.As(err, &remote) || remote.Exception() == "" && remote.Message() == "" {
		return &failure{driver.KindTransient, plain(err), true}
	}
	line, _, _ := strings.Cut(remote.Message(), "\n")
	if len(line) > 400 {
		line = line[:400] + "..."
	}
	e := &NamenodeError{Method: remote.Method(), Class: remote.Exception(), Message: line}
	if e.Class == exAccess && strings.HasSuffix(line, notDir) {
		e.Class = exParentNotDir
	}
	end := func(kind driver.Kind, hint string) *failure {
		e.Hint = hint
		return &failure{kind, e, false}
	}
	again := func(hint string) *failure {
		e.Hint = hint
		return &failure{driver.KindTransient, e, true}
	}
	switch e.Class {
	case exNotFound:
		return end(driver.KindNotExist, "")
	case exExists, exBeingCreated:
		return end(driver.KindExist, "")
	case exParentNotDir:
		return end(driver.KindInvalid, "a key must not be a /-prefix of another: a parent of this one is an object")
	case exAccess, exAuthorization, exSnapshot:
		return end(driver.KindPermission, "the user needs to read, write and search the directory of the volume")
	case exIllegal, exInvalidPath:
		return end(driver.KindInvalid, "")
	case exNSQuota, exDSQuota, exQuotaByStorage:
		return end(driver.KindNoSpace, "the directory's quota is used up")
	case exCrypto:
		return end(driver.KindUnsupported, "an encryption zone is not supported: choose another directory")
	case exSafeMode:
		return again("the NameNode is in safe mode")
	case exStandby, exRetriable, exNotReplicated, exRecovery:
		return again("")
	}
	return &failure{driver.KindOther, e, false}
}

// isClass reports whether the NameNode answered with one of the classes.
func isClass(err error, classes ...string) bool {
	var e *NamenodeError
	if !errors.As(err, &e) {
		return false
	}
	for _, c := range classes {
		if e.Class == c {
			return true
		}
	}
	return false
}

// plain cuts the chain where it would match a context error: the caller's context is alive, and what ended is an attempt of ours.
func plain(err error) error {
	if driver.IsCanceled(err) {
		return fmt.Errorf("%w: %v", errSpent, strings.TrimSpace(err.Error()))
	}
	return err
}

// ended is the error of a call whose context is over: the caller's own, or the store's.
func ended(ctx context.Context) (driver.Kind, error) {
	if errors.Is(context.Cause(ctx), errClosed) {
		return driver.KindClosed, errClosed
	}
	return driver.KindOther, ctx.Err()
}
