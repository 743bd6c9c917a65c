package conformance

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
)

// placedEngine is a way to place the files of a database, and what is left of it when the disk is lost.
type placedEngine struct {
	Name string
	Placed
	names []string // what the error about a lost disk must speak of
	whole bool     // the disk is not needed
	empty bool     // without the disk there is no database, only its tables
}

// enginePlacements are the presets and a table of a user's own.
var enginePlacements = []placedEngine{
	{Name: "Durable", whole: true},
	{Name: "LocalWAL", Placed: Placed{Placement: forstfs.PlaceLocalWAL}, names: []string{engineDir, ".log"}},
	{Name: "LocalWAL that follows", Placed: Placed{Placement: forstfs.PlaceLocalWAL, MaxLag: 200 * time.Millisecond}, names: []string{"in the last 200ms"}},
	{Name: "ForSt", Placed: Placed{Placement: forstfs.PlaceForSt}, names: []string{"MANIFEST-"}, empty: true},
	{Name: "a table of its own", Placed: Placed{Placement: forstfs.PlaceLocally(forstfs.ClassWAL, forstfs.ClassOptions, forstfs.ClassTemp)}, names: []string{".log", "OPTIONS-"}},
}

// RunEnginePlaced kills processes with SIGKILL whose database has some of its files on a local disk. With the disk nothing acknowledged is lost. Without it, or with an empty one, the
// volume is not opened: the error says what is missing and which checkpoint there is, and nothing in the store has changed. In the end the disk is lost for good: what
// Options.AcceptLoss leaves is the state after a commit, no older than the bound says, or an error; and the checkpoint is whole.
func RunEnginePlaced(t *testing.T, p Process, eng Engine) {
	for _, c := range enginePlacements {
		t.Run("placed/"+c.Name, func(t *testing.T) {
			t.Parallel()
			k := newEngineKiller(t, p, eng)
			k.placed, k.dir = c, t.TempDir()
			k.placedRounds()
		})
	}
}

func (k *engineKiller) placedRounds() {
	n := 2
	if testing.Short() {
		n = 1
	}
	acked := 0
	kill := func(least int) *engineHistory {
		c := k.spawn(0)
		c.await(k, least+k.r.IntN(60))
		time.Sleep(time.Duration(k.r.Int64N(int64(5 * time.Millisecond))))
		c.end()
		if c.err != nil {
			k.Fatal(c.err)
		}
		acked += c.h.acked()
		return c.h
	}
	for i := range max(n, rounds(n)/5) {
		h := kill(0)
		who := fmt.Sprintf("round %d", i)
		k.refused(who, i > 0)
		if i == 0 {
			k.lookWith(who, h, k.checkpoint)
		} else {
			k.look(who, h)
		}
	}
	h := kill(1)
	k.refused("the end", true)
	lost := k.withoutDisk(h)
	k.Logf("%d durable commits; %d lost with the disk", acked, lost)
	k.restored()
}

// options are those of every process on the machine.
func (k *engineKiller) options() *forstfs.Options {
	o := engineOptions()
	o.Force = true
	k.place(o)
	return o
}

func (k *engineKiller) place(o *forstfs.Options) {
	if k.placed.Placement != forstfs.PlaceDurable {
		o.Placement, o.MaxLag, o.LocalDir = k.placed.Placement, k.placed.MaxLag, k.dir
	}
}

// untouched is a store in which nothing may be changed.
type untouched struct {
	driver.Store
	changes atomic.Int64
}

func (u *untouched) Put(ctx context.Context, key string, p []byte, o driver.PutOptions) error {
	u.changes.Add(1)
	return u.Store.Put(ctx, key, p, o)
}

func (u *untouched) Delete(ctx context.Context, keys []string) error {
	u.changes.Add(1)
	return u.Store.Delete(ctx, keys)
}

// hesitant is a store that takes long for every so many-th object.
type hesitant struct {
	driver.Store
	n     atomic.Int64
	often int64
	long  time.Duration
}

func (h *hesitant) Put(ctx context.Context, key string, p []byte, o driver.PutOptions) error {
	if h.n.Add(1)%h.often == 0 {
		time.Sleep(h.long)
	}
	return h.Store.Put(ctx, key, p, o)
}

// refused opens the volume without its disk.
func (k *engineKiller) refused(who string, checkpoint bool) {
	k.Helper()
	if k.placed.whole {
		return
	}
	other := k.options()
	other.LocalDir = k.TempDir()
	bare := engineOptions()
	bare.Force = true
	for _, o := range []*forstfs.Options{other, bare} {
		s, err := k.p.Open(k.Context(), k.url)
		if err != nil {
			k.Fatal(err)
		}
		u := &untouched{Store: s}
		_, err = forstfs.Open(k.Context(), u, o)
		if !errors.Is(err, forstfs.ErrLocalLost) {
			k.Fatalf("%s: opened without its disk: %v", who, err)
		}
		want := append([]string{"AcceptLoss"}, k.placed.names...)
		if checkpoint && k.eng.Checkpoint != nil {
			want = append(want, `"before"`)
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				k.Errorf("%s: the error does not speak of %s: %v", who, w, err)
			}
		}
		if n := u.changes.Load(); n > 0 {
			k.Errorf("%s: %d requests changed the store before it was refused", who, n)
		}
	}
}

// checkpoint makes the checkpoint that is restored in the end.
func (k *engineKiller) checkpoint(l *life) error {
	if k.eng.Checkpoint == nil {
		return nil
	}
	return l.call(func() (err error) {
		k.saved = append([]int(nil), k.base...)
		k.savedDir, err = k.eng.Checkpoint(k.Context(), l.vol, l.db, "before")
		return err
	})
}

// withoutDisk gives the disk up and holds what is left against the history; it says how many durable commits are gone.
func (k *engineKiller) withoutDisk(h *engineHistory) int {
	k.Helper()
	s, err := k.p.Open(k.Context(), k.url)
	if err != nil {
		k.Fatal(err)
	}
	o := engineOptions()
	o.Force, o.AcceptLoss = true, true
	l, err := live(context.WithoutCancel(k.Context()), k.eng, s, o, true)
	if k.placed.empty {
		if err == nil {
			k.Fatal("a database without its catalogue was opened")
		}
		return h.acked()
	}
	if err != nil {
		k.Fatal(err)
	}
	left := h
	if !k.placed.whole {
		left = h.lose(k.placed.MaxLag)
	}
	got, err := l.scan()
	if err == nil {
		k.base, err = left.judge(got, never)
	}
	if err == nil {
		err = l.Close()
	}
	if err != nil {
		k.Fatalf("without the disk: %v", err)
	}
	return h.beyond(k.base)
}

// restored opens the checkpoint on a machine with nothing on its disk.
func (k *engineKiller) restored() {
	k.Helper()
	if k.eng.Checkpoint == nil {
		return
	}
	open := func(url string) driver.Store {
		s, err := k.p.Open(k.Context(), url)
		if err != nil {
			k.Fatal(err)
		}
		return s
	}
	to := k.p.URL(k)
	o := engineOptions()
	o.AcceptLoss = k.placed.empty // nobody has given the source's disk up
	o.OpenStore = func(ctx context.Context, url string) (driver.Store, error) { return k.p.Open(ctx, url) }
	src, dst := open(k.url), open(to)
	_, err := forstfs.Clone(k.Context(), src, "before", dst, &forstfs.CloneOptions{SourceURL: k.url, CloneURL: to, Options: o})
	if err != nil {
		k.Fatal(err)
	}
	if err := errors.Join(src.Close(), dst.Close()); err != nil {
		k.Fatal(err)
	}
	l, err := liveAt(context.WithoutCancel(k.Context()), k.eng, open(to), o, k.savedDir, true)
	if err != nil {
		k.Fatal(err)
	}
	got, err := l.scan()
	if err == nil {
		_, err = newEngineHistory(&k.clock, k.seed, k.saved).judge(got, never)
	}
	if err == nil {
		err = l.Close()
	}
	if err != nil {
		k.Fatalf("the checkpoint: %v", err)
	}
}

// lose gives the history that a machine leaves whose disk is lost. Flushed are the tables. Of the log, if it follows, is there what was durable maxLag before
// the last durable commit began: its Sync waited for that. The moments are the process's own.
func (h *engineHistory) lose(maxLag time.Duration) *engineHistory {
	h.mu.Lock()
	defer h.mu.Unlock()
	left := newEngineHistory(h.clock, h.seed, make([]int, len(h.workers)))
	var last time.Duration
	for _, k := range h.workers {
		for _, c := range k.commits {
			if c.ok && c.synced {
				last = max(last, c.began)
			}
		}
	}
	for w, k := range h.workers {
		k.commits = append([]commit(nil), k.commits...)
		for i := range k.commits {
			c := &k.commits[i]
			if !c.flushed && !(maxLag > 0 && c.durable != never && c.safe < last-maxLag) {
				c.durable = never
			}
		}
		left.workers[w] = k
	}
	return left
}

// beyond is how many durable commits are later than what was found.
func (h *engineHistory) beyond(found []int) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for w, k := range h.workers {
		for i, c := range k.commits {
			if c.durable != never && k.base+i+1 > found[w] {
				n++
			}
		}
	}
	return n
}
