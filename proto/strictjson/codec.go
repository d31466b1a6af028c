package strictjson

import (
	"errors"
	"fmt"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// ContentNames are the names by which Connect finds the codec of a request in JSON.
func ContentNames() []string { return []string{"json", "json; charset=utf-8"} }

// HandlerOptions makes a handler read JSON with this package.
func HandlerOptions() connect.HandlerOption {
	var options []connect.HandlerOption
	for _, name := range ContentNames() {
		options = append(options, connect.WithCodec(codec{name}))
	}
	return connect.WithHandlerOptions(options...)
}

// codec replaces Connect's codec of the same name.
type codec struct{ name string }

var _ connect.Codec = codec{}

// Name is connect.Codec's.
func (c codec) Name() string { return c.name }

// Marshal is connect.Codec's.
func (codec) Marshal(m any) ([]byte, error) {
	message, ok := m.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("strictjson: %T is not a protobuf message", m)
	}
	return protojson.Marshal(message)
}

// Unmarshal is connect.Codec's.
func (codec) Unmarshal(b []byte, m any) error {
	message, ok := m.(proto.Message)
	if !ok {
		return fmt.Errorf("strictjson: %T is not a protobuf message", m)
	}
	return Unmarshal(b, message)
}

// Unmarshal decodes one message.
func Unmarshal(b []byte, m proto.Message) error {
	if len(b) == 0 {
		return errors.New("the request is empty: a JSON object is expected, {} at least")
	}
	err := protojson.Unmarshal(b, m)
	if err == nil {
		return nil
	}
	name := m.ProtoReflect().Descriptor().Name()
	if words := strange(b, m.ProtoReflect().Descriptor()); words != "" {
		return fmt.Errorf("%s: %s; the request was refused as a whole", name, words)
	}
	return fmt.Errorf("%s: %w", name, err)
}
