package enginetest

import (
	"testing"

	"github.com/forst-go/forst/forstfs"
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
