package local

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/forst-go/forst/forstfs/driver"
)

// errInUse is what a second process meets.
var errInUse = errors.New("in use by another process: one process at a time may open a directory for writing; " +
	"end the other one, or open read-only (?mode=ro)")

func (s *Store) fail(op, key string, kind driver.Kind, err error) error {
	path := "file://" + filepath.ToSlash(s.dir)
	if key != "" {
		path += "/" + key
	}
	return &driver.Error{Op: op, Path: path, Kind: kind, Err: err}
}

// kindOf classifies what the operating system says, but for "not exist" and "exists", whose meaning depends on the call.
func kindOf(err error) driver.Kind {
	var own *driver.Error
	if errors.As(err, &own) {
		return own.Kind
	}
	var errno syscall.Errno
	errors.As(err, &errno)
	switch errno {
	case syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG:
		return driver.KindNoSpace
	case syscall.EACCES, syscall.EPERM, syscall.EROFS:
		return driver.KindPermission
	case syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EAGAIN, syscall.EINTR, syscall.EBUSY, syscall.ETIMEDOUT:
		return driver.KindTransient
	case syscall.ENAMETOOLONG:
		return driver.KindInvalid
	}
	return driver.KindOther
}

// missing reports whether err says that no file has this path: the name is not there, or something on the way to it is a
// file.
func missing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

// absent turns "no such file" into KindNotExist, after making sure that the root itself is still there: a directory that was
// deleted or moved away must never look like one without objects.
func (s *Store) absent(op, key string) error {
	if err := s.rootAlive(); err != nil {
		return s.fail(op, key, driver.KindNoStore, err)
	}
	return s.fail(op, key, driver.KindNotExist, nil)
}

func (s *Store) rootAlive() error {
	now, err := os.Stat(s.dir)
	if err != nil {
		return fmt.Errorf("the directory is no longer there: %w", err)
	}
	was, err := s.root.Stat(".")
	if err != nil {
		return err
	}
	if !os.SameFile(was, now) {
		return errors.New("the directory was replaced by another one while it was open")
	}
	return nil
}
