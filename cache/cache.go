// Package cache keeps blocks of immutable objects close to their readers.
//
// An object never changes and its ID is never used for other bytes, so nothing in the cache is ever invalidated: a block
// is right, or it is not there. What can go wrong is therefore short to list, and each point has its test: a slot that is
// refilled while somebody still copies from it, a short answer of the store taken for a block, a block of a coalesced
// read stored under its neighbour's number, a fetch that brings a dropped object back, a flipped bit.
//
// A read looks into the memory tier, then into the disk tier if there is one (package disk), then into the store. What
// is fetched or written through goes to both; what is found on disk moves up into memory at its second use.
//
// The memory tier is an arena outside the Go heap, cut into slots of one block each. The index is sharded; each shard
// owns its slots and follows S3-FIFO: a small probationary queue, a main queue, and a ghost queue of the hashes of blocks
// that left the small one unused. A scan passes through the small queue and leaves the main queue alone.
//
// A miss becomes a flight: one ranged GET for a run of adjacent missing blocks. Everybody who wants one of its blocks
// joins it; each gets its bytes as soon as they have arrived, whatever else the flight still fetches, and may leave at
// any time without harming the others.
//
// The cache is never the only place of a byte: losing all of it costs time and nothing else.
package cache

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/forst-go/forst/cache/disk"
)

// Kinds of objects.
const (
	KindObject uint8 = 1 // a data object
	KindFrame  uint8 = 2 // a frame of the journal
)

// ID names an immutable object. Two objects with different bytes never have the same ID: the volume is the owner of the
// object, the nonce is its writer's, and a frame carries its CRC, so that a late frame under a reused number has an ID
// of its own.
type ID struct {
	Volume [16]byte
	Epoch  uint64
	Nonce  uint64
	Num    uint64 // counter of the data object or number of the frame
	Kind   uint8  // KindObject or KindFrame
	CRC    uint32 // frames only
}

// String gives the ID in the order of the object's key.
func (id ID) String() string {
	kind := "object"
	if id.Kind == KindFrame {
		kind = "frame"
	}
	return fmt.Sprintf("%s %x/%08x-%016x-%08x", kind, id.Volume[:], id.Epoch, id.Nonce, id.Num)
}

// hash spreads IDs over tables and shards. Nonces are random, so it need not be strong.
func (id *ID) hash() uint64 {
	h := mum(id.Nonce^0x9e3779b97f4a7c15, id.Num^0xd6e8feb86659fd93)
	v := binary.LittleEndian.Uint64(id.Volume[:8]) ^ bits.RotateLeft64(binary.LittleEndian.Uint64(id.Volume[8:]), 31)
	return mum(h^v, id.Epoch^uint64(id.CRC)<<32^uint64(id.Kind)<<24^0xa0761d6478bd642f)
}

func mum(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// Source reads one object from its store.
type Source interface {
	// Fetch makes one ranged request for the bytes [off, off+n) of the object. The reader gives exactly n bytes and then
	// io.EOF, or an error. Fetch and the reader must return soon after ctx has ended. Several Fetches may run at once.
	Fetch(ctx context.Context, off, n int64) (io.ReadCloser, error)
}

// Object is what a reader of an object must know. The cache copies it and keeps Source only while a fetch is under way.
type Object struct {
	ID     ID
	Size   int64 // bytes of the whole object
	Source Source

	// Tail is how many bytes before a miss with the hint Tail are fetched with it; 0 means Options.TailSize.
	Tail int64
}

// Hint says how the caller reads.
type Hint uint8

// Hints.
const (
	Random     Hint = iota // blocks that miss are kept; while the cache has room, what follows them is fetched, too
	Sequential             // neither keeps what misses nor promotes what hits: compactions and long scans
	Tail                   // as Random, and what precedes the blocks is fetched with them: the first read of an SST
	Exact                  // as Random, but only what is wanted is fetched, however much room there is
	numHints
)

// Reason says what a read or an insert is for, in the metrics.
type Reason uint8

// Reasons.
const (
	ReasonRead       Reason = iota // a point read
	ReasonScan                     // an iterator
	ReasonCompaction               // a compaction's input
	ReasonPrefetch                 // Prefetch
	ReasonWrite                    // the write-through of a new object
	ReasonOther                    // anything else: open, pack, tools
	numReasons
)

var reasonNames = [numReasons]string{"read", "scan", "compaction", "prefetch", "write", "other"}

// String gives the name that the metrics use.
func (r Reason) String() string { return reasonNames[r.index()] }

func (r Reason) index() Reason { return min(r, ReasonOther) }

// ErrClosed is returned by reads that begin after Close, and by those that Close interrupts. It matches fs.ErrClosed.
var ErrClosed = fmt.Errorf("block cache: %w", fs.ErrClosed)

// Cache is a block cache. All methods may be called from many goroutines at once.
type Cache struct {
	o      Options
	slots  *slots     // nil if the memory tier is off
	shards []*shard   // a power of two, or none
	disk   *disk.Tier // nil if there is no disk tier
	tables [tableCount]table
	serial atomic.Uint64

	root       context.Context // ends when Close begins
	stop       context.CancelFunc
	closed     atomic.Bool
	closeOnce  sync.Once
	closeErr   error
	flights    sync.WaitGroup
	background atomic.Int64 // flights that nobody need wait for

	m         counters
	scratches sync.Pool // *[]byte of one block, for what is served without being stored
	copying   func()    // tests only: called while a reader copies from a slot
}

// New makes a cache of its own memory and opens its directory, if it has one: disk.ErrLocked means that somebody else
// uses that. A nil o means the defaults. The caller must Close it.
func New(o *Options) (*Cache, error) {
	opts, err := o.complete()
	if err != nil {
		return nil, err
	}
	c := &Cache{o: opts}
	c.root, c.stop = context.WithCancel(context.Background())
	for i := range c.tables {
		c.tables[i].objects = make(map[ID]*object)
	}
	if opts.Memory > 0 {
		if err := c.makeShards(int(opts.Memory / int64(opts.BlockSize))); err != nil {
			c.stop()
			return nil, err
		}
	}
	if opts.Disk.Dir != "" {
		if c.disk, err = disk.Open(&opts.Disk); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	return c, nil
}

// makeShards cuts the memory into shards of at least 512 blocks, so that an uneven hash costs no hits, and at most 64.
func (c *Cache) makeShards(blocks int) error {
	count := 1
	for count < 64 && blocks/(2*count) >= 512 {
		count *= 2
	}
	each := max(blocks/count, minShard)
	s, err := newSlots(each*count, c.o.BlockSize)
	if err != nil {
		return err
	}
	c.slots = s
	for i := range count {
		c.shards = append(c.shards, newShard(s, i*each, each, c.o.Disk.Dir != ""))
	}
	return nil
}

// off reports whether there is no memory tier.
func (c *Cache) off() bool { return c.slots == nil }

// blockHash is the ghost's name of a block, made of its object's hash; its upper bits choose the shard.
func blockHash(object uint64, block uint32) uint64 {
	return mum(object^uint64(block)*0x9e3779b97f4a7c15, 0xe7037ed1a0b428db^uint64(block))
}

func (c *Cache) shardOf(o *object, block uint32) *shard { return c.shardAt(blockHash(o.hash, block)) }

func (c *Cache) shardAt(blockHash uint64) *shard {
	return c.shards[blockHash>>32&uint64(len(c.shards)-1)]
}

// Close ends all fetches, waits for their goroutines and for reads that still copy, gives the memory back and leaves the
// directory warm for the next New. Readers that wait get ErrClosed. Close may be called more than once.
func (c *Cache) Close() error {
	c.closeOnce.Do(func() {
		c.closed.Store(true)
		c.stop()
		// Whoever plans a flight does so under its table's lock and has seen closed, or has been counted.
		for i := range c.tables {
			c.tables[i].barrier()
		}
		c.flights.Wait()
		for _, s := range c.shards {
			s.close()
		}
		for i := range c.tables {
			c.tables[i].mu.Lock()
			clear(c.tables[i].objects)
			c.tables[i].mu.Unlock()
		}
		if c.disk != nil {
			c.closeErr = c.disk.Close()
		}
		if c.slots != nil {
			c.closeErr = errors.Join(c.closeErr, c.slots.arena.free())
		}
	})
	return c.closeErr
}

// barrier waits until whoever holds the table's lock has left it.
func (t *table) barrier() {
	t.mu.Lock()
	defer t.mu.Unlock()
}
