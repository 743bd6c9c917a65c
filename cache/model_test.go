package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

	"github.com/forst-go/forst/cache/disk"
	"github.com/forst-go/forst/forstfs/driver"
)

// machine applies operations to a small cache and checks every byte against the true content. The plain map of the model
// is known: which objects may have anything cached.
type machine struct {
	c       *Cache
	sources []*testSource
	known   map[uint64]bool
	capture int64
}

var machineSizes = []int64{1, 511, 512, 513, 5 * 512, 20*512 + 7, 70 * 512, 200*512 + 1}

func newMachine(o *Options) (*machine, error) {
	c, err := New(o)
	if err != nil {
		return nil, err
	}
	m := &machine{c: c, known: map[uint64]bool{}}
	for i, size := range machineSizes {
		m.sources = append(m.sources, &testSource{num: uint64(i), size: size})
	}
	m.capture = c.Metrics().Capacity
	return m, nil
}

// step does one operation; a, b and n choose its object and range. It returns what is wrong.
func (m *machine) step(op, a, b, n uint32) error {
	ctx := context.Background()
	s := m.sources[a%uint32(len(m.sources))]
	// Generators prefer small numbers; multiplied, they reach every part of an object.
	off := int64(b*2654435761) % s.size
	size := 1 + int64(n*2654435761)%(s.size-off)
	id := s.object().ID
	switch op % 10 {
	case 0, 1, 2:
		m.known[s.num] = true
		if err := readCheck(ctx, m.c, s, off, size, Hint(op%10)); err != nil {
			return err
		}
	case 3:
		p := make([]byte, size)
		if m.c.Lookup(id, p, off) {
			if !m.known[s.num] {
				return fmt.Errorf("object %d: a hit, but nothing of it may be cached", s.num)
			}
			return compare(p, s.num, off)
		}
	case 4:
		m.known[s.num] = true
		m.c.Insert(id, s.size, off, content(s.num, off, size), ReasonWrite)
	case 5, 6:
		m.c.Drop(id)
		m.known[s.num] = false
	case 7:
		m.known[s.num] = true
		m.c.Prefetch(ctx, s.object(), off, size)
	case 8: // the source fails after some bytes, and the read says so or had all it needs
		fail := int64(n) % 2000
		s.setHook(func(_ context.Context, at, k int64) (io.ReadCloser, error) {
			return brokenReader(s.num, at, min(k, fail), errInjected), nil
		})
		m.known[s.num] = true
		err := readCheck(ctx, m.c, s, off, size, Hint(n%3))
		s.setHook(nil)
		if err != nil && driver.KindOf(err) != driver.KindTransient {
			return err
		}
	case 9:
		ended, cancel := context.WithCancel(ctx)
		cancel()
		m.known[s.num] = true
		if err := readCheck(ended, m.c, s, off, size, Hint(n%3)); err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
	}
	return m.invariants()
}

// invariants looks at the inside: slots are never lost and never counted twice.
func (m *machine) invariants() error {
	c := m.c
	if got := c.Metrics(); got.Used > m.capture || got.Used < 0 {
		return fmt.Errorf("%d bytes in use of %d", got.Used, m.capture)
	}
	return nil
}

// settled checks the inside when nothing is under way: every slot is in the index or free, and the counts agree.
func (m *machine) settled() error {
	c := m.c
	resident := map[*object]int64{}
	for i, sh := range c.shards {
		sh.mu.Lock()
		seen := map[uint32]bool{}
		for _, s := range sh.free {
			if seen[s] || c.slots.info[s].refs.Load() != 0 {
				return fmt.Errorf("shard %d: free slot %d is free twice, or has references", i, s)
			}
			seen[s] = true
		}
		for _, k := range append(sh.small.Keys(), sh.main.Keys()...) {
			s, ok := sh.small.Peek(k)
			if !ok {
				s, _ = sh.main.Peek(k)
			}
			if seen[s] || c.slots.info[s].refs.Load() != 1 {
				return fmt.Errorf("shard %d: slot %d of %v is used twice, or has %d references", i, s, k, c.slots.info[s].refs.Load())
			}
			seen[s] = true
			o := c.slots.info[s].owner
			if o == nil || o.serial != k.serial || c.slots.info[s].block != k.block {
				return fmt.Errorf("shard %d: slot %d of %v has another owner", i, s, k)
			}
			resident[o]++
		}
		if len(seen) != sh.count {
			return fmt.Errorf("shard %d: %d slots of %d", i, len(seen), sh.count)
		}
		sh.mu.Unlock()
	}
	if c.disk != nil {
		for _, s := range m.sources {
			for b := range uint32(s.size/512 + 1) {
				if c.disk.Has(disk.ID(s.object().ID), b) && !m.known[s.num] {
					return fmt.Errorf("block %d of object %d is on disk, but nothing of it may be cached", b, s.num)
				}
			}
		}
	}
	for o, n := range resident {
		if o.dropped.Load() || o.resident.Load() != n || c.find(&o.id) != o {
			return fmt.Errorf("object %v: %d blocks in the index, %d counted, dropped %v", o.id, n, o.resident.Load(), o.dropped.Load())
		}
	}
	if got := c.Metrics().Objects; got != int64(len(resident)) {
		return fmt.Errorf("%d objects known, %d have blocks", got, len(resident))
	}
	if n := c.background.Load(); n != 0 {
		return fmt.Errorf("%d background fetches counted", n)
	}
	return nil
}

func machineOptions(kind uint32, dir string) *Options {
	o := &Options{BlockSize: 512, Memory: 512 * (4 + int64(kind%5)*30), FetchSize: -1, TailSize: -1, Background: 3}
	if kind&8 != 0 {
		o.FetchSize, o.TailSize = 5*512, 3*512
	}
	if kind&16 != 0 {
		o.SkipVerify = true // checksums must not hide a mistake
	}
	if kind&32 != 0 {
		o.Disk = disk.Options{Dir: dir, Size: 200 * 1024, Reserve: -1, Buffer: 20 * 512}
	}
	return o
}

func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		kind := rapid.Uint32Range(0, 63).Draw(rt, "kind")
		ops := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) [4]uint32 {
			return [4]uint32{rapid.Uint32Range(0, 9).Draw(rt, "op"), rapid.Uint32Range(0, 7).Draw(rt, "object"),
				rapid.Uint32().Draw(rt, "off"), rapid.Uint32().Draw(rt, "n")}
		}), 1, 60).Draw(rt, "ops")
		if err := runMachine(t, kind, ops); err != nil {
			rt.Fatal(err)
		}
	})
}

func runMachine(t *testing.T, kind uint32, ops [][4]uint32) (err error) {
	var dir string
	if kind&32 != 0 {
		if dir, err = os.MkdirTemp(t.TempDir(), ""); err != nil {
			return err
		}
		defer os.RemoveAll(dir) // each of many runs
	}
	synctest.Test(t, func(*testing.T) {
		err = func() error {
			m, err := newMachine(machineOptions(kind, dir))
			if err != nil {
				return err
			}
			defer m.c.Close()
			for i, op := range ops {
				if err := m.step(op[0], op[1], op[2], op[3]); err != nil {
					return fmt.Errorf("operation %d %v: %w", i, op, err)
				}
			}
			synctest.Wait()
			return m.settled()
		}()
	})
	return err
}

// FuzzOperations is the model with the fuzzer's choices: five bytes an operation.
func FuzzOperations(f *testing.F) {
	f.Add([]byte{9, 0, 3, 10, 200, 9, 5, 3, 0, 0, 0, 0, 3, 0, 255, 100})
	f.Add([]byte{24, 7, 6, 1, 255, 255, 2, 6, 0, 9, 9, 4, 7, 0, 255, 255, 0, 7, 0, 255, 255})
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) == 0 {
			return
		}
		var ops [][4]uint32
		for d := data[1:]; len(d) >= 5 && len(ops) < 200; d = d[5:] {
			ops = append(ops, [4]uint32{uint32(d[0]), uint32(d[1]), uint32(d[2]) * 401, uint32(d[3])<<8 | uint32(d[4])})
		}
		if err := runMachine(t, uint32(data[0]), ops); err != nil {
			t.Fatal(err)
		}
	})
}

// TestConcurrentReadersNeverSeeAWrongByte runs everything at once on caches so small that blocks are evicted while they
// are copied. The checksums are off in half of the runs, so that they hide nothing.
func TestConcurrentReadersNeverSeeAWrongByte(t *testing.T) {
	rounds := 600
	if testing.Short() {
		rounds = 300
	}
	for _, kind := range []uint32{0, 16, 9, 25, 18 + 8, 4, 32, 32 + 25} {
		t.Run(fmt.Sprintf("kind %d", kind), func(t *testing.T) {
			m, err := newMachine(machineOptions(kind, t.TempDir()))
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range m.sources {
				s.hook = func(ctx context.Context, off, n int64) (io.ReadCloser, error) {
					if (off+n)%7 == 0 { // some answers come in pieces, so that readers meet flights half-way
						return io.NopCloser(&slowReader{contentReader{s.num, off, off + n}}), nil
					}
					return nil, nil
				}
			}
			var all sync.WaitGroup
			errs := make(chan error, 8)
			for g := range uint64(8) {
				all.Go(func() {
					rnd := rand.New(rand.NewPCG(g, uint64(kind)))
					for range rounds {
						if err := m.chaos(rnd); err != nil {
							errs <- err
							return
						}
					}
				})
			}
			all.Wait()
			select {
			case err := <-errs:
				t.Fatal(err)
			default:
			}
			m.c.stop() // ends the background fetches, so that the inside can be looked at
			m.c.flights.Wait()
			for _, s := range m.sources {
				m.known[s.num] = true // the order of the operations is unknown
			}
			if err := m.settled(); err != nil {
				t.Error(err)
			}
			if err := m.c.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

type slowReader struct{ contentReader }

func (r *slowReader) Read(p []byte) (int, error) { return r.contentReader.Read(p[:min(len(p), 100)]) }

func (r *slowReader) Close() error { return nil }

func (m *machine) chaos(rnd *rand.Rand) error {
	s := m.sources[rnd.IntN(len(m.sources))]
	off := rnd.Int64N(s.size)
	n := 1 + rnd.Int64N(min(s.size-off, 10_000))
	ctx := context.Background()
	switch rnd.IntN(12) {
	default:
		return readCheck(ctx, m.c, s, off, n, Hint(rnd.IntN(3)))
	case 0, 1:
		p := make([]byte, n)
		if m.c.Lookup(s.object().ID, p, off) {
			return compare(p, s.num, off)
		}
	case 2:
		m.c.Insert(s.object().ID, s.size, off, content(s.num, off, n), ReasonWrite)
	case 3:
		m.c.Drop(s.object().ID)
	case 4:
		m.c.Prefetch(ctx, s.object(), off, n)
	case 5:
		ctx, cancel := context.WithCancel(ctx)
		go cancel()
		if err := readCheck(ctx, m.c, s, off, n, Hint(rnd.IntN(3))); err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
	}
	return nil
}
