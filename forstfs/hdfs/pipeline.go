package hdfs

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/forst-go/forst/internal/mutant"
)

// stream sends a block through a pipeline and waits until every node of it has finished the block. On an error culprit is the index of
// the node that failed, or -1.
func (r *running) stream(located protoreflect.Message, pipeline []node, data []byte) (culprit int, err error) {
	b := get(located, "b").Message()
	c, err := r.connect(pipeline[0], get(located, "blockToken").Message(), r.timeout())
	if err != nil {
		return 0, err
	}
	defer c.close()
	op := message("OpWriteBlockProto", fields{
		"header": opHeader(b, get(located, "blockToken").Message(), r.s.holder),
		"stage":  protoreflect.EnumNumber(stageSetupCreate), "pipelineSize": uint32(len(pipeline)),
		"minBytesRcvd": uint64(0), "maxBytesRcvd": uint64(0), "latestGenerationStamp": uint64(0),
		"requestedChecksum": message("ChecksumProto", fields{"type": protoreflect.EnumNumber(typeCRC32C), "bytesPerChecksum": uint32(chunkSize)}),
		"storageType":       pipeline[0].medium,
	})
	if id := pipeline[0].storage; id != "" {
		put(op, "storageId", protoreflect.ValueOfString(id))
	}
	for _, n := range pipeline[1:] {
		add(op, "targets", protoreflect.ValueOfMessage(n.info))
		add(op, "targetStorageTypes", protoreflect.ValueOfEnum(n.medium))
		if n.storage != "" {
			add(op, "targetStorageIds", protoreflect.ValueOfString(n.storage))
		}
	}
	req, err := request(opWriteBlock, op)
	if err != nil {
		return -1, err
	}
	if _, err := c.Write(req); err != nil {
		return -1, transient("DataNode %s: %w", pipeline[0].addr, plain(err))
	}
	resp := empty("BlockOpResponseProto")
	if err := receive(c.in, resp); err != nil {
		return -1, transient("DataNode %s: %w", pipeline[0].addr, plain(err))
	}
	if st := get(resp, "status").Enum(); st != statusSuccess {
		link := get(resp, "firstBadLink").String()
		for i, n := range pipeline {
			if at := get(n.info, "id").Message(); link != "" && link == get(at, "ipAddr").String()+":"+strconv.FormatUint(get(at, "xferPort").Uint(), 10) {
				return i, transient("DataNode %s, a node of the pipeline, is not reached", n.addr)
			}
		}
		return -1, transient("DataNode %s refuses the block: status %d: %s", pipeline[0].addr, st, get(resp, "message").String())
	}
	packets := (len(data)+packetSize-1)/packetSize + 1 // the last one is empty
	type end struct {
		culprit int
		err     error
	}
	acked := make(chan end, 1)
	go func() {
		i, err := readAcks(c.in, packets, len(pipeline))
		if err != nil {
			c.Conn.Close() // ends the sender
		}
		acked <- end{i, err}
	}()
	werr := sendPackets(c, data, r.s.cfg.Sync == SyncDisk && !mutant.On("hdfs/sync-not-asked-for"))
	if werr != nil {
		c.Conn.Close()
	}
	a := <-acked
	switch {
	case a.err != nil && a.culprit >= 0:
		return a.culprit, transient("DataNode %s: %w", pipeline[a.culprit].addr, a.err)
	case werr != nil:
		return -1, transient("DataNode %s: %w", pipeline[0].addr, plain(werr))
	case a.err != nil:
		return -1, transient("DataNode %s: %w", pipeline[0].addr, plain(a.err))
	}
	return -1, nil
}

// sendPackets sends data and the empty packet that ends the block; sync asks for a sync with that one.
func sendPackets(c *dnConn, data []byte, sync bool) error {
	buf := make([]byte, 0, 64+4*(packetSize/chunkSize)+min(len(data), packetSize))
	for off, seq := 0, int64(0); ; seq++ {
		part := data[off:min(off+packetSize, len(data))]
		last := len(part) == 0
		chunks := (len(part) + chunkSize - 1) / chunkSize
		header := packetHeader(int64(off), seq, last, len(part), last && sync)
		buf = binary.BigEndian.AppendUint32(buf[:0], uint32(4+4*chunks+len(part)))
		buf = binary.BigEndian.AppendUint16(buf, uint16(len(header)))
		buf = append(buf, header...)
		for i := 0; i < len(part); i += chunkSize {
			buf = binary.BigEndian.AppendUint32(buf, crc32.Checksum(part[i:min(i+chunkSize, len(part))], castagnoli))
		}
		buf = append(buf, part...)
		if _, err := c.Write(buf); err != nil {
			return err
		}
		if last {
			return nil
		}
		off += len(part)
	}
}

// packetHeader is a PacketHeaderProto; all its fields have fixed lengths, on which Java relies.
func packetHeader(offset, seq int64, last bool, n int, sync bool) []byte {
	b := protowire.AppendTag(make([]byte, 0, 32), 1, protowire.Fixed64Type)
	b = protowire.AppendFixed64(b, uint64(offset))
	b = protowire.AppendTag(b, 2, protowire.Fixed64Type)
	b = protowire.AppendFixed64(b, uint64(seq))
	b = protowire.AppendTag(b, 3, protowire.VarintType)
	b = protowire.AppendVarint(b, protowire.EncodeBool(last))
	b = protowire.AppendTag(b, 4, protowire.Fixed32Type)
	b = protowire.AppendFixed32(b, uint32(n))
	if sync {
		b = protowire.AppendTag(b, 5, protowire.VarintType)
		b = protowire.AppendVarint(b, 1)
	}
	return b
}

// readAcks reads the acknowledgements of n packets. A node that reports an error is the culprit.
func readAcks(in *bufio.Reader, n, nodes int) (culprit int, _ error) {
	for want := int64(0); want < int64(n); {
		ack := empty("PipelineAckProto")
		if err := receive(in, ack); err != nil {
			return -1, err
		}
		reply := get(ack, "reply").List()
		for i := range reply.Len() {
			if st := reply.Get(i).Enum(); st != statusSuccess {
				if i >= nodes {
					i = -1
				}
				return i, fmt.Errorf("the node reports status %d for a packet", st)
			}
		}
		seq := get(ack, "seqno").Int()
		if seq == -1 {
			continue // a heartbeat
		}
		if seq != want {
			return -1, fmt.Errorf("packet %d is acknowledged in place of %d", seq, want)
		}
		if reply.Len() < nodes {
			return -1, errors.New("a node of the pipeline is missing in an acknowledgement")
		}
		want++
	}
	return -1, nil
}
