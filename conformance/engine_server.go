package conformance

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"
)

// RunEngineServerKills works with a database of the engine while the server of its store is killed and started again, at random moments. The database must
// not notice more than a pause, and nothing that was acknowledged may be missing afterwards. kill and restart are called in turn; restart returns when
// the server answers.
func RunEngineServerKills(t *testing.T, p Process, eng Engine, kill, restart func()) {
	t.Run("server/killed-in-the-middle", func(t *testing.T) {
		k := newEngineKiller(t, p, eng)
		const steps = 40
		acked := 0
		n := rounds(2)
		for i := range n {
			l := k.live()
			h := newEngineHistory(&k.clock, k.seed, k.base)
			errs := make([]error, len(k.base))
			var wg sync.WaitGroup
			for w := range k.base {
				wg.Go(func() { errs[w] = h.engineWork(l, w, steps) })
			}
			over := make(chan struct{})
			go func() {
				defer close(over)
				wg.Wait()
			}()
			for want := 1 + k.r.IntN(2*steps); h.begun() < want; time.Sleep(time.Millisecond) {
				select {
				case <-over: // with an error
				default:
					continue
				}
				break
			}
			kill()
			time.Sleep(time.Duration(k.r.Int64N(int64(300 * time.Millisecond))))
			restart()
			select {
			case <-over:
			case <-time.After(watchdog):
				t.Fatalf("round %d: the database does not go on with its server", i)
			}
			err := errors.Join(errs...)
			if err == nil && i%2 == 0 {
				err = h.closeWell(l)
			}
			if err != nil {
				t.Fatalf("round %d: %v", i, err)
			}
			l.die() // every other round, without a word
			acked += h.acked()
			k.look(fmt.Sprintf("round %d", i), h)
		}
		t.Logf("%d times, %d durable commits", n, acked)
	})
}

// begun is how many commits have begun.
func (h *engineHistory) begun() (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.workers {
		n += len(h.workers[i].commits)
	}
	return n
}
