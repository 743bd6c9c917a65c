package stateprom

import (
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/forst-go/forst/state"
)

// metric is one name, with the value that a picture of T has for it.
type metric[T any] struct {
	name, help string
	labels     []string
	kind       prometheus.ValueType
	desc       *prometheus.Desc
	value      func(m *T) float64
}

// section makes the metrics of one kind of thing, which has these labels.
type section[T any] struct{ labels []string }

func (s section[T]) metric(kind prometheus.ValueType, name, help string, value func(m *T) float64) metric[T] {
	name = "forst_state_" + name
	return metric[T]{name, help, s.labels, kind, prometheus.NewDesc(name, help, s.labels, nil), value}
}

func (s section[T]) counter(name, help string, value func(m *T) int64) metric[T] {
	return s.metric(prometheus.CounterValue, name, help, func(m *T) float64 { return float64(value(m)) })
}

func (s section[T]) gauge(name, help string, value func(m *T) int64) metric[T] {
	return s.metric(prometheus.GaugeValue, name, help, func(m *T) float64 { return float64(value(m)) })
}

func (s section[T]) seconds(name, help string, value func(m *T) time.Duration) metric[T] {
	return s.metric(prometheus.GaugeValue, name, help, func(m *T) float64 { return value(m).Seconds() })
}

var (
	backend = section[state.Metrics]{[]string{"backend"}}
	keyed   = section[state.StateMetrics]{[]string{"backend", "state", "kind"}}
	shard   = section[state.ShardMetrics]{[]string{"backend", "shard"}}
	level   = section[pebble.LevelMetrics]{[]string{"backend", "shard", "level"}}

	levelNames = [...]string{"0", "1", "2", "3", "4", "5", "6"}
)

var backendTable = []metric[state.Metrics]{
	backend.gauge("key_groups", "Key groups that the backend has.", func(m *state.Metrics) int64 { return int64(m.Keys.Hi - m.Keys.Lo) }),
	backend.gauge("max_parallelism", "Key groups that all instances have together.", func(m *state.Metrics) int64 { return int64(m.Keys.Max) }),
	backend.gauge("in_flight", "Admitted requests.", func(m *state.Metrics) int64 { return int64(m.InFlight) }),
	backend.gauge("active", "Requests with the executors.", func(m *state.Metrics) int64 { return int64(m.Active) }),
	backend.gauge("waiting", "Callers that wait to be admitted.", func(m *state.Metrics) int64 { return int64(m.Waiting) }),
	backend.counter("waits_total", "Callers that had to wait to be admitted.", func(m *state.Metrics) int64 { return m.Waits }),
	backend.counter("carried_out_total", "Requests that their callers carried out themselves.", func(m *state.Metrics) int64 { return m.Here }),
	backend.counter("executor_reads_total", "Reads of the executors.", func(m *state.Metrics) int64 { return m.Reads }),
	backend.counter("read_batches_total", "Batches that these were.", func(m *state.Metrics) int64 { return m.ReadBatches }),
	backend.counter("write_batches_total", "Batches of writes.", func(m *state.Metrics) int64 { return m.WriteBatches }),
	backend.seconds("read_seconds", "Moving average of one read.", func(m *state.Metrics) time.Duration { return m.ReadTime }),
	backend.gauge("reads_peak", "The most reads that were in flight at once.", func(m *state.Metrics) int64 { return m.ReadPeak }),
	backend.counter("window_waits_total", "Writes that waited for a snapshot to be captured.", func(m *state.Metrics) int64 { return m.WindowWaits }),
	backend.counter("snapshots_total", "Snapshots committed.", func(m *state.Metrics) int64 { return m.Snapshots }),
	backend.gauge("last_snapshot_id", "Id of the last one.", func(m *state.Metrics) int64 { return int64(m.Last.ID) }),
	backend.seconds("last_snapshot_sync_seconds", "How long it held up its caller.", func(m *state.Metrics) time.Duration { return m.Last.Sync }),
	backend.seconds("last_snapshot_drain_seconds", "How long it waited for requests issued before it.", func(m *state.Metrics) time.Duration { return m.Last.Drain }),
	backend.seconds("last_snapshot_seal_seconds", "How long it sealed memtables.", func(m *state.Metrics) time.Duration { return m.Last.Seal }),
	backend.seconds("last_snapshot_flush_seconds", "How long its memtables went to tables.", func(m *state.Metrics) time.Duration { return m.Last.Flush }),
	backend.seconds("last_snapshot_commit_seconds", "How long the volumes' snapshots and the record took.", func(m *state.Metrics) time.Duration { return m.Last.Commit }),
	backend.gauge("last_snapshot_bytes", "Its logical size.", func(m *state.Metrics) int64 { return m.Last.Bytes }),
	backend.counter("sweep_rounds_total", "Times that the sweep looked at the whole backend.", func(m *state.Metrics) int64 { return m.Sweep.Rounds }),
	backend.counter("sweep_looked_total", "Records with a TTL that it looked at.", func(m *state.Metrics) int64 { return m.Sweep.Looked }),
	backend.counter("sweep_removed_total", "Records, elements and entries that it removed.", func(m *state.Metrics) int64 { return m.Sweep.Removed }),
	backend.counter("sweep_compacted_total", "Ranges compacted so that their bytes leave the store.", func(m *state.Metrics) int64 { return m.Sweep.Compacted }),
	backend.counter("consolidations_total", "Consolidations that ended well.", func(m *state.Metrics) int64 { return m.Consolidated }),
	backend.gauge("consolidation_databases_before", "Databases before the one under way, or the last.", func(m *state.Metrics) int64 { return int64(m.Consolidation.Before) }),
	backend.gauge("consolidation_databases_after", "Databases after it.", func(m *state.Metrics) int64 { return int64(m.Consolidation.After) }),
	backend.gauge("consolidation_records", "Records that it wrote again.", func(m *state.Metrics) int64 { return m.Consolidation.Records }),
	backend.gauge("consolidation_bytes", "Their bytes.", func(m *state.Metrics) int64 { return m.Consolidation.Bytes }),
	backend.gauge("consolidation_detached_bytes", "Bytes of objects that it copied as they are.", func(m *state.Metrics) int64 { return m.Consolidation.Detached }),
	backend.seconds("consolidation_held_seconds", "The longest time for which it held up requests.", func(m *state.Metrics) time.Duration { return m.Consolidation.Held }),
	backend.seconds("consolidation_seconds", "How long it has taken.", func(m *state.Metrics) time.Duration { return m.Consolidation.Took }),
}

var stateTable = []metric[state.StateMetrics]{
	keyed.counter("requests_total", "Requests finished.", func(m *state.StateMetrics) int64 { return m.Requests }),
	keyed.counter("errors_total", "Of these, those that failed.", func(m *state.StateMetrics) int64 { return m.Errors }),
	keyed.counter("reads_total", "Keys looked up.", func(m *state.StateMetrics) int64 { return m.Reads }),
	keyed.counter("pages_total", "Pages of iterators read.", func(m *state.StateMetrics) int64 { return m.Scans }),
	keyed.counter("sets_total", "Records written.", func(m *state.StateMetrics) int64 { return m.Sets }),
	keyed.counter("merges_total", "Elements appended.", func(m *state.StateMetrics) int64 { return m.Merges }),
	keyed.counter("removes_total", "Records removed.", func(m *state.StateMetrics) int64 { return m.Removes }),
	keyed.counter("clears_total", "Maps cleared.", func(m *state.StateMetrics) int64 { return m.Clear }),
	keyed.counter("read_bytes_total", "Bytes of keys and values read, before compression.", func(m *state.StateMetrics) int64 { return m.BytesRead }),
	keyed.counter("written_bytes_total", "Bytes of keys and values written, before compression.", func(m *state.StateMetrics) int64 { return m.BytesWritten }),
	keyed.counter("expired_total", "Records and elements that the sweep removed.", func(m *state.StateMetrics) int64 { return m.Expired }),
}

// Of the engine: what Flink's native metrics name, as far as Pebble has it.
var shardTable = []metric[state.ShardMetrics]{
	shard.gauge("engine_disk_bytes", "Bytes of the database on the store.", func(m *state.ShardMetrics) int64 { return int64(m.Engine.DiskSpaceUsage()) }),
	shard.gauge("engine_memtable_bytes", "Bytes of memtables.", func(m *state.ShardMetrics) int64 { return int64(m.Engine.MemTable.Size) }),
	shard.gauge("engine_memtables", "Memtables.", func(m *state.ShardMetrics) int64 { return m.Engine.MemTable.Count }),
	shard.gauge("engine_flushes_running", "Flushes under way.", func(m *state.ShardMetrics) int64 { return m.Engine.Flush.NumInProgress }),
	shard.counter("engine_flushes_total", "Flushes.", func(m *state.ShardMetrics) int64 { return m.Engine.Flush.Count }),
	shard.gauge("engine_compactions_running", "Compactions under way.", func(m *state.ShardMetrics) int64 { return m.Engine.Compact.NumInProgress }),
	shard.counter("engine_compactions_total", "Compactions.", func(m *state.ShardMetrics) int64 { return m.Engine.Compact.Count }),
	shard.counter("engine_compactions_failed_total", "Compactions that failed.", func(m *state.ShardMetrics) int64 { return m.Engine.Compact.FailedCount }),
	shard.gauge("engine_compaction_debt_bytes", "Bytes to be compacted until the tree has its shape.", func(m *state.ShardMetrics) int64 { return int64(m.Engine.Compact.EstimatedDebt) }),
	shard.gauge("engine_read_amplification", "Places that a read has to look at.", func(m *state.ShardMetrics) int64 { return int64(m.Engine.ReadAmp()) }),
	shard.gauge("engine_block_cache_bytes", "Size of the block cache, which all backends of a process share.", func(m *state.ShardMetrics) int64 { return m.Engine.BlockCache.Size }),
	shard.counter("engine_block_cache_hits_total", "Its hits.", func(m *state.ShardMetrics) int64 { return m.Engine.BlockCache.Hits }),
	shard.counter("engine_block_cache_misses_total", "Its misses.", func(m *state.ShardMetrics) int64 { return m.Engine.BlockCache.Misses }),
	shard.counter("engine_filter_hits_total", "Blocks that a Bloom filter saved.", func(m *state.ShardMetrics) int64 { return m.Engine.Filter.Hits }),
	shard.counter("engine_filter_misses_total", "Blocks that a Bloom filter did not save.", func(m *state.ShardMetrics) int64 { return m.Engine.Filter.Misses }),
	shard.gauge("engine_tombstones", "Tombstones.", func(m *state.ShardMetrics) int64 { return int64(m.Engine.Keys.TombstoneCount) }),
	shard.gauge("engine_snapshots", "Snapshots of the engine that are open.", func(m *state.ShardMetrics) int64 { return int64(m.Engine.Snapshots.Count) }),
	shard.gauge("engine_table_iterators", "Iterators open on tables.", func(m *state.ShardMetrics) int64 { return m.Engine.TableIters }),
	shard.gauge("engine_zombie_bytes", "Tables that only iterators still need.", func(m *state.ShardMetrics) int64 { return int64(m.Engine.Table.ZombieSize) }),
	shard.counter("engine_wal_bytes_total", "Bytes written to the WAL.", func(m *state.ShardMetrics) int64 { return int64(m.Engine.WAL.BytesWritten) }),
}

var levelTable = []metric[pebble.LevelMetrics]{
	level.gauge("engine_level_tables", "Tables of the level.", func(m *pebble.LevelMetrics) int64 { return m.TablesCount }),
	level.gauge("engine_level_bytes", "Their bytes.", func(m *pebble.LevelMetrics) int64 { return m.TablesSize }),
	level.counter("engine_level_read_bytes_total", "Bytes that compactions read from it.", func(m *pebble.LevelMetrics) int64 { return int64(m.TableBytesRead) }),
	level.counter("engine_level_compacted_bytes_total", "Bytes that compactions wrote to it.", func(m *pebble.LevelMetrics) int64 { return int64(m.TableBytesCompacted) }),
	level.counter("engine_level_flushed_bytes_total", "Bytes that flushes wrote to it.", func(m *pebble.LevelMetrics) int64 { return int64(m.TableBytesFlushed) }),
}
