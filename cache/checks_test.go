package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/synctest"

	"github.com/forst-go/forst/forstfs/driver"
)

// The checks return errors instead of failing a test, so that the mutant tests can demand that they do.

const kib = 1 << 10

// small is a cache of blocks of 1 KiB that fetches exactly what is wanted.
func small(blocks int64) *Options {
	return &Options{Memory: blocks * kib, BlockSize: kib, FetchSize: -1, TailSize: -1}
}

var checks = []struct {
	name   string
	mutant string // this check finds it
	run    func() error
}{
	{"drop removes every block at once", "cache/drop-forgets-nothing", checkDrop},
	{"a fetch that ends after Drop does not resurrect the object", "cache/fetch-resurrects-dropped", checkDropDuringFetch},
	{"a slot that is being copied is not refilled", "cache/copy-without-pin", checkPinned},
	{"a short answer never looks like data", "cache/short-fetch-accepted", checkShort},
	{"each block of a coalesced read is stored in its own place", "cache/coalesced-block-offset", checkCoalesced},
}

func TestInvariants(t *testing.T) {
	for _, k := range checks {
		t.Run(k.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if err := k.run(); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

func checkDrop() error {
	ctx := context.Background()
	c, err := New(small(256))
	if err != nil {
		return err
	}
	defer c.Close()
	for _, size := range []int64{1, kib, 3*kib + 5, 63 * kib, 64 * kib, 65*kib + 1, 130 * kib} {
		s := &testSource{num: uint64(size), size: size}
		other := &testSource{num: 1 << 40, size: 10 * kib}
		if err := readCheck(ctx, c, s, 0, size, Random); err != nil {
			return err
		}
		if err := readCheck(ctx, c, other, 0, other.size, Random); err != nil {
			return err
		}
		synctest.Wait() // the fetches have let go of their last slots
		c.Drop(s.object().ID)
		for off := int64(0); off < size; off += kib {
			if c.Lookup(s.object().ID, make([]byte, 1), off) {
				return fmt.Errorf("object of %d bytes: byte %d is still cached after Drop", size, off)
			}
		}
		if !c.Lookup(other.object().ID, make([]byte, other.size), 0) {
			return fmt.Errorf("Drop took another object with it")
		}
		if used := c.Metrics().Used; used != 10*kib {
			return fmt.Errorf("object of %d bytes: %d bytes are still in use after Drop, want those of the other object", size, used)
		}
		s.gets.Store(0)
		if err := readCheck(ctx, c, s, 0, size, Random); err != nil {
			return err
		}
		if n := s.gets.Load(); n != 1 {
			return fmt.Errorf("%d GETs for a read after Drop, want 1", n)
		}
		c.Drop(s.object().ID)
		c.Drop(s.object().ID)
	}
	return nil
}

func checkDropDuringFetch() error {
	c, err := New(small(64))
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
	if !c.Lookup(s.object().ID, make([]byte, 3*kib), 0) {
		return errors.New("the first blocks are not cached before the rest has arrived")
	}
	c.Drop(s.object().ID)
	close(allow)
	if err := <-got; err != nil {
		return fmt.Errorf("the reader that waited across the Drop: %w", err)
	}
	synctest.Wait()
	if m := c.Metrics(); m.Used != 0 || m.Objects != 0 {
		return fmt.Errorf("after the fetch the dropped object is back: %d bytes, %d objects", m.Used, m.Objects)
	}
	for off := int64(0); off < s.size; off += kib {
		if c.Lookup(s.object().ID, make([]byte, 1), off) {
			return fmt.Errorf("byte %d of the dropped object is cached", off)
		}
	}
	return nil
}

// checkPinned evicts and refills every slot while a reader is about to copy from one. The checksum must not hide a
// mistake, so it is off.
func checkPinned() error {
	o := small(8)
	o.SkipVerify = true
	c, err := New(o)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx := context.Background()
	victim := &testSource{num: 1, size: 2 * kib}
	if err := readCheck(ctx, c, victim, 0, 2*kib, Random); err != nil {
		return err
	}
	done := false
	c.copying = func() {
		if done {
			return
		}
		done = true
		for num := uint64(2); num < 40; num++ {
			c.Insert(testID(num), kib, 0, content(num, 0, kib), ReasonWrite)
		}
	}
	p := make([]byte, kib)
	if !c.Lookup(victim.object().ID, p, 0) {
		return errors.New("the block was not cached")
	}
	if !done {
		return errors.New("nothing was inserted during the copy")
	}
	if err := compare(p, 1, 0); err != nil {
		return err
	}
	c.copying = nil
	if c.Lookup(victim.object().ID, p, 0) {
		return errors.New("the block was not evicted, so that this check proves nothing")
	}
	if got := c.Metrics().Used; got > 8*kib {
		return fmt.Errorf("%d bytes in use of %d", got, 8*kib)
	}
	return nil
}

func checkShort() error {
	ctx := context.Background()
	for _, h := range []Hint{Random, Sequential, Tail} {
		for _, cut := range []int64{0, 1, kib - 1, kib, 2*kib + 7, 4*kib - 1} {
			for _, end := range []error{io.EOF, io.ErrUnexpectedEOF, errInjected} {
				c, err := New(small(64))
				if err != nil {
					return err
				}
				s := &testSource{num: 1, size: 4 * kib}
				s.hook = func(ctx context.Context, off, n int64) (io.ReadCloser, error) {
					return brokenReader(1, off, max(min(cut-off, n), 0), end), nil
				}
				err = readCheck(ctx, c, s, 0, 4*kib, h)
				want := driver.KindCorrupt
				if end == errInjected {
					want = driver.KindTransient
				}
				if driver.KindOf(err) != want {
					return fmt.Errorf("hint %d, %d bytes, then %v: got %v, want kind %v", h, cut, end, err, want)
				}
				if n := s.gets.Load(); n != 2 {
					return fmt.Errorf("hint %d, %d bytes, then %v: %d GETs, want a second try and no third", h, cut, end, n)
				}
				// What arrived whole may be cached; the rest is not, and the next read is right.
				s.setHook(nil)
				for off := int64(0); off < s.size; off += kib {
					p := make([]byte, kib)
					if c.Lookup(s.object().ID, p, off) {
						if off+kib > cut {
							return fmt.Errorf("block at %d is cached, but only %d bytes arrived", off, cut)
						}
						if err := compare(p, 1, off); err != nil {
							return err
						}
					}
				}
				if err := readCheck(ctx, c, s, 0, 4*kib, h); err != nil {
					return err
				}
				if err := c.Close(); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func checkCoalesced() error {
	ctx := context.Background()
	c, err := New(small(64))
	if err != nil {
		return err
	}
	defer c.Close()
	s := &testSource{num: 1, size: 9*kib + 100}
	if err := readCheck(ctx, c, s, 500, 6*kib, Random); err != nil {
		return err
	}
	synctest.Wait()
	if got := s.takeRanges(); len(got) != 1 || got[0] != (span{0, 7 * kib}) {
		return fmt.Errorf("ranges fetched: %v, want one of whole blocks", got)
	}
	// From memory, every block is itself; a hole costs one GET, the end is short.
	if err := readCheck(ctx, c, s, 0, 7*kib, Random); err != nil {
		return err
	}
	if got := s.takeRanges(); len(got) != 0 {
		return fmt.Errorf("cached blocks were fetched again: %v", got)
	}
	if err := readCheck(ctx, c, s, 0, s.size, Random); err != nil {
		return err
	}
	synctest.Wait()
	if got := s.takeRanges(); len(got) != 1 || got[0] != (span{7 * kib, s.size}) {
		return fmt.Errorf("ranges fetched: %v, want the rest only", got)
	}
	return readCheck(ctx, c, s, 8*kib+1, kib+99, Random)
}
