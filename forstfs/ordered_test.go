package forstfs_test

import (
	"errors"
	"fmt"
	"io/fs"
	"testing"
	"testing/synctest"
	"time"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/fault"
)

// What Options.DirSync: Ordered changes, and what it does not.
func TestOrderedDirectorySync(t *testing.T) {
	open := func(t *testing.T, mode forstfs.DirSyncMode) (*forstfs.FS, *fault.Trace, func() *forstfs.FS) {
		b := bucket()
		tr := &fault.Trace{}
		o := small()
		o.DirSync = mode
		v, _ := faulty(t, b, &fault.Options{Trace: tr}, o)
		must(t, v.MkdirAll(ctx, "/db"))
		must(t, v.MkdirAll(ctx, "/other"))
		must(t, v.Sync(ctx))
		tr.Reset()
		return v, tr, func() *forstfs.FS { return mount(t, b.CrashClone(1), nil) }
	}
	// step makes a name and syncs the directory, and says whether the name survives a crash and how many requests it took.
	step := func(t *testing.T, mode forstfs.DirSyncMode, lock, dir string) (durable bool, requests int) {
		v, tr, crash := open(t, mode)
		if lock != "" {
			l, err := v.Lock(ctx, lock)
			must(t, err)
			defer l.Close()
		}
		must(t, create(t, v, dir+"/marker.x", nil).Close())
		d, err := v.OpenDir(ctx, dir)
		must(t, err)
		must(t, d.Sync())
		must(t, d.Close())
		requests = tr.Len()
		w := crash()
		_, err = w.Stat(ctx, dir+"/marker.x")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		must(t, w.Close())
		must(t, v.Close())
		return err == nil, requests
	}
	for _, tt := range []struct {
		name      string
		mode      forstfs.DirSyncMode
		lock, dir string
		durable   bool
	}{
		{"durable, lock held", forstfs.Durable, "/db/LOCK", "/db", true},
		{"durable, no lock", forstfs.Durable, "", "/db", true},
		{"ordered, lock held", forstfs.Ordered, "/db/LOCK", "/db", false},
		{"ordered, no lock", forstfs.Ordered, "", "/db", true},
		{"ordered, lock of another directory", forstfs.Ordered, "/other/LOCK", "/db", true},
		{"ordered, lock of the parent", forstfs.Ordered, "/LOCK", "/db", true},
		{"ordered, the parent's own sync", forstfs.Ordered, "/db/LOCK", "", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			durable, requests := step(t, tt.mode, tt.lock, tt.dir)
			if durable != tt.durable || (requests == 1) != tt.durable || requests > 1 {
				t.Errorf("durable: %v after %d requests, want %v", durable, requests, tt.durable)
			}
		})
	}
	t.Run("whatever is durable later carries what was issued before", func(t *testing.T) {
		for what, sync := range map[string]func(*forstfs.FS, *forstfs.File) error{
			"File.Sync":        func(_ *forstfs.FS, f *forstfs.File) error { return f.Sync() },
			"FS.Sync":          func(v *forstfs.FS, _ *forstfs.File) error { return v.Sync(ctx) },
			"Checkpoint":       func(v *forstfs.FS, _ *forstfs.File) error { return v.Checkpoint(ctx) },
			"Close":            func(v *forstfs.FS, _ *forstfs.File) error { return v.Close() },
			"another Dir.Sync": func(v *forstfs.FS, _ *forstfs.File) error { d, _ := v.OpenDir(ctx, "/other"); return d.Sync() },
		} {
			v, _, crash := open(t, forstfs.Ordered)
			l, err := v.Lock(ctx, "/db/LOCK")
			must(t, err)
			wal := create(t, v, "/other/wal.log", []byte("x"))
			d, err := v.OpenDir(ctx, "/db")
			must(t, err)
			for i := range 5 {
				must(t, create(t, v, fmt.Sprintf("/db/marker.%d", i), nil).Close())
				if i > 0 {
					must(t, v.Remove(ctx, fmt.Sprintf("/db/marker.%d", i-1)))
				}
				must(t, d.Sync())
			}
			if what == "Close" {
				must(t, wal.Close())
			}
			if err := sync(v, wal); err != nil {
				t.Errorf("%s: %v", what, err)
			}
			w := crash()
			names, err := w.List(ctx, "/db")
			must(t, err)
			if fmt.Sprint(names) != "[marker.4]" {
				t.Errorf("after %s the directory holds %v", what, names)
			}
			must(t, w.Close())
			_ = l.Close()
			if what != "Close" {
				must(t, wal.Close())
				must(t, v.Close())
			}
		}
	})
	t.Run("a released lock ends it", func(t *testing.T) {
		v, tr, _ := open(t, forstfs.Ordered)
		l, err := v.Lock(ctx, "/db/LOCK")
		must(t, err)
		d, err := v.OpenDir(ctx, "/db")
		must(t, err)
		must(t, l.Close())
		must(t, create(t, v, "/db/x", nil).Close())
		must(t, d.Sync())
		if tr.Len() != 1 {
			t.Errorf("%d requests", tr.Len())
		}
		must(t, v.Close())
	})
	t.Run("a dead volume is reported", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := bucket()
			o := small()
			o.DirSync = forstfs.Ordered
			o.RetryBudget = time.Second
			v, s := faulty(t, b, nil, o)
			must(t, v.MkdirAll(ctx, "/db"))
			_, err := v.Lock(ctx, "/db/LOCK")
			must(t, err)
			d, err := v.OpenDir(ctx, "/db")
			must(t, err)
			must(t, d.Sync())
			s.Add(fault.Rule{Ops: []fault.Op{fault.Put}, Do: fault.Fail(nil)})
			if err := v.Sync(ctx); !errors.Is(err, forstfs.ErrFailed) {
				t.Fatal(err)
			}
			if err := d.Sync(); !errors.Is(err, forstfs.ErrFailed) {
				t.Errorf("Dir.Sync of a failed volume: %v", err)
			}
			if err := v.Close(); !errors.Is(err, forstfs.ErrFailed) {
				t.Errorf("Close of a failed volume: %v", err)
			}
			if err := d.Sync(); !errors.Is(err, forstfs.ErrClosed) {
				t.Errorf("Dir.Sync of a closed volume: %v", err)
			}
		})
	})
}
