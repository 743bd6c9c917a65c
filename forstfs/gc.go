package forstfs

import (
	"context"
	"sync"
	"time"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/journal"
	"github.com/forst-go/forst/internal/mutant"
	"github.com/forst-go/forst/internal/namespace"
)

// gcLinger lets deletions collect into one request.
const gcLinger = 200 * time.Millisecond

// collector deletes data objects that nobody can reach: the frame that made them unreachable is acknowledged, or no frame ever named them.
type collector struct {
	v    *FS
	mu   sync.Mutex
	todo []namespace.Container
	wake chan struct{}
	turn chan struct{} // capacity 1: held by the one that deletes
}

// released takes what the acknowledged namespace has let go. Containers that an open handle still reads wait for it.
func (g *collector) released(cs []namespace.Container) {
	if len(cs) == 0 {
		return
	}
	v := g.v
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, c := range cs {
		if c.Owner != 0 || c.Kind == namespace.Frame {
			continue
		}
		if v.pins[c] > 0 && !mutant.On(mutPinsIgnored) {
			v.deferred[c] = true
		} else {
			g.add(c)
		}
	}
}

// add queues an object for deletion.
func (g *collector) add(c namespace.Container) {
	if c.Kind == namespace.Frame || c.Owner != 0 || g.v.readOnly {
		return
	}
	g.mu.Lock()
	g.todo = append(g.todo, c)
	g.mu.Unlock()
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// run deletes in batches until the volume closes.
func (g *collector) run() {
	for {
		select {
		case <-g.v.bg.Done():
			return
		case <-g.wake:
		}
		select {
		case <-g.v.bg.Done():
			return
		case <-time.After(gcLinger):
		}
		wait := time.Second
		for g.drain(g.v.bg) != nil {
			select {
			case <-g.v.bg.Done():
				return
			case <-time.After(wait):
			}
			wait = min(2*wait, time.Minute)
		}
	}
}

// drain deletes what is queued. A writer that has been fenced deletes nothing any more: the next owner knows better.
func (g *collector) drain(ctx context.Context) error {
	return g.delete(ctx, func() bool { return g.v.Err() == nil })
}

// delete deletes what is queued, one batch at a time. Whoever comes second waits for the batch of the first: when delete returns nil, nothing that was
// queued before is still under way, so that Close does not cut it off.
func (g *collector) delete(ctx context.Context, allowed func() bool) error {
	select {
	case g.turn <- struct{}{}:
		defer func() { <-g.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	for {
		if !allowed() {
			return nil
		}
		g.mu.Lock()
		k := min(len(g.todo), max(1, g.v.caps.DeleteBatch))
		batch := g.todo[:k:k]
		g.todo = g.todo[k:]
		g.mu.Unlock()
		if k == 0 {
			return nil
		}
		keys := make([]string, k)
		for i, c := range batch {
			keys[i] = objectKey(c)
			g.v.cache.Drop(g.v.cacheID(c))
		}
		if err := g.v.store.Delete(driver.WithComponent(ctx, driver.CompGC), keys); err != nil {
			g.mu.Lock()
			if !mutant.On(mutDeleteOnce) {
				g.todo = append(batch, g.todo...)
			}
			g.mu.Unlock()
			g.v.listen().Retrying("delete", 1, err)
			return err
		}
		g.v.counts.deleted.Add(int64(k))
		g.v.listen().Deleted(k)
	}
}

func (g *collector) pending() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.todo)
}

// SweepReport says what a sweep found.
type SweepReport struct {
	Listed  int // data objects in the store
	Bodies  int // bodies of snapshots in the store
	Orphans int // of older writers, in no file and no snapshot: deleted
	Journal int // frames and images that came late: deleted
}

// Sweep lists all data objects and bodies of snapshots, and deletes those of older writers that no file and no committed snapshot needs, and late duplicates of trimmed frames; a clone gives back the holds that it needs no more. It
// is safe at any time on a volume that this process owns, and runs by itself after each takeover.
func (v *FS) Sweep(ctx context.Context) (SweepReport, error) {
	var r SweepReport
	if err := v.writable(); err != nil {
		return r, err
	}
	ctx = driver.WithComponent(ctx, driver.CompGC)
	var old []namespace.Container
	for info, err := range v.store.List(ctx, journal.DataPrefix, "") {
		if err != nil {
			return r, err
		}
		r.Listed++
		epoch, nonce, num, ok := journal.ParseDataKey(info.Key)
		if ok && (epoch < v.journal.Epoch() || mutant.On(mutSweepOwn)) {
			old = append(old, namespace.Container{Kind: namespace.Object, CRC: uint32(info.Size), Epoch: epoch, Nonce: nonce, Num: num})
		}
	}
	for info, err := range v.store.List(ctx, journal.SnapshotPrefix, "") {
		if err != nil {
			return r, err
		}
		r.Bodies++
		epoch, nonce, num, ok := journal.ParseSnapshotKey(info.Key)
		if ok && epoch < v.journal.Epoch() && !mutant.On(mutSnapSweepLeaks) {
			old = append(old, namespace.Container{Kind: namespace.Body, Epoch: epoch, Nonce: nonce, Num: num})
		}
	}
	// What is in use is compared by name: a size that differs is for fsck to report, not for a sweep to act on.
	used := map[objectName]bool{}
	v.machine.mu.Lock()
	for c := range v.machine.acked.Needed() {
		used[nameOf(c)] = c.Kind != namespace.Body || !mutant.On(mutSnapSweep)
	}
	v.machine.mu.Unlock()
	v.mu.Lock()
	for c := range v.pins {
		used[nameOf(c)] = !mutant.On(mutSweepPins)
	}
	for _, c := range old {
		if !used[nameOf(c)] {
			r.Orphans++
			v.gc.add(c)
		}
	}
	v.mu.Unlock()
	if err := v.gc.drain(ctx); err != nil {
		return r, err
	}
	n, err := v.journal.Sweep(ctx)
	r.Journal = n
	if err == nil {
		_, err = v.giveBack(ctx)
	}
	if err == nil {
		v.journal.SetSwept(v.journal.Epoch())
	}
	return r, err
}

// objectName is the part of a container that makes its key.
type objectName struct {
	kind              namespace.ContainerKind
	owner             uint32
	epoch, nonce, num uint64
}

func nameOf(c namespace.Container) objectName {
	return objectName{c.Kind, c.Owner, c.Epoch, c.Nonce, c.Num}
}

// last deletes what is queued when the volume closes; what fails is an orphan for the next owner to sweep.
func (g *collector) last(ctx context.Context) {
	if err := g.delete(ctx, func() bool { return true }); err != nil {
		g.v.o.Logger.Warn("unreachable objects stay until the next takeover", "volume", g.v.o.Name, "objects", g.pending(), "err", err)
	}
}
