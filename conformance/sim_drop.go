package conformance

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/journal"
)

// simDrop is what a schedule knows of the end of its volume. In every fourth schedule processes drop the volume, beside their work or behind it, under the
// same faults and crashes as all they do; whoever then finds it dropped may finish that. From the moment when anybody was told that it is dropped, nobody may
// open it, and nobody may be acknowledged anything that was asked for later.
type simDrop struct {
	on    bool // processes of this schedule drop
	mu    sync.Mutex
	begun bool
	by    []uint64 // epochs in which Drop returned nil
	known int64    // the first moment when somebody was told that the volume is dropped; 0 nobody
}

// told notes that somebody was told that the volume is dropped.
func (d *simDrop) told(clock *clock) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.begun {
		return unexpected("the volume is dropped, but nobody has dropped it")
	}
	if d.known == 0 {
		d.known = clock.tick()
	}
	return nil
}

// opened notes an Open that began at the moment and has succeeded.
func (d *simDrop) opened(began int64, what string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.known != 0 && began > d.known {
		return unexpected("%s succeeds at moment %d, but the volume was dropped by moment %d", what, began, d.known)
	}
	return nil
}

// dice decides what a process has to do with drops. It has a generator of its own, so that schedules without drops are as they were.
func (s *simulation) dice(p *simProc) *rand.Rand {
	return rand.New(rand.NewPCG(s.seed*1_000_003+p.id, 78))
}

// drop ends the volume in the process's name.
func (s *simulation) drop(p *simProc, o *simOwner, v *forstfs.FS) {
	d := &s.dropping
	d.mu.Lock()
	d.begun = true
	d.mu.Unlock()
	s.net.note("drop")
	var err error
	for range 3 {
		if err = v.Drop(s.ctx); err == nil || errors.Is(err, forstfs.ErrFenced) || errors.Is(err, forstfs.ErrFailed) {
			break
		}
		select {
		case <-p.dead:
			return
		case <-p.net.end:
			return
		default:
		}
		s.net.note("drop interrupted")
	}
	select {
	case <-p.dead:
		return // nobody was told
	default:
	}
	switch {
	case err == nil:
		s.net.note("drop done")
		d.mu.Lock()
		d.by = append(d.by, o.epoch)
		d.mu.Unlock()
		s.fail(d.told(&s.chain.clock))
	case errors.Is(err, fs.ErrNotExist):
		s.fail(unexpected("Drop: %w", err))
	}
}

// finishDrop does the rest of a drop, as a process that may crash in the middle.
func (s *simulation) finishDrop(p *simProc, o *forstfs.Options) error {
	err := forstfs.FinishDrop(s.ctx, p.store(), o)
	select {
	case <-p.dead:
		return err
	default:
	}
	if err == nil {
		s.net.note("drop finished")
		s.fail(s.dropping.told(&s.chain.clock))
	}
	return err
}

// finishOfLiving asks for the end of a volume that may not be dropped at all: then nothing may happen.
func (s *simulation) finishOfLiving(p *simProc, o *forstfs.Options) {
	s.dropping.mu.Lock()
	known := s.dropping.known
	s.dropping.mu.Unlock()
	err := s.finishDrop(p, o)
	select {
	case <-p.dead:
		return
	default:
	}
	if known != 0 && err != nil && (errors.Is(err, forstfs.ErrNoVolume) || errors.Is(err, forstfs.ErrDamaged) || errors.Is(err, forstfs.ErrNotDropped)) {
		s.fail(unexpected("FinishDrop of a dropped volume: %w", err))
	}
}

// finishDropped is finish for a volume that was dropped: what must stay stays, everything else goes, and it is dropped for ever.
func (s *simulation) finishDropped(r *rand.Rand) {
	for i := range 2 {
		if i == 1 {
			s.net.sleep(20 * time.Minute) // whatever was on its way has landed
		}
		var err error
		for range 6 {
			p := s.net.proc(s.ids.Add(1))
			if err = s.finishDrop(p, s.options(r)); err == nil {
				break
			}
			time.Sleep(time.Minute)
		}
		if err != nil {
			s.fail(unexpected("nobody can finish the drop: %w", err))
			return
		}
	}
	p := s.net.proc(s.ids.Add(1))
	for what, open := range map[string]func(context.Context, driver.Store, *forstfs.Options) (*forstfs.FS, error){"Open": forstfs.Open, "OpenReadOnly": forstfs.OpenReadOnly} {
		if _, err := open(s.ctx, p.store(), s.options(r)); !errors.Is(err, forstfs.ErrDropped) {
			s.fail(unexpected("%s of a dropped volume: %v", what, err))
		}
	}
	s.net.note("dropped at the end")
	s.fail(s.remains())
}

// remains checks what is left of a dropped volume: root, fences, the dropped fence, and images that say that it is dropped.
func (s *simulation) remains() error {
	st, err := s.net.bucket.Open(simSource)
	if err != nil {
		return err
	}
	dropped, images := 0, 0
	for info, err := range st.List(s.ctx, "", "") {
		if err != nil {
			return err
		}
		b, err := driver.ReadAll(s.ctx, st, info.Key)
		if err != nil {
			return err
		}
		stays := info.Key == journal.RootKey
		if _, ok := journal.ParseFrameKey(info.Key); ok {
			f, err := journal.DecodeFrame(b)
			if err != nil {
				return err
			}
			stays = f.Kind != journal.FrameData
			if f.Kind == journal.FrameDropped {
				dropped++
			}
		}
		if _, _, ok := journal.ParseImageKey(info.Key); ok {
			im, err := journal.DecodeImage(b)
			if err != nil {
				return err
			}
			if stays = im.Dropped; stays {
				images++
			}
		}
		if !stays {
			return fmt.Errorf("%s is left of the dropped volume", info.Key)
		}
	}
	if dropped == 0 || images == 0 {
		return fmt.Errorf("%d dropped fences and %d last images are left of the dropped volume", dropped, images)
	}
	return nil
}

// judgeDrop: behind a drop nobody owns the volume and nobody is acknowledged.
func (s *simulation) judgeDrop() error {
	d := &s.dropping
	for _, o := range s.owners {
		for _, e := range d.by {
			if o.epoch > e {
				return fmt.Errorf("epoch %d owns the volume behind the drop of epoch %d", o.epoch, e)
			}
		}
		if d.known == 0 {
			continue
		}
		for _, ops := range o.h.ops {
			made := false // a name that was asked for behind the drop
			for _, x := range ops {
				made = made || x.ok && x.start > d.known && (x.kind == opCreate || x.kind == opMkdir)
				if made && x.ack && x.ok && x != o.closing {
					return fmt.Errorf("epoch %d: %v is acknowledged, but the volume was dropped by moment %d", o.epoch, x, d.known)
				}
			}
		}
	}
	return nil
}
