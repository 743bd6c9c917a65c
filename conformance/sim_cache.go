package conformance

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/forst-go/forst/cache"
	"github.com/forst-go/forst/cache/disk"
)

// simDisks gives each process a cache on disk that holds what the one before it left there: a copy of its directory as it is at that moment, in the
// middle of its writes, as after a crash of the machine; and sometimes some bits of it have flipped. No byte of it may ever reach a reader as
// something else than it was.
type simDisks struct {
	root string
	note func(what string)

	mu     sync.Mutex
	r      *rand.Rand
	last   string
	number int
	caches []*cache.Cache
}

func newSimDisks(seed uint64, note func(string)) (*simDisks, error) {
	root, err := os.MkdirTemp("", "forst-sim-cache-")
	return &simDisks{root: root, note: note, r: rand.New(rand.NewPCG(seed, 80))}, err
}

// next opens the cache of a new process.
func (d *simDisks) next() (*cache.Cache, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.number++
	dir := filepath.Join(d.root, fmt.Sprint(d.number))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	if d.last != "" {
		if err := d.inherit(dir); err != nil {
			return nil, err
		}
	}
	d.last = dir
	c, err := cache.New(&cache.Options{Memory: 16 << 10, BlockSize: 512, FetchSize: 2 << 10, TailSize: 1 << 10, Disk: disk.Options{Dir: dir, Size: 128 << 10, Reserve: -1, Buffer: 32 << 10}})
	if err != nil {
		return nil, err
	}
	d.caches = append(d.caches, c)
	d.note("cache on disk")
	return c, nil
}

// inherit copies the files of the last process, and flips bits of them half of the time.
func (d *simDisks) inherit(dir string) error {
	entries, err := os.ReadDir(d.last)
	if err != nil {
		return err
	}
	flip := d.r.IntN(2) == 0
	for _, e := range entries {
		if e.Name() == "LOCK" {
			continue
		}
		b, err := os.ReadFile(filepath.Join(d.last, e.Name()))
		if errors.Is(err, os.ErrNotExist) {
			continue // the cache is alive
		}
		if err != nil {
			return err
		}
		// A damaged marker empties the cache; so not each time.
		if flip && len(b) > 0 && (strings.HasPrefix(e.Name(), "slots-") || d.r.IntN(4) == 0) {
			for range 1 + d.r.IntN(20) {
				b[d.r.IntN(len(b))] ^= 1 << d.r.IntN(8)
			}
			d.note("cache damaged")
		}
		if err := os.WriteFile(filepath.Join(dir, e.Name()), b, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// close ends the caches when no volume uses them any more.
func (d *simDisks) close() error {
	var errs []error
	for _, c := range d.caches {
		d.used(c.Metrics())
		errs = append(errs, c.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(d.root))...)
}

func (d *simDisks) used(m cache.Metrics) {
	for range min(m.Disk.Hits, 1) {
		d.note("cache on disk served")
	}
	for range min(m.Disk.VerifyFailures+m.Disk.Damaged, 1) {
		d.note("cache damage met")
	}
}
