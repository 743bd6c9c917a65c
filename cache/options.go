package cache

import (
	"errors"
	"fmt"

	"github.com/forst-go/forst/cache/disk"
)

// Options are the settings of a cache. The zero value means the defaults.
type Options struct {
	// Memory is the budget of the memory tier in bytes; 0 means 128 MiB, a negative number switches the tier off. The
	// index comes on top, about 1 % at the default block size.
	Memory int64

	// BlockSize is the unit of caching in bytes, a power of two from 512 to 1 MiB; 0 means 32 KiB. A miss fetches whole
	// blocks, and each slot of the memory holds one.
	BlockSize int

	// FetchSize is how much a random miss may fetch in one GET in bytes, beginning at the missing block, while at least
	// an eighth of the cache (of its disk tier, if it has one) is empty: the bandwidth-delay product of the store. The reader does not wait for the rest.
	// 0 means 2 MiB (24 ms at 90 MB/s); a negative number means that only the wanted blocks are ever fetched, as is the
	// case in a full cache.
	FetchSize int64

	// TailSize is how much a miss with the hint Tail fetches in one GET in bytes, ending at the missing block; 0 means
	// 256 KiB, a negative number means the wanted blocks only.
	TailSize int64

	// Background is the number of fetches that may go on without a waiting reader: prefetches, the rest of a random
	// miss's range, and fetches whose reader has given up. 0 means 16.
	Background int

	// Disk is the disk tier; an empty Disk.Dir means none. Its block size is that of the cache. It needs a memory tier,
	// which may be small.
	Disk disk.Options

	// SkipVerify leaves out the checksum over the pages that a hit returns. The checksums are still computed when a
	// block is stored.
	SkipVerify bool
}

const (
	defaultMemory     = 128 << 20
	defaultBlock      = 32 << 10
	defaultFetch      = 2 << 20
	defaultTail       = 256 << 10
	defaultBackground = 16

	minBlock  = 512
	maxBlock  = 1 << 20
	maxFlight = 8 << 20 // bytes of one GET of a prefetch
	minShard  = 4       // blocks: fewer leave no room for two queues

	// gapBlocks is the number of cached blocks between two missing ones that a sequential read fetches again rather than
	// ask twice.
	gapBlocks = 8
)

// complete checks o and fills in the defaults.
func (o *Options) complete() (Options, error) {
	var c Options
	if o != nil {
		c = *o
	}
	if c.Memory == 0 {
		c.Memory = defaultMemory
	}
	if c.BlockSize == 0 {
		c.BlockSize = defaultBlock
	}
	if c.BlockSize < minBlock || c.BlockSize > maxBlock || c.BlockSize&(c.BlockSize-1) != 0 {
		return c, fmt.Errorf("block cache: a block of %d bytes: use a power of two from %d to %d", c.BlockSize, minBlock, maxBlock)
	}
	if c.Memory > 0 && c.Memory < minShard*int64(c.BlockSize) {
		return c, fmt.Errorf("block cache: %d bytes of memory for blocks of %d bytes: give at least %d, or a negative number for none",
			c.Memory, c.BlockSize, minShard*int64(c.BlockSize))
	}
	if c.Disk.Dir != "" && c.Memory < 0 {
		return c, errors.New("block cache: a disk tier needs a memory tier: give it some memory")
	}
	c.Disk.BlockSize = c.BlockSize
	if c.FetchSize == 0 {
		c.FetchSize = defaultFetch
	}
	if c.TailSize == 0 {
		c.TailSize = defaultTail
	}
	if c.Background == 0 {
		c.Background = defaultBackground
	}
	if c.Background < 0 {
		return c, fmt.Errorf("block cache: %d background fetches: give a positive number", c.Background)
	}
	return c, nil
}
