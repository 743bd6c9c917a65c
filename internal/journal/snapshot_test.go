package journal

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"testing"

	"pgregory.net/rapid"
)

func vectorSnapshot() *SnapshotBody {
	return &SnapshotBody{Volume: vectorVolume, Epoch: 7, Nonce: 0x1122334455667788, Num: 9, Frame: 0x10005, Created: 1700000000123456789,
		Name: "daily", Dir: "/db", Meta: []byte("user"), State: []byte("names"), Inline: []byte("inline bytes")}
}

func vectorRequest() *Request {
	return &Request{Kind: RequestRemove, Volume: vectorVolume, Created: 1700000000123456789, Epoch: 7, Nonce: 0x1122334455667788, Num: 9}
}

func snapshotBytes(b *SnapshotBody) []byte {
	d, _ := b.Encode()
	return d
}

// TestSnapshotVectors fixes the bytes of docs/format.md.
func TestSnapshotVectors(t *testing.T) {
	for name, b := range map[string][]byte{"snapshot": snapshotBytes(vectorSnapshot()), "request": vectorRequest().Encode()} {
		if err := golden("vector-"+name, hex.Dump(b)); err != nil {
			t.Error(err)
		}
	}
	b := vectorSnapshot()
	if d := snapshotBytes(b); string(d[SnapshotInline:b.Head()]) != "inline bytes" {
		t.Error("the inline bytes are not between SnapshotInline and Head")
	}
	if got := b.Key(); got != "snapshot/00000007-1122334455667788-00000009" {
		t.Error(got)
	}
	if got := RequestKey(10); got != "request/000000000000000a" {
		t.Error(got)
	}
}

func TestSnapshotRoundTrips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		some := func(name string) []byte { return append([]byte{}, rapid.SliceOf(rapid.Byte()).Draw(t, name)...) }
		b := &SnapshotBody{Volume: vectorVolume, Epoch: rapid.Uint64().Draw(t, "epoch"), Nonce: rapid.Uint64().Draw(t, "nonce"), Num: rapid.Uint64().Draw(t, "num"),
			Frame: rapid.Uint64().Draw(t, "frame"), Created: rapid.Int64Min(0).Draw(t, "created"), Name: string(some("name")), Dir: string(some("dir")),
			Meta: some("meta"), Inline: some("inline"), State: bytes.Repeat(some("state"), rapid.IntRange(1, 2000).Draw(t, "times"))}
		d, crc := b.Encode()
		got, back, err := DecodeSnapshotBody(d)
		if err != nil || back != crc {
			t.Fatalf("%v, checksum %x, want %x", err, back, crc)
		}
		got.State, b.State = append([]byte{}, got.State...), append([]byte{}, b.State...)
		if !reflect.DeepEqual(got, b) {
			t.Fatalf("%+v came back as %+v", b, got)
		}
		if e, n, c, ok := ParseSnapshotKey(b.Key()); !ok || e != b.Epoch || n != b.Nonce || c != b.Num {
			t.Fatalf("%s is parsed as %d %d %d, %v", b.Key(), e, n, c, ok)
		}
		r := &Request{Kind: RequestKind(1 + rapid.IntRange(0, 1).Draw(t, "kind")), Volume: vectorVolume, Created: b.Created, Epoch: b.Epoch, Nonce: b.Nonce, Num: b.Num}
		if back, err := DecodeRequest(r.Encode()); err != nil || *back != *r {
			t.Fatalf("%+v came back as %+v, %v", r, back, err)
		}
	})
	for _, key := range []string{"snapshot/", "snapshot/1-2-3", "snapshot/00000007-1122334455667788-00000009x", "data/00/00000007-1122334455667788-00000009"} {
		if _, _, _, ok := ParseSnapshotKey(key); ok {
			t.Errorf("%q was taken for a key", key)
		}
	}
}

// TestDamagedSnapshots flips each bit and cuts at each length.
func TestDamagedSnapshots(t *testing.T) {
	for name, c := range map[string]struct {
		b   []byte
		dec func([]byte) error
	}{
		"snapshot": {snapshotBytes(vectorSnapshot()), func(b []byte) error { _, _, err := DecodeSnapshotBody(b); return err }},
		"request":  {vectorRequest().Encode(), func(b []byte) error { _, err := DecodeRequest(b); return err }},
	} {
		if err := c.dec(c.b); err != nil {
			t.Fatal(err)
		}
		for i := range 8 * len(c.b) {
			d := bytes.Clone(c.b)
			d[i/8] ^= 1 << (i % 8)
			if err := c.dec(d); !errors.Is(err, ErrDamaged) || errors.Is(err, ErrFormat) {
				t.Fatalf("%s with bit %d flipped: %v", name, i, err)
			}
		}
		for i := range c.b {
			if err := c.dec(c.b[:i]); !errors.Is(err, ErrDamaged) {
				t.Fatalf("%s of %d bytes: %v", name, i, err)
			}
		}
	}
	snapshot := func(at int, v byte) []byte { b := snapshotBytes(vectorSnapshot()); b[at] = v; return sealed(b) }
	request := func(at int, v byte) []byte { b := vectorRequest().Encode(); b[at] = v; return sealed(b) }
	for _, c := range []struct {
		name string
		b    []byte
		want error
	}{
		{"version", snapshot(8, 2), ErrFormat},
		{"flags", snapshot(10, 1), ErrFormat},
		{"compression", snapshot(11, 2), ErrFormat},
		{"not compressed", snapshot(11, 1), ErrDamaged},
		{"padding", snapshot(12, 1), ErrFormat},
		{"created before 1970", snapshot(71, 255), ErrDamaged},
		{"inline too long", snapshot(79, 255), ErrDamaged},
		{"about too long", snapshot(87, 255), ErrDamaged},
		{"names before compression", snapshot(88, 200), ErrDamaged},
		{"names too long", snapshot(96, 200), ErrDamaged},
		{"name too long", snapshot(SnapshotInline+12, 200), ErrDamaged},
		{"name too short", snapshot(SnapshotInline+12, 0), ErrDamaged},
		{"request, version", request(8, 2), ErrFormat},
		{"request, kind", request(10, 3), ErrFormat},
		{"request, created before 1970", request(35, 255), ErrDamaged},
		{"request, longer", sealed(append(vectorRequest().Encode(), 0)), ErrDamaged},
	} {
		_, _, err := DecodeSnapshotBody(c.b)
		if string(c.b[:8]) == requestMagic {
			_, err = DecodeRequest(c.b)
		}
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

func FuzzDecodeSnapshot(f *testing.F) {
	f.Add(snapshotBytes(vectorSnapshot()))
	big := vectorSnapshot()
	big.State = bytes.Repeat([]byte("body"), 5000)
	f.Add(snapshotBytes(big))
	f.Add(vectorRequest().Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, b := range variants(b) {
			if s, _, err := DecodeSnapshotBody(b); err == nil {
				if back, _, err := DecodeSnapshotBody(snapshotBytes(s)); err != nil || !reflect.DeepEqual(back, s) {
					t.Errorf("accepted snapshot does not come back: %v", err)
				}
			} else if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrFormat) {
				t.Errorf("error without a kind: %v", err)
			}
			if r, err := DecodeRequest(b); err == nil && !bytes.Equal(r.Encode(), b) {
				t.Error("accepted bytes that Encode would not make")
			}
		}
	})
}
