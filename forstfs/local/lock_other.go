//go:build !unix || solaris || aix

package local

import (
	"errors"
	"os"
)

// takeLock cannot guard here, so it refuses to pretend.
func takeLock(*os.File, bool, func() error) error {
	return errors.Join(errors.ErrUnsupported, errors.New("this system has no flock: open read-only"))
}

func dropLock(f *os.File) error { return f.Close() }
