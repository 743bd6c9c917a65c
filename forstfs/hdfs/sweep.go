package hdfs

import (
	"context"
	"time"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/mutant"
)

// sweepEvery is how often a store looks for temporary files that somebody left.
const sweepEvery = time.Hour

// maybeSweep removes, beside the caller, temporary files that are old: a process that crashed left them. It rests on no clock: a file
// that is taken away from a process that lives, and is only slow, costs that process another attempt.
func (s *Store) maybeSweep() {
	s.mu.Lock()
	due := time.Since(s.swept) > sweepEvery
	if due {
		s.swept = time.Now()
	}
	s.mu.Unlock()
	if due {
		s.background(s.sweep)
	}
}

func (s *Store) sweep(ctx context.Context) {
	r, err := s.begin(ctx, call{op: "delete", key: tempDir})
	if err != nil {
		return
	}
	defer r.end()
	w := &walker{r: r}
	dir := s.cfg.Root + "/" + tempDir
	for e := range w.names(dir, "") {
		if old := time.Since(infoOf("", e.status).ModTime); !e.dir && (old > s.cfg.SweepAge || mutant.On("hdfs/swept-too-early")) {
			if err := r.remove(dir + "/" + e.name); err != nil && driver.KindOf(r.fail(err)) != driver.KindNotExist {
				return
			}
		}
	}
}
