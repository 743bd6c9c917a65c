package journal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/mem"
)

// A scenario plays one history with a few processes and says which property it broke, if any. It runs in a bubble, so
// waiting costs nothing. TestScenarios expects nil of each; with the build tag forstmutants TestMutants expects an error of
// each under the mutants that it is there to catch.
type scenario struct {
	name    string
	mutants []string // IDs without "journal/"
	play    func(l *lab) error
}

// lab is what a scenario works with.
type lab struct {
	t     testing.TB
	ctx   context.Context
	store *mem.Store
	root  Root

	mu    sync.Mutex
	close []func()
	next  uint64
}

func (l *lab) atEnd(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.close = append(l.close, f)
}

func runScenario(t *testing.T, s scenario) (broken error) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		l := &lab{t: t, ctx: ctx, store: mem.New(nil)}
		defer func() {
			if p := recover(); p != nil {
				broken = fmt.Errorf("panic: %v", p)
			}
			cancel()
			synctest.Wait() // an open that is under way ends first
			for _, f := range slices.Backward(l.close) {
				f()
			}
		}()
		r, err := CreateRoot(ctx, l.store, RootOptions{Volume: VolumeID{1, 2, 3}})
		if err != nil {
			t.Fatal(err)
		}
		l.root = r
		broken = s.play(l)
	})
	return broken
}

// process is one process: its way to the store, its journal, its state.
type process struct {
	*tap
	*Journal
	l     *lab
	m     *log
	opt   Options
	ready chan struct{} // closed when a begun open has ended
	err   error
}

// nonces are small numbers in the order of use, so that names in traces are the same in each run.
func (l *lab) nonce() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next++
	return l.next
}

func (l *lab) process() *process {
	p := &process{tap: newTap(l.store), l: l, m: &log{}}
	p.opt = Options{Nonce: l.nonce, FlushDelay: -1, RetryBudget: time.Minute}
	return p
}

// open opens the volume, or notes the error.
func (p *process) open() error {
	j, err := Open(p.l.ctx, p.tap, p.m, &p.opt)
	if err == nil {
		p.l.atEnd(func() {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			j.Close(ctx)
		})
	}
	p.Journal, p.err = j, err
	return err
}

// opened is a process that has opened the volume without trouble.
func (l *lab) opened() *process {
	p := l.process()
	if err := p.open(); err != nil {
		panic(err)
	}
	return p
}

// begin opens in the background; await waits for the end.
func (p *process) begin() {
	p.ready = make(chan struct{})
	go func() {
		defer close(p.ready)
		p.open()
	}()
}

func (p *process) await() error {
	<-p.ready
	return p.err
}

// commit commits one operation in one frame.
func (p *process) commit(op string) error {
	ctx, cancel := context.WithTimeout(p.l.ctx, 30*time.Minute)
	defer cancel()
	return p.Wait(ctx, p.Enqueue([]byte(op+"\n"), []byte("bytes of "+op)))
}

// must commits operations, each in its frame.
func (p *process) must(ops ...string) {
	for _, op := range ops {
		if err := p.commit(op); err != nil {
			panic(fmt.Errorf("commit %s: %w", op, err))
		}
	}
}

func (p *process) image() ImageInfo {
	i, err := p.WriteImage(p.l.ctx)
	if err != nil {
		panic(fmt.Errorf("image: %w", err))
	}
	return i
}

func (p *process) trim() TrimInfo {
	i, err := p.Trim(p.l.ctx)
	if err != nil {
		panic(fmt.Errorf("trim: %w", err))
	}
	return i
}

// recover returns what a process that opened the volume now would see, in one instant, without changing anything.
func (l *lab) recover() (*log, *Reader, error) {
	s, err := l.store.Bucket().Snapshot().Open("")
	if err != nil {
		return nil, nil, err
	}
	m := &log{}
	r, err := OpenReader(context.Background(), s, m, nil)
	return m, r, err
}

// holds checks that the recovered state is exactly want.
func (l *lab) holds(want ...string) error {
	m, _, err := l.recover()
	if err != nil {
		return fmt.Errorf("recovery: %w", err)
	}
	if got := m.ops(); !slices.Equal(got, want) {
		return fmt.Errorf("recovered state is %v, want %v", got, want)
	}
	return nil
}

// has checks the state of a process.
func (p *process) has(want ...string) error {
	if got := p.m.ops(); !slices.Equal(got, want) {
		return fmt.Errorf("state of the process is %v, want %v", got, want)
	}
	return nil
}

func is(err, want error) error {
	if !errors.Is(err, want) {
		return fmt.Errorf("got error %v, want %q", err, want)
	}
	return nil
}

// keys lists the store.
func (l *lab) keys(prefix string) []string {
	all, err := driver.ListAll(context.Background(), l.store, prefix, "")
	if err != nil {
		panic(err)
	}
	var keys []string
	for _, i := range all {
		keys = append(keys, i.Key)
	}
	return keys
}

// frames lists the numbers in the journal.
func (l *lab) frames() []uint64 {
	n, err := listFrames(context.Background(), l.store, 0)
	if err != nil {
		panic(err)
	}
	return n
}

// there checks that frames are in the journal.
func (l *lab) there(numbers ...uint64) error {
	have := l.frames()
	for _, n := range numbers {
		if !slices.Contains(have, n) {
			return fmt.Errorf("frame %d is gone; there are %v", n, have)
		}
	}
	return nil
}

func (l *lab) frame(n uint64) *Frame {
	f, err := readFrame(context.Background(), l.store, n)
	if err != nil {
		panic(err)
	}
	return f
}

// plant puts a frame by hand.
func (l *lab) plant(f Frame) FrameRef {
	if f.Volume == (VolumeID{}) {
		f.Volume = l.root.Volume
	}
	b := f.Encode()
	if err := l.store.Put(context.Background(), FrameKey(f.Seq), b, driver.PutOptions{IfAbsent: true}); err != nil {
		panic(err)
	}
	return f.Ref()
}

// slowFence plants the fence of yet another opener, which listed the journal when it had only frames 1 to 4, in a
// number that was trimmed since.
func (l *lab) slowFence(n uint64) {
	l.plant(Frame{Kind: FrameFence, Epoch: 2, Nonce: 99, Seq: n, Prev: l.frame(1).Ref()})
}

// spoil makes an object unreadable.
func (l *lab) spoil(key string) {
	b, err := driver.ReadAll(context.Background(), l.store, key)
	if err != nil {
		panic(err)
	}
	b[len(b)/2] ^= 0x40
	if err := l.store.Put(context.Background(), key, b, driver.PutOptions{}); err != nil {
		panic(err)
	}
}

func (l *lab) newestImage() string {
	images, err := listImages(context.Background(), l.store)
	if err != nil || len(images) == 0 {
		panic(fmt.Sprint("no image: ", err))
	}
	return images[0].key
}

// first returns the first error.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func TestScenarios(t *testing.T) {
	for _, s := range scenarios() {
		t.Run(s.name, func(t *testing.T) {
			if err := runScenario(t, s); err != nil {
				t.Error(err)
			}
		})
	}
}

func scenarios() []scenario {
	return slices.Concat(takeoverScenarios(), commitScenarios(), replayScenarios(), imageScenarios(), dropScenarios(), earlyScenarios())
}

func TestScenarioNames(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range scenarios() {
		if seen[s.name] || strings.TrimSpace(s.name) == "" {
			t.Errorf("scenario %q twice", s.name)
		}
		seen[s.name] = true
	}
}
