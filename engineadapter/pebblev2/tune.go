package pebblev2

import (
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
)

// What Tune sets, where the caller has not. "Measured" is over a store in memory with 28 ms for a PUT, 24 ms for a GET and 90 MB/s for each
// request; "load" is one million random keys with values of 100 bytes and a Flush. What was counted is firm; the machine was busy,
// so times are only good for comparison. What does not say "measured" is reasoned.
const (
	// TunedWALMinSyncInterval lets commits that were released by one sync join the next one. Without it the first of
	// them starts a sync of its own and all others wait a whole round trip more. Measured, in commits/s with 16 and 64 writers:
	// 274 and 1,242 without it, 519 and 1,939 with 1 ms, 460 and 1,763 with 5 ms, 323 and 1,255 with 20 ms. A single
	// writer loses 2% (34 to 33).
	TunedWALMinSyncInterval = time.Millisecond

	// TunedMemTableSize: each rotation of the WAL costs round trips during which all writers wait, and each flush costs
	// 4 frames and its tables. The WAL may be long: a sync sends its new bytes only. Measured: a load makes 3 flushes and 210
	// PUTs with a write amplification of 2.0; with Pebble's 4 MB it makes 41 flushes and 730 PUTs with 6.1, and takes half as long
	// again. (All options at Pebble's defaults: 1,050 PUTs, 5.9, and twice the time.)
	TunedMemTableSize = 64 << 20

	// TunedMemTableStopWritesThreshold keeps writers going while up to three memtables wait for their uploads (Pebble: one). A load is
	// too short to show a difference.
	TunedMemTableStopWritesThreshold = 4

	// TunedCacheSize is Pebble's cache of uncompressed blocks, from which it takes the memory of its memtables, too: with its 8 MB
	// and the memtables above nothing would be left. It is filled as needed. The compressed blocks are in the volume's own cache.
	TunedCacheSize = 256 << 20

	// TunedMaxManifestFileSize bounds what a reopen has to read one after the other (Pebble: 128 MB). A longer MANIFEST costs
	// nothing while it is written.
	TunedMaxManifestFileSize = 1 << 20

	// TunedBytesPerSync turns off the syncs in the middle of a table, which are for the page cache of a disk; a volume uploads while
	// the table is written. (Pebble takes 0 for its default of 512 KB. With that it works too: such a sync is only a hint.)
	TunedBytesPerSync = 1 << 30

	// TunedMaxOpenFiles: a handle of a volume costs some memory and no descriptor; opening a table again costs up to 4 reads.
	TunedMaxOpenFiles = 10_000

	// TunedL0CompactionThreshold and TunedL0StopWritesThreshold: compactions over a store have more latency, not less bandwidth; they start
	// at the same depth, but a burst may pile up more sublevels before writers are stopped (Pebble: 4 and 12).
	TunedL0CompactionThreshold = 4
	TunedL0StopWritesThreshold = 40

	// TunedLBaseMaxBytes is as much as L0 holds when its compaction starts: 4 memtables. A smaller base level would be rewritten for
	// each of them.
	TunedLBaseMaxBytes = 256 << 20

	// TunedBlockSize and TunedIndexBlockSize: a block is what one read of the volume asks for. 32 KiB is 8 times fewer requests and entries in
	// the cache than Pebble's 4 KiB; the index comes in few large blocks, because each level of it is a round trip before the data.
	// Measured: writing is not affected.
	TunedBlockSize      = 32 << 10
	TunedIndexBlockSize = 256 << 10

	// TunedBloomBits of filter per key keep a Get away from 99 of 100 tables that do not hold the key. Pebble has none by default.
	TunedBloomBits = 10

	// TunedMaxCompactions may run at the same time when compactions have fallen behind (Pebble: 1): most of their time is
	// latency, and the outputs of one compaction are finished one after the other.
	TunedMaxCompactions = 4
)

// tunedTargetFileSizes: a table of L0 fits one data object of S3 (16 MiB), the others a few. Pebble's 2 MB are more objects for the same data:
// measured, a load makes 322 PUTs with them, 210 with these. Its doubling from level to level would end at 1 GiB here, the unit of compaction, deletion and cloning.
var tunedTargetFileSizes = [...]int64{16 << 20, 32 << 20, 64 << 20, 64 << 20, 64 << 20, 64 << 20, 64 << 20}

// Tune sets the options that suit a volume in a remote store, and returns o, a new one if o is nil. It fills in only what is
// still zero, so the caller's choices stay; call it before Options.EnsureDefaults, after which nothing is zero any more. The constants
// of this package give each value with its reason. Two more:
//
//   - FormatMajorVersion becomes the newest of this Pebble (never lower than what the database has). From FormatWALSyncChunks on, a WAL
//     that has lost acknowledged bytes is reported as corrupt; before, it looked like a clean end. An older Pebble
//     cannot open the database any more: set a version for that.
//   - Experimental.ReadSamplingMultiplier becomes -1: no compactions because of reads. They rewrite tables in the store to save seeks, and with
//     the volume's cache there are none to save.
//
// Left to the caller: ErrorIfNotExists, best set for a database that must be there; Comparer, Merger, compression, DisableWAL; and
// WALFailover, which takes the round trip to a store for a sick disk: do not use it with a volume as the primary.
func Tune(o *pebble.Options) *pebble.Options {
	if o == nil {
		o = &pebble.Options{}
	}
	if o.FormatMajorVersion == pebble.FormatDefault {
		o.FormatMajorVersion = pebble.FormatNewest
	}
	if o.WALMinSyncInterval == nil {
		o.WALMinSyncInterval = func() time.Duration { return TunedWALMinSyncInterval }
	}
	if o.CompactionConcurrencyRange == nil {
		o.CompactionConcurrencyRange = func() (lower, upper int) { return 1, TunedMaxCompactions }
	}
	set(&o.MemTableSize, TunedMemTableSize)
	set(&o.MemTableStopWritesThreshold, TunedMemTableStopWritesThreshold)
	if o.Cache == nil {
		set(&o.CacheSize, TunedCacheSize)
	}
	set(&o.MaxManifestFileSize, TunedMaxManifestFileSize)
	set(&o.BytesPerSync, TunedBytesPerSync)
	set(&o.MaxOpenFiles, TunedMaxOpenFiles)
	set(&o.L0CompactionThreshold, TunedL0CompactionThreshold)
	set(&o.L0StopWritesThreshold, max(TunedL0StopWritesThreshold, 2*o.L0CompactionThreshold))
	set(&o.LBaseMaxBytes, int64(min(TunedLBaseMaxBytes, max(4*o.MemTableSize, 16<<20))))
	set(&o.Experimental.ReadSamplingMultiplier, -1)

	// The sizes of levels follow from the level above where they are not set, so a caller who has set one of them has said what the
	// ones below shall be.
	if o.TargetFileSizes == [len(o.TargetFileSizes)]int64{} {
		copy(o.TargetFileSizes[:], tunedTargetFileSizes[:])
	}
	l := &o.Levels[0]
	set(&l.BlockSize, TunedBlockSize)
	set(&l.IndexBlockSize, max(TunedIndexBlockSize, l.BlockSize))
	if l.FilterPolicy == nil {
		l.FilterPolicy = bloom.FilterPolicy(TunedBloomBits)
	}
	return o
}

func set[T int | int64 | uint64](p *T, v T) {
	if *p == 0 {
		*p = v
	}
}
