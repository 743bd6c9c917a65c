package state

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/forst-go/forst/forstfs/driver"
)

func TestGoldenSavepoint(t *testing.T) {
	b := create(t, roots[0].new(t), small())
	m := must(NewMap(b, MapDescriptor[string, int32]{Name: "m", Key: String, Codec: Int32}))(t)
	tm := must(NewTimers(b, "t"))(t)
	ok(t, m.Put(ctx, Key("k"), "u", 5))
	ok(t, tm.Register(ctx, Key("k").In([]byte("n")), time.UnixMilli(3)))
	var w bytes.Buffer
	equal(t, "records", must(b.Export(ctx, &w))(t), 2)
	head := `{"maxParallelism":16,"keys":[0,16],"states":[{"name":"m","kind":"map","epochs":[{"codec":"int32","version":0,"mapKey":"string"}]},{"name":"t","kind":"timers","epochs":[{"codec":"timer","version":0}]}]}`
	entries := "\x00\x01k\x00\x01u\x05\x01\x80\x00\x00\x05" + "\x01\x01k\x01n\x08\x80\x00\x00\x00\x00\x00\x00\x03\x00"
	want := "FORSTSAV\x01" + blockOf(head) + blockOf(entries) + endOf(2)
	if w.String() != want {
		t.Errorf("got\n%s\nwant\n%s", hex.Dump(w.Bytes()), hex.Dump([]byte(want)))
	}
}

func blockOf(s string) string {
	var f [8]byte
	binary.LittleEndian.PutUint32(f[:], uint32(len(s)))
	binary.LittleEndian.PutUint32(f[4:], crc32.Checksum([]byte(s), crc32.MakeTable(crc32.Castagnoli)))
	return string(f[:]) + s
}

func endOf(n uint64) string {
	c := binary.LittleEndian.AppendUint64(nil, n)
	return string(binary.LittleEndian.AppendUint32(make([]byte, 4, 8), crc32.Checksum(c, crc32.MakeTable(crc32.Castagnoli)))) + string(c)
}

// job is a backend with one state of each type, and what is known about them.
type job struct {
	b *Backend
	v *Value[int64]
	l *List[string]
	m *Map[int64, string]
	r *Reducing[int64]
	t *Timers
}

func declareJob(t testing.TB, b *Backend, ttl TTL) *job {
	t.Helper()
	return &job{
		b: b,
		v: must(NewValue(b, ValueDescriptor[int64]{Name: "v", Codec: Int64, TTL: ttl}))(t),
		l: must(NewList(b, ListDescriptor[string]{Name: "l", Codec: String, TTL: ttl}))(t),
		m: must(NewMap(b, MapDescriptor[int64, string]{Name: "m", Key: Int64, Codec: String, TTL: ttl}))(t),
		r: must(NewReducing(b, ReducingDescriptor[int64]{Name: "r", Codec: Int64, TTL: ttl, Reduce: func(a, b int64) int64 { return a + b }}))(t),
		t: must(NewTimers(b, "t"))(t),
	}
}

func mine(b *Backend, k int64) bool {
	return b.Keys().Contains(KeyGroup(IntKey(k).Key, b.Keys().Max))
}

// fill writes keys 0 to n-1, as far as they are this instance's.
func (j *job) fill(t testing.TB, n int64) {
	t.Helper()
	for k := range n {
		if !mine(j.b, k) {
			continue
		}
		s := IntKey(k)
		ok(t, j.v.Put(ctx, s, k))
		ok(t, j.l.Add(ctx, s, "a", strconv.FormatInt(k, 10)))
		for i := range k % 4 {
			ok(t, j.m.Put(ctx, s, i, "x"))
		}
		ok(t, j.r.Add(ctx, s.In([]byte("w")), k))
		ok(t, j.t.Register(ctx, s, time.UnixMilli(k)))
	}
}

// check finds what fill has written, and returns the number of keys.
func (j *job) check(t testing.TB, n int64) (keys int) {
	t.Helper()
	for k := range n {
		if !mine(j.b, k) {
			continue
		}
		keys++
		s := IntKey(k)
		v, found, err := j.v.Get(ctx, s)
		ok(t, err)
		if v != k || !found {
			t.Fatalf("key %d: value %d %v", k, v, found)
		}
		if l := must(j.l.Get(ctx, s))(t); !slices.Equal(l, []string{"a", strconv.FormatInt(k, 10)}) {
			t.Fatalf("key %d: list %q", k, l)
		}
		entries := int64(0)
		for e, err := range j.m.All(ctx, s) {
			ok(t, err)
			if e.Key != entries || e.Value != "x" {
				t.Fatalf("key %d: entry %v", k, e)
			}
			entries++
		}
		equal(t, fmt.Sprint("entries of ", k), entries, k%4)
		r, _, err := j.r.Get(ctx, s.In([]byte("w")))
		ok(t, err)
		equal(t, fmt.Sprint("sum of ", k), r, k)
	}
	due := must(j.t.Poll(ctx, time.UnixMilli(n), int(n)+1))(t)
	equal(t, "timers", len(due), keys)
	return keys
}

// From two instances with 16 key groups to three with 300, through savepoints.
func TestSavepointsChangeEverything(t *testing.T) {
	for _, r := range roots {
		t.Run(r.name, func(t *testing.T) {
			root := r.new(t)
			const n = 60
			var files [][]byte
			for i := range 2 {
				o := small()
				o.Keys = Instance(16, 2, i)
				j := declareJob(t, create(t, root, o), TTL{})
				j.fill(t, n)
				var w bytes.Buffer
				must(j.b.Export(ctx, &w))(t)
				files = append(files, w.Bytes())
				ok(t, j.b.Close())
			}
			total := 0
			for i := range 3 {
				o := small()
				o.Keys = Instance(300, 3, i)
				b := create(t, root, o)
				must(b.Import(ctx, bytes.NewReader(files[0]), bytes.NewReader(files[1])))(t)
				total += declareJob(t, b, TTL{}).check(t, n)
			}
			equal(t, "keys", total, n)
		})
	}
}

// An export holds one moment, though requests go on.
func TestExportIsOneMoment(t *testing.T) {
	b := create(t, roots[0].new(t), small())
	v := must(NewValue(b, ValueDescriptor[int64]{Name: "v", Codec: Int64}))(t)
	stop := make(chan struct{})
	done := make(chan error)
	go func() { // two keys in different groups, written one after the other
		for i := int64(1); ; i++ {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			if err := errors.Join(v.Put(ctx, IntKey(1), i), v.Put(ctx, IntKey(2), i)); err != nil {
				done <- err
				return
			}
		}
	}()
	for range 30 {
		var w bytes.Buffer
		must(b.Export(ctx, &w))(t)
		b2 := create(t, roots[0].new(t), small())
		must(b2.Import(ctx, &w))(t)
		v2 := must(NewValue(b2, ValueDescriptor[int64]{Name: "v", Codec: Int64}))(t)
		a, _, err := v2.Get(ctx, IntKey(1))
		ok(t, err)
		c, _, err := v2.Get(ctx, IntKey(2))
		ok(t, err)
		if a != c && a != c+1 {
			t.Fatalf("%d and %d are of different moments", a, c)
		}
		ok(t, b2.Close())
	}
	close(stop)
	ok(t, <-done)
}

func TestDamagedSavepoints(t *testing.T) {
	b := create(t, roots[0].new(t), small())
	j := declareJob(t, b, TTL{After: time.Hour})
	j.fill(t, 5)
	var w bytes.Buffer
	must(b.Export(ctx, &w))(t)
	good := w.Bytes()
	read := func(p []byte) error {
		return readSavepoint(bytes.NewReader(p), func(savepointHead) error { return nil }, func(savepointEntry) error { return nil })
	}
	ok(t, read(good))
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 0x10
		if err := read(bad); !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrIncompatible) {
			t.Errorf("byte %d of %d changed: %v", i, len(good), err)
		}
		if err := read(good[:i]); !errors.Is(err, ErrCorrupt) {
			t.Errorf("cut after %d of %d: %v", i, len(good), err)
		}
	}
	broken := errors.New("broken")
	if err := readSavepoint(io.MultiReader(bytes.NewReader(good[:len(good)/2]), failing{broken}), func(savepointHead) error { return nil }, func(savepointEntry) error { return nil }); !errors.Is(err, broken) {
		t.Errorf("the reader's error is lost: %v", err)
	}
	if _, err := b.Import(ctx, bytes.NewReader(good)); err == nil {
		t.Error("imported into declared states")
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func FuzzSavepoint(f *testing.F) {
	f.Add([]byte("FORSTSAV\x01" + blockOf(`{"maxParallelism":16,"keys":[0,16],"states":[{"name":"m","kind":"map","epochs":[{"codec":"c","version":0}]}]}`) +
		blockOf("\x00\x01k\x00\x01u\x05\x01\x80\x00\x00\x05") + endOf(1)))
	f.Fuzz(func(t *testing.T, p []byte) {
		err := readSavepoint(bytes.NewReader(p), func(h savepointHead) error {
			sc := &schema{}
			for _, st := range h.States {
				if _, err := sc.imported(st, uint16(len(sc.States)+1)); err != nil {
					return err
				}
			}
			return nil
		}, func(e savepointEntry) error {
			_, err := renumber(KindList, e.record, []byte{1})
			return err
		})
		if err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrIncompatible) {
			t.Fatal(err)
		}
	})
}

// move takes a backend's state to a new backend.
func move(t testing.TB, b *Backend, root driver.Store) *Backend {
	t.Helper()
	var w bytes.Buffer
	must(b.Export(ctx, &w))(t)
	ok(t, b.Close())
	b2 := create(t, root, small())
	must(b2.Import(ctx, &w))(t)
	return b2
}

func TestSchemaEvolution(t *testing.T) {
	root := roots[0].new(t)
	b := create(t, root, small())
	v1 := must(NewValue(b, ValueDescriptor[int32]{Name: "v", Codec: Int32}))(t)
	l1 := must(NewList(b, ListDescriptor[int32]{Name: "l", Codec: Int32}))(t)
	must(NewMap(b, MapDescriptor[int64, int32]{Name: "m", Key: Int64, Codec: Int32}))(t)
	forgotten := must(NewValue(b, ValueDescriptor[string]{Name: "forgotten", Codec: String}))(t)
	ok(t, v1.Put(ctx, Key("a"), 7))
	ok(t, v1.Put(ctx, Key("b"), 8))
	ok(t, l1.Add(ctx, Key("a"), 1, 2))
	ok(t, forgotten.Put(ctx, Key("a"), "kept"))

	b = move(t, b, root)
	refused := func(why string, err error) {
		t.Helper()
		if !errors.Is(err, ErrIncompatible) {
			t.Errorf("%s: %v", why, err)
		}
	}
	_, err := NewValue(b, ValueDescriptor[int64]{Name: "v", Codec: Int64})
	refused("another codec without Upgrade", err)
	_, err = NewValue(b, ValueDescriptor[int32]{Name: "v", Codec: Int32, Version: 1})
	refused("another version without Upgrade", err)
	_, err = NewList(b, ListDescriptor[int32]{Name: "v", Codec: Int32})
	refused("another kind", err)
	_, err = NewMap(b, MapDescriptor[string, int32]{Name: "m", Key: String, Codec: Int32})
	refused("another key of a map", err)
	upgrade := func(from Schema, old []byte) (int64, error) {
		v, err := Int32.Decode(old)
		return int64(v) * 100, err
	}
	v2 := must(NewValue(b, ValueDescriptor[int64]{Name: "v", Codec: Int64, Version: 1, Upgrade: upgrade}))(t)
	l2 := must(NewList(b, ListDescriptor[int64]{Name: "l", Codec: Int64, Upgrade: upgrade}))(t)
	got, _, err := v2.Get(ctx, Key("a"))
	ok(t, err)
	equal(t, "an upgraded value", got, 700)
	ok(t, v2.Update(ctx, Key("a"), func(old int64, ok bool) (int64, bool) { return old + 1, ok }))
	ok(t, l2.Add(ctx, Key("a"), 5))
	equal(t, "an upgraded list", fmt.Sprint(must(l2.Get(ctx, Key("a")))(t)), "[100 200 5]")

	// Both epochs live on, through one more move, and the forgotten state with them.
	b = move(t, b, root)
	_, err = NewList(b, ListDescriptor[int64]{Name: "l", Codec: Int64})
	refused("older schemas without Upgrade", err)
	v3 := must(NewValue(b, ValueDescriptor[int64]{Name: "v", Codec: Int64, Version: 1, Upgrade: upgrade}))(t)
	got, _, err = v3.Get(ctx, Key("a"))
	ok(t, err)
	equal(t, "rewritten", got, 701)
	got, _, err = v3.Get(ctx, Key("b"))
	ok(t, err)
	equal(t, "never rewritten", got, 800)
	forgotten = must(NewValue(b, ValueDescriptor[string]{Name: "forgotten", Codec: String}))(t)
	s, _, err := forgotten.Get(ctx, Key("a"))
	ok(t, err)
	equal(t, "undeclared meanwhile", s, "kept")
}
