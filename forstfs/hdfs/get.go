package hdfs

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/mutant"
)

// Get implements driver.Store: one call to the NameNode, for the places of the bytes, and one request to a DataNode, for exactly the
// range. When that breaks, stalls or gives a wrong checksum, the reader goes on with another replica, in the end with places asked
// for again; it never goes on with another object of the same name.
func (s *Store) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	c := call{op: "get", key: key}
	if err := driver.CheckKey(key); err != nil {
		return nil, s.fail(c, driver.KindInvalid, err)
	}
	if off < 0 || n == 0 {
		return nil, s.fail(c, driver.KindInvalid, fmt.Errorf("range of %d bytes from %d", n, off))
	}
	r, err := s.begin(ctx, c)
	if err != nil {
		return nil, err
	}
	defer r.leave() // Close waits for calls, not for readers that their owners may have forgotten; it cancels those
	b := &body{r: r, next: off, end: math.MaxInt64}
	if n > 0 && off <= math.MaxInt64-n {
		b.end = off + n
	}
	if err := b.locate(); err != nil {
		return nil, b.finish(r.fail(err))
	}
	if off >= b.size && (off > 0 || n > 0) && !mutant.On("hdfs/range-behind-the-end") {
		return nil, b.finish(s.fail(c, driver.KindRange, fmt.Errorf("the object has %d bytes", b.size)))
	}
	b.end = min(b.end, b.size)
	if b.next < b.end {
		if err := b.open(); err != nil { // so that an error shows now
			return nil, b.finish(err)
		}
	}
	return b, nil
}

// body reads the bytes [next, end) of an object. It is used by one goroutine at a time.
type body struct {
	r         *running
	next, end int64
	size      int64
	err       error // what every later Read returns

	blocks []block
	conn   *dnConn // of the request under way
	in     packets
	at     *block
	last   error // of the replica tried last
}

// block is a part of a file. Objects that forst wrote have one; a copy that a tool made may have more.
type block struct {
	id         uint64
	start, end int64
	located    protoreflect.Message
	nodes      []node
	tried      int // how many of them
}

// locate asks where the bytes are.
func (b *body) locate() error {
	r := b.r
	resp, err := r.ask("getBlockLocations", message("GetBlockLocationsRequestProto", fields{
		"src": r.s.file(r.key), "offset": uint64(b.next), "length": uint64(b.end - b.next)}), "GetBlockLocationsResponseProto")
	if isClass(err, exNotFound, exParentNotDir) || err == nil && !has(resp, "locations") {
		return final(driver.KindNotExist, nil)
	}
	if err != nil {
		return err
	}
	loc := get(resp, "locations").Message()
	if has(loc, "ecPolicy") || has(loc, "fileEncryptionInfo") {
		return final(driver.KindUnsupported, errors.New("the file is erasure coded or encrypted at rest"))
	}
	size := int64(get(loc, "fileLength").Uint())
	var blocks []block
	for _, l := range messages(loc, "blocks") {
		e := get(l, "b").Message()
		start := int64(get(l, "offset").Uint())
		k := block{id: get(e, "blockId").Uint(), start: start, end: start + int64(get(e, "numBytes").Uint()), located: l, nodes: r.s.nodesOf(l)}
		slices.SortStableFunc(k.nodes, func(x, y node) int { return r.s.seen.rank(x) - r.s.seen.rank(y) })
		blocks = append(blocks, k)
	}
	if b.blocks != nil {
		i, j := find(b.blocks, b.next), find(blocks, b.next)
		if size != b.size || i < 0 || j < 0 || b.blocks[i].id != blocks[j].id {
			return final(driver.KindOther, errors.New("the object was replaced while it was read"))
		}
	}
	b.size, b.blocks = size, blocks
	return nil
}

// find gives the index of the block that has a byte.
func find(blocks []block, off int64) int {
	return slices.IndexFunc(blocks, func(k block) bool { return k.start <= off && off < k.end })
}

// open sends a request for the bytes from next on, to one replica after the other. Its error is what the call returns.
func (b *body) open() error {
	for {
		err := b.try()
		if err == nil {
			return nil
		}
		if b.r.ctx.Err() != nil {
			return b.r.fail(err)
		}
		if b.last = err; b.at != nil && b.at.tried < len(b.at.nodes) {
			continue
		}
		if err := b.r.retry(b.last); err != nil {
			return b.r.fail(err)
		}
		if err := b.locate(); err != nil {
			return b.r.fail(err)
		}
	}
}

// try sends the request to the next replica.
func (b *body) try() error {
	b.drop()
	b.at = nil
	i := find(b.blocks, b.next)
	if i < 0 {
		return transient("no block has byte %d", b.next)
	}
	k := &b.blocks[i]
	b.at = k
	if k.tried >= len(k.nodes) {
		if b.last != nil {
			return b.last
		}
		return transient("the NameNode knows no replica of the block")
	}
	k.tried++
	if err := b.request(k, k.nodes[k.tried-1]); err != nil {
		b.suspect(err)
		return err
	}
	return nil
}

// request asks one DataNode for the bytes from next up to the end of the range or of the block.
func (b *body) request(k *block, n node) error {
	r := b.r
	token := get(k.located, "blockToken").Message()
	if r.s.cfg.OnCall != nil {
		r.s.cfg.OnCall(r.ctx, "read")
	}
	c, err := r.connect(n, token, r.timeout())
	if err != nil {
		return err
	}
	b.conn = c
	off, end := b.next-k.start, min(b.end, k.end)-k.start
	req, err := request(opReadBlock, message("OpReadBlockProto", fields{
		"header": opHeader(get(k.located, "b").Message(), token, r.s.holder), "offset": uint64(off), "len": uint64(end - off)}))
	if err != nil {
		return err
	}
	if _, err := c.Write(req); err != nil {
		return transient("DataNode %s: %w", n.addr, plain(err))
	}
	resp := empty("BlockOpResponseProto")
	if err := receive(c.in, resp); err != nil {
		return transient("DataNode %s: %w", n.addr, plain(err))
	}
	if st := get(resp, "status").Enum(); st != statusSuccess {
		return transient("DataNode %s does not give the block: status %d: %s", n.addr, st, get(resp, "message").String())
	}
	info := get(resp, "readOpChecksumInfo").Message()
	sum := get(info, "checksum").Message()
	b.in = packets{in: c.in, kind: get(sum, "type").Enum(), chunk: int64(get(sum, "bytesPerChecksum").Uint()),
		next: int64(get(info, "chunkOffset").Uint()), off: off, end: end}
	if err := b.in.check(); err != nil {
		return transient("DataNode %s: %w", n.addr, err)
	}
	return nil
}

// Read implements io.Reader. It never returns io.EOF before the last byte of the range.
func (b *body) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for b.err == nil {
		if b.next == b.end {
			return 0, b.finish(io.EOF)
		}
		if b.conn == nil {
			if err := b.open(); err != nil {
				return 0, b.finish(err)
			}
		}
		n, err := b.in.read(p[:min(int64(len(p)), b.end-b.next)])
		b.next += int64(n)
		if b.in.off == b.in.end && err == nil {
			b.in.thank(b.conn)
			b.drop()
		}
		if err != nil {
			if b.r.ctx.Err() != nil {
				return n, b.finish(b.r.fail(err))
			}
			if mutant.On("hdfs/broken-read-is-the-end") {
				return n, b.finish(io.EOF)
			}
			b.last = transient("DataNode %s: %w", b.at.nodes[b.at.tried-1].addr, plain(eof(err)))
			b.suspect(err)
			b.drop()
		}
		if n > 0 {
			return n, nil
		}
	}
	return 0, b.err
}

// suspect notes a failure of the replica in use: the node, or its bytes.
func (b *body) suspect(err error) {
	if b.r.ctx.Err() != nil || b.at == nil {
		return
	}
	n := b.at.nodes[b.at.tried-1]
	if !errors.Is(err, errSum) {
		b.r.s.seen.fail(n)
		return
	}
	bad := proto.Clone(b.at.located.Interface()).ProtoReflect()
	for i, m := range b.r.s.nodesOf(bad) {
		if m.uuid == n.uuid {
			b.r.s.reportBad(bad, i)
		}
	}
}

// reportBad tells the NameNode of a replica whose bytes do not have their checksums, so that it makes another.
func (s *Store) reportBad(located protoreflect.Message, i int) {
	for field, keep := range map[protoreflect.Name]bool{"locs": true, "storageTypes": true, "storageIDs": true, "isCached": false} {
		list := located.Mutable(located.Descriptor().Fields().ByName(field)).List()
		if keep && i < list.Len() {
			list.Set(0, list.Get(i))
			list.Truncate(1)
		} else {
			list.Truncate(0)
		}
	}
	s.background(func(ctx context.Context) {
		_ = s.nns.once(ctx, s.cfg.AttemptTimeout, "reportBadBlocks", message("ReportBadBlocksRequestProto", fields{"blocks": []protoreflect.Message{located}}),
			empty("ReportBadBlocksResponseProto"))
	})
}

// drop ends the request under way.
func (b *body) drop() {
	if b.conn != nil {
		b.conn.close()
		b.conn = nil
	}
}

// finish makes err what every later Read returns, gives everything back and returns err.
func (b *body) finish(err error) error {
	if b.err == nil {
		b.err = err
		b.drop()
		b.r.end()
	}
	return err
}

// Close implements io.Closer.
func (b *body) Close() error {
	b.finish(b.r.s.fail(b.r.call, driver.KindClosed, nil))
	return nil
}

// errSum says that bytes do not have their checksum.
var errSum = errors.New("the bytes do not have their checksum")

// packets reads the bytes [off, end) of a block from what a DataNode sends: packets that begin at a multiple of the chunk size, each
// with a checksum for each chunk.
type packets struct {
	in       *bufio.Reader
	kind     protoreflect.EnumNumber
	chunk    int64 // bytes for each checksum
	next     int64 // where the next packet begins
	off, end int64
	buf      []byte // what is left of the packet, checked
	store    []byte
	sums     []byte
}

func (k *packets) check() error {
	if k.kind != typeNull && k.kind != typeCRC32 && k.kind != typeCRC32C || k.chunk < 1 || k.chunk > maxPacket {
		return fmt.Errorf("checksums of type %d for %d bytes", k.kind, k.chunk)
	}
	if k.next > k.off {
		return fmt.Errorf("the bytes begin at %d in place of %d", k.next, k.off)
	}
	return nil
}

// read gives bytes of one packet. At the end of the range it returns 0, nil.
func (k *packets) read(p []byte) (int, error) {
	for len(k.buf) == 0 {
		if k.off == k.end {
			return 0, nil
		}
		n, err := k.fill(p)
		if n > 0 || err != nil {
			return n, err
		}
	}
	n := copy(p, k.buf)
	k.buf = k.buf[n:]
	k.off += int64(n)
	return n, nil
}

// fill reads the next packet and checks it. If all of it is wanted and has place in p, it is read to there, and fill returns its length.
func (k *packets) fill(p []byte) (int, error) {
	at, n, last, sums, err := k.header()
	if err != nil {
		return 0, eof(err)
	}
	if last || at != k.next || n == 0 {
		return 0, fmt.Errorf("a packet of %d bytes at %d (last: %t), where %d bytes at %d are missing", n, at, last, k.end-k.next, k.next)
	}
	direct := k.off == k.next && k.next+n <= k.end && int64(len(p)) >= n
	if !direct {
		if int64(cap(k.store)) < n {
			k.store = make([]byte, n)
		}
		p = k.store
		if mutant.On("hdfs/readers-share-a-buffer") {
			if sharedStore == nil {
				sharedStore = make([]byte, maxPacket)
			}
			p = sharedStore
		}
	}
	data := p[:n]
	if _, err := io.ReadFull(k.in, data); err != nil {
		return 0, eof(err)
	}
	if k.kind != typeNull && !mutant.On("hdfs/checksums-unread") {
		table := castagnoli
		if k.kind == typeCRC32 {
			table = crc32.IEEETable
		}
		for i := int64(0); i < n; i += k.chunk {
			if crc32.Checksum(data[i:min(i+k.chunk, n)], table) != binary.BigEndian.Uint32(sums[i/k.chunk*4:]) {
				return 0, errSum
			}
		}
	}
	from, to := max(k.off-k.next, 0), min(k.end-k.next, n)
	k.next += n
	if direct {
		k.off += n
		return int(n), nil
	}
	if from < to {
		k.buf = data[from:to]
	}
	return 0, nil
}

// header reads a packet up to its data.
func (k *packets) header() (offset, n int64, last bool, sums []byte, _ error) {
	var lens [6]byte
	if _, err := io.ReadFull(k.in, lens[:]); err != nil {
		return 0, 0, false, nil, err
	}
	rest, size := int64(binary.BigEndian.Uint32(lens[:]))-4, int(binary.BigEndian.Uint16(lens[4:]))
	if rest < 0 || rest > maxPacket {
		return 0, 0, false, nil, fmt.Errorf("a packet of %d bytes", rest)
	}
	head := make([]byte, size)
	if _, err := io.ReadFull(k.in, head); err != nil {
		return 0, 0, false, nil, err
	}
	h := empty("PacketHeaderProto")
	if err := proto.Unmarshal(head, h.Interface()); err != nil {
		return 0, 0, false, nil, err
	}
	n = get(h, "dataLen").Int()
	want := int64(0)
	if k.kind != typeNull {
		want = (n + k.chunk - 1) / k.chunk * 4
	}
	if n < 0 || n+want != rest {
		return 0, 0, false, nil, fmt.Errorf("a packet of %d bytes with %d bytes of data and %d of checksums", rest, n, want)
	}
	if int64(cap(k.sums)) < want {
		k.sums = make([]byte, want)
	}
	sums = k.sums[:want]
	if _, err := io.ReadFull(k.in, sums); err != nil {
		return 0, 0, false, nil, err
	}
	return get(h, "offsetInBlock").Int(), n, get(h, "lastPacketInBlock").Bool(), sums, nil
}

// thank tells the DataNode that all bytes were right; it waits for that before it is done with the request.
func (k *packets) thank(c *dnConn) {
	_, _, last, _, err := k.header()
	if err != nil || !last {
		return
	}
	b, err := proto.Marshal(message("ClientReadStatusProto", fields{"status": protoreflect.EnumNumber(statusChecksumOK)}).Interface())
	if err == nil {
		_, _ = c.Write(append(binary.AppendUvarint(nil, uint64(len(b))), b...))
	}
}

// sharedStore is what a planted bug reads packets of all readers into.
var sharedStore []byte
