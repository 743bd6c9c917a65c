package main

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// A check that cannot fail proves nothing. forst demo --plant makes one of these faults happen, and the demo must find it and
// exit with status 1. The flag is hidden, but anybody may use it.
const (
	plantEarly  = "early"  // the writer process acknowledges each commit before it is made
	plantDelete = "delete" // an acknowledged record is deleted before the check
	plantChange = "change" // one byte of an acknowledged record is changed
	plantSwap   = "swap"   // a record stands under another record's key
	plantAlien  = "alien"  // a key appears that nobody wrote
	plantTorn   = "torn"   // a writer's counter is one commit behind: half a batch
	plantFuture = "future" // a commit is there that was never begun
)

var plants = []string{plantEarly, plantDelete, plantChange, plantSwap, plantAlien, plantTorn, plantFuture}

// plantFault changes the database under the check, once something is there to change.
func plantFault(db *pebble.DB, l *ledger, plant string) error {
	if plant == "" || plant == plantEarly {
		return nil
	}
	// A writer with a commit to damage, if possible with two more that it has not begun.
	w := -1
	for i, n := range l.required {
		if n > 0 && (w < 0 || l.required[w]+2 > l.sched.commits(w)) {
			w = i
		}
	}
	if w < 0 {
		return nil
	}
	record := func(n int64) (key, val []byte, err error) {
		i := l.sched.record(w, n)
		val, err = appendStored(nil, l.data, i)
		return l.data.Key(nil, i), val, err
	}
	last := l.required[w]
	key, val, err := record(last)
	if err != nil {
		return err
	}
	switch plant {
	case plantDelete:
		return db.Delete(key, pebble.Sync)
	case plantChange:
		val = bytes.Clone(val)
		val[len(val)-1] ^= 1
		return db.Set(key, val, pebble.Sync)
	case plantSwap:
		other, _, err := record(max(1, last-1))
		if err != nil {
			return err
		}
		return db.Set(other, val, pebble.Sync)
	case plantAlien:
		return db.Set([]byte("nobody"), val, pebble.Sync)
	case plantTorn:
		return db.Set(appendHead(nil, w), binary.BigEndian.AppendUint64(nil, uint64(last-1)), pebble.Sync)
	case plantFuture:
		if key, val, err = record(min(last+2, l.sched.commits(w))); err != nil {
			return err
		}
		return db.Set(key, val, pebble.Sync)
	}
	return fmt.Errorf("unknown plant %q", plant)
}
