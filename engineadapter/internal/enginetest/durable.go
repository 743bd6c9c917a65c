package enginetest

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
)

// durableWhenItSaysSo: what a call has made durable is there when the machine dies right after it, on one where nothing is sent by itself.
func (h Contract) durableWhenItSaysSo(t *testing.T) {
	const log, table, bytes = "000001.log", "000001.sst", "bytes"
	with := func(name string, end func(f File) error) func(t *testing.T, fs FS) {
		return func(t *testing.T, fs FS) {
			f := create(t, fs, name)
			must(f.Write([]byte(bytes)))(t)
			ok(t, end(f))
		}
	}
	syncDir := func(t *testing.T, fs FS) {
		d := must(fs.OpenDir("/"))(t)
		ok(t, d.Sync())
		ok(t, d.Close())
	}
	for _, c := range []struct {
		what string
		do   func(t *testing.T, fs FS)
		name string
		want string
	}{
		{"Sync of a log", with(log, File.Sync), log, bytes},
		{"SyncData of a log", with(log, File.SyncData), log, bytes},
		{"Sync of a table", with(table, File.Sync), table, bytes},
		{"Close of a table, and its directory", func(t *testing.T, fs FS) {
			with(table, File.Close)(t, fs)
			syncDir(t, fs)
		}, table, bytes},
		{"a marker's directory", func(t *testing.T, fs FS) {
			write(t, fs, "marker", "")
			syncDir(t, fs)
		}, "marker", ""},
		{"a new CURRENT", func(t *testing.T, fs FS) {
			write(t, fs, "CURRENT", "MANIFEST-000001\n")
			write(t, fs, "CURRENT.000002.dbtmp", "MANIFEST-000002\n")
			ok(t, fs.Rename("CURRENT.000002.dbtmp", "CURRENT"))
			syncDir(t, fs)
		}, "CURRENT", "MANIFEST-000002\n"},
		{"a log in a directory of its own", func(t *testing.T, fs FS) {
			ok(t, fs.MkdirAll("/wal/of/db", 0o755))
			with("/wal/of/db/"+log, File.SyncData)(t, fs)
		}, "/wal/of/db/" + log, bytes},
	} {
		home := MemHome()
		machine := Start(t, home, &forstfs.Options{FlushDelay: -1})
		c.do(t, h.New(t, machine.Vol))
		machine.Die()
		after := h.New(t, OpenVol(t, home.Open(t), nil))
		equal(t, "on another machine, after "+c.what, read(t, after, c.name), c.want)
	}
}

// renameIsOneStep: whoever looks, at any moment, finds a CURRENT, the old one or the new one.
func (h Contract) renameIsOneStep(t *testing.T) {
	home := MemHome()
	store := &Watched{Store: home.Open(t)}
	fs := h.New(t, OpenVol(t, store, &forstfs.Options{FlushDelay: -1}))
	syncAll := func() {
		d := must(fs.OpenDir("/"))(t)
		ok(t, d.Sync())
		ok(t, d.Close())
	}
	write(t, fs, "CURRENT", "MANIFEST-000001\n")
	write(t, fs, "CURRENT.000002.dbtmp", "MANIFEST-000002\n")
	syncAll()
	looked := 0
	look := func() { // between the landing of a frame and its acknowledgement
		looked++
		v, err := forstfs.OpenReadOnly(t.Context(), home.Open(t), nil)
		if err == nil {
			_, err = v.Stat(t.Context(), "/CURRENT")
			err = errors.Join(err, v.Close())
		}
		if err != nil {
			t.Errorf("look %d: %v", looked, err)
		}
	}
	store.Look.Store(&look)
	ok(t, fs.Rename("CURRENT.000002.dbtmp", "CURRENT"))
	syncAll()
	store.Look.Store(nil)
	if looked == 0 {
		t.Error("nothing was sent")
	}
}

// Watched is a store that calls Look after every PUT, before the PUT is acknowledged.
type Watched struct {
	driver.Store
	Look atomic.Pointer[func()]
}

// Put is followed by a look.
func (w *Watched) Put(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
	err := w.Store.Put(ctx, key, data, o)
	if look := w.Look.Load(); look != nil {
		(*look)()
	}
	return err
}
