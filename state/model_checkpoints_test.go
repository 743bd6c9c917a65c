package state

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"sync"

	"pgregory.net/rapid"
)

func (m *model) snapshot() {
	m.id++
	var ss []*Snapshot
	for _, w := range m.workers {
		s, err := w.b.Snapshot(ctx, m.id, []byte(strconv.FormatUint(m.id, 10)))
		m.ok(err)
		ss = append(ss, s)
	}
	m.saved = append(m.saved, saved{m.id, m.run, m.now(), m.max, m.holds.clone()})
	for range rapid.IntRange(0, 3).Draw(m.t, "meanwhile") { // while it is under way
		m.writeValue()
		m.writeList()
	}
	for _, s := range ss {
		_, err := s.Wait(ctx)
		m.ok(err)
	}
	for _, w := range m.workers {
		w.b.snaps.wg.Wait() // for the retention
	}
	m.retain()
}

// retain forgets what the retention of the run removes behind a snapshot.
func (m *model) retain() {
	if m.keepLast == 0 && m.keepFor == 0 {
		return
	}
	m.forget(func(s saved, behind int) bool {
		return s.run == m.run && behind >= max(1, m.keepLast) && s.created+m.keepFor.Milliseconds() <= m.now()
	})
	m.kept()
}

// forget drops what f says; behind is the number of younger checkpoints of the same run.
func (m *model) forget(f func(s saved, behind int) bool) {
	var left []saved
	for i, s := range m.saved {
		behind := 0
		for _, o := range m.saved[i+1:] {
			if o.run == s.run {
				behind++
			}
		}
		if !f(s, behind) {
			left = append(left, s)
		}
	}
	m.saved = left
}

// kept compares the checkpoints that can be restored.
func (m *model) kept() {
	var got, want []string
	all, err := Checkpoints(ctx, m.root)
	m.ok(err)
	for _, c := range all {
		if c.Complete {
			got = append(got, fmt.Sprint(c.ID, " of ", c.Run))
		}
	}
	for _, s := range m.saved {
		want = append(want, fmt.Sprint(s.id, " of ", s.run))
	}
	m.equal("checkpoints", got, want)
}

// subsume forgets older checkpoints of the run.
func (m *model) subsume() {
	id := m.id - rapid.Uint64Range(0, min(2, m.id)).Draw(m.t, "but the last")
	for _, w := range m.workers {
		m.ok(w.b.Subsume(ctx, id))
	}
	m.forget(func(s saved, _ int) bool { return s.run == m.run && s.id < id })
	m.kept()
}

// remove forgets any checkpoint, of whatever run, and what nobody needs any more.
func (m *model) remove() {
	if len(m.saved) > 0 && rapid.Bool().Draw(m.t, "remove one") {
		s := m.saved[rapid.IntRange(0, len(m.saved)-1).Draw(m.t, "checkpoint")]
		m.ok(RemoveCheckpoint(ctx, m.root, s.id, strconv.Itoa(s.run)))
		m.forget(func(o saved, _ int) bool { return o.id == s.id })
	}
	_, err := Clean(ctx, m.root, strconv.Itoa(m.run))
	m.ok(err)
	m.kept()
}

// consolidate joins the databases of all instances, while requests and a snapshot go on.
func (m *model) consolidate() {
	var wg sync.WaitGroup
	errs := make([]error, len(m.workers))
	stats := make([]ConsolidateStats, len(m.workers))
	for i, w := range m.workers {
		wg.Go(func() { stats[i], errs[i] = w.b.Consolidate(ctx) })
	}
	for range rapid.IntRange(0, 8).Draw(m.t, "meanwhile") {
		rapid.SampledFrom([]func(){m.writeValue, m.writeList, m.writeMap, m.writeMap, m.add, m.mergeNamespaces, m.timer, m.poll, m.snapshot}).Draw(m.t, "what")()
	}
	wg.Wait()
	for i := range errs {
		m.ok(errs[i])
		m.equal("databases", fmt.Sprint(stats[i].After, stats[i].Reason), "1")
	}
	m.compareAll()
}

// restore goes back to any checkpoint, with any number of instances.
func (m *model) restore() {
	if len(m.saved) == 0 {
		m.t.Skip("nothing is saved")
	}
	s := m.saved[rapid.IntRange(0, len(m.saved)-1).Draw(m.t, "checkpoint")]
	m.max, m.holds = s.max, s.holds.clone()
	m.start(rapid.IntRange(1, 4).Draw(m.t, "instances"), func(o *Options) (*Backend, error) { return Restore(ctx, m.root, s.id, o) })
	m.equal("metadata", string(m.workers[0].b.Restored().Instances[0].Meta), strconv.FormatUint(s.id, 10))
	m.compareAll()
}

// savepoint takes everything to a job with another number of instances and of key groups.
func (m *model) savepoint() {
	var files [][]byte
	for _, w := range m.workers {
		var f bytes.Buffer
		_, err := w.b.Export(ctx, &f)
		m.ok(err)
		files = append(files, f.Bytes())
	}
	m.max = rapid.SampledFrom([]int{5, 16, 300}).Draw(m.t, "key groups")
	m.start(rapid.IntRange(1, 4).Draw(m.t, "instances"), func(o *Options) (*Backend, error) {
		b, err := Create(ctx, m.root, o)
		if err != nil {
			return nil, err
		}
		var rs []io.Reader
		for _, f := range files {
			rs = append(rs, bytes.NewReader(f))
		}
		_, err = b.Import(ctx, rs...)
		return b, err
	})
	m.compareAll()
}
