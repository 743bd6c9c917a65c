package state

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"testing"
	"time"
)

// The bytes of docs/state.md. A change here breaks every stored state.
func TestGoldenKeys(t *testing.T) {
	narrow, wide := AllKeys(128), AllKeys(129)
	window := Window(time.UnixMilli(1000), time.UnixMilli(2000))
	for _, tc := range []struct {
		what string
		got  []byte
		want string
	}{
		{"one byte of key group", narrow.appendScope(nil, 5, 258, Key("ab")), "05" + "0102" + "61620001" + "0001"},
		{"two bytes of key group", wide.appendScope(nil, 5, 258, Key("ab")), "0005" + "0102" + "61620001" + "0001"},
		{"zeros in key and namespace", narrow.appendScope(nil, 127, 1, Scope{[]byte{0, 1, 0}, []byte{0xff, 0}}), "7f" + "0001" + "00ff0100ff0001" + "ff00ff0001"},
		{"a window", narrow.appendScope(nil, 0, 1, IntKey(-1).In(window)), "00" + "0001" + "7fffffffffffffff0001" + "8000ff00ff00ff00ff00ff07d08000ff00ff00ff00ff00ff03e80001"},
		{"a timer", narrow.appendTimer(nil, 1, 3, 1500, Key("k")), "01" + "0003" + "80000000000005dc" + "6b0001" + "0001"},
		{"a timer before 1970", narrow.appendTimer(nil, 1, 3, -1, Key("k")), "01" + "0003" + "7fffffffffffffff" + "6b0001" + "0001"},
		{"the schema record", schemaKey, "ff736368656d61"},
	} {
		if g := hex.EncodeToString(tc.got); g != tc.want {
			t.Errorf("%s: %s, want %s", tc.what, g, tc.want)
		}
	}
}

func TestGoldenRecords(t *testing.T) {
	for _, tc := range []struct {
		what string
		got  []byte
		want string
	}{
		{"plain", append(appendHead(nil, head{epoch: 1}), "v"...), "01" + "76"},
		{"stamped", append(appendHead(nil, head{3, true, 0x0102030405060708}), "v"...), "83" + "0102030405060708" + "76"},
		{"element", appendElement(nil, head{epoch: 1}, []byte("ab")), "01" + "02" + "6162"},
		{"stamped element", appendElement(nil, head{1, true, 1}, nil), "81" + "0000000000000001" + "00"},
	} {
		if g := hex.EncodeToString(tc.got); g != tc.want {
			t.Errorf("%s: %s, want %s", tc.what, g, tc.want)
		}
	}
}

func TestGoldenKeyGroups(t *testing.T) {
	for _, tc := range []struct {
		key  string
		max  int
		want int
	}{{"", 128, 115}, {"a", 128, 34}, {"hello", 128, 75}, {"hello", 32768, 27467}} {
		if g := KeyGroup([]byte(tc.key), tc.max); g != tc.want {
			t.Errorf("KeyGroup(%q, %d) = %d, want %d", tc.key, tc.max, g, tc.want)
		}
	}
}

func TestInstancesCoverAllGroups(t *testing.T) {
	for _, maxParallelism := range []int{1, 7, 128, 1000} {
		for n := 1; n <= min(maxParallelism, 130); n++ {
			next := 0
			for i := range n {
				k := Instance(maxParallelism, n, i)
				if k.Lo != next {
					t.Fatalf("instance %d of %d begins at %d, the one before ends at %d", i, n, k.Lo, next)
				}
				for g := k.Lo; g < k.Hi; g++ {
					if InstanceOf(g, maxParallelism, n) != i {
						t.Fatalf("group %d of %d belongs to instance %d of %d, InstanceOf says %d", g, maxParallelism, i, n, InstanceOf(g, maxParallelism, n))
					}
				}
				next = k.Hi
			}
			equal(t, "end of the last instance", next, maxParallelism)
		}
	}
}

// Keys spread: no group has more than twice its share of consecutive numbers or words.
func TestKeyGroupsAreEven(t *testing.T) {
	var n [128]int
	for i := range int64(128 * 100) {
		n[KeyGroup(appendInt64(nil, i), 128)]++
	}
	for g, c := range n {
		if c < 50 || c > 200 {
			t.Errorf("group %d has %d of 12,800 keys", g, c)
		}
	}
}

func TestCodecsKeepOrder(t *testing.T) {
	ordered(t, Int64, math.MinInt64, -256, -1, 0, 1, 255, 256, math.MaxInt64)
	ordered(t, Int32, math.MinInt32, -1, 0, 1, math.MaxInt32)
	ordered(t, Uint64, 0, 1, 255, 256, math.MaxUint64)
	ordered(t, Uint32, 0, 1, math.MaxUint32)
	ordered(t, Float64, math.Inf(-1), -1e300, -1, -math.SmallestNonzeroFloat64, 0, math.SmallestNonzeroFloat64, 1, math.Inf(1))
	ordered(t, String, "", "\x00", "a", "a\x00", "ab", "b")
	ordered(t, Bool, false, true)
	early, late := time.Unix(-5, 0).UTC(), time.Unix(5, 1000).UTC()
	ordered(t, Time, early, late)
}

func ordered[T comparable](t *testing.T, c Codec[T], vs ...T) {
	t.Helper()
	var last []byte
	for i, v := range vs {
		p := must(c.Append(nil, v))(t)
		if got := must(c.Decode(p))(t); got != v {
			t.Errorf("%s: %v came back as %v", c.Name(), v, got)
		}
		if i > 0 && bytes.Compare(last, p) >= 0 {
			t.Errorf("%s: %v is not behind %v", c.Name(), v, vs[i-1])
		}
		last = p
	}
}

func TestCodecsOfStructs(t *testing.T) {
	type point struct{ X, Y int }
	for _, c := range []Codec[point]{JSON[point](), Gob[point]()} {
		p := must(c.Append([]byte("x"), point{1, -2}))(t)
		equal(t, c.Name(), must(c.Decode(p[1:]))(t), point{1, -2})
		for _, bad := range [][]byte{nil, p, append(p[1:len(p):len(p)], 'x')} {
			if v, err := c.Decode(bad); err == nil {
				t.Errorf("%s: %q was read as %v", c.Name(), bad, v)
			}
		}
	}
	b := []byte("abc")
	got := must(Bytes.Decode(b))(t)
	b[0] = 'x'
	equal(t, "bytes are copied", string(got), "abc")
}

func FuzzKey(f *testing.F) {
	f.Add([]byte{5, 1, 2, 'a', 0, 1, 0, 1}, []byte{0, 0xff}, []byte{0, 1})
	f.Fuzz(func(t *testing.T, raw, key, ns []byte) {
		for _, k := range []KeyGroups{AllKeys(128), AllKeys(300)} {
			// What is written is read.
			s := Scope{key, ns}
			g := KeyGroup(key, k.Max)
			enc := append(k.appendScope(nil, g, 7, s), raw...)
			group, id, rest, err := k.cutHead(enc)
			ok(t, err)
			back, user, err := cutScope(rest)
			ok(t, err)
			if group != g || id != 7 || !bytes.Equal(back.Key, key) || !bytes.Equal(back.Namespace, ns) || !bytes.Equal(user, raw) {
				t.Fatalf("%x came back as %d %d %x %x %x", enc, group, id, back.Key, back.Namespace, user)
			}
			prefix := k.appendScope(nil, g, 7, s)
			if end := prefixEnd(prefix); bytes.Compare(enc, end) >= 0 {
				t.Fatalf("%x is not below the end %x of its prefix", enc, end)
			}
			// What is read is what would be written, and anything else is refused.
			if group, id, rest, err := k.cutHead(raw); err == nil {
				if s, user, err := cutScope(rest); err == nil {
					if again := append(k.appendScope(nil, group, id, s), user...); !bytes.Equal(again, raw) {
						t.Fatalf("%x was read, and would be written as %x", raw, again)
					}
				} else if !errors.Is(err, ErrCorrupt) {
					t.Fatal(err)
				}
				if at, s, err := cutTimer(rest); err == nil {
					if again := k.appendTimer(nil, group, id, at, s); !bytes.Equal(again, raw) {
						t.Fatalf("timer %x was read, and would be written as %x", raw, again)
					}
				} else if !errors.Is(err, ErrCorrupt) {
					t.Fatal(err)
				}
			} else if !errors.Is(err, ErrCorrupt) {
				t.Fatal(err)
			}
		}
	})
}

func FuzzKeyOrder(f *testing.F) {
	f.Add([]byte("a"), []byte("a\x00"), []byte{}, []byte{0})
	f.Fuzz(func(t *testing.T, a, b, na, nb []byte) {
		want := bytes.Compare(a, b)
		if want == 0 {
			want = bytes.Compare(na, nb)
		}
		k := AllKeys(128)
		ea, eb := k.appendScope(nil, 0, 1, Scope{a, na}), k.appendScope(nil, 0, 1, Scope{b, nb})
		if got := bytes.Compare(ea, eb); got != want {
			t.Fatalf("%x/%x against %x/%x: %d, encoded %d", a, na, b, nb, want, got)
		}
		if want != 0 && (bytes.HasPrefix(ea, eb) || bytes.HasPrefix(eb, ea)) {
			t.Fatalf("%x and %x: one is a prefix of the other", ea, eb)
		}
	})
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte{0x81, 0, 0, 0, 0, 0, 0, 0, 1, 2, 'a', 'b'})
	f.Fuzz(func(t *testing.T, raw []byte) {
		h, payload, err := cutHead(raw)
		if err == nil {
			if again := append(appendHead(nil, h), payload...); !bytes.Equal(again, raw) {
				t.Fatalf("%x was read, and would be written as %x", raw, again)
			}
		} else if !errors.Is(err, ErrCorrupt) {
			t.Fatal(err)
		}
		for rest := raw; len(rest) > 0; {
			before := rest
			h, p, r, err := cutElement(rest)
			if err != nil {
				if !errors.Is(err, ErrCorrupt) {
					t.Fatal(err)
				}
				break
			}
			// A length may be written longer than needed, so only what comes out is compared.
			h2, p2, r2, err := cutElement(append(appendElement(nil, h, p), r...))
			if err != nil || h2 != h || !bytes.Equal(p2, p) || !bytes.Equal(r2, r) {
				t.Fatalf("%x does not come back: %v", before, err)
			}
			rest = r
		}
	})
}

func FuzzSchema(f *testing.F) {
	f.Add([]byte(`{"format":1,"maxParallelism":128,"states":[{"id":1,"name":"a","kind":"value","epochs":[{"codec":"int64","version":0}]}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		sc, err := parseSchema(raw, 128)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrIncompatible) {
				t.Fatal(err)
			}
			return
		}
		if _, _, err := sc.declare("a", KindValue, Schema{Codec: "int64"}, false, false, 1); err != nil && !errors.Is(err, ErrIncompatible) {
			t.Fatal(err)
		}
	})
}
