package conformance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"sync"
	"time"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
)

// fault is what happens to the i-th request of a run.
type fault uint8

const (
	faultBefore  fault = iota // it fails and nothing happened
	faultAfter                // it happened, and its reply is lost
	faultLate                 // it fails, and happens a second later
	faultHang                 // it hangs for a while, happens, and its reply is lost
	faultTwice                // it happens, and once more later
	faultRefused              // the credentials are refused, once
	faultOutage               // it and every request in the next ten seconds fail
	faultDead                 // it and every later request fail
	faultShort                // a read ends early
	faultFlipped              // a read gives a wrong byte of what is checksummed: the journal, images, the root
)

var faultNames = [...]string{"error-before", "lost-reply", "lands-late", "hangs", "lands-twice", "refused-once", "outage", "dead", "short-read", "flipped-bit"}

var faultCases = []DurabilityCase{
	{"fault/every-request-error-before", true, func(e *fsEnv) { e.everyFault(faultBefore) }},
	{"fault/every-request-lost-reply", true, func(e *fsEnv) { e.everyFault(faultAfter) }},
	{"fault/every-request-lands-late", true, func(e *fsEnv) { e.everyFault(faultLate) }},
	{"fault/every-request-hangs", true, func(e *fsEnv) { e.everyFault(faultHang) }},
	{"fault/every-request-lands-twice", true, func(e *fsEnv) { e.everyFault(faultTwice) }},
	{"fault/every-request-refused-once", true, func(e *fsEnv) { e.everyFault(faultRefused) }},
	{"fault/outage-from-every-request", true, func(e *fsEnv) { e.everyFault(faultOutage) }},
	{"fault/dead-from-every-request", true, func(e *fsEnv) { e.everyFault(faultDead) }},
	{"fault/every-read-short", true, func(e *fsEnv) { e.everyFault(faultShort) }},
	{"fault/every-read-flipped", true, func(e *fsEnv) { e.everyFault(faultFlipped) }},
}

var errInjected = errors.New("injected fault")

// ill is a store whose i-th request meets a fault; several handles share one.
type ill struct {
	what fault
	at   int
	raw  driver.Store // what lands late lands here
	unit time.Duration

	mu     sync.Mutex
	n      int
	hit    bool
	read   bool // a request that only reads was met
	spared bool // reads meet no fault at present
	healed bool
	since  time.Time // of an outage
	late   sync.WaitGroup
}

// meets counts a request and says what happens to it.
func (i *ill) meets(read bool) (bool, fault) {
	i.mu.Lock()
	defer i.mu.Unlock()
	n := i.n
	i.n++
	if (i.what == faultShort || i.what == faultFlipped) && !read {
		i.n--
		return false, 0
	}
	if i.healed || n < i.at {
		return false, 0
	}
	first := !i.hit
	i.hit = true
	switch i.what {
	case faultDead:
		return true, faultDead
	case faultOutage:
		if first {
			i.since = time.Now()
		}
		return time.Since(i.since) < 10*i.unit, faultOutage
	}
	return first, i.what
}

func (i *ill) heal() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.healed = true
}

// kills reports whether the store is dead for good, or will be at some request.
func (i *ill) kills() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.what == faultDead && i.at < noRequest && !i.healed
}

func (i *ill) requests() (int, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.n, i.hit
}

// metRead reports whether the fault has met a request that only reads.
func (i *ill) metRead() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.read
}

// spareReads lets reads meet no fault, or does so no longer.
func (i *ill) spareReads(yes bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.spared = yes
}

func (i *ill) meetsRead(counted bool) (bool, fault) {
	i.mu.Lock()
	spared := i.spared
	i.mu.Unlock()
	if spared {
		return false, 0
	}
	hit, f := i.meets(counted)
	if hit {
		i.mu.Lock()
		i.read = true
		i.mu.Unlock()
	}
	return hit, f
}

func (i *ill) wrap(s driver.Store) driver.Store { return &illStore{s, i} }

type illStore struct {
	driver.Store
	i *ill
}

func (s *illStore) Unwrap() driver.Store { return s.Store }

func injected(op, key string, kind driver.Kind) error {
	return &driver.Error{Op: op, Path: "ill:" + key, Kind: kind, Err: errInjected}
}

// change runs a changing request; do makes it on a store.
func (s *illStore) change(ctx context.Context, opName, key string, do func(context.Context, driver.Store) error) error {
	hit, f := s.i.meets(false)
	if !hit {
		return do(ctx, s.Store)
	}
	later := func(d time.Duration) {
		s.i.late.Go(func() {
			time.Sleep(d)
			_ = do(context.Background(), s.i.raw)
		})
	}
	switch f {
	case faultAfter:
		_ = do(ctx, s.Store)
	case faultLate:
		later(s.i.unit)
	case faultHang:
		select {
		case <-time.After(7 * s.i.unit):
		case <-ctx.Done():
			later(s.i.unit)
			return &driver.Error{Op: opName, Path: key, Kind: driver.KindOther, Err: ctx.Err()}
		}
		_ = do(ctx, s.Store)
	case faultTwice:
		err := do(ctx, s.Store)
		later(20 * s.i.unit)
		return err
	case faultRefused:
		return injected(opName, key, driver.KindPermission)
	}
	return injected(opName, key, driver.KindTransient)
}

func (s *illStore) Put(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
	data = append([]byte(nil), data...)
	return s.change(ctx, "put", key, func(ctx context.Context, to driver.Store) error { return to.Put(ctx, key, data, o) })
}

func (s *illStore) Delete(ctx context.Context, keys []string) error {
	keys = append([]string(nil), keys...)
	return s.change(ctx, "delete", "", func(ctx context.Context, to driver.Store) error { return to.Delete(ctx, keys) })
}

// look is a request that changes nothing.
func (s *illStore) look(ctx context.Context, opName, key string) error {
	hit, f := s.i.meetsRead(false)
	if !hit || f == faultTwice {
		return nil
	}
	if f == faultHang {
		select {
		case <-time.After(7 * s.i.unit):
		case <-ctx.Done():
			return &driver.Error{Op: opName, Path: key, Kind: driver.KindOther, Err: ctx.Err()}
		}
	}
	if f == faultRefused {
		return injected(opName, key, driver.KindPermission)
	}
	return injected(opName, key, driver.KindTransient)
}

func (s *illStore) Stat(ctx context.Context, key string) (driver.Info, error) {
	if err := s.look(ctx, "stat", key); err != nil {
		return driver.Info{}, err
	}
	return s.Store.Stat(ctx, key)
}

func (s *illStore) List(ctx context.Context, prefix, after string) iter.Seq2[driver.Info, error] {
	return func(yield func(driver.Info, error) bool) {
		if err := s.look(ctx, "list", prefix); err != nil {
			yield(driver.Info{}, err)
			return
		}
		for i, err := range s.Store.List(ctx, prefix, after) {
			if !yield(i, err) {
				return
			}
		}
	}
}

func (s *illStore) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	if s.i.what != faultShort && s.i.what != faultFlipped {
		if err := s.look(ctx, "get", key); err != nil {
			return nil, err
		}
		return s.Store.Get(ctx, key, off, n)
	}
	if s.i.what == faultFlipped && isData(key) {
		return s.Store.Get(ctx, key, off, n)
	}
	hit, f := s.i.meetsRead(true)
	r, err := s.Store.Get(ctx, key, off, n)
	if !hit || err != nil {
		return r, err
	}
	b, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil {
		return nil, err
	}
	if f == faultShort {
		return &cutReader{b: b[:len(b)*2/3], err: &driver.Error{Op: "get", Path: key, Kind: driver.KindCorrupt, Err: io.ErrUnexpectedEOF}}, nil
	}
	b[len(b)/2] ^= 4
	return &cutReader{b: b, err: io.EOF}, nil
}

func isData(key string) bool { return len(key) > 5 && key[:5] == "data/" }

type cutReader struct {
	b   []byte
	err error
}

func (r *cutReader) Read(p []byte) (int, error) {
	if len(r.b) == 0 {
		return 0, r.err
	}
	n := copy(p, r.b)
	r.b = r.b[n:]
	return n, nil
}

func (r *cutReader) Close() error { return nil }

// everyFault runs the same work with the fault at the first request, the second, and so on, until a run meets none.
func (e *fsEnv) everyFault(what fault) {
	step, unit := 1, time.Second
	if !e.virtual { // real time and real requests: a part of them
		step, unit = 17, 10*time.Millisecond
	}
	runs := 0
	for at := 0; ; at += step {
		n, hit, err := e.faultRun(what, at, unit, runs)
		if err != nil {
			e.Fatalf("%s at request %d: %v", faultNames[what], at, err)
		}
		runs++
		if !hit {
			e.Logf("%d runs, %d requests in the last", runs, n)
			break
		}
	}
	if runs < 2 || step == 1 && runs < 10 {
		e.Errorf("only %d runs: the fault was not met", runs)
	}
}

// untilUnmet makes a run with the fault at the first request, at the one step further, and so on, until a run meets none. Where every request has its turn, there are at
// least so many runs.
func (e *fsEnv) untilUnmet(what fault, step, least int, run func(at, run int) (hit bool, err error)) {
	runs := 0
	for at := 0; ; at += step {
		hit, err := run(at, runs)
		if err != nil {
			e.Fatalf("%s at request %d: %v", faultNames[what], at, err)
		}
		runs++
		if !hit {
			break
		}
	}
	e.Logf("%d runs", runs)
	if runs < 2 || step == 1 && runs < least {
		e.Errorf("only %d runs: the fault was not met", runs)
	}
}

// budgetFor is how long a volume tries. Only a store that is dead for good must be given up soon; one in real time may just be busy.
func budgetFor(what fault, unit time.Duration) time.Duration {
	if what == faultDead {
		return 30 * unit
	}
	return 30 * time.Second
}

// faultRun works with one fault: three owners, who close the volume if they can.
func (e *fsEnv) faultRun(what fault, at int, unit time.Duration, run int) (requests int, hit bool, err error) {
	open := under(e.open, fmt.Sprintf("run%d", run))
	raw, err := open(e.ctx)
	if err != nil {
		return 0, false, err
	}
	defer raw.Close()
	i := &ill{what: what, at: at, raw: raw, unit: unit}
	o := smallOptions()
	o.RetryBudget = budgetFor(what, unit)
	o.CacheBytes = -1 // so that reads reach the store
	var c chain
	f := &faultOwner{fsEnv: e, open: open, ill: i, o: o, chain: &c}
	for owner := range 3 {
		if err = f.own(owner); err != nil {
			return 0, false, fmt.Errorf("owner %d: %w", owner, err)
		}
	}
	i.late.Wait() // what lands late has landed
	n, hit := i.requests()
	i.heal()
	if err := f.own(3); err != nil {
		return 0, false, fmt.Errorf("the owner after the fault: %w", err)
	}
	inv, err := takeInventory(e.ctx, raw)
	if err == nil {
		err = inv.checkNeeded(e.ctx, raw)
	}
	return n, hit, err
}

type faultOwner struct {
	*fsEnv
	open  func(ctxType) (driver.Store, error)
	ill   *ill
	o     *forstfs.Options
	chain *chain
}

// mountIll opens the volume; the fault may make that fail, but never as a volume that is not there.
func (f *faultOwner) mountIll() (*forstfs.FS, error) {
	var last error
	for attempt := range 4 {
		if attempt == 3 {
			f.ill.heal() // a store that is dead for good
		}
		s, err := f.open(f.ctx)
		if err != nil {
			return nil, err
		}
		v, err := forstfs.Open(f.ctx, f.ill.wrap(s), f.o)
		if err == nil {
			return v, nil
		}
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, forstfs.ErrNoVolume) || errors.Is(err, forstfs.ErrForeign) || errors.Is(err, forstfs.ErrDropped) {
			return nil, unexpected("a fault of the store looks like a missing volume: %w", err)
		}
		if errors.Is(err, forstfs.ErrDamaged) && f.ill.what != faultShort && f.ill.what != faultFlipped {
			return nil, unexpected("a fault of the store looks like damage: %w", err)
		}
		last = err
	}
	return nil, last
}

// own takes the volume over, checks what it finds, works, and closes it.
func (f *faultOwner) own(owner int) error {
	v, err := f.mountIll()
	if err != nil {
		return err
	}
	begin := emptyTrees(2)
	all, err := f.takeIll(v)
	if err != nil {
		return errors.Join(err, v.Close())
	}
	if owner > 0 {
		trees, err := f.chain.owners[owner-1].explain(all, never, never)
		if err != nil {
			return err
		}
		begin = inherit(trees, all)
	} else if len(all) > 0 {
		return fmt.Errorf("a new volume holds %s", all)
	}
	h := newHistory(&f.chain.clock, v.Epoch(), workDirs(2), begin)
	f.chain.owners = append(f.chain.owners, h)
	var wg sync.WaitGroup
	errs := make([]error, 2)
	for w := range 2 {
		wg.Go(func() { errs[w] = f.work(newWorker(f.ctx, h, w, v, uint64(100+owner), &f.chain.seeds)) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		_ = v.Close()
		return err
	}
	failed := v.Err()
	o := &op{kind: opNone, ack: true}
	err = h.call(0, o, v.Close)
	switch {
	case f.ill.what == faultDead:
		if failed != nil && err == nil {
			return unexpected("Close of a failed volume returns nil")
		}
		if _, hit := f.ill.requests(); hit {
			f.ill.heal()
		}
	case failed != nil || err != nil:
		return unexpected("the volume did not survive the fault: %w", errors.Join(failed, err))
	}
	return nil
}

func (f *faultOwner) work(k *worker) error {
	k.tolerate = func(err error) bool { return true }
	k.most = 3000
	for i := range 22 {
		err := k.step()
		if err == nil && k.w == 0 && i%7 == 6 {
			err = k.house(i / 7)
		}
		switch {
		case err == nil:
		case f.ill.what == faultDead && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, io.EOF):
			return nil // the volume, or the upload of one file, says that it has failed, which is right
		default:
			return fmt.Errorf("worker %d, step %d: %w", k.w, i, err)
		}
	}
	return nil
}

// takeIll reads everything; the fault may spoil one attempt.
func (f *faultOwner) takeIll(v *forstfs.FS) (found, error) {
	var last error
	for range 3 {
		all, err := take(f.ctx, v)
		if err == nil {
			return all, nil
		}
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, io.EOF) {
			return nil, unexpected("a fault of the store looks like a missing or a short file: %w", err)
		}
		last = err
		time.Sleep(11 * f.ill.unit)
	}
	f.ill.heal()
	all, err := take(f.ctx, v)
	if err != nil {
		return nil, errors.Join(last, err)
	}
	return all, nil
}
