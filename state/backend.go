package state

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
)

// Backend is the state of one instance of a job: the keys of a range of key groups. All methods may be called from many goroutines.
type Backend struct {
	o      *Options
	root   driver.Store
	memory *Memory
	own    bool // memory is closed with the backend
	shards []*shard
	route  []*shard // by key group, from o.Keys.Lo on
	core   *core
	bases  bases

	restored Checkpoint
	found    bool // by Open: the shards are assigned already

	mu      sync.Mutex
	states  map[string]*keyed // declared states
	list    []*keyed          // in the order of their declaration
	closing bool

	alive context.Context // until Close
	end   context.CancelCauseFunc

	cut    chan struct{}                      // taken between seal and capture of a snapshot, and by a compaction of the sweep, which flushes
	want   atomic.Int64                       // snapshots that wait for cut
	yield  atomic.Pointer[context.CancelFunc] // makes a compaction give cut up
	snaps  snapshots
	sweep  sweeper
	joins  joins
	closed sync.Once
	err    error

	life sync.RWMutex // held while databases are looked at from outside of requests
	gone bool         // they are closed
}

// Create makes a backend without any state, in shards of its own below root. Without Durable, a job that is to begin again where it
// was uses Restore.
func Create(ctx context.Context, root driver.Store, o *Options) (*Backend, error) {
	return open(ctx, root, o, func(b *Backend) error {
		name := b.newShard()
		vol, err := b.openVolume(ctx, name, forstfs.CreateNew)
		if err != nil {
			return err
		}
		sh, err := openShard(0, name, b.o.Keys, vol, b.o, b.memory)
		return b.addParts([]*part{{name: name, keys: b.o.Keys, shard: sh, err: err}})
	})
}

// open makes a backend whose shards fill adds.
func open(ctx context.Context, root driver.Store, o *Options, fill func(*Backend) error) (_ *Backend, err error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	b := &Backend{o: o.EnsureDefaults(), root: root, states: map[string]*keyed{}, cut: make(chan struct{}, 1)}
	b.alive, b.end = context.WithCancelCause(context.Background())
	b.joins.init()
	if b.memory = b.o.Memory; b.memory == nil {
		if b.memory, err = NewMemory(256 << 20); err != nil {
			return nil, err
		}
		b.own = true
	}
	b.route = make([]*shard, b.o.Keys.Hi-b.o.Keys.Lo)
	if err := fill(b); err != nil {
		return nil, errors.Join(err, b.closeShards())
	}
	for g, s := range b.route {
		if s == nil {
			return nil, errors.Join(fmt.Errorf("%w: nothing covers key group %d", ErrNoCheckpoint, b.o.Keys.Lo+g), b.closeShards())
		}
	}
	if !b.found {
		if err := b.assign(ctx); err != nil {
			return nil, errors.Join(err, b.closeShards())
		}
	}
	b.core = newCore(b.o)
	b.sweep.start(b)
	b.consolidateLater()
	return b, nil
}

func newName() string {
	var p [8]byte
	rand.Read(p[:])
	return hex.EncodeToString(p[:])
}

// newShard names a shard after its run, so that Clean can tell whose it is.
func (b *Backend) newShard() string { return b.o.Run + "-" + newName() }

func shardPrefix(name string) string { return "shard/" + name + "/" }

func (b *Backend) openVolume(ctx context.Context, name string, mode forstfs.CreateMode) (*forstfs.FS, error) {
	return forstfs.Open(ctx, below(b.root, shardPrefix(name)), b.volumeOptions(name, mode))
}

func (b *Backend) volumeOptions(name string, mode forstfs.CreateMode) *forstfs.Options {
	var vo forstfs.Options
	if b.o.Volume != nil {
		vo = *b.o.Volume
	}
	vo.Create, vo.Name, vo.Cache, vo.OpenStore = mode, "shard "+name, b.memory.blocks, siblings(b.root)
	vo.SkipProbe = true // the root was probed when its first volume was made, or is by the caller; a probe for each shard would be 12 requests
	return &vo
}

// Keys is the range of key groups of the backend.
func (b *Backend) Keys() KeyGroups { return b.o.Keys }

// Close refuses new requests, lets those that were admitted finish, waits for snapshots under way, gives a Consolidate up, and closes the databases and volumes. When
// it has returned, nothing of the backend is running. State that is in no snapshot is gone, unless the backend is Durable.
func (b *Backend) Close() error {
	b.closed.Do(func() {
		b.mu.Lock()
		b.closing = true
		b.mu.Unlock()
		b.end(ErrClosed)
		b.sweep.stop()
		b.core.close()
		b.snaps.wait()
		b.life.Lock()
		defer b.life.Unlock()
		b.gone = true
		b.err = b.closeShards()
	})
	return b.err
}

func (b *Backend) closeShards() error {
	b.end(ErrClosed)
	errs := []error{b.bases.close()}
	if b.own {
		errs = append(errs, b.memory.Close())
	}
	return errors.Join(errs...)
}

// find gives the shard of a key.
func (b *Backend) find(key []byte) (group int, s *shard, err error) {
	group = KeyGroup(key, b.o.Keys.Max)
	if !b.o.Keys.Contains(group) {
		return 0, nil, fmt.Errorf("%w: key group %d is not in %v", ErrNotMine, group, b.o.Keys)
	}
	return group, b.route[group-b.o.Keys.Lo], nil
}

func (b *Backend) now() int64 { return b.o.Clock().UnixMilli() }

func sprintf(format string, args ...any) string { return fmt.Sprintf(format, args...) }
