package conformance

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/forst-go/forst/forstfs/driver"
)

// TB is the part of testing.TB that the cases use. Besides *testing.T, a Recorder implements it, so that a case can run
// outside of a test, or against a store that is broken on purpose.
type TB interface {
	Name() string
	Helper()
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Failed() bool
	Cleanup(func())
	TempDir() string
	Context() context.Context
}

// Maker makes the stores under test.
type Maker struct {
	// Fresh makes a new, empty root (a prefix, a directory) and returns the function that opens handles on it; a case may
	// open several at once. The suite closes every handle. What Fresh itself makes is removed by tb.Cleanup. Must be set.
	Fresh func(tb TB) func(ctx context.Context) (driver.Store, error)

	// Secrets are strings that no error and no printed store may contain, for example the access key's secret.
	Secrets []string
}

// StoreCase is one promise of package driver with the check that a store keeps it.
type StoreCase struct {
	Name string // "group/what-is-promised"
	run  func(*storeEnv)
}

// Run checks one case on a fresh store. Several cases are cheaper through a StoreRun.
func (c StoreCase) Run(tb TB, m Maker) {
	tb.Helper()
	NewStoreRun(tb, m).Run(tb, c)
}

// StoreCases lists all cases in the order in which RunStore runs them.
func StoreCases() []StoreCase {
	return slices.Concat(storePutCases, storeAtomicCases, storeIfAbsentCases, storeGetCases, storeListCases,
		storeDeleteCases, storeErrorCases, storeKeptCases, storeCloseCases)
}

// RunStore checks that a store keeps the contract of package driver: each case is a subtest with a fresh root. The cases
// need no server of their own kind and make a few thousand small requests in all.
func RunStore(t *testing.T, m Maker) {
	run := NewStoreRun(t, m)
	for _, c := range StoreCases() {
		t.Run(c.Name, func(t *testing.T) { run.Run(t, c) })
	}
}

// StoreRun runs cases one after the other on the stores of one Maker. What several of them only read, a store with more keys than a page of a list,
// is made once. One goroutine uses it.
type StoreRun struct {
	tb    TB
	maker Maker
	big   driver.Store // see storeEnv.bigStore
}

// NewStoreRun begins a run. What its cases share is removed by the cleanup of tb, so tb lives at least as long as they do.
func NewStoreRun(tb TB, m Maker) *StoreRun { return &StoreRun{tb: tb, maker: m} }

// watchdog ends a case whose store hangs; it is no measure of speed.
const watchdog = 5 * time.Minute

// Run checks one case on a fresh store; tb is the case's own.
func (s *StoreRun) Run(tb TB, c StoreCase) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), watchdog)
	defer cancel()
	e := &storeEnv{TB: tb, suite: s, ctx: ctx, open: s.maker.Fresh(tb)}
	e.s = e.handle()
	c.run(e)
}

// storeEnv is what a case works with.
type storeEnv struct {
	TB
	suite *StoreRun
	ctx   context.Context
	open  func(context.Context) (driver.Store, error)
	s     driver.Store // a handle on a fresh root
}

// handle opens one more handle on the case's root.
func (e *storeEnv) handle() driver.Store {
	e.Helper()
	return openHandle(e.TB, e.ctx, e.open)
}

func openHandle(tb TB, ctx context.Context, open func(context.Context) (driver.Store, error)) driver.Store {
	tb.Helper()
	s, err := open(ctx)
	if err != nil {
		tb.Fatalf("opening the store: %v", err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Errorf("Close: %v", err)
		}
	})
	return s
}

// bigKeys is more than one page of a list and one batch of a delete, on every store known.
const bigKeys = 1103

// The keys end in what a store that makes the mark of its next page from the last key, and takes it apart again, may get wrong.
func bigKey(i int) string { return fmt.Sprintf("big/%02d/%05d+a=b,c@d~e", i/400, i) }

// bigStore gives a store with bigKeys keys, which the cases of a run share and never change.
func (e *storeEnv) bigStore() driver.Store {
	e.Helper()
	if e.suite.big == nil {
		s, err := e.suite.maker.Fresh(e.suite.tb)(e.ctx)
		if err != nil {
			e.Fatalf("opening the store: %v", err)
		}
		e.suite.tb.Cleanup(func() { s.Close() })
		e.fill(s, bigKeys)
		e.suite.big = s
	}
	return e.suite.big
}

func (e *storeEnv) fill(s driver.Store, n int) (keys []string) {
	e.Helper()
	for i := range n {
		keys = append(keys, bigKey(i))
	}
	e.parallel(16, func(w int) {
		for i := w; i < n; i += 16 {
			if err := s.Put(e.ctx, keys[i], []byte(keys[i])[:i%7], driver.PutOptions{}); err != nil {
				e.Errorf("Put %s: %v", keys[i], err)
				return
			}
		}
	})
	if e.Failed() {
		e.Fatalf("the store could not be filled")
	}
	return keys
}

// parallel runs f(0) ... f(n-1) at the same time and waits. f must not call Fatalf.
func (e *storeEnv) parallel(n int, f func(i int)) {
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			f(i)
		})
	}
	close(start)
	wg.Wait()
}

func (e *storeEnv) put(key string, data []byte) {
	e.Helper()
	if err := e.s.Put(e.ctx, key, data, driver.PutOptions{}); err != nil {
		e.Fatalf("Put %s of %d bytes: %v", key, len(data), err)
	}
}

func (e *storeEnv) putAll(keys ...string) {
	e.Helper()
	for _, key := range keys {
		e.put(key, []byte("bytes of "+key))
	}
}

func (e *storeEnv) create(key string, data []byte) error {
	return e.s.Put(e.ctx, key, data, driver.PutOptions{IfAbsent: true})
}

// wantBytes checks the whole object through s.
func (e *storeEnv) wantBytes(s driver.Store, key string, want []byte) {
	e.Helper()
	got, err := driver.ReadAll(e.ctx, s, key)
	if err != nil {
		e.Errorf("Get %s: %v", key, err)
		return
	}
	if d := diffBytes(got, want); d != "" {
		e.Errorf("Get %s: %s", key, d)
	}
}

// diffBytes describes how got differs from want, or is empty.
func diffBytes(got, want []byte) string {
	if bytes.Equal(got, want) {
		return ""
	}
	n := min(len(got), len(want))
	at := n
	for i := range n {
		if got[i] != want[i] {
			at = i
			break
		}
	}
	return fmt.Sprintf("got %d bytes, want %d; the first difference is at %d", len(got), len(want), at)
}

// wantKind checks the kind of an error.
func (e *storeEnv) wantKind(what string, err error, want driver.Kind) {
	e.Helper()
	switch {
	case err == nil:
		e.Errorf("%s: nil error, want kind %q", what, want)
	case driver.KindOf(err) != want:
		e.Errorf("%s: kind %q (%v), want kind %q", what, driver.KindOf(err), err, want)
	}
}

// wantGone checks that nobody sees key through s.
func (e *storeEnv) wantGone(s driver.Store, key string) {
	e.Helper()
	_, err := driver.ReadAll(e.ctx, s, key)
	e.wantKind("Get "+key, err, driver.KindNotExist)
	_, err = s.Stat(e.ctx, key)
	e.wantKind("Stat "+key, err, driver.KindNotExist)
	for info, err := range s.List(e.ctx, key, "") {
		if err != nil {
			e.Errorf("List %s: %v", key, err)
		} else if info.Key == key {
			e.Errorf("List shows %s", key)
		}
	}
}

// list collects the keys of a list and checks that they ascend and match.
func (e *storeEnv) list(s driver.Store, prefix, after string) []string {
	e.Helper()
	keys := []string{}
	ended := false
	for info, err := range s.List(e.ctx, prefix, after) {
		if ended {
			e.Fatalf("List %q after %q goes on after an error", prefix, after)
		}
		if err != nil {
			e.Errorf("List %q after %q: %v", prefix, after, err)
			ended = true
			continue
		}
		if len(keys) > 0 && info.Key <= keys[len(keys)-1] {
			e.Errorf("List %q after %q gives %q behind %q", prefix, after, info.Key, keys[len(keys)-1])
		}
		keys = append(keys, info.Key)
	}
	return keys
}

// wantList checks a list against the keys that are there.
func (e *storeEnv) wantList(s driver.Store, prefix, after string, want ...string) {
	e.Helper()
	got := e.list(s, prefix, after)
	for _, k := range got {
		if !slices.Contains(want, k) {
			e.Errorf("List %q after %q gives %q, which it must not", prefix, after, k)
		}
	}
	for _, k := range want {
		if !slices.Contains(got, k) {
			e.Errorf("List %q after %q lacks %q", prefix, after, k)
		}
	}
	if len(got) != len(want) && !e.Failed() {
		e.Errorf("List %q after %q gives %d keys, want %d", prefix, after, len(got), len(want))
	}
}

// blob makes n bytes that depend on seed.
func blob(seed uint64, n int) []byte {
	rng := rand.NewPCG(seed, 0x666f727374)
	b := make([]byte, 0, n+8)
	for len(b) < n {
		b = binary.LittleEndian.AppendUint64(b, rng.Uint64())
	}
	return b[:n]
}

// Recorder is a TB that keeps what a case says instead of failing a test.
type Recorder struct {
	name string
	ctx  context.Context
	temp func() string

	mu       sync.Mutex
	failures []string
	logs     []string
	cleanups []func()
}

// Record runs f with a Recorder and returns it when f and its cleanups have ended. temp makes a directory that exists for
// at least as long; it may be nil if nothing under test needs one.
func Record(ctx context.Context, name string, temp func() string, f func(TB)) *Recorder {
	r := &Recorder{name: name, ctx: ctx, temp: temp}
	r.guard(func() { f(r) })
	for f := r.lastCleanup(); f != nil; f = r.lastCleanup() {
		r.guard(f)
	}
	return r
}

func (r *Recorder) lastCleanup() func() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.cleanups) == 0 {
		return nil
	}
	last := len(r.cleanups) - 1
	f := r.cleanups[last]
	r.cleanups = r.cleanups[:last]
	return f
}

// guard runs f on a goroutine of its own, so that Fatalf can end it, and turns a panic into a failure.
func (r *Recorder) guard(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if p := recover(); p != nil {
				r.Errorf("panic: %v", p)
			}
		}()
		f()
	}()
	<-done
}

// Failures are the messages of Errorf and Fatalf so far.
func (r *Recorder) Failures() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.failures)
}

// Logs are the messages of Logf so far.
func (r *Recorder) Logs() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.logs)
}

func (r *Recorder) Name() string             { return r.name }
func (r *Recorder) Helper()                  {}
func (r *Recorder) Context() context.Context { return r.ctx }
func (r *Recorder) Failed() bool             { return len(r.Failures()) > 0 }

func (r *Recorder) Logf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.logs = append(r.logs, fmt.Sprintf(format, args...))
}

func (r *Recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

func (r *Recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

func (r *Recorder) Cleanup(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cleanups = append(r.cleanups, f)
}

func (r *Recorder) TempDir() string {
	if r.temp == nil {
		r.Fatalf("no temporary directories here")
	}
	return r.temp()
}

var _ = []TB{(*Recorder)(nil), (*testing.T)(nil)}
