package forstfs_test

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
)

// Bounds in time, in virtual time. Each is an error, so that TestMutants can want one.
var bounds = map[string]func(t *testing.T) error{
	"UploadsGiveUp":            uploadsGiveUp,
	"StalenessCountsFromBegin": stalenessCountsFromBegin,
}

func TestBounds(t *testing.T) {
	for name, bound := range bounds {
		t.Run(name, func(t *testing.T) {
			if err := bound(t); err != nil {
				t.Error(err)
			}
		})
	}
}

// A store takes frames and no data objects. Close of a bulk file gives up when the retry budget is spent; the volume lives.
func uploadsGiveUp(t *testing.T) (broken error) {
	synctest.Test(t, func(t *testing.T) {
		var attempts atomic.Int64
		s := &spy{Store: store(t, bucket()), put: func(key string, _ []byte) error {
			if !strings.HasPrefix(key, "data/") {
				return nil
			}
			kind := driver.KindTransient
			if attempts.Add(1) > 200 {
				kind = driver.KindOther // so that who never gives up ends, too
			}
			return &driver.Error{Op: "put", Path: key, Kind: kind}
		}}
		v, err := forstfs.Open(ctx, s, small())
		must(t, err)
		f, err := v.Create(ctx, "/1.sst", nil)
		must(t, err)
		_, err = f.Write(content(10_000, 1))
		must(t, err)
		begin := time.Now()
		err = f.Close()
		switch took := time.Since(begin); {
		case err == nil:
			broken = errors.New("Close of a file that was never stored returns nil")
		case errors.Is(err, fs.ErrNotExist):
			broken = fmt.Errorf("it looks like a missing file: %w", err)
		case took > 2*small().RetryBudget:
			broken = fmt.Errorf("it gives up after %v and %d attempts; the budget is %v", took, attempts.Load(), small().RetryBudget)
		case v.Err() != nil:
			broken = fmt.Errorf("the volume has failed with the file: %w", v.Err())
		}
		_ = v.Close()
	})
	return broken
}

// What is acknowledged while a follower refreshes is not in what it finds: its state is as old as the begin of the refresh.
func stalenessCountsFromBegin(t *testing.T) (broken error) {
	synctest.Test(t, func(t *testing.T) {
		b := bucket()
		v := mount(t, b, nil)
		var slow atomic.Bool
		s := &spy{Store: store(t, b), before: func(op, _ string) {
			if op == "list" && slow.Swap(false) {
				time.Sleep(800 * time.Millisecond)
			}
		}}
		o := small()
		o.MaxStaleness = time.Second
		r, err := forstfs.OpenReadOnly(ctx, s, o)
		must(t, err)
		time.Sleep(time.Minute)
		slow.Store(true)
		done := make(chan error, 1)
		go func() {
			_, err := r.Refresh(ctx)
			done <- err
		}()
		time.Sleep(100 * time.Millisecond)
		write(t, v, "/1.log", []byte("x"), true)
		must(t, <-done)
		if slow.Load() {
			t.Error("the refresh was not slow")
		}
		time.Sleep(500 * time.Millisecond) // 1.2 s after the file was acknowledged
		if _, err := r.Stat(ctx, "/1.log"); err != nil {
			broken = fmt.Errorf("what was acknowledged more than MaxStaleness ago is not seen: %w", err)
		}
		must(t, r.Close())
		must(t, v.Close())
	})
	return broken
}
