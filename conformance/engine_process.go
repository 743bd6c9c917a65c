package conformance

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/forst-go/forst/forstfs"
)

// envEngineChild carries the task of a child process of RunEngineKills.
const envEngineChild = "FORST_CONFORMANCE_ENGINE_CHILD"

type engineTask struct {
	URL      string
	Engine   string
	Seed     uint64
	Base     []int // commits of each worker that are there
	Steps    int   // of each worker; then it closes the database
	DeadAt   int   // if not 0, from this request on the store answers with errors only
	Placed         // with LocalDir, if it is not empty
	LocalDir string
}

// engineLine is what a child tells its parent, before and after each call.
type engineLine struct {
	What   string        // "open", "begin", "end", "flush", "flushed", "closed", "stopped"
	Worker int           `json:",omitempty"`
	OK     bool          `json:",omitempty"`
	Sync   bool          `json:",omitempty"`
	Why    string        `json:",omitempty"`
	At     time.Duration // since the process began
}

// RunEngineChild is RunChild for RunEngineKills and RunEngineZombies.
func RunEngineChild(open Opener, engines ...Engine) bool {
	raw := os.Getenv(envEngineChild)
	if raw == "" {
		return false
	}
	var t engineTask
	if err := json.Unmarshal([]byte(raw), &t); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	for _, e := range engines {
		if e.Name == t.Engine {
			if err := t.run(open, e, os.Stdout); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(3)
			}
			return true
		}
	}
	fmt.Fprintln(os.Stderr, "no engine", t.Engine)
	os.Exit(2)
	return true
}

func (t *engineTask) run(open Opener, eng Engine, out io.Writer) error {
	var mu sync.Mutex
	began := time.Now()
	tell := func(x engineLine) {
		x.At = time.Since(began)
		b, err := json.Marshal(x)
		if err != nil {
			panic(err)
		}
		mu.Lock()
		defer mu.Unlock()
		_, _ = out.Write(append(b, '\n'))
	}
	ctx := context.Background()
	s, err := open(ctx, t.URL)
	if err != nil {
		return err
	}
	o := engineOptions()
	o.Force, o.FlushDelay = true, 5*time.Millisecond
	if t.LocalDir != "" {
		o.Placement, o.MaxLag, o.LocalDir = t.Placement, t.MaxLag, t.LocalDir
		if t.MaxLag > 0 { // sometimes the store does not keep up
			o.FlushDelay, s = 0, &hesitant{Store: s, often: 12, long: 3 * t.MaxLag / 2}
		}
	}
	if t.DeadAt > 0 {
		s = (&ill{what: faultDead, at: t.DeadAt, raw: s, unit: time.Millisecond}).wrap(s)
		o.RetryBudget = time.Second // longer than a busy store needs for an answer, nearly always
	}
	vol, err := forstfs.Open(ctx, s, o)
	if err != nil {
		return err
	}
	// What ends the process ends it, as it would in production.
	db, err := eng.Open(vol, engineDir, EngineOptions{MustExist: t.Base[0] > 0, Fatal: func(why string) {
		tell(engineLine{What: "stopped", Why: why})
		os.Exit(0)
	}})
	if err != nil {
		return err
	}
	h := newEngineHistory(&clock{}, t.Seed, t.Base)
	h.tell = tell
	tell(engineLine{What: "open"})
	l := &life{eng: eng, vol: vol, db: db, real: true}
	var wg sync.WaitGroup
	errs := make([]error, len(t.Base))
	for w := range t.Base {
		wg.Go(func() { errs[w] = h.engineWork(l, w, t.Steps) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil { // an engine that returns errors
		tell(engineLine{What: "stopped", Why: err.Error()})
		return nil
	}
	if err := h.closeWell(l); err != nil {
		tell(engineLine{What: "stopped", Why: err.Error()})
		return nil
	}
	tell(engineLine{What: "closed"})
	return nil
}

// RunEngineKills kills processes with a database of the engine with SIGKILL at random moments, again and again over one volume. After each, the database is opened in this
// process, which has nothing but the store, and held against what the dead process had begun and what it had been told.
func RunEngineKills(t *testing.T, p Process, eng Engine) {
	t.Run("kill/writers-at-random-moments", func(t *testing.T) {
		t.Parallel()
		k := newEngineKiller(t, p, eng)
		n := rounds(4)
		acked := 0
		for i := range n {
			c := k.spawn(0)
			c.await(k, k.r.IntN(60))
			time.Sleep(time.Duration(k.r.Int64N(int64(5 * time.Millisecond))))
			c.end()
			if c.err != nil {
				t.Fatalf("round %d: %v", i, c.err)
			}
			acked += c.h.acked()
			k.look(fmt.Sprintf("round %d", i), c.h)
		}
		t.Logf("%d processes killed, %d durable commits", n, acked)
		if acked == 0 {
			t.Error("no process was ever acknowledged")
		}
	})
}

// RunEngineDeadStores runs processes with a database whose store fails for good at some request, until they end by themselves: with an error, or as the
// engine sees fit. What they were told before is there.
func RunEngineDeadStores(t *testing.T, p Process, eng Engine) {
	t.Run("fault/dead-in-a-process", func(t *testing.T) {
		t.Parallel()
		k := newEngineKiller(t, p, eng)
		acked := 0
		n := rounds(2)
		for i := 0; i < n || acked == 0 && i < n+20; i++ { // a busy store may be given up before anything is acknowledged
			c := k.spawn(120 + k.r.IntN(150))
			select {
			case <-c.done:
			case <-time.After(watchdog):
				_ = c.cmd.Process.Signal(syscall.SIGQUIT)
				<-c.done
				t.Errorf("round %d: a process goes on without its store", i)
			}
			c.end()
			if c.err != nil || c.last.What == "closed" {
				t.Fatalf("round %d: %v, %+v\n%s", i, c.err, c.last, c.stderr.String())
			}
			acked += c.h.acked()
			k.look(fmt.Sprintf("round %d", i), c.h)
		}
		if acked == 0 {
			t.Error("no process was ever acknowledged")
		}
	})
}

// RunEngineZombies stops processes with a database with SIGSTOP, opens it here, works, and lets them go on with SIGCONT: they must find that they
// are fenced, and nothing that they do counts.
func RunEngineZombies(t *testing.T, p Process, eng Engine) {
	t.Run("zombie/stopped-processes", func(t *testing.T) {
		t.Parallel()
		k := newEngineKiller(t, p, eng)
		n := rounds(2)
		var longest time.Duration
		for i := range n {
			longest = max(longest, k.zombie(i))
		}
		t.Logf("%d processes stopped, the longest takeover took %v", n, longest.Round(time.Millisecond))
	})
}

type engineKiller struct {
	*testing.T
	p     Process
	eng   Engine
	url   string
	clock clock
	seed  uint64
	base  []int
	r     *rand.Rand

	placed   placedEngine // with the local directory dir
	dir      string
	saved    []int // what the checkpoint holds
	savedDir string
}

func newEngineKiller(t *testing.T, p Process, eng Engine) *engineKiller {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	return &engineKiller{T: t, p: p, eng: eng, url: p.URL(t), seed: seed, base: make([]int, 3), r: rand.New(rand.NewPCG(seed, 5))}
}

// engineChild is a running process with what it tells.
type engineChild struct {
	cmd    *exec.Cmd
	h      *engineHistory
	opened chan struct{}
	done   chan struct{}
	last   engineLine
	err    error
	stderr strings.Builder
}

func (k *engineKiller) spawn(deadAt int) *engineChild {
	k.Helper()
	b, err := json.Marshal(engineTask{URL: k.url, Engine: k.eng.Name, Seed: k.seed, Base: k.base, Steps: 100_000, DeadAt: deadAt, Placed: k.placed.Placed, LocalDir: k.dir})
	if err != nil {
		k.Fatal(err)
	}
	c := &engineChild{cmd: exec.Command(os.Args[0]), h: newEngineHistory(&k.clock, k.seed, k.base), opened: make(chan struct{}), done: make(chan struct{})}
	c.cmd.Env = append(os.Environ(), envEngineChild+"="+string(b))
	c.cmd.Stderr = &c.stderr
	out, err := c.cmd.StdoutPipe()
	if err == nil {
		err = c.cmd.Start()
	}
	if err != nil {
		k.Fatal(err)
	}
	k.Cleanup(c.end)
	go c.listen(out)
	select {
	case <-c.opened:
	case <-c.done:
		c.end()
		if deadAt > 0 { // it died on the way in
			return c
		}
		k.Fatalf("a child could not open the database: %s", c.stderr.String())
	}
	return c
}

func (c *engineChild) listen(out io.Reader) {
	defer close(c.done)
	in := bufio.NewScanner(out)
	var since int64
	for in.Scan() {
		var x engineLine
		if err := json.Unmarshal(in.Bytes(), &x); err != nil {
			if in.Scan() { // not the last line of a process that was killed
				c.err = fmt.Errorf("a child said %q: %w", in.Text(), err)
			}
			return
		}
		c.last = x
		c.h.at(x.At)
		switch x.What {
		case "open":
			close(c.opened)
		case "begin":
			c.h.begin(x.Worker)
		case "end":
			c.h.finish(x.Worker, x.OK, x.Sync)
		case "flush":
			since = c.h.since()
		case "flushed":
			c.h.flushed(since)
		}
	}
}

// await returns when n more commits are durable.
func (c *engineChild) await(k *engineKiller, n int) {
	for c.h.acked() < n {
		select {
		case <-c.done:
			c.end() // and all of stderr is there
			k.Fatalf("a child ended by itself, %+v: %s", c.last, c.stderr.String())
		case <-time.After(time.Millisecond):
		}
	}
}

// end kills the process if it lives and waits until all that it told is known.
func (c *engineChild) end() {
	_ = c.cmd.Process.Kill()
	<-c.done
	_ = c.cmd.Wait()
}

func (k *engineKiller) live() *life {
	k.Helper()
	s, err := k.p.Open(k.Context(), k.url)
	if err != nil {
		k.Fatal(err)
	}
	l, err := live(context.WithoutCancel(k.Context()), k.eng, s, k.options(), k.base[0] > 0)
	if err != nil {
		k.Fatal(err)
	}
	return l
}

// look opens the database and holds it against the last owner's history; what is found is what the next owner begins with.
func (k *engineKiller) look(who string, h *engineHistory) {
	k.Helper()
	k.lookWith(who, h, func(*life) error { return nil })
}

func (k *engineKiller) lookWith(who string, h *engineHistory, then func(*life) error) {
	k.Helper()
	l := k.live()
	got, err := l.scan()
	if err == nil {
		k.base, err = h.judge(got, never)
	}
	if err == nil {
		err = then(l)
	}
	if err == nil {
		err = l.Close()
	}
	if err != nil {
		k.Fatalf("%s: %v", who, err)
	}
}

// zombie tells how long the takeover took, beside a process that may be stopped in the middle of a request.
func (k *engineKiller) zombie(i int) (takeover time.Duration) {
	c := k.spawn(0)
	c.await(k, 10+k.r.IntN(40))
	if err := c.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		k.Fatal(err)
	}
	stopped(c.cmd.Process.Pid)
	start := time.Now()
	l := k.live()
	takeover = time.Since(start)
	got, err := l.scan()
	if err != nil {
		k.Fatalf("round %d: %v", i, err)
	}
	// What it said last may still be in the pipe.
	found, err := c.h.judge(got, never)
	for n := 0; err != nil && n < 2000; n++ {
		time.Sleep(time.Millisecond)
		found, err = c.h.judge(got, never)
	}
	if err != nil {
		k.Fatalf("round %d: before it goes on: %v", i, err)
	}
	k.base = found
	h := newEngineHistory(&k.clock, k.seed, k.base)
	work := func() {
		if err := h.engineWork(l, 0, 10); err != nil {
			k.Fatalf("round %d: the new owner: %v", i, err)
		}
	}
	work()
	if err := c.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		k.Fatal(err)
	}
	work() // beside it
	select {
	case <-c.done:
	case <-time.After(watchdog):
		_ = c.cmd.Process.Signal(syscall.SIGQUIT) // it says where it is
		<-c.done
		c.end()
		k.Fatalf("round %d: the process goes on and never learns that it is fenced:\n%s", i, c.stderr.String())
	}
	c.end()
	work()
	if c.err != nil {
		k.Fatalf("round %d: %v", i, c.err)
	}
	said := c.last.Why + c.stderr.String()
	if c.last.What == "closed" || !strings.Contains(said, forstfs.ErrFenced.Error()) {
		k.Errorf("round %d: the process that went on ends with %+v, not as fenced: %.3000s", i, c.last, c.stderr.String())
	}
	if _, err := c.h.judge(got, never); err != nil {
		k.Fatalf("round %d: what it was told after it went on: %v", i, err)
	}
	if err := h.closeWell(l); err != nil {
		k.Fatalf("round %d: the owner was disturbed: %v", i, err)
	}
	k.look(fmt.Sprintf("round %d", i), h)
	return takeover
}
