package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"
	"strconv"
	"strings"
)

// ledger knows what must be in the database, from what the writer processes have reported, and checks it.
//
// Each writer commits its numbers 1, 2, 3, ... one after the other and begins the next one only when the last is reported. So
// what is found must be 1..m without a hole, where m is the last acknowledged number or one more: the commit that
// was under way when the process was killed may be there or not, but as a whole. The ledger takes what it has found as
// required from then on: a later kill must not take it back.
type ledger struct {
	sched    schedule
	data     dataSet
	required []int64 // for each writer, the last commit that must be there
	acked    int64   // acknowledgements reported by all writer processes
}

func newLedger(data dataSet, writers int) *ledger {
	return &ledger{sched: schedule{data.Len(), writers}, data: data, required: make([]int64, writers)}
}

// ack notes that a writer process has seen commit n of a writer acknowledged.
func (l *ledger) ack(writer int, n int64) error {
	if writer < 0 || writer >= len(l.required) || n != l.required[writer]+1 || n > l.sched.commits(writer) {
		return fmt.Errorf("the writer process reported commit %d of writer %d out of turn", n, writer)
	}
	l.required[writer] = n
	l.acked++
	return nil
}

// present is the number of commits that must be there.
func (l *ledger) present() int64 {
	var n int64
	for _, m := range l.required {
		n += m
	}
	return n
}

// next gives the number of the first commit that each writer has still to make.
func (l *ledger) next() []int64 {
	next := make([]int64, len(l.required))
	for w, m := range l.required {
		next[w] = m + 1
	}
	return next
}

// finding is the result of one check. Each commit counts in the first kind that applies.
type finding struct {
	Found   int64    `json:"found"`   // commits that are there, whole and right
	Extra   int64    `json:"extra"`   // of them, under way at the kill and not acknowledged
	Lost    int64    `json:"lost"`    // acknowledged, or seen earlier, and not there
	Changed int64    `json:"changed"` // there, with other bytes than were written
	Torn    int64    `json:"torn"`    // writers whose counter does not match their commits: half a batch
	Unborn  int64    `json:"unborn"`  // there, although commits before it are not, or it was never begun
	Alien   int64    `json:"alien"`   // keys that nobody wrote
	Details []string `json:"details,omitempty"`
}

func (f *finding) ok() bool { return f.Lost+f.Changed+f.Torn+f.Unborn+f.Alien == 0 }

// String says what is wrong, or that nothing is.
func (f *finding) String() string {
	if f.ok() {
		return fmt.Sprintf("%s commits found, 0 lost", count(f.Found))
	}
	var parts []string
	for _, p := range []struct {
		n    int64
		what string
	}{{f.Lost, "lost"}, {f.Changed, "changed"}, {f.Torn, "torn"}, {f.Unborn, "out of order"}, {f.Alien, "never written"}} {
		if p.n > 0 {
			parts = append(parts, count(p.n)+" "+p.what)
		}
	}
	return strings.Join(parts, ", ")
}

func (f *finding) detail(format string, args ...any) {
	const most = 10
	if len(f.Details) < most {
		f.Details = append(f.Details, fmt.Sprintf(format, args...))
	}
}

// check compares the whole database, given as all its keys and values, with what must be there. When nothing is wrong, what
// was found is required from then on.
func (l *ledger) check(db iter.Seq2[[]byte, []byte]) (*finding, error) {
	var f finding
	seen := make([]bool, l.sched.records)  // there, right or wrong
	right := make([]bool, l.sched.records) // there and right
	heads := make([]int64, len(l.required))
	var want []byte
	for key, val := range db {
		if w, ok := headOf(key); ok && w < len(heads) && len(val) == 8 {
			heads[w] = int64(binary.BigEndian.Uint64(val))
			continue
		}
		i := int64(-1)
		if len(val) >= 8 {
			i = int64(binary.BigEndian.Uint64(val))
		}
		if i < 0 || i >= l.sched.records || !bytes.Equal(key, l.data.Key(want[:0], i)) {
			// A damaged value may have lost its number: then its own record will be missing, too.
			f.Alien++
			f.detail("nobody wrote key %q with these %d bytes", key, len(val))
			continue
		}
		var err error
		if want, err = appendStored(want[:0], l.data, i); err != nil {
			return nil, err
		}
		seen[i], right[i] = true, bytes.Equal(val, want)
	}
	found := make([]int64, len(l.required))
	for w := range l.required {
		found[w] = l.checkWriter(&f, w, seen, right, heads[w])
	}
	if f.ok() {
		copy(l.required, found)
	}
	return &f, nil
}

// checkWriter checks one writer and returns the length of its prefix.
func (l *ledger) checkWriter(f *finding, w int, seen, right []bool, head int64) int64 {
	required, all := l.required[w], l.sched.commits(w)
	prefix, last := int64(0), int64(0)
	hole := false
	for n := int64(1); n <= all; n++ {
		i := l.sched.record(w, n)
		switch {
		case !seen[i]:
			hole = true
			if n <= required {
				f.Lost++
				f.detail("lost: commit %d of writer %d, key %q", n, w, l.data.Key(nil, i))
			}
			continue
		case !right[i]:
			f.Changed++
			f.detail("changed: commit %d of writer %d, key %q", n, w, l.data.Key(nil, i))
		case n > required+1:
			f.Unborn++
			f.detail("never begun: commit %d of writer %d, whose last acknowledged commit is %d", n, w, required)
		case hole:
			// A commit without one before it is a break of the prefix property. A hole below an acknowledged commit counts as
			// lost alone, not also against every commit behind it.
			if n > required {
				f.Unborn++
				f.detail("out of order: commit %d of writer %d is there, an earlier one is not", n, w)
			} else {
				f.Found++
			}
		default:
			f.Found++
			prefix = n
			if n > required {
				f.Extra++
			}
		}
		last = n
	}
	if head != last {
		f.Torn++
		f.detail("torn: the counter of writer %d says %d, its last commit is %d", w, head, last)
	}
	return prefix
}

func headOf(key []byte) (int, bool) {
	rest, ok := strings.CutPrefix(string(key), headPrefix)
	if !ok {
		return 0, false
	}
	w, err := strconv.Atoi(rest)
	return w, err == nil && w >= 0
}
