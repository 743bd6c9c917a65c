package journal

import (
	"context"
	"fmt"
	"sync"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/mutant"
)

// How much of the journal is listed before it is known where the newest image ends: about what one request brings. Fence runs stay for ever, so a volume that was
// taken over often has more; it is listed again, behind the image.
const (
	earlyNames   = 1000
	earlyFolders = 8 // a store that has folders lists them one after the other
)

// listing is what was listed of the journal beside the images. The zero listing says nothing.
type listing struct {
	numbers []uint64 // ascending
	all     bool     // there were no more
}

// above are the numbers above n.
func (l listing) above(n uint64) []uint64 {
	i := 0
	for i < len(l.numbers) && l.numbers[i] <= n {
		i++
	}
	return l.numbers[i:]
}

// listFrames returns the numbers of the frames above n that the store has, ascending.
func listFrames(ctx context.Context, store driver.Store, n uint64) ([]uint64, error) {
	after := ""
	if n > 0 {
		after = FrameKey(n)
	}
	l, err := listJournal(ctx, store, after, func(listing) bool { return true })
	return l.numbers, err
}

// listEarly lists the beginning of the journal, while nobody knows yet where the newest image ends. That it may be older than the list of the images does no harm: a
// number that was missing then is fenced if it still is, and read if not; and the last look comes behind both.
func listEarly(ctx context.Context, store driver.Store) (listing, error) {
	folders, last := 0, uint64(0)
	return listJournal(ctx, store, "", func(l listing) bool {
		n := l.numbers[len(l.numbers)-1]
		if folder := n / framesPerFolder; folders == 0 || folder != last {
			folders, last = folders+1, folder
		}
		return len(l.numbers) < earlyNames && folders <= earlyFolders
	})
}

// listJournal lists frames until more says that it is enough.
func listJournal(ctx context.Context, store driver.Store, after string, more func(listing) bool) (l listing, err error) {
	for info, err := range store.List(ctx, JournalPrefix, after) {
		if err != nil {
			return listing{}, fmt.Errorf("list the journal: %w", err)
		}
		if n, ok := ParseFrameKey(info.Key); ok {
			if l.numbers = append(l.numbers, n); !more(l) {
				return l, nil
			}
		}
	}
	l.all = true
	return l, nil
}

// framesAbove gives the numbers of the frames above n, from the early listing if that saw the end.
func (op *opener) framesAbove(ctx context.Context, n uint64, early listing) ([]uint64, error) {
	if early.all || mutant.On(mutEarlyCut) {
		return early.above(n), nil
	}
	return listFrames(ctx, op.store, n)
}

// ahead reads the frames behind an image while the image itself is read. nil is one that reads nothing.
type ahead struct {
	from, to uint64
	take     chan func(*Frame) error // capacity 1
	done     chan error              // capacity 1
	stop     context.CancelFunc
	ended    sync.Once
}

// ahead begins with the frames behind the image that will probably be the one.
func (op *opener) ahead(ctx context.Context, images []imageKey, early listing) *ahead {
	mine := op.mineOf(images)
	if len(mine) == 0 || !early.all {
		return nil
	}
	if _, known := op.damaged[mine[0].key]; known {
		return nil
	}
	from := mine[0].seq + 1
	to := from
	for _, n := range early.above(mine[0].seq) {
		if n != to {
			break
		}
		to++
	}
	if from == to {
		return nil
	}
	a := &ahead{from: from, to: to, take: make(chan func(*Frame) error, 1), done: make(chan error, 1)}
	ctx, a.stop = context.WithCancel(ctx)
	go func() {
		var take func(*Frame) error
		a.done <- fetch(ctx, op.store, from, to, op.o.width(op.store), func(f *Frame) error {
			if take == nil {
				select {
				case take = <-a.take:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			return take(f)
		})
	}()
	return a
}

// reads reports whether these are the frames that are being read.
func (a *ahead) reads(from, to uint64) bool { return a != nil && a.from == from && a.to == to }

// give hands the frames to take, in order, and waits for the last one.
func (a *ahead) give(take func(*Frame) error) (err error) {
	a.ended.Do(func() {
		a.take <- take
		err = <-a.done
		a.stop()
	})
	return err
}

// end stops reading and waits for what is under way. It may be called again, and after give.
func (a *ahead) end() {
	if a != nil {
		a.ended.Do(func() {
			a.stop()
			<-a.done
		})
	}
}
