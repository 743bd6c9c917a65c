package main

import (
	"bytes"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestYCSBRecords(t *testing.T) {
	y := ycsb{n: 1000, seed: 7}
	keys := map[string]bool{}
	for i := range y.n {
		k := string(y.Key(nil, i))
		if keys[k] || len(k) != ycsbKey || !strings.HasPrefix(k, "user") {
			t.Fatalf("key %q of record %d", k, i)
		}
		keys[k] = true
		v, err := y.Value([]byte("before"), i)
		if err != nil || len(v) != 6+ycsbFields*ycsbField || string(v[:6]) != "before" {
			t.Fatalf("value of record %d: %d bytes, %v", i, len(v), err)
		}
		if again, _ := y.Value(nil, i); !bytes.Equal(v[6:], again) {
			t.Fatalf("record %d has two values", i)
		}
	}
	a, _ := y.Value(nil, 1)
	b, _ := y.Value(nil, 2)
	c, _ := ycsb{n: 1000, seed: 8}.Value(nil, 1)
	if bytes.Equal(a, b) || bytes.Equal(a, c) {
		t.Error("different records have equal values")
	}
}

func TestLines(t *testing.T) {
	long := strings.Repeat("x", 3<<20) // longer than the read buffer
	for _, c := range []struct {
		name, text string
		most       int64
		want       []string
	}{
		{"ends with a newline", "a\nbb\n", 0, []string{"a\n", "bb\n"}},
		{"ends without", "a\nbb", 0, []string{"a\n", "bb"}},
		{"empty lines", "\n\nx\n", 0, []string{"\n", "\n", "x\n"}},
		{"a long line", "a\n" + long + "\nb", 0, []string{"a\n", long + "\n", "b"}},
		{"cut", "a\nb\nc\n", 2, []string{"a\n", "b\n"}},
		{"cut behind the end", "a\nb\nc\n", 9, []string{"a\n", "b\n", "c\n"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			name := filepath.Join(t.TempDir(), "in")
			write(t, name, c.text)
			d, err := openData(name, c.most, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			if d.Len() != int64(len(c.want)) {
				t.Fatalf("%d lines, want %d", d.Len(), len(c.want))
			}
			for i, want := range c.want {
				v, err := d.Value(nil, int64(i))
				if err != nil || string(v) != want {
					t.Errorf("line %d: %d bytes, %v; want %d", i, len(v), err, len(want))
				}
			}
			if bytes.Equal(d.Key(nil, 0), d.Key(nil, 1)) {
				t.Error("two lines have one key")
			}
		})
	}
}

func TestLinesRefused(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty")
	write(t, empty, "")
	long := filepath.Join(dir, "long")
	write(t, long, strings.Repeat("x", maxLine+1))
	for name, want := range map[string]string{
		filepath.Join(dir, "none"): "no such file",
		dir:                        "not a regular file",
		empty:                      "the file is empty",
		long:                       "line 1 is longer than",
	} {
		if _, err := openData(name, 0, 0); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "--input") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestLinesNoticeChange: a file that changes under the demo is an error of its own, never a lost record.
func TestLinesNoticeChange(t *testing.T) {
	name := filepath.Join(t.TempDir(), "in")
	write(t, name, "one\ntwo\n")
	d, err := openLines(name, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Unchanged(); err != nil {
		t.Fatal(err)
	}
	write(t, name, "one\n")
	if d.Unchanged() == nil {
		t.Error("the change was not noticed")
	}
	if _, err := d.Value(nil, 1); err == nil {
		t.Error("a line that is gone was read")
	}
}

func TestMessages(t *testing.T) {
	in := []message{
		{Kind: msgOpen},
		{Kind: msgAck, Writer: math.MaxUint32, Seq: math.MaxInt64, Use: usage{1, 2, 3}},
		{Kind: msgRate, Use: usage{math.MaxInt64, 0, 1 << 40}},
		{Kind: msgDone},
	}
	var wire []byte
	for _, m := range in {
		b := m.encode()
		if len(b) != messageSize {
			t.Fatalf("%d bytes", len(b))
		}
		wire = append(wire, b...)
	}
	r := bytes.NewReader(wire)
	for _, want := range in {
		if got, err := readMessage(r); err != nil || got != want {
			t.Fatalf("%+v, %v; want %+v", got, err, want)
		}
	}
	if _, err := readMessage(r); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
	if _, err := readMessage(bytes.NewReader(wire[:messageSize-1])); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("half a message: %v", err)
	}
	wire[0] = 'x'
	if _, err := readMessage(bytes.NewReader(wire)); err == nil {
		t.Error("an unknown kind was taken")
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
