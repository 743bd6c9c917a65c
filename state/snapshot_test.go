package state

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/fault"
	"github.com/forst-go/forst/internal/meter"
)

func instance(i, n int, run string) *Options {
	o := small()
	o.Keys, o.Run = Instance(16, n, i), run
	return o
}

func snapshot(t testing.TB, b *Backend, id uint64, meta string) {
	t.Helper()
	s := must(b.Snapshot(ctx, id, []byte(meta)))(t)
	must(s.Wait(ctx))(t)
}

func restore(t testing.TB, root driver.Store, id uint64, o *Options) *Backend {
	t.Helper()
	b, err := Restore(ctx, root, id, o)
	ok(t, err)
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// 1 -> 3 -> 2 -> 5 instances, with every type of state.
func TestRescale(t *testing.T) {
	for _, r := range roots {
		t.Run(r.name, func(t *testing.T) {
			root := r.new(t)
			const n = 60
			j := declareJob(t, create(t, root, instance(0, 1, "first")), TTL{})
			j.fill(t, n)
			snapshot(t, j.b, 1, "offset 60")
			ok(t, j.b.Close())
			for step, count := range []int{3, 2, 5} {
				run := fmt.Sprint("step", step)
				last := must(Latest(ctx, root))(t)
				equal(t, "latest", last.ID, uint64(step+1))
				keys := 0
				var bs []*Backend
				for i := range count {
					b := restore(t, root, last.ID, instance(i, count, run))
					equal(t, "metadata", string(b.Restored().Instances[0].Meta), "offset 60")
					bs = append(bs, b)
				}
				for _, b := range bs {
					snapshot(t, b, last.ID+1, "offset 60")
					j := declareJob(t, b, TTL{})
					keys += j.check(t, n) // polls the timers, behind the snapshot
				}
				equal(t, "keys", keys, n)
				for _, b := range bs {
					ok(t, b.Close())
				}
			}
		})
	}
}

// What is issued before the snapshot is in it, what is issued after it is not, though writers go on and fill memtables: an exact cut at every
// moment.
func TestSnapshotsAreExactCuts(t *testing.T) {
	for _, durable := range []bool{false, true} {
		t.Run(fmt.Sprint("durable ", durable), func(t *testing.T) {
			root := roots[0].new(t)
			o := instance(0, 1, "a")
			o.Durable = durable
			b := create(t, root, o)
			v := must(NewValue(b, ValueDescriptor[int64]{Name: "v", Codec: Int64}))(t)
			fat := must(NewValue(b, ValueDescriptor[[]byte]{Name: "fat", Codec: Bytes}))(t)
			const workers = 4
			var mu sync.RWMutex // held for writing while a snapshot begins: the counts are exact then
			counts := make([]int64, workers)
			stop := make(chan struct{})
			var wg sync.WaitGroup
			for w := range int64(workers) {
				wg.Go(func() {
					for i := int64(1); ; i++ {
						select {
						case <-stop:
							return
						default:
						}
						mu.RLock()
						counts[w] = i
						f := v.PutAsync(ctx, IntKey(w), i)
						g := fat.PutAsync(ctx, IntKey(100+i%50), make([]byte, 2000)) // a memtable has 64 KiB
						mu.RUnlock()
						if err := errors.Join(wait(ctx, f), wait(ctx, g)); err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			var want [][]int64
			const rounds = 15
			for id := range uint64(rounds) {
				mu.Lock()
				s, err := b.Snapshot(ctx, id, nil)
				want = append(want, append([]int64{}, counts...))
				mu.Unlock()
				ok(t, err)
				must(s.Wait(ctx))(t)
			}
			close(stop)
			wg.Wait()
			ok(t, b.Close())
			for id := range uint64(rounds) {
				b := restore(t, root, id, o)
				v := must(NewValue(b, ValueDescriptor[int64]{Name: "v", Codec: Int64}))(t)
				for w := range int64(workers) {
					got, _, err := v.Get(ctx, IntKey(w))
					ok(t, err)
					if got != want[id][w] {
						t.Errorf("checkpoint %d, key %d: %d, want %d", id, w, got, want[id][w])
					}
				}
				ok(t, b.Close())
			}
		})
	}
}

// A restore copies no byte of a table, and reads none that it does not need.
func TestRestoreCopiesNothing(t *testing.T) {
	root := roots[0].new(t)
	const n, keys = 3, 1500
	noise := func(k int64) []byte { // 2 kB that do not compress
		p := make([]byte, 2000)
		rand.NewChaCha8([32]byte{byte(k), byte(k >> 8)}).Read(p)
		return p
	}
	for i := range 4 {
		b := create(t, root, instance(i, 4, "a"))
		v := must(NewValue(b, ValueDescriptor[[]byte]{Name: "v", Codec: Bytes}))(t)
		for k := range int64(keys) {
			if mine(b, k) {
				ok(t, v.Put(ctx, IntKey(k), noise(k)))
			}
		}
		snapshot(t, b, 1, "")
		ok(t, b.Close())
	}
	m := meter.New(root)
	size := must(Latest(ctx, root))(t).Bytes
	if size < keys*2000 {
		t.Fatalf("the checkpoint has %d bytes: the test proves nothing", size)
	}
	for i := range n {
		before := m.Snapshot()
		o := instance(i, n, "b")
		engine := o.Engine
		o.Engine = func(p *pebble.Options) { engine(p); p.DisableAutomaticCompactions = true } // they go on where the source's were
		b := restore(t, m, 1, o)
		did := m.Snapshot().Sub(before)
		out := did.Sum("put", "").Out
		if out > size/40 { // names and MANIFESTs
			t.Errorf("instance %d: the restore wrote %d bytes, the state has %d", i, out, size)
		}
		t.Logf("instance %d of %d: %d bytes in %d PUTs, %d GETs; the state has %d", i, n, out, did.Sum("put", "").Requests, did.Sum("get", "").Requests, size)
		v := must(NewValue(b, ValueDescriptor[[]byte]{Name: "v", Codec: Bytes}))(t)
		for k := range int64(keys) {
			if mine(b, k) {
				p, found, err := v.Get(ctx, IntKey(k))
				ok(t, err)
				if !found || !bytes.Equal(p, noise(k)) {
					t.Fatalf("key %d: %v %d bytes", k, found, len(p))
				}
			}
		}
	}
}

// The synchronous part makes no request: Snapshot returns, and requests go on, while no PUT comes back.
func TestTheSynchronousPartUploadsNothing(t *testing.T) {
	held := &holding{Store: roots[0].new(t), open: make(chan struct{})}
	b := create(t, held, instance(0, 1, "a"))
	v := must(NewValue(b, ValueDescriptor[[]byte]{Name: "v", Codec: Bytes}))(t)
	ok(t, v.Put(ctx, Key("a"), make([]byte, 10_000)))
	held.on("/") // every key
	s := must(b.Snapshot(ctx, 1, nil))(t)
	ok(t, v.Put(ctx, Key("a"), []byte("after")))
	p, _, err := v.Get(ctx, Key("a"))
	ok(t, err)
	equal(t, "value", string(p), "after")
	select {
	case <-s.Done():
		t.Fatal("committed without a PUT")
	default:
	}
	held.release()
	must(s.Wait(ctx))(t)
}

func TestAbortAndErrors(t *testing.T) {
	root := roots[0].new(t)
	held := &holding{Store: root, open: make(chan struct{})}
	b := create(t, held, instance(0, 1, "a"))
	v := must(NewValue(b, ValueDescriptor[int64]{Name: "v", Codec: Int64}))(t)
	ok(t, v.Put(ctx, Key("a"), 1))
	held.on("data/")
	s := must(b.Snapshot(ctx, 1, nil))(t)
	held.wait(t)
	if c := must(Checkpoints(ctx, root))(t); len(c) != 0 {
		t.Fatalf("committed before its data: %v", c)
	}
	ok(t, v.Put(ctx, Key("a"), 2)) // requests go on
	aborted := make(chan error)
	go func() { aborted <- s.Abort() }()
	ok(t, <-aborted)
	if _, err := s.Wait(ctx); !errors.Is(err, ErrAborted) {
		t.Fatalf("aborted: %v", err)
	}
	held.release()
	snapshot(t, b, 2, "two")
	if err := must(b.Snapshot(ctx, 3, nil))(t).Abort(); err != nil && !errors.Is(err, ErrCheckpointExists) {
		t.Fatal(err)
	}
	s = must(b.Snapshot(ctx, 2, nil))(t)
	if _, err := s.Wait(ctx); !errors.Is(err, ErrCheckpointExists) {
		t.Fatalf("a number taken: %v", err)
	}
	if err := s.Abort(); err != nil {
		t.Fatalf("aborting what has failed: %v", err)
	}
	if _, err := b.Snapshot(ctx, 4, make([]byte, MaxMeta+1)); err == nil {
		t.Error("too much metadata was taken")
	}
	c := must(Checkpoints(ctx, root))(t)
	if len(c) == 0 || c[0].ID != 2 || !c[0].Complete || string(c[0].Instances[0].Meta) != "two" {
		t.Fatalf("checkpoints %+v", c)
	}
	if _, err := Restore(ctx, root, 1, instance(0, 1, "b")); !errors.Is(err, ErrNoCheckpoint) {
		t.Fatalf("an aborted one was restored: %v", err)
	}
	other := small()
	other.Keys = AllKeys(32)
	if _, err := Restore(ctx, root, 2, other); !errors.Is(err, ErrIncompatible) {
		t.Fatalf("another number of key groups: %v", err)
	}
	ok(t, b.Close())
	if _, err := b.Snapshot(ctx, 9, nil); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
	// Without all instances there is no checkpoint, nor with instances of several runs.
	for _, run := range []string{"x", "y"} {
		i := strings.Index("xy", run)
		b := create(t, root, instance(i, 2, run))
		snapshot(t, b, 7, "")
		ok(t, b.Close())
	}
	for _, c := range must(Checkpoints(ctx, root))(t) {
		if c.Complete != (c.ID != 7) {
			t.Errorf("checkpoint %d of run %q: complete %v", c.ID, c.Run, c.Complete)
		}
	}
	if _, err := Restore(ctx, root, 7, instance(0, 1, "z")); !errors.Is(err, ErrNoCheckpoint) {
		t.Fatalf("instances of two runs were taken for a checkpoint: %v", err)
	}
}

// holding is a store that holds PUTs of some keys back.
type holding struct {
	driver.Store
	mu   sync.Mutex
	part string
	held int
	open chan struct{}
}

func (h *holding) on(part string) {
	h.mu.Lock()
	h.part = part
	h.mu.Unlock()
}

func (h *holding) release() {
	h.on("")
	close(h.open)
}

func (h *holding) wait(t testing.TB) {
	until(t, "a request is held", func() bool { h.mu.Lock(); defer h.mu.Unlock(); return h.held > 0 })
}

func (h *holding) Put(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
	h.mu.Lock()
	hold := h.part != "" && strings.Contains(key, h.part)
	if hold {
		h.held++
	}
	h.mu.Unlock()
	if hold {
		select {
		case <-h.open:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return h.Store.Put(ctx, key, data, o)
}

// A writer that fills the memtable behind a seal waits for the capture; everybody else does not.
func TestWritersWaitInTheWindow(t *testing.T) {
	held := &holding{Store: roots[0].new(t), open: make(chan struct{})}
	b := create(t, held, instance(0, 1, "a"))
	v := must(NewValue(b, ValueDescriptor[[]byte]{Name: "v", Codec: Bytes}))(t)
	ok(t, v.Put(ctx, Key("a"), []byte("before")))
	held.on("data/")
	s := must(b.Snapshot(ctx, 1, nil))(t)
	held.wait(t)
	var fs []*Future[None]
	for i := range int64(200) {
		fs = append(fs, v.PutAsync(ctx, IntKey(i), make([]byte, 1000)))
	}
	ok(t, wait(ctx, fs[0]))
	until(t, "a writer waits", func() bool { return b.Metrics().WindowWaits > 0 })
	p, _, err := v.Get(ctx, Key("a")) // reads go on
	ok(t, err)
	equal(t, "value", string(p), "before")
	held.release()
	must(s.Wait(ctx))(t)
	for _, f := range fs {
		ok(t, wait(ctx, f))
	}
	ok(t, b.Close())
	r := restore(t, held.Store, 1, instance(0, 1, "b"))
	v = must(NewValue(r, ValueDescriptor[[]byte]{Name: "v", Codec: Bytes}))(t)
	for i := range int64(200) {
		_, found, err := v.Get(ctx, IntKey(i))
		ok(t, err)
		equal(t, fmt.Sprint("key ", i, " of after the seal"), found, false)
	}
}

// A durable backend is opened again with everything that was acknowledged, also after a restore into several shards.
func TestDurable(t *testing.T) {
	for _, r := range roots[:2] {
		t.Run(r.name, func(t *testing.T) {
			root := r.new(t)
			const n = 30
			for i := range 2 {
				j := declareJob(t, create(t, root, instance(i, 2, "a")), TTL{})
				j.fill(t, n)
				snapshot(t, j.b, 1, "")
				ok(t, j.b.Close())
			}
			o := instance(0, 1, "b")
			o.Durable, o.Name = true, "job"
			if _, err := Open(ctx, root, o); !errors.Is(err, ErrNoCheckpoint) {
				t.Fatalf("opened before it was made: %v", err)
			}
			b := restore(t, root, 1, o)
			extra := must(NewValue(b, ValueDescriptor[int64]{Name: "extra", Codec: Int64}))(t)
			ok(t, extra.Put(ctx, Key("x"), 42))
			// No Close: the process dies. The next owner takes the shards over.
			b2 := must(Open(ctx, root, o))(t)
			defer b2.Close()
			extra = must(NewValue(b2, ValueDescriptor[int64]{Name: "extra", Codec: Int64}))(t)
			got, _, err := extra.Get(ctx, Key("x"))
			ok(t, err)
			equal(t, "acknowledged", got, 42)
			equal(t, "keys", declareJob(t, b2, TTL{}).check(t, n), n)
			wrong := *o
			wrong.Keys = Instance(16, 2, 0)
			if _, err := Open(ctx, root, &wrong); !errors.Is(err, ErrIncompatible) {
				t.Fatalf("other key groups: %v", err)
			}
		})
	}
}

// Close waits for snapshots under way; nothing is left.
func TestCloseWaitsForSnapshots(t *testing.T) {
	root := fault.New(roots[0].new(t), &fault.Options{Latency: fault.FixedLatency(5*time.Millisecond, time.Millisecond, 1e9)}) // so that Close comes first
	before := runtime.NumGoroutine()
	b := create(t, root, instance(0, 1, "a"))
	v := must(NewValue(b, ValueDescriptor[int64]{Name: "v", Codec: Int64}))(t)
	for id := range uint64(5) {
		ok(t, v.Put(ctx, Key("a"), int64(id)))
		must(b.Snapshot(ctx, id, nil))(t)
	}
	ok(t, b.Close())
	if c := must(Checkpoints(ctx, root))(t); len(c) != 5 {
		t.Fatalf("%d checkpoints", len(c))
	}
	until(t, "goroutines are back", func() bool { return runtime.NumGoroutine() <= before })
}
