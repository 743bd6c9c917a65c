package state

import (
	"github.com/cockroachdb/pebble/v2"

	"github.com/forst-go/forst/cache"
)

// Memory is the budget of all backends of a process: memtables, blocks of tables as the engine uses them, and blocks as they are in the store. Close it
// after the backends.
type Memory struct {
	cache  *pebble.Cache
	blocks *cache.Cache
}

// NewMemory makes a budget of the given size in bytes: three quarters for the engine, whose memtables count as part of it, and one for blocks of
// the volumes. A busy shard has a memtable of 64 MiB, and up to 4 while its store is slow; leave a third or more for blocks.
func NewMemory(bytes int64) (*Memory, error) {
	blocks, err := cache.New(&cache.Options{Memory: bytes / 4})
	if err != nil {
		return nil, err
	}
	return &Memory{pebble.NewCache(bytes / 4 * 3), blocks}, nil
}

// NewMemoryWith is NewMemory with a cache for the volumes' blocks that has a disk tier, for example. Close closes it, too.
func NewMemoryWith(engineBytes int64, blocks *cache.Cache) *Memory {
	return &Memory{pebble.NewCache(engineBytes), blocks}
}

// Close gives the memory back.
func (m *Memory) Close() error {
	m.cache.Unref()
	return m.blocks.Close()
}
