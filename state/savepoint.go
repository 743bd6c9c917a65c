package state

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

// A savepoint is a stream of bytes that no engine is needed to read; its format is in docs/state.md.

const (
	savepointMagic   = "FORSTSAV"
	savepointVersion = 1
	savepointBlock   = 64 << 10 // entries are collected up to here; a larger one is a block of its own
	savepointLimit   = 1 << 30  // a longer block is damage
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// savepointHead is the first block.
type savepointHead struct {
	MaxParallelism int              `json:"maxParallelism"`
	Keys           [2]int           `json:"keys"` // the range that was exported
	States         []savepointState `json:"states"`
}

type savepointState struct {
	Name   string   `json:"name"`
	Kind   Kind     `json:"kind"`
	TTL    bool     `json:"ttl,omitempty"`
	Epochs []Schema `json:"epochs"`
}

// savepointEntry is one record, or one timer (user is its time, the record is empty).
type savepointEntry struct {
	state         int
	key, ns, user []byte
	record        []byte
}

// Export writes a savepoint: all state of this backend at one moment, as Snapshot would have it, in a form that needs neither this engine nor
// these key groups. Requests are held up only to fix the moment. It returns the number of records. The bytes are w's; nothing is kept in the store.
func (b *Backend) Export(ctx context.Context, w io.Writer) (n int64, err error) {
	b.life.RLock()
	defer b.life.RUnlock()
	if b.gone {
		return 0, ErrClosed
	}
	if err := b.takeCut(ctx); err != nil {
		return 0, err
	}
	if err := b.core.drain(ctx); err != nil {
		<-b.cut
		return 0, err
	}
	snaps := make([]*pebble.Snapshot, len(b.shards))
	for i, s := range b.shards {
		snaps[i] = s.db.NewSnapshot()
	}
	b.mu.Lock()
	head, tables := b.savepointHead()
	b.mu.Unlock()
	b.core.resume()
	<-b.cut
	defer func() {
		for _, s := range snaps {
			err = errors.Join(err, s.Close())
		}
	}()
	bw := bufio.NewWriterSize(w, 256<<10)
	e := &exporter{w: bw}
	if err := e.head(head); err != nil {
		return 0, err
	}
	for i, s := range b.shards {
		if err := e.shard(ctx, s, snaps[i], tables[i]); err != nil {
			return e.n, err
		}
	}
	if err := e.end(); err != nil {
		return e.n, err
	}
	return e.n, bw.Flush()
}

// exportedAs says how a state of a database is called in a savepoint.
type exportedAs struct {
	index  int
	kind   Kind
	epochs []byte // number in the savepoint, by epoch in the database - 1
}

// savepointHead joins the schemas of all shards.
func (b *Backend) savepointHead() (savepointHead, []map[uint16]exportedAs) {
	h := savepointHead{MaxParallelism: b.o.Keys.Max, Keys: [2]int{b.o.Keys.Lo, b.o.Keys.Hi}}
	tables := make([]map[uint16]exportedAs, len(b.shards))
	for i, s := range b.shards {
		tables[i] = map[uint16]exportedAs{}
		for _, st := range s.schema.States {
			at := slices.IndexFunc(h.States, func(o savepointState) bool { return o.Name == st.Name })
			if at < 0 {
				at = len(h.States)
				h.States = append(h.States, savepointState{Name: st.Name, Kind: st.Kind})
			}
			o := &h.States[at]
			o.TTL = o.TTL || st.TTL
			as := exportedAs{index: at, kind: st.Kind}
			for _, ep := range st.Epochs {
				as.epochs = append(as.epochs, byte(indexOrAppend(&o.Epochs, ep)+1))
			}
			tables[i][st.ID] = as
		}
	}
	return h, tables
}

func indexOrAppend(list *[]Schema, s Schema) int {
	if i := slices.Index(*list, s); i >= 0 {
		return i
	}
	*list = append(*list, s)
	return len(*list) - 1
}

type exporter struct {
	w   io.Writer
	buf []byte
	n   int64
}

func (e *exporter) head(h savepointHead) error {
	p, err := json.Marshal(h)
	if err != nil {
		return err
	}
	if _, err := e.w.Write(append([]byte(savepointMagic), savepointVersion)); err != nil {
		return err
	}
	e.buf = append(e.buf, p...)
	return e.flush()
}

func (e *exporter) flush() error {
	if len(e.buf) == 0 {
		return nil
	}
	var f [8]byte
	binary.LittleEndian.PutUint32(f[:], uint32(len(e.buf)))
	binary.LittleEndian.PutUint32(f[4:], crc32.Checksum(e.buf, castagnoli))
	if _, err := e.w.Write(f[:]); err != nil {
		return err
	}
	_, err := e.w.Write(e.buf)
	e.buf = e.buf[:0]
	return err
}

func (e *exporter) end() error {
	if err := e.flush(); err != nil {
		return err
	}
	var f [16]byte
	binary.LittleEndian.PutUint64(f[8:], uint64(e.n))
	binary.LittleEndian.PutUint32(f[4:], crc32.Checksum(f[8:], castagnoli))
	_, err := e.w.Write(f[:])
	return err
}

func (e *exporter) shard(ctx context.Context, s *shard, snap *pebble.Snapshot, states map[uint16]exportedAs) (err error) {
	lower, upper := s.keys.bounds()
	it, err := snap.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok; ok = it.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		raw, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		_, id, rest, err := s.keys.cutHead(it.Key())
		if err != nil {
			return err
		}
		as, known := states[id]
		if !known {
			return fmt.Errorf("%w: a record of state %d, which the schema does not know", ErrCorrupt, id)
		}
		entry, err := as.entry(rest, raw)
		if err != nil {
			return err
		}
		e.buf = entry.append(e.buf)
		e.n++
		if len(e.buf) >= savepointBlock {
			if err := e.flush(); err != nil {
				return err
			}
		}
	}
	return it.Error()
}

func (as exportedAs) entry(rest, raw []byte) (e savepointEntry, err error) {
	e.state = as.index
	var sc Scope
	if as.kind == KindTimers {
		var at int64
		at, sc, err = cutTimer(rest)
		e.user = appendInt64(nil, at)
	} else if sc, e.user, err = cutScope(rest); err == nil {
		e.record, err = renumber(as.kind, raw, as.epochs)
	}
	e.key, e.ns = sc.Key, sc.Namespace
	return e, err
}

// renumber changes the epochs in a record.
func renumber(kind Kind, raw, epochs []byte) ([]byte, error) {
	change := func(h head) (head, error) {
		if int(h.epoch) > len(epochs) {
			return h, fmt.Errorf("%w: a record of epoch %d, the schema knows %d", ErrCorrupt, h.epoch, len(epochs))
		}
		h.epoch = epochs[h.epoch-1]
		return h, nil
	}
	if kind != KindList {
		h, payload, err := cutHead(raw)
		if err == nil {
			h, err = change(h)
		}
		return append(appendHead(make([]byte, 0, len(raw)), h), payload...), err
	}
	out := make([]byte, 0, len(raw))
	for rest := raw; len(rest) > 0; {
		h, payload, next, err := cutElement(rest)
		if err == nil {
			h, err = change(h)
		}
		if err != nil {
			return nil, err
		}
		out, rest = appendElement(out, h, payload), next
	}
	return out, nil
}

func (e savepointEntry) append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(e.state))
	for _, p := range [][]byte{e.key, e.ns, e.user, e.record} {
		dst = binary.AppendUvarint(dst, uint64(len(p)))
		dst = append(dst, p...)
	}
	return dst
}

func cutEntry(src []byte) (e savepointEntry, rest []byte, err error) {
	st, w := binary.Uvarint(src)
	if w <= 0 || st > 1<<16 {
		return e, nil, fmt.Errorf("%w: savepoint: the state of an entry", ErrCorrupt)
	}
	e.state, src = int(st), src[w:]
	for _, p := range []*[]byte{&e.key, &e.ns, &e.user, &e.record} {
		n, w := binary.Uvarint(src)
		if w <= 0 || n > uint64(len(src)-w) {
			return e, nil, fmt.Errorf("%w: savepoint: an entry is cut short", ErrCorrupt)
		}
		*p, src = src[w:w+int(n):w+int(n)], src[w+int(n):]
	}
	return e, src, nil
}

// readSavepoint calls head once and then entry for each record. An end that is missing is an error.
func readSavepoint(r io.Reader, head func(savepointHead) error, entry func(savepointEntry) error) error {
	br := bufio.NewReaderSize(r, 256<<10)
	begin := make([]byte, len(savepointMagic)+1)
	if _, err := io.ReadFull(br, begin); err != nil || !bytes.HasPrefix(begin, []byte(savepointMagic)) {
		return errors.Join(fmt.Errorf("%w: this is no savepoint", ErrCorrupt), notEOF(err))
	}
	if v := begin[len(savepointMagic)]; v != savepointVersion {
		return fmt.Errorf("%w: savepoint of version %d, this program knows %d: use a newer one", ErrIncompatible, v, savepointVersion)
	}
	var count int64
	var states int
	for first := true; ; first = false {
		block, end, err := readBlock(br)
		if err != nil {
			return err
		}
		switch {
		case end >= 0 && (first || end != count):
			return fmt.Errorf("%w: savepoint: %d entries were read, the end says %d", ErrCorrupt, count, end)
		case end >= 0:
			return nil
		case first:
			var h savepointHead
			if err := json.Unmarshal(block, &h); err != nil {
				return fmt.Errorf("%w: savepoint: first block: %w", ErrCorrupt, err)
			}
			states = len(h.States)
			if err := head(h); err != nil {
				return err
			}
			continue
		}
		for len(block) > 0 {
			var e savepointEntry
			if e, block, err = cutEntry(block); err != nil {
				return err
			}
			if e.state >= states {
				return fmt.Errorf("%w: savepoint: an entry of state %d of %d", ErrCorrupt, e.state, states)
			}
			count++
			if err := entry(e); err != nil {
				return err
			}
		}
	}
}

// readBlock reads a block, or the number at the end; end is negative for a block.
func readBlock(r io.Reader) (block []byte, end int64, err error) {
	var f [8]byte
	if _, err := io.ReadFull(r, f[:]); err != nil {
		return nil, 0, errors.Join(fmt.Errorf("%w: the savepoint is cut short", ErrCorrupt), notEOF(err))
	}
	size, sum := binary.LittleEndian.Uint32(f[:]), binary.LittleEndian.Uint32(f[4:])
	if size > savepointLimit {
		return nil, 0, fmt.Errorf("%w: savepoint: a block of %d bytes", ErrCorrupt, size)
	}
	n := int64(size)
	if size == 0 {
		n = 8
	}
	var buf bytes.Buffer // grows with what is there: a damaged size costs no memory
	if _, err := io.CopyN(&buf, r, n); err != nil {
		return nil, 0, errors.Join(fmt.Errorf("%w: the savepoint is cut short", ErrCorrupt), notEOF(err))
	}
	if crc32.Checksum(buf.Bytes(), castagnoli) != sum {
		return nil, 0, fmt.Errorf("%w: savepoint: a block does not match its checksum", ErrCorrupt)
	}
	if size > 0 {
		return buf.Bytes(), -1, nil
	}
	if end = int64(binary.LittleEndian.Uint64(buf.Bytes())); end < 0 {
		return nil, 0, fmt.Errorf("%w: savepoint: %d entries", ErrCorrupt, end)
	}
	return nil, end, nil
}

func notEOF(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return nil
	}
	return err
}
