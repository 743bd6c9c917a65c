package state

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"testing"
	"time"
)

var ctx = context.Background()

func each(t *testing.T, o func() *Options, f func(t *testing.T, b *Backend)) {
	for _, r := range roots {
		t.Run(r.name, func(t *testing.T) { f(t, create(t, r.new(t), o())) })
	}
}

func TestValue(t *testing.T) {
	each(t, small, func(t *testing.T, b *Backend) {
		v := must(NewValue(b, ValueDescriptor[string]{Name: "v", Codec: String}))(t)
		_, found, err := v.Get(ctx, Key("a"))
		ok(t, err)
		equal(t, "found before", found, false)
		ok(t, v.Put(ctx, Key("a"), ""))
		ok(t, v.Put(ctx, Key("a").In([]byte("ns")), "other"))
		got, found, err := v.Get(ctx, Key("a"))
		ok(t, err)
		equal(t, "an empty string is a value", fmt.Sprintf("%q %v", got, found), `"" true`)
		got, _, err = v.Get(ctx, Key("a").In([]byte("ns")))
		ok(t, err)
		equal(t, "namespaces are apart", got, "other")
		ok(t, v.Update(ctx, Key("a"), func(old string, ok bool) (string, bool) { return old + "x", ok }))
		got, _, err = v.Get(ctx, Key("a"))
		ok(t, err)
		equal(t, "updated", got, "x")
		ok(t, v.Update(ctx, Key("a"), func(string, bool) (string, bool) { return "", false }))
		_, found, err = v.Get(ctx, Key("a"))
		ok(t, err)
		equal(t, "removed by Update", found, false)
		ok(t, v.Clear(ctx, Key("a").In([]byte("ns"))))
		_, found, err = v.Get(ctx, Key("a").In([]byte("ns")))
		ok(t, err)
		equal(t, "cleared", found, false)
	})
}

func TestList(t *testing.T) {
	each(t, small, func(t *testing.T, b *Backend) {
		l := must(NewList(b, ListDescriptor[string]{Name: "l", Codec: String}))(t)
		expect := func(what string, sc Scope, want ...string) {
			t.Helper()
			if got := must(l.Get(ctx, sc))(t); !slices.Equal(got, want) {
				t.Fatalf("%s: %q, want %q", what, got, want)
			}
		}
		k := Key("k")
		expect("nothing", k)
		ok(t, l.Add(ctx, k))
		expect("nothing was added", k)
		ok(t, l.Add(ctx, k, "a", ""))
		ok(t, l.Add(ctx, k, "b"))
		expect("added", k, "a", "", "b")
		ok(t, l.Add(ctx, k.In([]byte("1")), "c"))
		ok(t, l.Add(ctx, k.In([]byte("2")), "d"))
		ok(t, l.MergeNamespaces(ctx, k.Key, nil, []byte("1"), []byte("2"), []byte("3"), []byte("1"), nil))
		expect("merged", k, "a", "", "b", "c", "d")
		expect("merged away", k.In([]byte("1")))
		ok(t, l.Set(ctx, k, "z"))
		expect("set", k, "z")
		ok(t, l.Set(ctx, k))
		expect("set to nothing", k)
		ok(t, l.Add(ctx, k, "y"))
		ok(t, l.Clear(ctx, k))
		expect("cleared", k)
	})
}

func TestMap(t *testing.T) {
	each(t, small, func(t *testing.T, b *Backend) {
		m := must(NewMap(b, MapDescriptor[int64, string]{Name: "m", Key: Int64, Codec: String}))(t)
		other := must(NewMap(b, MapDescriptor[int64, string]{Name: "m2", Key: Int64, Codec: String}))(t)
		k := Key("k")
		equal(t, "empty before", must(m.IsEmpty(ctx, k))(t), true)
		var es []Entry[int64, string]
		for i := range int64(20) {
			es = append(es, Entry[int64, string]{i - 10, fmt.Sprint(i)})
		}
		ok(t, m.PutAll(ctx, k, es...))
		ok(t, m.Put(ctx, k.In([]byte{0}), 1, "ns"))
		ok(t, other.Put(ctx, k, 1, "other"))
		ok(t, m.Put(ctx, Key("k\x00"), 1, "neighbour"))
		var got []Entry[int64, string]
		for e, err := range m.All(ctx, k) {
			ok(t, err)
			got = append(got, e)
		}
		if !slices.Equal(got, es) {
			t.Fatalf("iterated %v, want %v", got, es)
		}
		for range m.All(ctx, k) {
			break // the iterator may be left
		}
		equal(t, "contains", must(m.Contains(ctx, k, -10))(t), true)
		equal(t, "contains no more", must(m.Contains(ctx, k, 10))(t), false)
		all := must(m.GetAll(ctx, k, 5, 100, -10, 5))(t)
		equal(t, "get all", fmt.Sprint(all), "[{15 true} { false} {0 true} {15 true}]")
		ok(t, m.Remove(ctx, k, -10, 100))
		_, found, err := m.Get(ctx, k, -10)
		ok(t, err)
		equal(t, "removed", found, false)
		ok(t, m.Update(ctx, k, 5, func(old string, ok bool) (string, bool) { return old + "!", ok }))
		v, _, err := m.Get(ctx, k, 5)
		ok(t, err)
		equal(t, "updated", v, "15!")
		ok(t, m.Clear(ctx, k))
		equal(t, "empty after", must(m.IsEmpty(ctx, k))(t), true)
		equal(t, "other namespace", must(m.IsEmpty(ctx, k.In([]byte{0})))(t), false)
		equal(t, "other state", must(other.IsEmpty(ctx, k))(t), false)
		equal(t, "next key", must(m.IsEmpty(ctx, Key("k\x00")))(t), false)
	})
}

func TestReducingAndAggregating(t *testing.T) {
	each(t, small, func(t *testing.T, b *Backend) {
		r := must(NewReducing(b, ReducingDescriptor[int64]{Name: "sum", Codec: Int64, Reduce: func(a, b int64) int64 { return a + b }}))(t)
		type mean struct{ Sum, N float64 }
		a := must(NewAggregating(b, AggregatingDescriptor[float64, mean, float64]{Name: "mean", Codec: JSON[mean](), Aggregate: Aggregate[float64, mean, float64]{
			Create: func() mean { return mean{} },
			Add:    func(m mean, v float64) mean { return mean{m.Sum + v, m.N + 1} },
			Result: func(m mean) float64 { return m.Sum / m.N },
			Merge:  func(a, b mean) mean { return mean{a.Sum + b.Sum, a.N + b.N} },
		}}))(t)
		k := IntKey(7)
		for i := range int64(10) {
			ok(t, r.Add(ctx, k, i))
			ok(t, a.Add(ctx, k, float64(i)))
			ok(t, r.Add(ctx, k.In([]byte("w")), 100))
			ok(t, a.Add(ctx, k.In([]byte("w")), 100))
		}
		sum, _, err := r.Get(ctx, k)
		ok(t, err)
		equal(t, "sum", sum, 45)
		avg, _, err := a.Get(ctx, k)
		ok(t, err)
		equal(t, "mean", avg, 4.5)
		ok(t, r.MergeNamespaces(ctx, k.Key, []byte("new"), nil, []byte("w"), []byte("none")))
		ok(t, a.MergeNamespaces(ctx, k.Key, nil, []byte("w")))
		sum, _, err = r.Get(ctx, k.In([]byte("new")))
		ok(t, err)
		equal(t, "merged sum", sum, 1045)
		_, found, err := r.Get(ctx, k)
		ok(t, err)
		equal(t, "merged away", found, false)
		avg, _, err = a.Get(ctx, k)
		ok(t, err)
		equal(t, "merged mean", avg, 52.25)
		ok(t, r.Clear(ctx, k.In([]byte("new"))))
		ok(t, a.Clear(ctx, k))
		_, found, err = a.Get(ctx, k)
		ok(t, err)
		equal(t, "cleared", found, false)
	})
}

func TestTTL(t *testing.T) {
	clk := newClock()
	o := func() *Options { o := small(); o.Clock = clk.now; return o }
	each(t, o, func(t *testing.T, b *Backend) {
		fixed := TTL{After: 100 * time.Millisecond}
		v := must(NewValue(b, ValueDescriptor[int64]{Name: "v", Codec: Int64, TTL: fixed}))(t)
		rv := must(NewValue(b, ValueDescriptor[int64]{Name: "rv", Codec: Int64, TTL: TTL{100 * time.Millisecond, true}}))(t)
		l := must(NewList(b, ListDescriptor[int64]{Name: "l", Codec: Int64, TTL: fixed}))(t)
		m := must(NewMap(b, MapDescriptor[int64, int64]{Name: "m", Key: Int64, Codec: Int64, TTL: fixed}))(t)
		r := must(NewReducing(b, ReducingDescriptor[int64]{Name: "r", Codec: Int64, TTL: fixed, Reduce: func(a, b int64) int64 { return a + b }}))(t)
		k := Key("k")
		ok(t, v.Put(ctx, k, 1))
		ok(t, rv.Put(ctx, k, 1))
		ok(t, l.Add(ctx, k, 1))
		ok(t, m.Put(ctx, k, 1, 1))
		ok(t, r.Add(ctx, k, 1))
		clk.advance(60 * time.Millisecond)
		ok(t, l.Add(ctx, k, 2))
		ok(t, m.Put(ctx, k, 2, 2))
		found := func(_ int64, ok bool, err error) bool {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
			return ok
		}
		equal(t, "value at 60 ms", found(v.Get(ctx, k)), true)
		equal(t, "renewed value at 60 ms", found(rv.Get(ctx, k)), true)
		clk.advance(40 * time.Millisecond) // 100 ms: the moment of its end counts
		equal(t, "value at 100 ms", found(v.Get(ctx, k)), false)
		equal(t, "renewed value at 100 ms", found(rv.Get(ctx, k)), true)
		equal(t, "list", fmt.Sprint(must(l.Get(ctx, k))(t)), "[2]")
		equal(t, "entry", must(m.Contains(ctx, k, 1))(t), false)
		equal(t, "younger entry", must(m.Contains(ctx, k, 2))(t), true)
		ok(t, r.Add(ctx, k, 5))
		sum, _, err := r.Get(ctx, k)
		ok(t, err)
		equal(t, "a sum begins again", sum, 5)
		clk.advance(60 * time.Millisecond)
		equal(t, "empty map", must(m.IsEmpty(ctx, k))(t), true)
		for range m.All(ctx, k) {
			t.Fatal("an expired entry was iterated")
		}
		equal(t, "renewed value at 160 ms", found(rv.Get(ctx, k)), true)
		clk.advance(100 * time.Millisecond)
		equal(t, "renewed value at 260 ms", found(rv.Get(ctx, k)), false)
		ok(t, b.Sweep(ctx))
		for _, s := range b.shards {
			p := &scan{lower: []byte{0}, upper: []byte{metaKey}, limit: 100}
			ok(t, s.page(p))
			equal(t, "records after the sweep", len(p.keys), 0)
		}
	})
}

func TestOtherInstancesKeys(t *testing.T) {
	o := small()
	o.Keys = Instance(16, 4, 1)
	b := create(t, roots[0].new(t), o)
	v := must(NewValue(b, ValueDescriptor[int64]{Name: "v", Codec: Int64}))(t)
	mine := 0
	for i := range int64(100) {
		err := v.Put(ctx, IntKey(i), i)
		if o.Keys.Contains(KeyGroup(IntKey(i).Key, 16)) {
			ok(t, err)
			mine++
		} else if !errors.Is(err, ErrNotMine) {
			t.Fatalf("key %d: %v", i, err)
		}
	}
	if mine == 0 || mine == 100 {
		t.Fatalf("%d of 100 keys", mine)
	}
}

func TestDeclarations(t *testing.T) {
	b := create(t, roots[0].new(t), small())
	must(NewValue(b, ValueDescriptor[int64]{Name: "v", Codec: Int64}))(t)
	if _, err := NewValue(b, ValueDescriptor[int64]{Name: "v", Codec: Int64}); err == nil {
		t.Error("declared twice")
	}
	if _, err := NewValue(b, ValueDescriptor[int64]{Name: "", Codec: Int64}); err == nil {
		t.Error("no name")
	}
	ok(t, b.Close())
	if _, err := NewValue(b, ValueDescriptor[int64]{Name: "w", Codec: Int64}); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("declared after Close: %v", err)
	}
}
