package conformance

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/journal"
)

// vandalise damages the newest image now and then, as long as all others are sound: then the older image and the frames behind it must do.
func (s *simulation) vandalise(r *rand.Rand, over chan struct{}) {
	st, err := s.net.bucket.Open(simSource)
	if err != nil {
		s.fail(err)
		return
	}
	for {
		select {
		case <-over:
			return
		case <-time.After(millis(r, 100, 5000)):
		}
		images, err := driver.ListAll(s.ctx, st, journal.ImagePrefix, "")
		if err != nil || len(images) < 2 {
			continue
		}
		var newest []byte
		sound := true
		for _, i := range images {
			b, err := driver.ReadAll(s.ctx, st, i.Key)
			var im *journal.Image
			if err == nil {
				im, err = journal.DecodeImage(b)
			}
			// The last image of a dropped volume is the only thing that says so once the frames have gone: one damage too many.
			sound = sound && err == nil && !im.Dropped
			newest = b
		}
		if !sound {
			continue
		}
		newest = slices.Clone(newest)
		newest[r.IntN(len(newest))] ^= 1 << r.IntN(8)
		if err := st.Put(s.ctx, images[len(images)-1].Key, newest, driver.PutOptions{}); err != nil {
			s.fail(err)
		}
		s.net.note("image damaged")
	}
}

// finish lets everything come to rest and looks at what is left.
func (s *simulation) finish() {
	if s.over() {
		return
	}
	s.net.mu.Lock()
	s.net.calm = true
	s.net.mu.Unlock()
	r := rand.New(rand.NewPCG(s.seed, 99))
	for i := range 2 {
		if i == 1 {
			s.net.sleep(20 * time.Minute) // whatever was on its way has landed
		}
		v, err := s.lastOwner(r)
		switch {
		case errors.As(err, new(errUnexpected)):
			s.fail(err)
			return
		case errors.Is(err, forstfs.ErrDropped):
			s.finishDropped(r)
			return
		}
		all, err := take(s.ctx, v)
		if err != nil {
			s.fail(unexpected("the last owner cannot read: %w", err))
			return
		}
		if o := s.own(v, all); o == nil {
			return
		}
		if i == 0 {
			continue // it is fenced by the next one
		}
		time.Sleep(time.Minute) // it sweeps by itself
		if s.snaps.on {
			if err := s.finishSnaps(v, r); err != nil {
				s.fail(err)
				return
			}
		}
		if err := errors.Join(v.Checkpoint(s.ctx), v.Close()); err != nil {
			s.fail(unexpected("the last owner: %w", err))
			return
		}
	}
	s.fail(s.leftovers())
}

// lastOwner opens the volume when everything is calm.
func (s *simulation) lastOwner(r *rand.Rand) (*forstfs.FS, error) {
	var last error
	for range 6 {
		p := s.net.proc(s.ids.Add(1))
		o := s.options(r)
		o.Force, o.ImageFrames = true, 1000
		began := s.chain.clock.tick()
		v, err := forstfs.Open(s.ctx, p.store(), o)
		if err == nil {
			s.mu.Lock()
			s.opened = append(s.opened, v)
			s.mu.Unlock()
			return v, s.dropping.opened(began, "the last Open")
		}
		if errors.Is(err, forstfs.ErrDropped) {
			return nil, errors.Join(err, s.dropping.told(&s.chain.clock))
		}
		last = err
		time.Sleep(time.Minute)
	}
	return nil, unexpected("nobody can open the volume at the end: %w", last)
}

// leftovers checks that the bucket holds what the volume needs and nothing else.
func (s *simulation) leftovers() error {
	st, err := s.net.bucket.Open(simSource)
	if err != nil {
		return err
	}
	inv, err := takeInventory(s.ctx, st)
	if err != nil {
		return err
	}
	if err := errors.Join(inv.checkNeeded(s.ctx, st), inv.checkExact(s.ctx, st), s.noSnaps(st, inv)); err != nil {
		return err
	}
	numbers := map[uint64]bool{} // two owners may have written one of the same number
	for info, err := range st.List(s.ctx, journal.ImagePrefix, "") {
		if err != nil {
			return err
		}
		n, _, _ := journal.ParseImageKey(info.Key)
		numbers[n] = true
	}
	if len(numbers) > 2 {
		return fmt.Errorf("%d images are left after a sweep", len(numbers))
	}
	return nil
}
