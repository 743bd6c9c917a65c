package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/mutant"
)

const (
	backoffFirst = 20 * time.Millisecond
	backoffMost  = 5 * time.Second
)

// backoff gives growing waits with jitter. It may be used from many goroutines.
type backoff struct {
	mu  sync.Mutex
	rng *rand.Rand
}

func newBackoff(seed uint64) *backoff {
	return &backoff{rng: rand.New(rand.NewPCG(seed, 0x666f727374))}
}

// after returns how long to wait before attempt n (0 is the first repetition): between a half and the whole of a time that
// doubles.
func (b *backoff) after(n int) time.Duration {
	d := min(backoffFirst<<min(n, 20), backoffMost)
	b.mu.Lock()
	defer b.mu.Unlock()
	return d/2 + time.Duration(b.rng.Int64N(int64(d/2)+1))
}

// sleep waits, or returns the context's error.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// sender puts objects that must not be put twice with different bytes.
type sender struct {
	store  driver.Store
	budget time.Duration
	hasty  bool // give up at once when waiting will hardly help; else only when the budget is spent
	wait   *backoff
	event  func(Event) // may be nil
}

func (s *sender) emit(e Event) {
	if s.event != nil {
		s.event(e)
	}
}

// settle makes key hold data, or learns what it holds for ever instead. It returns nil bytes when key held exactly data
// at some moment after the call began: they are durable then. Other bytes are what somebody else put there. The bytes of
// one key must be the same in every call. After an error the outcome is unknown, and the bytes may land at any later time.
//
// A reply may be lost, and the store's own client may repeat a request, so neither an error nor KindExist says who won:
// the key is read back. Absent means: send the same bytes again. sound, if not nil, says whether bytes read back can be
// believed; others are read again until the budget is spent.
func (s *sender) settle(ctx context.Context, key string, data []byte, sound func([]byte) error) (other []byte, err error) {
	start := time.Now()
	for n := 0; ; n++ {
		err := s.store.Put(ctx, key, data, driver.PutOptions{IfAbsent: true})
		if err == nil {
			return nil, nil
		}
		kind := driver.KindOf(err)
		switch kind {
		case driver.KindInvalid, driver.KindUnsupported, driver.KindClosed:
			return nil, err // nothing was sent, or nothing can be
		}
		if ctx.Err() != nil {
			return nil, err
		}
		if kind == driver.KindExist && mutant.On(mutForeignIsOwn) {
			return nil, nil
		}
		there, rerr := driver.ReadAll(ctx, s.store, key)
		if kind == driver.KindExist && mutant.On(mutExistLost) {
			return append([]byte{}, there...), nil
		}
		if mutant.On(mutErrorLost) && kind != driver.KindExist {
			return nil, err
		}
		switch {
		case rerr == nil && bytes.Equal(there, data):
			s.emit(Event{Kind: EventReadBack, Key: key, Err: err})
			return nil, nil
		case rerr == nil:
			if sound == nil {
				return there, nil
			}
			if rerr = sound(there); rerr == nil {
				return there, nil
			}
			err = rerr
		case driver.KindOf(rerr) == driver.KindNotExist:
			if kind == driver.KindExist && mutant.On(mutGoneIsOwn) {
				return nil, nil
			}
		case kind == driver.KindExist:
			err = rerr
		}
		if (s.hasty || mutant.On(mutGivesUp)) && driver.KindOf(err) != driver.KindTransient && driver.KindOf(err) != driver.KindExist && !driver.IsCanceled(err) && !errors.Is(err, ErrDamaged) {
			return nil, err
		}
		if time.Since(start) >= s.budget {
			return nil, fmt.Errorf("given up after %v and %d attempts: %w", time.Since(start).Round(time.Millisecond), n+1, err)
		}
		s.emit(Event{Kind: EventRetry, Key: key, Err: err})
		if serr := sleep(ctx, s.wait.after(n)); serr != nil {
			return nil, fmt.Errorf("%w: %w", serr, err)
		}
	}
}
