package conformance

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
)

// Crash points are built anew from what the store has acknowledged, so they are blind to a store that forgets what it has acknowledged, at once or later. Hence
// after each owner everything is read back from the store itself: as the bytes of each object, and as a volume, by a process that has nothing else.

var readBackCases = []DurabilityCase{
	{"readback/after-every-owner", false, func(e *fsEnv) {
		var c chain
		s := scenario{seed: 8, workers: 2, steps: 50, owners: 8, house: 9, mixed: true}
		rec := &recording{clock: &c.clock}
		e.play(s, &c, rec, func(int) *forstfs.FS { return e.mountOn(rec.wrap(e.store()), smallOptions()) })
		if e.Failed() {
			return
		}
		v, all, err := recovered(e.ctx, e.store(), smallOptions())
		e.must(err)
		if _, err := c.owners[len(c.owners)-1].explain(all, never, never); err != nil {
			e.Errorf("the owner after the last: %v", err)
		}
		e.must(v.Close())
		e.Logf("%d objects were written or deleted and read back, %d owners", len(rec.last()), len(c.owners))
	}},
}

// readBack checks that the store has what it was given, and that a reader finds everything that the owner was told is durable.
func (e *fsEnv) readBack(h *history, rec *recording) error {
	if err := e.keeps(rec); err != nil {
		return err
	}
	o := smallOptions()
	o.CacheBytes = -1
	s, err := e.open(e.ctx)
	if err != nil {
		return err
	}
	since := h.clock.tick()
	r, err := forstfs.OpenReadOnly(e.ctx, s, o)
	if err != nil {
		return err
	}
	all, err := take(e.ctx, r)
	if err == nil {
		_, err = h.explain(all, since, never)
	}
	return errors.Join(err, r.Close())
}

// keeps compares the objects of the store with what was put and deleted, but for those that are being deleted meanwhile.
func (e *fsEnv) keeps(rec *recording) error {
	s, err := e.open(e.ctx)
	if err != nil {
		return err
	}
	listed := map[string]bool{}
	want := rec.last()
	for info, err := range s.List(e.ctx, "", "") {
		if err != nil {
			return errors.Join(err, s.Close())
		}
		listed[info.Key] = true
	}
	var keys []string
	for key := range want {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	errs := make([]error, len(keys))
	var wg sync.WaitGroup
	slots := make(chan struct{}, 16)
	for i, key := range keys {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			errs[i] = e.keepsOne(s, key, want[key], listed[key])
		})
	}
	wg.Wait()
	now := rec.last()
	for i, key := range keys {
		if errs[i] != nil && now[key] == want[key] { // nobody has changed it meanwhile
			return errors.Join(errs[i], s.Close())
		}
	}
	return s.Close()
}

func (e *fsEnv) keepsOne(s driver.Store, key string, m *mutation, listed bool) error {
	if m.remove {
		if listed {
			return fmt.Errorf("the store still lists %s, whose deletion it has acknowledged", key)
		}
		return nil
	}
	got, err := driver.ReadAll(e.ctx, s, key)
	switch {
	case err != nil:
		return fmt.Errorf("the store has acknowledged a put of %d bytes and does not give them back: %w", len(m.data), err)
	case !bytes.Equal(got, m.data):
		return fmt.Errorf("%s: the store gives back other bytes than were put: %s", key, difference(got, m.data))
	case !listed:
		return fmt.Errorf("the store does not list %s, which it has acknowledged", key)
	}
	return nil
}
