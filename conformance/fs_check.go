package conformance

import (
	"context"
	"fmt"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/journal"
	"github.com/forst-go/forst/internal/namespace"
)

// inventory is what a process that opens the volume now would find, read without changing anything.
type inventory struct {
	state  *namespace.State
	needed map[string]bool // keys of the objects and frames that hold bytes of files
}

// takeInventory replays a volume with a reader of its own.
func takeInventory(ctx context.Context, s driver.Store) (*inventory, error) {
	m := &replayer{state: namespace.New()}
	r, err := journal.OpenReader(ctx, s, m, nil)
	if err != nil {
		return nil, err
	}
	inv := &inventory{state: m.state, needed: map[string]bool{}}
	for c := range m.state.Needed() {
		inv.needed[containerKey(c)] = true
	}
	return inv, r.Close()
}

// containerKey is where the bytes of a container are.
func containerKey(c namespace.Container) string {
	switch c.Kind {
	case namespace.Frame:
		return journal.FrameKey(c.Num)
	case namespace.Body:
		return journal.SnapshotKey(c.Epoch, c.Nonce, c.Num)
	}
	return journal.DataKey(c.Epoch, c.Nonce, c.Num)
}

// replayer is a journal.Machine that only keeps the namespace: a second, simpler reading of the operations than that of forstfs.
type replayer struct{ state *namespace.State }

func (m *replayer) Reset() { m.state = namespace.New() }

func (m *replayer) Restore(body []byte) (err error) {
	m.state, err = namespace.Decode(body)
	return err
}

func (m *replayer) Apply(f *journal.Frame) error {
	c := namespace.Container{Kind: namespace.Frame, CRC: f.CRC, Epoch: f.Epoch, Nonce: f.Nonce, Num: f.Seq}
	at := f.InlineOffset()
	err := namespace.DecodeOps(f.Ops, func(op *namespace.Op) error {
		ext := namespace.Extent{Container: c, Off: at, Len: op.Len}
		if op.Kind == namespace.Append {
			at += op.Len
		}
		return m.state.Apply(op, ext)
	})
	if err == nil && at != f.InlineOffset()+int64(len(f.Inline)) {
		err = fmt.Errorf("frame %d has %d inline bytes, its operations name %d", f.Seq, len(f.Inline), at-f.InlineOffset())
	}
	m.state.TakeReleased()
	return err
}

func (m *replayer) Fence(uint64)              { m.state.Fence() }
func (m *replayer) Image() ([]byte, error)    { return m.state.Encode(), nil }
func (m *replayer) FirstLive() (uint64, bool) { return m.state.FirstFrame() }

// checkNeeded reports what the volume refers to and the store does not have, or has in another size.
func (inv *inventory) checkNeeded(ctx context.Context, s driver.Store) error {
	sizes := map[string]int64{}
	for info, err := range s.List(ctx, "", "") {
		if err != nil {
			return err
		}
		sizes[info.Key] = info.Size
	}
	for f := range inv.state.Files() {
		for _, x := range f.Extents {
			c := x.Container
			key := containerKey(c)
			size, ok := sizes[key]
			if !ok || x.Off+x.Len > size || c.Kind == namespace.Object && size != int64(c.CRC) {
				return fmt.Errorf("dangling: inode %d needs %d bytes at %d of %s, which has %d (there: %v)", f.Inode, x.Len, x.Off, key, size, ok)
			}
		}
	}
	return nil
}

// checkExact reports data objects and bodies of snapshots that nothing needs. It holds after a clean Close that followed a Sweep.
func (inv *inventory) checkExact(ctx context.Context, s driver.Store) error {
	for _, prefix := range []string{journal.DataPrefix, journal.SnapshotPrefix} {
		for info, err := range s.List(ctx, prefix, "") {
			if err != nil {
				return err
			}
			if !inv.needed[info.Key] {
				return fmt.Errorf("leak: no file and no snapshot needs %s", info.Key)
			}
		}
	}
	return nil
}

// exact demands that the store holds all data objects that the volume needs and no others.
func (e *fsEnv) exact() {
	e.Helper()
	s := e.handle()
	inv, err := takeInventory(e.ctx, s)
	e.must(err)
	e.must(inv.checkNeeded(e.ctx, s))
	e.must(inv.checkExact(e.ctx, s))
}
