//go:build unix && !solaris && !aix

package localdisk

import (
	"errors"
	"os"
	"syscall"
)

// flockFile locks a file for this process alone, without waiting. The lock ends with the process.
func flockFile(f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EWOULDBLOCK):
			return ErrLocked
		default:
			return err
		}
	}
}

// unlockFile unlocks before it closes: a child that is being started may hold the descriptor a moment longer.
func unlockFile(f *os.File) error {
	return errors.Join(syscall.Flock(int(f.Fd()), syscall.LOCK_UN), f.Close())
}
