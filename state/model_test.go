package state

import (
	"flag"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/forst-go/forst/forstfs/driver"
)

const modelTTL = 100 * time.Millisecond

// place is a key and a namespace of the model.
type place struct{ key, ns int64 }

func (p place) scope() Scope {
	s := IntKey(p.key)
	if p.ns > 0 {
		s = s.In([]byte{byte(p.ns), 0})
	}
	return s
}

type stamped struct{ v, at int64 }

// contents is what a job should hold: plain maps.
type contents struct {
	value, renewed map[place]stamped
	list           map[place][]stamped
	entries        map[place]map[int64]stamped
	sum, mean      map[place][2]int64 // sum and count
	timers         map[place]map[int64]bool
}

func newContents() *contents {
	return &contents{map[place]stamped{}, map[place]stamped{}, map[place][]stamped{}, map[place]map[int64]stamped{}, map[place][2]int64{}, map[place][2]int64{}, map[place]map[int64]bool{}}
}

func (c *contents) clone() *contents {
	n := newContents()
	n.value, n.renewed, n.sum, n.mean = maps.Clone(c.value), maps.Clone(c.renewed), maps.Clone(c.sum), maps.Clone(c.mean)
	for k, v := range c.list {
		n.list[k] = slices.Clone(v)
	}
	for k, v := range c.entries {
		n.entries[k] = maps.Clone(v)
	}
	for k, v := range c.timers {
		n.timers[k] = maps.Clone(v)
	}
	return n
}

// worker is one instance of the job.
type worker struct {
	b       *Backend
	value   *Value[int64]
	renewed *Value[int64]
	list    *List[int64]
	entries *Map[int64, int64]
	sum     *Reducing[int64]
	mean    *Aggregating[int64, [2]int64, int64]
	timers  *Timers
}

func newWorker(t rapid.TB, b *Backend) *worker {
	fixed := TTL{After: modelTTL}
	w := &worker{b: b}
	var errs [7]error
	w.value, errs[0] = NewValue(b, ValueDescriptor[int64]{Name: "value", Codec: Int64, TTL: fixed})
	w.renewed, errs[1] = NewValue(b, ValueDescriptor[int64]{Name: "renewed", Codec: Int64, TTL: TTL{modelTTL, true}})
	w.list, errs[2] = NewList(b, ListDescriptor[int64]{Name: "list", Codec: Int64, TTL: fixed})
	w.entries, errs[3] = NewMap(b, MapDescriptor[int64, int64]{Name: "entries", Key: Int64, Codec: Int64, TTL: fixed})
	w.sum, errs[4] = NewReducing(b, ReducingDescriptor[int64]{Name: "sum", Codec: Int64, Reduce: func(a, b int64) int64 { return a + b }})
	w.mean, errs[5] = NewAggregating(b, AggregatingDescriptor[int64, [2]int64, int64]{Name: "mean", Codec: Gob[[2]int64](), Aggregate: Aggregate[int64, [2]int64, int64]{
		Create: func() [2]int64 { return [2]int64{} },
		Add:    func(a [2]int64, v int64) [2]int64 { return [2]int64{a[0] + v, a[1] + 1} },
		Result: func(a [2]int64) int64 { return a[0] / a[1] },
		Merge:  func(a, b [2]int64) [2]int64 { return [2]int64{a[0] + b[0], a[1] + b[1]} },
	}})
	w.timers, errs[6] = NewTimers(b, "timers")
	for _, err := range errs {
		if err != nil {
			t.Fatalf("%+v", err)
		}
	}
	return w
}

type saved struct {
	id      uint64
	run     int
	created int64
	max     int
	holds   *contents
}

// model runs random operations on a job of several instances and on plain maps.
type model struct {
	t       *rapid.T
	root    driver.Store
	clk     *clock
	max     int
	run     int
	id      uint64
	workers []*worker
	holds   *contents
	saved   []saved // that can be restored, oldest first

	keepLast int // of the run
	keepFor  time.Duration
}

func (m *model) ok(err error) {
	if err != nil {
		m.t.Fatalf("%+v", err)
	}
}

func (m *model) equal(what string, got, want any) {
	if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
		m.t.Fatalf("%s: got %s, want %s", what, g, w)
	}
}

func (m *model) options(i, n int) *Options {
	o := small()
	o.Keys, o.Run, o.Clock, o.KeepLast, o.KeepFor = Instance(m.max, n, i), strconv.Itoa(m.run), m.clk.now, m.keepLast, m.keepFor
	return o
}

// start replaces all workers.
func (m *model) start(n int, open func(o *Options) (*Backend, error)) {
	m.stop()
	m.run++
	m.keepLast = rapid.SampledFrom([]int{0, 0, 0, 1, 2}).Draw(m.t, "keep the last")
	m.keepFor = rapid.SampledFrom([]time.Duration{0, 0, 0, 60 * time.Millisecond}).Draw(m.t, "keep for")
	for i := range n {
		b, err := open(m.options(i, n))
		m.ok(err)
		m.workers = append(m.workers, newWorker(m.t, b))
	}
}

func (m *model) stop() {
	for _, w := range m.workers {
		m.ok(w.b.Close())
	}
	m.workers = nil
	m.kept()
}

func (m *model) place() (place, Scope, *worker) {
	p := place{rapid.Int64Range(0, 5).Draw(m.t, "key"), rapid.Int64Range(0, 2).Draw(m.t, "namespace")}
	return p, p.scope(), m.of(p)
}

func (m *model) of(p place) *worker {
	s := p.scope()
	return m.workers[InstanceOf(KeyGroup(s.Key, m.max), m.max, len(m.workers))]
}

func (m *model) now() int64           { return m.clk.ms.Load() }
func (m *model) lives(s stamped) bool { return s.at+modelTTL.Milliseconds() > m.now() }
func (m *model) number() int64        { return rapid.Int64Range(-5, 5).Draw(m.t, "number") }

func (m *model) writeValue() {
	p, sc, w := m.place()
	v := m.number()
	switch rapid.IntRange(0, 3).Draw(m.t, "how") {
	case 0:
		m.ok(w.value.Put(ctx, sc, v))
		m.holds.value[p] = stamped{v, m.now()}
	case 1:
		m.ok(w.renewed.Put(ctx, sc, v))
		m.holds.renewed[p] = stamped{v, m.now()}
	case 2:
		m.ok(w.value.Clear(ctx, sc))
		delete(m.holds.value, p)
	default:
		m.ok(w.value.Update(ctx, sc, func(old int64, ok bool) (int64, bool) { return old + v, ok && v != 0 }))
		if old := m.holds.value[p]; m.lives(old) && v != 0 {
			m.holds.value[p] = stamped{old.v + v, m.now()}
		} else {
			delete(m.holds.value, p)
		}
	}
}

func (m *model) writeList() {
	p, sc, w := m.place()
	vs := rapid.SliceOfN(rapid.Int64Range(0, 9), 0, 4).Draw(m.t, "elements")
	els := make([]stamped, 0, 4)
	for _, v := range vs {
		els = append(els, stamped{v, m.now()})
	}
	switch rapid.IntRange(0, 4).Draw(m.t, "how") {
	case 0:
		m.ok(w.list.Set(ctx, sc, vs...))
		m.holds.list[p] = els
	case 1:
		m.ok(w.list.Clear(ctx, sc))
		delete(m.holds.list, p)
	default:
		m.ok(w.list.Add(ctx, sc, vs...))
		m.holds.list[p] = append(m.holds.list[p], els...)
	}
}

func (m *model) writeMap() {
	p, sc, w := m.place()
	if m.holds.entries[p] == nil {
		m.holds.entries[p] = map[int64]stamped{}
	}
	have := m.holds.entries[p]
	switch rapid.IntRange(0, 4).Draw(m.t, "how") {
	case 0:
		m.ok(w.entries.Clear(ctx, sc))
		clear(have)
	case 1:
		k := m.number()
		m.ok(w.entries.Remove(ctx, sc, k))
		delete(have, k)
	default:
		var es []Entry[int64, int64]
		for _, k := range rapid.SliceOfN(rapid.Int64Range(-5, 5), 0, 6).Draw(m.t, "keys") {
			es = append(es, Entry[int64, int64]{k, m.number()})
			have[k] = stamped{es[len(es)-1].Value, m.now()}
		}
		m.ok(w.entries.PutAll(ctx, sc, es...))
	}
}

func (m *model) add() {
	p, sc, w := m.place()
	v := m.number()
	m.ok(w.sum.Add(ctx, sc, v))
	m.ok(w.mean.Add(ctx, sc, v))
	for _, h := range []map[place][2]int64{m.holds.sum, m.holds.mean} {
		h[p] = [2]int64{h[p][0] + v, h[p][1] + 1}
	}
	if rapid.IntRange(0, 5).Draw(m.t, "clear") == 0 {
		m.ok(w.sum.Clear(ctx, sc))
		delete(m.holds.sum, p)
	}
}

func (m *model) mergeNamespaces() {
	p, sc, w := m.place()
	others := rapid.SliceOfN(rapid.Int64Range(0, 2), 0, 3).Draw(m.t, "namespaces")
	var sources [][]byte
	seen := map[int64]bool{p.ns: true}
	for _, ns := range others {
		from := place{p.key, ns}
		sources = append(sources, from.scope().Namespace)
		if seen[ns] {
			continue
		}
		seen[ns] = true
		m.holds.list[p] = append(m.holds.list[p], m.holds.list[from]...)
		delete(m.holds.list, from)
		for _, h := range []map[place][2]int64{m.holds.sum, m.holds.mean} {
			if o, some := h[from]; some {
				h[p] = [2]int64{h[p][0] + o[0], h[p][1] + o[1]}
				delete(h, from)
			}
		}
	}
	m.ok(w.list.MergeNamespaces(ctx, sc.Key, sc.Namespace, sources...))
	m.ok(w.sum.MergeNamespaces(ctx, sc.Key, sc.Namespace, sources...))
	m.ok(w.mean.MergeNamespaces(ctx, sc.Key, sc.Namespace, sources...))
}

func (m *model) timer() {
	p, sc, w := m.place()
	at := rapid.Int64Range(0, 20).Draw(m.t, "time")
	if m.holds.timers[p] == nil {
		m.holds.timers[p] = map[int64]bool{}
	}
	switch rapid.IntRange(0, 3).Draw(m.t, "how") {
	case 0:
		m.ok(w.timers.Delete(ctx, sc, time.UnixMilli(at)))
		delete(m.holds.timers[p], at)
	default:
		m.ok(w.timers.Register(ctx, sc, time.UnixMilli(at)))
		m.holds.timers[p][at] = true
	}
}

func (m *model) poll() {
	w := m.workers[rapid.IntRange(0, len(m.workers)-1).Draw(m.t, "instance")]
	now := rapid.Int64Range(0, 20).Draw(m.t, "time")
	due, err := w.timers.Poll(ctx, time.UnixMilli(now), 100)
	m.ok(err)
	var got, want []string
	for _, d := range due {
		ns := int64(0)
		if len(d.Scope.Namespace) > 0 {
			ns = int64(d.Scope.Namespace[0])
		}
		got = append(got, fmt.Sprintf("%02d %d/%d", d.Time.UnixMilli(), readInt64(d.Scope.Key), ns))
	}
	if !sort.SliceIsSorted(due, func(i, j int) bool { return due[i].Time.Before(due[j].Time) }) {
		m.t.Fatalf("timers out of order: %v", got)
	}
	for p, times := range m.holds.timers {
		for at := range times {
			if at <= now && m.of(p) == w {
				want = append(want, fmt.Sprintf("%02d %d/%d", at, p.key, p.ns))
				delete(times, at)
			}
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	m.equal("due timers", got, want)
}

// read compares one place.
func (m *model) read() {
	p, _, _ := m.place()
	m.compare(p)
}

func (m *model) compare(p place) {
	sc, w := p.scope(), m.of(p)
	at := func(what string) string { return fmt.Sprintf("%s of %d/%d at %d", what, p.key, p.ns, m.now()) }
	maybe := func(s stamped) string {
		if m.lives(s) {
			return fmt.Sprint(s.v, true)
		}
		return fmt.Sprint(0, false)
	}
	v, found, err := w.value.Get(ctx, sc)
	m.ok(err)
	m.equal(at("value"), fmt.Sprint(v, found), maybe(m.holds.value[p]))
	v, found, err = w.renewed.Get(ctx, sc)
	m.ok(err)
	m.equal(at("renewed value"), fmt.Sprint(v, found), maybe(m.holds.renewed[p]))
	if s := m.holds.renewed[p]; m.lives(s) {
		m.holds.renewed[p] = stamped{s.v, m.now()}
	}
	list, err := w.list.Get(ctx, sc)
	m.ok(err)
	var want []int64
	for _, s := range m.holds.list[p] {
		if m.lives(s) {
			want = append(want, s.v)
		}
	}
	m.equal(at("list"), list, want)
	var got, wantEntries []string
	for e, err := range w.entries.All(ctx, sc) {
		m.ok(err)
		got = append(got, fmt.Sprint(e.Key, "=", e.Value))
	}
	for _, k := range slices.Sorted(maps.Keys(m.holds.entries[p])) {
		if s := m.holds.entries[p][k]; m.lives(s) {
			wantEntries = append(wantEntries, fmt.Sprint(k, "=", s.v))
		}
	}
	m.equal(at("map"), got, wantEntries)
	empty, err := w.entries.IsEmpty(ctx, sc)
	m.ok(err)
	m.equal(at("emptiness"), empty, len(wantEntries) == 0)
	v, found, err = w.sum.Get(ctx, sc)
	m.ok(err)
	sum, some := m.holds.sum[p]
	m.equal(at("sum"), fmt.Sprint(v, found), fmt.Sprint(sum[0], some))
	v, found, err = w.mean.Get(ctx, sc)
	m.ok(err)
	mean, some := m.holds.mean[p]
	if some {
		mean[0] /= mean[1]
	}
	m.equal(at("mean"), fmt.Sprint(v, found), fmt.Sprint(mean[0], some))
}

func (m *model) compareAll() {
	for key := range int64(6) {
		for ns := range int64(3) {
			m.compare(place{key, ns})
		}
	}
}

func (m *model) sweepAll() {
	for _, w := range m.workers {
		m.ok(w.b.Sweep(ctx))
	}
}

// end restores what is left, the youngest first, and then nothing but the dead is left.
func (m *model) end() {
	m.stop()
	for range min(3, len(m.saved)) {
		s := m.saved[len(m.saved)-1]
		m.max, m.holds = s.max, s.holds.clone()
		m.start(1, func(o *Options) (*Backend, error) { return Restore(ctx, m.root, s.id, o) })
		m.compareAll()
		m.stop()
		m.ok(RemoveCheckpoint(ctx, m.root, s.id, strconv.Itoa(s.run)))
		m.forget(func(o saved, _ int) bool { return o.id == s.id })
	}
}

// All types with TTLs, snapshots, restores, rescales and savepoints, against plain maps.
func TestModel(t *testing.T) {
	checks := flag.Lookup("rapid.checks")
	chosen := checks.Value.String()
	defer func() { ok(t, checks.Value.Set(chosen)) }()
	for _, r := range roots {
		t.Run(r.name, func(t *testing.T) {
			n := map[string]string{"mem": "150", "local": "4", "s3": "3"}[r.name]
			switch {
			case testing.Short():
				n = map[string]string{"mem": "10", "local": "1", "s3": "1"}[r.name]
			case nightly():
				n = map[string]string{"mem": "2000", "local": "50", "s3": "50"}[r.name]
			}
			ok(t, checks.Value.Set(n))
			base := r.new(t)
			runs := 0
			rapid.Check(t, func(rt *rapid.T) {
				runs++
				m := &model{t: rt, root: below(base, fmt.Sprintf("run%d/", runs)), clk: newClock(), max: 16, holds: newContents()}
				defer func() { // also after a failure, so that nothing runs beside the next attempt
					for _, w := range m.workers {
						_ = w.b.Close()
					}
				}()
				m.start(rapid.IntRange(1, 3).Draw(rt, "instances"), func(o *Options) (*Backend, error) { return Create(ctx, m.root, o) })
				step := func(f func()) func(*rapid.T) { return func(t *rapid.T) { m.t = t; f() } }
				rt.Repeat(map[string]func(*rapid.T){
					"value": step(m.writeValue), "list": step(m.writeList), "map": step(m.writeMap), "add": step(m.add),
					"merge": step(m.mergeNamespaces), "timer": step(m.timer), "poll": step(m.poll), "read": step(m.read), "more": step(m.writeMap), "again": step(m.writeValue),
					"time": func(t *rapid.T) {
						m.clk.advance(time.Duration(rapid.Int64Range(0, 80).Draw(t, "ms")) * time.Millisecond)
					},
					"snapshot": step(m.snapshot), "restore": step(m.restore), "savepoint": step(m.savepoint), "sweep": step(m.sweepAll),
					"subsume": step(m.subsume), "remove": step(m.remove), "consolidate": step(m.consolidate),
				})
				m.t = rt
				m.compareAll()
				m.end()
			})
		})
	}
}
