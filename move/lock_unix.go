//go:build unix && !solaris && !aix

package move

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// lockDatabase takes the locks of both engines: Pebble's is one of fcntl, LevelDB's one of flock.
func lockDatabase(root *os.Root) (unlock func(), err error) {
	f, err := root.OpenFile("LOCK", os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) { // it was never opened since it was copied here
		return func() {}, nil
	}
	if err != nil {
		return nil, err
	}
	spec := syscall.Flock_t{Type: syscall.F_WRLCK, Whence: io.SeekStart}
	err = syscall.FcntlFlock(f.Fd(), syscall.F_SETLK, &spec)
	if err == nil {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	}
	if err != nil {
		f.Close()
		if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EACCES) {
			return nil, fmt.Errorf("%w: close it there first", ErrOpen)
		}
		return nil, fmt.Errorf("lock LOCK: %w", err)
	}
	return func() {
		_ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN)
		_ = f.Close()
	}, nil
}
