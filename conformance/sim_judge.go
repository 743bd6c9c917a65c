package conformance

import (
	"fmt"
	"slices"
)

// judge holds what each owner and each reader found against what the owner before did.
func (s *simulation) judge() error {
	slices.SortFunc(s.owners, func(a, b *simOwner) int { return int(a.epoch) - int(b.epoch) })
	s.net.mu.Lock()
	s.net.stats["owners judged"] += len(s.owners)
	s.net.mu.Unlock()
	if len(s.owners) == 0 {
		return fmt.Errorf("nobody ever owned the volume")
	}
	for i, o := range s.owners {
		if i == 0 {
			if len(o.begin) > 0 {
				return fmt.Errorf("the first owner (epoch %d) finds %s", o.epoch, o.begin)
			}
			continue
		}
		last := s.owners[i-1]
		if _, err := last.h.explain(o.begin, never, never); err != nil {
			return fmt.Errorf("what epoch %d found does not follow from epoch %d: %w", o.epoch, last.epoch, err)
		}
	}
	if err := s.judgeDrop(); err != nil {
		return err
	}
	for _, x := range s.samples {
		if err := s.judgeSample(x); err != nil {
			return err
		}
	}
	return nil
}

// judgeSample: a reader sees the state of an owner, with everything that was acknowledged before the reader looked.
func (s *simulation) judgeSample(x sample) error {
	var of *simOwner
	for _, o := range s.owners {
		switch {
		case o.epoch <= x.epoch:
			of = o
		case o.acked(x.since):
			return fmt.Errorf("a reader at epoch %d does not know epoch %d, which had acknowledged before", x.epoch, o.epoch)
		}
	}
	if of == nil {
		if len(x.all) > 0 {
			return fmt.Errorf("a reader at epoch %d, before any owner, finds %s", x.epoch, x.all)
		}
		return nil
	}
	if _, err := of.h.explain(x.all, x.since, never); err != nil {
		return fmt.Errorf("what a reader at epoch %d found: %w", x.epoch, err)
	}
	return nil
}

// acked reports whether the owner had acknowledged a change of its own before the moment.
func (o *simOwner) acked(before int64) bool {
	for _, ops := range o.h.ops {
		changed := false
		for _, x := range ops {
			changed = changed || x.ok && x.kind != opNone
			if changed && x.ack && x.ok && x.end != 0 && x.end < before {
				return true
			}
		}
	}
	return false
}
