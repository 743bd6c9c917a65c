package journal

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/mem"
)

var (
	simSchedules = flag.Int("sim.schedules", 30, "schedules of the simulation")
	simSeed      = flag.Uint64("sim.seed", 0, "run only the schedule of this seed")
	simTrace     = flag.Bool("sim.trace", false, "print what lands in the store")
)

// TestSimulation lets writers, readers, openers and a damager loose on one volume over a hostile store, in virtual time, and
// checks the properties of docs/model/README.md all the time: lost, prefix, history, reader, name reuse, two different images,
// dangling, dropped.
func TestSimulation(t *testing.T) {
	seeds := make([]uint64, *simSchedules)
	for i := range seeds {
		seeds[i] = uint64(i + 1)
	}
	if *simSeed != 0 {
		seeds = []uint64{*simSeed}
	}
	var total simStats
	for _, seed := range seeds {
		stats, err := simulate(t, seed)
		if err != nil {
			t.Fatalf("seed %d: %v (repeat with -sim.seed=%d)", seed, err, seed)
		}
		total.add(stats)
	}
	t.Logf("%d schedules: %s", len(seeds), total.String())
	if *simSeed == 0 && len(seeds) >= 200 {
		for name, n := range map[string]int{"acks": total.acks, "takeovers": total.opens, "fenced": total.fenced, "images": total.images,
			"trims": total.trims, "restarts": total.restarts, "damaged": total.damaged, "read-backs": total.readBacks, "drops": total.drops, "busy": total.busy} {
			if n == 0 {
				t.Errorf("the simulation never saw any %s: it shows nothing", name)
			}
		}
	}
}

type simStats struct {
	acks, opens, fenced, failed, busy, images, trims, swept, reads, checks, drops int
	restarts, damaged, readBacks, retries                                         int
}

func (s *simStats) add(o simStats) {
	s.acks += o.acks
	s.opens += o.opens
	s.fenced += o.fenced
	s.failed += o.failed
	s.busy += o.busy
	s.images += o.images
	s.trims += o.trims
	s.swept += o.swept
	s.reads += o.reads
	s.checks += o.checks
	s.drops += o.drops
	s.restarts += o.restarts
	s.damaged += o.damaged
	s.readBacks += o.readBacks
	s.retries += o.retries
}

func (s *simStats) String() string {
	return fmt.Sprintf("%d acks, %d opens, %d fenced, %d failed, %d busy, %d restarts, %d images, %d damaged, %d trimmed, %d swept, %d drops, %d reads, %d retries, %d read back, %d checks",
		s.acks, s.opens, s.fenced, s.failed, s.busy, s.restarts, s.images, s.damaged, s.trims, s.swept, s.drops, s.reads, s.retries, s.readBacks, s.checks)
}

type sim struct {
	*world
	seed  uint64
	stats simStats // under world.mu
	wg    sync.WaitGroup
}

func simulate(t *testing.T, seed uint64) (stats simStats, err error) {
	synctest.Test(t, func(t *testing.T) {
		s := &sim{seed: seed, world: &world{store: mem.New(nil), end: make(chan struct{}), content: map[string][]byte{}, acked: map[string]bool{}, deleted: map[string]bool{}}}
		rng := rand.New(rand.NewPCG(seed, 0))
		if _, err := CreateRoot(t.Context(), s.store, RootOptions{Volume: VolumeID{1}, Run: 1 + rng.IntN(4)}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		evil := []float64{0.2, 1, 1, 2}[rng.IntN(4)]
		for i := range 2 + rng.IntN(3) {
			s.wg.Go(func() { s.writer(ctx, i, evil) })
		}
		s.wg.Go(func() { s.reader(ctx, evil) })
		if rng.IntN(2) == 0 {
			s.wg.Go(func() { s.damager(ctx) })
		}
		s.wg.Go(func() { s.watchman(ctx) })
		time.Sleep(time.Duration(2+rng.IntN(20)) * time.Minute)
		close(s.end)
		cancel()
		s.wg.Wait()
		s.check()
		s.final()
		stats, err = s.stats, s.broken
	})
	return stats, err
}

func (s *sim) count(f func(*simStats)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.stats)
}

func (s *sim) hostile(id, life int, evil float64) *hostile {
	return &hostile{w: s.world, name: fmt.Sprintf("%c%d", 'A'+id, life), seed: s.seed, evil: evil, times: map[string]uint64{},
		rng: rand.New(rand.NewPCG(s.seed, uint64(id+1)<<32|uint64(life)))}
}

// writer lives many lives: opens, works for a while, stops in some way.
func (s *sim) writer(ctx context.Context, id int, evil float64) {
	for life := 0; !s.over(); life++ {
		h := s.hostile(id, life, evil)
		select {
		case <-time.After(h.between(0, 2*time.Minute)):
		case <-s.end:
			return
		}
		s.live(ctx, h)
	}
}

func (s *sim) live(ctx context.Context, h *hostile) {
	m := &log{window: 3}
	o := &Options{Force: h.between(0, 1) == 0, RetryBudget: time.Minute, FlushDelay: h.between(0, 2*time.Second) - time.Second,
		FrameLimit: 64, Nonce: h.nonces()}
	// A process that is dead hangs in a request for ever; then somebody else lives on in its place.
	ctx, cancel := context.WithTimeout(ctx, 20*time.Minute)
	defer cancel()
	j, err := Open(ctx, h, m, o)
	if err != nil {
		s.judge(err)
		return
	}
	s.count(func(c *simStats) { c.opens++ })
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if h.between(0, 1) == 0 { // a crash: what is queued goes, what is in flight may land
			cancel()
		}
		j.Close(ctx)
		x := j.Metrics()
		s.count(func(c *simStats) {
			c.restarts += int(x.Restarts)
			c.damaged += int(x.DamagedImages)
			c.readBacks += int(x.ReadBacks)
			c.retries += int(x.Retries)
			c.images += int(x.Images)
			c.trims += int(x.Trimmed)
			c.swept += int(x.Swept)
		})
	}()
	var wg sync.WaitGroup
	defer wg.Wait()
	seq := 0
	for range 5 + int(h.between(0, 60)) {
		if s.over() || j.Err() != nil {
			break
		}
		var ops []string
		var pos uint64
		for range 1 + int(h.between(0, 2)) {
			seq++
			op := fmt.Sprintf("%s.%d", h.name, seq)
			ops = append(ops, op)
			pos = j.Enqueue([]byte(op+"\n"), []byte("bytes of "+op))
		}
		wait := func() error {
			err := j.Wait(ctx, pos)
			if err == nil {
				s.acknowledged(m, ops)
			}
			return err
		}
		switch n := h.between(0, 9); {
		case n < 2: // goes on without waiting
			wg.Go(func() { wait() })
		default:
			if err := wait(); err != nil {
				s.judge(err)
				return
			}
		}
		switch n := h.between(0, 30); {
		case n < 4:
			_, err := j.WriteImage(ctx)
			s.judge(err)
		case n < 8:
			_, err := j.Trim(ctx)
			s.judge(err)
		case n < 10:
			_, err := j.Sweep(ctx)
			s.judge(err)
		case n < 14:
			wg.Go(func() {
				_, err := j.WriteImage(ctx)
				s.judge(err)
				_, err = j.Trim(ctx)
				s.judge(err)
			})
		case n == 30 && h.between(0, 40) == 0:
			wg.Wait()
			if err := j.Drop(ctx); err == nil {
				s.mu.Lock()
				s.dropped = true
				s.stats.drops++
				s.mu.Unlock()
			}
			return
		}
		time.Sleep(h.between(0, 3*time.Second))
	}
}

// nonces gives random numbers that differ between processes, and are the same each time the schedule is played.
func (h *hostile) nonces() func() uint64 {
	var n atomic.Uint64
	return func() uint64 { return h.luck("nonce", fmt.Sprint(n.Add(1))).rng.Uint64() }
}

// judge looks at an error that a process got.
func (s *sim) judge(err error) {
	switch {
	case err == nil, s.over():
	case errors.Is(err, ErrDamaged), errors.Is(err, ErrFormat), errors.Is(err, ErrNoVolume), errors.Is(err, ErrExists):
		s.fail("impossible error: %w", err)
	case errors.Is(err, fs.ErrNotExist):
		s.fail("an error looks like not exist: %w", err)
	case errors.Is(err, ErrFenced):
		s.count(func(c *simStats) { c.fenced++ })
	case errors.Is(err, ErrBusy):
		s.count(func(c *simStats) { c.busy++ })
	case errors.Is(err, ErrFailed):
		s.count(func(c *simStats) { c.failed++ })
	}
}

// acknowledged notes what a writer was told, and what its state was then.
func (s *sim) acknowledged(m *log, ops []string) {
	state := m.ops()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dropped && !slices.Equal(state, s.history) && len(state) > len(s.history) {
		s.broken = errors.Join(s.broken, fmt.Errorf("dropped: acknowledged %v behind the drop", ops))
	}
	s.stats.acks += len(ops)
	for _, op := range ops {
		s.acked[op] = true
		if !slices.Contains(state, op) && s.broken == nil {
			s.broken = fmt.Errorf("acknowledged %s is not in the writer's own state", op)
		}
	}
	a, b := s.history, state
	if len(a) > len(b) {
		a, b = b, a
	}
	if !slices.Equal(a, b[:len(a)]) && s.broken == nil {
		s.broken = fmt.Errorf("history: two owners acknowledged on top of %v and %v", a, b)
	}
	s.history = b
}

// reader opens or follows.
func (s *sim) reader(ctx context.Context, evil float64) {
	for life := 0; !s.over(); life++ {
		h := s.hostile(25, life, evil)
		m := &log{}
		before := s.promised()
		r, err := OpenReader(ctx, h, m, &Options{Nonce: h.nonces()})
		for range 1 + int(h.between(0, 5)) {
			if err != nil {
				s.judge(err)
				break
			}
			s.count(func(c *simStats) { c.reads++ })
			state := m.ops()
			for op := range before {
				if !slices.Contains(state, op) {
					s.fail("reader: %s was acknowledged before it began, its state is %v", op, state)
				}
			}
			s.consistent("reader", state)
			time.Sleep(h.between(0, 30*time.Second))
			before = s.promised()
			_, err = r.Refresh(ctx)
			if s.over() {
				return
			}
		}
		time.Sleep(h.between(0, 30*time.Second))
	}
}

func (s *sim) promised() map[string]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := make(map[string]bool, len(s.acked))
	for op := range s.acked {
		c[op] = true
	}
	return c
}

// consistent checks that a state and the history are prefixes of each other, and that the operations of each writer are
// there without a hole.
func (s *sim) consistent(who string, state []string) {
	s.mu.Lock()
	h := s.history
	s.mu.Unlock()
	n := min(len(h), len(state))
	if !slices.Equal(h[:n], state[:n]) {
		s.fail("%s: %v is no prefix of the history %v", who, state, h)
	}
	next := map[string]int{}
	for _, op := range state {
		var seq int
		i := slices.Index([]byte(op), '.')
		fmt.Sscan(op[i+1:], &seq)
		if next[op[:i]]++; next[op[:i]] != seq {
			s.fail("prefix: %s has %s, but not all before it: %v", who, op, state)
		}
	}
}

// watchman looks at the store itself now and then.
func (s *sim) watchman(ctx context.Context) {
	rng := rand.New(rand.NewPCG(s.seed, 99))
	for !s.over() {
		select {
		case <-time.After(time.Duration(rng.Int64N(int64(10 * time.Second)))):
		case <-s.end:
			return
		}
		s.check()
	}
}

// check recovers from a copy of the store as it is now, from the newest image and, unless an image was ever damaged, from the
// second newest, too.
func (s *sim) check() {
	s.count(func(c *simStats) { c.checks++ })
	s.mu.Lock()
	before, dropped, hurt := make([]string, 0, len(s.acked)), s.dropped, s.hurt
	for op := range s.acked {
		before = append(before, op)
	}
	bucket := s.store.Bucket().Snapshot()
	s.mu.Unlock()
	store, _ := bucket.Open("")
	images, _ := listImages(context.Background(), store)
	bodies := map[uint64]string{}
	for _, k := range images {
		im, _, err := readImage(context.Background(), store, Root{Volume: VolumeID{1}}, k)
		if err != nil {
			continue
		}
		if b, ok := bodies[k.seq]; ok && b != string(im.Body) && !im.Dropped {
			s.fail("two different images of number %d", k.seq)
		}
		bodies[k.seq] = string(im.Body)
	}
	for skip := range 2 {
		if skip == 1 {
			if hurt || dropped || len(images) < 2 {
				break
			}
			store.Put(context.Background(), images[0].key, []byte("damaged"), driver.PutOptions{})
		}
		m := &log{window: 3}
		_, err := OpenReader(context.Background(), store, m, nil)
		if errors.Is(err, ErrDropped) {
			return // maybe not acknowledged yet
		}
		if err != nil {
			s.trace("recovery fails: %v; there are %v", err, images)
			s.fail("recovery (skip %d): %w", skip, err)
			return
		}
		if dropped {
			s.fail("dropped: the volume opens")
		}
		state := m.ops()
		for _, op := range before {
			if !slices.Contains(state, op) {
				s.fail("lost: %s was acknowledged, the recovered state (skip %d) is %v", op, skip, state)
				return
			}
		}
		s.consistent(fmt.Sprintf("recovered state (skip %d)", skip), state)
		for _, ref := range m.liveRefs() {
			if _, err := readRef(context.Background(), store, ref); err != nil {
				s.fail("dangling (skip %d): %w", skip, err)
			}
		}
	}
}

// damager makes an image unreadable, if there is another one and no damage that nobody knows of.
func (s *sim) damager(ctx context.Context) {
	rng := rand.New(rand.NewPCG(s.seed, 98))
	for range 3 {
		select {
		case <-time.After(time.Duration(rng.Int64N(int64(10 * time.Minute)))):
		case <-s.end:
			return
		}
		images, _ := listImages(ctx, s.store)
		var sound []string
		damaged := false
		for _, k := range images {
			s.mu.Lock()
			late := s.deleted[k.key]
			s.mu.Unlock()
			im, _, err := readImage(ctx, s.store, Root{Volume: VolumeID{1}}, k)
			damaged = damaged || err != nil
			if err == nil && !late && !im.Dropped { // the last image of a dropped volume is alone, a late copy is no refuge
				sound = append(sound, k.key)
			}
		}
		if len(sound) < 2 || damaged {
			continue
		}
		s.mu.Lock()
		s.hurt = true
		s.mu.Unlock()
		key := sound[rng.IntN(2)]
		s.trace("damage %s", key)
		s.store.Put(ctx, key, []byte("damaged"), driver.PutOptions{})
	}
}

// final lets a last writer open without trouble.
func (s *sim) final() {
	m := &log{}
	j, err := Open(context.Background(), s.store, m, &Options{Force: true})
	if errors.Is(err, ErrDropped) {
		return
	}
	if err != nil {
		s.fail("the last open: %w", err)
		return
	}
	defer j.Close(context.Background())
	state := m.ops()
	for op := range s.acked {
		if !slices.Contains(state, op) {
			s.fail("lost: %s was acknowledged, the last owner has %v", op, state)
		}
	}
	s.consistent("last owner", state)
	if err := tryCommit(j, "Z0.1"); err != nil {
		s.fail("the last commit: %w", err)
	}
}
