package forstfs

import (
	"context"
	"fmt"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/journal"
	"github.com/forst-go/forst/internal/namespace"
)

// names is a journal.Machine that keeps the namespace and nothing else: for those who look at a volume without opening its files.
type names struct{ state *namespace.State }

func (m *names) Reset() { m.state = namespace.New() }

func (m *names) Restore(body []byte) error {
	st, err := namespace.Decode(body)
	if err == nil {
		m.state = st
	}
	return err
}

func (m *names) Apply(f *journal.Frame) error {
	c := frameContainer(f)
	at := f.InlineOffset()
	err := namespace.DecodeOps(f.Ops, func(op *namespace.Op) error {
		ext := namespace.Extent{Container: c, Off: at, Len: op.Len}
		if op.Kind == namespace.Append {
			if at += op.Len; at > f.InlineOffset()+int64(len(f.Inline)) {
				return fmt.Errorf("%w: frame %d names more inline bytes than it has", ErrDamaged, f.Seq)
			}
		}
		return m.state.Apply(op, ext)
	})
	m.state.TakeReleased()
	return err
}

func (m *names) Fence(uint64) { m.state.Fence(); m.state.TakeReleased() }

func (m *names) Image() ([]byte, error)    { return m.state.Encode(), nil }
func (m *names) FirstLive() (uint64, bool) { return m.state.FirstFrame() }

// look reads what is acknowledged of a volume now; the Reader must be closed.
func look(ctx context.Context, store driver.Store, o *Options) (*names, *journal.Reader, error) {
	return glance(ctx, store, o, false)
}

// glance is look without the last look, if unconfirmed: Refresh makes up for it.
func glance(ctx context.Context, store driver.Store, o *Options, unconfirmed bool) (*names, *journal.Reader, error) {
	m := &names{state: namespace.New()}
	r, err := journal.OpenReader(ctx, store, m, &journal.Options{RetryBudget: o.RetryBudget, FrameConcurrency: openFrames, Nonce: o.Nonce, Logger: o.Logger,
		Unconfirmed: unconfirmed})
	if err != nil {
		return nil, nil, fmt.Errorf("volume %s: %w%s", o.named(store), err, remedy(err))
	}
	return m, r, nil
}
