// Package bitcask is a small storage engine on a volume, written by docs/engine-guide.md: a log that is appended to, an index in memory, and tables that a compaction
// writes. It is an example of what an engine asks of a volume, and its test of how it is held against the durability suite. It is not for production:
// all keys are in memory, and a compaction stops the writers.
package bitcask

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"sync"

	"github.com/forst-go/forst/forstfs"
)

// DB is an open database. Methods may be called from many goroutines at once, Close last.
type DB struct {
	vol  *forstfs.FS
	dir  string
	lock io.Closer

	mu    sync.RWMutex
	index map[string]value
	files []*forstfs.File // what the index points into; the last one is the log
	num   int             // the number of the log
	size  int64           // of the log
	err   error           // of the log: nothing is written behind a hole
}

// value is where a value lies.
type value struct {
	f   *forstfs.File
	off int64
	n   int
}

// Change sets a key, or removes it.
type Change struct {
	Key, Value []byte
	Remove     bool
}

// maxLog is the size at which a new log is begun, in bytes. Tests make it small.
var maxLog int64 = 1 << 20

var ctx = context.Background() // the volume bounds each request by itself

func (db *DB) at(name string) string  { return path.Join(db.dir, name) }
func (db *DB) log(n int) string       { return db.at(fmt.Sprintf("%06d.log", n)) }
func (db *DB) tableName(n int) string { return db.at(fmt.Sprintf("%06d.sst", n)) }

// Open opens the database in a directory of a volume, and makes it unless mustExist. The caller closes the database before the volume.
func Open(vol *forstfs.FS, dir string, mustExist bool) (_ *DB, err error) {
	db := &DB{vol: vol, dir: dir, index: map[string]value{}}
	if err := vol.MkdirAll(ctx, dir); err != nil {
		return nil, err
	}
	if db.lock, err = vol.Lock(ctx, db.at("LOCK")); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, db.closeAll())
		}
	}()
	table, err := db.current()
	switch {
	case errors.Is(err, fs.ErrNotExist) && !mustExist: // and no other error: a store out of reach is no empty database
		if err := db.setCurrent(0); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, err
	}
	if table > 0 {
		if err := db.load(db.tableName(table)); err != nil {
			return nil, err
		}
	}
	// Logs that a compaction has folded into the table have lower numbers. What a crash kept of a log is a prefix; the next one was begun with
	// that, so the order goes on behind it.
	names, err := vol.List(ctx, dir) // in order
	if err != nil {
		return nil, err
	}
	db.num = table
	for _, name := range names {
		digits, ext, _ := strings.Cut(name, ".")
		n, err := strconv.Atoi(digits)
		if err != nil || ext != "log" && ext != "sst" {
			continue
		}
		if ext == "log" && n > table {
			if err := db.load(db.at(name)); err != nil {
				return nil, err
			}
		} else if n != table || ext == "log" { // of a compaction that was not finished, or whose cleaning up was not
			if err := vol.Remove(ctx, db.at(name)); err != nil {
				return nil, err
			}
		}
		db.num = max(db.num, n)
	}
	return db, db.begin()
}

// current reads the number of the table, 0 for none.
func (db *DB) current() (int, error) {
	f, err := db.vol.Open(ctx, db.at("CURRENT"), nil)
	if err != nil {
		return 0, err
	}
	b, err := io.ReadAll(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return 0, err
	}
	return strconv.Atoi(string(b))
}

// setCurrent is durable on return; a crash finds the old or the new one.
func (db *DB) setCurrent(table int) error {
	f, err := db.vol.Create(ctx, db.at("CURRENT.next"), nil)
	if err != nil {
		return err
	}
	_, err = f.Write([]byte(strconv.Itoa(table)))
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := db.vol.Rename(ctx, db.at("CURRENT.next"), db.at("CURRENT")); err != nil {
		return err
	}
	return db.vol.Sync(ctx)
}

// begin starts the next log. The one before is in the order before it, because its bytes are synced first.
func (db *DB) begin() error {
	if n := len(db.files); n > 0 {
		if err := db.files[n-1].Sync(); err != nil {
			return err
		}
	}
	f, err := db.vol.Create(ctx, db.log(db.num+1), nil)
	if err != nil {
		return err
	}
	db.num, db.size, db.files = db.num+1, 0, append(db.files, f)
	return nil
}

// A record is the sum of its body, the length of its body, and its body: for each change the lengths of key and value plus one, 0 for a removal, and both.
func record(changes []Change) []byte {
	b := make([]byte, 8)
	for _, c := range changes {
		n := uint64(len(c.Value)) + 1
		if c.Remove {
			n, c.Value = 0, nil
		}
		b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(len(c.Key))), n)
		b = append(append(b, c.Key...), c.Value...)
	}
	binary.LittleEndian.PutUint32(b[4:], uint32(len(b)-8))
	binary.LittleEndian.PutUint32(b, crc32.ChecksumIEEE(b[8:]))
	return b
}

// apply puts a record that lies at off of f into the index.
func (db *DB) apply(f *forstfs.File, off int64, b []byte) error {
	for i := 8; i < len(b); {
		k, a := binary.Uvarint(b[i:])
		n, c := binary.Uvarint(b[i+max(a, 0):])
		if a <= 0 || c <= 0 || k > uint64(len(b)) || n > uint64(len(b))+1 || i+a+c+int(k)+max(int(n)-1, 0) > len(b) {
			return fmt.Errorf("%s is damaged at %d", f.Name(), off)
		}
		i += a + c
		key := string(b[i : i+int(k)])
		i += int(k)
		if n == 0 {
			delete(db.index, key)
			continue
		}
		db.index[key] = value{f, off + int64(i), int(n) - 1}
		i += int(n) - 1
	}
	return nil
}

// load reads a file into the index, as far as its records are whole.
func (db *DB) load(name string) error {
	f, err := db.vol.Open(ctx, name, &forstfs.OpenOptions{Access: forstfs.AccessSequential})
	if err != nil {
		return err
	}
	db.files = append(db.files, f)
	b, err := io.ReadAll(f)
	f.SetAccess(forstfs.AccessRandom)
	for off := 0; err == nil && len(b)-off >= 8; {
		n := int(binary.LittleEndian.Uint32(b[off+4:])) + 8
		if n > len(b)-off || crc32.ChecksumIEEE(b[off+8:off+n]) != binary.LittleEndian.Uint32(b[off:]) {
			break
		}
		err = db.apply(f, int64(off), b[off:off+n])
		off += n
	}
	return err
}

// Commit makes the changes, all or none; nil with sync means for good, and everything committed before with them.
func (db *DB) Commit(changes []Change, sync bool) error {
	log, err := db.append(changes)
	if err == nil && sync {
		err = log.Sync() // beside others, which share a request
	}
	return err
}

func (db *DB) append(changes []Change) (*forstfs.File, error) {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.err != nil {
		return nil, db.err
	}
	if db.size >= maxLog {
		if db.err = db.begin(); db.err != nil {
			return nil, db.err
		}
	}
	log, b := db.files[len(db.files)-1], record(changes)
	if _, db.err = log.Write(b); db.err != nil {
		return nil, db.err
	}
	db.err = db.apply(log, db.size, b)
	db.size += int64(len(b))
	return log, db.err
}

// Scan gives everything there is, in any order.
func (db *DB) Scan(yield func(key, value []byte)) error {
	db.mu.RLock()
	defer db.mu.RUnlock()
	for key, v := range db.index {
		b := make([]byte, v.n)
		if _, err := v.f.ReadAt(b, v.off); err != nil {
			return err
		}
		yield([]byte(key), b)
	}
	return nil
}

// Flush makes every commit durable.
func (db *DB) Flush() error {
	db.mu.RLock()
	log := db.files[len(db.files)-1]
	db.mu.RUnlock()
	return log.Sync()
}

// Compact writes what there is to a table, and removes everything else.
func (db *DB) Compact() error {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.err == nil {
		db.err = db.compact()
	}
	return db.err
}

func (db *DB) compact() error {
	old, last, index := db.files, db.num, db.index
	db.num++
	f, err := db.vol.Create(ctx, db.tableName(db.num), nil) // the name says that it is written in bulk
	if err != nil {
		return err
	}
	for key, v := range index {
		b := make([]byte, v.n)
		if _, err = v.f.ReadAt(b, v.off); err == nil {
			_, err = f.Write(record([]Change{{Key: []byte(key), Value: b}}))
		}
		if err != nil {
			return errors.Join(err, f.Close())
		}
	}
	if err := f.Close(); err != nil { // the bytes are in the store, before anything refers to them
		return err
	}
	if err := db.setCurrent(db.num); err != nil {
		return err
	}
	table := db.num
	db.index, db.files = map[string]value{}, nil
	if err := db.load(db.tableName(table)); err != nil {
		return err
	}
	if err := db.begin(); err != nil {
		return err
	}
	for _, f := range old {
		if err := f.Close(); err != nil {
			return err
		}
	}
	names, err := db.vol.List(ctx, db.dir)
	for _, name := range names {
		if n, nerr := strconv.Atoi(strings.TrimRight(name, ".logst")); nerr == nil && n <= last && err == nil {
			err = db.vol.Remove(ctx, db.at(name))
		}
	}
	return err
}

// Close ends the database; nil means that everything is durable.
func (db *DB) Close() error {
	db.mu.Lock()
	defer db.mu.Unlock()
	err := db.err
	if err == nil {
		err = db.vol.Sync(ctx)
	}
	return errors.Join(err, db.closeAll())
}

func (db *DB) closeAll() (err error) {
	for _, f := range db.files {
		err = errors.Join(err, f.Close())
	}
	return errors.Join(err, db.lock.Close())
}
