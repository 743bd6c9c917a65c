package conformance

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/localdisk"
	"github.com/forst-go/forst/internal/localdisk/memdisk"
)

// placedFile is what a script did to a file and what it was told.
type placedFile struct {
	full  []byte // all that was written, or may have been
	least int    // so much of it is durable, if the file is there
	must  bool   // its name is durable
	maybe bool   // the call that would have made it failed: it may be there or not, for ever
	ends  bool   // it is closed, and its bytes are in the volume: any durability call covers them
}

// placedPlan is what must be found after a crash.
type placedPlan struct {
	files  map[string]placedFile
	either [][2]string // one of the two names is there
	going  []string    // names that are gone after the next durability call
}

func (p *placedPlan) clone() *placedPlan {
	c := &placedPlan{files: map[string]placedFile{}, either: append([][2]string(nil), p.either...)}
	for name, f := range p.files {
		f.full = append([]byte(nil), f.full...)
		c.files[name] = f
	}
	return c
}

// placedScript works on a volume as an engine does, and notes what it was promised.
type placedScript struct {
	e    *fsEnv
	p    Placed
	v    *forstfs.FS
	open map[string]*forstfs.File
	n    int

	fenceCheck time.Duration // Options.FenceCheck

	mu   sync.Mutex
	plan *placedPlan
}

func newPlacedScript(e *fsEnv, p Placed) *placedScript {
	return &placedScript{e: e, p: p, open: map[string]*forstfs.File{}, plan: &placedPlan{files: map[string]placedFile{}}}
}

func (s *placedScript) change(fn func(p *placedPlan)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fn(s.plan)
}

func (s *placedScript) edit(name string, fn func(f *placedFile)) {
	s.change(func(p *placedPlan) {
		f := p.files[name]
		fn(&f)
		p.files[name] = f
	})
}

func (s *placedScript) local(name string) bool {
	c := forstfs.Classify(name)
	return s.p.Placement.Local(c) && !(c == forstfs.ClassWAL && s.p.MaxLag > 0)
}

// covered: every operation issued so far is durable.
func (s *placedScript) covered() {
	s.change(func(p *placedPlan) {
		for _, name := range p.going {
			delete(p.files, name)
		}
		p.going, p.either = nil, nil
		for name, f := range p.files {
			f.must = !f.maybe
			if f.ends {
				f.least = len(f.full)
			}
			p.files[name] = f
		}
	})
}

func (s *placedScript) create(name string) error {
	s.edit(name, func(f *placedFile) { *f = placedFile{} })
	f, err := s.v.Create(s.e.ctx, name, nil)
	if err != nil {
		return s.undone(err, name)
	}
	s.open[name] = f
	return nil
}

// undone notes that a call failed that would have changed names.
func (s *placedScript) undone(err error, names ...string) error {
	for _, name := range names {
		s.edit(name, func(f *placedFile) { f.must, f.maybe = false, true })
	}
	return err
}

func (s *placedScript) write(name string, size int) error {
	s.n++
	p := make([]byte, size)
	for i := range p {
		p[i] = byte(s.n + i*7)
	}
	before := 0
	s.edit(name, func(f *placedFile) { before = len(f.full); f.full = append(f.full, p...) })
	k, err := s.open[name].Write(p)
	if err != nil {
		s.edit(name, func(f *placedFile) { f.full = f.full[:before+k] })
	}
	return err
}

func (s *placedScript) sync(name string) error {
	var size int
	s.edit(name, func(f *placedFile) { size = len(f.full) })
	if err := s.open[name].Sync(); err != nil {
		return err
	}
	if !(s.p.Placement.Local(forstfs.ClassWAL) && forstfs.Classify(name) == forstfs.ClassWAL) {
		s.covered()
	}
	s.edit(name, func(f *placedFile) { f.must, f.least = true, max(f.least, size) })
	return nil
}

func (s *placedScript) close(name string) error {
	f := s.open[name]
	delete(s.open, name)
	err := f.Close()
	if err == nil && !s.local(name) {
		s.edit(name, func(f *placedFile) { f.ends = true })
	}
	return err
}

// write1 makes a whole file.
func (s *placedScript) write1(name string, size int, sync bool) error {
	err := s.create(name)
	if err == nil {
		err = s.write(name, size)
	}
	if err == nil && sync {
		err = s.sync(name)
	}
	if err == nil {
		err = s.close(name)
	}
	return err
}

func (s *placedScript) rename(from, to string) error {
	s.change(func(p *placedPlan) {
		f := p.files[from]
		if f.must {
			p.either = append(p.either, [2]string{from, to})
		}
		f.must = false
		p.files[from], p.files[to] = f, f
	})
	if err := s.v.Rename(s.e.ctx, from, to); err != nil {
		return s.undone(err, from, to)
	}
	s.change(func(p *placedPlan) { p.going = append(p.going, from) })
	return nil
}

func (s *placedScript) link(from, to string) error {
	s.change(func(p *placedPlan) {
		f := p.files[from]
		f.must = false
		p.files[to] = f
	})
	if err := s.v.Link(s.e.ctx, from, to); err != nil {
		return s.undone(err, to)
	}
	return nil
}

func (s *placedScript) remove(name string) error {
	s.edit(name, func(f *placedFile) { f.must = false })
	if err := s.v.Remove(s.e.ctx, name); err != nil {
		return s.undone(err, name)
	}
	s.change(func(p *placedPlan) { p.going = append(p.going, name) })
	return nil
}

func (s *placedScript) all() error {
	if err := s.v.Sync(s.e.ctx); err != nil {
		return err
	}
	s.covered()
	return nil
}

// life is what an engine does between two openings: logs, a table, a catalogue that is renamed into place, markers, removals.
func (s *placedScript) life(gen int) error {
	n := func(format string) string { return fmt.Sprintf(format, gen) }
	wal, next, sst, manifest := n("/%06d.log"), n("/1%05d.log"), n("/%06d.sst"), n("/MANIFEST-%06d")
	steps := []func() error{
		func() error { return s.create(wal) },
		func() error { return s.write(wal, 100) },
		func() error { return s.sync(wal) },
		func() error { return s.write(wal, 3000) },
		func() error { return s.sync(wal) },
		func() error { return s.write1(sst, 9000, false) },
		func() error { return s.write(wal, 50) },
		func() error { return s.create(manifest) },
		func() error { return s.write(manifest, 200) },
		func() error { return s.sync(manifest) },
		func() error { return s.write1(n("/OPTIONS-%06d.dbtmp"), 400, true) },
		func() error { return s.rename(n("/OPTIONS-%06d.dbtmp"), n("/OPTIONS-%06d")) },
		func() error { return s.write(manifest, 70) },
		func() error { return s.sync(manifest) },
		func() error { return s.write1(n("/marker.manifest.%06d.M"), 0, false) },
		s.all,
		func() error { return s.create(next) },
		func() error { return s.write(next, 500) },
		func() error { return s.close(wal) },
		func() error { return s.sync(next) },
		func() error { return s.link(sst, n("/backup-%d")) },
		func() error { return s.link(n("/OPTIONS-%06d"), n("/%d.tmp")) },
		func() error { return s.remove(wal) },
		s.all,
		func() error { return s.write(next, 20) },
		func() error { return s.sync(next) },
		func() error { return s.close(manifest) },
		func() error { return s.close(next) },
	}
	for i, step := range steps {
		if err := step(); err != nil {
			return fmt.Errorf("step %d: %w", i, err)
		}
	}
	return nil
}

func (s *placedScript) options() *forstfs.Options {
	o := smallOptions()
	o.Placement, o.MaxLag, o.LocalDir, o.FenceCheck = s.p.Placement, s.p.MaxLag, "in memory", s.fenceCheck
	return o
}

// mount opens the volume with the disk.
func (s *placedScript) mount(st driver.Store, d *memdisk.Disk) error {
	v, err := forstfs.Open(localdisk.With(s.e.ctx, d.Open), st, s.options())
	if err == nil {
		s.v = v
	}
	return err
}

// judge opens what a crash has left and holds it against the plan; the next process works and closes, and another one finds that.
func (s *placedScript) judge(st func() driver.Store, d *memdisk.Disk, plan *placedPlan) error {
	next := newPlacedScript(s.e, s.p)
	if err := next.mount(st(), d); err != nil {
		return fmt.Errorf("open: %w", err)
	}
	if err := plan.compare(s.e.ctx, next.v); err != nil {
		return errors.Join(err, next.v.Close())
	}
	err := next.write1("/x/../900000.log", 300, true)
	if err == nil {
		err = next.write1("/MANIFEST-900000", 300, true)
	}
	if err = errors.Join(err, next.v.Close()); err != nil {
		return fmt.Errorf("working with what was recovered: %w", err)
	}
	again := newPlacedScript(s.e, s.p)
	if err := again.mount(st(), d); err != nil {
		return fmt.Errorf("open again: %w", err)
	}
	for name, f := range next.plan.files {
		if name == "/x/../900000.log" {
			name = "/900000.log"
		}
		plan.files[name] = f
	}
	err = plan.compare(s.e.ctx, again.v)
	return errors.Join(err, again.v.Close())
}

func (p *placedPlan) compare(ctx context.Context, v *forstfs.FS) error {
	there := map[string]bool{}
	err := v.Walk(ctx, func(name string, i forstfs.FileInfo) error {
		if i.IsDir() {
			return nil
		}
		there[name] = true
		want, ok := p.files[name]
		if !ok {
			return fmt.Errorf("%s is there and should not be", name)
		}
		f, err := v.Open(ctx, name, nil)
		if err != nil {
			return err
		}
		got := make([]byte, i.Size())
		_, err = f.ReadAt(got, 0)
		if err = errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if i.Local() { // nobody synced the rest: a file system may have given the file its length and not its bytes
			for k := want.least; k < len(got) && k < len(want.full); k++ {
				if got[k] == 0 {
					got = got[:k]
				}
			}
		}
		if len(got) < want.least || len(got) > len(want.full) || string(want.full[:len(got)]) != string(got) {
			return fmt.Errorf("%s has %d bytes (a prefix: %v); %d are durable and %d were written", name, len(got), strings.HasPrefix(string(want.full), string(got)), want.least, len(want.full))
		}
		return nil
	})
	if err != nil {
		return err
	}
	for name, f := range p.files {
		if f.must && !there[name] {
			return fmt.Errorf("%s is missing", name)
		}
	}
	for _, e := range p.either {
		if !there[e[0]] && !there[e[1]] {
			return fmt.Errorf("neither %s nor %s is there", e[0], e[1])
		}
	}
	names, err := v.List(ctx, "/")
	if err != nil {
		return err
	}
	if len(names) != len(there) {
		return fmt.Errorf("a listing has %d names, a walk %d", len(names), len(there))
	}
	return nil
}
