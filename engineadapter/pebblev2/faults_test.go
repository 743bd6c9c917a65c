package pebblev2_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"github.com/forst-go/forst/engineadapter/pebblev2"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/fault"
)

// A store that is out of reach for reads makes reads fail, and nothing more: it is no corruption, which would end the process, and when it
// is back, so is the database.
func TestUnreadableStoreIsNotCorruption(t *testing.T) {
	for _, c := range []struct {
		what string
		do   fault.Action
	}{
		{"out of reach", fault.Fail(nil)},
		{"refusing", fault.Fail(&driver.Error{Op: "get", Kind: driver.KindPermission})},
		{"object deleted by a newer writer", fault.Fail(&driver.Error{Op: "get", Kind: driver.KindNotExist})},
		{"breaking off", fault.ShortRead(1, nil)},
	} {
		t.Run(c.what, func(t *testing.T) {
			h := memHome()
			vol := openVol(t, h.Open(t), nil)
			db := openDB(t, "/db", options(pebblev2.New(vol)))
			ok(t, db.Set([]byte("key"), []byte(strings.Repeat("value", 1000)), pebble.Sync))
			ok(t, db.Flush())
			ok(t, db.Close())
			ok(t, vol.Close())

			store := fault.New(h.Open(t), nil)
			vol = openVol(t, store, nil) // the cache is cold
			o := options(pebblev2.New(vol))
			o.DisableTableStats = true // reads the table in the background
			var corrupt atomic.Int32
			logged(t, o).EventListener.DataCorruption = func(info pebble.DataCorruptionInfo) {
				corrupt.Add(1)
				t.Errorf("reported as corruption: %v", info)
			}
			db = must(pebble.Open("/db", o))(t)
			restore := store.Add(fault.Rule{Ops: []fault.Op{fault.Get}, Prefix: "data/", Do: c.do})
			for range 3 {
				_, closer, err := db.Get([]byte("key"))
				if err == nil {
					t.Fatal("read without a store", closer.Close())
				}
				if errors.Is(err, pebble.ErrNotFound) || pebble.IsCorruptionError(err) {
					t.Errorf("Get: %v", err)
				}
				if _, err := scan(db); err == nil || pebble.IsCorruptionError(err) {
					t.Errorf("scan: %v", err)
				}
			}
			restore()
			equal(t, "keys after the store is back", len(contents(t, db)), 1)
			equal(t, "reports of corruption", corrupt.Load(), 0)
			ok(t, db.Close())
		})
	}
}
