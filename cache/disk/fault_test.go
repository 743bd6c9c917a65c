package disk

import (
	"errors"
	"fmt"
	"math"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// faultySystem is the real one, with faults.
type faultySystem struct {
	writes, reads atomic.Int64
	space         atomic.Int64 // free space, if not 0

	// fail says how many bytes of the n-th read or write go through, and with which error; a create has no bytes.
	fail func(op string, n int64, p []byte) (int, error)
}

func (s *faultySystem) Open(path string, size int64) (File, error) {
	if size >= 0 && s.fail != nil {
		if _, err := s.fail("create", 0, nil); err != nil {
			return nil, err
		}
	}
	f, err := osSystem{}.Open(path, size)
	if err != nil {
		return nil, err
	}
	return &faultyFile{f, s}, nil
}

func (s *faultySystem) Free(string) (int64, error) {
	if n := s.space.Load(); n != 0 {
		return n, nil
	}
	return math.MaxInt64, nil
}

type faultyFile struct {
	File
	s *faultySystem
}

func (f *faultyFile) WriteAt(p []byte, off int64) (int, error) {
	n := f.s.writes.Add(1) - 1
	if f.s.fail != nil {
		k, err := f.s.fail("write", n, p)
		if err != nil {
			f.File.WriteAt(p[:k], off)
			return k, err
		}
	}
	return f.File.WriteAt(p, off)
}

func (f *faultyFile) ReadAt(p []byte, off int64) (int, error) {
	n := f.s.reads.Add(1) - 1
	if f.s.fail != nil {
		if k, err := f.s.fail("read", n, p); err != nil {
			return k, err
		}
	}
	return f.File.ReadAt(p, off)
}

// A disk that fails is bypassed after three errors in a row, probed, and taken back.
func TestBypassAndReturn(t *testing.T) {
	for _, op := range []string{"read", "write"} {
		synctest.Test(t, func(t *testing.T) {
			if err := checkBypass(t.TempDir(), op); err != nil {
				t.Errorf("%s errors: %v", op, err)
			}
		})
	}
}

// checkBypass runs in virtual time.
func checkBypass(dir, op string) (err error) {
	var broken atomic.Bool
	sys := &faultySystem{fail: func(o string, _ int64, p []byte) (int, error) {
		if broken.Load() && (o == op || o == "create") {
			return 0, syscall.EIO
		}
		return len(p), nil
	}}
	var states []error
	o := testOptions(dir, 64)
	o.System = sys
	o.OnState = func(err error) { states = append(states, err) }
	c, err := Open(o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	c.putAll(0, 1, 2, 3, 4, 5, 6)
	broken.Store(true)
	if op == "read" {
		for i := range uint32(maxErrors) {
			if !c.Has(testID(6), i) || c.Get(testID(6), i, 0, make([]byte, 1)) {
				return fmt.Errorf("read %d of a broken disk is a hit, or the block was not there", i)
			}
		}
	} else {
		c.putAll(8, 9, 10)
	}
	synctest.Wait()
	if m := c.Metrics(); !m.Bypassed || m.Bypasses != 1 || len(states) != 1 || !errors.Is(states[0], syscall.EIO) {
		return fmt.Errorf("the disk is not bypassed, or nobody was told: %v %v", states, m)
	}
	reads, writes := sys.reads.Load(), sys.writes.Load()
	if hits, _, err := c.hits(0, 1, 2); err != nil || hits != 0 || c.Has(testID(0), 0) {
		return fmt.Errorf("a bypassed disk has hits (%v)", err)
	}
	c.putAll(11)
	if sys.reads.Load() != reads || sys.writes.Load() != writes {
		return errors.New("a bypassed disk is used")
	}
	c.Drop(testID(1))
	broken.Store(false)
	for range 100 { // virtual time: as fast as the clock can be turned
		if !c.Metrics().Bypassed {
			break
		}
		<-time.After(firstProbe)
	}
	synctest.Wait()
	if len(states) != 2 || states[1] != nil {
		return fmt.Errorf("the disk works again and is not used, or nobody was told: %v", states)
	}
	if hits, all, err := c.hits(0, 2, 3); err != nil || hits != all {
		return fmt.Errorf("%d hits of %d when the disk is back (%v)", hits, all, err)
	}
	if hits, _, err := c.hits(1); err != nil || hits != 0 {
		return fmt.Errorf("what was dropped meanwhile is back (%v)", err)
	}
	c.idle()
	return c.settled()
}

// openFilled opens a cache and puts twenty objects into it.
func openFilled(o *Options) (*Tier, error) {
	c, err := Open(o)
	if err != nil {
		return nil, err
	}
	for num := range uint64(20) {
		c.putAll(num)
	}
	return c, nil
}

// A full disk makes the cache smaller, bypasses nothing, and lets it grow again later.
func TestFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if err := checkFullDisk(t.TempDir()); err != nil {
			t.Error(err)
		}
	})
}

// checkFullDisk runs in virtual time.
func checkFullDisk(dir string) (err error) {
	var full atomic.Bool
	o := testOptions(dir, 200)
	o.System = &faultySystem{fail: func(op string, _ int64, p []byte) (int, error) {
		if full.Load() && op != "read" {
			return 0, syscall.ENOSPC
		}
		return len(p), nil
	}}
	told := int64(0)
	o.OnShrink = func(given, left int64) { told += given }
	c, err := openFilled(o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	before := c.Metrics()
	full.Store(true)
	c.putAll(100)
	m := c.Metrics()
	if m.Capacity >= before.Capacity || m.Shrunk == 0 || m.Bypassed || told != before.Capacity-m.Capacity {
		return fmt.Errorf("a full disk is not given %d bytes, or nobody was told: %v", told, m)
	}
	full.Store(false)
	<-time.After(growBackoff)
	for num := range uint64(60) {
		c.putAll(num)
	}
	if m := c.Metrics(); m.Capacity <= before.Capacity {
		return fmt.Errorf("the cache does not grow again: %v", m)
	}
	c.idle()
	return c.settled()
}

// Two writers that meet the full disk at the same time take one segment from it, not two: the first one has made room.
func TestFullDiskMetTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if err := checkFullDiskMetTwice(t.TempDir()); err != nil {
			t.Error(err)
		}
	})
}

// checkFullDiskMetTwice runs in virtual time.
func checkFullDiskMetTwice(dir string) (err error) {
	var met atomic.Int64 // writes that must fail, when it is not negative
	met.Store(-1)
	both := make(chan struct{})
	o := testOptions(dir, 200)
	o.System = &faultySystem{fail: func(op string, _ int64, p []byte) (int, error) {
		if op != "write" || met.Load() < 0 {
			return len(p), nil
		}
		switch n := met.Add(1); {
		case n > writers:
			return len(p), nil
		case n == writers:
			close(both)
		}
		<-both
		return 0, syscall.ENOSPC
	}}
	c, err := openFilled(o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	before := c.Metrics()
	met.Store(0)
	for b := range uint32(writers) {
		c.Put(testID(104), objectSize(104), b, blockOf(104, b)) // of seven blocks
	}
	c.idle()
	if m := c.Metrics(); m.Shrunk != 1 || m.WriteErrors != writers || before.Capacity-m.Capacity != c.layout.size() {
		return fmt.Errorf("%d writers that met the full disk made the cache smaller by %d bytes, a segment is %d: %v",
			writers, before.Capacity-m.Capacity, c.layout.size(), m)
	}
	return c.settled()
}

// A disk that is full, or that fails, while the directory is opened makes the cache small, and no error of it.
func TestOpenOnAFailingDisk(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EIO} {
		synctest.Test(t, func(t *testing.T) {
			o := testOptions(t.TempDir(), 64)
			c := openTier(t, o)
			for num := range uint64(20) {
				c.putAll(num)
			}
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			// The header of the second segment is damaged: it is to be made anew.
			f, err := os.OpenFile(c.dir.file(segmentName(1)), os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteAt([]byte{1}, 3); err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			var broken atomic.Bool
			broken.Store(true)
			o.System = &faultySystem{fail: func(op string, _ int64, p []byte) (int, error) {
				if broken.Load() && op != "read" {
					return 0, errno
				}
				return len(p), nil
			}}
			c = openTier(t, o)
			if m := c.Metrics(); m.Blocks == 0 || m.Damaged != 1 || m.GrowErrors != 1 {
				t.Errorf("%v: %v", errno, m)
			}
			for num := range uint64(20) {
				count(t, c, num)
			}
			broken.Store(false)
			<-time.After(growBackoff)
			before := c.Metrics().Capacity
			for num := range uint64(30) {
				c.putAll(num)
				count(t, c, num)
			}
			if m := c.Metrics(); m.Capacity <= before {
				t.Errorf("%v: the cache does not grow when the disk is well: %v", errno, m)
			}
			if err := c.settled(); err != nil {
				t.Error(err)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// The cache leaves the reserve free: it does not grow into it, and gives space back when others take it.
func TestReserve(t *testing.T) {
	sys := &faultySystem{}
	o := testOptions(t.TempDir(), 200)
	o.Reserve = 1 << 30
	o.System = sys
	sys.space.Store(1<<30 + 1)
	c := openTier(t, o)
	c.putAll(1, 2)
	if m := c.Metrics(); m.Capacity != 0 || m.GrowErrors == 0 {
		t.Errorf("the cache grew into the reserve, or nobody knows that it could not: %v", m)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	sys.space.Store(1 << 40)
	c = openTier(t, o)
	for num := range uint64(30) {
		c.putAll(num)
	}
	before := c.Metrics()
	sys.space.Store(1<<30 - 1)
	c.keepReserve()
	if m := c.Metrics(); m.Capacity >= before.Capacity {
		t.Errorf("nothing was given back: %v", m)
	}
	if err := c.settled(); err != nil {
		t.Error(err)
	}
}

// shrunkMeanwhile is a disk whose free space another writer has changed by the time that it is told.
type shrunkMeanwhile struct {
	*faultySystem
	meanwhile func()
}

func (s *shrunkMeanwhile) Free(dir string) (int64, error) {
	free, err := s.faultySystem.Free(dir)
	if s.meanwhile != nil {
		s.meanwhile()
	}
	return free, err
}

// What others have given back since the disk was asked is not given back again.
func TestReserveMetTwice(t *testing.T) {
	sys := &shrunkMeanwhile{faultySystem: &faultySystem{}}
	o := testOptions(t.TempDir(), 200)
	o.Reserve = 1 << 30
	o.System = sys
	c := openTier(t, o)
	for num := range uint64(20) {
		c.putAll(num)
	}
	sys.space.Store(1<<30 - 1)
	sys.meanwhile = func() { c.shrink(1, c.m.segmentsRemoved.Load()) }
	c.keepReserve()
	if m := c.Metrics(); m.Shrunk != 1 {
		t.Errorf("%d segments given back for one shortage: %v", m.Shrunk, m)
	}
	if err := c.settled(); err != nil {
		t.Error(err)
	}
}

func TestSetSize(t *testing.T) {
	dir := t.TempDir()
	c := openTier(t, testOptions(dir, 200))
	for num := range uint64(60) {
		c.putAll(num)
	}
	for _, slots := range []int{100, 40, 300, 0, 100} {
		c.SetSize(testOptions("", slots).Size)
		m := c.Metrics()
		if m.Capacity > m.Limit {
			t.Errorf("%d slots: %v", slots, m)
		}
		if err := c.settled(); err != nil {
			t.Fatal(err)
		}
		for num := range uint64(60) {
			c.putAll(num)
			count(t, c, num)
		}
		if m := c.Metrics(); m.Capacity > m.Limit || (m.Capacity == 0) != (slots == 0) {
			t.Errorf("%d slots: %v", slots, m)
		}
	}
	c.SetSize(0)
	if got := dirSize(t, dir); got > 1000 {
		t.Errorf("%d bytes left in the directory", got)
	}
}

// A write that ends after Drop does not bring the object back.
func TestDropDuringWrite(t *testing.T) {
	if err := checkDropDuringWrite(t.TempDir()); err != nil {
		t.Fatal(err)
	}
}

func checkDropDuringWrite(dir string) error {
	started, goOn := make(chan struct{}), make(chan struct{})
	var once atomic.Bool
	o := testOptions(dir, 64)
	o.System = &faultySystem{fail: func(op string, _ int64, p []byte) (int, error) {
		if op == "write" && len(p) == block && once.CompareAndSwap(false, true) {
			close(started)
			<-goOn
		}
		return len(p), nil
	}}
	c, err := Open(o)
	if err != nil {
		return err
	}
	defer c.Close()
	c.Put(testID(1), objectSize(1), 0, blockOf(1, 0))
	<-started
	c.Drop(testID(1))
	close(goOn)
	c.idle()
	if c.Get(testID(1), 0, 0, make([]byte, 1)) || c.Metrics().Blocks != 0 {
		return errors.New("the block of a dropped object is in the cache")
	}
	if err := c.settled(); err != nil {
		return err
	}
	// Nor does a restart.
	if err := c.Close(); err != nil {
		return err
	}
	if c, err = Open(testOptions(dir, 64)); err != nil {
		return err
	}
	defer c.Close()
	if c.Metrics().Loaded != 0 {
		return errors.New("the block of a dropped object is back after a restart")
	}
	return nil
}

// checkVerify flips a byte of a block in its file.
func checkVerify(dir string) error {
	c, err := Open(testOptions(dir, 64))
	if err != nil {
		return err
	}
	defer c.Close()
	c.putAll(1)
	s, i := c.at(c.objects[testID(1)].slots[0] - 1)
	f, err := os.OpenFile(c.dir.file(segmentName(0)), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte{blockOf(1, 0)[77] ^ 1}, s.blockAt(i)+77); err != nil {
		return err
	}
	if hit, err := c.check(1, 0); err != nil {
		return err
	} else if hit {
		return errors.New("a hit on a damaged block")
	}
	return nil
}

func TestVerify(t *testing.T) {
	if err := checkVerify(t.TempDir()); err != nil {
		t.Fatal(err)
	}
}
