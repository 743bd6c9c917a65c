// Command wordcount is a small stream job with its state in a store. It counts the words of a file, or of generated lines, in several instances, kills them
// all with SIGKILL in the middle, goes on from the last checkpoint with another number of instances, and checks in the end that every word was
// counted exactly once:
//
//	go run ./examples/wordcount --store file:///tmp/words?create=1
//	go run ./examples/wordcount --store s3://bucket/words --input /usr/share/dict/words --instances 1,3,2
//
// An instance reads the whole source, counts the words of its own key groups, and makes a checkpoint every so many lines. So all instances cut
// the source at the same place, without talking to each other. The place is committed with the state. All instances of an attempt are in one child process here, because a
// directory is open in one process at a time; over S3 each could be on a machine of its own.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"sync"

	"github.com/forst-go/forst"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/state"
)

const keyGroups = 128

// job is what all processes are told.
type job struct {
	store, input string
	lines, every int
	run          string // name of the attempt
	of           int    // instances of the attempt; 0: this is the parent
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, args []string) error {
	var j job
	var instances string
	fs := flag.NewFlagSet("wordcount", flag.ContinueOnError)
	fs.StringVar(&j.store, "store", "", "URL of an empty place for state, for example file:///tmp/words?create=1")
	fs.StringVar(&j.input, "input", "", "file to count; default: generated lines")
	fs.IntVar(&j.lines, "lines", 20_000, "lines to count at most")
	fs.IntVar(&j.every, "every", 1000, "lines between checkpoints")
	fs.StringVar(&instances, "instances", "1,3,2", "number of instances in each attempt; all but the last are killed")
	fs.StringVar(&j.run, "run", "", "for child processes: name of the attempt")
	fs.IntVar(&j.of, "of", 0, "for child processes: number of instances")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if j.store == "" || j.every < 1 {
		return errors.New("usage: wordcount --store URL [--input FILE] [--instances 1,3,2]")
	}
	if j.of > 0 {
		return j.work(ctx)
	}
	var counts []int
	for _, s := range strings.Split(instances, ",") {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > keyGroups {
			return fmt.Errorf("--instances %q: numbers from 1 to %d", instances, keyGroups)
		}
		counts = append(counts, n)
	}
	return j.supervise(ctx, counts)
}

// source calls f with each line from an offset on. The same offset is always the same line: that is what makes a replay possible.
func (j *job) source(from int, f func(offset int, line string) error) error {
	if j.input == "" {
		for i := from; i < j.lines; i++ {
			rng := rand.New(rand.NewPCG(uint64(i), 1))
			words := make([]string, 5)
			for w := range words { // few words are frequent, many are rare
				words[w] = "word" + strconv.Itoa(int(rng.ExpFloat64()*200))
			}
			if err := f(i, strings.Join(words, " ")); err != nil {
				return err
			}
		}
		return nil
	}
	file, err := os.Open(j.input)
	if err != nil {
		return err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for i := 0; i < j.lines && lines.Scan(); i++ {
		if i >= from {
			if err := f(i, lines.Text()); err != nil {
				return err
			}
		}
	}
	return lines.Err()
}

func newCounts(b *state.Backend) (*state.Reducing[int64], error) {
	return state.NewReducing(b, state.ReducingDescriptor[int64]{Name: "counts", Codec: state.Int64, Reduce: func(a, b int64) int64 { return a + b }})
}

// work is one attempt: all instances, side by side.
func (j *job) work(ctx context.Context) error {
	root, err := forst.OpenStore(ctx, j.store)
	if err != nil {
		return err
	}
	defer root.Close()
	memory, err := state.NewMemory(512 << 20) // shared by all instances
	if err != nil {
		return err
	}
	defer memory.Close()
	last, err := state.Latest(ctx, root)
	if err != nil && !errors.Is(err, state.ErrNoCheckpoint) {
		return err
	}
	all := &progress{left: map[uint64]int{}, of: j.of}
	err = nil // that there is none is how the first attempt begins
	errs := make(chan error, j.of)
	for i := range j.of {
		go func() { errs <- j.instance(ctx, root, last, i, memory, all) }()
	}
	for range j.of {
		err = errors.Join(err, <-errs)
	}
	return err
}

// instance is instance i: it goes on from the checkpoint, if there is one.
func (j *job) instance(ctx context.Context, root driver.Store, last state.Checkpoint, i int, memory *state.Memory, all *progress) (err error) {
	o := &state.Options{Keys: state.Instance(keyGroups, j.of, i), Run: j.run, RestoreRun: last.Run, Memory: memory}
	o.Listener = &state.EventListener{Snapshot: func(id uint64, _ state.SnapshotStats, err error) {
		if err == nil {
			all.committed(id)
		}
	}}
	var b *state.Backend
	from := 0
	if last.Complete {
		if from, err = strconv.Atoi(string(last.Instances[0].Meta)); err != nil {
			return err
		}
		b, err = state.Restore(ctx, root, last.ID, o)
	} else {
		b, err = state.Create(ctx, root, o)
	}
	if err != nil {
		return err
	}
	return errors.Join(j.count(ctx, b, from, last.ID), b.Close())
}

// progress tells the parent on the standard output which checkpoints are complete.
type progress struct {
	mu   sync.Mutex
	left map[uint64]int // instances that have committed it
	of   int
}

func (p *progress) committed(id uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left[id]++; p.left[id] == p.of {
		fmt.Printf("complete %d\n", id)
	}
}

func (j *job) count(ctx context.Context, b *state.Backend, from int, number uint64) error {
	counts, err := newCounts(b)
	if err != nil {
		return err
	}
	var flying []*state.Future[state.Maybe[int64]]
	settle := func() error {
		for _, f := range flying {
			if _, err := f.Wait(ctx); err != nil {
				return err
			}
		}
		flying = flying[:0]
		return nil
	}
	checkpoint := func(offset int) (*state.Snapshot, error) {
		if err := settle(); err != nil { // an error of an addition must not be committed over
			return nil, err
		}
		number++
		return b.Snapshot(ctx, number, []byte(strconv.Itoa(offset)))
	}
	offset := from
	err = j.source(from, func(i int, line string) error {
		for _, w := range strings.Fields(line) {
			key := state.Key(w)
			if b.Keys().Contains(state.KeyGroup(key.Key, keyGroups)) {
				flying = append(flying, counts.AddAsync(ctx, key, 1))
			}
		}
		if offset = i + 1; offset%j.every == 0 {
			s, err := checkpoint(offset) // goes on in the background
			if err == nil {
				select {
				case <-s.Done():
					_, err = s.Wait(ctx)
				default:
				}
			}
			return err
		}
		return nil
	})
	if err != nil {
		return err
	}
	s, err := checkpoint(offset) // the end
	if err != nil {
		return err
	}
	_, err = s.Wait(ctx)
	return err
}

// supervise runs the attempts, and checks the result.
func (j *job) supervise(ctx context.Context, counts []int) error {
	for attempt, n := range counts {
		fmt.Printf("attempt %d: %d instances\n", attempt+1, n)
		if err := j.attempt(ctx, fmt.Sprintf("attempt%d", attempt+1), n, attempt == len(counts)-1); err != nil {
			return err
		}
	}
	root, err := forst.OpenStore(ctx, j.store)
	if err != nil {
		return err
	}
	return errors.Join(j.check(ctx, root), root.Close())
}

// attempt runs a child process to its end or, unless it is the last one, kills it when it has made two checkpoints: there is something to
// keep, and something to lose.
func (j *job) attempt(ctx context.Context, run string, n int, last bool) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	c := exec.CommandContext(ctx, self, "--store", j.store, "--input", j.input, "--lines", strconv.Itoa(j.lines), "--every", strconv.Itoa(j.every),
		"--run", run, "--of", strconv.Itoa(n))
	c.Stderr, c.Env = os.Stderr, append(os.Environ(), childEnv+"=1")
	out, err := c.StdoutPipe()
	if err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return err
	}
	killed := false
	lines := bufio.NewScanner(out)
	for made := 1; lines.Scan(); made++ {
		if !last && made == 2 {
			killed = c.Process.Kill() == nil
			fmt.Printf("  %s, then killed with SIGKILL\n", lines.Text())
		}
	}
	if err := c.Wait(); err != nil && !killed {
		return fmt.Errorf("%s: %w", run, err)
	}
	return nil
}

// childEnv marks child processes for the test, whose binary is not this command.
const childEnv = "WORDCOUNT_CHILD"
