package namespace

import (
	"bytes"
	"errors"
	"math"
	"testing"
)

func FuzzDecodeOps(f *testing.F) {
	var all []byte
	for _, op := range vectors() {
		f.Add(op.AppendTo(nil))
		all = op.AppendTo(all)
	}
	f.Add(all)
	f.Add([]byte{16, 1, 1, 0})
	f.Add([]byte{byte(Extend), 0, 6, 1, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, b []byte) {
		var again []byte
		var err error
		used := allocated(func() {
			err = DecodeOps(b, func(op *Op) error {
				again = op.AppendTo(again)
				return nil
			})
		})
		if err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrUnknownOp) {
			t.Fatalf("unclassified error %v", err)
		}
		if err == nil && !flagged(b) && !bytes.Equal(again, b) {
			t.Fatalf("%x was decoded and encoded as %x", b, again)
		}
		if limit := uint64(len(b)*perByte + besides); used > limit {
			t.Fatalf("%d bytes allocated for %d", used, len(b))
		}
	})
}

// flagged reports whether any of a sequence of well-formed operations has flags.
func flagged(b []byte) bool {
	for r := (reader{b: b}); len(r.b) > 0; {
		if _, flags := r.byte(), r.byte(); flags != 0 {
			return true
		}
		r.take(r.uvarint())
	}
	return false
}

func FuzzDecode(f *testing.F) {
	s := tree(f)
	s.AddOwner(Owner{URL: "mem:///x"})
	f.Add(s.Encode())
	f.Add(New().Encode())
	withSnaps := s.Clone()
	for i, dir := range []string{"/", "/d/e"} {
		id := SnapshotID{1, 2, uint64(i)}
		_ = withSnaps.Apply(&Op{Kind: SnapBegin, Path: dir, Snap: &SnapOp{ID: id, Name: dir}}, Extent{})
		if i == 0 {
			_ = withSnaps.Apply(&Op{Kind: SnapCommit, Snap: &SnapOp{ID: id, Body: BodyRef{104, 1, 300}}}, Extent{})
		}
	}
	_ = withSnaps.Apply(&Op{Kind: Remove, Path: "/d/y"}, Extent{})
	f.Add(withSnaps.Encode())
	for _, b := range sections(s.Encode()) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var s *State
		var err error
		used := allocated(func() { s, err = Decode(b) })
		if limit := uint64(len(b)*perByte + besides); used > limit {
			t.Fatalf("%d bytes allocated for %d", used, len(b))
		}
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrUnknownBody) {
				t.Fatalf("unclassified error %v", err)
			}
			return
		}
		if err := s.Verify(); err != nil {
			t.Fatalf("accepted: %v", err)
		}
		again := s.Encode()
		if t2, err := Decode(again); err != nil || !bytes.Equal(t2.Encode(), again) {
			t.Fatalf("encoded again it is refused, or another: %v", err)
		}
	})
}

// FuzzApply gives whatever decodes to a State: nothing may break it.
func FuzzApply(f *testing.F) {
	for _, op := range vectors() {
		f.Add(op.AppendTo(nil))
	}
	s := tree(f)
	f.Add((&Op{Kind: Rename, Path: "/d", Path2: "/d/e/q"}).AppendTo(nil))
	f.Add((&Op{Kind: Pack, Packs: []Repack{{1, 0, Extent{frame(1), 100, 5}, Extent{object(1), 0, 5}}}}).AppendTo(nil))
	sub, err := s.Subtree("/d")
	if err == nil {
		err = sub.MoveFrames(func(p Placed) Extent { return Extent{object(77), 10 * int64(p.Inode), p.Extent.Len} })
	}
	if err != nil {
		f.Fatal(err)
	}
	f.Add((&Op{Kind: Restore, Path: "/d", Inode: 9, Snap: &SnapOp{Tree: sub.Encode()}}).AppendTo(nil))
	id := SnapshotID{1, 2, 3}
	var all []byte
	for _, op := range []Op{
		{Kind: SnapBegin, Path: "/d", Snap: &SnapOp{ID: id, Name: "s"}}, {Kind: RemoveAll, Path: "/d"},
		{Kind: SnapCommit, Snap: &SnapOp{ID: id, Body: BodyRef{104, 1, 300}}}, {Kind: SnapDoom, Snap: &SnapOp{ID: id}}, {Kind: SnapRemove, Snap: &SnapOp{ID: id}},
		{Kind: SnapMove, Snap: &SnapOp{ID: id, BodyID: SnapshotID{9, 9, 9}, Body: BodyRef{104, 2, 301}}},
	} {
		all = op.AppendTo(all)
	}
	f.Add(all)
	f.Fuzz(func(t *testing.T, b []byte) {
		s := s.Clone()
		_ = DecodeOps(b, func(op *Op) error {
			before := s.Encode()
			check := s.Check(op)
			err := s.Apply(op, Extent{frame(5), 88, op.Len})
			if check == nil && op.Kind == Append && 88 > math.MaxInt64-op.Len {
				return nil // only the place of the bytes is wrong
			}
			if (check == nil) != (err == nil) {
				t.Fatalf("Check: %v, Apply: %v", check, err)
			}
			if err != nil && !bytes.Equal(before, s.Encode()) {
				t.Fatal("a refused operation has changed the state")
			}
			return nil
		})
		if err := s.Verify(); err != nil {
			t.Fatal(err)
		}
	})
}
