package data

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/proto/strictjson"
)

// Direction says which stream's messages carry the chunks.
type Direction uint8

const (
	// Put: PutStateRequest.
	Put Direction = iota
	// Get: GetStateResponse.
	Get
)

// ErrNotChunk says that a message held something else than a chunk.
var ErrNotChunk = errors.New("data: message is not a chunk")

// In receives the chunk of one message without a copy. Pass a pointer to Receive.
type In struct {
	Direction Direction
	// Write is given each chunk. The bytes are valid until it returns: they belong to a pool.
	Write func(p []byte) error
	// Err is the error of Write, kept apart from those of the stream: after it Receive still returns nil.
	Err error
}

// Out sends N bytes of R as the chunk of one message without a copy. Pass a pointer to Send.
type Out struct {
	Direction Direction
	R         io.Reader
	N         int
	// Err is the error of R, kept apart from those of the stream; Send failed too then.
	Err error
}

// Options makes a client or a handler of StateService use this package's codecs, without compression and with bounded
// messages.
func Options() connect.Option {
	return connect.WithOptions(
		connect.WithCodec(Codec{}),
		connect.WithReadMaxBytes(ReadMaxBytes),
	)
}

// HandlerOptions is Options for a handler.
func HandlerOptions() connect.HandlerOption {
	return connect.WithHandlerOptions(
		Options(),
		connect.WithCodec(jsonCodec{strictjson.ContentNames()[0]}),
		connect.WithCodec(jsonCodec{strictjson.ContentNames()[1]}),
		connect.WithCompression("gzip", nil, nil),
	)
}

// ClientOptions is Options for a client.
func ClientOptions() connect.ClientOption {
	return connect.WithClientOptions(Options(), connect.WithAcceptCompression("gzip", nil, nil))
}

// Codec is Connect's "proto" codec, which besides messages takes *In and *Out.
type Codec struct{}

var _ connect.Codec = Codec{}

// Name makes it replace the default codec.
func (Codec) Name() string { return "proto" }

// Marshal encodes a message.
func (c Codec) Marshal(m any) ([]byte, error) { return c.MarshalAppend(nil, m) }

// MarshalAppend encodes a message behind b. The bytes of an *Out are read right into their place.
func (Codec) MarshalAppend(b []byte, m any) ([]byte, error) {
	out, ok := m.(*Out)
	if !ok {
		msg, err := asMessage(m)
		if err != nil {
			return nil, err
		}
		return proto.MarshalOptions{}.MarshalAppend(b, msg)
	}
	start := len(b)
	b = AppendPrefix(slices.Grow(b, out.N+prefixMax), out.Direction, out.N)
	n, err := io.ReadFull(out.R, b[len(b):len(b)+out.N])
	if err != nil {
		out.Err = err
		return b[:start], err
	}
	return b[:len(b)+n], nil
}

// Unmarshal decodes a message. The chunk for an *In is given to its Write.
func (Codec) Unmarshal(d []byte, m any) error {
	in, ok := m.(*In)
	if !ok {
		msg, err := asMessage(m)
		if err != nil {
			return err
		}
		return proto.Unmarshal(d, msg)
	}
	p, ok := chunkOf(d, in.Direction)
	if !ok {
		// Legal, but not as our own clients write it: unknown fields, a field twice. Decode it by the book.
		msg := newMessage(in.Direction)
		if err := proto.Unmarshal(d, msg); err != nil {
			return err
		}
		var err error
		if p, err = chunkIn(msg); err != nil {
			return err
		}
	}
	in.Err = in.Write(p)
	return nil
}

// prefixMax bounds what AppendPrefix appends: a tag and a length.
const prefixMax = 1 + 10

// AppendPrefix appends what stands before the n bytes of a chunk in its message.
func AppendPrefix(b []byte, dir Direction, n int) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, dir.field(), protowire.BytesType), uint64(n))
}

func (dir Direction) field() protowire.Number {
	if dir == Put {
		return 2
	}
	return 1
}

// chunkOf gives the chunk of a message that is nothing but a chunk.
func chunkOf(d []byte, dir Direction) ([]byte, bool) {
	num, typ, k := protowire.ConsumeTag(d)
	if k < 0 || num != dir.field() || typ != protowire.BytesType {
		return nil, false
	}
	p, n := protowire.ConsumeBytes(d[k:])
	return p, n >= 0 && k+n == len(d)
}

func newMessage(dir Direction) proto.Message {
	if dir == Put {
		return &ckptdv1.PutStateRequest{}
	}
	return &ckptdv1.GetStateResponse{}
}

// chunkIn gives a decoded message's chunk; a message without one is an empty chunk.
func chunkIn(m proto.Message) ([]byte, error) {
	switch m := m.(type) {
	case *ckptdv1.PutStateRequest:
		if m.GetHeader() != nil {
			return nil, fmt.Errorf("%w: a second header", ErrNotChunk)
		}
		return m.GetChunk(), nil
	case *ckptdv1.GetStateResponse:
		return m.GetChunk(), nil
	}
	return nil, ErrNotChunk
}

func chunkMessage(dir Direction, p []byte) proto.Message {
	if dir == Put {
		return &ckptdv1.PutStateRequest{Part: &ckptdv1.PutStateRequest_Chunk{Chunk: p}}
	}
	return &ckptdv1.GetStateResponse{Chunk: p}
}

func asMessage(m any) (proto.Message, error) {
	msg, ok := m.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("data: %T is not a protobuf message", m)
	}
	return msg, nil
}

// jsonCodec is Connect's "json" codec, which besides messages takes *In and *Out, so that the handlers serve JSON clients too.
// It copies: JSON is for people with curl. What it does not know of a request, it refuses (package strictjson).
type jsonCodec struct{ name string }

var _ connect.Codec = jsonCodec{}

func (c jsonCodec) Name() string { return c.name }

func (c jsonCodec) Marshal(m any) ([]byte, error) {
	if out, ok := m.(*Out); ok {
		p := make([]byte, out.N)
		if _, err := io.ReadFull(out.R, p); err != nil {
			out.Err = err
			return nil, err
		}
		m = chunkMessage(out.Direction, p)
	}
	msg, err := asMessage(m)
	if err != nil {
		return nil, err
	}
	return protojson.Marshal(msg)
}

func (c jsonCodec) Unmarshal(d []byte, m any) error {
	in, ok := m.(*In)
	if !ok {
		msg, err := asMessage(m)
		if err != nil {
			return err
		}
		return strictjson.Unmarshal(d, msg)
	}
	msg := newMessage(in.Direction)
	if err := strictjson.Unmarshal(d, msg); err != nil {
		return err
	}
	p, err := chunkIn(msg)
	if err != nil {
		return err
	}
	in.Err = in.Write(p)
	return nil
}
