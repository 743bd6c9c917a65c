package forstfs

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/namespace"
)

// copyMemory bounds the bytes that are on their way from one store to another.
const copyMemory = 128 << 20

// copyAll copies every container that the clone would borrow into objects of its own, and makes its names point there.
func (c *cloner) copyAll(ctx context.Context, lent *namespace.State) error {
	nonce := randomNonce(c.o)
	var todo []moved
	var total int64
	for x := range lent.Containers() {
		m := moved{from: x, to: namespace.Container{Kind: namespace.Object, CRC: x.CRC, Nonce: nonce, Num: uint64(len(todo)) + 1}}
		p := c.lenderOf(lent.Owners()[x.Owner-1].Volume)
		if p == nil {
			return fmt.Errorf("%w: container %+v is of a volume that nothing names", ErrDamaged, x)
		}
		m.store = p.store
		todo = append(todo, m)
		total += int64(x.CRC)
		c.made = append(c.made, objectKey(m.to))
	}
	if len(todo) == 0 {
		return nil
	}
	told := progress{fn: c.co.Progress, total: total}
	told.add(0)
	memory := newBudget(copyMemory)
	err := parallel(todo, func(m moved) error {
		defer memory.release(int64(m.from.CRC))
		for {
			at, ok := memory.tryAt(int64(m.from.CRC))
			if ok {
				break
			}
			memory.wait(at)
		}
		if err := m.copy(ctx, c.dst, c.o); err != nil {
			return err
		}
		told.add(int64(m.from.CRC))
		return nil
	})
	c.copied = told.done
	if err != nil {
		return err
	}
	to := map[namespace.Container]namespace.Container{}
	for _, m := range todo {
		to[m.from] = m.to
	}
	lent.Own(func(x namespace.Container) namespace.Container { return to[x] })
	return nil
}

// progress tells fn how far a copy is, one call at a time and never less than before.
type progress struct {
	fn    func(done, total int64) // may be nil
	total int64

	mu   sync.Mutex
	done int64
}

func (p *progress) add(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done += n
	if p.fn != nil {
		p.fn(p.done, p.total)
	}
}

func (c *cloner) lenderOf(volume [16]byte) *pledge {
	for _, p := range c.lenders {
		if p.hold.Lender == volume {
			return p
		}
	}
	return nil
}

func randomNonce(o *Options) uint64 {
	if o.Nonce != nil {
		return o.Nonce()
	}
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.LittleEndian.Uint64(b[:])
}

// moved is a container on its way into an object of the same layout.
type moved struct {
	from, to namespace.Container
	store    driver.Store // that holds from
}

// copy makes the object durable in dst, through this process's memory. Of the body of a snapshot, only the part that
// extents refer to goes along.
func (m moved) copy(ctx context.Context, dst driver.Store, o *Options) error {
	from, key := objectKey(m.from), objectKey(m.to)
	data := make([]byte, m.from.CRC)
	if err := driver.ReadFull(ctx, m.store, from, 0, data); err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	if err := putAgain(ctx, dst, key, data, o.RetryBudget); err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	return nil
}
