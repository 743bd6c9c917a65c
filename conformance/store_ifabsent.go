package conformance

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"

	"github.com/forst-go/forst/forstfs/driver"
)

var storeIfAbsentCases = []StoreCase{
	{"if-absent/creates", func(e *storeEnv) {
		if err := e.create("key", []byte("first")); err != nil {
			e.Errorf("Put: %v", err)
		}
		e.wantBytes(e.s, "key", []byte("first"))
	}},
	{"if-absent/refuses-and-keeps-the-first-bytes", func(e *storeEnv) {
		e.put("key", []byte("first"))
		e.wantKind("second Put", e.create("key", []byte("the second")), driver.KindExist)
		e.wantBytes(e.s, "key", []byte("first"))
		if info, err := e.s.Stat(e.ctx, "key"); err != nil || info.Size != 5 {
			e.Errorf("Stat gives %+v, %v", info, err)
		}
	}},
	{"if-absent/refuses-what-it-created-itself", func(e *storeEnv) {
		for i := range 3 {
			err := e.create("key", []byte("the same bytes"))
			if i == 0 && err != nil {
				e.Errorf("Put: %v", err)
			} else if i > 0 {
				e.wantKind("the same Put again", err, driver.KindExist)
			}
		}
	}},
	{"if-absent/refuses-over-an-empty-object", func(e *storeEnv) {
		e.put("key", nil)
		e.wantKind("Put", e.create("key", []byte("bytes")), driver.KindExist)
		e.wantBytes(e.s, "key", nil)
	}},
	{"if-absent/refuses-an-empty-object", func(e *storeEnv) {
		e.put("key", []byte("bytes"))
		e.wantKind("Put", e.create("key", nil), driver.KindExist)
		e.wantBytes(e.s, "key", []byte("bytes"))
	}},
	{"if-absent/refuses-a-big-object", func(e *storeEnv) {
		e.put("key", []byte("bytes"))
		e.wantKind("Put", e.create("key", blob(1, 9<<20)), driver.KindExist)
		e.wantBytes(e.s, "key", []byte("bytes"))
	}},
	{"if-absent/refuses-at-every-size", func(e *storeEnv) {
		// Stores keep small objects in their index, larger ones in one piece, big ones in parts: three ways of creating, each with its own check. A frame
		// of the journal has any size up to 4 MiB.
		e.put("key", []byte("bytes"))
		for _, size := range []int{1, 1 << 10, 20 << 10, 120 << 10, 260 << 10, 1 << 20, 4 << 20} {
			e.wantKind(fmt.Sprintf("create-if-absent of %d bytes over an object that is there", size), e.create("key", blob(1, size)), driver.KindExist)
			e.wantBytes(e.s, "key", []byte("bytes"))
		}
	}},
	{"if-absent/loser-matches-fs.ErrExist", func(e *storeEnv) {
		e.put("key", []byte("bytes"))
		err := e.create("key", []byte("bytes"))
		if !errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) {
			e.Errorf("%v", err)
		}
	}},
	{"if-absent/creates-again-after-delete", func(e *storeEnv) {
		for i := range 5 {
			data := []byte{byte(i)}
			if err := e.create("key", data); err != nil {
				e.Errorf("Put: %v", err)
			}
			e.wantBytes(e.s, "key", data)
			if err := e.s.Delete(e.ctx, []string{"key"}); err != nil {
				e.Errorf("Delete: %v", err)
			}
		}
	}},
	{"if-absent/sees-what-another-handle-created", func(e *storeEnv) {
		other := e.handle()
		for i := range 20 {
			key := fmt.Sprintf("key/%d", i)
			e.put(key, []byte("first"))
			err := other.Put(e.ctx, key, []byte("second"), driver.PutOptions{IfAbsent: true})
			e.wantKind("Put through another handle", err, driver.KindExist)
			e.wantBytes(other, key, []byte("first"))
		}
	}},
	{"if-absent/does-not-hinder-a-plain-put", func(e *storeEnv) {
		if err := e.create("key", []byte("first")); err != nil {
			e.Errorf("Put: %v", err)
		}
		e.put("key", []byte("second"))
		e.wantBytes(e.s, "key", []byte("second"))
	}},
	{"if-absent/race-of-2-has-one-winner", func(e *storeEnv) { e.race(2, 24, 100, false) }},
	{"if-absent/race-of-16-has-one-winner", func(e *storeEnv) { e.race(16, 6, 100, false) }},
	{"if-absent/race-of-64-has-one-winner", func(e *storeEnv) { e.race(64, 3, 100, false) }},
	{"if-absent/race-of-big-objects-has-one-winner", func(e *storeEnv) { e.race(4, 3, 1<<20, false) }},
	{"if-absent/race-between-handles-has-one-winner", func(e *storeEnv) { e.race(8, 8, 100, true) }},
	{"if-absent/race-for-a-run-of-keys", func(e *storeEnv) {
		// Two writers create the same four keys at once, as two openers of a volume do: one winner for each.
		for round := range 10 {
			var wins [4]atomic.Int32
			e.parallel(8, func(i int) {
				key := fmt.Sprintf("run/%d/%d", round, i%4)
				err := e.create(key, []byte{byte(i / 4)})
				if err == nil {
					wins[i%4].Add(1)
				} else if driver.KindOf(err) != driver.KindExist {
					e.Errorf("Put %s: %v", key, err)
				}
			})
			for k := range wins {
				if n := wins[k].Load(); n != 1 {
					e.Errorf("round %d, key %d: %d winners", round, k, n)
				}
			}
		}
	}},
	{"if-absent/race-against-readers", func(e *storeEnv) {
		for round := range 6 {
			key := fmt.Sprintf("key/%d", round)
			e.watch(func() {
				e.parallel(4, func(i int) { _ = e.create(key, racer(i, 100_000)) })
			}, func() {
				data, err := readWhole(e.ctx, e.s, key)
				if err == nil {
					if _, ok := isRacer(data, 100_000); !ok {
						e.Errorf("a reader sees %d bytes that are nobody's", len(data))
					}
				} else if !errors.Is(err, fs.ErrNotExist) {
					e.Errorf("Get: %v", err)
				}
			})
		}
	}},
	{"if-absent/loser-can-read-the-winner-at-once", func(e *storeEnv) {
		other := e.handle()
		for round := range 12 {
			key := fmt.Sprintf("key/%d", round)
			e.parallel(6, func(i int) {
				s := e.s
				if i%2 == 1 {
					s = other
				}
				err := s.Put(e.ctx, key, racer(i, 50_000), driver.PutOptions{IfAbsent: true})
				if err == nil {
					return
				}
				data, err := readWhole(e.ctx, s, key)
				if err != nil {
					e.Errorf("the loser cannot read the winner: %v", err)
				} else if w, ok := isRacer(data, 50_000); !ok || w == i {
					e.Errorf("the loser %d reads %d bytes of %d", i, len(data), w)
				}
			})
		}
	}},
}

// racer is what contestant i writes.
func racer(i, size int) []byte { return bytes.Repeat([]byte{byte(i + 1)}, size) }

func isRacer(data []byte, size int) (int, bool) {
	if len(data) != size || bytes.Count(data, data[:1]) != size {
		return -1, false
	}
	return int(data[0]) - 1, true
}

// race lets n writers create one key at once, in several rounds: exactly one is told that it won, the bytes are its own,
// and the others are told that they lost.
func (e *storeEnv) race(n, rounds, size int, handles bool) {
	stores := make([]driver.Store, n)
	for i := range stores {
		stores[i] = e.s
		if handles {
			stores[i] = e.handle()
		}
	}
	for round := range rounds {
		key := fmt.Sprintf("race/%d", round)
		errs := make([]error, n)
		e.parallel(n, func(i int) {
			errs[i] = stores[i].Put(e.ctx, key, racer(i, size), driver.PutOptions{IfAbsent: true})
		})
		winner, winners := -1, 0
		for i, err := range errs {
			if err == nil {
				winner = i
				winners++
			} else {
				e.wantKind(fmt.Sprintf("writer %d of round %d", i, round), err, driver.KindExist)
			}
		}
		if winners != 1 {
			e.Errorf("round %d: %d of %d writers were told that they created the object", round, winners, n)
			continue
		}
		data, err := readWhole(e.ctx, e.s, key)
		if err != nil {
			e.Errorf("Get: %v", err)
		} else if w, ok := isRacer(data, size); !ok || w != winner {
			e.Errorf("round %d: writer %d won and the bytes are those of %d", round, winner, w)
		}
	}
}
