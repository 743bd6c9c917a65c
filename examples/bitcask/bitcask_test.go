package bitcask

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"testing"

	"github.com/forst-go/forst"
	"github.com/forst-go/forst/conformance"
	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/local"
	"github.com/forst-go/forst/forstfs/mem"
)

// engine is what the durability suite drives: all that docs/engine-guide.md asks for.
var engine = conformance.Engine{Name: "bitcask", Open: func(vol *forstfs.FS, dir string, o conformance.EngineOptions) (conformance.Database, error) {
	db, err := Open(vol, dir, o.MustExist)
	if err != nil {
		return nil, err
	}
	return database{db}, nil
}}

type database struct{ *DB }

func (d database) Commit(changes []conformance.Change, sync bool) error {
	var all []Change
	for _, c := range changes {
		all = append(all, Change(c))
	}
	return d.DB.Commit(all, sync)
}

// openStore opens what the processes of the suite share. A directory has no guard here: a stopped process would hold it.
func openStore(ctx context.Context, raw string) (driver.Store, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, err
	}
	return local.Open(ctx, u.Path, &local.Options{Create: true, NoGuard: true})
}

func TestMain(m *testing.M) {
	maxLog = 4 << 10
	if conformance.RunEngineChild(openStore, engine) {
		return
	}
	os.Exit(m.Run())
}

func TestDurability(t *testing.T) {
	conformance.RunEngine(t, conformance.Maker{Fresh: func(conformance.TB) func(context.Context) (driver.Store, error) {
		b := mem.NewBucket(nil)
		return func(context.Context) (driver.Store, error) { return b.Open("some/prefix") }
	}}, engine)
	if testing.Short() {
		return
	}
	p := conformance.Process{Open: openStore, URL: func(tb conformance.TB) string { return "file://" + t.TempDir() }}
	conformance.RunEngineKills(t, p, engine)
	conformance.RunEngineDeadStores(t, p, engine)
	conformance.RunEngineZombies(t, p, engine)
}

func TestLogsAndTables(t *testing.T) {
	url := "file://" + t.TempDir()
	open := func() (*forstfs.FS, *DB) {
		vol, err := forst.Open(t.Context(), url, &forstfs.Options{Create: forstfs.CreateIfMissing})
		if err != nil {
			t.Fatal(err)
		}
		db, err := Open(vol, "/db", false)
		if err != nil {
			t.Fatal(err)
		}
		return vol, db
	}
	want := map[string]string{}
	for round := range 3 {
		vol, db := open()
		for i := range 30 {
			key, value := fmt.Sprint("key", i*(round+1)), fmt.Sprintf("%d %01000d", round, i) // several logs a round
			if err := db.Commit([]Change{{Key: []byte(key), Value: []byte(value)}, {Key: []byte("gone"), Remove: i%2 == 1}}, i%10 == 0); err != nil {
				t.Fatal(err)
			}
			want[key] = value
		}
		if round == 1 {
			if err := db.Compact(); err != nil {
				t.Fatal(err)
			}
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		if err := vol.Close(); err != nil {
			t.Fatal(err)
		}
	}
	vol, db := open()
	got := map[string]string{}
	if err := db.Scan(func(k, v []byte) { got[string(k)] = string(v) }); err != nil {
		t.Fatal(err)
	}
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%s is %.20q instead of %.20q", k, got[k], v)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d keys instead of %d", len(got), len(want))
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := vol.Close(); err != nil {
		t.Fatal(err)
	}
}
