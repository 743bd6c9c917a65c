package main

import "fmt"

// What an owner deletes: frames that two images cover, older images, objects that nothing needs; and the drop.

func (c *packConf) kept(s *pstate, i int) bool {
	for j := i; j > i-c.run && j > 0; j-- {
		if s.store[j] != 0 && pKind(s.frame[s.store[j]-1][j])&kFence != 0 {
			return true
		}
	}
	return false
}

// live is the first frame that the owner's acknowledged namespace still needs.
func (c *packConf) live(s *pstate, w int) int {
	first := pSlots
	at := s.w[w].cur.cell[:]
	if sp := &s.w[w].cur; sp.snap == 1 && !c.noUnpin {
		at = append(append([]uint8{}, at...), sp.scell[:]...)
	}
	at = append(append([]uint8{}, at...), c.making(s, w)...)
	for _, a := range at {
		if inline(a) && int(a&15) < first {
			first = int(a & 15)
		}
	}
	return first
}

// delete trims the journal, deletes old images and unreachable objects. It is the
// sweep of a new owner, too: objects of its own and of older epochs.
func (c *packConf) delete(s pstate, w int, emit func(string, pstate)) {
	x := s.w[w]
	older, newest := -1, -1
	switch {
	case c.list == listSent:
		if x.last != 0 && s.ihere>>(x.last-1)&1 != 0 && x.prev != 0 {
			older, newest = int(x.prev-1), int(x.last-1)
		}
	default:
		ids := newestImages(&s, func(i int) bool {
			return (c.list == listAll || s.img[i].n < x.low) && (c.keepDamaged || x.dam>>i&1 == 0)
		})
		if len(ids) >= 2 {
			newest, older = ids[0], ids[1]
		}
		if c.keepOne && len(ids) >= 1 {
			newest, older = ids[0], ids[0]
		}
	}
	if x.cur.dropped { // everything goes but fences and, as repaired, the last image
		if c.dropImage && (x.last == 0 || s.ihere>>(x.last-1)&1 == 0) {
			return
		}
		for i := 1; i < int(x.low); i++ {
			if s.store[i] != 0 && !c.kept(&s, i) {
				t := s
				t.del |= 1 << i
				t.store[i] = 0
				emit(fmt.Sprintf("%s: drop: deletes slot %d", name(w), i), t)
			}
		}
		var last uint8
		if x.last != 0 {
			last = 1 << (x.last - 1)
		}
		if s.ihere&^last != 0 {
			t := s
			t.ihere &= last
			emit(fmt.Sprintf("%s: drop: deletes the images", name(w)), t)
		}
		return
	}
	if older >= 0 {
		n, live := int(s.img[older].n), c.live(&s, w)
		for i := 1; i <= n && (i < live || c.noLive); i++ {
			if s.store[i] != 0 && !c.kept(&s, i) {
				t := s
				t.del |= 1 << i
				t.store[i] = 0
				emit(fmt.Sprintf("%s: trims slot %d (images %d, %d)", name(w), i, s.img[newest].n, n), t)
			}
		}
		var old uint8
		for i := 0; i < int(s.nimg); i++ {
			if s.ihere>>i&1 != 0 && s.img[i].n < s.img[older].n {
				old |= 1 << i
			}
		}
		if old != 0 {
			t := s
			t.ihere &^= old
			emit(fmt.Sprintf("%s: deletes images below %d", name(w), n), t)
		}
		c.bodyTrim(s, w, n, emit)
	}
	if d := x.dam & s.ihere & s.idam; d != 0 && !c.keepDamaged {
		t := s
		t.ihere &^= d
		emit(fmt.Sprintf("%s: deletes the image it found damaged", name(w)), t)
	}
	for p := 1; p <= int(s.npk); p++ {
		if s.odel>>p&1 != 0 || s.pk[p].epoch > x.epoch || int(x.pk) == p {
			continue
		}
		needed := false
		for _, a := range append(append(x.cur.cell[:2:2], x.cur.scell[:]...), c.making(&s, w)...) {
			needed = needed || isObj(a, p)
		}
		if !needed {
			t := s
			t.odel |= 1 << p
			emit(fmt.Sprintf("%s: deletes P%d, which nothing needs", name(w), p), t)
		}
	}
}
