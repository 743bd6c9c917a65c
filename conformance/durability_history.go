package conformance

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// The oracle. Each worker works in a directory of its own, one operation after the other, so its operations have one order.
// Operations of different workers are ordered where one returned before the other began. What a later owner of the volume finds must be, for
// each worker, the state after a prefix of its operations, such that
//
//   - everything is in it that was issued before a durability call which returned nil had begun, by whomever;
//   - with an operation, everything is in it that had returned before the operation began, by whomever;
//   - every file has at least the bytes that are in the order by then, and no byte that was not written to it.

// clock numbers moments: every call's begin and return, every request's. It is shared by all that belongs to one run.
type clock struct{ n atomic.Int64 }

func (c *clock) tick() int64 { return c.n.Add(1) }

// fileText is a file that somebody wrote: its bytes are the text of a seed, or, when it was found, known as they are. Its length is known at each
// moment.
type fileText struct {
	seed    uint64
	known   []byte // what was found; then seed says nothing, and nobody writes to it any more
	inode   uint64 // as the volume numbers it
	bulk    bool
	written int64 // bytes that were ever written
}

// at gives the n bytes that the file has at off.
func (f *fileText) at(off int64, n int) []byte {
	if f.known != nil {
		return f.known[off : off+int64(n)]
	}
	p := make([]byte, n)
	fillBytes(p, off, f.seed)
	return p
}

type opKind uint8

const (
	opNone opKind = iota // a durability call without bytes of its own
	opMkdir
	opCreate
	opLink
	opRename
	opRemove
	opRemoveAll
	opReuse
	opBytes // the first n bytes of file are in the order
)

var opNames = [...]string{"sync", "mkdir", "create", "link", "rename", "remove", "removeall", "reuse", "bytes"}

// op is one call. It belongs to the worker's order when ok; a call that failed changed no name.
type op struct {
	kind       opKind
	path, to   string
	file       *fileText
	n          int64
	start, end int64 // moments; end 0: has not returned
	ok         bool
	ack        bool // a durability call: nil means that everything issued before start is durable
}

func (o *op) String() string {
	s := fmt.Sprintf("[%d,%d] %s %s %s", o.start, o.end, opNames[o.kind], o.path, o.to)
	if o.file != nil {
		s += fmt.Sprintf(" file %d (inode %d) %d bytes", o.file.seed, o.file.inode, o.n)
	}
	if o.ack {
		s += " durable"
	}
	if !o.ok {
		s += " failed"
	}
	return s
}

// tree is the names of one worker's directory and the least length of every file.
type tree struct {
	names map[string]*fileText
	dirs  map[string]bool
	least map[*fileText]int64
}

func newTree() *tree {
	return &tree{names: map[string]*fileText{}, dirs: map[string]bool{}, least: map[*fileText]int64{}}
}

func (t *tree) clone() *tree {
	return &tree{names: maps.Clone(t.names), dirs: maps.Clone(t.dirs), least: maps.Clone(t.least)}
}

func (t *tree) apply(o *op) {
	if o.file != nil && o.n > t.least[o.file] {
		t.least[o.file] = o.n
	}
	switch o.kind {
	case opMkdir:
		t.dirs[o.path] = true
	case opCreate:
		t.names[o.path] = o.file
	case opReuse:
		delete(t.names, o.path)
		t.names[o.to] = o.file
	case opLink:
		t.names[o.to] = t.names[o.path]
	case opRename:
		t.rename(o.path, o.to)
	case opRemove:
		delete(t.names, o.path)
		delete(t.dirs, o.path)
	case opRemoveAll:
		maps.DeleteFunc(t.names, func(p string, _ *fileText) bool { return p == o.path || strings.HasPrefix(p, o.path+"/") })
		maps.DeleteFunc(t.dirs, func(p string, _ bool) bool { return p == o.path || strings.HasPrefix(p, o.path+"/") })
	}
}

func (t *tree) rename(from, to string) {
	if f := t.names[from]; f != nil {
		if t.names[to] != f {
			delete(t.names, from)
			t.names[to] = f
		}
		return
	}
	for p, f := range maps.Clone(t.names) {
		if strings.HasPrefix(p, from+"/") {
			delete(t.names, p)
			t.names[to+p[len(from):]] = f
		}
	}
	for d := range maps.Clone(t.dirs) {
		if d == from || strings.HasPrefix(d, from+"/") {
			delete(t.dirs, d)
			t.dirs[to+d[len(from):]] = true
		}
	}
}

// found is what an owner or a reader sees at one moment: every path with its content.
type found map[string]foundEntry

type foundEntry struct {
	dir   bool
	inode uint64
	data  []byte
}

// below is the part of a worker's directory.
func (f found) below(dir string) found {
	part := found{}
	for p, e := range f {
		if p == dir || strings.HasPrefix(p, dir+"/") {
			part[p] = e
		}
	}
	return part
}

// agrees says why the tree is not what was found; nil if it is.
func (t *tree) agrees(f found) error {
	if len(t.names)+len(t.dirs) != len(f) {
		return fmt.Errorf("%d names, found %d", len(t.names)+len(t.dirs), len(f))
	}
	for d := range t.dirs {
		if e, ok := f[d]; !ok || !e.dir {
			return fmt.Errorf("no directory %s", d)
		}
	}
	for p, file := range t.names {
		e, ok := f[p]
		switch {
		case !ok || e.dir:
			return fmt.Errorf("no file %s", p)
		case e.inode != file.inode && file.inode != 0: // 0: its Create had not returned
			return fmt.Errorf("%s is inode %d, want %d", p, e.inode, file.inode)
		case int64(len(e.data)) < t.least[file]:
			return fmt.Errorf("%s has %d bytes, at least %d are in the order", p, len(e.data), t.least[file])
		case int64(len(e.data)) > file.written:
			return fmt.Errorf("%s has %d bytes, only %d were ever written", p, len(e.data), file.written)
		}
		if want := file.at(0, len(e.data)); !bytes.Equal(e.data, want) {
			return fmt.Errorf("%s has bytes that were not written to it: %s", p, difference(e.data, want))
		}
	}
	return nil
}

// history is what one owner of a volume asked for, in its workers' orders, and what it began with.
type history struct {
	clock *clock
	epoch uint64
	from  int64 // the moment when the owner had read what it began with; nothing was issued before

	mu    sync.Mutex
	dirs  []string // of the workers
	begin []*tree  // what each worker found
	ops   [][]*op

	tell func(line) // of a child process: what is begun and what has returned; may be nil
}

// newHistory is that of an owner who found the trees.
func newHistory(c *clock, epoch uint64, dirs []string, begin []*tree) *history {
	return &history{clock: c, epoch: epoch, from: c.tick(), dirs: dirs, begin: begin, ops: make([][]*op, len(dirs))}
}

// call records one operation of worker w around f.
func (h *history) call(w int, o *op, f func() error) error {
	h.mu.Lock()
	o.start = h.clock.tick()
	h.ops[w] = append(h.ops[w], o)
	h.say("call", w, o)
	h.mu.Unlock()
	err := f()
	h.mu.Lock()
	defer h.mu.Unlock()
	o.end, o.ok = h.clock.tick(), err == nil
	h.say("return", w, o)
	return err
}

// wrote says that the file is about to grow.
func (h *history) wrote(f *fileText, n int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f.written += n
	h.say("wrote", 0, &op{file: f, n: n})
}

// say tells the parent process. h.mu is held, so that the lines have the order of the moments.
func (h *history) say(what string, w int, o *op) {
	if h.tell == nil {
		return
	}
	l := line{What: what, Worker: w, Kind: o.kind, Path: o.path, To: o.to, N: o.n, Ack: o.ack, OK: o.ok}
	if o.file != nil {
		l.Seed, l.Inode, l.Bulk = o.file.seed, o.file.inode, o.file.bulk
	}
	h.tell(l)
}

// never is after everything.
const never = int64(1) << 62

// explain checks what was found against the oracle: it must be a state after a crash at which every durability call that had returned by the
// moment ackBy counts, and nothing that was begun after issuedBy exists. It returns the tree of each worker that explains it.
func (h *history) explain(f found, ackBy, issuedBy int64) ([]*tree, error) {
	return h.explainSince(f, ackBy, issuedBy, 0)
}

// explainSince is explain for a state that must also hold everything that had returned before the moment since.
func (h *history) explainSince(f found, ackBy, issuedBy, since int64) ([]*tree, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := len(h.dirs)
	lists := make([][]*op, n)
	for w := range n {
		for _, o := range h.ops[w] {
			if o.start <= issuedBy && (o.ok || o.end == 0) {
				lists[w] = append(lists[w], o)
			}
		}
	}
	known := 0
	fits := make([][]*tree, n) // by length of the prefix; nil where it does not fit
	for w := range n {
		part := f.below(h.dirs[w])
		known += len(part)
		t := h.begin[w].clone()
		fits[w] = make([]*tree, len(lists[w])+1)
		any := false
		var near error
		for k := 0; ; k++ {
			err := t.agrees(part)
			if err == nil {
				fits[w][k], any = t.clone(), true
			} else {
				near = fmt.Errorf("after %d of %d operations: %w", k, len(lists[w]), err)
			}
			if k == len(lists[w]) {
				break
			}
			t.apply(lists[w][k])
		}
		if !any {
			return nil, fmt.Errorf("%s is in no state that it ever had (%w)\nfound: %s\noperations:\n%s", h.dirs[w], near, part, h.list(lists[w]))
		}
	}
	if known != len(f) {
		return nil, fmt.Errorf("there are names that nobody made: %s", f)
	}
	k, err := h.prefixes(lists, fits, ackBy, since)
	if err != nil {
		return nil, err
	}
	trees := make([]*tree, n)
	for w := range n {
		trees[w] = fits[w][k[w]]
	}
	return trees, nil
}

// prefixes finds the shortest prefixes that fit and hold everything acknowledged and everything that came before what they hold.
func (h *history) prefixes(lists [][]*op, fits [][]*tree, ackBy, since int64) ([]int, error) {
	n := len(lists)
	need := make([]int, n)
	why := make([]*op, n)
	// demand asks for everything that had returned before the moment.
	demand := func(before int64, because *op) {
		for u := range n {
			for i := len(lists[u]); i > need[u]; i-- {
				if o := lists[u][i-1]; o.end != 0 && o.end < before {
					need[u], why[u] = i, because
					break
				}
			}
		}
	}
	demand(since, nil)
	for w := range n {
		for i, o := range lists[w] {
			if o.ack && o.ok && o.end <= ackBy {
				demand(o.start, o)
				if i+1 > need[w] {
					need[w], why[w] = i+1, o
				}
			}
		}
	}
	k := make([]int, n)
	for changed := true; changed; {
		changed = false
		for w := range n {
			at := max(need[w], k[w])
			for at < len(fits[w]) && fits[w][at] == nil {
				at++
			}
			if at == len(fits[w]) {
				return nil, fmt.Errorf("%s has lost something: at least %d of %d operations must be there because of %v; the state is that after %s\noperations:\n%s",
					h.dirs[w], need[w], len(lists[w]), why[w], lengths(fits[w]), h.list(lists[w]))
			}
			if at > k[w] {
				k[w], changed = at, true
			}
		}
		for w := range n {
			if k[w] > 0 {
				o := lists[w][k[w]-1]
				demand(o.start, o)
			}
		}
		for w := range n {
			changed = changed || need[w] > k[w]
		}
	}
	return k, nil
}

func lengths(fits []*tree) string {
	var s []string
	for k, t := range fits {
		if t != nil {
			s = append(s, fmt.Sprint(k))
		}
	}
	return strings.Join(s, ", ") + " operations"
}

func (h *history) list(ops []*op) string {
	var b strings.Builder
	for i, o := range ops {
		fmt.Fprintf(&b, "  %3d %v\n", i+1, o)
	}
	return b.String()
}

func (f found) String() string {
	var b strings.Builder
	for _, p := range slices.Sorted(maps.Keys(f)) {
		if e := f[p]; e.dir {
			fmt.Fprintf(&b, "%s/ ", p)
		} else {
			fmt.Fprintf(&b, "%s=%d(inode %d) ", p, len(e.data), e.inode)
		}
	}
	return b.String()
}

// notNil is b, which says that it is known even when it is empty.
func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// inherit makes the trees what the next owner begins with. Nobody writes to these files any more: they are as long as they were found.
func inherit(trees []*tree, f found) []*tree {
	out := make([]*tree, len(trees))
	for i, t := range trees {
		next := newTree()
		next.dirs = maps.Clone(t.dirs)
		same := map[*fileText]*fileText{}
		for p, old := range t.names {
			file := same[old]
			if file == nil {
				n := int64(len(f[p].data))
				file = &fileText{seed: old.seed, known: notNil(f[p].data), inode: f[p].inode, bulk: old.bulk, written: n}
				same[old], next.least[file] = file, n
			}
			next.names[p] = file
		}
		out[i] = next
	}
	return out
}
