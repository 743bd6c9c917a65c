package hdfs

import (
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"unsafe"

	"github.com/colinmarc/hdfs/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// This file is the only one that reaches for what the client library does not export: its connection to the NameNode, for calls
// that it has no method for (rename2 without overwriting, addBlock with excluded nodes, getListing from a name on); the messages of
// Hadoop's protocols, which are in protobuf's registry; and its SASL handshake with DataNodes. reachable says whether all of it is
// there; a store does not open otherwise. It is written for v2.4.0.

// executor is the method of the library's connection that sends one call and waits for its answer.
type executor interface {
	Execute(method string, req, resp proto.Message) error
}

// executorOf gives the connection of a client.
func executorOf(c *hdfs.Client) executor {
	f := reflect.ValueOf(c).Elem().FieldByName("namenode")
	e, _ := reflect.NewAt(f.Type(), unsafe.Pointer(f.UnsafeAddr())).Elem().Interface().(executor)
	return e
}

type dialFunc = func(ctx context.Context, network, addr string) (net.Conn, error)

// wrapDatanodeDial is the library's method that puts the handshake of a secured cluster around a dial function. token is a
// *hadoop_common.TokenProto. The library caches an encryption key in c without a lock: one caller at a time for each client.
//
//go:linkname wrapDatanodeDial github.com/colinmarc/hdfs/v2.(*Client).wrapDatanodeDial
func wrapDatanodeDial(c *hdfs.Client, dial dialFunc, token unsafe.Pointer) (dialFunc, error)

// secured is dial with the handshake for a block's token.
func secured(c *hdfs.Client, dial dialFunc, token protoreflect.Message) (dialFunc, error) {
	return wrapDatanodeDial(c, dial, reflect.ValueOf(token.Interface()).UnsafePointer())
}

// fields are what a message is made of; a nil value leaves its field out.
type fields map[protoreflect.Name]any

const hdfsProtos = "hadoop.hdfs."

// empty makes a message of Hadoop's protocol. Which there are was checked by reachable.
func empty(name protoreflect.FullName) protoreflect.Message {
	t, err := protoregistry.GlobalTypes.FindMessageByName(hdfsProtos + name)
	if err != nil {
		panic(err)
	}
	return t.New()
}

// message makes a message and sets its fields.
func message(name protoreflect.FullName, f fields) protoreflect.Message {
	m := empty(name)
	for field, v := range f {
		fd := m.Descriptor().Fields().ByName(field)
		switch v := v.(type) {
		case nil:
		case string:
			m.Set(fd, protoreflect.ValueOfString(v))
		case []byte:
			m.Set(fd, protoreflect.ValueOfBytes(v))
		case bool:
			m.Set(fd, protoreflect.ValueOfBool(v))
		case uint32:
			m.Set(fd, protoreflect.ValueOfUint32(v))
		case uint64:
			m.Set(fd, protoreflect.ValueOfUint64(v))
		case protoreflect.EnumNumber:
			m.Set(fd, protoreflect.ValueOfEnum(v))
		case protoreflect.Message:
			if v != nil {
				m.Set(fd, protoreflect.ValueOfMessage(v))
			}
		case []protoreflect.Message:
			list := m.Mutable(fd).List()
			for _, e := range v {
				list.Append(protoreflect.ValueOfMessage(e))
			}
		default:
			panic(fmt.Sprintf("%s.%s: %T", name, field, v))
		}
	}
	return m
}

// get reads a field; the zero value if it is not set.
func get(m protoreflect.Message, field protoreflect.Name) protoreflect.Value {
	return m.Get(m.Descriptor().Fields().ByName(field))
}

// put sets a field.
func put(m protoreflect.Message, field protoreflect.Name, v protoreflect.Value) {
	m.Set(m.Descriptor().Fields().ByName(field), v)
}

// add appends to a repeated field.
func add(m protoreflect.Message, field protoreflect.Name, v protoreflect.Value) {
	m.Mutable(m.Descriptor().Fields().ByName(field)).List().Append(v)
}

func has(m protoreflect.Message, field protoreflect.Name) bool {
	return m.Has(m.Descriptor().Fields().ByName(field))
}

// messages reads a repeated field.
func messages(m protoreflect.Message, field protoreflect.Name) []protoreflect.Message {
	list := get(m, field).List()
	all := make([]protoreflect.Message, list.Len())
	for i := range all {
		all[i] = list.Get(i).Message()
	}
	return all
}

// used lists the messages and fields that this package works with.
var used = map[protoreflect.FullName][]protoreflect.Name{
	"CreateRequestProto":             {"src", "masked", "clientName", "createFlag", "createParent", "replication", "blockSize"},
	"CreateResponseProto":            {"fs"},
	"AddBlockRequestProto":           {"src", "clientName", "excludeNodes", "fileId"},
	"AddBlockResponseProto":          {"block"},
	"CompleteRequestProto":           {"src", "clientName", "last", "fileId"},
	"CompleteResponseProto":          {"result"},
	"Rename2RequestProto":            {"src", "dst", "overwriteDest"},
	"Rename2ResponseProto":           nil,
	"DeleteRequestProto":             {"src", "recursive"},
	"DeleteResponseProto":            {"result"},
	"MkdirsRequestProto":             {"src", "masked", "createParent"},
	"MkdirsResponseProto":            {"result"},
	"GetFileInfoRequestProto":        {"src"},
	"GetFileInfoResponseProto":       {"fs"},
	"GetListingRequestProto":         {"src", "startAfter", "needLocation"},
	"GetListingResponseProto":        {"dirList"},
	"DirectoryListingProto":          {"partialListing", "remainingEntries"},
	"GetBlockLocationsRequestProto":  {"src", "offset", "length"},
	"GetBlockLocationsResponseProto": {"locations"},
	"GetServerDefaultsRequestProto":  nil,
	"GetServerDefaultsResponseProto": {"serverDefaults"},
	"ReportBadBlocksRequestProto":    {"blocks"},
	"ReportBadBlocksResponseProto":   nil,
	"FsServerDefaultsProto":          {"replication", "encryptDataTransfer"},
	"LocatedBlocksProto":             {"fileLength", "blocks", "fileEncryptionInfo", "ecPolicy"},
	"LocatedBlockProto":              {"b", "offset", "locs", "blockToken", "corrupt", "storageTypes", "storageIDs", "isCached"},
	"ExtendedBlockProto":             {"poolId", "blockId", "generationStamp", "numBytes"},
	"DatanodeInfoProto":              {"id"},
	"DatanodeIDProto":                {"ipAddr", "hostName", "datanodeUuid", "xferPort"},
	"HdfsFileStatusProto":            {"fileType", "path", "length", "modification_time", "fileId"},
	"FsPermissionProto":              {"perm"},
	"OpWriteBlockProto": {"header", "targets", "stage", "pipelineSize", "minBytesRcvd", "maxBytesRcvd", "latestGenerationStamp",
		"requestedChecksum", "storageType", "targetStorageTypes", "storageId", "targetStorageIds"},
	"OpReadBlockProto":           {"header", "offset", "len"},
	"ClientOperationHeaderProto": {"baseHeader", "clientName"},
	"BaseHeaderProto":            {"block", "token"},
	"ChecksumProto":              {"type", "bytesPerChecksum"},
	"BlockOpResponseProto":       {"status", "firstBadLink", "readOpChecksumInfo", "message"},
	"ReadOpChecksumInfoProto":    {"checksum", "chunkOffset"},
	"ClientReadStatusProto":      {"status"},
	"PacketHeaderProto":          {"offsetInBlock", "seqno", "lastPacketInBlock", "dataLen"},
	"PipelineAckProto":           {"seqno", "reply"},
}

// reachable reports what this file needs and the linked client library does not have.
func reachable() error {
	var errs []error
	f, ok := reflect.TypeFor[hdfs.Client]().FieldByName("namenode")
	if !ok || !f.Type.Implements(reflect.TypeFor[executor]()) {
		errs = append(errs, errors.New("hdfs.Client has no connection in its field namenode"))
	}
	for name, want := range used {
		t, err := protoregistry.GlobalTypes.FindMessageByName(hdfsProtos + name)
		if err != nil {
			errs = append(errs, fmt.Errorf("message %s: %w", name, err))
			continue
		}
		for _, field := range want {
			if t.Descriptor().Fields().ByName(field) == nil {
				errs = append(errs, fmt.Errorf("message %s has no field %s", name, field))
			}
		}
	}
	if len(errs) > 0 {
		return fmt.Errorf("the program is built with another version of github.com/colinmarc/hdfs than v2.4.0, for which forst is written: %w", errors.Join(errs...))
	}
	return nil
}
