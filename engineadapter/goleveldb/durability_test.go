package goleveldb_test

import (
	"errors"
	"testing"

	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/opt"
	"github.com/syndtr/goleveldb/leveldb/storage"
	"github.com/syndtr/goleveldb/leveldb/util"

	"github.com/forst-go/forst/conformance"
	"github.com/forst-go/forst/engineadapter/goleveldb"
	"github.com/forst-go/forst/engineadapter/internal/enginetest"
	"github.com/forst-go/forst/forstfs"
)

// levelEngine is goleveldb as the durability suite drives it.
var levelEngine = conformance.Engine{Name: "goleveldb", Open: func(vol *forstfs.FS, dir string, o conformance.EngineOptions) (conformance.Database, error) {
	s, err := goleveldb.Open(vol, dir, nil)
	if err != nil {
		return nil, err
	}
	db, err := leveldb.Open(s, goleveldb.Tune(&opt.Options{ErrorIfMissing: o.MustExist, WriteBuffer: 8 << 10, CompactionTableSize: 8 << 10,
		CompactionTotalSize: 8 << 10, BlockSize: 1 << 10, BlockCacheCapacity: 64 << 10, MaxManifestFileSize: 4 << 10}))
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return &levelDB{db, s}, nil
}}

type levelDB struct {
	db *leveldb.DB
	s  storage.Storage
}

func (l *levelDB) Commit(changes []conformance.Change, sync bool) error {
	b := new(leveldb.Batch)
	for _, c := range changes {
		if c.Remove {
			b.Delete(c.Key)
		} else {
			b.Put(c.Key, c.Value)
		}
	}
	return l.db.Write(b, &opt.WriteOptions{Sync: sync})
}

func (l *levelDB) Scan(yield func(k, v []byte)) error {
	it := l.db.NewIterator(&util.Range{}, nil)
	defer it.Release()
	for it.Next() {
		yield(it.Key(), it.Value())
	}
	return it.Error()
}

// Flush: goleveldb writes its memory to a table when it compacts.
func (l *levelDB) Flush() error   { return l.db.CompactRange(util.Range{}) }
func (l *levelDB) Compact() error { return l.db.CompactRange(util.Range{Start: []byte("w0/k050")}) }
func (l *levelDB) Close() error   { return errors.Join(l.db.Close(), l.s.Close()) }

func TestMain(m *testing.M) { enginetest.Main(m, levelEngine) }

func TestDurability(t *testing.T) { enginetest.Durability(t, levelEngine) }
