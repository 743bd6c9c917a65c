package disk

import (
	"bytes"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/forst-go/forst/internal/mutant"
)

// health bypasses a disk that fails: after maxErrors errors of reads or of writes in a row nothing is read or written any more, and a probe is
// made from time to time until one succeeds.
type health struct {
	t    *Tier
	down atomic.Bool
	row  [2]atomic.Int32 // errors in a row of reads and of writes: a disk that still takes writes may be unable to read
	stop chan struct{}

	mu     sync.Mutex
	closed bool
	probes sync.WaitGroup
}

const (
	reading = 0
	writing = 1
)

func (h *health) worked(what int) {
	if h.row[what].Load() != 0 {
		h.row[what].Store(0)
	}
}

func (h *health) failed(what int, err error) {
	if h.row[what].Add(1) < maxErrors || mutant.On("cache/disk-never-bypassed") {
		return
	}
	h.mu.Lock()
	if h.closed || h.down.Load() {
		h.mu.Unlock()
		return
	}
	h.down.Store(true)
	h.t.m.bypasses.Add(1)
	h.probes.Add(1) // before Close may wait; the probe begins when the owner has been told
	h.mu.Unlock()
	h.tell(err)
	go func() {
		defer h.probes.Done()
		h.probe()
	}()
}

func (h *health) tell(err error) {
	if h.t.o.OnState != nil && !mutant.On("cache/disk-silent") {
		h.t.o.OnState(err)
	}
}

func (h *health) probe() {
	timer := time.NewTimer(firstProbe)
	defer timer.Stop()
	for wait := firstProbe; ; wait = min(2*wait, lastProbe) {
		select {
		case <-h.stop:
			return
		case <-timer.C:
		}
		if h.t.probe() == nil && !mutant.On("cache/disk-never-back") {
			h.row[reading].Store(0)
			h.row[writing].Store(0)
			h.down.Store(false)
			h.tell(nil)
			return
		}
		timer.Reset(min(2*wait, lastProbe))
	}
}

func (h *health) close() {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	close(h.stop)
	h.probes.Wait()
}

// probe writes a small file and reads it back.
func (t *Tier) probe() (err error) {
	path := t.dir.file(probeName)
	f, err := t.o.System.Open(path, pageSize)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(path)) }()
	want := bytes.Repeat([]byte("forst"), pageSize/5)
	got := make([]byte, len(want))
	if _, err := f.WriteAt(want, 0); err != nil {
		return err
	}
	if _, err := f.ReadAt(got, 0); err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return errors.New("the disk returns other bytes than were written")
	}
	return nil
}
