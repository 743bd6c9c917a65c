package forstfs_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/fault"
	"github.com/forst-go/forst/forstfs/mem"
	"github.com/forst-go/forst/internal/journal"
)

// remains demands that nothing is left of a dropped volume but what must stay: root, fences, an image that says it.
func remains(t *testing.T, what string, b *mem.Bucket) {
	t.Helper()
	s := store(t, b)
	all, err := driver.ListAll(ctx, s, "", "")
	must(t, err)
	for _, i := range all {
		data, err := driver.ReadAll(ctx, s, i.Key)
		must(t, err)
		ok := i.Key == journal.RootKey
		if _, frame := journal.ParseFrameKey(i.Key); frame {
			f, err := journal.DecodeFrame(data)
			must(t, err)
			ok = f.Kind != journal.FrameData
		}
		if strings.HasPrefix(i.Key, journal.ImagePrefix) {
			im, err := journal.DecodeImage(data)
			must(t, err)
			ok = im.Dropped
		}
		if !ok {
			t.Errorf("%s: %s is left", what, i.Key)
		}
	}
	if _, err = forstfs.Open(ctx, store(t, b), small()); !errors.Is(err, forstfs.ErrDropped) {
		t.Errorf("%s: Open says %v", what, err)
	}
}

func TestDropLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bucket()
		s := &spy{Store: fault.New(store(t, b), &fault.Options{Latency: fault.FixedLatency(time.Second, time.Second, 0)})}
		v, err := forstfs.Open(ctx, s, small())
		must(t, err)
		write(t, v, "old.sst", content(100_000, 1), true)
		write(t, v, "old.log", content(10_000, 1), true)
		must(t, v.Checkpoint(ctx))
		h, err := v.Open(ctx, "old.sst", nil)
		must(t, err)
		direct := store(t, b)
		s.put = func(key string, data []byte) error {
			if strings.HasPrefix(key, journal.DataPrefix) {
				time.Sleep(time.Minute)
				must(t, direct.Put(ctx, key, data, driver.PutOptions{})) // what is sent lands, whatever its sender does
			}
			return nil
		}
		f := create(t, v, "new.sst", content(200_000, 1)) // its objects are on their way
		closed := make(chan error)
		go func() { closed <- f.Close() }()
		synctest.Wait()
		must(t, v.Drop(ctx))
		if err := <-closed; !errors.Is(err, forstfs.ErrDropped) {
			t.Errorf("Close of a file of a dropped volume: %v", err)
		}
		_, err = h.ReadAt(make([]byte, 10), 0)
		if err != nil && !errors.Is(err, forstfs.ErrStale) {
			t.Errorf("reading from a dropped volume: %v", err)
		}
		must(t, h.Close())
		must(t, v.Close())
		remains(t, "after Drop", b)
	})
}

func TestDropFailsAtEveryRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, then := range []string{"Drop again", "FinishDrop"} {
			for i := 0; ; i++ {
				what := fmt.Sprintf("request %d fails, then %s", i, then)
				b := bucket()
				o := small()
				o.RetryBudget = time.Second
				v, s := faulty(t, b, nil, o)
				for k := range 3 {
					write(t, v, fmt.Sprintf("%d.sst", k), content(50_000, 1), true)
					must(t, v.Checkpoint(ctx))
				}
				heal := s.Add(fault.Rule{After: i, Do: fault.Fail(nil)})
				first := v.Drop(ctx)
				heal()
				if first != nil && (driver.KindOf(first) != driver.KindTransient || errors.Is(first, forstfs.ErrDropped)) {
					t.Errorf("%s: Drop: %v", what, first)
				}
				if then == "Drop again" && !errors.Is(v.Err(), forstfs.ErrFailed) {
					must(t, v.Drop(ctx))
				}
				_ = v.Close()
				alive, err := forstfs.OpenReadOnly(ctx, store(t, b), o)
				if err != nil && !errors.Is(err, forstfs.ErrDropped) {
					t.Errorf("%s: Open: %v", what, err)
				}
				err = forstfs.FinishDrop(ctx, store(t, b), o)
				if alive != nil { // the dropped fence did not come through
					if err == nil {
						t.Errorf("%s: FinishDrop takes a living volume", what)
					}
					must(t, alive.Close())
				} else {
					must(t, err)
					remains(t, what, b)
				}
				if first == nil {
					break
				}
				if i > 200 {
					t.Fatal("it never passes")
				}
			}
		}
	})
}

func TestFinishDropRefusesWhatIsNotDropped(t *testing.T) {
	b := bucket()
	if err := forstfs.FinishDrop(ctx, store(t, b), nil); !errors.Is(err, forstfs.ErrNoVolume) {
		t.Errorf("of nothing: %v", err)
	}
	must(t, store(t, b).Put(ctx, "data/x", nil, driver.PutOptions{}))
	if err := forstfs.FinishDrop(ctx, store(t, b), nil); !errors.Is(err, forstfs.ErrNoVolume) {
		t.Errorf("of something else: %v", err)
	}
	must(t, store(t, b).Delete(ctx, []string{"data/x"}))
	v := mount(t, b, nil)
	write(t, v, "a.sst", content(50_000, 1), true)
	before := b.Snapshot()
	if err := forstfs.FinishDrop(ctx, store(t, b), nil); err == nil {
		t.Error("of a living volume")
	}
	if !b.Equal(before) {
		t.Error("a refused FinishDrop has changed the store")
	}
	same(t, v, "a.sst", content(50_000, 1))
	must(t, v.Close())
}
