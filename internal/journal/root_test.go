package journal

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"testing/synctest"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/mem"
)

func TestCreateRoot(t *testing.T) {
	ctx := context.Background()
	s := mem.New(nil)
	r, err := CreateRoot(ctx, s, RootOptions{Features: []string{"w:x"}})
	if err != nil || r.Volume == (VolumeID{}) || r.Run != DefaultRun {
		t.Fatal(r, err)
	}
	there, err := CreateRoot(ctx, s, RootOptions{})
	if !errors.Is(err, ErrExists) || there.Volume != r.Volume {
		t.Errorf("second root: %v, %v", there, err)
	}
	if got, err := ReadRoot(ctx, s); err != nil || got.Volume != r.Volume || got.Features[0] != "w:x" {
		t.Errorf("%v, %v", got, err)
	}
	for _, o := range []RootOptions{{Run: 256}, {Run: -1}, {Features: []string{"x"}}} {
		if _, err := CreateRoot(ctx, mem.New(nil), o); err == nil || errors.Is(err, ErrExists) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

func TestCreateRootOnlyOneWins(t *testing.T) {
	s := mem.New(nil)
	var wg sync.WaitGroup
	var mu sync.Mutex
	winners := map[VolumeID]int{}
	for range 16 {
		wg.Go(func() {
			r, err := CreateRoot(context.Background(), s, RootOptions{})
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				winners[r.Volume]++
			} else if !errors.Is(err, ErrExists) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(winners) != 1 {
		t.Errorf("winners %v", winners)
	}
}

func TestCreateRootFaults(t *testing.T) {
	for name, c := range map[string]struct {
		r    rule
		want error
	}{
		"lost reply":   {rule{after: lost("put", "x")}, nil},
		"lost request": {rule{count: 3, before: lost("put", "x")}, nil},
		"twice":        {rule{twice: true}, nil},
		"never":        {rule{count: -1, before: lost("put", "x")}, &driver.Error{}},
		"permission":   {rule{before: &driver.Error{Kind: driver.KindPermission}}, &driver.Error{}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newTap(mem.New(nil))
				c.r.op, c.r.prefix = "put", RootKey
				p.add(c.r)
				r, err := CreateRoot(t.Context(), p, RootOptions{})
				if (err == nil) != (c.want == nil) || errors.Is(err, ErrExists) {
					t.Fatalf("%v, %v", r, err)
				}
				if err == nil {
					if got, rerr := ReadRoot(t.Context(), p); rerr != nil || got.Volume != r.Volume {
						t.Errorf("%v, %v", got, rerr)
					}
				}
			})
		})
	}
	s := mem.New(nil)
	if err := s.Put(t.Context(), RootKey, []byte("somebody else's"), driver.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := CreateRoot(t.Context(), s, RootOptions{}); !errors.Is(err, ErrExists) {
		t.Error(err)
	}
}

func TestEventsAndMetrics(t *testing.T) {
	s := mem.New(nil)
	if _, err := CreateRoot(t.Context(), s, RootOptions{Volume: vectorVolume}); err != nil { // checksums, and so sizes, depend on it
		t.Fatal(err)
	}
	var events []string
	var mu sync.Mutex
	var logged bytes.Buffer
	n := uint64(0)
	o := &Options{
		Nonce:   func() uint64 { mu.Lock(); defer mu.Unlock(); n++; return n },
		OnEvent: func(e Event) { mu.Lock(); defer mu.Unlock(); events = append(events, e.String()) },
		Logger:  slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	j, _ := open(t, s, o)
	for _, op := range []string{"a", "b", "c"} {
		commit(t, j, op)
		if _, err := j.WriteImage(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := j.Trim(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	open(t, s, nil)
	if err := tryCommit(j, "d"); !errors.Is(err, ErrFenced) {
		t.Fatal(err)
	}
	_ = j.Close(t.Context()) // fenced; its loop has told everything when this returns
	mu.Lock()
	defer mu.Unlock()
	for i, e := range events {
		events[i], _, _ = strings.Cut(e, " err=") // with the random nonce of the other writer
	}
	if err := golden("events", strings.Join(events, "\n")+"\n"+j.Metrics().String()+"\n"); err != nil {
		t.Error(err)
	}
	if strings.Count(logged.String(), "\n") != len(events) {
		t.Errorf("%d events, log:\n%s", len(events), logged.String())
	}
}
