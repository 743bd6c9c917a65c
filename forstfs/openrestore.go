package forstfs

import (
	"context"
	"errors"

	"github.com/forst-go/forst/internal/journal"
	"github.com/forst-go/forst/internal/namespace"
)

// goingBack is the part of Open that restores a snapshot (Options.Restore). The body is fetched while the fences are on their way, and the restore shares a frame
// with what is written next, so it takes no round trip of its own. Nothing rests on what was read before the fence: finish looks again.
type goingBack struct {
	v    *FS
	name string

	snap namespace.Snapshot
	done chan struct{} // nil: nothing is being fetched
	stop context.CancelFunc
	body *journal.SnapshotBody
	tree *namespace.State
	err  error
}

// begin starts to fetch the body as soon as the journal has been read. A snapshot that is not there keeps Open from fencing anybody; what was read so far may be
// behind, so a look that does not miss anything decides that.
func (b *goingBack) begin(ctx context.Context, volume [16]byte) error {
	b.end() // of an attempt that started again
	s, err := b.v.findReadable(b.name)
	if err != nil {
		return b.refuse(ctx)
	}
	ctx, b.stop = context.WithCancel(ctx)
	b.snap, b.done = s, make(chan struct{})
	go func() {
		defer close(b.done)
		b.body, b.tree, b.err = loadBody(ctx, b.v.store, volume, &s)
	}()
	return nil
}

func (b *goingBack) refuse(ctx context.Context) error {
	m, r, err := look(ctx, b.v.store, b.v.o)
	if err != nil {
		return err
	}
	_, err = readableIn(m.state, b.name)
	return errors.Join(err, r.Close()) // nil: it came meanwhile, and finish finds it
}

// end waits for what was begun.
func (b *goingBack) end() {
	if b.done != nil {
		b.stop()
		<-b.done
		b.done = nil
	}
}

// finish puts the restore into the order of the journal that this process owns by now.
func (b *goingBack) finish(ctx context.Context) error {
	v := b.v
	if err := v.snapTurn(ctx); err != nil {
		return err
	}
	defer v.snapDone()
	s, err := v.findReadable(b.name)
	if err != nil {
		return err
	}
	if b.done != nil {
		<-b.done
	}
	if b.done == nil || b.err != nil || s.ID != b.snap.ID || s.Body != b.snap.Body {
		if b.body, b.tree, err = loadBody(ctx, v.store, v.id, &s); err != nil {
			return err
		}
	}
	_, err = v.issueRestore(&s, b.body, b.tree)
	return err
}
