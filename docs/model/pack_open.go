package main

import "fmt"

// How a writer opens: it reads, puts its fence, settles, and looks once more.

// undetected says which images are damaged without any owner knowing.
func (s *pstate) undetected() uint8 {
	d := s.idam & s.ihere
	for w := range s.w {
		if s.w[w].ph == phOwner {
			d &^= s.w[w].dam
		}
	}
	return d
}

func (s *pstate) sound(i int) bool { return s.idam>>i&1 == 0 }

// base picks the newest readable image.
func (s *pstate) base() (id int, dam uint8) {
	for _, i := range newestImages(s, nil) {
		if s.idam>>i&1 == 0 {
			return i, dam
		}
		dam |= 1 << i
	}
	return -1, dam
}

func (s *pstate) start() pwriter {
	id, dam := s.base()
	x := pwriter{ph: phRead, low: 1, cur: space{epoch: 1}, dam: dam}
	if id >= 0 {
		x.base, x.low, x.cur = s.img[id].n, s.img[id].n+1, s.img[id].sp
	}
	x.seen = x.base
	for i := 0; i < int(s.nimg); i++ {
		if s.ihere>>i&1 != 0 && s.img[i].n > x.seen {
			x.seen = s.img[i].n
		}
	}
	if x.cur.dropped {
		x.ph = phGaveUp
	}
	return x
}

func (c *packConf) open(s pstate, w int, emit func(string, pstate)) {
	t := s
	t.w[w] = s.start()
	emit(fmt.Sprintf("%s: opens from image %d", name(w), t.w[w].base), t)
}

func (c *packConf) read(s pstate, w int, emit func(string, pstate)) {
	x := s.w[w]
	i := x.low
	if int(i)+c.run-1 > c.slots {
		return
	}
	t := s
	y := &t.w[w]
	if o := s.store[i]; o != 0 {
		c.apply(&y.cur, &s, i, o-1, s.frame[o-1][i])
		y.low++
		if y.cur.dropped {
			y.ph = phGaveUp
		}
		emit(fmt.Sprintf("%s: replays slot %d", name(w), i), t)
		return
	}
	if c.gap && s.dataBehind(int(i), c.slots) {
		y.ph = phGaveUp
		if !s.newer(&x) {
			t.bad = 3
		}
		emit(fmt.Sprintf("%s: slot %d absent, but a data frame is behind it", name(w), i), t)
		return
	}
	y.ph, y.epoch = phSettle, x.cur.epoch+1
	for j := i; j < i+uint8(c.run); j++ {
		t.frame[w][j] = pFrame(kFence, y.epoch, 0, 0, x.cur.last, 0)
		t.ghost[j] |= 1 << w
	}
	emit(fmt.Sprintf("%s: slot %d absent, sends %d fence(s) of epoch %d", name(w), i, c.run, y.epoch), t)
}

// dataBehind says whether there is a frame behind slot i that is no fence.
func (s *pstate) dataBehind(i, slots int) bool {
	for j := i + 1; j <= slots; j++ {
		if s.store[j] != 0 && pKind(s.frame[s.store[j]-1][j]) != kFence {
			return true
		}
	}
	return false
}

// newer says whether an image is newer than the one x began with, but for those it found damaged.
func (s *pstate) newer(x *pwriter) bool {
	for i := 0; i < int(s.nimg); i++ {
		if s.ihere>>i&1 != 0 && x.dam>>i&1 == 0 && s.img[i].n > x.base {
			return true
		}
	}
	return false
}

func (c *packConf) settle(s pstate, w int, emit func(string, pstate)) {
	x := s.w[w]
	i := x.low
	if int(i) > c.slots {
		return
	}
	if s.ghost[i]>>w&1 == 0 {
		t := s
		t.frame[w][i] = pFrame(kFence, x.epoch, 0, 0, x.cur.last, 0)
		t.ghost[i] |= 1 << w
		emit(fmt.Sprintf("%s: sends one more fence for slot %d", name(w), i), t)
		return
	}
	advance := func(y *pwriter) {
		y.low++
		if y.fence != 0 && y.low >= y.fence+uint8(c.run) {
			y.ph = phVerify
		}
	}
	if s.ever[i]>>w&1 != 0 {
		t := s
		y := &t.w[w]
		if c.apply(&y.cur, &s, i, uint8(w), s.frame[w][i]) {
			y.fence = i
		}
		advance(y)
		emit(fmt.Sprintf("%s: own fence in slot %d", name(w), i), t)
	}
	if o := s.store[i]; o != 0 && int(o-1) != w {
		t := s
		y := &t.w[w]
		c.apply(&y.cur, &s, i, o-1, s.frame[o-1][i])
		if y.cur.dropped || y.cur.epoch >= x.epoch && y.cur.who != uint8(w) {
			y.ph = phGaveUp
		} else {
			advance(y)
		}
		emit(fmt.Sprintf("%s: finds a frame of %s in slot %d", name(w), name(int(o-1)), i), t)
	}
}

func (c *packConf) verified(s pstate, w int, emit func(string, pstate)) {
	t := s
	y := &t.w[w]
	again := false
	for i := 0; i < int(s.nimg); i++ {
		if s.ihere>>i&1 == 0 {
			continue
		}
		n := s.img[i].n
		switch c.verify {
		case verifySeen:
			again = again || n > y.seen
		case verifyAny:
			again = again || n > y.base
			if n > y.base && y.dam>>i&1 != 0 {
				t.bad = 2
			}
		default:
			again = again || n > y.base && y.dam>>i&1 == 0
		}
	}
	if again {
		y.ph = phGaveUp
		emit(fmt.Sprintf("%s: sees a newer image, opens again under a new nonce", name(w)), t)
		return
	}
	y.ph = phOwner
	emit(fmt.Sprintf("%s: no newer image: owner from slot %d", name(w), y.low), t)
}
