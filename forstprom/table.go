package forstprom

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/forst-go/forst/cache"
	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/internal/meter"
)

// metric is one name, with the values that a picture of a volume has for it.
type metric struct {
	name   string
	help   string
	kind   prometheus.ValueType
	labels []string // besides "volume"
	values func(m *forstfs.Metrics, emit emit)
}

type emit = func(v float64, labels ...string)

type number interface{ ~int | ~int64 }

func counter[T number](name, help string, get func(m *forstfs.Metrics) T) metric {
	return metric{name: name, help: help, kind: prometheus.CounterValue, values: func(m *forstfs.Metrics, emit emit) { emit(float64(get(m))) }}
}

func gauge[T number](name, help string, get func(m *forstfs.Metrics) T) metric {
	return metric{name: name, help: help, kind: prometheus.GaugeValue, values: func(m *forstfs.Metrics, emit emit) { emit(float64(get(m))) }}
}

// requests has a value for each operation of the store and each component that asked for it.
func requests(name, help string, get func(c *meter.Counts) int64) metric {
	return metric{name: "forst_store_" + name, help: help, kind: prometheus.CounterValue, labels: []string{"op", "component"}, values: func(m *forstfs.Metrics, emit emit) {
		for i := range m.Store {
			c := &m.Store[i]
			emit(float64(get(c)), c.Op, string(c.Component))
		}
	}}
}

// reasons has a value for each reason of a read or an insert.
func reasons(name, help string, get func(r *cache.ReasonMetrics) int64) metric {
	return metric{name: "forst_cache_" + name, help: help, kind: prometheus.CounterValue, labels: []string{"reason"}, values: func(m *forstfs.Metrics, emit emit) {
		for i := range m.Cache.Reasons {
			emit(float64(get(&m.Cache.Reasons[i])), cache.Reason(i).String())
		}
	}}
}

// tiers has a value for each reason and each tier.
func tiers(name, help string, memory, disk func(r *cache.ReasonMetrics) int64) metric {
	return metric{name: "forst_cache_" + name, help: help, kind: prometheus.CounterValue, labels: []string{"reason", "tier"}, values: func(m *forstfs.Metrics, emit emit) {
		for i := range m.Cache.Reasons {
			reason := cache.Reason(i).String()
			emit(float64(memory(&m.Cache.Reasons[i])), reason, "memory")
			emit(float64(disk(&m.Cache.Reasons[i])), reason, "disk")
		}
	}}
}

var table = []metric{
	requests("calls_total", "Calls of the store.", func(c *meter.Counts) int64 { return c.Calls }),
	requests("requests_total", "Requests that these calls are: one for each page of a list and each batch of a delete.", func(c *meter.Counts) int64 { return c.Requests }),
	requests("keys_total", "Keys listed or deleted.", func(c *meter.Counts) int64 { return c.Keys }),
	requests("read_bytes_total", "Bytes read.", func(c *meter.Counts) int64 { return c.In }),
	requests("written_bytes_total", "Bytes sent.", func(c *meter.Counts) int64 { return c.Out }),
	requests("errors_total", "Calls that failed.", func(c *meter.Counts) int64 { return c.Errors }),
	requests("misses_total", "Answers that an object does not exist, or exists already.", func(c *meter.Counts) int64 { return c.Misses }),
	requests("canceled_total", "Calls that ended because nobody wanted them any more.", func(c *meter.Counts) int64 { return c.Canceled }),

	counter("forst_journal_frames_total", "Frames acknowledged: commits of the volume.", func(m *forstfs.Metrics) int64 { return m.Journal.Frames }),
	counter("forst_journal_frame_bytes_total", "Their bytes.", func(m *forstfs.Metrics) int64 { return m.Journal.FrameBytes }),
	counter("forst_journal_entries_total", "Entries in them.", func(m *forstfs.Metrics) int64 { return m.Journal.Entries }),
	counter("forst_journal_retries_total", "Requests for frames, fences and images that were tried again.", func(m *forstfs.Metrics) int64 { return m.Journal.Retries }),
	counter("forst_journal_read_backs_total", "Lost replies that turned out to be own bytes.", func(m *forstfs.Metrics) int64 { return m.Journal.ReadBacks }),
	counter("forst_journal_restarts_total", "Times that the open began again.", func(m *forstfs.Metrics) int64 { return m.Journal.Restarts }),
	counter("forst_journal_replayed_frames_total", "Frames that the open replayed.", func(m *forstfs.Metrics) int64 { return m.Journal.Replayed }),
	counter("forst_journal_void_frames_total", "Void frames that the open met.", func(m *forstfs.Metrics) int64 { return m.Journal.Voids }),
	counter("forst_journal_images_total", "Images written.", func(m *forstfs.Metrics) int64 { return m.Journal.Images }),
	counter("forst_journal_image_bytes_total", "Their bytes.", func(m *forstfs.Metrics) int64 { return m.Journal.ImageBytes }),
	counter("forst_journal_damaged_images_total", "Images found damaged.", func(m *forstfs.Metrics) int64 { return m.Journal.DamagedImages }),
	counter("forst_journal_trimmed_objects_total", "Frames and images deleted.", func(m *forstfs.Metrics) int64 { return m.Journal.Trimmed }),
	counter("forst_journal_swept_objects_total", "Stray objects deleted.", func(m *forstfs.Metrics) int64 { return m.Journal.Swept }),

	tiers("hits_total", "Blocks found: GETs that were not made.",
		func(r *cache.ReasonMetrics) int64 { return r.Hits }, func(r *cache.ReasonMetrics) int64 { return r.DiskHits }),
	tiers("hit_bytes_total", "Bytes read from them.",
		func(r *cache.ReasonMetrics) int64 { return r.HitBytes }, func(r *cache.ReasonMetrics) int64 { return r.DiskBytes }),
	reasons("misses_total", "Blocks that had to be fetched.", func(r *cache.ReasonMetrics) int64 { return r.Misses }),
	reasons("miss_bytes_total", "Bytes read from them.", func(r *cache.ReasonMetrics) int64 { return r.MissBytes }),
	reasons("joined_total", "Of the misses, blocks that a fetch under way brought.", func(r *cache.ReasonMetrics) int64 { return r.Joined }),
	reasons("stored_total", "Blocks put into the cache.", func(r *cache.ReasonMetrics) int64 { return r.Stored }),
	reasons("gets_total", "Fetches begun.", func(r *cache.ReasonMetrics) int64 { return r.GETs }),
	reasons("get_bytes_total", "Bytes that they asked for.", func(r *cache.ReasonMetrics) int64 { return r.GETBytes }),
	reasons("peek_misses_total", "Looks into the cache alone that found nothing.", func(r *cache.ReasonMetrics) int64 { return r.PeekMisses }),
	gauge("forst_cache_memory_capacity_bytes", "Size of the memory tier.", func(m *forstfs.Metrics) int64 { return m.Cache.Capacity }),
	gauge("forst_cache_memory_used_bytes", "Of it, in use.", func(m *forstfs.Metrics) int64 { return m.Cache.Used }),
	gauge("forst_cache_memory_objects", "Objects with a block in memory or a fetch under way.", func(m *forstfs.Metrics) int64 { return m.Cache.Objects }),
	counter("forst_cache_fetches_total", "GETs begun.", func(m *forstfs.Metrics) int64 { return m.Cache.Fetches }),
	counter("forst_cache_fetched_bytes_total", "Bytes that arrived.", func(m *forstfs.Metrics) int64 { return m.Cache.FetchedBytes }),
	counter("forst_cache_fetch_errors_total", "GETs that failed, or gave less than they promised.", func(m *forstfs.Metrics) int64 { return m.Cache.FetchErrors }),
	counter("forst_cache_abandoned_total", "GETs broken off because every reader had left.", func(m *forstfs.Metrics) int64 { return m.Cache.Abandoned }),
	counter("forst_cache_memory_evicted_total", "Blocks that made room for others.", func(m *forstfs.Metrics) int64 { return m.Cache.Evicted }),
	counter("forst_cache_memory_dropped_total", "Blocks that went with their object.", func(m *forstfs.Metrics) int64 { return m.Cache.Dropped }),
	counter("forst_cache_unstored_total", "Blocks served without being kept.", func(m *forstfs.Metrics) int64 { return m.Cache.Unstored }),
	counter("forst_cache_refused_total", "Background fetches not begun because too many were under way.", func(m *forstfs.Metrics) int64 { return m.Cache.Refused }),
	counter("forst_cache_promoted_total", "Blocks that moved up from disk into memory.", func(m *forstfs.Metrics) int64 { return m.Cache.Promoted }),
	counter("forst_cache_memory_verify_failures_total", "Blocks in memory whose checksum did not match.", func(m *forstfs.Metrics) int64 { return m.Cache.VerifyFailures }),

	gauge("forst_cache_disk_limit_bytes", "The most that the cache takes on the disk.", func(m *forstfs.Metrics) int64 { return m.Cache.Disk.Limit }),
	gauge("forst_cache_disk_capacity_bytes", "What its files take.", func(m *forstfs.Metrics) int64 { return m.Cache.Disk.Capacity }),
	gauge("forst_cache_disk_used_bytes", "Bytes of blocks in it.", func(m *forstfs.Metrics) int64 { return m.Cache.Disk.Used }),
	gauge("forst_cache_disk_blocks", "Blocks in it.", func(m *forstfs.Metrics) int64 { return m.Cache.Disk.Blocks }),
	gauge("forst_cache_disk_pinned_blocks", "Of these, those of volumes that are local only.", func(m *forstfs.Metrics) int64 { return m.Cache.Disk.Pinned }),
	gauge("forst_cache_disk_objects", "Objects with a block in it.", func(m *forstfs.Metrics) int64 { return m.Cache.Disk.Objects }),
	counter("forst_cache_disk_reads_total", "Blocks read from it.", func(m *forstfs.Metrics) int64 { return m.Cache.Disk.Hits }),
	counter("forst_cache_disk_read_bytes_total", "Bytes read from them.", func(m *forstfs.Metrics) int64 { return m.Cache.Disk.HitBytes }),
	counter("forst_cache_disk_read_misses_total", "Reads that found nothing, or nothing that could be trusted.", func(m *forstfs.Metrics) int64 { return m.Cache.Disk.Misses }),
	counter("forst_cache_disk_written_total", "Blocks written.", func(m *forstfs.Metrics) int64 { return m.Cache.Disk.Written }),
	counter("forst_cache_disk_written_bytes_total", "Their bytes.", func(m *forstfs.Metrics) int64 { return m.Cache.Disk.WrittenBytes }),
	counter("forst_cache_disk_passed_over_total", "Blocks not written: a full cache was offered them for the first time.", func(m *forstfs.Metrics) int64 { return m.Cache.Disk.PassedOver }),
	counter("forst_cache_disk_declined_total", "Blocks not written: the buffer was full, the disk bypassed, or every slot in use.", func(m *forstfs.Metrics) int64 { return m.Cache.Disk.Declined }),
	counter("forst_cache_disk_evicted_total", "Blocks that made room for others.", func(m *forstfs.Metrics) int64 { return m.Cache.Disk.Evicted }),
	counter("forst_cache_disk_dropped_total", "Blocks that went with their object.", func(m *forstfs.Metrics) int64 { return m.Cache.Disk.Dropped }),
	counter("forst_cache_disk_loaded_total", "Blocks found when the directory was opened.", func(m *forstfs.Metrics) int64 { return m.Cache.Disk.Loaded }),
	counter("forst_cache_disk_damaged_total", "Records and segments that could not be trusted when it was opened.", func(m *forstfs.Metrics) int64 { return m.Cache.Disk.Damaged }),
	counter("forst_cache_disk_verify_failures_total", "Blocks whose checksum did not match.", func(m *forstfs.Metrics) int64 { return m.Cache.Disk.VerifyFailures }),
	counter("forst_cache_disk_read_errors_total", "Reads that failed.", func(m *forstfs.Metrics) int64 { return m.Cache.Disk.ReadErrors }),
	counter("forst_cache_disk_write_errors_total", "Writes that failed.", func(m *forstfs.Metrics) int64 { return m.Cache.Disk.WriteErrors }),
	counter("forst_cache_disk_grow_errors_total", "Times that the cache could not grow: an error, or no room beside the reserve.", func(m *forstfs.Metrics) int64 { return m.Cache.Disk.GrowErrors }),
	counter("forst_cache_disk_shrunk_total", "Segments given back.", func(m *forstfs.Metrics) int64 { return m.Cache.Disk.Shrunk }),
	counter("forst_cache_disk_bypasses_total", "Times that the disk was given up.", func(m *forstfs.Metrics) int64 { return m.Cache.Disk.Bypasses }),
	gauge("forst_cache_disk_bypassed", "1 while the disk fails and is not used.", func(m *forstfs.Metrics) int { return oneIf(m.Cache.Disk.Bypassed) }),

	gauge("forst_volume_files", "Files.", func(m *forstfs.Metrics) int { return m.Namespace.Files }),
	gauge("forst_volume_directories", "Directories.", func(m *forstfs.Metrics) int { return m.Namespace.Dirs }),
	gauge("forst_volume_names", "Names of files.", func(m *forstfs.Metrics) int { return m.Namespace.Names }),
	gauge("forst_volume_extents", "Extents of files.", func(m *forstfs.Metrics) int { return m.Namespace.Extents }),
	gauge("forst_volume_containers", "Objects and frames that files need.", func(m *forstfs.Metrics) int { return m.Namespace.Containers }),
	gauge("forst_volume_snapshots", "Snapshots.", func(m *forstfs.Metrics) int { return m.Namespace.Snapshots }),
	gauge("forst_volume_file_bytes", "Sum of the sizes of files.", func(m *forstfs.Metrics) int64 { return m.Namespace.Bytes }),
	gauge("forst_volume_inline_bytes", "Of these, in the journal.", func(m *forstfs.Metrics) int64 { return m.Namespace.InlineBytes }),
	gauge("forst_upload_memory_bytes", "Bytes of bulk files that are not in the store yet.", func(m *forstfs.Metrics) int64 { return m.UploadMemory }),
	gauge("forst_readahead_memory_bytes", "Bytes read ahead.", func(m *forstfs.Metrics) int64 { return m.AheadMemory }),
	counter("forst_foreground_gets_total", "GETs for which a read of a file waited.", func(m *forstfs.Metrics) int64 { return m.ForegroundGETs }),
	gauge("forst_pending_deletes", "Unreachable objects that are still in the store.", func(m *forstfs.Metrics) int { return m.PendingDeletes }),
	counter("forst_deleted_objects_total", "Objects deleted.", func(m *forstfs.Metrics) int64 { return m.Deleted }),
	{"forst_ledger_bytes", "Bytes in the store, by what needs them.", prometheus.GaugeValue, []string{"kind"}, func(m *forstfs.Metrics, emit emit) {
		l := m.Ledger
		emit(float64(l.Live), "live")
		emit(float64(l.Shared), "shared")
		emit(float64(l.Snapshots), "snapshots")
		emit(float64(l.Garbage), "garbage")
		emit(float64(l.Dead), "dead")
		emit(float64(l.Borrowed), "borrowed")
		emit(float64(l.Inline), "inline")
	}},
	{"forst_staleness_seconds", "Time since the last successful refresh of a follower began.", prometheus.GaugeValue, nil, func(m *forstfs.Metrics, emit emit) {
		emit(m.Staleness.Seconds())
	}},

	counter("forst_hedge_gets_total", "GETs that could be hedged.", func(m *forstfs.Metrics) int64 { return m.Hedge.GETs }),
	counter("forst_hedge_sent_total", "GETs sent a second time.", func(m *forstfs.Metrics) int64 { return m.Hedge.Hedged }),
	counter("forst_hedge_won_total", "Of these, those that answered first.", func(m *forstfs.Metrics) int64 { return m.Hedge.Won }),
	counter("forst_hedge_denied_total", "Slow GETs that were not sent again.", func(m *forstfs.Metrics) int64 { return m.Hedge.Denied }),
	counter("forst_hedge_pauses_total", "Times that the store asked for a rest.", func(m *forstfs.Metrics) int64 { return m.Hedge.Pauses }),
	{"forst_hedge_delay_seconds", "Time after which a GET is sent again now.", prometheus.GaugeValue, nil, func(m *forstfs.Metrics, emit emit) {
		emit(m.Hedge.Delay.Seconds())
	}},

	gauge("forst_local_files", "Files whose bytes are on the local disk.", func(m *forstfs.Metrics) int { return m.Local.Files }),
	gauge("forst_local_bytes", "Their bytes.", func(m *forstfs.Metrics) int64 { return m.Local.Bytes }),
	gauge("forst_local_lag_bytes", "Acknowledged bytes of logs that the store has not yet.", func(m *forstfs.Metrics) int64 { return m.Local.LagBytes }),
	{"forst_local_lag_seconds", "How long ago the oldest of them was acknowledged.", prometheus.GaugeValue, nil, func(m *forstfs.Metrics, emit emit) {
		emit(m.Local.Lag.Seconds())
	}},
	counter("forst_local_lag_waits_total", "Syncs that waited for the store because too much was missing there.", func(m *forstfs.Metrics) int64 { return m.Local.LagWaits }),
}

func oneIf(b bool) int {
	if b {
		return 1
	}
	return 0
}
