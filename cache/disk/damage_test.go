package disk

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// What may happen to the files of a cache without the cache: crashes, bits that flip, ranges that are written by somebody else or to a wrong place. Whatever
// it is, a hit is right, the inside stays in order, and what is put afterwards is found.

// image is a cache directory at rest, with some objects in it.
type image struct {
	names []string // sorted
	files map[string][]byte
	nums  []uint64
}

const imageSlots = 20

func newImage(dir string) (*image, error) {
	m := &image{files: map[string][]byte{}, nums: []uint64{0, 1, 2, 3}}
	c, err := Open(testOptions(dir, imageSlots))
	if err != nil {
		return nil, err
	}
	c.putAll(m.nums...)
	c.Drop(testID(1)) // its record is cleared by Close
	c.putAll(5)
	m.nums = append(m.nums, 5)
	if err := c.Close(); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.Name() == lockName {
			continue
		}
		m.names = append(m.names, e.Name())
		if m.files[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// damage is a change of one file: these bytes at this place, xored with what is there or, with move set, those of the same file from another place.
type damage struct {
	file int // modulo the number of files
	at   uint32
	data []byte
	move bool
	from uint32
	live bool // while the cache is open; else before it is opened
}

func (m *image) apply(d damage) (name string, at int64, data []byte) {
	name = m.names[d.file%len(m.names)]
	b := m.files[name]
	off := int(d.at) % len(b)
	n := min(len(d.data), len(b)-off)
	data = slices.Clone(b[off : off+n])
	for i := range data {
		if d.move {
			data[i] = b[(int(d.from)%len(b)+i)%len(b)]
		} else {
			data[i] ^= d.data[i]
		}
	}
	return name, int64(off), data
}

// check puts the image into dir, damages it and uses the cache.
func (m *image) check(dir string, d damage) error {
	for name, b := range m.files {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			return err
		}
	}
	hurt := func() error {
		name, at, data := m.apply(d)
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDWR|os.O_CREATE, 0o600) // the heat is used once, and removed
		if err != nil {
			return err
		}
		_, err = f.WriteAt(data, at)
		return errors.Join(err, f.Close())
	}
	if !d.live {
		if err := hurt(); err != nil {
			return err
		}
	}
	for life := range 2 {
		c, err := Open(testOptions(dir, imageSlots))
		if err != nil {
			return err
		}
		if d.live && life == 0 {
			err = hurt()
		}
		err = errors.Join(err, m.use(c), c.Close())
		if err != nil {
			return fmt.Errorf("life %d: %w", life, err)
		}
	}
	return nil
}

func (m *image) use(c *Tier) error {
	if _, _, err := c.hits(m.nums...); err != nil {
		return err
	}
	if err := c.settled(); err != nil {
		return err
	}
	for num := range uint64(8) { // room, so that the policy has no say
		c.Drop(testID(num))
	}
	c.putAll(4)
	if hits, all, err := c.hits(4); err != nil || hits != all {
		return fmt.Errorf("%d hits of %d after new writes (%v)", hits, all, err)
	}
	return nil
}

// FuzzDamage overwrites any range of any file of a cache, before it is opened or while it is in use, with any bytes or with those of another place.
func FuzzDamage(f *testing.F) {
	m, err := newImage(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	for file := range m.names {
		for _, at := range []uint32{0, 9, 35, 4096, 4096 + 44, 4096 + 60, 4096 + 75, 9000, 20000} {
			f.Add(uint8(file), at, []byte{1}, false, uint32(0), at%2 == 0)
		}
		f.Add(uint8(file), uint32(4096), make([]byte, 128), true, uint32(4096+128), false) // a record in another one's place
		f.Add(uint8(file), uint32(0), bytes.Repeat([]byte{255}, 5000), false, uint32(0), true)
	}
	f.Fuzz(func(t *testing.T, file uint8, at uint32, data []byte, move bool, from uint32, live bool) {
		if err := m.check(t.TempDir(), damage{int(file), at, data, move, from, live}); err != nil {
			t.Fatal(err)
		}
	})
}

// checkDamage is the part of FuzzDamage that mutants must not survive: a flipped bit in each field of a record, and in a block.
func checkDamage(dir string) error {
	m, err := newImage(dir)
	if err != nil {
		return err
	}
	slots := slices.IndexFunc(m.names, func(n string) bool { return strings.HasPrefix(n, slotsPrefix) })
	for _, at := range []uint32{4096 + 1, 4096 + 8, 4096 + 40, 4096 + 48, 4096 + 56, 4096 + 60, 12_345, 30_000} {
		for bit := range 3 {
			if err := m.check(dir, damage{file: slots, at: at, data: []byte{1 << bit}}); err != nil {
				return fmt.Errorf("byte %d: %w", at, err)
			}
		}
	}
	return nil
}

func TestDamage(t *testing.T) {
	if err := checkDamage(t.TempDir()); err != nil {
		t.Fatal(err)
	}
}

// What a process leaves that dies at a write has no block whose bytes are wrong: the record is the last thing that is written.
func TestCrashLeavesNoBadBlock(t *testing.T) {
	if err := checkCrash(t.TempDir()); err != nil {
		t.Fatal(err)
	}
}

func checkCrash(dir string) error {
	for stop := range int64(14) {
		dir := filepath.Join(dir, fmt.Sprint(stop))
		o := testOptions(dir, imageSlots)
		o.System = &faultySystem{fail: func(op string, n int64, p []byte) (int, error) {
			if op == "write" && n >= stop {
				return 0, errCrashed
			}
			return len(p), nil
		}}
		c, err := Open(o)
		if err != nil {
			return err
		}
		c.putAll(3)
		r, err := inspectBeside(c)
		if err = errors.Join(err, c.Close()); err != nil {
			return err
		}
		if r.Bad > 0 {
			return fmt.Errorf("a crash at write %d: %d bad blocks", stop, r.Bad)
		}
	}
	return nil
}

// inspectBeside verifies the files of a cache that is open, as if its process had died.
func inspectBeside(c *Tier) (Report, error) {
	if err := c.dir.unlock(); err != nil {
		return Report{}, err
	}
	r, err := Inspect(c.dir.path, true, nil)
	if err != nil {
		return r, err
	}
	c.dir.unlock, err = lock(filepath.Join(c.dir.path, lockName))
	return r, err
}

// checkRestart closes a cache and opens it again: what is there is right.
func checkRestart(dir string) error {
	for range 2 {
		c, err := Open(testOptions(dir, 64))
		if err != nil {
			return err
		}
		c.putAll(0, 1, 2, 3)
		hits, all, err := c.hits(0, 1, 2, 3)
		if err = errors.Join(err, c.settled(), c.Close()); err != nil {
			return err
		}
		if hits != all {
			return fmt.Errorf("%d hits of %d", hits, all)
		}
	}
	return nil
}

// checkLock opens a directory twice.
func checkLock(dir string) error {
	c, err := Open(testOptions(dir, 64))
	if err != nil {
		return err
	}
	d, err := Open(testOptions(dir, 64))
	if err == nil {
		return errors.Join(errors.New("a second owner of the directory"), d.Close(), c.Close())
	}
	if !errors.Is(err, ErrLocked) {
		return errors.Join(err, c.Close())
	}
	return c.Close()
}

func TestRestartAndLock(t *testing.T) {
	for _, check := range []func(string) error{checkRestart, checkLock} {
		if err := check(t.TempDir()); err != nil {
			t.Fatal(err)
		}
	}
}
