package protostate

import (
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func TestCodec(t *testing.T) {
	c := Codec(func() *wrapperspb.StringValue { return &wrapperspb.StringValue{} })
	if c.Name() != "proto:google.protobuf.StringValue" {
		t.Errorf("name %q", c.Name())
	}
	p, err := c.Append([]byte("x"), wrapperspb.String("hello"))
	if err != nil || string(p[:1]) != "x" {
		t.Fatal(p, err)
	}
	m, err := c.Decode(p[1:])
	if err != nil || !proto.Equal(m, wrapperspb.String("hello")) {
		t.Fatal(m, err)
	}
	if _, err := c.Decode([]byte{0xff}); err == nil {
		t.Error("damaged bytes were read")
	}
}
