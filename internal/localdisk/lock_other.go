//go:build !unix || solaris || aix

package localdisk

import (
	"errors"
	"os"
)

func flockFile(*os.File) error {
	return errors.Join(errors.ErrUnsupported, errors.New("this system has no flock: two processes could share a local directory; keep everything in the volume"))
}

func unlockFile(f *os.File) error { return f.Close() }
