package pebblev2_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"

	"github.com/cockroachdb/pebble/v2"

	"github.com/forst-go/forst/engineadapter/pebblev2"
	"github.com/forst-go/forst/forstfs"
)

// cachedDB is a database over a cache directory that is too small for it, so that blocks come and go, with next to nothing in memory. Operation i is the same
// in every process, so that whoever opens the database knows all of it from the number of the last operation, which each operation writes.
type cachedDB struct {
	db    *pebble.DB
	model map[string]string
	seq   int
	rnd   *rand.Rand
}

// cachedOptions are those of the volume.
func cachedOptions(dir string) *forstfs.Options {
	return &forstfs.Options{CacheDir: dir, CacheDiskBytes: 1600 << 10, CacheReserve: -1, CacheBytes: 256 << 10,
		ObjectSize: 256 << 10, ImageFrames: 200, ImageBytes: 1 << 20}
}

// openCached opens the database, and checks all of it; fatal ends the process or the goroutine, corrupt hears of what Pebble finds wrong.
func openCached(vol *forstfs.FS, seed uint64, fatal func(string), corrupt func(error)) (*cachedDB, error) {
	o := options(pebblev2.New(vol))
	o.CacheSize = 64 << 10
	o.Logger = fatalLogger{fatal}
	corruption(o, corrupt)
	db, err := pebble.Open("/db", o)
	if err != nil {
		return nil, err
	}
	c := &cachedDB{db: db, model: map[string]string{}, rnd: rand.New(rand.NewPCG(seed, 7))}
	have, err := scan(db)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	seq, _ := strconv.Atoi(have["seq"])
	for range seq {
		for k, v := range c.next() {
			c.model[k] = v
		}
	}
	if len(have) != len(c.model) {
		return nil, errors.Join(fmt.Errorf("after %d operations %d keys, want %d", seq, len(have), len(c.model)), db.Close())
	}
	for k, v := range c.model {
		if have[k] != v {
			return nil, errors.Join(fmt.Errorf("after %d operations %s has a wrong value in a scan", seq, k), db.Close())
		}
	}
	return c, nil
}

const cachedKeys = 6000

// next is the next operation.
func (c *cachedDB) next() map[string]string {
	c.seq++
	r := rand.New(rand.NewPCG(11, uint64(c.seq)))
	set := map[string]string{"seq": strconv.Itoa(c.seq)}
	for range 40 {
		k := fmt.Sprintf("key%05d", r.IntN(cachedKeys))
		var b []byte
		for len(b) < 400 {
			b = binary.LittleEndian.AppendUint64(b, r.Uint64())
		}
		set[k] = k + string(b)
	}
	return set
}

// write makes an operation durable.
func (c *cachedDB) write() error {
	b := c.db.NewBatch()
	for k, v := range c.next() {
		c.model[k] = v
		if err := b.Set([]byte(k), []byte(v), nil); err != nil {
			return err
		}
	}
	return b.Commit(pebble.Sync)
}

// read checks some keys, and now and then a range.
func (c *cachedDB) read(n int) error {
	for i := range n {
		k := fmt.Sprintf("key%05d", c.rnd.IntN(cachedKeys))
		if i%20 == 19 {
			if err := c.readRange(k, 30); err != nil {
				return err
			}
			continue
		}
		want, there := c.model[k]
		v, closer, err := c.db.Get([]byte(k))
		switch {
		case errors.Is(err, pebble.ErrNotFound) && !there:
		case err != nil:
			return fmt.Errorf("%s: %w", k, err)
		default:
			got := string(v)
			if err := closer.Close(); err != nil {
				return err
			}
			if !there || got != want {
				return fmt.Errorf("%s has a wrong value", k)
			}
		}
	}
	return nil
}

func (c *cachedDB) readRange(from string, rows int) error {
	it, err := c.db.NewIter(&pebble.IterOptions{LowerBound: []byte(from), UpperBound: []byte("key~")})
	if err != nil {
		return err
	}
	for ok := it.First(); ok && rows > 0; ok = it.Next() {
		if v, err := it.ValueAndErr(); err != nil || c.model[string(it.Key())] != string(v) {
			return errors.Join(fmt.Errorf("%s has a wrong value in a range: %w", it.Key(), err), it.Close())
		}
		rows--
	}
	return it.Close()
}

// cachedChild is the life of a process that is to be killed: it checks the whole database and then reads and writes, and says how far it is.
func cachedChild(out io.Writer, store, dir string, seed uint64) error {
	ctx := context.Background()
	s, err := openHome(ctx, store)
	if err != nil {
		return err
	}
	vol, err := forstfs.Open(ctx, s, volOptions(cachedOptions(dir)))
	if err != nil {
		return err
	}
	c, err := openCached(vol, seed, func(what string) { panic(what) }, func(err error) { panic(err) })
	if err != nil {
		return err
	}
	if err := c.read(200); err != nil {
		return err
	}
	m := vol.Metrics().Cache.Disk
	fmt.Fprintf(out, "found %d loaded %d hits %d bad %d\n", c.seq, m.Loaded, m.Hits, m.VerifyFailures)
	for {
		if err := c.write(); err != nil {
			return err
		}
		fmt.Fprintf(out, "wrote %d\n", c.seq)
		if err := c.read(20); err != nil {
			return err
		}
	}
}
