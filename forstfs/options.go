package forstfs

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/forst-go/forst/cache"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/hedge"
)

// CreateMode says what Open does when the store holds no volume, or holds one.
type CreateMode uint8

const (
	MustExist       CreateMode = iota // an absent volume is ErrNoVolume; the default, so that a typo never makes a new one
	CreateIfMissing                   // make a volume where nothing is; refuse a prefix that holds anything else
	CreateNew                         // an existing volume is ErrExists
)

// DirSyncMode says when Sync of a directory returns.
type DirSyncMode uint8

const (
	// Durable waits until everything issued before is in the store.
	Durable DirSyncMode = iota
	// Ordered returns at once. The journal is one total order, so whatever is made durable later carries what was issued before
	// it: a WAL sync that names a file implies the file's name. It saves one round trip for each flush and each WAL rotation.
	// What changes: after Ordered directory syncs alone (without a later Sync of a file, FS.Sync or Close) a crash may take back
	// the newest names. Pebble's commit, flush and compaction still rest on a later MANIFEST or WAL sync. What an engine's own
	// Ingest or Checkpoint promises on return rests on FS.Sync. It applies only to directories whose lock this process holds.
	Ordered
)

// CacheMode says what the cache of a volume is for.
type CacheMode uint8

const (
	// CacheNormal caches what is read and written, as far as there is room.
	CacheNormal CacheMode = iota
	// CacheLocalOnly keeps all of the volume on the local disk of CacheDir: Open fetches what is missing before it returns, nothing of the volume is
	// evicted, and no read waits for the store; Metrics.ForegroundGETs proves it. What does not fit is refused: Open and writes of bulk files
	// fail with ErrCacheFull. Only a failing or full disk makes reads go to the store; then what is missing is fetched again
	// as soon as the disk allows.
	CacheLocalOnly
	// CacheOff keeps nothing but what a single read needs.
	CacheOff
)

// Options change how a volume is opened. The zero value and nil are ready to use.
type Options struct {
	// Name is what messages call the volume: its URL without secrets. Default: the store's name.
	Name   string
	Create CreateMode
	// Force goes on when another process is seen taking the volume over at the same time (otherwise ErrBusy).
	Force bool
	// BusyWait makes Open watch the journal this long and refuse with ErrBusy when it moves. 0: take over at once.
	BusyWait time.Duration

	DirSync DirSyncMode

	// Placement says which classes of files live on the local disk, in LocalDir: a directory for this volume alone, made if it is missing. The volume remembers it
	// and is not opened without it, unless AcceptLoss says so. A read-only volume does not use it.
	Placement Placement
	LocalDir  string
	// MaxLag, with a WAL on the local disk, makes its bytes follow into the volume: Sync returns when they are on the disk, but waits while anything that an earlier Sync
	// acknowledged more than MaxLag ago has not reached the volume. 0: nothing follows.
	MaxLag time.Duration
	// FenceCheck is how often a writer whose logs are on the local disk alone writes a frame that nobody asked for, so that it learns when another
	// process has taken the volume over: Sync of its logs fails then, as all else does. It costs a PUT, and only when such a Sync was acknowledged since, and no
	// frame. 0 means 10 s, negative: it learns at its next frame.
	FenceCheck time.Duration
	// AcceptLoss opens a volume without the local directory that it was written with. What was only there is given up for good; a read-only volume just
	// shows what is in the volume.
	AcceptLoss bool

	// CacheMode says what the cache is for: see the modes. docs/cache.md tells how to choose.
	CacheMode CacheMode
	// CacheDir is a local directory for the cache's tier on disk, for caches alone; it is made if need be, and warm after a restart.
	// Volumes of one Shared that name the same directory have one cache with one budget; those of another process get
	// ErrCacheBusy. Empty: no tier on disk.
	CacheDir string
	// CacheDiskBytes is the most that the cache takes on the disk, and CacheReserve what it leaves free there: the smaller limit wins. 0 means 10 GiB and
	// 1 GiB; a negative reserve means none.
	CacheDiskBytes int64
	CacheReserve   int64
	// CacheBytes is the size of the memory cache, in bytes; 0 means 128 MiB, negative means off. Without CacheDir, a volume with a CacheBytes of its own
	// has a cache of its own.
	CacheBytes int64
	// Cache is shared with other volumes of the process; it replaces the settings above but CacheMode and is not closed with the volume.
	Cache *cache.Cache
	// Shared is what this volume shares with others of the process: one cache and one budget of memory and requests. nil: it shares nothing.
	Shared *Shared

	// Hedge, if set, sends a slow GET that a read waits for a second time, within a budget; see package hedge. The zero value of hedge.Options is a good
	// setting for S3.
	Hedge *hedge.Options

	// ObjectSize is the size of a data object in bytes; 0 means what the store prefers. Bigger files get bigger objects.
	ObjectSize int64
	// MaxInflight is the number of data objects kept in memory while they are written and uploaded. 0 means 8.
	MaxInflight int
	// FrameLimit is the largest journal frame in bytes but for single large operations. 0 means 4 MiB.
	FrameLimit int
	// FlushDelay is how long an operation that nobody waits for may stay in memory. 0 means 1 s, negative: until the next sync.
	FlushDelay time.Duration
	// RetryBudget is how long the store may fail before the volume fails. 0 means 5 minutes. A store that does not answer at all is given twice as long, at least 5 s.
	RetryBudget time.Duration

	// ImageFrames and ImageBytes bound the journal: when as many frames or bytes follow the last image, live bytes are packed
	// and a new image is written. 0 means 1,000 frames, 64 MiB.
	ImageFrames int
	ImageBytes  int64

	// OpenStore opens the store of a volume that this one borrows from: a clone reads the bytes of its source where they are. It is given
	// the location that the clone recorded: a URL, or a reference relative to this volume's own place ("../prod"). The store must read, and,
	// to give holds back, put and delete. forst.Open sets it; without it a clone's borrowed bytes cannot be read.
	OpenStore func(ctx context.Context, location string) (driver.Store, error)

	// Snapshot makes OpenReadOnly show this snapshot, by name or id, in place of the volume as it is now.
	Snapshot string
	// Restore makes Open go back to this snapshot, by name or id: FS.Restore without a round trip of its own. Open returns when the names are what the snapshot holds;
	// the first call that makes anything durable makes this durable, too, and after a crash before it the volume is as it was. A snapshot that is not there is
	// ErrNoSnapshot, and then nobody is fenced.
	Restore string
	// MaxStaleness bounds how old the state of a read-only volume may be when names or bytes are read: if it is older, it is refreshed
	// first (a GET and a LIST), and if that fails, so does the call. 0: it changes only by Refresh.
	MaxStaleness time.Duration
	// RequestInterval is how often a writer looks for requests of other processes and for expired snapshots, besides when it
	// writes an image: one LIST. 0 means 10 minutes, negative: only with images.
	RequestInterval time.Duration

	// SkipProbe leaves out the probe of the store when a volume is created.
	SkipProbe bool

	Logger   *slog.Logger
	Listener *EventListener
	Clock    func() time.Time // times of change of files; default time.Now
	Nonce    func() uint64    // default crypto/rand
}

// EnsureDefaults returns a copy with every default filled in.
func (o *Options) EnsureDefaults() *Options {
	var d Options
	if o != nil {
		d = *o
	}
	def(&d.MaxInflight, 8)
	def(&d.FrameLimit, 4<<20)
	def(&d.FlushDelay, time.Second)
	def(&d.RetryBudget, 5*time.Minute)
	def(&d.ImageFrames, 1000)
	def(&d.ImageBytes, 64<<20)
	def(&d.RequestInterval, errandTime)
	def(&d.FenceCheck, 10*time.Second)
	if d.MaxLag > 0 && (d.FlushDelay < 0 || d.FlushDelay > d.MaxLag/4) {
		d.FlushDelay = d.MaxLag / 4 // what follows sets out by itself
	}
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	if d.Clock == nil {
		d.Clock = time.Now
	}
	return &d
}

func def[T int | int64 | time.Duration](p *T, v T) {
	if *p == 0 {
		*p = v
	}
}

// Validate reports options that contradict each other or make no sense.
func (o *Options) Validate() error {
	if o == nil {
		return nil
	}
	switch {
	case o.Create > CreateNew:
		return fmt.Errorf("Options.Create: unknown mode %d", o.Create)
	case o.DirSync > Ordered:
		return fmt.Errorf("Options.DirSync: unknown mode %d", o.DirSync)
	case o.CacheMode > CacheOff:
		return fmt.Errorf("Options.CacheMode: unknown mode %d", o.CacheMode)
	case o.CacheMode == CacheLocalOnly && o.CacheDir == "" && o.Cache == nil:
		return fmt.Errorf("Options.CacheMode LocalOnly keeps the volume on a local disk: set CacheDir")
	case o.CacheDir != "" && o.CacheBytes < 0:
		return fmt.Errorf("Options.CacheBytes: a cache on disk needs some memory, too: leave it 0 or give it a positive number")
	case o.CacheDiskBytes < 0:
		return fmt.Errorf("Options.CacheDiskBytes: %d bytes; give a positive number, or 0 for 10 GiB", o.CacheDiskBytes)
	case o.ObjectSize < 0 || o.ObjectSize > 0 && o.ObjectSize < 4096:
		return fmt.Errorf("Options.ObjectSize: %d bytes; at least 4096, or 0 for the store's own", o.ObjectSize)
	case o.MaxInflight < 0 || o.FrameLimit < 0 || o.FrameLimit > 1<<30 || o.ImageFrames < 0 || o.ImageBytes < 0 || o.RetryBudget < 0 || o.BusyWait < 0 || o.MaxStaleness < 0:
		return fmt.Errorf("Options: MaxInflight, FrameLimit (up to 1 GiB), ImageFrames, ImageBytes, RetryBudget, BusyWait and MaxStaleness must not be negative")
	}
	return o.validatePlacement()
}

// CreateOptions change FS.Create and FS.ReuseForWrite.
type CreateOptions struct {
	Class    Class  // ClassAuto: by name
	Category string // the engine's reason for writing, for metrics: "pebble-memtable-flush", "pebble-compaction", ...

	site site // where the file is put, if not where the table says
}

// Access is how a handle is going to be read.
type Access uint8

const (
	AccessDefault    Access = iota // reads ahead once reads turn out to be sequential
	AccessRandom                   // point reads: exactly what is asked for, through the cache
	AccessSequential               // one pass: large ranges ahead, leaves the cache as it is
)

// OpenOptions change FS.Open.
type OpenOptions struct{ Access Access }

// EventListener is told what an operator wants to know. Functions may be nil; they are called from the volume's own goroutines
// and must return soon. None is called while a lock is held.
type EventListener struct {
	// Failed is called once, when the volume has failed or was fenced.
	Failed func(err error)
	// Damaged is called when damaged bytes were found and could be worked around: an image, for example.
	Damaged func(what string, err error)
	// Image is called after an image was written: frames up to number are in it.
	Image func(number uint64, bytes int64)
	// Deleted is called after unreachable objects were deleted.
	Deleted func(objects int)
	// CacheDisk is called when the disk of the cache directory is bypassed because of errors, err being the last one, and when it is
	// used again (nil). Reads go to the store meanwhile.
	CacheDisk func(dir string, err error)
	// CacheShrunk is called when the cache has given space back to a full disk: so many bytes of files, and as many are left.
	CacheShrunk func(dir string, given, left int64)
	// Retrying is called when a request to the store failed and is tried again.
	Retrying func(what string, attempt int, err error)
}
