//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package disk

import (
	"path/filepath"
	"syscall"
	"testing"
)

// A duplicate shares the lock in the same way as the descriptor that a forked child has until it executes.
func TestUnlockBesideAForkedChild(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := lock(path)
	if err != nil {
		t.Fatal(err)
	}
	inherited, err := syscall.Dup(lockDescriptor(t, path))
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(inherited)
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	unlock, err = lock(path)
	if err != nil {
		t.Fatalf("after unlock, with a child that has not yet executed: %v", err)
	}
	if err := unlock(); err != nil {
		t.Error(err)
	}
}

// lockDescriptor finds the descriptor that this process has on path.
func lockDescriptor(t *testing.T, path string) int {
	t.Helper()
	var want, have syscall.Stat_t
	if err := syscall.Stat(path, &want); err != nil {
		t.Fatal(err)
	}
	for fd := range 1024 {
		if syscall.Fstat(fd, &have) == nil && have.Ino == want.Ino && have.Dev == want.Dev {
			return fd
		}
	}
	t.Fatalf("no descriptor on %s", path)
	return -1
}
