package cache

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/forst-go/forst/cache/disk"
)

func TestRise(t *testing.T) {
	for _, damaged := range []bool{false, true} {
		t.Run(fmt.Sprint("damaged=", damaged), func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				if err := checkRise(dir, damaged); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

// checkRise: a full disk tier passes over what is fetched once; what is used again in memory gets there all the same, but for what was damaged in memory.
func checkRise(dir string, damaged bool) error {
	ctx := context.Background()
	o := small(128)
	o.Disk = disk.Options{Dir: dir, Size: 256 << 10, Reserve: -1}
	c, err := New(o)
	if err != nil {
		return err
	}
	defer c.Close()
	const n = 8
	source := func(i int) *testSource { return &testSource{num: uint64(i), size: kib} }
	read := func(from, to int) error {
		for i := from; i < to; i++ {
			if err := readCheck(ctx, c, source(i), 0, kib, Random); err != nil {
				return err
			}
			synctest.Wait()
		}
		return nil
	}
	onDisk := func() (found int) {
		for i := range n {
			if c.disk.Has(disk.ID(source(i).object().ID), 0) {
				found++
			}
		}
		return found
	}
	if err := read(1000, 1400); err != nil { // fills the disk
		return err
	}
	for turn := range 4 { // each use counts when something was stored since the last
		if err := read(0, n); err != nil {
			return err
		}
		if err := read(2000+4*turn, 2004+4*turn); err != nil {
			return err
		}
	}
	if got := onDisk(); got > n/2 {
		return fmt.Errorf("%d of %d blocks are on the disk already: this check proves nothing", got, n)
	}
	before := onDisk()
	if damaged {
		for i := range n {
			o := c.find(&source(i).object().ID)
			slot, ok := c.shardOf(o, 0).pin(key{o.serial, 0}, false)
			if !ok {
				return fmt.Errorf("block %d is not in memory: this check proves nothing", i)
			}
			c.slots.bytes(slot)[100] ^= 1
			c.shardOf(o, 0).unpin(slot)
		}
	}
	if err := read(3000, 3000+2*128); err != nil { // pushes them to the end of the small queue
		return err
	}
	after := onDisk()
	if damaged && after != before {
		return fmt.Errorf("%d blocks that were damaged in memory have risen to the disk", after-before)
	}
	if !damaged && after < n-1 {
		return fmt.Errorf("%d of %d blocks that were used again are on the disk", after, n)
	}
	if m := c.Metrics().Disk; m.PassedOver == 0 {
		return fmt.Errorf("nothing was passed over: %v", m)
	}
	return nil
}

// A full disk tier takes what is written, what somebody asked to be fetched and the ends of objects, each time; of what is
// only read it passes over most. (Pinned volumes: disk.TestOffer.)
func TestWhatAFullDiskTakes(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		o := small(128)
		o.Disk = disk.Options{Dir: dir, Size: 256 << 10, Reserve: -1}
		c := newCache(t, o)
		num := uint64(0)
		for c.Metrics().Disk.PassedOver == 0 {
			if num++; num > 1000 {
				t.Fatal("nothing is passed over")
			}
			if err := readCheck(ctx, c, &testSource{num: num, size: kib}, 0, kib, Random); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		const n = 24
		for _, way := range []struct {
			name     string
			from, to int // blocks of n that are taken
			bring    func(s *testSource) error
		}{
			{"read", 1, n / 4, func(s *testSource) error { return readCheck(ctx, c, s, 0, kib, Random) }},
			{"the end", n, n, func(s *testSource) error { return readCheck(ctx, c, s, 0, kib, Tail) }},
			{"written", n, n, func(s *testSource) error {
				c.Insert(s.object().ID, kib, 0, content(s.num, 0, kib), ReasonWrite)
				return nil
			}},
			{"warmed", n, n, func(s *testSource) error { _, err := c.Warm(ctx, s.object()); return err }},
		} {
			taken := 0
			for range n {
				num++
				s := &testSource{num: num, size: kib}
				if err := way.bring(s); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if c.disk.Has(disk.ID(s.object().ID), 0) {
					taken++
				}
			}
			if taken < way.from || taken > way.to {
				t.Errorf("%s: %d of %d blocks were taken, want %d to %d", way.name, taken, n, way.from, way.to)
			}
		}
	})
}
