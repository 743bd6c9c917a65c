package disk

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

const block = 8 << 10 // two pages

func testID(num uint64) ID {
	return ID{Volume: [16]byte{9}, Epoch: 3, Nonce: 0xfeed, Num: num, Kind: 1}
}

// content is the true content of a block: every byte depends on the object and its place.
func content(num uint64, b uint32, n int) []byte {
	p := make([]byte, n)
	for i := range p {
		x := (uint64(b)<<20+uint64(i)/8+1)*0x9e3779b97f4a7c15 ^ (num+1)*0xd6e8feb86659fd93
		x ^= x >> 29
		p[i] = byte(x >> (i % 8 * 8))
	}
	return p
}

func objectSize(num uint64) int64 { return int64(num%7+1)*block + int64(num%5)*1000 }

func blockOf(num uint64, b uint32) []byte {
	n := blockBytes(objectSize(num), block, b)
	if n <= 0 {
		return nil
	}
	return content(num, b, int(n))
}

func testOptions(dir string, slots int) *Options {
	return &Options{Dir: dir, Size: int64(slots) * (block + 128 + pageSize), Reserve: -1, BlockSize: block, Buffer: 32 * block}
}

func openTier(t testing.TB, o *Options) *Tier {
	t.Helper()
	c, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// idle waits until nothing is being written: all buffers are back.
func (t *Tier) idle() {
	var all [][]byte
	for range cap(t.buffers) {
		all = append(all, <-t.buffers)
	}
	for _, b := range all {
		t.buffers <- b
	}
}

func (t *Tier) putAll(nums ...uint64) {
	for _, num := range nums {
		for b := uint32(0); blockOf(num, b) != nil; b++ {
			t.Put(testID(num), objectSize(num), b, blockOf(num, b))
			t.idle()
		}
	}
}

// check reads a block in some ways: a hit must be right. It returns whether it was one.
func (t *Tier) check(num uint64, b uint32) (bool, error) {
	want := blockOf(num, b)
	for _, r := range [][2]int{{0, len(want)}, {len(want) / 3, len(want) / 2}, {len(want) - 1, 1}} {
		p := bytes.Repeat([]byte{0xEE}, r[1])
		if !t.Get(testID(num), b, r[0], p) {
			return false, nil
		}
		if !bytes.Equal(p, want[r[0]:r[0]+r[1]]) {
			return true, fmt.Errorf("object %d, block %d, %d bytes at %d: wrong bytes", num, b, r[1], r[0])
		}
	}
	return true, nil
}

// count gives the number of blocks of the objects that are hits.
func count(t *testing.T, c *Tier, nums ...uint64) (hits, all int) {
	t.Helper()
	hits, all, err := c.hits(nums...)
	if err != nil {
		t.Fatal(err)
	}
	return hits, all
}

func (t *Tier) hits(nums ...uint64) (hits, all int, err error) {
	for _, num := range nums {
		for b := uint32(0); blockOf(num, b) != nil; b++ {
			all++
			hit, err := t.check(num, b)
			if err != nil {
				return hits, all, err
			}
			if hit {
				hits++
			}
		}
	}
	return hits, all, nil
}

// settled checks the inside of an idle tier.
func (t *Tier) settled() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	seen := map[uint32]bool{}
	for _, s := range t.free {
		if seen[s] || t.slotInfo(s).refs.Load() != 0 || t.slotInfo(s).queue != 0 {
			return fmt.Errorf("free slot %d is free twice, has references or is in a queue", s)
		}
		seen[s] = true
	}
	resident := map[*object]int{}
	for _, q := range []*queue{&t.small, &t.main} {
		n := 0
		for at := q.head; at != 0; at = t.slotInfo(at - 1).next {
			info := t.slotInfo(at - 1)
			o := t.byIndex[info.obj]
			if seen[at-1] || info.refs.Load() != 1 || info.queue != q.kind || o == nil || o.slots[info.block] != at {
				return fmt.Errorf("slot %d of queue %d: used twice, %d references, or not its object's", at-1, q.kind, info.refs.Load())
			}
			seen[at-1] = true
			resident[o]++
			n++
		}
		if n != q.len {
			return fmt.Errorf("queue %d has %d slots and counts %d", q.kind, n, q.len)
		}
	}
	if len(seen) != len(t.segments)*t.perSegment {
		return fmt.Errorf("%d slots of %d", len(seen), len(t.segments)*t.perSegment)
	}
	for o, n := range resident {
		if o.resident != n || o.dropped || o.users != 0 || t.objects[o.id] != o {
			return fmt.Errorf("object %v: %d blocks, counts %d, dropped %v, %d users", o.id, n, o.resident, o.dropped, o.users)
		}
	}
	if len(resident) != len(t.objects) || len(t.byIndex)-len(t.freeIndex) != len(resident) {
		return fmt.Errorf("%d objects known, %d indexed, %d have blocks", len(t.objects), len(t.byIndex)-len(t.freeIndex), len(resident))
	}
	return nil
}

func TestPutGetDrop(t *testing.T) {
	c := openTier(t, testOptions(t.TempDir(), 64))
	nums := []uint64{0, 1, 2, 3, 4, 5, 6}
	c.putAll(nums...)
	if hits, all := count(t, c, nums...); hits != all {
		t.Errorf("%d hits of %d", hits, all)
	}
	c.Drop(testID(3))
	c.Drop(testID(99))
	if hits, _ := count(t, c, 3); hits != 0 {
		t.Error("hits after Drop")
	}
	if hits, all := count(t, c, 0, 1, 2, 4, 5, 6); hits != all {
		t.Errorf("%d hits of %d: Drop took others with it", hits, all)
	}
	for _, bad := range []struct {
		block uint32
		lo, n int
	}{{0, -1, 10}, {0, block, 1}, {0, block - 1, 2}, {1 << 31, 0, 1}, {9, 0, 1}} {
		if c.Get(testID(1), bad.block, bad.lo, make([]byte, bad.n)) {
			t.Errorf("%+v: a hit", bad)
		}
	}
	c.Put(testID(50), 3*block, 0, make([]byte, block-1)) // not a whole block
	c.Put(testID(50), 3*block, 3, make([]byte, block))   // no such block
	c.Put(testID(1), objectSize(1)+block, 0, make([]byte, block))
	c.idle()
	if err := c.settled(); err != nil {
		t.Error(err)
	}
	if m := c.Metrics(); m.Objects != 6 {
		t.Errorf("%d objects, want 6", m.Objects)
	}
}

func TestMoreThanFits(t *testing.T) {
	c := openTier(t, testOptions(t.TempDir(), 64))
	for num := range uint64(100) {
		c.putAll(num)
		if err := c.settled(); err != nil {
			t.Fatal(err)
		}
		if hits, all := count(t, c, num); hits != all {
			t.Fatalf("object %d: %d hits of %d right after the writes", num, hits, all)
		}
	}
	m := c.Metrics()
	if m.Capacity > m.Limit || m.Evicted == 0 || m.Used == 0 {
		t.Errorf("%v", m)
	}
	if size := dirSize(t, c.dir.path); size > testOptions("", 64).Size+64<<10 {
		t.Errorf("the directory has %d bytes", size)
	}
}

func dirSize(t *testing.T, dir string) (n int64) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		n += info.Size()
	}
	return n
}

func TestWarmAfterRestart(t *testing.T) {
	dir := t.TempDir()
	nums := []uint64{0, 1, 2, 3, 4, 5, 6}
	c, err := Open(testOptions(dir, 64))
	if err != nil {
		t.Fatal(err)
	}
	c.putAll(nums...)
	c.Drop(testID(5))
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		c = openTier(t, testOptions(dir, 64))
		if hits, all := count(t, c, 0, 1, 2, 3, 4, 6); hits != all {
			t.Errorf("%d hits of %d after a restart", hits, all)
		}
		if hits, _ := count(t, c, 5); hits != 0 {
			t.Error("a dropped object is back after a restart")
		}
		if err := c.settled(); err != nil {
			t.Error(err)
		}
		if m := c.Metrics(); m.Damaged != 0 || m.VerifyFailures != 0 {
			t.Errorf("%v", m)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// What waits for its write when the cache is closed is written.
func TestCloseWritesWhatWaits(t *testing.T) {
	dir := t.TempDir()
	c, err := Open(testOptions(dir, 64))
	if err != nil {
		t.Fatal(err)
	}
	c.Put(testID(1), objectSize(1), 0, blockOf(1, 0))
	c.Put(testID(1), objectSize(1), 1, blockOf(1, 1))
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if m := openTier(t, testOptions(dir, 64)).Metrics(); m.Loaded != 2 {
		t.Errorf("%d blocks after a restart, want 2", m.Loaded)
	}
}

// A crash at any write leaves a directory that opens, and nothing wrong in it.
func TestCrashAtEveryWrite(t *testing.T) {
	var full int
	for stop := int64(0); ; stop++ {
		dir := t.TempDir()
		o := testOptions(dir, 20)
		sys := &faultySystem{}
		sys.fail = func(op string, n int64, p []byte) (int, error) {
			switch {
			case op != "write" || n < stop:
				return len(p), nil
			case n == stop:
				return len(p) / 2, errCrashed // torn
			}
			return 0, errCrashed
		}
		o.System = sys
		c, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		for num := range uint64(8) {
			c.putAll(num)
		}
		done := sys.writes.Load() <= stop
		// The process ends here: no Close, only the lock goes.
		if err := c.dir.unlock(); err != nil {
			t.Fatal(err)
		}
		c.closeFiles()
		after := openTier(t, testOptions(dir, 20))
		hits, _ := count(t, after, 0, 1, 2, 3, 4, 5, 6, 7)
		full = max(full, hits)
		if err := after.settled(); err != nil {
			t.Fatal(err)
		}
		for num := range uint64(8) {
			after.Drop(testID(num)) // room, so that the policy has no say
		}
		after.putAll(3)
		if hits, all := count(t, after, 3); hits != all {
			t.Fatalf("after a crash at write %d: %d hits of %d newly written", stop, hits, all)
		}
		if err := after.Close(); err != nil {
			t.Fatal(err)
		}
		close(c.health.stop)
		close(c.jobs)
		c.writers.Wait()
		c.health.probes.Wait()
		if done {
			break
		}
	}
	if full < 10 {
		t.Errorf("at most %d blocks survived: this test proves nothing", full)
	}
}

var errCrashed = errors.New("crashed")

// TestFlippedByte flips bytes of every file, and cuts files off: what is read stays right.
func TestFlippedByte(t *testing.T) {
	dir := t.TempDir()
	c, err := Open(testOptions(dir, 40))
	if err != nil {
		t.Fatal(err)
	}
	nums := []uint64{0, 1, 2, 3, 4}
	c.putAll(nums...)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if files[n], err = os.ReadFile(n); err != nil {
			t.Fatal(err)
		}
	}
	restore := func() {
		for n, b := range files {
			if err := os.WriteFile(n, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	try := func(what string) {
		t.Helper()
		c, err := Open(testOptions(dir, 40))
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		hits, all := count(t, c, nums...)
		if err := c.settled(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		c.putAll(4)
		if h, a := count(t, c, 4); h != a {
			t.Fatalf("%s: %d hits of %d after new writes", what, h, a)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(what, "nothing") && hits != all {
			t.Fatalf("%d hits of %d", hits, all)
		}
		restore()
	}
	try("nothing")
	for n, b := range files {
		step := max(len(b)/150, 1)
		for at := 0; at < len(b); at += step {
			bad := bytes.Clone(b)
			bad[at] ^= 1 << (at % 8)
			if err := os.WriteFile(n, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			try(fmt.Sprintf("%s, byte %d", filepath.Base(n), at))
		}
		for _, keep := range []int{0, 1, len(b) / 2, len(b) - 1} {
			if keep >= 0 && keep < len(b) {
				if err := os.WriteFile(n, b[:keep], 0o600); err != nil {
					t.Fatal(err)
				}
				try(fmt.Sprintf("%s, cut to %d", filepath.Base(n), keep))
			}
		}
		if filepath.Base(n) != lockName {
			if err := os.Remove(n); err != nil {
				t.Fatal(err)
			}
			try(filepath.Base(n) + " removed")
		}
	}
}

func TestConcurrentUse(t *testing.T) {
	c := openTier(t, testOptions(t.TempDir(), 64))
	var all sync.WaitGroup
	for g := range uint64(8) {
		all.Go(func() {
			for i := range uint64(1500) {
				num := (i*7 + g*13) % 40
				b := uint32(i % 9)
				data := blockOf(num, b)
				if data == nil {
					continue
				}
				switch i % 8 {
				case 0, 1, 2:
					c.Put(testID(num), objectSize(num), b, data)
				case 3:
					if i%32 == 3 {
						c.Drop(testID(num))
					}
				case 4:
					if g == 0 && i%100 == 4 {
						c.SetSize(testOptions("", 32+int(i%3)*16).Size)
					}
				default:
					if _, err := c.check(num, b); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	all.Wait()
	c.idle()
	if err := c.settled(); err != nil {
		t.Error(err)
	}
	if m := c.Metrics(); m.VerifyFailures != 0 || m.ReadErrors != 0 || m.Hits == 0 {
		t.Errorf("%v", m)
	}
}

// TestSlotsAreAligned: a slot lies at a multiple of its size, where the page cache of the operating system has one piece for it.
func TestSlotsAreAligned(t *testing.T) {
	for size := 512; size <= 1<<20; size *= 2 {
		for _, slots := range []int{16, 17, 8192} {
			l := newLayout(size, slots)
			if first := l.blockAt(0); first%int64(max(size, pageSize)) != 0 || first < l.recordAt(slots) {
				t.Errorf("blocks of %d, %d slots: the first is at %d, the records end at %d", size, slots, first, l.recordAt(slots))
			}
			if l.blockAt(1)-l.blockAt(0) != int64(size) || l.size() != l.blockAt(slots-1)+int64(size) {
				t.Errorf("blocks of %d, %d slots: not side by side", size, slots)
			}
		}
	}
}
