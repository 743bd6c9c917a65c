package state

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/forst-go/forst/forstfs/driver"
)

func TestRetention(t *testing.T) {
	for _, r := range roots {
		t.Run(r.name, func(t *testing.T) {
			root := r.new(t)
			const n = 30
			a := declareJob(t, create(t, root, instance(0, 1, "a")), TTL{})
			a.fill(t, n)
			for id := range uint64(3) {
				snapshot(t, a.b, id, "")
			}
			ok(t, a.b.Subsume(ctx, 2))
			all := must(Checkpoints(ctx, root))(t)
			equal(t, "checkpoints after Subsume", fmt.Sprint(len(all), all[0].ID), "1 2")
			equal(t, "snapshots of the volume", len(must(a.b.shards[0].vol.Snapshots(ctx))(t)), 1)
			ok(t, a.b.Close())

			b := restore(t, root, 2, instance(0, 1, "b"))
			snapshot(t, b, 3, "")
			ok(t, RemoveCheckpoint(ctx, root, 2, "a"))
			if err := RemoveCheckpoint(ctx, root, 2, "a"); !errors.Is(err, ErrNoCheckpoint) {
				t.Fatalf("removed twice: %v", err)
			}
			done := must(Clean(ctx, root, "b"))(t)
			equal(t, "borrowed from", fmt.Sprint(len(done.Dropped), len(done.Kept)), "0 1")
			equal(t, "keys", declareJob(t, b, TTL{}).check(t, n), n)
			ok(t, b.Close())

			// The run is dead, too: nothing but its checkpoint, and what that borrows, is kept.
			dead := create(t, root, instance(0, 1, "c"))
			ok(t, dead.Close())
			done = must(Clean(ctx, root))(t)
			equal(t, "the shard that nobody names", len(done.Dropped), 1)
			again := restore(t, root, 3, instance(0, 1, "d"))
			equal(t, "keys", declareJob(t, again, TTL{}).check(t, n), n)
			ok(t, again.Close())
			ok(t, RemoveCheckpoint(ctx, root, 3, "b"))
			// Shards borrow from one another, so they go from the youngest to the oldest.
			for range 5 {
				done = must(Clean(ctx, root))(t)
			}
			equal(t, "kept at the end", len(done.Kept), 0)
			for _, i := range must(driver.ListAll(ctx, root, "", ""))(t) {
				if i.Size > 4096 {
					t.Errorf("%s of %d bytes is left", i.Key, i.Size)
				}
			}
		})
	}
}

// Retention by itself: the last two complete checkpoints stay, however far one instance is ahead; then those of the last hour.
func TestAutomaticRetention(t *testing.T) {
	root := roots[0].new(t)
	clk := newClock()
	options := func(i, n int, run string) *Options {
		o := instance(i, n, run)
		o.Clock = clk.now
		return o
	}
	var bs []*Backend
	for i := range 2 {
		o := options(i, 2, "a")
		o.KeepLast = 2
		bs = append(bs, create(t, root, o))
	}
	numbers := func() string {
		var out []string
		for _, c := range must(Checkpoints(ctx, root))(t) {
			out = append(out, fmt.Sprintf("%d %s %v", c.ID, c.Run, c.Complete))
		}
		return strings.Join(out, " ")
	}
	for id := uint64(1); id <= 5; id++ {
		for _, b := range bs {
			snapshot(t, b, id, "")
		}
	}
	for _, id := range []uint64{6, 7, 8} {
		snapshot(t, bs[0], id, "")
	}
	for _, b := range bs {
		ok(t, b.Close()) // waits for the retention, too
	}
	// The second instance committed 5 last, when 4 and 5 were complete; so did the first with 6.
	equal(t, "checkpoints", numbers(), "4 a true 5 a true 6 a false 7 a false 8 a false")

	o := options(0, 1, "b")
	o.KeepFor = time.Hour
	b := create(t, root, o)
	for id := uint64(10); id < 14; id++ {
		if id > 10 {
			clk.advance(25 * time.Minute) // not behind the last, whose retention may still be running
		}
		snapshot(t, b, id, "")
	}
	until(t, "those of the last hour are left", func() bool { return strings.HasSuffix(numbers(), "false 11 b true 12 b true 13 b true") })
	until(t, "so are their volume's snapshots", func() bool { return len(must(b.shards[0].vol.Snapshots(ctx))(t)) == 3 })
	ok(t, b.Close())
}
