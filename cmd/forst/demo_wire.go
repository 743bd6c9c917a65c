package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The writer process of a demo gets one line of JSON on standard input, a writerJob, and keeps reading it: when it ends, the
// parent is gone and the writer ends too. It reports on standard output in messages of a fixed size. One write call
// sends one message, and a message is smaller than what a pipe takes as a whole, so SIGKILL never leaves half of one.

// writerJob is what one writer process has to do.
type writerJob struct {
	URL     string  // of the volume
	Input   string  // the data set, see openData
	Records int64   //
	Seed    uint64  //
	Next    []int64 // for each writer, the number of its first commit
	Finish  bool    // close the database and exit when all is done; otherwise wait for the kill
	Plant   string  // a planted fault, see plants
}

type msgKind byte

const (
	msgOpen msgKind = 'o' // the database is open
	msgAck  msgKind = 'a' // Commit with Sync has returned nil for commit Seq of Writer
	msgRate msgKind = 'r' // counters only
	msgDone msgKind = 'd' // the database and the volume were closed without an error
)

// message carries the counters of the writer's store with everything it reports.
type message struct {
	Kind   msgKind
	Writer uint32
	Seq    uint64
	Use    usage
}

// usage counts what was asked of a store.
type usage struct {
	Requests int64 `json:"requests"`
	Sent     int64 `json:"bytes_sent"`
	Received int64 `json:"bytes_received"`
}

func (u *usage) add(o usage) {
	u.Requests += o.Requests
	u.Sent += o.Sent
	u.Received += o.Received
}

const messageSize = 1 + 4 + 8 + 3*8

func (m message) encode() []byte {
	b := make([]byte, 0, messageSize)
	b = append(b, byte(m.Kind))
	b = binary.LittleEndian.AppendUint32(b, m.Writer)
	for _, v := range []uint64{m.Seq, uint64(m.Use.Requests), uint64(m.Use.Sent), uint64(m.Use.Received)} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return b
}

// readMessage returns io.EOF at the end of the pipe and an error for half a message or one that makes no sense.
func readMessage(r io.Reader) (message, error) {
	var b [messageSize]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return message{}, errors.New("the writer process sent half a report")
		}
		return message{}, err
	}
	u64 := func(at int) uint64 { return binary.LittleEndian.Uint64(b[at:]) }
	m := message{
		Kind:   msgKind(b[0]),
		Writer: binary.LittleEndian.Uint32(b[1:]),
		Seq:    u64(5),
		Use:    usage{Requests: int64(u64(13)), Sent: int64(u64(21)), Received: int64(u64(29))},
	}
	switch m.Kind {
	case msgOpen, msgAck, msgRate, msgDone:
		return m, nil
	}
	return message{}, fmt.Errorf("the writer process sent a report of unknown kind %#x", b[0])
}
