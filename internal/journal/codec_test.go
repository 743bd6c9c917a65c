package journal

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var vectorVolume = VolumeID{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}

func vectorRoot() *Root {
	return &Root{Volume: vectorVolume, Run: 4, Created: time.Unix(0, 1700000000123456789).UTC(), Features: []string{"r:one", "w:two"}}
}

func vectorFrame() *Frame {
	return &Frame{Kind: FrameData, Volume: vectorVolume, Epoch: 7, Nonce: 0x1122334455667788, Seq: 0x10005,
		Prev: FrameRef{0x10004, Identity{0x8877665544332211, 0xdeadbeef}}, Ops: []byte("operations"), Inline: []byte("inline bytes")}
}

func vectorFence() *Frame {
	return &Frame{Kind: FrameFence, Volume: vectorVolume, Epoch: 8, Nonce: 1, Seq: 1}
}

func vectorImage() *Image {
	return &Image{Volume: vectorVolume, Seq: 99, Nonce: 3, Epoch: 7, Writer: 5, Last: FrameRef{98, Identity{5, 0xcafe}},
		Runs: []Run{{1, 4}, {50, 57}}, TrimmedBelow: 60, SweptBelow: 6, Body: []byte("a small body")}
}

// TestVectors fixes the bytes of docs/format.md. They must never change without a new version.
func TestVectors(t *testing.T) {
	big := vectorImage()
	big.Body = bytes.Repeat([]byte("a body that is compressed. "), 1000)
	dropped := &Image{Dropped: true, Volume: vectorVolume, Seq: 5, Nonce: 2, Epoch: 1, Writer: 1, Last: FrameRef{5, Identity{1, 9}}, Runs: []Run{{1, 8}}}
	tomb := &Root{Volume: vectorVolume, Run: 1, Tombstone: true}
	for name, b := range map[string][]byte{
		"root": vectorRoot().Encode(), "root-tombstone": tomb.Encode(), "frame-data": vectorFrame().Encode(),
		"frame-fence": vectorFence().Encode(), "image": vectorImage().Encode(), "image-dropped": dropped.Encode(),
	} {
		if err := golden("vector-"+name, hex.Dump(b)); err != nil {
			t.Error(err)
		}
	}
	// The compressor may change its mind, so only what comes back counts.
	b := big.Encode()
	if im, err := DecodeImage(b); err != nil || !reflect.DeepEqual(im, big) || len(b) > 1000 {
		t.Errorf("compressed image of %d bytes: %v", len(b), err)
	}
}

func TestRoundTrips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		some := func(name string) []byte { return rapid.SliceOf(rapid.Byte()).Draw(t, name) }
		ref := func(name string) FrameRef {
			return FrameRef{rapid.Uint64().Draw(t, name), Identity{rapid.Uint64().Draw(t, name), rapid.Uint32().Draw(t, name)}}
		}
		f := &Frame{Kind: FrameKind(rapid.IntRange(1, 3).Draw(t, "kind")), Epoch: rapid.Uint64().Draw(t, "epoch"), Nonce: rapid.Uint64().Draw(t, "nonce"),
			Seq: rapid.Uint64Min(1).Draw(t, "seq"), Prev: ref("prev"), Ops: []byte{}, Inline: []byte{}}
		if f.Kind == FrameData {
			f.Ops, f.Inline = some("ops"), some("inline")
		}
		b := f.Encode()
		got, err := DecodeFrame(b)
		if err != nil || !reflect.DeepEqual(got, f) || int64(len(b)) != f.Size() {
			t.Fatalf("frame %+v came back as %+v, %v", f, got, err)
		}
		if f.Kind == FrameData && !bytes.HasPrefix(b[f.InlineOffset():], f.Inline) {
			t.Fatal("inline bytes are not at InlineOffset")
		}
		im := &Image{Dropped: rapid.Bool().Draw(t, "dropped"), Seq: rapid.Uint64().Draw(t, "seq"), Nonce: rapid.Uint64().Draw(t, "nonce"),
			Epoch: rapid.Uint64().Draw(t, "epoch"), Last: ref("last"), TrimmedBelow: rapid.Uint64().Draw(t, "trimmed"),
			Body: bytes.Repeat(some("body"), rapid.IntRange(1, 2000).Draw(t, "times"))}
		if im.Body == nil {
			im.Body = []byte{}
		}
		for at := uint64(1); rapid.Bool().Draw(t, "run"); {
			at += rapid.Uint64Range(0, 10).Draw(t, "gap")
			im.Runs = append(im.Runs, Run{at, at + 3})
			at += 4
		}
		back, err := DecodeImage(im.Encode())
		if err != nil || !reflect.DeepEqual(back, im) {
			t.Fatalf("image came back as %+v, %v", back, err)
		}
	})
}

// TestDamagedBytes flips each bit and cuts at each length: never accepted, never a panic, never "newer".
func TestDamagedBytes(t *testing.T) {
	decoders := map[string]func([]byte) error{
		"root":  func(b []byte) error { _, err := DecodeRoot(b); return err },
		"frame": func(b []byte) error { _, err := DecodeFrame(b); return err },
		"image": func(b []byte) error { _, err := DecodeImage(b); return err },
	}
	for name, b := range map[string][]byte{"root": vectorRoot().Encode(), "frame": vectorFrame().Encode(), "image": vectorImage().Encode()} {
		dec := decoders[name]
		if err := dec(b); err != nil {
			t.Fatal(err)
		}
		for i := range 8 * len(b) {
			c := bytes.Clone(b)
			c[i/8] ^= 1 << (i % 8)
			if err := dec(c); !errors.Is(err, ErrDamaged) || errors.Is(err, ErrFormat) {
				t.Fatalf("%s with bit %d flipped: %v", name, i, err)
			}
		}
		for i := range b {
			if err := dec(b[:i]); !errors.Is(err, ErrDamaged) {
				t.Fatalf("%s of %d bytes: %v", name, i, err)
			}
		}
		if err := dec(append(bytes.Clone(b), 0)); !errors.Is(err, ErrDamaged) {
			t.Fatalf("%s with a byte more: %v", name, err)
		}
	}
}

// TestSealedNonsense has right checksums and wrong fields.
func TestSealedNonsense(t *testing.T) {
	frame := func(at int, v byte) []byte { b := vectorFrame().Encode(); b[at] = v; return sealed(b) }
	image := func(at int, v byte) []byte { b := vectorImage().Encode(); b[at] = v; return sealed(b) }
	root := func(at int, v byte) []byte { b := vectorRoot().Encode(); b[at] = v; return sealed(b) }
	bomb := vectorImage()
	bomb.Body = bytes.Repeat([]byte{0}, 8<<20)
	z := bomb.Encode()
	z[108] = 1 // 4 GiB
	for _, c := range []struct {
		name string
		b    []byte
		want error
	}{
		{"frame, version", frame(8, 2), ErrFormat},
		{"frame, kind 0", frame(10, 0), ErrFormat},
		{"frame, kind 4", frame(10, 4), ErrFormat},
		{"frame, flags", frame(11, 1), ErrFormat},
		{"frame, padding", frame(76, 1), ErrFormat},
		{"frame, operations too long", frame(12, 11), ErrDamaged},
		{"frame, operations much too long", frame(15, 255), ErrDamaged},
		{"frame, inline too long", frame(87, 255), ErrDamaged},
		{"fence with contents", frame(10, 2), ErrDamaged},
		{"image, version", image(8, 9), ErrFormat},
		{"image, flags", image(10, 2), ErrFormat},
		{"image, compression", image(11, 2), ErrFormat},
		{"image, not compressed", image(11, 1), ErrDamaged},
		{"image, runs", image(87, 255), ErrDamaged},
		{"image, run out of order", image(120, 200), ErrDamaged},
		{"image, body too long", image(112, 200), ErrDamaged},
		{"image, body before compression", image(104, 200), ErrDamaged},
		{"image, bomb", sealed(z), ErrDamaged},
		{"root, version", root(9, 1), ErrFormat},
		{"root, state", root(10, 3), ErrFormat},
		{"root, run", root(11, 0), ErrDamaged},
		{"root, features too long", root(40, 255), ErrDamaged},
		{"root, feature of nobody", root(41, 'x'), ErrFormat},
		{"root, length of features", root(36, 0), ErrDamaged},
	} {
		var err error
		switch string(c.b[:8]) {
		case frameMagic:
			_, err = DecodeFrame(c.b)
		case imageMagic:
			_, err = DecodeImage(c.b)
		default:
			_, err = DecodeRoot(c.b)
		}
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

func FuzzDecodeFrame(f *testing.F) {
	f.Add(vectorFrame().Encode())
	f.Add(vectorFence().Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, b := range variants(b) {
			if fr, err := DecodeFrame(b); err == nil {
				if !bytes.Equal(fr.Encode(), b) {
					t.Errorf("accepted bytes that Encode would not make")
				}
			} else if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrFormat) {
				t.Errorf("error without a kind: %v", err)
			}
		}
	})
}

func FuzzDecodeImage(f *testing.F) {
	f.Add(vectorImage().Encode())
	big := vectorImage()
	big.Body = bytes.Repeat([]byte("body"), 5000)
	f.Add(big.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, b := range variants(b) {
			if im, err := DecodeImage(b); err == nil {
				if back, err := DecodeImage(im.Encode()); err != nil || !reflect.DeepEqual(back, im) {
					t.Errorf("accepted image does not come back: %v", err)
				}
			} else if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrFormat) {
				t.Errorf("error without a kind: %v", err)
			}
		}
	})
}

func FuzzDecodeRoot(f *testing.F) {
	f.Add(vectorRoot().Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, b := range variants(b) {
			if r, err := DecodeRoot(b); err == nil {
				if !bytes.Equal(r.Encode(), b) {
					t.Errorf("accepted bytes that Encode would not make")
				}
			} else if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrFormat) {
				t.Errorf("error without a kind: %v", err)
			}
		}
	})
}

func FuzzParseKeys(f *testing.F) {
	f.Add(FrameKey(70000))
	f.Add(ImageKey(5, 6))
	f.Add(DataKey(1, 2, 3))
	f.Fuzz(func(t *testing.T, key string) {
		if n, ok := ParseFrameKey(key); ok && FrameKey(n) != key {
			t.Error("frame")
		}
		if n, m, ok := ParseImageKey(key); ok && ImageKey(n, m) != key {
			t.Error("image")
		}
		if a, b, c, ok := ParseDataKey(key); ok && DataKey(a, b, c) != key {
			t.Error("data")
		}
	})
}

// variants adds the right checksum, so that the fuzzer gets behind it.
func variants(b []byte) [][]byte {
	if len(b) < 4 {
		return [][]byte{b}
	}
	return [][]byte{b, sealed(bytes.Clone(b))}
}

func TestKeys(t *testing.T) {
	for n, want := range map[uint64]string{
		1: "journal/000000000000/0000000000000001", 65535: "journal/000000000000/000000000000ffff",
		65536: "journal/000000000001/0000000000010000", math.MaxUint64: "journal/ffffffffffff/ffffffffffffffff",
	} {
		if got := FrameKey(n); got != want {
			t.Errorf("frame %d: %s, want %s", n, got, want)
		}
		if back, ok := ParseFrameKey(want); !ok || back != n {
			t.Errorf("parse %s: %d, %v", want, back, ok)
		}
	}
	if got := ImageKey(255, 1); got != "image/00000000000000ff-0000000000000001" {
		t.Error(got)
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := rapid.Uint64().Draw(t, "a"), rapid.Uint64().Draw(t, "b"), rapid.Uint64().Draw(t, "c")
		if x, y, z, ok := ParseDataKey(DataKey(a, b, c)); !ok || x != a || y != b || z != c {
			t.Fatal(DataKey(a, b, c))
		}
		if (FrameKey(a) < FrameKey(b)) != (a < b) || (ImageKey(a, c) < ImageKey(b, c)) != (a < b) {
			t.Fatal("the order of keys is not that of numbers")
		}
	})
	for _, key := range []string{"", "journal/", "journal/000000000000/0000000000000000", "journal/000000000001/0000000000000001",
		"journal/000000000000/00000000000000AB", "journal/000000000000/0000000000000001x", "image/1-2", "data/00/1-2-3",
		"data/" + strings.Repeat("0", 20), "journal/000000000000/+000000000000001", "image/-000000000000001-0000000000000001"} {
		_, f := ParseFrameKey(key)
		_, _, i := ParseImageKey(key)
		_, _, _, d := ParseDataKey(key)
		if f || i || d {
			t.Errorf("%q was taken for a key", key)
		}
	}
	if err := golden("keys", fmt.Sprintf("%s\n%s\n%s\n", DataKey(1, 2, 3), DataKey(5, 0xfedcba9876543210, 1<<33), DataKey(math.MaxUint64, 1, 0))); err != nil {
		t.Error(err)
	}
}

// TestRuns compares the fence runs and what lies between them with sets.
func TestRuns(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := cursor{k: rapid.IntRange(1, 6).Draw(t, "k"), next: 1}
		in := map[uint64]bool{}
		at := uint64(0)
		for range rapid.IntRange(0, 8).Draw(t, "runs") {
			at += rapid.Uint64Range(1, 9).Draw(t, "step")
			c.addRun(at)
			for n := at; n < at+uint64(c.k); n++ {
				in[n] = true
			}
		}
		from, to := rapid.Uint64Range(1, 30).Draw(t, "from"), rapid.Uint64Range(1, 60).Draw(t, "to")
		var want []uint64
		for n := from; n < to; n++ {
			if kept(c.runs, n) != in[n] {
				t.Fatalf("number %d, runs %v: kept %v", n, c.runs, !in[n])
			}
			if !in[n] {
				want = append(want, n)
			}
		}
		if got := slices.Collect(gaps(c.runs, from, to)); !slices.Equal(got, want) {
			t.Fatalf("between %d and %d, runs %v: %v, want %v", from, to, c.runs, got, want)
		}
		for i := range c.runs {
			if i > 0 && c.runs[i].First <= c.runs[i-1].Last+1 {
				t.Fatalf("runs %v touch", c.runs)
			}
		}
	})
}
