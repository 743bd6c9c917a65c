package pebblev1

import (
	"time"

	"github.com/cockroachdb/pebble"
	"github.com/cockroachdb/pebble/bloom"
)

// What Tune sets, where the caller has not: the values of package pebblev2, where they were measured and where each has its reason, under the
// names of version 1.
const (
	TunedWALMinSyncInterval          = time.Millisecond
	TunedMemTableSize                = 64 << 20
	TunedMemTableStopWritesThreshold = 4
	TunedCacheSize                   = 256 << 20
	TunedMaxManifestFileSize         = 1 << 20
	TunedBytesPerSync                = 1 << 30
	TunedMaxOpenFiles                = 10_000
	TunedL0CompactionThreshold       = 4
	TunedL0StopWritesThreshold       = 40
	TunedLBaseMaxBytes               = 256 << 20
	TunedBlockSize                   = 32 << 10
	TunedIndexBlockSize              = 256 << 10
	TunedBloomBits                   = 10
	TunedMaxCompactions              = 4
)

// tunedTargetFileSizes are those of Levels[0], Levels[1], ...
var tunedTargetFileSizes = [...]int64{16 << 20, 32 << 20, 64 << 20, 64 << 20, 64 << 20, 64 << 20, 64 << 20}

// Tune sets the options that suit a volume in a remote store, and returns o, a new one if o is nil. It fills in only what is
// still zero, so the caller's choices stay; call it before Options.EnsureDefaults, after which nothing is zero any more.
//
//   - FormatMajorVersion is left alone: Pebble keeps the format of an existing database, and makes a new one in the oldest, which every Pebble
//     and RocksDB of its time can read. pebble.FormatNewest is a good choice for a database that never goes back.
//   - Cache: version 1 has no size for it, so Tune makes a cache of TunedCacheSize when there is none. It is the caller's to Unref after
//     the database is closed, as with every pebble.NewCache; a program that opens one database for its life need not.
//   - Experimental.ReadSamplingMultiplier becomes -1: no compactions because of reads. They rewrite tables in the store to save seeks, and with
//     the volume's cache there are none to save.
//
// Left to the caller: ErrorIfNotExists, best set for a database that must be there; Comparer, Merger, compression and DisableWAL.
func Tune(o *pebble.Options) *pebble.Options {
	if o == nil {
		o = &pebble.Options{}
	}
	if o.WALMinSyncInterval == nil {
		o.WALMinSyncInterval = func() time.Duration { return TunedWALMinSyncInterval }
	}
	if o.MaxConcurrentCompactions == nil {
		o.MaxConcurrentCompactions = func() int { return TunedMaxCompactions }
	}
	set(&o.MemTableSize, TunedMemTableSize)
	set(&o.MemTableStopWritesThreshold, TunedMemTableStopWritesThreshold)
	if o.Cache == nil {
		o.Cache = pebble.NewCache(TunedCacheSize)
	}
	set(&o.MaxManifestFileSize, TunedMaxManifestFileSize)
	set(&o.BytesPerSync, TunedBytesPerSync)
	set(&o.MaxOpenFiles, TunedMaxOpenFiles)
	set(&o.L0CompactionThreshold, TunedL0CompactionThreshold)
	set(&o.L0StopWritesThreshold, max(TunedL0StopWritesThreshold, 2*o.L0CompactionThreshold))
	set(&o.LBaseMaxBytes, int64(min(TunedLBaseMaxBytes, max(4*o.MemTableSize, 16<<20))))
	set(&o.Experimental.ReadSamplingMultiplier, -1)

	// A level that is not given is like the one above it with twice the size of its files: a caller who has given some has said what the ones
	// below shall be.
	given := len(o.Levels)
	if given == 0 {
		o.Levels = make([]pebble.LevelOptions, len(tunedTargetFileSizes))
	}
	for i := range o.Levels {
		l := &o.Levels[i]
		if given == 0 {
			l.TargetFileSize = tunedTargetFileSizes[i]
		} else if i == 0 {
			set(&l.TargetFileSize, tunedTargetFileSizes[0])
		}
		set(&l.BlockSize, TunedBlockSize)
		set(&l.IndexBlockSize, max(TunedIndexBlockSize, l.BlockSize))
		if l.FilterPolicy == nil {
			l.FilterPolicy = bloom.FilterPolicy(TunedBloomBits)
		}
	}
	return o
}

func set[T int | int64 | uint64](p *T, v T) {
	if *p == 0 {
		*p = v
	}
}
