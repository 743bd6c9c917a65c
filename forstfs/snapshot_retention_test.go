package forstfs_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/journal"
)

func TestRetention(t *testing.T) {
	b := bucket()
	now := time.Unix(1_800_000_000, 0)
	o := small()
	o.Clock = func() time.Time { return now }
	v := mount(t, b, o)
	defer v.Close()
	left := func() (out []string) {
		all, err := v.Snapshots(ctx)
		must(t, err)
		for _, s := range all {
			out = append(out, s.Name)
		}
		return out
	}
	for i := range 6 {
		snap(t, v, fmt.Sprint("auto-", i), nil)
		now = now.Add(time.Hour)
	}
	snap(t, v, "mine", nil)
	removed, err := v.Retain(ctx, forstfs.Retention{KeepLast: 2, KeepFor: 3*time.Hour + time.Minute, Prefix: "auto-"})
	if want := []string{"auto-0", "auto-1", "auto-2"}; err != nil || !slices.Equal(removed, want) {
		t.Errorf("removed %q, %v; want %q", removed, err, want)
	}
	removed, err = v.Retain(ctx, forstfs.Retention{KeepLast: 2})
	if want := []string{"auto-3", "auto-4"}; err != nil || !slices.Equal(removed, want) {
		t.Errorf("removed %q, %v; want %q", removed, err, want)
	}
	snap(t, v, "short", &forstfs.SnapshotOptions{ExpireAfter: time.Hour})
	must(t, v.Checkpoint(ctx))
	if got := left(); !slices.Equal(got, []string{"auto-5", "mine", "short"}) {
		t.Errorf("before it expires: %q", got)
	}
	now = now.Add(time.Hour)
	must(t, v.Checkpoint(ctx))
	if got := left(); !slices.Equal(got, []string{"auto-5", "mine"}) {
		t.Errorf("after it has expired: %q", got)
	}
}

// TestHeldSnapshots: what a clone holds stays, doomed; its name is free; it goes when the hold has gone.
func TestHeldSnapshots(t *testing.T) {
	b := bucket()
	v := mount(t, b, nil)
	defer v.Close()
	write(t, v, "/a.sst", content(40_000, 1), true)
	first := snap(t, v, "daily", nil)
	must(t, v.Remove(ctx, "/a.sst"))
	hold := journal.HoldPrefix + first.ID + "/00112233445566778899aabbccddeeff"
	must(t, store(t, b).Put(ctx, hold, []byte("hold"), driver.PutOptions{}))
	must(t, v.RemoveSnapshot(ctx, "daily"))
	must(t, v.RemoveSnapshot(ctx, "daily"))
	if got, err := v.SnapshotSizes(ctx); err != nil || len(got) != 1 || !got[0].Doomed || got[0].Holds != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	if err := v.Restore(ctx, "daily"); !errors.Is(err, forstfs.ErrSnapshotDoomed) {
		t.Errorf("Restore: %v", err)
	}
	if _, err := forstfs.OpenSnapshot(ctx, store(t, b), first.ID, nil); !errors.Is(err, forstfs.ErrSnapshotDoomed) {
		t.Errorf("OpenSnapshot: %v", err)
	}
	if err := v.Drop(ctx); !errors.Is(err, forstfs.ErrHeld) {
		t.Errorf("Drop: %v", err)
	}
	second := snap(t, v, "daily", nil)
	s := shown(t, b, "daily")
	must(t, s.Close())
	if keys := tidy(t, v, b, "data/"); len(keys) != 3 {
		t.Errorf("the objects of a held snapshot: %q", keys)
	}
	must(t, store(t, b).Delete(ctx, []string{hold}))
	must(t, v.Checkpoint(ctx)) // looks again
	if keys := tidy(t, v, b, "data/"); len(keys) != 0 {
		t.Errorf("after the hold has gone: %q", keys)
	}
	if got, err := v.Snapshots(ctx); err != nil || len(got) != 1 || got[0].ID != second.ID {
		t.Errorf("%+v, %v", got, err)
	}
}
