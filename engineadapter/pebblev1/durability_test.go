package pebblev1_test

import (
	"errors"
	"fmt"
	"runtime"
	"testing"

	"github.com/cockroachdb/pebble"

	"github.com/forst-go/forst/conformance"
	"github.com/forst-go/forst/engineadapter/internal/enginetest"
	"github.com/forst-go/forst/engineadapter/pebblev1"
	"github.com/forst-go/forst/forstfs"
)

// pebbleEngine is Pebble as the durability suite drives it.
var pebbleEngine = conformance.Engine{Name: "pebblev1", EndsProcess: true, Open: func(vol *forstfs.FS, dir string, o conformance.EngineOptions) (conformance.Database, error) {
	ended := func(err error) { // in good order: Pebble never learns of it
		o.Fatal(err.Error())
		select {}
	}
	po := &pebble.Options{
		FS:                    pebblev1.NewGuarded(vol, ended),
		ErrorIfNotExists:      o.MustExist,
		Logger:                fatalLogger{o.Fatal},
		MemTableSize:          8 << 10,
		L0CompactionThreshold: 2,
		LBaseMaxBytes:         16 << 10,
		MaxManifestFileSize:   128 << 20, // a new MANIFEST in the background, when the volume has failed, is a panic that nobody can catch
		BytesPerSync:          4 << 10,
	}
	po.Cache = pebble.NewCache(256 << 10)
	defer po.Cache.Unref()
	db, err := pebble.Open(dir, pebblev1.Tune(po))
	if err != nil {
		return nil, err
	}
	return &pebbleDB{db}, nil
}}

// fatalLogger stops the goroutine that Pebble would end the process from.
type fatalLogger struct{ fatal func(string) }

func (fatalLogger) Infof(string, ...any)  {}
func (fatalLogger) Errorf(string, ...any) {}
func (l fatalLogger) Fatalf(format string, args ...any) {
	l.fatal(fmt.Sprintf(format, args...))
	runtime.Goexit()
}

type pebbleDB struct{ db *pebble.DB }

func (p *pebbleDB) Commit(changes []conformance.Change, sync bool) error {
	b := p.db.NewBatch()
	for _, c := range changes {
		if c.Remove {
			if err := b.Delete(c.Key, nil); err != nil {
				return err
			}
		} else if err := b.Set(c.Key, c.Value, nil); err != nil {
			return err
		}
	}
	return b.Commit(&pebble.WriteOptions{Sync: sync})
}

func (p *pebbleDB) Scan(yield func(k, v []byte)) error {
	it, err := p.db.NewIter(nil)
	if err != nil {
		return err
	}
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return errors.Join(err, it.Close())
		}
		yield(it.Key(), v)
	}
	return it.Close() // gives the iterator's error, too
}

func (p *pebbleDB) Flush() error   { return p.db.Flush() }
func (p *pebbleDB) Compact() error { return p.db.Compact([]byte("w0"), []byte("w1"), false) }
func (p *pebbleDB) Close() error   { return p.db.Close() }

func TestMain(m *testing.M) { enginetest.Main(m, pebbleEngine) }

func TestDurability(t *testing.T) { enginetest.Durability(t, pebbleEngine) }
