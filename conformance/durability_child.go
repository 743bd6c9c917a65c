package conformance

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
)

// Opener opens the store behind a URL, in any process of a run.
type Opener func(ctx context.Context, url string) (driver.Store, error)

// EnvChild carries the task of a child process of RunKills.
const EnvChild = "FORST_CONFORMANCE_CHILD"

// task is what a child process does.
type task struct {
	URL     string
	Workers int
	Seed    uint64 // of its random operations
	Texts   uint64 // the first seed of its texts
	Steps   int    // of each worker; then it closes the volume
}

// RunChild lets a process that RunKills or RunZombies has started do its part, and returns false in any other process. A test binary
// calls it in TestMain, with the same opener as in its tests, and exits when it returns true.
func RunChild(open Opener) bool {
	raw := os.Getenv(EnvChild)
	if raw == "" {
		return false
	}
	var t task
	if err := json.Unmarshal([]byte(raw), &t); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	if err := t.run(open, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	return true
}

// line is what a child tells its parent, before and after each call, so that the parent knows what was begun and what was acknowledged.
type line struct {
	What   string // "begin", "call", "return", "wrote", "fenced", "closed"
	Epoch  uint64 `json:",omitempty"`
	Digest uint32 `json:",omitempty"` // of what it found
	Worker int    `json:",omitempty"`
	Kind   opKind `json:",omitempty"`
	Path   string `json:",omitempty"`
	To     string `json:",omitempty"`
	Seed   uint64 `json:",omitempty"` // of the file's text
	Inode  uint64 `json:",omitempty"`
	Bulk   bool   `json:",omitempty"`
	N      int64  `json:",omitempty"`
	Ack    bool   `json:",omitempty"`
	OK     bool   `json:",omitempty"`
}

// teller writes lines; each is a write of its own, so that what was told is with the parent whatever happens next.
type teller struct {
	mu sync.Mutex
	w  io.Writer
}

func (t *teller) tell(l line) {
	b, err := json.Marshal(l)
	if err != nil {
		panic(err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	_, _ = t.w.Write(append(b, '\n')) // a parent that is gone kills this process soon
}

// digest sums up what was found.
func (f found) digest() uint32 {
	h := crc32.NewIEEE()
	for _, p := range slices.Sorted(maps.Keys(f)) {
		e := f[p]
		fmt.Fprintf(h, "%q %v %d %d\n", p, e.dir, e.inode, len(e.data))
		_, _ = h.Write(e.data)
	}
	return h.Sum32() | 1
}

// run is the child's life.
func (t *task) run(open Opener, out io.Writer) error {
	ctx := context.Background()
	tell := &teller{w: out}
	s, err := open(ctx, t.URL)
	if err != nil {
		return err
	}
	o := smallOptions()
	o.RetryBudget = 5 * time.Minute
	o.ImageFrames = 15
	o.FlushDelay = 5 * time.Millisecond
	o.Force = true
	v, err := forstfs.Open(ctx, s, o)
	if err != nil {
		return err
	}
	all, err := take(ctx, v)
	if err != nil {
		return err
	}
	var c clock
	h := newHistory(&c, v.Epoch(), workDirs(t.Workers), treesOf(workDirs(t.Workers), all))
	h.tell = tell.tell
	tell.tell(line{What: "begin", Epoch: v.Epoch(), Digest: all.digest()})
	var seeds atomic.Uint64
	seeds.Store(t.Texts)
	var wg sync.WaitGroup
	errs := make([]error, t.Workers)
	for w := range t.Workers {
		wg.Go(func() {
			k := newWorker(ctx, h, w, v, t.Seed, &seeds)
			k.tolerate = func(err error) bool {
				return errors.Is(err, forstfs.ErrStale) || driver.KindOf(err) == driver.KindTransient
			}
			for i := range t.Steps {
				errs[w] = k.step()
				if errs[w] == nil && w == 0 && i%25 == 24 {
					errs[w] = k.house(i / 25)
				}
				if errs[w] != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if errors.As(err, new(errUnexpected)) {
			return err
		}
	}
	err = h.call(0, &op{kind: opNone, ack: true}, v.Close)
	switch {
	case err == nil:
		tell.tell(line{What: "closed"})
	case errors.Is(err, forstfs.ErrFenced):
		tell.tell(line{What: "fenced"})
	default:
		return err
	}
	return nil
}

// listen rebuilds a child's history from its lines, until they end.
type listener struct {
	h      *history
	digest uint32
	begun  chan struct{}
	done   chan struct{}
	end    string // "fenced", "closed", or empty: it was killed
	err    error
	texts  map[uint64]*fileText
	under  []*op // by worker: the call under way
}

// listenTo reads the lines of a child that began with the trees.
func listenTo(r io.Reader, c *clock, dirs []string, begin []*tree) *listener {
	l := &listener{h: newHistory(c, 0, dirs, begin), begun: make(chan struct{}), done: make(chan struct{}), texts: map[uint64]*fileText{}, under: make([]*op, len(dirs))}
	for _, t := range begin {
		for _, f := range t.names {
			l.texts[f.inode|1<<63] = f
		}
	}
	go l.run(r)
	return l
}

func (l *listener) run(r io.Reader) {
	defer close(l.done)
	begun := false
	in := bufio.NewScanner(r)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		var x line
		if err := json.Unmarshal(in.Bytes(), &x); err != nil {
			if !in.Scan() {
				break // the last line of a process that was killed
			}
			l.err = fmt.Errorf("a child said %q: %w", in.Text(), err)
			return
		}
		if x.What == "begin" && !begun {
			begun = true
			l.h.epoch, l.digest = x.Epoch, x.Digest
			close(l.begun)
			continue
		}
		l.take(&x)
	}
	if !begun {
		close(l.begun)
	}
}

// text is the file of a seed; files that the child found are known by their inode.
func (l *listener) text(x *line) *fileText {
	if x.Inode != 0 {
		if f := l.texts[x.Inode|1<<63]; f != nil {
			return f
		}
	}
	f := l.texts[x.Seed]
	if f == nil {
		f = &fileText{seed: x.Seed, bulk: x.Bulk}
		l.texts[x.Seed] = f
	}
	return f
}

func (l *listener) take(x *line) {
	h := l.h
	h.mu.Lock()
	defer h.mu.Unlock()
	switch x.What {
	case "call":
		o := &op{kind: x.Kind, path: x.Path, to: x.To, n: x.N, ack: x.Ack, start: h.clock.tick()}
		if x.Seed != 0 || x.Inode != 0 {
			o.file = l.text(x)
		}
		h.ops[x.Worker] = append(h.ops[x.Worker], o)
		l.under[x.Worker] = o
	case "return":
		o := l.under[x.Worker]
		o.end, o.ok = h.clock.tick(), x.OK
		if o.file != nil && (o.kind == opCreate || o.kind == opReuse) {
			o.file.inode = x.Inode
		}
	case "wrote":
		l.text(x).written += x.N
	default:
		l.end = x.What
	}
}

// acked is how many durability calls have returned nil.
func (l *listener) acked() (n int) {
	l.h.mu.Lock()
	defer l.h.mu.Unlock()
	for _, ops := range l.h.ops {
		for _, o := range ops {
			if o.ack && o.ok {
				n++
			}
		}
	}
	return n
}
