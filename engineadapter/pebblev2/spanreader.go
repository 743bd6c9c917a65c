package pebblev2

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"

	"github.com/cockroachdb/pebble/v2"
)

// Part is a span of keys and the database, or snapshot, that holds it.
type Part struct {
	Span pebble.KeyRange
	DB   pebble.Reader
}

// SpanReader reads disjoint spans of keys from several databases as if they were one: after a rescale, an instance's keys come from the clones of several
// others. It copies nothing and owns none of the databases. Its methods may be called from many goroutines.
type SpanReader struct {
	cmp   *pebble.Comparer
	parts []Part // by start
}

// NewSpanReader makes a reader of parts in any order; their spans must not overlap. Keys outside of all of them are not there. cmp is the comparer of all
// databases; nil is the default one.
func NewSpanReader(parts []Part, cmp *pebble.Comparer) (*SpanReader, error) {
	if cmp == nil {
		cmp = pebble.DefaultComparer
	}
	spans := make([]pebble.KeyRange, len(parts))
	for i, p := range parts {
		if p.DB == nil {
			return nil, fmt.Errorf("span reader: no database for [%q, %q)", p.Span.Start, p.Span.End)
		}
		spans[i] = p.Span
	}
	if _, err := sortSpans(spans, cmp); err != nil {
		return nil, fmt.Errorf("span reader: %w", err)
	}
	parts = slices.Clone(parts)
	slices.SortFunc(parts, func(a, b Part) int { return cmp.Compare(a.Span.Start, b.Span.Start) })
	return &SpanReader{cmp: cmp, parts: parts}, nil
}

// from is the first part that ends behind key.
func (r *SpanReader) from(key []byte) int {
	return sort.Search(len(r.parts), func(i int) bool { return r.cmp.Compare(r.parts[i].Span.End, key) > 0 })
}

// Get reads a key as pebble.Reader does: pebble.ErrNotFound if it is in no part. The caller closes the Closer when it has done with the value.
func (r *SpanReader) Get(key []byte) ([]byte, io.Closer, error) {
	i := r.from(key)
	if i == len(r.parts) || r.cmp.Compare(key, r.parts[i].Span.Start) < 0 {
		return nil, nil, pebble.ErrNotFound
	}
	return r.parts[i].DB.Get(key)
}

// NewIter iterates over all parts in order of the keys, from lower (inclusive) up to upper (exclusive); nil is no bound. It opens the iterators of the
// databases as it comes to them. The caller closes it.
func (r *SpanReader) NewIter(ctx context.Context, lower, upper []byte) *SpanIter {
	it := &SpanIter{r: r, ctx: ctx, lower: lower, upper: upper, to: len(r.parts), its: make([]*pebble.Iterator, len(r.parts)), at: -1}
	if lower != nil {
		it.low = r.from(lower)
	}
	if upper != nil {
		it.to = sort.Search(len(r.parts), func(i int) bool { return r.cmp.Compare(r.parts[i].Span.Start, upper) >= 0 })
	}
	it.to = max(it.to, it.low)
	return it
}

// SpanIter is an iterator over a SpanReader, for one goroutine. Key and Value are valid until the next move.
type SpanIter struct {
	r            *SpanReader
	ctx          context.Context
	lower, upper []byte
	low, to      int // parts in [low, to)
	its          []*pebble.Iterator
	at           int // the part that it stands in; below low or at to: outside
	err          error
}

// part gives the iterator of a part, opening it.
func (s *SpanIter) part(i int) *pebble.Iterator {
	if s.err != nil {
		return nil
	}
	if s.its[i] == nil {
		p := s.r.parts[i]
		lo, hi := p.Span.Start, p.Span.End
		if s.lower != nil && s.r.cmp.Compare(s.lower, lo) > 0 {
			lo = s.lower
		}
		if s.upper != nil && s.r.cmp.Compare(s.upper, hi) < 0 {
			hi = s.upper
		}
		s.its[i], s.err = p.DB.NewIterWithContext(s.ctx, &pebble.IterOptions{LowerBound: lo, UpperBound: hi})
		if s.err != nil {
			s.its[i] = nil
			return nil
		}
	}
	return s.its[i]
}

// forward stands on the first key from part i on, which move finds in that part.
func (s *SpanIter) forward(i int, move func(*pebble.Iterator) bool) bool {
	for ; i < s.to; i++ {
		it := s.part(i)
		if it == nil {
			return false
		}
		s.at = i
		if move(it) {
			return true
		}
		if s.err = it.Error(); s.err != nil {
			return false
		}
		move = (*pebble.Iterator).First
	}
	s.at = s.to
	return false
}

func (s *SpanIter) backward(i int, move func(*pebble.Iterator) bool) bool {
	for ; i >= s.low; i-- {
		it := s.part(i)
		if it == nil {
			return false
		}
		s.at = i
		if move(it) {
			return true
		}
		if s.err = it.Error(); s.err != nil {
			return false
		}
		move = (*pebble.Iterator).Last
	}
	s.at = s.low - 1
	return false
}

// First moves to the first key.
func (s *SpanIter) First() bool { return s.forward(s.low, (*pebble.Iterator).First) }

// Last moves to the last key.
func (s *SpanIter) Last() bool { return s.backward(s.to-1, (*pebble.Iterator).Last) }

// SeekGE moves to the first key at or behind key.
func (s *SpanIter) SeekGE(key []byte) bool {
	return s.forward(max(s.low, s.r.from(key)), func(it *pebble.Iterator) bool { return it.SeekGE(key) })
}

// SeekLT moves to the last key before key.
func (s *SpanIter) SeekLT(key []byte) bool {
	last := sort.Search(len(s.r.parts), func(i int) bool { return s.r.cmp.Compare(s.r.parts[i].Span.Start, key) >= 0 }) - 1
	return s.backward(min(s.to-1, last), func(it *pebble.Iterator) bool { return it.SeekLT(key) })
}

// Next moves to the next key; an iterator that stands before the first key moves to it.
func (s *SpanIter) Next() bool {
	switch {
	case s.at < s.low:
		return s.First()
	case s.at >= s.to:
		return false
	}
	return s.forward(s.at, (*pebble.Iterator).Next)
}

// Prev moves to the key before; an iterator that stands behind the last key moves to it.
func (s *SpanIter) Prev() bool {
	switch {
	case s.at >= s.to:
		return s.Last()
	case s.at < s.low:
		return false
	}
	return s.backward(s.at, (*pebble.Iterator).Prev)
}

// Valid says whether it stands on a key.
func (s *SpanIter) Valid() bool {
	return s.err == nil && s.at >= s.low && s.at < s.to && s.its[s.at] != nil && s.its[s.at].Valid()
}

// Key is the key that it stands on.
func (s *SpanIter) Key() []byte { return s.its[s.at].Key() }

// Value is the value that it stands on.
func (s *SpanIter) Value() []byte { return s.its[s.at].Value() }

// Error is what has stopped it, if anything has.
func (s *SpanIter) Error() error { return s.err }

// Close closes the iterators of the databases.
func (s *SpanIter) Close() error {
	errs := []error{s.err}
	for i, it := range s.its {
		if it != nil {
			errs = append(errs, it.Close())
			s.its[i] = nil
		}
	}
	s.at, s.to = -1, s.low
	return errors.Join(errs...)
}
