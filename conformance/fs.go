package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
)

// FSCase is one promise of package forstfs with the check that a volume on a given store keeps it.
type FSCase struct {
	Name string // "group/what-is-promised"
	run  func(*fsEnv)
}

// Run checks one case on a fresh store.
func (c FSCase) Run(tb TB, m Maker) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), watchdog)
	defer cancel()
	e := &fsEnv{TB: tb, ctx: ctx, open: m.Fresh(tb), last: new(sync.Map)}
	defer e.letGo()
	c.run(e)
}

// FSCases lists all cases in the order in which RunFS runs them.
func FSCases() []FSCase {
	return slices.Concat(fsCreateCases, fsReadCases, fsSyncCases, fsNameCases, fsDirCases, fsVolumeCases, fsOpenCases, fsGarbageCases, fsTimingCases, fsLateCases, fsSnapshotCases, fsCloneCases, fsFsckCases, fsFsckBlindCases, fsModelCases)
}

// RunFS checks that a volume on the stores of m keeps the contract of package forstfs: what engines need from a file system,
// the points of Hadoop's contract tests, and a random comparison with a simple model. Each case is a subtest on a fresh root.
func RunFS(t *testing.T, m Maker) {
	for _, c := range FSCases() {
		t.Run(c.Name, func(t *testing.T) { c.Run(t, m) })
	}
}

// fsEnv is what a case works with.
type fsEnv struct {
	TB
	ctx  context.Context
	open func(context.Context) (driver.Store, error)
	last *sync.Map // *forstfs.FS: mounted and not closed yet
	home *placedHome

	stalls  []*stall // of held
	virtual bool     // in a bubble of testing/synctest: waiting costs nothing
}

// smallOptions reach every path of a volume with few bytes: objects of 4 KiB, frames of 2 KiB, a cache that evicts. Nothing is
// sent to the journal before somebody waits for it, so that what is durable is exactly what was asked for.
func smallOptions() *forstfs.Options {
	return &forstfs.Options{
		Create: forstfs.CreateIfMissing, SkipProbe: true, ObjectSize: 4 << 10, MaxInflight: 4, FrameLimit: 2 << 10,
		FlushDelay: -1, CacheBytes: smallCache, RetryBudget: 30 * time.Second,
	}
}

const (
	objectSize = 4 << 10 // of smallOptions
	frameLimit = 2 << 10
	smallCache = 256 << 10
)

func (e *fsEnv) store() driver.Store {
	e.Helper()
	s, err := e.open(e.ctx)
	if err != nil {
		e.Fatalf("opening the store: %v", err)
	}
	return s
}

// handle is a store that the case looks into the volume with.
func (e *fsEnv) handle() driver.Store {
	e.Helper()
	return openHandle(e.TB, e.ctx, e.open)
}

// mount opens the volume for writing. A volume that is still open then is fenced, as if its process had died: that is how a
// case crashes.
func (e *fsEnv) mount() *forstfs.FS { e.Helper(); return e.mountOn(e.store(), smallOptions()) }

func (e *fsEnv) mountOn(s driver.Store, o *forstfs.Options) *forstfs.FS {
	e.Helper()
	if o.CacheBytes == smallCache && !s.Capabilities().Volatile {
		o.CacheBytes = 32 * smallCache // where a request takes its time, the cases that read a lot need not wait for each block
	}
	e.home.use(e.TB, o)
	v, err := forstfs.Open(e.ctx, s, o)
	if err != nil {
		e.Fatalf("opening the volume: %v", err)
	}
	return e.owned(v)
}

func (e *fsEnv) mountReadOnly() *forstfs.FS {
	e.Helper()
	v, err := forstfs.OpenReadOnly(e.ctx, e.store(), smallOptions())
	if err != nil {
		e.Fatalf("opening the volume read-only: %v", err)
	}
	return e.owned(v)
}

// owned closes v in the end, if the case has not done so.
func (e *fsEnv) owned(v *forstfs.FS) *forstfs.FS {
	e.last.Store(v, true)
	e.Cleanup(func() {
		if _, open := e.last.LoadAndDelete(v); open {
			_ = v.Close() // of a fenced volume it is an error
		}
	})
	return v
}

func (e *fsEnv) close(v *forstfs.FS) {
	e.Helper()
	e.last.Delete(v)
	e.must(v.Close())
}

// again closes the volume and opens it as another process would.
func (e *fsEnv) again(v *forstfs.FS) *forstfs.FS {
	e.Helper()
	e.close(v)
	return e.mount()
}

// ways are the manners in which a volume gets from one process to the next.
var ways = []string{"crash", "close", "checkpoint", "checkpoint and crash", "two checkpoints"}

// reopen goes that way; everything must have been synced before.
func (e *fsEnv) reopen(v *forstfs.FS, how string) *forstfs.FS {
	e.Helper()
	switch how {
	case "crash":
		return e.mount()
	case "close":
		return e.again(v)
	case "checkpoint":
		e.must(v.Checkpoint(e.ctx))
		return e.again(v)
	case "checkpoint and crash":
		e.must(v.Checkpoint(e.ctx))
		return e.mount()
	default:
		e.must(v.Checkpoint(e.ctx))
		e.put(v, "/between", bytesOf(3, 9), true)
		e.must(v.Remove(e.ctx, "/between"))
		e.must(v.Checkpoint(e.ctx))
		return e.again(v)
	}
}

func (e *fsEnv) must(err error) {
	e.Helper()
	if err != nil {
		e.Fatalf("%v", err)
	}
}

// want demands an error that matches target; nil demands success.
func (e *fsEnv) want(what string, err, target error) {
	e.Helper()
	if target == nil && err != nil || target != nil && !errors.Is(err, target) {
		e.Fatalf("%s: got error %v, want %v", what, err, target)
	}
}

// bytesOf is a text of n bytes, different for each seed and at each offset.
func bytesOf(n int, seed uint64) []byte {
	b := make([]byte, n)
	fillBytes(b, 0, seed)
	return b
}

// fillBytes gives p the bytes that lie at off in the endless text of a seed.
func fillBytes(p []byte, off int64, seed uint64) {
	for i := 0; i < len(p); {
		x := eightBytes(off>>3, seed)
		for b := off & 7; b < 8 && i < len(p); b++ {
			p[i] = byte(x >> (8 * uint(b)))
			i, off = i+1, off+1
		}
	}
}

func eightBytes(n int64, seed uint64) uint64 {
	x := (seed+1)*0x9e3779b97f4a7c15 ^ uint64(n)*0xbf58476d1ce4e5b9
	x ^= x >> 29
	return x * 0x94d049bb133111eb
}

func byteAt(off int64, seed uint64) byte {
	return byte(eightBytes(off>>3, seed) >> (8 * (uint(off) & 7)))
}

func (e *fsEnv) create(v *forstfs.FS, name string) *forstfs.File {
	e.Helper()
	f, err := v.Create(e.ctx, name, nil)
	e.must(err)
	return f
}

func (e *fsEnv) openFile(v *forstfs.FS, name string) *forstfs.File {
	e.Helper()
	f, err := v.Open(e.ctx, name, nil)
	e.must(err)
	return f
}

func (e *fsEnv) write(f *forstfs.File, data []byte) {
	e.Helper()
	if n, err := f.Write(data); n != len(data) || err != nil {
		e.Fatalf("Write of %d bytes: %d, %v", len(data), n, err)
	}
}

// put makes a file with content.
func (e *fsEnv) put(v *forstfs.FS, name string, data []byte, sync bool) {
	e.Helper()
	f := e.create(v, name)
	for p := data; len(p) > 0; {
		k := min(len(p), 1500)
		e.write(f, p[:k])
		p = p[k:]
	}
	if sync {
		e.must(f.Sync())
	}
	e.must(f.Close())
}

func (e *fsEnv) mkdir(v *forstfs.FS, name string) { e.Helper(); e.must(v.MkdirAll(e.ctx, name)) }

// read returns a file's content, read in order.
func (e *fsEnv) read(v *forstfs.FS, name string) []byte {
	e.Helper()
	f := e.openFile(v, name)
	b, err := io.ReadAll(f)
	if err != nil {
		e.Fatalf("reading %s: %v", name, err)
	}
	e.must(f.Close())
	return b
}

// same demands that a file holds exactly want, by its size, read in order and at random.
func (e *fsEnv) same(v *forstfs.FS, name string, want []byte) {
	e.Helper()
	if got := e.read(v, name); !bytes.Equal(got, want) {
		e.Fatalf("%s: %s", name, difference(got, want))
	}
	info, err := v.Stat(e.ctx, name)
	e.must(err)
	if info.Size() != int64(len(want)) {
		e.Fatalf("%s: Stat says %d bytes, want %d", name, info.Size(), len(want))
	}
	f := e.openFile(v, name)
	e.sameHandle(f, want)
	e.must(f.Close())
}

// sameHandle reads an open handle at random.
func (e *fsEnv) sameHandle(f *forstfs.File, want []byte) {
	e.Helper()
	r := rand.New(rand.NewPCG(uint64(len(want)), 3))
	p := make([]byte, len(want)+10)
	if n, err := f.ReadAt(p, 0); n != len(want) || err != io.EOF || !bytes.Equal(p[:n], want) {
		e.Fatalf("%s: ReadAt of everything and more: %d bytes, %v; %s", f.Name(), n, err, difference(p[:n], want))
	}
	for range 8 {
		if len(want) == 0 {
			return
		}
		off := r.IntN(len(want))
		p := p[:1+r.IntN(len(want)-off)]
		if n, err := f.ReadAt(p, int64(off)); n != len(p) || err != nil {
			e.Fatalf("%s of %d bytes: ReadAt(%d bytes at %d) = %d, %v", f.Name(), len(want), len(p), off, n, err)
		}
		if !bytes.Equal(p, want[off:off+len(p)]) {
			e.Fatalf("%s: wrong bytes at %d: %s", f.Name(), off, difference(p, want[off:off+len(p)]))
		}
	}
}

func difference(got, want []byte) string {
	i := 0
	for i < min(len(got), len(want)) && got[i] == want[i] {
		i++
	}
	if i == len(got) && i == len(want) {
		return "equal"
	}
	return fmt.Sprintf("%d bytes, want %d; the first %d agree", len(got), len(want), i)
}

// names demands the content of a directory.
func (e *fsEnv) names(v *forstfs.FS, dir string, want ...string) {
	e.Helper()
	got, err := v.List(e.ctx, dir)
	e.must(err)
	if !slices.Equal(got, want) {
		e.Fatalf("List(%s) = %q, want %q", dir, got, want)
	}
}

func (e *fsEnv) missing(v *forstfs.FS, name string) {
	e.Helper()
	if _, err := v.Stat(e.ctx, name); !isNotExist(err) {
		e.Fatalf("Stat(%s) = %v, want not exist", name, err)
	}
}

// dataObjects counts the data objects in the store.
func (e *fsEnv) dataObjects() int { e.Helper(); return len(e.keys("data/")) }

func (e *fsEnv) keys(prefix string) (keys []string) {
	e.Helper()
	all, err := driver.ListAll(e.ctx, e.handle(), prefix, "")
	e.must(err)
	for _, i := range all {
		keys = append(keys, i.Key)
	}
	return keys
}

// both runs a check with a file whose bytes go through the journal and one whose bytes go to objects.
func (e *fsEnv) both(f func(name string)) {
	e.Helper()
	f("/x.log")
	f("/x.sst")
}

// sizes are those where something begins or ends.
func sizes() []int {
	return []int{0, 1, 100, frameLimit - 1, frameLimit, frameLimit + 1, objectSize - 1, objectSize, objectSize + 1, 3*objectSize + 17, 40_000}
}

func sizeName(n int, ext string) string {
	return fmt.Sprintf("/f%s%05d.%s", strings.Repeat("i", n%3), n, ext)
}
