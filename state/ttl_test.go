package state

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable/block"

	"github.com/forst-go/forst/forstfs/driver"
)

// find counts the objects of a store that hold the bytes.
func find(t testing.TB, s driver.Store, what string) (n int) {
	t.Helper()
	for _, i := range must(driver.ListAll(ctx, s, "", ""))(t) {
		p, err := driver.ReadAll(ctx, s, i.Key)
		if driver.KindOf(err) == driver.KindNotExist {
			continue // deleted meanwhile
		}
		ok(t, err)
		if bytes.Contains(p, []byte(what)) {
			n++
		}
	}
	return n
}

// plain is small without compression, so that the bytes on the store can be looked at.
func plain() *Options {
	o := small()
	engine := o.Engine
	o.Engine = func(p *pebble.Options) {
		engine(p)
		p.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.UniformDBCompressionSettings(block.NoCompression) })
	}
	return o
}

// Expired records leave the store: their bytes are in no object any more, those of living ones are.
func TestExpiredBytesLeaveTheStore(t *testing.T) {
	for _, r := range roots {
		t.Run(r.name, func(t *testing.T) {
			root, clk := r.new(t), newClock()
			o := plain()
			o.Clock = clk.now
			b := create(t, root, o)
			ttl := TTL{After: time.Minute}
			v := must(NewValue(b, ValueDescriptor[string]{Name: "v", Codec: String, TTL: ttl}))(t)
			l := must(NewList(b, ListDescriptor[string]{Name: "l", Codec: String, TTL: ttl}))(t)
			m := must(NewMap(b, MapDescriptor[int64, string]{Name: "m", Key: Int64, Codec: String, TTL: ttl}))(t)
			forever := must(NewValue(b, ValueDescriptor[string]{Name: "forever", Codec: String}))(t)
			write := func(word string, first int64) { // values of keys of their own, lists and maps of the same keys
				for k := range int64(50) {
					ok(t, v.Put(ctx, IntKey(first+k), fmt.Sprintf("%s-value-%d", word, k)))
					ok(t, l.Add(ctx, IntKey(k), fmt.Sprintf("%s-element-%d", word, k)))
					ok(t, m.Put(ctx, IntKey(k), int64(len(word)), fmt.Sprintf("%s-entry-%d", word, k)))
				}
			}
			write("mortal", 0)
			ok(t, forever.Put(ctx, IntKey(1), "immortal"))
			ok(t, b.shards[0].db.Flush())
			for _, w := range []string{"mortal-value-7", "mortal-element-7", "mortal-entry-7", "immortal"} {
				if find(t, root, w) == 0 {
					t.Fatalf("%q is not on the store: the test proves nothing", w)
				}
			}
			clk.advance(40 * time.Second)
			write("young", 1000)
			clk.advance(20 * time.Second)
			ok(t, b.Sweep(ctx))
			ok(t, b.shards[0].db.Flush())
			// Old tables are deleted in the background, and the volume's objects behind them.
			until(t, "the bytes of what has expired are gone", func() bool {
				return find(t, root, "mortal-value")+find(t, root, "mortal-element")+find(t, root, "mortal-entry") == 0
			})
			for _, w := range []string{"immortal", "young-value-7", "young-element-7", "young-entry-7"} {
				if find(t, root, w) == 0 {
					t.Errorf("%q has left the store", w)
				}
			}
			got, _, err := v.Get(ctx, IntKey(1007))
			ok(t, err)
			equal(t, "value", got, "young-value-7")
			equal(t, "list", fmt.Sprint(must(l.Get(ctx, IntKey(7)))(t)), "[young-element-7]")
			if s := b.Metrics().Sweep; s.Removed != 150 || s.Compacted == 0 {
				t.Errorf("%v; want 50 values, 50 elements and 50 entries removed", s)
			}
		})
	}
}

// The background does the same in steps, and a record that is renewed between the look and the removal stays.
func TestBackgroundSweep(t *testing.T) {
	clk := newClock()
	o := small()
	o.Clock, o.SweepEvery = clk.now, time.Millisecond
	swept := make(chan SweepStats, 1)
	o.Listener = &EventListener{Swept: func(s SweepStats) {
		select {
		case swept <- s:
		default:
		}
	}}
	b := create(t, roots[0].new(t), o)
	v := must(NewValue(b, ValueDescriptor[int64]{Name: "v", Codec: Int64, TTL: TTL{After: time.Second}}))(t)
	for k := range int64(100) {
		ok(t, v.Put(ctx, IntKey(k), k))
	}
	clk.advance(time.Second)
	until(t, "all are removed", func() bool { return b.Metrics().Sweep.Removed == 100 })
	<-swept
	for k := range int64(200) { // records that are written again all the time
		ok(t, v.Put(ctx, IntKey(k%5), k))
		clk.advance(990 * time.Millisecond)
		got, found, err := v.Get(ctx, IntKey(k%5))
		ok(t, err)
		if !found || got != k {
			t.Fatalf("round %d: a living record is gone (%d %v)", k, got, found)
		}
	}
}

// The sweep asks again in the key's order: a record that was written again since it was looked at stays.
func TestSweepAsksAgain(t *testing.T) {
	clk := newClock()
	o := small()
	o.Clock = clk.now
	b := create(t, roots[0].new(t), o)
	v := must(NewValue(b, ValueDescriptor[int64]{Name: "v", Codec: Int64, TTL: TTL{After: time.Second}}))(t)
	ok(t, v.Put(ctx, Key("k"), 1))
	_, key, err := v.k.at(ctx, Key("k"))
	ok(t, err)
	remove := func() int {
		return must(must(b.sweep.remove(ctx, v.k.keyed, b.shards[0], key))(t).Wait(ctx))(t)
	}
	equal(t, "a living record", remove(), 0)
	clk.advance(time.Second)
	ok(t, v.Put(ctx, Key("k"), 2)) // between the look and the removal
	equal(t, "written again", remove(), 0)
	got, _, err := v.Get(ctx, Key("k"))
	ok(t, err)
	equal(t, "value", got, 2)
	clk.advance(time.Second)
	equal(t, "expired", remove(), 1)
	equal(t, "gone", remove(), 0)
}
