package conformance

import (
	"bytes"
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

// lostDisk: a volume is not opened without its disk, and not one request changes the store; the error names what is lost and the snapshot to go back to. Given up, the volume has
// everything that was in the store, and nothing else.
func lostDisk(e *placedEnv) {
	s := newPlacedScript(e.fsEnv, e.p)
	e.must(s.mount(e.store(), memdisk.New()))
	e.must(s.v.MkdirAll(e.ctx, "/keep"))
	e.must(s.write1("/keep/000001.sst", 5000, false))
	_, err := s.v.Snapshot(e.ctx, "back-to-this", &forstfs.SnapshotOptions{Dir: "/keep"})
	e.must(err)
	s.covered()
	e.must(s.life(1))
	e.must(s.all())
	defer func() { _ = s.v.Close() }() // it is fenced by then

	var local []string
	for name := range s.plan.files {
		if s.local(name) {
			local = append(local, name)
		}
	}
	bare := smallOptions()
	empty := s.options()
	for _, o := range []*forstfs.Options{bare, empty} {
		u := &untouched{Store: e.store()}
		_, err = forstfs.Open(localdisk.With(e.ctx, memdisk.New().Open), u, o)
		if !errors.Is(err, forstfs.ErrLocalLost) {
			e.Fatalf("opened without its disk: %v", err)
		}
		for _, want := range append([]string{`"back-to-this"`, "AcceptLoss"}, local[:min(len(local), 1)]...) {
			if !strings.Contains(err.Error(), want) {
				e.Errorf("the error does not speak of %s: %v", want, err)
			}
		}
		if e.p.MaxLag > 0 && !strings.Contains(err.Error(), e.p.MaxLag.String()) {
			e.Errorf("the error does not say how much of the logs may be lost: %v", err)
		}
		if n := u.changes.Load(); n > 0 {
			e.Errorf("%d requests changed the store before it was refused", n)
		}
	}
	e.must(s.v.Sync(e.ctx)) // nobody was fenced

	bare.AcceptLoss = true
	v, err := forstfs.Open(e.ctx, e.store(), bare)
	e.must(err)
	left := s.plan.clone()
	for name, f := range left.files {
		switch {
		case s.local(name):
			delete(left.files, name)
		case e.p.MaxLag > 0 && forstfs.Classify(name) == forstfs.ClassWAL:
			f.least = 0
			left.files[name] = f
		}
	}
	e.must(left.compare(e.ctx, v))
	e.must(v.Close())
	v, err = forstfs.Open(e.ctx, e.store(), smallOptions())
	e.must(err)
	e.must(left.compare(e.ctx, v))
	e.must(v.Close())
}

// crossings: files get names of every other class, by rename and by link. Each name has the whole file, on the side of its class; what is done to one name is not
// done to another across the border; and when the disk is lost, what belongs in the volume is there.
func crossings(e *placedEnv) {
	s := newPlacedScript(e.fsEnv, e.p)
	disk := memdisk.New()
	e.must(s.mount(e.store(), disk))
	forms := []string{"/%d.log", "/%d.sst", "/MANIFEST-%06d", "/OPTIONS-%06d", "/%d.dbtmp", "/marker.x.%06d.y", "/other%d"}
	n := 0
	name := func(form string) string { n++; return fmt.Sprintf(form, n) }
	want := map[string][]byte{}
	make1 := func(form string) string {
		p := name(form)
		e.must(s.write1(p, 300+n, true))
		want[p] = s.plan.files[p].full
		return p
	}
	for _, from := range forms {
		for _, to := range forms {
			a, b := make1(from), name(to)
			e.must(s.v.Rename(e.ctx, a, b))
			want[b] = want[a]
			delete(want, a)

			a, b = make1(from), name(to)
			e.must(s.v.Link(e.ctx, a, b))
			want[b] = want[a]

			a, b = make1(from), name(to) // the second name outlives the first
			e.must(s.v.Link(e.ctx, a, b))
			want[b] = want[a]
			e.must(s.v.Remove(e.ctx, a))
			delete(want, a)
		}
	}
	follows := e.p.MaxLag > 0
	look := func(v *forstfs.FS, lost bool) {
		e.Helper()
		there := 0
		e.must(v.Walk(e.ctx, func(p string, i forstfs.FileInfo) error {
			if i.IsDir() {
				return nil
			}
			there++
			data, ok := want[p]
			if !ok {
				return fmt.Errorf("%s is there", p)
			}
			if i.Local() != (!lost && s.local(p)) {
				return fmt.Errorf("%s is on the wrong side (local: %v)", p, i.Local())
			}
			got, err := readAll(e.ctx, v, p)
			if err == nil && !bytes.Equal(got, data) {
				err = fmt.Errorf("%s has %d bytes instead of %d", p, len(got), len(data))
			}
			return err
		}))
		names, err := v.List(e.ctx, "/")
		e.must(err)
		if there != len(want) || len(names) != there {
			e.Fatalf("%d files and %d names instead of %d", there, len(names), len(want))
		}
	}
	look(s.v, false)
	e.must(s.v.Close())
	again := newPlacedScript(e.fsEnv, e.p)
	e.must(again.mount(e.store(), disk))
	look(again.v, false)
	e.must(again.v.Close())
	for p := range want {
		if s.local(p) {
			delete(want, p)
		}
	}
	o := smallOptions()
	o.AcceptLoss = len(want) > 0 && !follows
	v, err := forstfs.Open(e.ctx, e.store(), o)
	e.must(err)
	look(v, true)
	e.must(v.Close())
}

func readAll(ctx context.Context, v *forstfs.FS, name string) ([]byte, error) {
	f, err := v.Open(ctx, name, nil)
	if err != nil {
		return nil, err
	}
	i, err := v.Stat(ctx, name)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	got := make([]byte, i.Size())
	_, err = f.ReadAt(got, 0)
	return got, errors.Join(err, f.Close())
}

// stoppable is a store whose puts wait while it is stopped.
type stoppable struct {
	driver.Store
	mu   sync.Mutex
	open chan struct{} // nil: they do not wait
	puts int           // since it was stopped
}

func (s *stoppable) stop() (release func()) {
	c := make(chan struct{})
	s.mu.Lock()
	s.open, s.puts = c, 0
	s.mu.Unlock()
	return func() {
		s.mu.Lock()
		s.open = nil
		s.mu.Unlock()
		close(c)
	}
}

func (s *stoppable) Put(ctx context.Context, key string, p []byte, o driver.PutOptions) error {
	s.mu.Lock()
	c := s.open
	s.puts++
	s.mu.Unlock()
	if c != nil {
		select {
		case <-c:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return s.Store.Put(ctx, key, p, o)
}

// lagBound: the store takes nothing for a while. Sync of a log on the local disk goes on; with a MaxLag it never returns while something that an earlier one acknowledged more than
// MaxLag before it began is only on the disk. No time is demanded: what counts are the recorded moments.
func lagBound(e *placedEnv) {
	st := &stoppable{Store: e.store()}
	s := newPlacedScript(e.fsEnv, e.p)
	s.fenceCheck = -1
	e.must(s.mount(st, memdisk.New()))
	e.must(s.create("/1.log"))
	e.must(s.write("/1.log", 10))
	e.must(s.sync("/1.log"))
	e.must(s.v.Sync(e.ctx))
	release := st.stop()
	if e.p.MaxLag == 0 {
		for range 20 {
			e.must(s.write("/1.log", 100))
			e.must(s.sync("/1.log"))
		}
		st.mu.Lock()
		puts := st.puts
		st.mu.Unlock()
		release()
		if wal := e.p.Placement.Local(forstfs.ClassWAL); wal && puts > 0 {
			e.Errorf("20 commits to a local log made %d requests", puts)
		}
		e.must(s.v.Close())
		return
	}
	type call struct{ start, end time.Duration }
	var calls []call
	var worst forstfs.LocalMetrics
	done := make(chan error, 1)
	began := time.Now()
	var released time.Duration // written before the loop ends
	var mu sync.Mutex
	go func() {
		for {
			c := call{start: time.Since(began)}
			err := s.write("/1.log", 100)
			if err == nil {
				err = s.sync("/1.log")
			}
			c.end = time.Since(began)
			mu.Lock()
			over := released > 0
			mu.Unlock()
			if !over {
				if m := s.v.Metrics().Local; m.LagBytes > worst.LagBytes {
					worst = m
				}
				calls = append(calls, c)
			}
			if over || err != nil {
				done <- err
				return
			}
			time.Sleep(e.p.MaxLag / 20)
		}
	}()
	time.Sleep(6 * e.p.MaxLag) // the length of the outage; nothing is expected to have happened by then
	mu.Lock()
	released = time.Since(began)
	mu.Unlock()
	release()
	e.must(<-done)
	for _, c := range calls {
		if c.end >= released {
			continue
		}
		if first := calls[0]; first.end < c.start-e.p.MaxLag {
			e.Fatalf("a Sync that began at %v returned at %v, and what another one had acknowledged at %v was not in the store: more than %v", c.start, c.end, first.end, e.p.MaxLag)
		}
	}
	if len(calls) == 0 {
		e.Errorf("no Sync returned while the store took nothing")
	} else if worst.LagBytes < 100 || worst.Lag <= 0 {
		e.Errorf("the lag is not in the metrics: %+v", worst)
	}
	e.must(s.v.Sync(e.ctx))
	if m := s.v.Metrics().Local; m.LagBytes != 0 || m.Lag != 0 {
		e.Errorf("nothing is behind, and the metrics say %+v", m)
	}
	e.must(s.v.Close())
}

// fencedLog: another process takes the volume over. A writer that commits to its log alone learns of it by itself, and acknowledges nothing from then on.
func fencedLog(e *placedEnv) {
	st := &stoppable{Store: e.store()}
	s := newPlacedScript(e.fsEnv, e.p)
	s.fenceCheck = 20 * time.Millisecond
	e.must(s.mount(st, memdisk.New()))
	e.must(s.create("/1.log"))
	e.must(s.write("/1.log", 10))
	e.must(s.sync("/1.log"))
	o := smallOptions()
	o.AcceptLoss = true
	v, err := forstfs.Open(e.ctx, e.store(), o)
	e.must(err)
	const most = 10_000 // at least 10 s; it looks every 20 ms
	for commits := 0; ; commits++ {
		err := s.write("/1.log", 10)
		if err == nil {
			err = s.sync("/1.log")
		}
		if err != nil {
			if !errors.Is(err, forstfs.ErrFenced) {
				e.Errorf("fenced: %v", err)
			}
			break
		}
		if commits == most {
			e.Fatalf("a writer that is fenced goes on acknowledging")
		}
		time.Sleep(time.Millisecond)
	}
	if err := s.open["/1.log"].Sync(); !errors.Is(err, forstfs.ErrFenced) {
		e.Errorf("and then: %v", err)
	}
	if err := s.v.Close(); !errors.Is(err, forstfs.ErrFenced) {
		e.Errorf("Close: %v", err)
	}
	e.must(v.Close())
}
