package pebblev2_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/forst-go/forst/engineadapter/pebblev2"
	"github.com/forst-go/forst/forstfs"
)

// TestInspectLive opens a database that somebody writes to with stock Pebble, read-only, again and again: by a follower, which shows what was acknowledged when it
// was opened, and by snapshots, under which nothing is ever deleted.
func TestInspectLive(t *testing.T) {
	for _, h := range homes {
		if h.Name == "mem with faults" {
			continue // the store fails for the follower, too, which reads without trying again
		}
		t.Run(h.Name, func(t *testing.T) { inspectLive(t, h.New(t)) })
	}
}

func inspectLive(t *testing.T, h home) {
	ctx := context.Background()
	o := volOptions(nil)
	o.ImageFrames = 50 // frames and packed objects go all the time
	vol := openVol(t, h.Open(t), o)
	db := openDB(t, "/db", options(pebblev2.New(vol)))
	var acked atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := int64(0); ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if err := db.Set(liveKey(i), fmt.Appendf(nil, "%0200d", i), pebble.Sync); err != nil {
				t.Errorf("Set: %v", err)
				return
			}
			acked.Store(i + 1)
			if i%100 == 99 {
				if err := db.Flush(); err != nil {
					t.Errorf("Flush: %v", err)
					return
				}
			}
		}
	})
	defer func() {
		close(stop)
		wg.Wait()
		ok(t, db.Close())
		ok(t, vol.Close())
	}()
	for acked.Load() < 300 && !t.Failed() { // there are tables by now
		ok(t, vol.Sync(ctx))
	}
	lookAt := func(v *forstfs.FS, least int64) error {
		ro := options(pebblev2.New(v))
		ro.ReadOnly = true
		ro.Logger = testLogger{}
		d, err := pebble.Open("/db", ro)
		if err != nil {
			return err
		}
		m, err := scan(d)
		if err = errors.Join(err, d.Close()); err != nil {
			return err
		}
		if int64(len(m)) < least {
			t.Errorf("%d keys, %d were acknowledged before", len(m), least)
		}
		for i := range int64(len(m)) {
			if m[string(liveKey(i))] != fmt.Sprintf("%0200d", i) {
				t.Fatalf("of %d keys number %d is missing or wrong", len(m), i)
			}
		}
		return nil
	}
	// Two followers that stay open: one is brought up to date by Refresh, the other by itself, when a name or a byte is asked for and its state is older than its bound.
	const bound = 100 * time.Millisecond
	stay, err := forstfs.OpenReadOnly(ctx, h.Open(t), &forstfs.Options{})
	ok(t, err)
	bounded, err := forstfs.OpenReadOnly(ctx, h.Open(t), &forstfs.Options{MaxStaleness: bound})
	ok(t, err)
	defer func() { ok(t, errors.Join(stay.Close(), bounded.Close())) }()
	follow := func(v *forstfs.FS, refresh bool) (seen bool) {
		least, at := acked.Load(), time.Now()
		if refresh {
			_, err := v.Refresh(ctx)
			ok(t, err)
		} else {
			time.Sleep(bound - time.Since(at) + time.Millisecond) // what is demanded is older than the bound from here on
		}
		switch err := lookAt(v, least); {
		case errors.Is(err, forstfs.ErrStale), errors.Is(err, fs.ErrNotExist): // it went on while Pebble was opening, and files that it had just listed have gone
			return false
		default:
			ok(t, err)
			return true
		}
	}
	look := func(v *forstfs.FS, least int64) error { return errors.Join(lookAt(v, least), v.Close()) }
	stale := 0
	seen := map[bool]int{}
	for round := 0; round < 6 || round < 60 && (seen[true] == 0 || seen[false] == 0); round++ {
		for _, refresh := range []bool{true, false} {
			v := bounded
			if refresh {
				v = stay
			}
			if follow(v, refresh) {
				seen[refresh]++
			}
		}
		if round >= 6 {
			continue
		}
		least := acked.Load()
		v, err := forstfs.OpenReadOnly(ctx, h.Open(t), &forstfs.Options{})
		ok(t, err)
		if err := look(v, least); errors.Is(err, forstfs.ErrStale) {
			stale++ // the writer compacted what it was about to read: open again
		} else {
			ok(t, err)
		}
		name := fmt.Sprint("look", round)
		least = acked.Load()
		_, err = vol.Snapshot(ctx, name, &forstfs.SnapshotOptions{Dir: "/db"})
		ok(t, err)
		v, err = forstfs.OpenSnapshot(ctx, h.Open(t), name, &forstfs.Options{})
		ok(t, err)
		ok(t, look(v, least))
		ok(t, vol.RemoveSnapshot(ctx, name))
	}
	if seen[true] == 0 || seen[false] == 0 {
		t.Errorf("followers that stay open were never quick enough: %v", seen)
	}
	if stale == 6 {
		t.Error("a follower was never quick enough")
	}
}

func liveKey(i int64) []byte { return fmt.Appendf(nil, "%09d", i) }
