package state

import (
	"errors"
	"fmt"
	"testing"

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
