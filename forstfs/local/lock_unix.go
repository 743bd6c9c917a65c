//go:build unix && !solaris && !aix

package local

import (
	"errors"
	"os"
	"syscall"
	"time"
)

// takeLock locks f for this process: alone, or together with others that share it too. clean runs while it is held alone.
// It never waits for another owner.
func takeLock(f *os.File, shared bool, clean func() error) error {
	if !shared {
		if err := flock(f, syscall.LOCK_EX); err != nil {
			return err
		}
		return clean()
	}
	// The first one to share cleans up. It holds the lock alone for that moment, and the step down is not atomic, so
	// others try again for a while.
	for deadline := time.Now().Add(time.Second); ; time.Sleep(2 * time.Millisecond) {
		err := flock(f, syscall.LOCK_EX)
		if err == nil {
			if err := clean(); err != nil {
				return err
			}
		} else if !errors.Is(err, errInUse) {
			return err
		}
		if err := flock(f, syscall.LOCK_SH); err == nil || !errors.Is(err, errInUse) || time.Now().After(deadline) {
			return err
		}
	}
}

// dropLock unlocks f and closes it. Closing alone is not enough: a child that this process has forked holds the descriptor,
// and with it the lock, until it executes its program.
func dropLock(f *os.File) error {
	return errors.Join(flock(f, syscall.LOCK_UN), f.Close())
}

func flock(f *os.File, how int) error {
	for {
		switch err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB); err {
		case syscall.EINTR:
		case syscall.EWOULDBLOCK:
			return errInUse
		default:
			return err
		}
	}
}
