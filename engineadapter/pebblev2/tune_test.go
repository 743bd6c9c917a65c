package pebblev2_test

import (
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/forst-go/forst/engineadapter/pebblev2"
)

func TestTuneFillsInWhatIsMissing(t *testing.T) {
	o := pebblev2.Tune(nil)
	o.EnsureDefaults()
	ok(t, o.Validate())
	equal(t, "FormatMajorVersion", o.FormatMajorVersion, pebble.FormatNewest)
	equal(t, "WAL sync offsets", o.FormatMajorVersion >= pebble.FormatWALSyncChunks, true)
	equal(t, "WALMinSyncInterval", o.WALMinSyncInterval(), time.Millisecond)
	equal(t, "MemTableSize", o.MemTableSize, 64<<20)
	equal(t, "MemTableStopWritesThreshold", o.MemTableStopWritesThreshold, 4)
	equal(t, "MaxManifestFileSize", o.MaxManifestFileSize, 1<<20)
	equal(t, "BytesPerSync is out of reach", o.BytesPerSync >= 1<<30, true)
	equal(t, "MaxOpenFiles", o.MaxOpenFiles, 10_000)
	equal(t, "L0StopWritesThreshold", o.L0StopWritesThreshold, 40)
	equal(t, "the cache has room beside the memtables", o.CacheSize >= int64(o.MemTableSize)*4, true)
	equal(t, "LBaseMaxBytes", o.LBaseMaxBytes, 256<<20)
	equal(t, "ReadSamplingMultiplier", o.Experimental.ReadSamplingMultiplier, -1)
	equal(t, "TargetFileSizes[0]", o.TargetFileSizes[0], 16<<20)
	equal(t, "TargetFileSizes[6]", o.TargetFileSizes[6], 64<<20)
	if lower, upper := o.CompactionConcurrencyRange(); lower != 1 || upper != 4 {
		t.Errorf("CompactionConcurrencyRange: %d, %d", lower, upper)
	}
	for i := range o.Levels {
		l := &o.Levels[i]
		if l.BlockSize != 32<<10 || l.IndexBlockSize != 256<<10 || l.FilterPolicy == nil || l.FilterPolicy == pebble.NoFilterPolicy {
			t.Errorf("level %d: %+v", i, l)
		}
	}
}

func TestTuneKeepsTheCallersChoices(t *testing.T) {
	mine := &pebble.Options{
		FormatMajorVersion:          pebble.FormatColumnarBlocks,
		WALMinSyncInterval:          func() time.Duration { return 0 },
		MemTableSize:                1 << 20,
		MemTableStopWritesThreshold: 2,
		MaxManifestFileSize:         5 << 20,
		BytesPerSync:                1 << 20,
		MaxOpenFiles:                100,
		L0CompactionThreshold:       30,
		LBaseMaxBytes:               1 << 20,
		CacheSize:                   1 << 20,
		CompactionConcurrencyRange:  func() (int, int) { return 2, 2 },
	}
	mine.TargetFileSizes[0] = 1 << 20
	mine.Levels[0].BlockSize = 1 << 20
	mine.Levels[0].FilterPolicy = pebble.NoFilterPolicy
	mine.Experimental.ReadSamplingMultiplier = 7
	got := pebblev2.Tune(mine)
	if got != mine {
		t.Fatal("Tune returns other options than it was given")
	}
	got.EnsureDefaults()
	ok(t, got.Validate())
	equal(t, "FormatMajorVersion", got.FormatMajorVersion, pebble.FormatColumnarBlocks)
	equal(t, "WALMinSyncInterval", got.WALMinSyncInterval(), 0)
	equal(t, "MemTableSize", got.MemTableSize, 1<<20)
	equal(t, "MemTableStopWritesThreshold", got.MemTableStopWritesThreshold, 2)
	equal(t, "MaxManifestFileSize", got.MaxManifestFileSize, 5<<20)
	equal(t, "BytesPerSync", got.BytesPerSync, 1<<20)
	equal(t, "MaxOpenFiles", got.MaxOpenFiles, 100)
	equal(t, "L0CompactionThreshold", got.L0CompactionThreshold, 30)
	equal(t, "L0StopWritesThreshold leaves room above it", got.L0StopWritesThreshold, 60)
	equal(t, "LBaseMaxBytes", got.LBaseMaxBytes, 1<<20)
	equal(t, "CacheSize", got.CacheSize, 1<<20)
	equal(t, "TargetFileSizes[0]", got.TargetFileSizes[0], 1<<20)
	equal(t, "TargetFileSizes[1] follows it", got.TargetFileSizes[1], 2<<20)
	equal(t, "BlockSize", got.Levels[0].BlockSize, 1<<20)
	equal(t, "IndexBlockSize is no smaller", got.Levels[0].IndexBlockSize, 1<<20)
	equal(t, "FilterPolicy", got.Levels[0].FilterPolicy, pebble.NoFilterPolicy)
	equal(t, "ReadSamplingMultiplier", got.Experimental.ReadSamplingMultiplier, 7)

	c := pebble.NewCache(1 << 20)
	defer c.Unref()
	equal(t, "CacheSize beside a Cache", pebblev2.Tune(&pebble.Options{Cache: c}).CacheSize, 0)
}
