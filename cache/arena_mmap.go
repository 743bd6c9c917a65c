//go:build !race && (linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package cache

import (
	"fmt"
	"syscall"
)

// arena is memory that the garbage collector neither scans nor counts. Pages that were never written take no room.
type arena struct{ mem []byte }

func newArena(size int64) (arena, error) {
	mem, err := syscall.Mmap(-1, 0, int(size), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return arena{}, fmt.Errorf("block cache: %d bytes of memory: %w (set a smaller budget)", size, err)
	}
	return arena{mem}, nil
}

// free unmaps the memory; nobody may use it any more.
func (a *arena) free() error {
	mem := a.mem
	a.mem = nil
	if err := syscall.Munmap(mem); err != nil {
		return fmt.Errorf("block cache: unmap: %w", err)
	}
	return nil
}
