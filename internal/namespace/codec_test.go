package namespace

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden vectors in testdata")

// golden compares got with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; if the format was changed on purpose, run with -update and read the diff. Got:\n%s", path, got)
	}
}

// vectors are one operation of each kind, with small and with large numbers.
func vectors() []Op {
	big := Container{Kind: Frame, Owner: math.MaxUint32, CRC: 0xdeadbeef, Epoch: math.MaxUint64, Nonce: 0x0102030405060708, Num: math.MaxUint64}
	obj := Container{Kind: Object, CRC: 1 << 24, Epoch: 3, Nonce: 0xfffefdfcfbfaf9f8, Num: 300}
	frm := Container{Kind: Frame, CRC: 0x11223344, Epoch: 3, Nonce: 1, Num: 9}
	long := "/" + strings.Repeat("n", 200)
	return []Op{
		{Kind: Mkdir, Path: "/db"},
		{Kind: Mkdir, Path: "/"},
		{Kind: Create, Path: "/db/000001.log", Inode: 1, Time: 1_700_000_000_000_000_000},
		{Kind: Create, Path: "/db/\xff\xfe", Inode: maxInode, File: Bulk, Time: math.MaxInt64},
		{Kind: Link, Path: "/db/000002.sst", Path2: "/checkpoint/000002.sst"},
		{Kind: Rename, Path: "/a", Path2: long},
		{Kind: Remove, Path: long},
		{Kind: RemoveAll, Path: "/checkpoint"},
		{Kind: Append, Inode: 1, Len: 1},
		{Kind: Append, Inode: maxInode, Len: math.MaxInt64},
		{Kind: Extend, Inode: 2},
		{Kind: Extend, Inode: 2, Extents: []Extent{{obj, 0, 1 << 24}, {big, 88, 1}, {obj, math.MaxInt64 - 1, 1}}},
		{Kind: Pack},
		{Kind: Pack, Packs: []Repack{
			{1, 0, Extent{frm, 100, 5}, Extent{obj, 0, 5}},
			{1, 5, Extent{big, 1 << 40, 700}, Extent{obj, 5, 700}},
		}},
		{Kind: Touch, Inode: 1, Time: 0},
		{Kind: SnapBegin, Path: "/db", Time: 1_700_000_000_000_000_000, Snap: &SnapOp{ID: SnapshotID{3, 0x0102030405060708, 9}, Name: "daily-1", Expires: 1_700_000_100_000_000_000, Meta: []byte("meta")}},
		{Kind: SnapBegin, Path: "/", Snap: &SnapOp{Name: "n"}},
		{Kind: SnapCommit, Snap: &SnapOp{ID: SnapshotID{3, 0x0102030405060708, 9}, Body: BodyRef{Head: 104 + 700, CRC: 0xdeadbeef, Size: 1 << 33}}},
		{Kind: SnapDoom, Snap: &SnapOp{ID: SnapshotID{3, 0x0102030405060708, 9}}},
		{Kind: SnapRemove, Snap: &SnapOp{ID: SnapshotID{math.MaxUint64, math.MaxUint64, math.MaxUint64}}},
		{Kind: SnapMove, Snap: &SnapOp{ID: SnapshotID{3, 4, 9}, BodyID: SnapshotID{5, 6, 7}, Body: BodyRef{Head: 104, CRC: 1, Size: 300},
			Moves: []Move{{Container{Kind: Object, Owner: 1, Epoch: 1, Nonce: 2, Num: 3, CRC: 4}, Container{Kind: Object, Epoch: 5, Nonce: 6, Num: 8, CRC: 4}}}}},
		{Kind: Restore, Path: "/", Inode: 7, Snap: &SnapOp{Tree: New().Encode()}},
	}
}

func TestGoldenOps(t *testing.T) {
	var out strings.Builder
	var all []byte
	for _, op := range vectors() {
		b := op.AppendTo(nil)
		all = op.AppendTo(all)
		fmt.Fprintf(&out, "%s\n%s\n\n", op.Kind, hex.EncodeToString(b))
	}
	golden(t, "ops.golden", out.String())
	want := vectors()
	n := 0
	err := DecodeOps(all, func(op *Op) error {
		if !reflect.DeepEqual(*op, want[n]) {
			t.Errorf("operation %d is decoded as %+v; want %+v", n, *op, want[n])
		}
		n++
		return nil
	})
	if err != nil || n != len(want) {
		t.Errorf("%d operations, error %v; want %d", n, err, len(want))
	}
}

func TestGoldenBody(t *testing.T) {
	s := tree(t)
	o := s.AddOwner(Owner{Volume: [16]byte{0: 0xab, 15: 0xcd}, URL: "s3://bucket/other"})
	foreign := Container{Kind: Object, Owner: o, CRC: 100, Epoch: 2, Nonce: 9, Num: 1}
	must(t, s,
		Op{Kind: Link, Path: "/d/y", Path2: "/d/e/y"},
		Op{Kind: Mkdir, Path: "/empty"},
		Op{Kind: Create, Path: "/clone", Inode: 70000, File: Bulk, Time: 5},
		Op{Kind: Extend, Inode: 70000, Extents: []Extent{{foreign, 0, 60}, {object(1), 5, 5}, {foreign, 60, 40}}},
		Op{Kind: Pack, Packs: []Repack{{1, 5, Extent{frame(2), 100, 7}, Extent{object(3), 0, 7}}}},
	)
	snaps := s.Clone()
	id := SnapshotID{2, 3, 4}
	begin := func(id SnapshotID, dir, name string) {
		t.Helper()
		op := Op{Kind: SnapBegin, Path: dir, Time: 60, Snap: &SnapOp{ID: id, Name: name, Expires: 70, Meta: []byte{1, 2}}}
		if err := snaps.Apply(&op, Extent{Container: frame(9)}); err != nil {
			t.Fatal(err)
		}
	}
	begin(id, "/", "all")
	must(t, snaps, Op{Kind: SnapCommit, Snap: &SnapOp{ID: id, Body: BodyRef{Head: 109, CRC: 5, Size: 400}}}, Op{Kind: SnapDoom, Snap: &SnapOp{ID: id}},
		Op{Kind: SnapMove, Snap: &SnapOp{ID: id, BodyID: SnapshotID{7, 8, 9}, Body: BodyRef{Head: 104, CRC: 6, Size: 500}}})
	must(t, snaps, Op{Kind: Remove, Path: "/clone"})
	begin(SnapshotID{2, 3, 5}, "/d/e", "all")
	for name, s := range map[string]*State{"body.golden": s, "empty.golden": New(), "snapshots.golden": snaps} {
		golden(t, name, hex.Dump(s.Encode()))
		dec, err := Decode(s.Encode())
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(dec.Encode(), s.Encode()) || !reflect.DeepEqual(paths(dec), paths(s)) {
			t.Errorf("%s does not survive a round trip", name)
		}
	}
}

// TestDecodeOpsRefuses cuts and damages good bytes; whatever is refused, nothing is taken for the end.
func TestDecodeOpsRefuses(t *testing.T) {
	nothing := func(*Op) error { return nil }
	for _, op := range vectors() {
		b := op.AppendTo(nil)
		for n := 1; n < len(b); n++ {
			if err := DecodeOps(b[:n], nothing); !errors.Is(err, ErrCorrupt) {
				t.Errorf("%s cut to %d of %d bytes: %v", op.Kind, n, len(b), err)
			}
		}
	}
	for _, c := range []struct {
		name string
		b    []byte
		want error
	}{
		{"nothing", nil, nil},
		{"kind 0", []byte{0, 0, 0}, ErrCorrupt},
		{"kind 0, skippable", []byte{0, 1, 0}, ErrCorrupt},
		{"unknown", []byte{17, 0, 1, 0}, ErrUnknownOp},
		{"unknown, skippable", []byte{17, 1, 1, 0}, nil},
		{"unknown, skippable, cut", []byte{17, 1, 2, 0}, ErrCorrupt},
		{"unknown flag", []byte{byte(Remove), 2, 2, 1, '/'}, ErrUnknownOp},
		{"known, skippable", []byte{byte(Remove), 1, 3, 2, '/', 'a'}, nil},
		{"bytes left over", []byte{byte(Remove), 0, 4, 2, '/', 'a', 0}, ErrCorrupt},
		{"string past the body", []byte{byte(Remove), 0, 2, 2, '/', 'a'}, ErrCorrupt},
		{"long uvarint", []byte{byte(Remove), 0, 4, 0x82, 0, '/', 'a'}, ErrCorrupt},
		{"endless uvarint", append([]byte{byte(Touch), 0, 11}, bytes.Repeat([]byte{0xff}, 11)...), ErrCorrupt},
		{"huge length", []byte{byte(Remove), 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, ErrCorrupt},
		{"negative length", []byte{byte(Append), 0, 11, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, ErrCorrupt},
		{"huge count", []byte{byte(Extend), 0, 6, 1, 0xff, 0xff, 0xff, 0xff, 0x0f}, ErrCorrupt},
		{"container of kind 4", append([]byte{byte(Extend), 0, 20, 1, 1, 4}, make([]byte, 17)...), ErrCorrupt},
		{"owner of 33 bits", append([]byte{byte(Extend), 0, 24, 1, 1, 1, 0xff, 0xff, 0xff, 0xff, 0x1f}, make([]byte, 16)...), ErrCorrupt},
		{"owner of 32 bits", append([]byte{byte(Extend), 0, 24, 1, 1, 1, 0xff, 0xff, 0xff, 0xff, 0x0f}, make([]byte, 16)...), nil},
	} {
		if err := DecodeOps(c.b, nothing); !errors.Is(err, c.want) || (c.want == nil) != (err == nil) {
			t.Errorf("%s: %v; want %v", c.name, err, c.want)
		}
	}
	stop := errors.New("stop")
	b := (&Op{Kind: Touch, Inode: 1}).AppendTo(nil)
	calls := 0
	err := DecodeOps(append(b, b...), func(*Op) error { calls++; return stop })
	if err != stop || calls != 1 {
		t.Errorf("an error of fn: %v after %d calls", err, calls)
	}
}

// sections takes a body apart, so that a test can change one section and put it together again.
func sections(body []byte) (out [][]byte) {
	for b := body[1:]; len(b) > 0; {
		r := reader{b: b[2:]}
		n := r.take(8)
		size := 10 + int(n[0]) + int(n[1])<<8
		out = append(out, bytes.Clone(b[:size]))
		b = b[size:]
	}
	return out
}

func TestDecodeRefuses(t *testing.T) {
	good := tree(t).Encode()
	for n := range good {
		if _, err := Decode(good[:n]); !errors.Is(err, ErrCorrupt) {
			t.Errorf("cut to %d of %d bytes: %v", n, len(good), err)
		}
	}
	sec := func(id, flags byte, body ...byte) []byte {
		b := section(nil, id, func(b []byte) []byte { return append(b, body...) })
		b[1] = flags
		return b
	}
	ins := sections(good)
	join := func(ss ...[]byte) []byte { return append([]byte{bodyVersion}, bytes.Join(ss, nil)...) }
	one := []byte{1, 1, 0, 0, 0} // one file: inode 1, small, time 0, no extents
	for _, c := range []struct {
		name string
		b    []byte
		want error
	}{
		{"good", join(ins...), nil},
		{"nothing", nil, ErrCorrupt},
		{"version 0", append([]byte{0}, good[1:]...), ErrUnknownBody},
		{"version 2", append([]byte{2}, good[1:]...), ErrUnknownBody},
		{"new section", join(append(ins[:4:4], sec(6, 0, 1))...), ErrUnknownBody},
		{"no snapshots, spelt", join(append(ins[:4:4], sec(5, 0, 0))...), ErrCorrupt},
		{"new section, skippable", join(append(ins[:4:4], sec(9, 1, 1))...), nil},
		{"new section twice", join(append(ins[:4:4], sec(9, 1, 1), sec(9, 1, 1))...), ErrCorrupt},
		{"new sections out of order", join(append(ins[:4:4], sec(9, 1, 1), sec(8, 1, 1))...), ErrCorrupt},
		{"new sections", join(append(ins[:4:4], sec(8, 1, 1), sec(9, 1, 1))...), nil},
		{"empty without owners", join(sec(1, 0, 1), sec(3, 0, 0), sec(4, 0, 0)), ErrCorrupt},
		{"section with a new flag", join(ins[0], sec(2, 2, 0), ins[2], ins[3]), ErrUnknownBody},
		{"missing first section", join(ins[1:]...), ErrCorrupt},
		{"missing last section", join(ins[:3]...), ErrCorrupt},
		{"missing section and a new one", join(append(ins[:3:3], sec(9, 1, 1))...), ErrCorrupt},
		{"sections twice", join(ins[0], ins[0], ins[1], ins[2], ins[3]), ErrCorrupt},
		{"sections out of order", join(ins[0], ins[2], ins[1], ins[3]), ErrCorrupt},
		{"section 0", join(sec(0, 1), ins[0], ins[1], ins[2], ins[3]), ErrCorrupt},
		{"bytes left over", join(append(ins[:3:3], append(ins[3], 0))...), ErrCorrupt},
		{"next inode 0", join(sec(1, 0, 0), sec(2, 0, 0), sec(3, 0, 0), sec(4, 0, 0)), ErrCorrupt},
		{"next inode too large", join(sec(1, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1), sec(2, 0, 0), sec(3, 0, 0), sec(4, 0, 0)), ErrCorrupt},
		{"empty", join(sec(1, 0, 1), sec(2, 0, 0), sec(3, 0, 0), sec(4, 0, 0)), nil},
		{"one file", join(sec(1, 0, 2), sec(2, 0, 0), sec(3, 0, one...), sec(4, 0, 1, 1, 'a', 1)), nil},
		{"two names", join(sec(1, 0, 2), sec(2, 0, 0), sec(3, 0, one...), sec(4, 0, 2, 1, 'a', 1, 1, 'b', 1)), nil},
		{"inode not below the next", join(sec(1, 0, 1), sec(2, 0, 0), sec(3, 0, one...), sec(4, 0, 1, 1, 'a', 1)), ErrCorrupt},
		{"inode 0", join(sec(1, 0, 2), sec(2, 0, 0), sec(3, 0, 1, 0, 0, 0, 0), sec(4, 0, 1, 1, 'a', 1)), ErrCorrupt},
		{"inode twice", join(sec(1, 0, 2), sec(2, 0, 0), sec(3, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0), sec(4, 0, 2, 1, 'a', 1, 1, 'b', 2)), ErrCorrupt},
		{"file of kind 3", join(sec(1, 0, 2), sec(2, 0, 0), sec(3, 0, 1, 1, 3, 0, 0), sec(4, 0, 1, 1, 'a', 1)), ErrCorrupt},
		{"file without a name", join(sec(1, 0, 2), sec(2, 0, 0), sec(3, 0, one...), sec(4, 0, 0)), ErrCorrupt},
		{"name without a file", join(sec(1, 0, 2), sec(2, 0, 0), sec(3, 0, one...), sec(4, 0, 2, 1, 'a', 1, 1, 'b', 2)), ErrCorrupt},
		{"name twice", join(sec(1, 0, 2), sec(2, 0, 0), sec(3, 0, one...), sec(4, 0, 2, 1, 'a', 1, 1, 'a', 1)), ErrCorrupt},
		{"names out of order", join(sec(1, 0, 2), sec(2, 0, 0), sec(3, 0, one...), sec(4, 0, 2, 1, 'b', 1, 1, 'a', 1)), ErrCorrupt},
		{"name with a slash", join(sec(1, 0, 2), sec(2, 0, 0), sec(3, 0, one...), sec(4, 0, 1, 1, '/', 1)), ErrCorrupt},
		{"empty name", join(sec(1, 0, 2), sec(2, 0, 0), sec(3, 0, one...), sec(4, 0, 1, 0, 1)), ErrCorrupt},
		{"name of dots", join(sec(1, 0, 2), sec(2, 0, 0), sec(3, 0, one...), sec(4, 0, 1, 2, '.', '.', 1)), ErrCorrupt},
		{"directory without a list", join(sec(1, 0, 1), sec(2, 0, 0), sec(3, 0, 0), sec(4, 0, 1, 1, 'a', 0)), ErrCorrupt},
		{"list without a directory", join(sec(1, 0, 1), sec(2, 0, 0), sec(3, 0, 0), sec(4, 0, 0, 0)), ErrCorrupt},
		{"owner twice", join(sec(1, 0, 1), sec(2, 0, append([]byte{2}, make([]byte, 34)...)...), sec(3, 0, 0), sec(4, 0, 0)), ErrCorrupt},
		{"reference to no container", join(sec(1, 0, 2), sec(2, 0, 0), sec(3, 0, 1, 1, 0, 0, 1, 1, 0, 1), sec(4, 0, 1, 1, 'a', 1)), ErrCorrupt},
	} {
		s, err := Decode(c.b)
		if !errors.Is(err, c.want) || (c.want == nil) != (err == nil) || (s == nil) != (err != nil) {
			t.Errorf("%s: %v; want %v", c.name, err, c.want)
		}
		if s != nil && s.Verify() != nil {
			t.Errorf("%s: %v", c.name, s.Verify())
		}
	}
}

// TestDecodeRefusesExtents changes single values of a file's extent.
func TestDecodeRefusesExtents(t *testing.T) {
	body := func(next uint64, c Container, off, n uint64, again *Container) []byte {
		s := New()
		s.next = Inode(next)
		b := []byte{bodyVersion}
		b = section(b, secInodes, func(b []byte) []byte { return append(b, byte(next)) })
		b = section(b, secOwners, func(b []byte) []byte { return append(b, 0) })
		b = section(b, secFiles, func(b []byte) []byte {
			b = append(b, 1, 1, 0, 0, 1)
			if again != nil {
				b[len(b)-1]++
			}
			b = appendContainer(append(b, 0), &c)
			b = appendUvarint(b, off, n)
			if again != nil {
				b = appendContainer(append(b, 0), again)
				b = appendUvarint(b, 0, 1)
			}
			return b
		})
		return section(b, secTree, func(b []byte) []byte { return append(b, 1, 1, 'a', 1) })
	}
	frm, obj := frame(1), Container{Kind: Object, Epoch: 1, Nonce: 1, Num: 1, CRC: 10}
	foreign := obj
	foreign.Owner = 1
	for _, c := range []struct {
		name string
		b    []byte
		good bool
	}{
		{"good", body(2, obj, 0, 10, nil), true},
		{"good, two containers", body(2, obj, 0, 10, &frm), true},
		{"container spelt twice", body(2, obj, 0, 10, &obj), false},
		{"empty extent", body(2, obj, 0, 0, nil), false},
		{"past the end of the object", body(2, obj, 1, 10, nil), false},
		{"negative offset", body(2, frm, 1<<63, 1, nil), false},
		{"past the largest offset", body(2, frm, math.MaxInt64, 1, nil), false},
		{"file too large", body(2, frm, 0, math.MaxInt64, &obj), false},
		{"no such owner", body(2, foreign, 0, 1, nil), false},
	} {
		if _, err := Decode(c.b); (err == nil) != c.good || !c.good && !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// allocated is the memory that f allocates, for bounds that leave much room.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// The most that a decoder allocates per byte of input, and besides.
const (
	perByte = 100
	besides = 64 << 10
)

// TestCountsAllocateNothing: a count that promises more than can follow is refused before anything is made for it.
func TestCountsAllocateNothing(t *testing.T) {
	huge := []byte{0xff, 0xff, 0x3f} // 2^20-1
	fill := make([]byte, 3000)
	op := func(kind OpKind, head ...byte) []byte {
		body := append(append(head, huge...), fill...)
		return append(appendUvarint([]byte{byte(kind), 0}, uint64(len(body))), body...)
	}
	body := func(id int, content []byte) []byte {
		b := []byte{bodyVersion}
		for i := 1; i <= id; i++ {
			b = section(b, byte(i), func(b []byte) []byte {
				switch {
				case i < id && i == secInodes:
					return append(b, 5) // the next inode
				case i < id:
					return append(b, 0) // no items
				}
				return append(append(b, content...), fill...)
			})
		}
		return b
	}
	ops := func(b []byte) func() error {
		return func() error { return DecodeOps(b, func(*Op) error { return nil }) }
	}
	image := func(b []byte) func() error {
		return func() error { _, err := Decode(b); return err }
	}
	for name, decode := range map[string]func() error{
		"extend":    ops(op(Extend, 1)),
		"pack":      ops(op(Pack)),
		"owners":    image(body(secOwners, huge)),
		"files":     image(body(secFiles, huge)),
		"extents":   image(body(secFiles, append([]byte{1, 1, 0, 0}, huge...))),
		"tree":      image(body(secTree, huge)),
		"snapshots": image(body(secSnaps, huge)),
		"pins":      image(body(secSnaps, append(append([]byte{1, 1}, make([]byte, 10)...), append([]byte{1, 'n', 1, '/', 0, 0, 0, 0, 0, 0}, huge...)...))),
	} {
		var err error
		used := allocated(func() { err = decode() })
		if !errors.Is(err, ErrCorrupt) || used > 1<<20 {
			t.Errorf("%s: %v, %d bytes allocated", name, err, used)
		}
	}
}
