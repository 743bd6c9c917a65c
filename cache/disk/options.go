package disk

import (
	"errors"
	"fmt"
	"time"
)

// Options are the settings of a Tier.
type Options struct {
	// Dir is the directory, for this cache alone; it is made if it does not exist. Required.
	Dir string

	// Size is the most that the cache takes on the disk in bytes; 0 means 10 GiB.
	Size int64

	// Reserve is the space in bytes that the cache leaves free on the disk: it does not grow into it, and it shrinks
	// when others do. 0 means 1 GiB, a negative number means none.
	Reserve int64

	// BlockSize is the size of a block in bytes, a power of two from 512 to 1 MiB; 0 means 32 KiB. A directory that was
	// made with another size begins anew.
	BlockSize int

	// Buffer is the memory in bytes for blocks that wait for their write; what comes while it is full is not cached.
	// 0 means 16 MiB.
	Buffer int64

	// OnState, if set, is told when the disk is bypassed because of errors (err says the last one) and when it is used
	// again (err is nil). It must not call the Tier.
	OnState func(err error)

	// OnShrink, if set, is told when the cache has given space back to a full disk: bytes that it gave, and bytes that it
	// still takes. It must not call the Tier.
	OnShrink func(given, left int64)

	// System is the disk; nil means that of the operating system. Tests put a failing one in its place.
	System System
}

const (
	defaultSize    = 10 << 30
	defaultReserve = 1 << 30
	defaultBlock   = 32 << 10
	defaultBuffer  = 16 << 20

	maxSegment  = 256 << 20 // bytes of blocks
	minSegment  = 16        // slots
	maxErrors   = 3         // in a row, until the disk is bypassed
	firstProbe  = time.Second
	lastProbe   = time.Minute
	growBackoff = 10 * time.Second // after a full disk
	writers     = 2                // goroutines that write blocks
	spaceEvery  = 1024             // writes between two looks at the free space
)

func (o *Options) complete() (Options, error) {
	c := *o
	if c.Dir == "" {
		return c, errors.New("cache directory: no directory given")
	}
	if c.Size == 0 {
		c.Size = defaultSize
	}
	if c.Reserve == 0 {
		c.Reserve = defaultReserve
	}
	c.Reserve = max(c.Reserve, 0)
	if c.BlockSize == 0 {
		c.BlockSize = defaultBlock
	}
	if c.BlockSize < 512 || c.BlockSize > 1<<20 || c.BlockSize&(c.BlockSize-1) != 0 {
		return c, fmt.Errorf("cache directory: a block of %d bytes: use a power of two from 512 to %d", c.BlockSize, 1<<20)
	}
	if least := newLayout(c.BlockSize, minSegment).size(); c.Size < least {
		return c, fmt.Errorf("cache directory: a size of %d bytes: give at least %d", c.Size, least)
	}
	if c.Buffer == 0 {
		c.Buffer = defaultBuffer
	}
	c.Buffer = max(c.Buffer, int64(c.BlockSize))
	if c.System == nil {
		c.System = osSystem{}
	}
	return c, nil
}

// segmentSlots divides the cache into about 16 segments, so that it can shrink in steps, of at most maxSegment bytes.
func (o *Options) segmentSlots() int {
	n := int(min(o.Size/16, maxSegment) / int64(o.BlockSize))
	for n > minSegment && newLayout(o.BlockSize, n).size() > o.Size {
		n--
	}
	return max(n, minSegment)
}
