package goleveldb

import (
	"github.com/syndtr/goleveldb/leveldb/filter"
	"github.com/syndtr/goleveldb/leveldb/opt"
)

// What Tune sets, where the caller has not. The reasons are those of package pebblev2, where most of them were measured.
const (
	TunedWriteBuffer            = 64 << 20 // each rotation of the journal and each table is a round trip (goleveldb: 4 MiB)
	TunedBlockSize              = 32 << 10 // what one read of the volume asks for (4 KiB)
	TunedCompactionTableSize    = 16 << 20 // one data object (2 MiB)
	TunedCompactionTotalSize    = 32 << 20 // a tenth of level 1, which should hold what level 0 does when it is compacted (10 MiB)
	TunedBlockCacheCapacity     = 64 << 20 // of uncompressed blocks (8 MiB)
	TunedOpenFilesCacheCapacity = 10_000   // a handle of a volume costs no descriptor (500)
	TunedWriteL0SlowdownTrigger = 20       // a burst may pile up more tables before writers are slowed down (8)
	TunedWriteL0PauseTrigger    = 40       // ... and stopped (12)
	TunedMaxManifestFileSize    = 1 << 20  // what a reopen reads first (64 MiB)
	TunedBloomBits              = 10
)

// Tune sets the options that suit a volume in a remote store, and returns o, a new one if o is nil. It fills in only what is still zero. It also
// turns off compactions because of reads (DisableSeeksCompaction): with the volume's cache there are no seeks to save.
//
// Left to the caller: ErrorIfMissing, best set for a database that must be there, and NoSync, which gives up what the volume is for.
func Tune(o *opt.Options) *opt.Options {
	if o == nil {
		o = &opt.Options{}
	}
	set(&o.WriteBuffer, TunedWriteBuffer)
	set(&o.BlockSize, TunedBlockSize)
	set(&o.CompactionTableSize, TunedCompactionTableSize)
	set(&o.CompactionTotalSize, TunedCompactionTotalSize)
	set(&o.BlockCacheCapacity, TunedBlockCacheCapacity)
	set(&o.OpenFilesCacheCapacity, TunedOpenFilesCacheCapacity)
	set(&o.WriteL0SlowdownTrigger, TunedWriteL0SlowdownTrigger)
	set(&o.WriteL0PauseTrigger, TunedWriteL0PauseTrigger)
	if o.MaxManifestFileSize == 0 {
		o.MaxManifestFileSize = TunedMaxManifestFileSize
	}
	if o.Filter == nil {
		o.Filter = filter.NewBloomFilter(TunedBloomBits)
	}
	o.DisableSeeksCompaction = true
	return o
}

func set(p *int, v int) {
	if *p == 0 {
		*p = v
	}
}
