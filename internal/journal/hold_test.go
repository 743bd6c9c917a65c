package journal

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func vectorHold() *Hold {
	return &Hold{ID: HoldID{0xaa, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, Lender: vectorVolume, Clone: VolumeID{0xc1}, Copies: true,
		Snapshot: "00000007-1122334455667788-00000009", Created: 1700000000123456789, At: "../prod", From: "../clone"}
}

// TestHoldVectors fixes the bytes of docs/format.md.
func TestHoldVectors(t *testing.T) {
	if err := golden("vector-hold", hex.Dump(vectorHold().Encode())); err != nil {
		t.Error(err)
	}
	h := vectorHold()
	for got, want := range map[string]string{
		h.HeldKey():   "hold/00000007-1122334455667788-00000009/aa0102030405060708090a0b0c0d0e0f",
		h.BorrowKey(): "borrow/aa0102030405060708090a0b0c0d0e0f",
	} {
		if got != want {
			t.Errorf("key %s, want %s", got, want)
		}
	}
}

func TestHoldRoundTrips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.StringMatching("[0-9a-f]{8}-[0-9a-f]{16}-[0-9a-f]{8}")
		place := rapid.StringN(0, 100, -1)
		h := &Hold{Lender: VolumeID{1}, Clone: VolumeID{2}, Snapshot: id.Draw(t, "snapshot"), Copies: rapid.Bool().Draw(t, "copies"),
			Created: rapid.Int64Min(0).Draw(t, "created"), At: place.Draw(t, "at"), From: place.Draw(t, "from")}
		copy(h.ID[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
		got, err := DecodeHold(h.Encode())
		if err != nil || !reflect.DeepEqual(got, h) {
			t.Fatalf("%+v came back as %+v, %v", h, got, err)
		}
		if s, id, ok := ParseHeldKey(h.HeldKey()); !ok || id != h.ID || s != h.Snapshot {
			t.Fatalf("%s is parsed as %s %s %v", h.HeldKey(), s, id, ok)
		}
		if id, ok := ParseBorrowKey(h.BorrowKey()); !ok || id != h.ID {
			t.Fatalf("%s is parsed as %s %v", h.BorrowKey(), id, ok)
		}
	})
	for _, key := range []string{"hold/", "hold/1-2-3", "hold//aa0102030405060708090a0b0c0d0e0f", "hold/x/aa0102030405060708090a0b0c0d0e0f", "hold/1-2/AA0102030405060708090a0b0c0d0e0f",
		"hold/1-2/aa01", "borrow/1", "borrow/aa0102030405060708090a0b0c0d0e0f0", "hold/1-2/aa0102030405060708090a0b0c0d0e0f/x"} {
		if _, _, ok := ParseHeldKey(key); ok {
			t.Errorf("%q was taken for the key of a hold", key)
		}
		if _, ok := ParseBorrowKey(key); ok {
			t.Errorf("%q was taken for the key of a hold in a clone", key)
		}
	}
}

// TestDamagedHolds flips each bit, cuts at each length, and seals what no writer writes.
func TestDamagedHolds(t *testing.T) {
	decode := map[string]func([]byte) error{
		"hold": func(b []byte) error { _, err := DecodeHold(b); return err },
	}
	for name, good := range map[string][]byte{"hold": vectorHold().Encode()} {
		for i := range good {
			for bit := range 8 {
				b := bytes.Clone(good)
				b[i] ^= 1 << bit
				if err := decode[name](b); !errors.Is(err, ErrDamaged) {
					t.Fatalf("%s with bit %d of byte %d flipped: %v", name, bit, i, err)
				}
			}
			if err := decode[name](good[:i]); !errors.Is(err, ErrDamaged) {
				t.Fatalf("%s cut after %d bytes: %v", name, i, err)
			}
		}
		for at, want := range map[int]error{8: ErrFormat, 10: ErrFormat, 11: ErrFormat} {
			b := bytes.Clone(good)
			b[at] |= 0x80
			if err := decode[name](sealed(b)); !errors.Is(err, want) {
				t.Errorf("%s with another byte %d: %v", name, at, err)
			}
		}
	}
	h := vectorHold()
	for what, spoil := range map[string]func(){
		"snapshot": func() { h.Snapshot = "../x" }, "empty snapshot": func() { h.Snapshot = "" },
		"lender": func() { h.Lender = VolumeID{} }, "place": func() { h.At = strings.Repeat("x", MaxLocation+1) }, "time": func() { h.Created = -1 },
	} {
		h = vectorHold()
		spoil()
		if _, err := DecodeHold(h.Encode()); !errors.Is(err, ErrDamaged) {
			t.Errorf("a hold with a wrong %s: %v", what, err)
		}
	}
}

func FuzzDecodeHold(f *testing.F) {
	f.Add(vectorHold().Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := DecodeHold(b); err == nil && !bytes.Equal(h.Encode(), b) {
			t.Errorf("%x is %+v, which is %x", b, h, h.Encode())
		}
		if _, err := DecodeHold(b); err != nil && !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrFormat) {
			t.Errorf("%x: %v", b, err)
		}
	})
}
