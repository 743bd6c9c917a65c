package state

import (
	"bytes"
	"container/heap"
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/forst-go/forst/internal/mutant"
)

// Timers are moments for keys and namespaces, handed out in the order of their time. A backend may have several, by name: one for event time
// and one for processing time, for example. What the time means is the caller's, who asks for what is due. They are part of snapshots.
//
// Timers are a set: registering one again changes nothing. Only the beginning of each key group is kept in memory.
type Timers struct {
	k *keyed

	mu     sync.Mutex
	groups []*timerGroup // by key group, from the backend's first on
	first  timerHeap     // groups of which the first timer is known
}

// Timer is one moment. Milliseconds count.
type Timer struct {
	Time  time.Time
	Scope Scope
}

// timerPage is how many timers of a key group are read at once and, at least, kept in memory.
const timerPage = 128

// timerGroup is the beginning of the timers of one key group. What is in the database, or on its way there, up to the last of keys is in
// keys; all of it, if complete.
type timerGroup struct {
	number   int
	keys     [][]byte // time, key and namespace, as in the database; sorted
	complete bool
	index    int // in the heap, or -1

	flying  map[*request]timerOp // writes under way, and timers that a Poll has taken
	loading bool
	log     []timerOp // writes that a page being read may have missed
}

type timerOp struct {
	key    []byte
	remove bool
}

// NewTimers declares timers in the backend.
func NewTimers(b *Backend, name string) (*Timers, error) {
	k, err := b.declare(name, KindTimers, Schema{Codec: "timer"}, TTL{}, false)
	if err != nil {
		return nil, err
	}
	t := &Timers{k: k}
	for g := range b.route {
		t.groups = append(t.groups, &timerGroup{number: b.o.Keys.Lo + g, index: -1, flying: map[*request]timerOp{}})
	}
	return t, nil
}

// Register adds a timer.
func (t *Timers) Register(ctx context.Context, sc Scope, at time.Time) error {
	return wait(ctx, t.RegisterAsync(ctx, sc, at))
}

// RegisterAsync is Register with a future.
func (t *Timers) RegisterAsync(ctx context.Context, sc Scope, at time.Time) *Future[None] {
	return t.change(ctx, sc, at.UnixMilli(), false, nil)
}

// Delete removes a timer; a missing one is success.
func (t *Timers) Delete(ctx context.Context, sc Scope, at time.Time) error {
	return wait(ctx, t.DeleteAsync(ctx, sc, at))
}

// DeleteAsync is Delete with a future.
func (t *Timers) DeleteAsync(ctx context.Context, sc Scope, at time.Time) *Future[None] {
	return t.change(ctx, sc, at.UnixMilli(), true, nil)
}

// change writes one change. taken stands for it among what flies until it does so by itself; it may be nil.
func (t *Timers) change(ctx context.Context, sc Scope, at int64, remove bool, taken *request) *Future[None] {
	b := t.k.b
	group, sh, err := b.find(sc.Key)
	if err != nil {
		return failed[None](err)
	}
	key := b.o.Keys.appendTimer(nil, group, t.k.in[sh.number].id, at, sc)
	g := t.groups[group-b.o.Keys.Lo]
	c := &timerChange{t: t, g: g, key: key, op: timerOp{key[t.headLen():], remove}, taken: taken}
	c.r = &request{core: b.core, ctx: ctx, order: b.core.order(sc.Key), shard: sh, stats: &t.k.stats, job: c}
	if err := b.core.submit(c.r); err != nil {
		t.mu.Lock()
		delete(g.flying, taken)
		t.mu.Unlock()
		return failed[None](err)
	}
	return &c.Future
}

// timerChange is the job that writes one change.
type timerChange struct {
	Future[None]
	t     *Timers
	g     *timerGroup
	r     *request
	taken *request
	key   []byte
	op    timerOp
}

func (c *timerChange) run(r *request) error {
	c.t.mu.Lock()
	defer c.t.mu.Unlock()
	if c.op.remove {
		r.remove(c.key)
	} else {
		r.set(c.key, []byte{})
	}
	delete(c.g.flying, c.taken)
	c.g.flying[r] = c.op
	if c.g.loading {
		c.g.log = append(c.g.log, c.op)
	}
	c.t.apply(c.g, c.op)
	return nil
}

func (c *timerChange) done(err error) {
	c.t.mu.Lock()
	delete(c.g.flying, c.r)
	delete(c.g.flying, c.taken)
	if err != nil && len(c.r.ops) > 0 { // what is in memory may be wrong: read it again
		c.g.keys, c.g.complete = nil, false
		c.t.fix(c.g)
	}
	c.t.mu.Unlock()
	c.resolved(err)
}

// headLen is the length of key group and state in a key.
func (t *Timers) headLen() int {
	if t.k.b.o.Keys.wide() {
		return 4
	}
	return 3
}

// apply changes what is in memory; t.mu is held.
func (t *Timers) apply(g *timerGroup, o timerOp) {
	i, found := slices.BinarySearchFunc(g.keys, o.key, bytes.Compare)
	switch {
	case o.remove && found:
		g.keys = slices.Delete(g.keys, i, i+1)
	case !o.remove && !found && (g.complete || i < len(g.keys)):
		g.keys = slices.Insert(g.keys, i, o.key)
		if len(g.keys) > 2*timerPage {
			clear(g.keys[timerPage:])
			g.keys, g.complete = g.keys[:timerPage], false
		}
	default:
		return
	}
	t.fix(g)
}

// fix moves a group in the heap; t.mu is held.
func (t *Timers) fix(g *timerGroup) {
	switch {
	case len(g.keys) == 0 && g.index >= 0:
		heap.Remove(&t.first, g.index)
	case len(g.keys) > 0 && g.index < 0:
		heap.Push(&t.first, g)
	case len(g.keys) > 0:
		heap.Fix(&t.first, g.index)
	}
}

// load reads the beginning of all groups of which it is not known.
func (t *Timers) load(ctx context.Context) error {
	type page struct {
		g *timerGroup
		f *Future[None]
		s *scan
	}
	var pages []page
	var errs []error
	t.mu.Lock()
	var need []*timerGroup
	for _, g := range t.groups {
		if len(g.keys) == 0 && !g.complete && !g.loading {
			g.loading, g.log = true, nil
			for _, o := range g.flying { // no two are about the same timer: they are about one key
				g.log = append(g.log, o)
			}
			need = append(need, g)
		}
	}
	t.mu.Unlock()
	b := t.k.b
	for _, g := range need {
		sh := b.route[g.number-b.o.Keys.Lo]
		lower := binary.BigEndian.AppendUint16(b.o.Keys.appendGroup(nil, g.number), t.k.in[sh.number].id)
		upper := append(append([]byte{}, lower...), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff) // behind every time
		r := &request{core: b.core, ctx: ctx, order: b.core.order(lower), shard: sh, stats: &t.k.stats}
		r.scan = &scan{lower: lower, upper: upper, limit: timerPage}
		pages = append(pages, page{g, issue(r, func(*request) (None, error) { return None{}, nil }), r.scan})
	}
	for _, p := range pages {
		// Not ctx: a page that is still being read must not be forgotten.
		_, err := p.f.Wait(context.WithoutCancel(ctx))
		t.mu.Lock()
		p.g.loading = false
		if err == nil {
			p.g.complete = !p.s.more
			for _, k := range p.s.keys {
				p.g.keys = append(p.g.keys, k[t.headLen():])
			}
			for _, o := range p.g.log {
				t.apply(p.g, o)
			}
			t.fix(p.g)
		}
		p.g.log = nil
		t.mu.Unlock()
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Poll removes and returns the timers whose time is not after now, in the order of their time, at most limit of them. Polls of several goroutines
// share the timers. What a timer was for is best done before the next snapshot begins: then both are in it, or neither.
func (t *Timers) Poll(ctx context.Context, now time.Time, limit int) (due []Timer, err error) {
	var removals []*Future[None]
	for len(due) < limit {
		if err := t.ready(ctx); err != nil {
			return nil, errors.Join(err, t.putBack(ctx, due, removals))
		}
		at, sc, taken, err := t.take(now.UnixMilli())
		if err != nil {
			return nil, errors.Join(err, t.putBack(ctx, due, removals))
		}
		if taken == nil {
			break
		}
		due = append(due, Timer{time.UnixMilli(at), sc})
		removals = append(removals, t.change(ctx, sc, at, true, taken))
	}
	for _, f := range removals {
		if err := wait(ctx, f); err != nil {
			return nil, errors.Join(err, t.putBack(ctx, due, removals))
		}
	}
	return due, nil
}

// putBack registers what a Poll that fails has taken, so that another Poll finds it.
func (t *Timers) putBack(ctx context.Context, due []Timer, removals []*Future[None]) error {
	ctx = context.WithoutCancel(ctx)
	var errs []error
	for i, d := range due {
		if i < len(removals) {
			<-removals[i].Done()
		}
		errs = append(errs, t.Register(ctx, d.Scope, d.Time))
	}
	return errors.Join(errs...)
}

// ready makes sure that the first timer of every group is known.
func (t *Timers) ready(ctx context.Context) error {
	for {
		t.mu.Lock()
		known := !slices.ContainsFunc(t.groups, func(g *timerGroup) bool { return len(g.keys) == 0 && !g.complete })
		t.mu.Unlock()
		if known {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := t.load(ctx); err != nil {
			return err
		}
	}
}

// take takes the first timer out of memory if it is due; taken is nil if it is not.
func (t *Timers) take(now int64) (at int64, sc Scope, taken *request, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.first) == 0 {
		return 0, sc, nil, nil
	}
	g := t.first[0]
	at, sc, err = cutTimer(g.keys[0])
	if err != nil || at > now {
		return 0, sc, nil, err
	}
	o, taken := timerOp{g.keys[0], true}, new(request)
	g.flying[taken] = o // a page that is read from now on still has it
	t.apply(g, o)
	return at, sc, taken, nil
}

// Next is the time of the first timer; ok is false if there is none.
func (t *Timers) Next(ctx context.Context) (at time.Time, ok bool, err error) {
	if err := t.ready(ctx); err != nil {
		return at, false, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.first) == 0 {
		return at, false, nil
	}
	return time.UnixMilli(readInt64(t.first[0].keys[0])), true, nil
}

// timerHeap has the group with the earliest timer first.
type timerHeap []*timerGroup

func (h timerHeap) Len() int { return len(h) }
func (h timerHeap) Less(i, j int) bool {
	return bytes.Compare(h[i].keys[0], h[j].keys[0]) < 0 != mutant.On(mutTimerOrder)
}
func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *timerHeap) Push(x any) {
	g := x.(*timerGroup)
	g.index = len(*h)
	*h = append(*h, g)
}

func (h *timerHeap) Pop() any {
	old := *h
	g := old[len(old)-1]
	*h = old[:len(old)-1]
	g.index = -1
	return g
}
