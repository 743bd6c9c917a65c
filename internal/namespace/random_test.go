package namespace

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// chance is where a random run takes its decisions from: rapid, which shrinks them, or a seed.
type chance interface{ below(n int) int }

type drawn struct{ t *rapid.T }

func (d drawn) below(n int) int { return rapid.IntRange(0, n-1).Draw(d.t, "") }

type seeded struct{ r *rand.Rand }

func (s seeded) below(n int) int { return s.r.IntN(n) }

func pick[T any](ch chance, from []T) T { return from[ch.below(len(from))] }

// universe are the paths of a random run: three names, up to three levels deep, and the root.
var universe = func() []string {
	out := []string{"/"}
	for _, a := range []string{"a", "b", "c-"} {
		out = append(out, "/"+a)
		for _, b := range []string{"a", "b", "c-"} {
			out = append(out, "/"+a+"/"+b, "/"+a+"/"+b+"/x", "/"+a+"/"+b+"/y")
		}
	}
	return out
}()

// run is a random run: a State, the model, and a second State that gets the same operations through their bytes.
type run struct {
	ch    chance
	m     *model
	s     *State
	twin  *State
	held  []held
	stale []Placed // collected at some time, for packs that come late
	log   []string
	tree  *State // of some time, for restores
}

// held is a snapshot of extents in a reader's hands, with a copy of what it saw.
type held struct{ got, copy []Extent }

func newRun(ch chance) *run {
	r := &run{ch: ch, m: newModel(1), s: New(), twin: New()}
	for _, s := range []*State{r.s, r.twin} {
		s.AddOwner(Owner{Volume: [16]byte{1}, URL: "mem:///other"})
	}
	return r
}

func (r *run) container(kind ContainerKind) Container {
	c := Container{Kind: kind, Epoch: 1, Nonce: 5, Num: uint64(1 + r.ch.below(5)), CRC: 64}
	if r.ch.below(6) == 0 {
		c.Owner = 1
	}
	return c
}

func (r *run) extent(kind ContainerKind) Extent {
	e := Extent{r.container(kind), int64(r.ch.below(6)), int64(1 + r.ch.below(4))}
	return e
}

// inode is usually one that exists, sometimes one that is gone or never was.
func (r *run) inode() Inode {
	if files := r.m.files(); len(files) > 0 && r.ch.below(8) > 0 {
		return pick(r.ch, files).ino
	}
	return Inode(1 + r.ch.below(int(r.m.next)+1))
}

func (r *run) path() string { return pick(r.ch, universe) }

// there is a path of something that exists, mostly.
func (r *run) there() string {
	if names := slices.Sorted(maps.Keys(r.m.names)); len(names) > 0 && r.ch.below(4) > 0 {
		return pick(r.ch, names)
	}
	return r.path()
}

// op makes an operation, legal more often than not, and the place of its inline bytes.
func (r *run) op() (op Op, inline Extent) {
	switch k := r.ch.below(28); {
	case k >= 24:
		return r.snapOp()
	case k < 3:
		op = Op{Kind: Mkdir, Path: r.path()}
	case k < 7:
		op = Op{Kind: Create, Path: r.path(), Inode: r.m.next, File: FileKind(r.ch.below(2)), Time: int64(r.ch.below(1000))}
		if n := r.ch.below(12); n == 0 {
			op.Inode += Inode(r.ch.below(9))
		} else if n == 1 {
			op.Inode = r.inode()
		}
	case k < 9:
		op = Op{Kind: Link, Path: r.there(), Path2: r.path()}
	case k < 12:
		op = Op{Kind: Rename, Path: r.path(), Path2: r.path()}
		if r.ch.below(2) == 0 {
			op.Path, op.Path2 = r.there(), r.there()
		}
	case k < 14:
		op = Op{Kind: Remove, Path: r.path()}
	case k < 15:
		op = Op{Kind: RemoveAll, Path: r.path()}
	case k < 19:
		inline = r.extent(Frame)
		op = Op{Kind: Append, Inode: r.inode(), Len: inline.Len}
	case k < 21:
		op = Op{Kind: Extend, Inode: r.inode()}
		for range r.ch.below(4) {
			op.Extents = append(op.Extents, r.extent(ContainerKind(1+r.ch.below(2))))
		}
	case k < 22:
		op = Op{Kind: Touch, Inode: r.inode(), Time: int64(r.ch.below(1000))}
	default:
		op = Op{Kind: Pack, Packs: r.packs()}
	}
	return op, inline
}

// packs moves extents that were collected now or at some earlier time, in any order, some of them twice or wrong.
func (r *run) packs() (packs []Repack) {
	from := r.stale
	if len(from) == 0 || r.ch.below(2) == 0 {
		from = nil
		for _, p := range r.s.Inline() {
			from = append(from, p)
		}
	}
	to := Extent{Container: r.container(Object)}
	for _, p := range from {
		if r.ch.below(4) == 0 {
			continue
		}
		to.Len = p.Extent.Len
		packs = append(packs, Repack{p.Inode, p.FileOff, p.Extent, to})
		to.Off = (to.Off + to.Len) % 40
		switch r.ch.below(16) {
		case 0:
			packs[len(packs)-1].FileOff++
		case 1:
			packs[len(packs)-1].Old.Off++
		case 2: // there and back again
			packs = append(packs, Repack{p.Inode, p.FileOff, packs[len(packs)-1].New, p.Extent})
		}
	}
	if r.ch.below(4) == 0 {
		slices.Reverse(packs)
	}
	return packs
}

// step performs one random operation on all three and compares.
func (r *run) step() error {
	if r.ch.below(40) == 0 {
		r.m.fence()
		r.s.Fence()
		r.twin.Fence()
		if err := r.m.differs(r.s, universe); err != nil {
			return fmt.Errorf("after a fence: %w", err)
		}
	}
	op, inline := r.op()
	r.log = append(r.log, fmt.Sprintf("%s %s %s %d %v", op.Kind, op.Path, op.Path2, op.Inode, inline))
	if r.ch.below(5) == 0 {
		r.stale = nil
		for _, p := range r.s.Inline() {
			r.stale = append(r.stale, p)
		}
	}
	before := r.s.Encode()
	check := r.s.Check(&op)
	want := r.m.do(&op, inline)
	got := r.s.Apply(&op, inline)
	for _, class := range classes {
		if w := errors.Is(want, class); errors.Is(check, class) != w || errors.Is(got, class) != w {
			return fmt.Errorf("Check: %v, Apply: %v; the model says %v", check, got, want)
		}
	}
	if (check == nil) != (want == nil) || (got == nil) != (want == nil) || want != nil && !errors.Is(got, ErrCorrupt) {
		return fmt.Errorf("Check: %v, Apply: %v; the model says %v", check, got, want)
	}
	if want != nil && !bytes.Equal(before, r.s.Encode()) {
		return errors.New("a refused operation has changed the state")
	}
	if err := r.m.differs(r.s, universe); err != nil {
		return err
	}
	if err := r.throughBytes(&op, inline, want == nil); err != nil {
		return err
	}
	if r.ch.below(3) == 0 {
		got, want := r.s.TakeReleased(), slices.SortedFunc(maps.Keys(r.m.released), Container.Compare)
		if !slices.Equal(got, want) {
			return fmt.Errorf("TakeReleased() = %+v; want %+v", got, want)
		}
		clear(r.m.released)
	}
	return r.snapshots()
}

// throughBytes gives the twin the operation as it comes out of its bytes, and sometimes replaces the twin by what comes
// out of its own bytes: all of it must stay the same.
func (r *run) throughBytes(op *Op, inline Extent, legal bool) error {
	n := 0
	b := op.AppendTo([]byte("before"))[6:]
	err := DecodeOps(b, func(d *Op) error {
		n++
		if !reflect.DeepEqual(d, op) {
			return fmt.Errorf("%+v was decoded as %+v", op, d)
		}
		if err := r.twin.Apply(d, inline); (err == nil) != legal {
			return fmt.Errorf("the twin says %v", err)
		}
		return nil
	})
	if err != nil || n != 1 {
		return fmt.Errorf("decoded %d operations: %w", n, err)
	}
	body := r.s.Encode()
	if !bytes.Equal(body, r.twin.Encode()) {
		return errors.New("the same operations gave another body")
	}
	dec, err := Decode(body)
	if err != nil {
		return err
	}
	if !bytes.Equal(body, dec.Encode()) {
		return errors.New("decoded and encoded again, the body is another")
	}
	if err := r.m.differs(dec, universe); err != nil {
		return fmt.Errorf("after Decode: %w", err)
	}
	if !slices.Equal(dec.Owners(), r.s.Owners()) {
		return fmt.Errorf("after Decode: owners %+v", dec.Owners())
	}
	switch r.ch.below(10) {
	case 0:
		r.twin = dec
	case 1:
		r.twin = r.twin.Clone()
	}
	return nil
}

// snapshots takes slices of extents and looks at all those taken before.
func (r *run) snapshots() error {
	for _, h := range r.held {
		if !slices.Equal(h.got, h.copy) {
			return fmt.Errorf("a snapshot of extents has changed from %+v to %+v", h.copy, h.got)
		}
	}
	if f, ok := r.s.File(r.inode()); ok && len(f.Extents) > 0 {
		r.held = append(r.held, held{f.Extents, slices.Clone(f.Extents)})
		if cap(f.Extents) != len(f.Extents) {
			return errors.New("the caller could append to a snapshot")
		}
	}
	return nil
}

func (r *run) all(steps int) error {
	for i := range steps {
		if err := r.step(); err != nil {
			return fmt.Errorf("step %d: %w\n%q", i, err, r.log)
		}
	}
	return nil
}

// TestModel compares a State with the naive model after every one of random operations.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		if err := newRun(drawn{t}).all(rapid.IntRange(1, 60).Draw(t, "steps")); err != nil {
			t.Fatal(err)
		}
	})
}

// TestModelLong makes long runs, which rapid's shrinking would only slow down, from a seed per run.
func TestModelLong(t *testing.T) {
	seeds := uint64(4)
	if testing.Short() {
		seeds = 1
	}
	for seed := range seeds {
		if err := newRun(seeded{rand.New(rand.NewPCG(seed, 1))}).all(1200); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

// TestModelRefuses makes sure that the random runs meet legal and illegal operations of every kind.
func TestModelRefuses(t *testing.T) {
	legal, illegal, errs := map[OpKind]int{}, map[OpKind]int{}, map[error]int{}
	for seed := range uint64(8) {
		r := newRun(seeded{rand.New(rand.NewPCG(seed, 2))})
		for range 1000 {
			op, inline := r.op()
			err := r.s.Apply(&op, inline)
			_ = r.m.do(&op, inline)
			if err == nil {
				legal[op.Kind]++
			} else {
				illegal[op.Kind]++
			}
			for _, class := range classes {
				if errors.Is(err, class) {
					errs[class]++
				}
			}
		}
	}
	for k := Mkdir; k <= SnapMove; k++ {
		if legal[k] < 50 {
			t.Errorf("%s: %d legal ones", k, legal[k])
		}
		if k <= Remove && illegal[k] < 20 {
			t.Errorf("%s: %d illegal ones", k, illegal[k])
		}
	}
	for _, class := range classes {
		if errs[class] < 20 {
			t.Errorf("%v: %d times", class, errs[class])
		}
	}
}
