package forstfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/fault"
	"github.com/forst-go/forst/forstfs/mem"
	"github.com/forst-go/forst/internal/journal"
)

// The invariants of docs/protocol.md, each in a test of its name. What was broken to see each of them fail stands in the commit.

func TestInvariant1_DataObjectsAreDurableBeforeAFrameReferencesThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bucket()
		var mu sync.Mutex
		durable := map[string]bool{}
		references := 0
		s := &spy{Store: fault.New(store(t, b), &fault.Options{Seed: 1, Rules: []fault.Rule{
			// Objects are slow, frames are fast: whoever does not wait is found out.
			{Ops: []fault.Op{fault.Put}, Prefix: "data/", Do: fault.Delay(200 * time.Millisecond)},
			{Ops: []fault.Op{fault.Put}, Prefix: "data/", Prob: 0.2, Do: fault.Fail(nil)},
			{Ops: []fault.Op{fault.Put}, Prefix: "data/", Prob: 0.2, Do: fault.Late(nil, 500*time.Millisecond)},
		}})}
		s.put = func(key string, data []byte) error {
			mu.Lock()
			defer mu.Unlock()
			for _, k := range named(t, key, data) {
				references++
				if !durable[k] {
					t.Errorf("%s names %s, which no request has made durable yet", key, k)
				}
			}
			return nil
		}
		s.stored = func(key string, _ []byte) {
			mu.Lock()
			defer mu.Unlock()
			durable[key] = true
		}
		o := small()
		o.RetryBudget = time.Hour
		v, err := forstfs.Open(ctx, s, o)
		must(t, err)
		busy(v, 8, func(err error) { t.Error(err) })
		must(t, v.Close())
		if references < 100 {
			t.Errorf("only %d references were seen", references)
		}
	})
}

func TestInvariant2_AFrameIsAcknowledgedOnlyWhenAllBeforeItAreDurableAndTheWritersOwn(t *testing.T) {
	t.Run("durable first", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := bucket()
			gate := make(chan struct{})
			s := &spy{Store: store(t, b)}
			v, err := forstfs.Open(ctx, s, small())
			must(t, err)
			s.put = func(key string, _ []byte) error {
				if strings.HasPrefix(key, journal.JournalPrefix) {
					<-gate
				}
				return nil
			}
			var mu sync.Mutex
			acked := map[string]bool{}
			var wg sync.WaitGroup
			for i := range 12 {
				name := fmt.Sprintf("/%02d", i)
				f := create(t, v, name, []byte(name))
				wg.Go(func() {
					if err := f.Sync(); err != nil {
						t.Error(err)
					}
					mu.Lock()
					acked[name] = true
					mu.Unlock()
					if _, ok := recoverNow(t, b).Lookup(name); !ok {
						t.Errorf("%s was acknowledged and is not in the store", name)
					}
					_ = f.Close()
				})
				synctest.Wait()
			}
			for frames := 0; ; frames++ {
				synctest.Wait()
				st := recoverNow(t, b)
				mu.Lock()
				for name := range acked {
					if _, ok := st.Lookup(name); !ok {
						t.Errorf("%s was acknowledged before its frame was durable", name)
					}
				}
				n := len(acked)
				mu.Unlock()
				if n == 12 {
					break
				}
				if frames > 12 {
					t.Fatalf("after %d frames %d of 12 syncs have returned", frames, n)
				}
				gate <- struct{}{}
			}
			wg.Wait()
			close(gate)
			must(t, v.Close())
		})
	})
	t.Run("own", func(t *testing.T) {
		// Whatever another writer puts under the number, and however the store answers: no acknowledgement.
		for _, answer := range []error{nil, &driver.Error{Kind: driver.KindTransient}, &driver.Error{Kind: driver.KindExist}} {
			synctest.Test(t, func(t *testing.T) {
				b := bucket()
				s := &spy{Store: store(t, b)}
				v, err := forstfs.Open(ctx, s, small())
				must(t, err)
				write(t, v, "/a", []byte("1"), true)
				other := store(t, b)
				s.put = func(key string, data []byte) error {
					if !strings.HasPrefix(key, journal.JournalPrefix) {
						return nil
					}
					f, err := journal.DecodeFrame(bytes.Clone(data))
					must(t, err)
					f = &journal.Frame{Kind: journal.FrameFence, Volume: f.Volume, Epoch: f.Epoch + 1, Nonce: f.Nonce + 1, Seq: f.Seq, Prev: f.Prev}
					if err := other.Put(ctx, key, f.Encode(), driver.PutOptions{IfAbsent: true}); err != nil && driver.KindOf(err) != driver.KindExist {
						t.Error(err)
					}
					return answer
				}
				f := create(t, v, "/b", []byte("2"))
				for what, err := range map[string]error{"File.Sync": f.Sync(), "FS.Sync": v.Sync(ctx), "Checkpoint": v.Checkpoint(ctx), "File.Close": f.Close(), "FS.Close": v.Close()} {
					if !errors.Is(err, forstfs.ErrFenced) && !errors.Is(err, forstfs.ErrClosed) {
						t.Errorf("%s with a foreign frame in the slot: %v", what, err)
					}
				}
			})
		}
	})
}

func TestInvariant3_NilMeansNowAndAfterEveryLaterTakeover(t *testing.T) {
	b := bucket()
	acked := map[string][]byte{}
	var old []*forstfs.FS
	var files []*forstfs.File
	for round := range 12 {
		v := mount(t, b, nil)
		for name, data := range acked {
			same(t, v, name, data)
		}
		for i, o := range old { // every earlier writer, for ever
			if err := files[i].Sync(); !errors.Is(err, forstfs.ErrFenced) {
				t.Fatalf("round %d: File.Sync of writer %d: %v", round, i, err)
			}
			for what, err := range map[string]error{"Sync": o.Sync(ctx), "Checkpoint": o.Checkpoint(ctx), "Err": o.Err()} {
				if !errors.Is(err, forstfs.ErrFenced) {
					t.Fatalf("round %d: %s of writer %d: %v", round, what, i, err)
				}
			}
			d, err := o.OpenDir(ctx, "/")
			must(t, err)
			if err := d.Sync(); !errors.Is(err, forstfs.ErrFenced) {
				t.Fatalf("round %d: Dir.Sync of writer %d: %v", round, i, err)
			}
		}
		for i := range 3 {
			name := fmt.Sprintf("/%d-%d%s", round, i, []string{"", ".sst", ".big"}[i])
			acked[name] = content([]int{100, 70_000, 40_000}[i], uint64(round))
			write(t, v, name, acked[name], true)
		}
		if round%3 == 1 {
			must(t, v.Checkpoint(ctx))
			_, err := v.Sweep(ctx)
			must(t, err)
		}
		f := create(t, v, fmt.Sprintf("/unsynced-%d", round), []byte("x"))
		old, files = append(old, v), append(files, f)
	}
	for i, o := range old[:len(old)-1] {
		if err := o.Close(); !errors.Is(err, forstfs.ErrFenced) {
			t.Errorf("Close of writer %d: %v", i, err)
		}
	}
	must(t, old[len(old)-1].Close())

	t.Run("after a failure", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			o := small()
			o.RetryBudget = time.Second
			v, s := faulty(t, bucket(), nil, o)
			write(t, v, "/a", []byte("1"), true)
			heal := s.Add(fault.Rule{Ops: []fault.Op{fault.Put}, Prefix: "journal/", Do: fault.Fail(nil)})
			f := create(t, v, "/b", []byte("2"))
			if err := f.Sync(); !errors.Is(err, forstfs.ErrFailed) {
				t.Fatalf("Sync: %v", err)
			}
			heal()
			for what, err := range map[string]error{"File.Sync": f.Sync(), "FS.Sync": v.Sync(ctx), "Checkpoint": v.Checkpoint(ctx), "Close": f.Close()} {
				if !errors.Is(err, forstfs.ErrFailed) {
					t.Errorf("%s on a store that is well again: %v", what, err)
				}
			}
			if err := v.Close(); !errors.Is(err, forstfs.ErrFailed) {
				t.Errorf("Close of a failed volume: %v", err)
			}
		})
	})
}

// history is a program of single operations with the namespace after each of them.
type history struct {
	t      *testing.T
	v      *forstfs.FS
	now    map[string]string
	states []map[string]string
	acked  atomic.Int64 // the state after this one was synced
}

func (h *history) did(err error) {
	h.t.Helper()
	must(h.t, err)
	h.states = append(h.states, maps.Clone(h.now))
}

func (h *history) create(name, data string) {
	f, err := h.v.Create(ctx, name, nil)
	h.now[name] = ""
	h.did(err)
	_, err = f.Write([]byte(data))
	must(h.t, err)
	h.now[name] = data
	h.did(f.Close())
}

func (h *history) rename(from, to string) {
	h.now[to] = h.now[from]
	delete(h.now, from)
	h.did(h.v.Rename(ctx, from, to))
}

func (h *history) link(from, to string) {
	h.now[to] = h.now[from]
	h.did(h.v.Link(ctx, from, to))
}

func (h *history) remove(name string) {
	delete(h.now, name)
	h.did(h.v.Remove(ctx, name))
}

func (h *history) sync() {
	must(h.t, h.v.Sync(ctx))
	h.acked.Store(int64(len(h.states) - 1))
}

func TestInvariant4_RecoveredStateIsAPrefix(t *testing.T) {
	type crash struct {
		b     *mem.Bucket
		acked int
	}
	var h *history
	var mu sync.Mutex
	var crashes []crash
	var begun atomic.Bool
	b := bucket()
	s := &spy{Store: store(t, b)}
	picture := func() {
		if !begun.Load() {
			return
		}
		acked := int(h.acked.Load()) // before the picture is taken: what it says must be in it
		mu.Lock()
		defer mu.Unlock()
		crashes = append(crashes, crash{b.Snapshot(), acked})
	}
	s.stored = func(string, []byte) { picture() }
	s.put = func(string, []byte) error { picture(); return nil }
	s.deletes = func([]string) { picture() }
	o := small()
	o.FrameLimit = 300 // many frames between two syncs, cut anywhere
	v, err := forstfs.Open(ctx, s, o)
	must(t, err)
	h = &history{t: t, v: v, now: map[string]string{}}
	h.did(nil)
	begun.Store(true)
	for i := range 40 {
		n := fmt.Sprintf("/%02d", i)
		h.create(n, strings.Repeat(n, i))
		switch i % 5 {
		case 0:
			h.rename(n, n+".a")
			h.link(n+".a", n)
		case 1:
			h.create(n, "new "+n) // the old content is not seen again
		case 2:
			h.rename(n, fmt.Sprintf("/%02d", i-1)) // over a file
		case 3:
			h.remove(n)
			h.create(n+".big", strings.Repeat("0123456789", 300))
		}
		if i%4 == 3 {
			h.sync()
		}
		if i%13 == 12 {
			must(t, v.Checkpoint(ctx))
		}
	}
	must(t, v.Close())
	if len(crashes) < 60 {
		t.Fatalf("only %d moments to crash at", len(crashes))
	}
	for i, c := range crashes {
		w := mount(t, c.b, nil)
		got := map[string]string{}
		must(t, w.Walk(ctx, func(p string, _ forstfs.FileInfo) error {
			got[p] = string(read(t, w, p))
			return nil
		}))
		must(t, w.Close())
		if !slices.ContainsFunc(h.states[c.acked:], func(s map[string]string) bool { return maps.Equal(s, got) }) {
			t.Fatalf("crash %d of %d: %v is no state after operation %d of %d", i, len(crashes), got, c.acked, len(h.states)-1)
		}
	}
}
