package state

import (
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/forst-go/forst/forstfs"
)

// Options of a backend. The zero value and nil are ready to use.
type Options struct {
	// Keys is the range of key groups that this backend owns; the zero value is all groups of DefaultMaxParallelism. See Instance.
	Keys KeyGroups
	// Run tells the attempts of a job apart: all instances of one attempt have the same, each attempt has a new one. Only records of one run make a
	// checkpoint together. A job with one instance needs none. It consists of letters, digits, '-', '_' and '.'.
	Run string
	// RestoreRun chooses among the runs that have the checkpoint that Restore is asked for; empty if only one has.
	RestoreRun string
	// Durable keeps a WAL: a call that returned nil is in the store. Otherwise state is durable in snapshots. With a Name, Open finds the backend again; names are
	// unique below a root.
	Durable bool
	Name    string

	// KeepLast and KeepFor remove this run's older checkpoints by themselves, each time a snapshot of this backend was committed, as Subsume does: the last KeepLast
	// complete ones and those younger than KeepFor stay. With both 0 nothing is removed; the newest complete one always stays. It costs a LIST and a
	// GET for each record.
	KeepLast int
	KeepFor  time.Duration

	// InFlight is the number of requests that are admitted at the same time; further callers wait. 0 means 6000.
	InFlight int
	// Active is the number of requests that may be with the executors. 0 means 1000.
	Active int
	// Batch is the number of requests that an executor takes at once. 0 means 1000.
	Batch int
	// FlushTimeout is how long a batch may wait to become full. 0: not at all, an executor takes what is there.
	FlushTimeout time.Duration
	// BatchBytes bounds one write to the engine, in bytes of keys and values, but for a single larger request. 0 means 2 MiB.
	BatchBytes int
	// ReadExecutors take batches of reads; 0 means 3. MaxReads is how many reads may be in flight beside them when they go to the
	// store; 0 means 1000, negative none.
	ReadExecutors, MaxReads int
	// WriteExecutors take batches of writes; 0 means 1.
	WriteExecutors int
	// Page is the number of entries that an iterator fetches at once. 0 means 128.
	Page int

	// Memory is shared by the backends of a process; nil means one of 256 MiB for this backend alone.
	Memory *Memory

	// SweepEvery is the time between two steps of the removal of expired records, SweepStep the number of records of a step. 0 means 1 s and
	// 1000; a negative SweepEvery means that only Sweep removes.
	SweepEvery time.Duration
	SweepStep  int

	// ConsolidateAfter calls Consolidate so long after the backend was restored or opened, and again after as long when it failed (see EventListener). 0 means
	// that only the method does.
	ConsolidateAfter time.Duration

	// Clock is what TTLs go by; default time.Now.
	Clock  func() time.Time
	Logger *slog.Logger // default: none
	// Listener is told what an operator wants to know.
	Listener *EventListener
	// Volume are options for the volumes of shards; Create, Name, Cache, OpenStore and SkipProbe are the backend's. Everything of a shard lives in its volume: no LocalDir.
	Volume *forstfs.Options
	// Engine may change the options of the databases before they are opened. FS, Merger, Comparer, DisableWAL and EventListener.FlushEnd
	// are the backend's.
	Engine func(*pebble.Options)
}

// EnsureDefaults returns a copy with every default filled in.
func (o *Options) EnsureDefaults() *Options {
	var d Options
	if o != nil {
		d = *o
	}
	d.Keys = d.Keys.orDefault()
	def(&d.InFlight, 6000)
	def(&d.Active, 1000)
	def(&d.Batch, 1000)
	def(&d.BatchBytes, 2<<20)
	def(&d.ReadExecutors, 3)
	def(&d.MaxReads, 1000)
	d.MaxReads = max(d.MaxReads, 0)
	def(&d.WriteExecutors, 1)
	def(&d.Page, 128)
	def(&d.SweepEvery, time.Second)
	def(&d.SweepStep, 1000)
	if d.Clock == nil {
		d.Clock = time.Now
	}
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	if d.Listener == nil {
		d.Listener = &EventListener{}
	}
	return &d
}

func def[T int | time.Duration](p *T, v T) {
	if *p == 0 {
		*p = v
	}
}

// Validate reports options that make no sense.
func (o *Options) Validate() error {
	if o == nil {
		return nil
	}
	if o.Keys != (KeyGroups{}) {
		if err := o.Keys.validate(); err != nil {
			return fmt.Errorf("Options.Keys: %w", err)
		}
	}
	if o.Volume != nil && o.Volume.LocalDir != "" {
		return fmt.Errorf("Options.Volume.LocalDir: shards are volumes of their own and cannot share a local directory")
	}
	if !plainName(o.Run) || !plainName(o.Name) || o.Run == "_" {
		return fmt.Errorf("Options.Run %q, Options.Name %q: only letters, digits, '-', '_' and '.', and not \"_\" alone", o.Run, o.Name)
	}
	if o.InFlight < 0 || o.Active < 0 || o.Batch < 0 || o.FlushTimeout < 0 || o.BatchBytes < 0 || o.ReadExecutors < 0 || o.WriteExecutors < 0 || o.Page < 0 || o.SweepStep < 0 || o.KeepLast < 0 || o.KeepFor < 0 || o.ConsolidateAfter < 0 {
		return fmt.Errorf("Options: limits and sizes must not be negative")
	}
	return nil
}

// plainName: names become parts of keys in the store.
func plainName(s string) bool {
	return len(s) <= 200 && s == strings.Trim(s, ".") && !strings.ContainsFunc(s, func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.')
	})
}

// EventListener is told what an operator wants to know. Functions may be nil, must return soon and must not call the backend.
type EventListener struct {
	// Snapshot is called when a snapshot has been committed or has failed.
	Snapshot func(id uint64, s SnapshotStats, err error)
	// Swept is called after a full round of the removal of expired records.
	Swept func(s SweepStats)
	// Consolidating is called from time to time while Consolidate copies, and Consolidated when it has ended.
	Consolidating func(s ConsolidateStats)
	Consolidated  func(s ConsolidateStats, err error)
	// Failed is called when something in the background failed; the backend goes on.
	Failed func(what string, err error)
}
