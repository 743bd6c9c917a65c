package forstfs

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/journal"
	"github.com/forst-go/forst/internal/mutant"
	"github.com/forst-go/forst/internal/namespace"
)

// budget bounds the memory of bulk bytes that are not in the store yet, over all files of a volume. With a pool, what goes beyond least is taken
// from there, too, if it is there: a volume always gets on with what is its own, so that volumes never wait for each other.
type budget struct {
	mu   sync.Mutex
	cond sync.Cond
	used int64
	max  int64
	fail bool

	pool  *budget
	least int64
	lent  int64 // by the pool

	// releases counts what was given back, so that nobody who waits misses one.
	releases uint64
}

func newBudget(limit int64) *budget {
	b := &budget{max: limit}
	b.cond.L = &b.mu
	return b
}

// try takes n bytes if they are there. A request larger than everything is granted when nothing else is out.
func (b *budget) try(n int64) bool {
	_, ok := b.tryAt(n)
	return ok
}

// tryAt is try that says when it looked, for wait.
func (b *budget) tryAt(n int64) (at uint64, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.used > 0 && b.used+n > b.max && !b.fail {
		return b.releases, false
	}
	if more := b.used + n - b.least - b.lent; b.pool != nil && more > 0 {
		switch {
		case b.pool.try(more):
			b.lent += more
		case b.used > 0 && !b.fail:
			return b.releases, false
		}
	}
	b.used += n
	return b.releases, true
}

// wait blocks until anything was released since the caller's last try, be it enough or not: the caller may have to see to it that
// more is.
func (b *budget) wait(at uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for (b.releases == at || mutant.On(mutBudgetSleeps) && b.used > b.max/2) && b.used > 0 && !b.fail {
		b.cond.Wait()
	}
}

func (b *budget) release(n int64) {
	if n == 0 {
		return
	}
	b.mu.Lock()
	b.used -= n
	b.releases++
	if back := b.lent - max(b.used-b.least, 0); back > 0 {
		b.lent -= back
		b.pool.release(back)
	}
	b.mu.Unlock()
	b.cond.Broadcast()
}

// open lets everybody through: the volume has failed, nobody will release anything.
func (b *budget) open() {
	b.mu.Lock()
	b.fail = true
	b.mu.Unlock()
	b.cond.Broadcast()
}

func (b *budget) inUse() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}

// reserve takes n bytes of the budget for a bulk file. When it is used up, the largest tail of any file goes to the store early,
// so that many half-written files cannot block each other.
func (v *FS) reserve(n int64) { v.reserveOf(v.budget, n) }

func (v *FS) reserveOf(b *budget, n int64) {
	for {
		at, ok := b.tryAt(n)
		if ok {
			return
		}
		if b == v.budget {
			v.shed() // what the other budgets have given out is on its way already
		}
		b.wait(at)
	}
}

// shed uploads the largest bulk tail if it is worth an object, or if nothing is under way at all.
func (v *FS) shed() {
	v.mu.Lock()
	defer v.mu.Unlock()
	var best *node
	var most int64
	uploading := false
	for _, n := range v.nodes {
		if !n.bulk {
			continue
		}
		n.mu.Lock()
		for _, s := range n.segs {
			uploading = uploading || s.state == segUploading
			if s.state == segTail && s.len > most {
				best, most = n, s.len
			}
		}
		n.mu.Unlock()
	}
	if best == nil || uploading && most < v.objectSize/4 {
		return
	}
	best.mu.Lock()
	defer best.mu.Unlock()
	if s := best.tail(); s != nil {
		v.upload(best, s)
	}
}

// tail is the growing segment, or nil. n.mu is held.
func (n *node) tail() *segment {
	if k := len(n.segs); k > 0 && n.segs[k-1].state == segTail {
		return n.segs[k-1]
	}
	return nil
}

// upload freezes a segment and starts to put it into an object of its own. n.mu is held.
func (v *FS) upload(n *node, s *segment) {
	s.state = segUploading
	key, c := v.newObject(s.len)
	if mutant.On(mutSealEarly) {
		s.ext = namespace.Extent{Container: c, Len: s.len}
	}
	ctx := driver.WithComponent(v.bg, n.component())
	if !v.spawn(func() {
		v.uploads <- struct{}{}
		err := v.putObject(ctx, key, s.data)
		<-v.uploads
		if err == nil {
			v.cacheInsert(c, s.data)
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		v.uploaded(n, s, key, c, err)
	}) {
		v.uploaded(n, s, key, c, ErrClosed)
	}
}

// uploaded takes the end of an upload. n.mu is held.
func (v *FS) uploaded(n *node, s *segment, key string, c namespace.Container, err error) {
	if err != nil && !mutant.On(mutUploadSwallow) {
		n.err = fmt.Errorf("upload of %s: %w", key, storeErr(err))
		v.buffers.lose(s.buf) // a request that was given up may still read it
		s.data, s.buf = nil, nil
	} else {
		s.ext = namespace.Extent{Container: c, Len: s.len}
		v.buffers.done(s.buf)
		s.data, s.buf = nil, nil
		s.state = segDurable
		if n.drop {
			v.gc.add(c)
		}
	}
	v.budgetOf(n).release(s.charge)
	s.charge = 0
	n.cond.Broadcast()
}

// budgetOf is what bounds the bytes of a file on their way into objects. A log that has much to write without a sync does not wait for tables.
func (v *FS) budgetOf(n *node) *budget {
	if n.bulk {
		return v.budget
	}
	return v.spillBudget
}

// newObject names a data object that never existed.
func (v *FS) newObject(size int64) (string, namespace.Container) {
	c := namespace.Container{Kind: namespace.Object, CRC: uint32(size), Epoch: v.journal.Epoch(), Nonce: v.journal.Nonce(), Num: v.counter.Add(1)}
	if mutant.On(mutNameReused) {
		c.Num = (c.Num + 1) / 2
	}
	return journal.DataKey(c.Epoch, c.Nonce, c.Num), c
}

// component tags the requests that write a file by the engine's reason.
func (n *node) component() driver.Component {
	switch n.category {
	case "pebble-compaction", "pebble-blob-file-rewrite":
		return driver.CompCompaction
	case "pebble-wal", "pebble-manifest":
		return driver.CompCommit
	}
	return driver.CompFlush
}

// putObject puts a data object, again and again while the store is out of reach, from the same memory.
func (v *FS) putObject(ctx context.Context, key string, data []byte) error {
	deadline := time.Now().Add(v.o.RetryBudget)
	wait := 50 * time.Millisecond
	for attempt := 1; ; attempt++ {
		if err := v.Err(); err != nil {
			return err // a dead volume gets no object any more
		}
		v.shared.uploads <- struct{}{}
		err := v.store.Put(ctx, key, data, driver.PutOptions{})
		<-v.shared.uploads
		if err != nil && v.closed.Load() {
			return ErrClosed // it was Close that ended the request
		}
		if err == nil || !retryable(err) || mutant.On(mutUploadOnce) || time.Now().Add(wait).After(deadline) && !mutant.On(mutUploadEndless) {
			return err
		}
		v.listen().Retrying("put "+key, attempt, err)
		select {
		case <-v.Failed(): // or closed: the next look says which
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(wait):
		}
		wait = min(2*wait, 5*time.Second)
	}
}

// retryable says whether the same request may succeed later without anybody's help. Credentials rotate, so a refusal may.
func retryable(err error) bool {
	switch driver.KindOf(err) {
	case driver.KindTransient, driver.KindNoSpace, driver.KindPermission, driver.KindNoStore:
		return true
	}
	return false
}
