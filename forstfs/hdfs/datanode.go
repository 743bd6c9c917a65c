package hdfs

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/forst-go/forst/forstfs/driver"
)

// Hadoop's data transfer protocol, version 28. The library's writer cannot tell which node of a pipeline failed, leaks a goroutine when
// it does, and never asks for a sync; its reader asks for the rest of the block, however little is wanted, and takes a connection that
// breaks between two packets for the end. So the packets are made and read here, and the library does the handshakes.
const (
	transferVersion = 28
	opWriteBlock    = 80
	opReadBlock     = 81

	chunkSize  = 512      // bytes for each checksum
	packetSize = 64 << 10 // data in a packet that is written
	maxPacket  = 16 << 20 // that is read, as Java's limit

	statusSuccess    = 0
	statusChecksumOK = 6
	typeNull         = 0 // ChecksumTypeProto
	typeCRC32        = 1
	typeCRC32C       = 2
	stageSetupCreate = 6 // OpWriteBlockProto.BlockConstructionStage
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// node is a DataNode.
type node struct {
	uuid, addr string
	info       protoreflect.Message // DatanodeInfoProto
	storage    string
	medium     protoreflect.EnumNumber
}

// nodesOf gives the DataNodes of a located block.
func (s *Store) nodesOf(located protoreflect.Message) []node {
	locs := messages(located, "locs")
	ids, media := get(located, "storageIDs").List(), get(located, "storageTypes").List()
	all := make([]node, len(locs))
	for i, loc := range locs {
		id := get(loc, "id").Message()
		host := get(id, "ipAddr").String()
		if s.cfg.UseDatanodeHostname {
			host = get(id, "hostName").String()
		}
		all[i] = node{uuid: get(id, "datanodeUuid").String(), info: loc, medium: 1,
			addr: net.JoinHostPort(host, strconv.FormatUint(get(id, "xferPort").Uint(), 10))}
		if i < ids.Len() {
			all[i].storage = ids.Get(i).String()
		}
		if media.Len() == len(locs) { // shorter where the library does not know one
			all[i].medium = media.Get(i).Enum()
		}
	}
	return all
}

// dnConn is a connection to a DataNode for one request.
type dnConn struct {
	net.Conn
	in   *bufio.Reader
	stop func() bool
}

func (c *dnConn) close() {
	c.stop()
	c.Conn.Close()
}

// connect dials a DataNode and does the handshake of a secured cluster with the block's token. Each Read and Write on the connection is
// bounded by timeout, and all end with the call.
func (r *running) connect(n node, token protoreflect.Message, timeout time.Duration) (*dnConn, error) {
	d, err := r.clusterDefaults()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(r.ctx, timeout)
	defer cancel()
	var bound atomic.Int64
	bound.Store(int64(timeout))
	var raw net.Conn
	dial := func(_ context.Context, network, addr string) (net.Conn, error) {
		c, err := r.s.cfg.Dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		raw = c
		return &timedConn{Conn: c, timeout: &bound}, nil
	}
	if d.secure {
		if dial, err = r.handshake(dial, token, timeout); err != nil {
			return nil, err
		}
	}
	conn, err := dial(ctx, "tcp", n.addr)
	if err != nil {
		if raw != nil {
			raw.Close() // the library forgets it when the handshake fails
		}
		return nil, transient("DataNode %s: %w", n.addr, plain(eof(err)))
	}
	c := &dnConn{Conn: conn, in: bufio.NewReaderSize(conn, 8<<10)} // data is read past it
	c.stop = context.AfterFunc(r.ctx, func() { raw.Close() })
	return c, nil
}

// handshake puts the library's handshake around dial, which may cost a call to the NameNode.
func (r *running) handshake(dial dialFunc, token protoreflect.Message, timeout time.Duration) (dialFunc, error) {
	nns := r.s.nns
	nn, err := nns.take(r.ctx, timeout)
	if err != nil {
		return nil, nns.failed(r.ctx, "getDataEncryptionKey", err)
	}
	stop := context.AfterFunc(r.ctx, nn.abort)
	dial, err = secured(nn.client, dial, token)
	nns.give(r.ctx, nn, !stop() || err != nil)
	if err != nil {
		return nil, nns.failed(r.ctx, "getDataEncryptionKey", err)
	}
	return dial, nil
}

// request is the beginning of an operation.
func request(op byte, m protoreflect.Message) ([]byte, error) {
	b, err := proto.Marshal(m.Interface())
	if err != nil {
		return nil, err
	}
	out := binary.BigEndian.AppendUint16(nil, transferVersion)
	out = append(out, op)
	out = binary.AppendUvarint(out, uint64(len(b)))
	return append(out, b...), nil
}

// receive reads a message with its length before it.
func receive(in *bufio.Reader, m protoreflect.Message) error {
	n, err := binary.ReadUvarint(in)
	if err != nil {
		return eof(err)
	}
	if n > 1<<20 {
		return fmt.Errorf("a message of %d bytes", n)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(in, b); err != nil {
		return eof(err)
	}
	return proto.Unmarshal(b, m.Interface())
}

func opHeader(block, token protoreflect.Message, client string) protoreflect.Message {
	return message("ClientOperationHeaderProto", fields{
		"baseHeader": message("BaseHeaderProto", fields{"block": block, "token": token}),
		"clientName": client,
	})
}

// nodes remembers the DataNodes that failed, so that new blocks keep away from them until they answer again. A NameNode hands out a
// node that is gone for up to ten and a half minutes.
type nodes struct {
	mu  sync.Mutex
	bad map[string]*badNode // by uuid
}

type badNode struct {
	node    node
	checked time.Time
	busy    bool
}

// recheck is how long a node is kept away from before it is tried again.
const recheck = 3 * time.Second

func (n *nodes) fail(d node) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.bad == nil {
		n.bad = map[string]*badNode{}
	}
	if b := n.bad[d.uuid]; b != nil {
		b.checked = time.Now()
		return
	}
	n.bad[d.uuid] = &badNode{node: d, checked: time.Now()}
}

// rank sorts the nodes that failed behind the others.
func (n *nodes) rank(d node) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.bad[d.uuid] != nil {
		return 1
	}
	return 0
}

// all gives the nodes to keep away from, and those that it is time to try again.
func (n *nodes) all() (bad, due []node) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, b := range n.bad {
		bad = append(bad, b.node)
		if !b.busy && time.Since(b.checked) > recheck {
			b.busy = true
			due = append(due, b.node)
		}
	}
	return bad, due
}

// tryNow reports whether a node is worth another try by the caller, who then must say what came of it.
func (n *nodes) tryNow(uuid string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	b := n.bad[uuid]
	if b == nil || b.busy || time.Since(b.checked) < recheck/6 {
		return false
	}
	b.busy = true
	return true
}

func (n *nodes) tried(uuid string, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if ok {
		delete(n.bad, uuid)
	} else if b := n.bad[uuid]; b != nil {
		b.busy, b.checked = false, time.Now()
	}
}

// alive tries whether a DataNode answers at all: it ends a connection that begins with a version it does not know. A process that is
// stopped still takes connections and says nothing.
func (s *Store) alive(ctx context.Context, addr string, timeout time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := s.cfg.Dial(ctx, "tcp", addr)
	if err != nil {
		return false
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if _, err := conn.Write([]byte{0, 0, 0, 0}); err != nil {
		return false
	}
	_, err = conn.Read(make([]byte, 1))
	return err == nil || errors.Is(err, io.EOF) || ctx.Err() == nil
}

// blame looks for the nodes of a pipeline that do not answer and keeps away from them. It reports whether it found any.
func (r *running) blame(pipeline []node) bool {
	var wg sync.WaitGroup
	var found atomic.Bool
	for _, n := range pipeline {
		wg.Go(func() {
			if !r.s.alive(r.ctx, n.addr, r.s.cfg.AttemptTimeout/2) && r.ctx.Err() == nil {
				r.s.seen.fail(n)
				found.Store(true)
			}
		})
	}
	wg.Wait()
	return found.Load()
}

// revive tries the nodes that failed, but for those that were tried a moment ago, and reports whether one is back.
func (r *running) revive(bad []node) bool {
	var wg sync.WaitGroup
	var found atomic.Bool
	for _, n := range bad {
		if !r.s.seen.tryNow(n.uuid) {
			continue
		}
		wg.Go(func() {
			ok := r.s.alive(r.ctx, n.addr, r.s.cfg.AttemptTimeout/4)
			if ok {
				found.Store(true)
			}
			r.s.seen.tried(n.uuid, ok)
		})
	}
	wg.Wait()
	return found.Load()
}

// retryBad tries the nodes again that failed a while ago, beside the caller.
func (s *Store) retryBad(due []node) {
	for _, n := range due {
		s.background(func(ctx context.Context) {
			s.seen.tried(n.uuid, s.alive(ctx, n.addr, s.cfg.AttemptTimeout/2))
		})
	}
}

// background runs f on a goroutine that Close waits for, unless the store is closed. ctx ends with Close.
func (s *Store) background(f func(ctx context.Context)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.calls.Add(1)
	go func() {
		defer s.calls.Done()
		f(driver.WithComponent(s.life, driver.CompGC))
	}()
}
