package main

// A detach that takes snapshots along. Volume A has snapshot s; B is a clone of A/s and has its own snapshot t, whose body (1) names containers of A. B detaches: it
// copies, writes another body (2) that names the copies, moves t to it by one operation, and gives its hold on A/s back. Meanwhile C clones B/t, in the steps of Clone: it
// finds t, holds B/t and, if t borrows, A/s; looks at both; is born. The flag protocol of holders.go is taken as atomic here.
type moveConf struct {
	early  bool // mutant: the operation comes before the body
	unpin  bool // mutant: a moved snapshot lets its first body go
	noLook bool // mutant: the cloner looks at B only
	files  bool // as written: B's hold goes when files do not need it
}

type mstate struct {
	holdBA, holdCA, holdCB bool
	t, moved, doomed       bool
	body1, body2, copies   bool
	dataA                  bool
	c                      uint8 // 0 begins, 1 has found t, 2 has its holds, 3 is alive, 4 gave up or was dropped
	old                    bool  // C has found t as it was before the move
	crashed                bool  // B's writer died once; another one goes on
}

func (c *moveConf) model() model[mstate] {
	return model[mstate]{init: mstate{holdBA: true, t: true, body1: true, dataA: true}, next: c.next, check: c.check}
}

func (c *moveConf) next(s mstate, emit func(string, mstate)) {
	step := func(ok bool, what string, change func(*mstate)) {
		if ok {
			t := s
			change(&t)
			emit(what, t)
		}
	}
	step(s.t && !s.moved && !s.copies && s.dataA, "B: its copies are durable", func(t *mstate) { t.copies = true })
	step(s.t && s.copies && !s.body2 && (!s.moved || c.early), "B: the new body is durable", func(t *mstate) { t.body2 = true })
	step(s.t && !s.moved && s.copies && (s.body2 || c.early), "B: t is moved", func(t *mstate) {
		t.moved = true
		if c.unpin {
			t.body1 = false
		}
	})
	step(!s.crashed && !s.moved && (s.copies || s.body2), "B: its writer dies; the next one sweeps what nobody names", func(t *mstate) {
		t.crashed, t.copies, t.body2 = true, false, false
	})
	step(!s.crashed && s.moved && !s.body2, "B: its writer dies with t moved", func(t *mstate) { t.crashed = true })
	step(s.holdBA && (s.moved || !s.t || c.files), "B: gives its hold on A/s back", func(t *mstate) { t.holdBA = false })
	step(s.t && !s.doomed, "B: dooms t", func(t *mstate) { t.doomed = true })
	step(s.doomed && s.t && !s.holdCB, "B: removes t and what it kept", func(t *mstate) { t.t, t.body1, t.body2, t.copies = false, false, false, false })
	step(s.dataA && !s.holdBA && !s.holdCA, "A: deletes snapshot s and its containers", func(t *mstate) { t.dataA = false })
	switch s.c {
	case 0:
		step(s.t && !s.doomed, "C: finds B/t", func(t *mstate) { t.c, t.old = 1, !s.moved })
	case 1:
		step(true, "C: its holds are durable", func(t *mstate) { t.c, t.holdCB, t.holdCA = 2, true, s.old })
	case 2:
		gone := !s.t || s.doomed || s.old && !s.dataA && !c.noLook
		step(gone, "C: looks, and gives up", func(t *mstate) { t.c, t.holdCB, t.holdCA = 4, false, false })
		step(!gone, "C: looks, and is born", func(t *mstate) { t.c = 3 })
	case 3:
		step(true, "C: is dropped", func(t *mstate) { t.c, t.holdCB, t.holdCA = 4, false, false })
	}
}

func (c *moveConf) check(s mstate) string {
	switch {
	case s.t && !s.moved && !s.dataA:
		return "dangling snapshot: B/t refers to A's deleted containers"
	case s.t && !s.doomed && s.moved && s.crashed && !s.body2:
		return "dangling snapshot: B/t was moved to a body that is not there, and its writer is dead"
	case s.t && s.moved && !s.copies:
		return "dangling snapshot: B/t refers to copies that are not there"
	case s.c == 3 && s.old && (!s.dataA || !s.body1):
		return "dangling clone: C refers to A's containers and to the first body of B/t"
	case s.c == 3 && !s.old && !s.copies:
		return "dangling clone: C refers to copies that are not there"
	}
	return ""
}
