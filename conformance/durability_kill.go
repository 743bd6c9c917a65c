package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
)

// EnvKillRounds is how many processes RunKills kills, for a longer run than the default.
const EnvKillRounds = "FORST_KILL_ROUNDS"

// Process makes volumes that several processes open. The child processes are this test binary: its TestMain calls RunChild with Open.
type Process struct {
	URL  func(tb TB) string // of a new, empty place
	Open Opener
}

func rounds(n int) int {
	if k, err := strconv.Atoi(os.Getenv(EnvKillRounds)); err == nil && k > 0 {
		return k
	}
	if os.Getenv("FORST_NIGHTLY") != "" {
		return 10 * n
	}
	return n
}

// RunKills kills writing processes with SIGKILL at random moments. After each, the volume is opened in this process, which has nothing but the store, and held
// against what the dead process had begun and what it had been told.
func RunKills(t *testing.T, p Process) {
	t.Run("kill/writers-at-random-moments", func(t *testing.T) {
		k := newKiller(t, p)
		n := rounds(8)
		for i := range n {
			k.round(i)
		}
		t.Logf("%d processes killed, %d durability calls acknowledged by them, %d closed the volume first", n, k.acked, k.closed)
		if k.acked == 0 {
			t.Errorf("no process was ever acknowledged")
		}
	})
}

// RunZombies stops writing processes with SIGSTOP, takes the volume over, works, images, trims and sweeps, and lets them go on with SIGCONT.
func RunZombies(t *testing.T, p Process) {
	t.Run("zombie/stopped-processes", func(t *testing.T) {
		k := newKiller(t, p)
		for i := range rounds(4) {
			k.zombie(i)
		}
		if k.fenced == 0 {
			t.Errorf("no stopped process ever learnt that it was fenced")
		}
	})
}

// killer runs child processes over one volume and keeps what it must hold.
type killer struct {
	fsEnv
	p     Process
	url   string
	clock clock
	seeds atomic.Uint64 // of this process's own texts
	dirs  []string
	begin []*tree
	found found
	r     *rand.Rand

	acked, closed, fenced int
}

func newKiller(t *testing.T, p Process) *killer {
	url := p.URL(t)
	k := &killer{p: p, url: url, dirs: workDirs(3), begin: emptyTrees(3), found: found{}, r: rand.New(rand.NewPCG(7, uint64(time.Now().UnixNano())))}
	k.fsEnv = fsEnv{TB: t, ctx: context.WithoutCancel(t.Context()), open: func(ctx context.Context) (driver.Store, error) { return p.Open(ctx, url) }, last: new(sync.Map)}
	k.seeds.Store(1 << 40)
	v := k.mountForced()
	k.close(v)
	return k
}

func (k *killer) mountForced() *forstfs.FS {
	k.Helper()
	o := smallOptions()
	o.Force = true
	return k.mountOn(k.store(), o)
}

// child is a running process with what it tells.
type child struct {
	cmd *exec.Cmd
	l   *listener
}

func (k *killer) spawn(i, steps int) *child {
	k.Helper()
	b, err := json.Marshal(task{URL: k.url, Workers: len(k.dirs), Seed: k.r.Uint64(), Texts: uint64(i+1) << 20, Steps: steps})
	k.must(err)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), EnvChild+"="+string(b))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	k.must(err)
	k.must(cmd.Start())
	c := &child{cmd: cmd, l: listenTo(out, &k.clock, k.dirs, k.begin)}
	k.Cleanup(func() { c.end() })
	<-c.l.begun
	return c
}

// end kills the process if it lives and waits until all that it told is known.
func (c *child) end() {
	_ = c.cmd.Process.Kill()
	<-c.l.done
	_ = c.cmd.Wait()
}

// begunWell demands that the child found what this process knows to be there.
func (k *killer) begunWell(c *child) bool {
	if c.l.digest == 0 {
		c.end()
		k.Fatalf("a child could not open the volume")
	}
	return c.l.digest == k.found.digest()
}

func (k *killer) round(i int) {
	c := k.spawn(i, 1_000_000)
	if !k.begunWell(c) {
		k.Errorf("round %d: the process finds another state than the one before", i)
	}
	want := k.r.IntN(200) // so many acknowledgements, then a moment more: the kill comes at any point of the work
	for c.l.acked() < want {
		select {
		case <-c.l.done:
			want = 0
		case <-time.After(time.Millisecond):
		}
	}
	time.Sleep(time.Duration(k.r.Int64N(int64(5 * time.Millisecond))))
	c.end()
	if c.l.err != nil {
		k.Fatalf("round %d: %v", i, c.l.err)
	}
	k.acked += c.l.acked()
	if c.l.end == "closed" {
		k.closed++
	}
	k.look(fmt.Sprintf("round %d", i), c.l.h)
}

// look opens the volume and holds it against the last owner's history; what is found is what the next owner begins with.
func (k *killer) look(who string, h *history) {
	k.Helper()
	v := k.mountForced()
	k.judge(who, v, h)
	k.close(v)
	s := k.store()
	inv, err := takeInventory(k.ctx, s)
	k.must(err)
	k.must(inv.checkNeeded(k.ctx, s))
	k.must(s.Close())
}

func (k *killer) judge(who string, v *forstfs.FS, h *history) {
	k.Helper()
	all, err := take(k.ctx, v)
	if err != nil {
		k.Fatalf("%s: reading what was left: %v", who, err)
	}
	trees, err := h.explain(all, never, never)
	if err != nil {
		k.Fatalf("%s: %v", who, err)
	}
	k.begin, k.found = inherit(trees, all), all
}

// zombie is one round of RunZombies.
func (k *killer) zombie(i int) {
	c := k.spawn(i, 1_000_000)
	if !k.begunWell(c) {
		k.Errorf("round %d: the process finds another state than the one before", i)
	}
	for want := k.r.IntN(60); c.l.acked() < want; {
		select {
		case <-c.l.done:
			k.Fatalf("round %d: the process ended by itself", i)
		case <-time.After(time.Millisecond):
		}
	}
	k.must(c.cmd.Process.Signal(syscall.SIGSTOP))
	stopped(c.cmd.Process.Pid)
	first := c.l.h
	v := k.mountForced()
	// What it had said before it was stopped is known here soon; what it says later must be true, too, so it is judged at the end.
	all, err := take(k.ctx, v)
	k.must(err)
	trees, err := first.explain(all, 0, never)
	for n := 0; err != nil && n < 30_000; n++ { // what it said last may still be in the pipe
		time.Sleep(time.Millisecond)
		trees, err = first.explain(all, 0, never)
	}
	if err != nil {
		k.Fatalf("round %d: before it goes on: %v", i, err)
	}
	h := newHistory(&k.clock, v.Epoch(), k.dirs, inherit(trees, all))
	w := newWorker(k.ctx, h, 0, v, k.r.Uint64(), &k.seeds)
	half := func() {
		for range 15 {
			if err := w.step(); err != nil {
				k.Fatalf("round %d: %v", i, err)
			}
		}
		k.must(errors.Join(v.Checkpoint(k.ctx), second(v.Sweep(k.ctx))))
	}
	half()
	half()
	k.must(c.cmd.Process.Signal(syscall.SIGCONT))
	half() // beside it
	select {
	case <-c.l.done: // it is fenced, says so and ends
	case <-time.After(watchdog):
		k.Fatalf("round %d: the process goes on and never learns that it is fenced", i)
	}
	half()
	c.end()
	if c.l.err != nil {
		k.Fatalf("round %d: %v", i, c.l.err)
	}
	switch c.l.end {
	case "fenced":
		k.fenced++
	default:
		k.Errorf("round %d: the process that went on ends as %q, not as fenced", i, c.l.end)
	}
	if _, err := first.explain(all, never, never); err != nil {
		k.Fatalf("round %d: what it was told after it went on: %v", i, err)
	}
	k.must(w.end())
	if err := h.call(0, &op{kind: opNone, ack: true}, v.Close); err != nil {
		k.Fatalf("round %d: the owner was disturbed: %v", i, err)
	}
	k.last.Delete(v)
	k.look(fmt.Sprintf("round %d", i), h)
}

// stopped waits until the kernel has stopped a process.
func stopped(pid int) {
	for {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			time.Sleep(50 * time.Millisecond) // no /proc here
			return
		}
		for i := len(b) - 1; i >= 0; i-- { // behind the name, which is in parentheses
			if b[i] == ')' {
				if i+2 < len(b) && (b[i+2] == 'T' || b[i+2] == 't') {
					return
				}
				break
			}
		}
		time.Sleep(time.Millisecond)
	}
}

// RunServerKills works with a volume while its server is killed and started again, at random moments. The volume must survive, and
// nothing that was acknowledged may be missing afterwards. kill and restart are called in turn; restart returns when the server answers.
func RunServerKills(t *testing.T, p Process, kill, restart func()) {
	t.Run("server/killed-in-the-middle", func(t *testing.T) {
		k := newKiller(t, p)
		for i := range rounds(4) {
			o := smallOptions()
			o.Force, o.RetryBudget = true, 5*time.Minute
			v := k.mountOn(k.store(), o)
			k.judge(fmt.Sprintf("round %d", i), v, newHistory(&k.clock, v.Epoch(), k.dirs, k.begin))
			h := newHistory(&k.clock, v.Epoch(), k.dirs, k.begin)
			var wg sync.WaitGroup
			var steps atomic.Int64
			for w := range k.dirs {
				seed := k.r.Uint64()
				wg.Go(func() {
					x := newWorker(k.ctx, h, w, v, seed, &k.seeds)
					x.tolerate = func(error) bool { return true }
					for range 60 {
						if err := x.step(); err != nil {
							k.Errorf("round %d: %v", i, err)
							return
						}
						steps.Add(1)
					}
				})
			}
			for want := int64(k.r.IntN(120)); steps.Load() < want && !k.Failed(); {
				time.Sleep(time.Millisecond)
			}
			kill()
			time.Sleep(time.Duration(k.r.Int64N(int64(300 * time.Millisecond))))
			restart()
			wg.Wait()
			if k.Failed() {
				return
			}
			if i%2 == 0 {
				k.last.Delete(v)
				k.must(h.call(0, &op{kind: opNone, ack: true}, v.Close))
			}
			k.look(fmt.Sprintf("round %d", i), h)
		}
	})
}
