package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"time"
)

// dataSet is what a demo loads: records 0, 1, 2, ... whose keys and values depend on the data set and the number alone, so that
// the process that verifies needs nothing from the process that wrote. Safe for concurrent use.
type dataSet interface {
	// Len is the number of records.
	Len() int64
	// Bytes is the approximate size of keys and values together.
	Bytes() int64
	// Key appends the key of record i to dst.
	Key(dst []byte, i int64) []byte
	// Value appends the value of record i to dst.
	Value(dst []byte, i int64) ([]byte, error)
	String() string
	Close() error
}

// openData makes the data set that the options of a demo ask for.
func openData(input string, records int64, seed uint64) (dataSet, error) {
	if input == "" {
		return ycsb{n: records, seed: seed}, nil
	}
	return openLines(input, records)
}

// ycsb is the load phase of the YCSB core workloads: hashed keys, ten fields of 100 printable bytes.
type ycsb struct {
	n    int64
	seed uint64
}

const (
	ycsbFields = 10
	ycsbField  = 100
	ycsbKey    = len("user") + 20
)

func (y ycsb) Len() int64     { return y.n }
func (y ycsb) Bytes() int64   { return y.n * int64(ycsbKey+ycsbFields*ycsbField) }
func (y ycsb) String() string { return fmt.Sprintf("%s YCSB records", count(y.n)) }
func (y ycsb) Close() error   { return nil }

func (y ycsb) Key(dst []byte, i int64) []byte {
	return fmt.Appendf(dst, "user%020d", mix(uint64(i)+y.seed))
}

func (y ycsb) Value(dst []byte, i int64) ([]byte, error) {
	rng := rand.NewPCG(y.seed, uint64(i))
	for n := 0; n < ycsbFields*ycsbField; {
		r := rng.Uint64()
		for k := 0; k < 10 && n < ycsbFields*ycsbField; k++ { // 10 x 6 bits of each random number
			dst = append(dst, ' '+byte(r&63))
			r >>= 6
			n++
		}
	}
	return dst, nil
}

// mix is a bijection of 64-bit numbers (the finalizer of splitmix64): different records have different keys.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	x ^= x >> 31
	return x
}

// lines is a data set of the lines of a file. It keeps offsets in memory, 8 bytes a line, and reads values when asked.
type lines struct {
	f       *os.File
	name    string
	offsets []int64 // of each line, and the end of the last one
	size    int64
	changed time.Time
}

// maxLine bounds one value; a longer line is refused, since the demo holds one for each writer in memory.
const maxLine = 16 << 20

func openLines(name string, most int64) (*lines, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("--input: %w", err)
	}
	l := &lines{f: f, name: name, offsets: []int64{0}}
	if err := l.index(most); err != nil {
		f.Close()
		return nil, fmt.Errorf("--input %s: %w", name, err)
	}
	return l, nil
}

func (l *lines) index(most int64) error {
	info, err := l.f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("not a regular file")
	}
	l.size, l.changed = info.Size(), info.ModTime()
	r := bufio.NewReaderSize(l.f, 1<<20)
	var off, line int64
	for most <= 0 || int64(len(l.offsets)) <= most {
		chunk, err := r.ReadSlice('\n')
		off += int64(len(chunk))
		line += int64(len(chunk))
		if line > maxLine {
			return fmt.Errorf("line %d is longer than %s", len(l.offsets), size(maxLine))
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil && err != io.EOF {
			return err
		}
		if line > 0 {
			l.offsets = append(l.offsets, off)
		}
		line = 0
		if err == io.EOF {
			break
		}
	}
	if len(l.offsets) == 1 {
		return errors.New("the file is empty: nothing to load")
	}
	return nil
}

func (l *lines) Len() int64     { return int64(len(l.offsets) - 1) }
func (l *lines) Bytes() int64   { return l.offsets[len(l.offsets)-1] + l.Len()*lineKey }
func (l *lines) String() string { return fmt.Sprintf("%s lines of %s", count(l.Len()), l.name) }
func (l *lines) Close() error   { return l.f.Close() }

const lineKey = int64(len("line/") + 12)

func (l *lines) Key(dst []byte, i int64) []byte { return fmt.Appendf(dst, "line/%012d", i+1) }

// Value is the line with its newline. A file that has changed since it was opened is an error, not a lost record.
func (l *lines) Value(dst []byte, i int64) ([]byte, error) {
	n := l.offsets[i+1] - l.offsets[i]
	at := len(dst)
	dst = append(dst, make([]byte, n)...)
	if _, err := l.f.ReadAt(dst[at:], l.offsets[i]); err != nil {
		return dst, fmt.Errorf("--input %s changed while the demo ran: %w", l.name, err)
	}
	return dst, nil
}

// Unchanged reports an error when the file is not what it was when it was opened.
func (l *lines) Unchanged() error {
	info, err := os.Stat(l.name)
	if err != nil {
		return fmt.Errorf("--input: %w", err)
	}
	if info.Size() != l.size || !info.ModTime().Equal(l.changed) {
		return fmt.Errorf("--input %s changed while the demo ran: use a file that nobody writes", l.name)
	}
	return nil
}

// What the demo stores: record i under its own key, its number before its value; and for each writer the number of its
// last commit, changed in the same batch, so that a torn batch shows.

const headPrefix = "~writer/" // sorts behind both kinds of keys

func appendHead(dst []byte, writer int) []byte { return fmt.Appendf(dst, "%s%06d", headPrefix, writer) }

func appendStored(dst []byte, d dataSet, i int64) ([]byte, error) {
	return d.Value(binary.BigEndian.AppendUint64(dst, uint64(i)), i)
}

// schedule says who commits what: record i is commit i/writers+1 of writer i%writers.
type schedule struct {
	records int64
	writers int
}

// commits is the number of commits of a writer.
func (s schedule) commits(writer int) int64 {
	return (s.records - int64(writer) + int64(s.writers) - 1) / int64(s.writers)
}

// record is the record that commit n (from 1) of a writer stores.
func (s schedule) record(writer int, n int64) int64 {
	return (n-1)*int64(s.writers) + int64(writer)
}
