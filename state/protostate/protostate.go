// Package protostate is a codec of package state for protocol buffers. It stands apart so that programs without them do not link them.
package protostate

import (
	"google.golang.org/protobuf/proto"

	"github.com/forst-go/forst/state"
)

// Codec writes messages of one type: protostate.Codec(func() *pb.Order { return &pb.Order{} }). The bytes are deterministic for one version of a
// program, so they may be keys of maps, in no order that means anything. Fields that the program does not know are kept, as protocol
// buffers do; the codec's name has the full name of the message, so a descriptor with another message is refused at restore.
func Codec[M proto.Message](empty func() M) state.Codec[M] {
	name := "proto:" + string(empty().ProtoReflect().Descriptor().FullName())
	marshal := proto.MarshalOptions{Deterministic: true}
	return state.CodecOf(name, func(dst []byte, m M) ([]byte, error) {
		return marshal.MarshalAppend(dst, m)
	}, func(src []byte) (M, error) {
		m := empty()
		err := proto.Unmarshal(src, m)
		return m, err
	})
}
