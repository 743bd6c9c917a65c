//go:build unix && !solaris && !aix

package local

import (
	"syscall"
	"testing"
)

// A process that starts children has its descriptors in them for the moment between fork and exec. A duplicate shares the
// lock in the same way.
func TestCloseUnlocksBesideAForkedChild(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, nil)
	inherited, err := syscall.Dup(int(s.disk.lock.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(inherited)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Open(t.Context(), dir, nil)
	if err != nil {
		t.Fatalf("after Close, with a child that has not yet executed: %v", err)
	}
	again.Close()
}
