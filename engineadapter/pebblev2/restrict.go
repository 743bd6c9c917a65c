package pebblev2

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

// Restrict removes everything outside of the given spans from a database, as a rescaled instance does with its clone: it keeps its share of the keys, and
// nothing is read through or written again, as tables that reach over an edge become virtual ones. Spans are half open, must not overlap, and may come in
// any order. When it returns nil, the others' keys are gone, durably; readers that are open go on seeing them.
//
// The database needs format pebble.FormatVirtualSSTables. What is in memtables and overlaps is flushed first. cmp is the database's comparer; nil is the default one.
func Restrict(ctx context.Context, db *pebble.DB, keep []pebble.KeyRange, cmp *pebble.Comparer) error {
	if cmp == nil {
		cmp = pebble.DefaultComparer
	}
	keep, err := sortSpans(keep, cmp)
	if err != nil {
		return fmt.Errorf("restrict: %w", err)
	}
	var gaps []pebble.KeyRange
	at := []byte{}
	for _, k := range keep {
		if cmp.Compare(at, k.Start) < 0 {
			gaps = append(gaps, pebble.KeyRange{Start: at, End: k.Start})
		}
		at = k.End
	}
	for _, g := range gaps {
		if err := db.Excise(ctx, g); err != nil {
			return fmt.Errorf("excise: %w", err)
		}
	}
	// Excise wants an end, so behind the last span it has to be found.
	for {
		last, err := lastKey(ctx, db, at)
		if err != nil || last == nil {
			return err
		}
		end := cmp.ImmediateSuccessor(nil, last[:cmp.Split(last)])
		if err := db.Excise(ctx, pebble.KeyRange{Start: at, End: end}); err != nil {
			return fmt.Errorf("excise: %w", err)
		}
	}
}

// lastKey is the last point key, or end of a range key, at or behind a key; nil if there is none.
func lastKey(ctx context.Context, db *pebble.DB, from []byte) ([]byte, error) {
	it, err := db.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: from, KeyTypes: pebble.IterKeyTypePointsAndRanges})
	if err != nil {
		return nil, err
	}
	var last []byte
	if it.Last() {
		last = bytes.Clone(it.Key())
		if _, hasRange := it.HasPointAndRange(); hasRange {
			_, end := it.RangeBounds()
			last = bytes.Clone(end)
		}
	}
	return last, errors.Join(it.Error(), it.Close())
}

func sortSpans(keep []pebble.KeyRange, cmp *pebble.Comparer) ([]pebble.KeyRange, error) {
	if len(keep) == 0 {
		return nil, errors.New("no span: to keep nothing, do not open a clone")
	}
	keep = slices.Clone(keep)
	slices.SortFunc(keep, func(a, b pebble.KeyRange) int { return cmp.Compare(a.Start, b.Start) })
	for i, k := range keep {
		switch {
		case cmp.Compare(k.Start, k.End) >= 0:
			return nil, fmt.Errorf("span [%q, %q) is empty", k.Start, k.End)
		case i > 0 && cmp.Compare(keep[i-1].End, k.Start) > 0:
			return nil, fmt.Errorf("spans [%q, %q) and [%q, %q) overlap", keep[i-1].Start, keep[i-1].End, k.Start, k.End)
		}
	}
	return keep, nil
}
