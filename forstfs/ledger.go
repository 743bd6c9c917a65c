package forstfs

import (
	"fmt"

	"github.com/forst-go/forst/internal/namespace"
)

// Ledger is who needs the bytes in the store, as far as the acknowledged namespace knows. Live + Shared + Snapshots + Garbage is what the volume's data objects and
// bodies of snapshots have, but for uploads under way and for orphans of earlier writers, which a sweep finds.
type Ledger struct {
	Live      int64 // bytes of objects that files need, and no snapshot
	Shared    int64 // that files and snapshots need
	Snapshots int64 // that only snapshots need
	Garbage   int64 // of objects that nobody needs: deleted in the background, or when the last handle is closed
	Dead      int64 // bytes that nobody refers to in the objects of Live: their files were removed, or packed together with others
	Borrowed  int64 // of objects of other volumes, which this one, a clone, refers to
	Inline    int64 // bytes of files that are in the journal
}

// String is for people.
func (l Ledger) String() string {
	return fmt.Sprintf("%d live bytes (%d of them dead), %d shared with snapshots, %d of snapshots only, %d garbage, %d borrowed, %d inline",
		l.Live, l.Dead, l.Shared, l.Snapshots, l.Garbage, l.Borrowed, l.Inline)
}

// ledger looks at every container. A file that is linked counts once for each object, not for each name.
func (v *FS) ledger() (l Ledger) {
	v.machine.mu.Lock()
	st := v.machine.acked
	bodies := map[namespace.Container]int64{}
	for _, s := range st.Snapshots() {
		if s.Committed {
			bodies[s.BodyContainer()] = s.Body.Size
		}
	}
	st.EachNeeded(func(c namespace.Container, use namespace.Use) {
		size := int64(c.CRC)
		if n, ok := bodies[c]; ok {
			size = n
		}
		switch {
		case c.Kind == namespace.Frame:
			l.Inline += use.Bytes
		case c.Owner != 0:
			l.Borrowed += size
		case use.Refs == 0:
			l.Snapshots += size
		case st.Pinned(c) > 0:
			l.Shared += size
		default:
			l.Live += size
			l.Dead += max(0, size-use.Bytes)
		}
	})
	v.machine.mu.Unlock()
	v.mu.Lock()
	for c := range v.deferred {
		l.Garbage += int64(c.CRC)
	}
	v.mu.Unlock()
	v.gc.mu.Lock()
	for _, c := range v.gc.todo {
		l.Garbage += int64(c.CRC)
	}
	v.gc.mu.Unlock()
	return l
}
