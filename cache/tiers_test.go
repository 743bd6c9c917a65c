package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/forst-go/forst/cache/disk"
)

// twoTiers has little memory and a roomy disk.
func twoTiers(dir string) *Options {
	o := small(8)
	o.Disk = disk.Options{Dir: dir, Size: 4 << 20, Reserve: -1}
	return o
}

func TestDiskKeepsWhatMemoryEvicts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		c := newCache(t, twoTiers(t.TempDir()))
		written := &testSource{num: 1, size: 40*kib + 7}
		c.Insert(written.object().ID, written.size, 0, content(1, 0, written.size), ReasonWrite)
		fetched := &testSource{num: 2, size: 40*kib + 9}
		if err := readCheck(ctx, c, fetched, 0, fetched.size, Random); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // the disk has caught up
		fetched.takeRanges()
		for range 3 {
			for _, s := range []*testSource{written, fetched} {
				for _, h := range []Hint{Random, Sequential, Tail} {
					if err := readCheck(ctx, c, s, 0, s.size, h); err != nil {
						t.Fatal(err)
					}
					if err := readCheck(ctx, c, s, 5*kib+5, 3*kib, h); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		wantRanges(t, written)
		wantRanges(t, fetched)
		m := c.Metrics()
		if r := m.Reasons[ReasonRead]; r.DiskHits == 0 || m.Disk.Hits == 0 {
			t.Errorf("%v", m)
		}
		for _, s := range []*testSource{written, fetched} {
			c.Drop(s.object().ID)
		}
		if m := c.Metrics(); m.Disk.Blocks != 0 || m.Used != 0 {
			t.Errorf("after Drop: %v", m)
		}
	})
}

// A block moves up at its second use, and not for a scan.
func TestPromotion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		dir := t.TempDir()
		c := newCache(t, twoTiers(dir))
		s := &testSource{num: 1, size: 4 * kib}
		c.Insert(s.object().ID, s.size, 0, content(1, 0, s.size), ReasonWrite)
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		c = newCache(t, twoTiers(dir)) // memory is empty, the disk is not
		inMemory := func() bool { return c.Lookup(s.object().ID, make([]byte, kib), kib) }
		for range 5 {
			if err := readCheck(ctx, c, s, kib, kib, Sequential); err != nil {
				t.Fatal(err)
			}
		}
		if inMemory() {
			t.Error("a scan moved a block up")
		}
		if err := readCheck(ctx, c, s, kib+10, 10, Random); err != nil {
			t.Fatal(err)
		}
		if inMemory() {
			t.Error("the first use moved a block up")
		}
		if err := readCheck(ctx, c, s, kib+20, 10, Random); err != nil {
			t.Fatal(err)
		}
		if !inMemory() {
			t.Error("the second use moved nothing up")
		}
		wantRanges(t, s)
	})
}

func TestRestartIsWarm(t *testing.T) {
	dir := t.TempDir()
	ctx := context.Background()
	var sources []*testSource
	for i := range uint64(10) {
		sources = append(sources, &testSource{num: i, size: 30*kib + int64(i)})
	}
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, twoTiers(dir))
		for _, s := range sources {
			if err := readCheck(ctx, c, s, 0, s.size, Random); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		c.Drop(sources[3].object().ID)
	})
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, twoTiers(dir))
		for i, s := range sources {
			s.takeRanges()
			if err := readCheck(ctx, c, s, 0, s.size, Random); err != nil {
				t.Fatal(err)
			}
			if i == 3 {
				wantRanges(t, s, span{0, s.size}) // dropped
			} else {
				wantRanges(t, s)
			}
		}
		if _, err := New(twoTiers(dir)); !errors.Is(err, disk.ErrLocked) {
			t.Errorf("a second cache on the directory: %v", err)
		}
	})
	noMemory := twoTiers(dir)
	noMemory.Memory = -1
	if _, err := New(noMemory); err == nil {
		t.Error("a disk tier without memory is accepted")
	}
}

// A damaged disk costs a GET, and nobody sees its bytes.
func TestDamagedDisk(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, twoTiers(dir))
		s := &testSource{num: 1, size: 20 * kib}
		c.Insert(s.object().ID, s.size, 0, content(1, 0, s.size), ReasonWrite)
	})
	names, err := filepath.Glob(filepath.Join(dir, "slots-*"))
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	for _, n := range names {
		b, err := os.ReadFile(n)
		if err != nil {
			t.Fatal(err)
		}
		for i := 40_000; i < len(b); i += 500 { // the records end at 36 KiB; every block loses some bits
			b[i] ^= 0x10
		}
		if err := os.WriteFile(n, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, twoTiers(dir))
		s := &testSource{num: 1, size: 20 * kib}
		for range 2 {
			if err := readCheck(context.Background(), c, s, 0, s.size, Random); err != nil {
				t.Fatal(err)
			}
		}
		if m := c.Metrics(); m.Disk.VerifyFailures == 0 || m.Fetches == 0 {
			t.Errorf("%v", m)
		}
	})
}

// checkDropDuringFetchOnDisk drops the object while its fetch writes to both tiers.
func checkDropDuringFetchOnDisk(dir string) error {
	c, err := New(twoTiers(dir))
	if err != nil {
		return err
	}
	defer c.Close()
	s := &testSource{num: 1, size: 8 * kib}
	allow := make(chan int64)
	s.hook = func(ctx context.Context, off, n int64) (io.ReadCloser, error) {
		return &gatedReader{ctx: ctx, r: contentReader{1, off, off + n}, allow: allow}, nil
	}
	got := make(chan error)
	go func() { got <- readCheck(context.Background(), c, s, 0, 8*kib, Random) }()
	allow <- 3 * kib
	synctest.Wait()
	if n := c.Metrics().Disk.Blocks; n != 3 {
		return fmt.Errorf("%d blocks on disk, want the 3 that have arrived", n)
	}
	c.Drop(s.object().ID)
	close(allow)
	if err := <-got; err != nil {
		return err
	}
	synctest.Wait()
	if n := c.Metrics().Disk.Blocks; n != 0 {
		return fmt.Errorf("%d blocks of the dropped object are on disk", n)
	}
	return nil
}

func TestDropDuringFetchOnDisk(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		if err := checkDropDuringFetchOnDisk(dir); err != nil {
			t.Fatal(err)
		}
	})
}
