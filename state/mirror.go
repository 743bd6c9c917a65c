package state

import (
	"errors"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/forst-go/forst/internal/mutant"
)

// mirror writes the changes of a shard to the database that is to take the place of its own, too: from before its first record is copied until the switch. For
// every record, at any time: it was not copied yet, or it is in both databases as it is in the first. For what is copied is read and written while
// no batch is on its way to either, and a batch (blind writes: sets, merges, removals, range deletions) does the same to the same record.
type mirror struct {
	to   *database
	mu   sync.RWMutex // shared by batches on their way, exclusive for a copy
	over bool         // given up

	fail sync.Mutex
	err  error // the first, which ends the consolidation and nothing else
}

func (m *mirror) apply(from *database, b *pebble.Batch, rs []*request) error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	err := from.db.Apply(b, from.write)
	if m.over {
		return err
	}
	if err != nil {
		m.failWith(err) // who knows what has become of the batch
	} else if err := m.write(rs); err != nil {
		m.failWith(err)
	}
	return err
}

func (m *mirror) write(rs []*request) error {
	b := m.to.db.NewBatch()
	defer b.Close()
	for _, r := range rs {
		for _, o := range r.ops {
			if mutant.On(mutMirror) || o.kind == opRemoveRange && mutant.On(mutMirrorClear) {
				continue
			}
			if err := addTo(b, o); err != nil {
				return err
			}
		}
	}
	m.to.window.enter(b.Len(), int(b.Count()))
	return m.to.db.Apply(b, pebble.NoSync)
}

// copy copies the first records of [from, upto). next is where it stopped; nil: at upto.
func (m *mirror) copy(src *database, from, upto []byte) (next []byte, n, size int64, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	it, err := src.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: upto})
	if err != nil {
		return nil, 0, 0, err
	}
	b := m.to.db.NewBatch()
	defer b.Close()
	limit := min(copyBytes, m.to.window.full/4)
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err == nil {
			err = b.Set(it.Key(), v, nil)
		}
		if err != nil {
			return nil, 0, 0, errors.Join(err, it.Close())
		}
		n++
		size += int64(len(it.Key()) + len(v))
		if n == copyRecords || size >= limit {
			next = append(append([]byte{}, it.Key()...), 0)
			break
		}
	}
	if err := errors.Join(it.Error(), it.Close()); err != nil {
		return nil, 0, 0, err
	}
	if mutant.On(mutCopyUnlocked) {
		m.mu.Unlock()
		time.Sleep(5 * time.Millisecond)
		m.mu.Lock()
	}
	m.to.window.enter(b.Len(), int(n))
	return next, n, size, m.to.db.Apply(b, pebble.NoSync)
}

func (m *mirror) failWith(err error) {
	m.fail.Lock()
	defer m.fail.Unlock()
	if m.err == nil {
		m.err = err
	}
}

func (m *mirror) failed() error {
	m.fail.Lock()
	defer m.fail.Unlock()
	return m.err
}

// end stops the writing to the new database.
func (m *mirror) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.over = true
}
