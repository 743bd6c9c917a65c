package main

import (
	"bytes"
	"encoding/binary"
	"iter"
	"maps"
	"slices"
	"testing"
)

// demoState builds the database that writers leave after the given numbers of commits.
func demoState(t *testing.T, l *ledger, commits ...int64) map[string][]byte {
	t.Helper()
	db := map[string][]byte{}
	for w, m := range commits {
		for n := int64(1); n <= m; n++ {
			putCommit(t, db, l, w, n)
		}
	}
	return db
}

func putCommit(t *testing.T, db map[string][]byte, l *ledger, w int, n int64) {
	t.Helper()
	i := l.sched.record(w, n)
	v, err := appendStored(nil, l.data, i)
	if err != nil {
		t.Fatal(err)
	}
	db[string(l.data.Key(nil, i))] = v
	db[string(appendHead(nil, w))] = binary.BigEndian.AppendUint64(nil, uint64(n))
}

func inOrder(db map[string][]byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		for _, k := range slices.Sorted(maps.Keys(db)) {
			if !yield([]byte(k), db[k]) {
				return
			}
		}
	}
}

func recordKey(l *ledger, w int, n int64) string {
	return string(l.data.Key(nil, l.sched.record(w, n)))
}

// TestLedgerFindsEveryFault shows that each way to break the promise is found, and counted as what it is.
func TestLedgerFindsEveryFault(t *testing.T) {
	// Three writers of 4, 3 and 3 commits; 3, 2 and 0 of them are acknowledged.
	acked := []int64{3, 2, 0}
	for _, c := range []struct {
		name  string
		spoil func(l *ledger, db map[string][]byte)
		want  finding // without Details
	}{
		{"nothing wrong", func(*ledger, map[string][]byte) {}, finding{Found: 5}},
		{"commit under way is there", func(l *ledger, db map[string][]byte) {
			putCommit(t, db, l, 2, 1)
		}, finding{Found: 6, Extra: 1}},
		{"newest lost", func(l *ledger, db map[string][]byte) {
			delete(db, recordKey(l, 0, 3))
			db[string(appendHead(nil, 0))] = binary.BigEndian.AppendUint64(nil, 2)
		}, finding{Found: 4, Lost: 1}},
		{"newest lost, counter is there", func(l *ledger, db map[string][]byte) {
			delete(db, recordKey(l, 0, 3))
		}, finding{Found: 4, Lost: 1, Torn: 1}},
		{"one in the middle lost", func(l *ledger, db map[string][]byte) {
			delete(db, recordKey(l, 0, 2))
		}, finding{Found: 4, Lost: 1}},
		{"everything lost", func(_ *ledger, db map[string][]byte) { clear(db) }, finding{Lost: 5}},
		{"hole before a commit that is not acknowledged", func(l *ledger, db map[string][]byte) {
			delete(db, recordKey(l, 1, 2))
			putCommit(t, db, l, 1, 3)
		}, finding{Found: 3 + 1, Lost: 1, Unborn: 1}},
		{"never begun", func(l *ledger, db map[string][]byte) {
			putCommit(t, db, l, 2, 1)
			putCommit(t, db, l, 2, 2)
		}, finding{Found: 6, Extra: 1, Unborn: 1}},
		{"value changed", func(l *ledger, db map[string][]byte) {
			v := db[recordKey(l, 1, 1)]
			v[len(v)-1] ^= 1
		}, finding{Found: 4, Changed: 1}},
		{"value cut", func(l *ledger, db map[string][]byte) {
			k := recordKey(l, 1, 1)
			db[k] = db[k][:len(db[k])-1]
		}, finding{Found: 4, Changed: 1}},
		{"number in the value changed", func(l *ledger, db map[string][]byte) {
			db[recordKey(l, 1, 1)][7] ^= 1
		}, finding{Found: 4, Lost: 1, Alien: 1}},
		{"value of another record", func(l *ledger, db map[string][]byte) {
			db[recordKey(l, 1, 1)] = bytes.Clone(db[recordKey(l, 1, 2)])
		}, finding{Found: 4, Lost: 1, Alien: 1}},
		{"empty value", func(l *ledger, db map[string][]byte) {
			db[recordKey(l, 1, 1)] = nil
		}, finding{Found: 4, Lost: 1, Alien: 1}},
		{"foreign key", func(l *ledger, db map[string][]byte) {
			db["nobody"] = []byte("something")
		}, finding{Found: 5, Alien: 1}},
		{"counter behind", func(l *ledger, db map[string][]byte) {
			db[string(appendHead(nil, 0))] = binary.BigEndian.AppendUint64(nil, 2)
		}, finding{Found: 5, Torn: 1}},
		{"counter ahead", func(l *ledger, db map[string][]byte) {
			db[string(appendHead(nil, 2))] = binary.BigEndian.AppendUint64(nil, 1)
		}, finding{Found: 5, Torn: 1}},
		{"counter of a writer that does not exist", func(l *ledger, db map[string][]byte) {
			db[string(appendHead(nil, 3))] = binary.BigEndian.AppendUint64(nil, 1)
		}, finding{Found: 5, Alien: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLedger(ycsb{n: 10, seed: 1}, 3)
			db := demoState(t, l, acked...)
			for w, m := range acked {
				for n := int64(1); n <= m; n++ {
					if err := l.ack(w, n); err != nil {
						t.Fatal(err)
					}
				}
			}
			c.spoil(l, db)
			f, err := l.check(inOrder(db))
			if err != nil {
				t.Fatal(err)
			}
			if len(f.Details) == 0 && !f.ok() {
				t.Error("a fault without a detail")
			}
			got := *f
			got.Details = nil
			if !equalFindings(got, c.want) {
				t.Errorf("got %+v\nwant %+v\n%q", got, c.want, f.Details)
			}
			if want := c.want.ok(); f.ok() != want {
				t.Errorf("ok is %v", f.ok())
			}
		})
	}
}

func equalFindings(a, b finding) bool {
	return a.Found == b.Found && a.Extra == b.Extra && a.Lost == b.Lost && a.Changed == b.Changed && a.Torn == b.Torn &&
		a.Unborn == b.Unborn && a.Alien == b.Alien
}

// TestLedgerKeepsWhatItSaw: a commit that was found once, acknowledged or not, is lost when a later kill takes it back.
func TestLedgerKeepsWhatItSaw(t *testing.T) {
	l := newLedger(ycsb{n: 10, seed: 1}, 2)
	if f, err := l.check(inOrder(demoState(t, l, 1, 0))); err != nil || !f.ok() || f.Extra != 1 {
		t.Fatalf("%+v %v", f, err)
	}
	if f, err := l.check(inOrder(demoState(t, l, 0, 0))); err != nil || f.Lost != 1 {
		t.Fatalf("%+v %v", f, err)
	}
	if got := l.next(); !slices.Equal(got, []int64{2, 1}) {
		t.Fatalf("next commits: %v", got)
	}
}

// TestLedgerRefusesNonsense: reports that cannot be true are errors, so that a bug of the demo does not look like a success.
func TestLedgerRefusesNonsense(t *testing.T) {
	l := newLedger(ycsb{n: 5, seed: 1}, 2) // writers of 3 and 2 commits
	for _, bad := range []struct {
		w int
		n int64
	}{{0, 0}, {0, 2}, {-1, 1}, {2, 1}} {
		if l.ack(bad.w, bad.n) == nil {
			t.Errorf("commit %d of writer %d was taken", bad.n, bad.w)
		}
	}
	for n := int64(1); n <= 2; n++ {
		if err := l.ack(1, n); err != nil {
			t.Fatal(err)
		}
	}
	if l.ack(1, 3) == nil {
		t.Error("a commit behind the last record was taken")
	}
	if l.ack(1, 2) == nil {
		t.Error("a commit was acknowledged twice")
	}
}

// TestSchedule: every record is committed exactly once, whatever the number of writers.
func TestSchedule(t *testing.T) {
	for records := int64(1); records < 40; records++ {
		for writers := 1; int64(writers) <= records; writers++ {
			s := schedule{records, writers}
			seen := map[int64]bool{}
			for w := range writers {
				for n := int64(1); n <= s.commits(w); n++ {
					i := s.record(w, n)
					if i < 0 || i >= records || seen[i] {
						t.Fatalf("%+v: commit %d of writer %d is record %d", s, n, w, i)
					}
					seen[i] = true
				}
			}
			if int64(len(seen)) != records {
				t.Fatalf("%+v: %d records", s, len(seen))
			}
		}
	}
}
