package pebbleremote

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/forst-go/forst/cache"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/mutant"
)

// ErrUnfinished is the error of closing a table that has no end: Pebble gives a table up by closing it early.
var ErrUnfinished = errors.New("a table without its end was closed: taken for one that was given up, and not stored. Put files that are no tables under a name that does not end in .sst")

// The last eight bytes of every table, by format: Pebble's, RocksDB's and LevelDB's.
var tableEnds = []string{"\xf0\x9f\xaa\xb3\xf0\x9f\xaa\xb3", "\xf7\xcf\xf4\x85\xb7\x41\xe2\x88", "\x57\xfb\x80\x8b\x24\x75\x47\xdb"}

// writer collects an object.
type writer struct {
	s    *Storage
	name string
	buf  []byte
	err  error // why it cannot be stored
	done bool
}

// CreateObject begins an object, which is collected in memory, at most Options.MaxObject bytes of it, and stored by Close with one PUT: until then nothing of it is
// in the store, and one that has the name already stays as it is. When Close returns nil the object is durable, as a whole, and its blocks are in the cache; after an
// error there is no object or, if the store did not answer, perhaps one that nobody refers to.
//
// Pebble gives a table up by closing it, too. It is known by its missing end, and is not stored: Close returns ErrUnfinished. That goes for names that end in ".sst".
// The writer is for one goroutine.
func (s *Storage) CreateObject(name string) (io.WriteCloser, error) {
	if err := s.check("put", name); err != nil {
		return nil, err
	}
	if err := driver.CheckKey(name); err != nil {
		return nil, &driver.Error{Op: "put", Path: name, Kind: driver.KindInvalid, Err: err}
	}
	return &writer{s: s, name: name}, nil
}

func (w *writer) fail(kind driver.Kind, err error) error {
	w.err = &driver.Error{Op: "put", Path: w.name, Kind: kind, Err: err}
	w.buf = nil
	return w.err
}

func (w *writer) Write(p []byte) (int, error) {
	switch {
	case w.err != nil:
		return 0, w.err
	case w.done:
		return 0, &driver.Error{Op: "put", Path: w.name, Kind: driver.KindClosed, Err: errors.New("written to after Close")}
	case int64(len(p)) > w.s.max-int64(len(w.buf)):
		return 0, w.fail(driver.KindInvalid, fmt.Errorf("larger than the %d bytes that one object may have: lower pebble.Options.TargetFileSizes and FlushSplitBytes, or raise "+
			"pebbleremote.Options.MaxObject if the memory is there (the store's own limit: %s)", w.s.max, limit(w.s.store.Capabilities().MaxObject)))
	}
	w.buf = append(w.buf, p...)
	return len(p), nil
}

func limit(n int64) string {
	if n == 0 {
		return "none"
	}
	return fmt.Sprint(n)
}

func (w *writer) Close() error {
	if w.done || w.err != nil {
		return w.err
	}
	w.done = true
	if err := w.s.check("put", w.name); err != nil {
		return w.fail(driver.KindClosed, err)
	}
	if strings.HasSuffix(w.name, ".sst") && !complete(w.buf) && !mutant.On("pebbleremote/given-up-is-stored") {
		return w.fail(driver.KindInvalid, ErrUnfinished)
	}
	s := w.s
	s.replace(w.name, nil)
	if err := s.store.Put(s.ctx, w.name, w.buf, driver.PutOptions{}); err != nil {
		w.err, w.buf = err, nil
		if driver.KindOf(err) != driver.KindInvalid && !mutant.On("pebbleremote/failed-put-stays") {
			// It may be there all the same. Pebble will never refer to it, nor delete it.
			_ = s.store.Delete(s.ctx, []string{w.name})
		}
		return err
	}
	var o *object // an empty one is a marker: nobody reads it
	if len(w.buf) > 0 {
		o = &object{info: driver.Info{Size: int64(len(w.buf))}, own: true, num: s.nums.Add(1)}
		s.cache.Insert(s.cacheID(o), o.info.Size, 0, w.buf, cache.ReasonWrite)
	}
	s.replace(w.name, o)
	w.buf = nil
	return nil
}

// complete reports whether data ends as a table does.
func complete(data []byte) bool {
	for _, end := range tableEnds {
		if strings.HasSuffix(string(data[max(0, len(data)-len(end)):]), end) {
			return true
		}
	}
	return false
}
