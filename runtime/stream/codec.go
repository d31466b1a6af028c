package stream

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"

	"github.com/go-json-experiment/json"
)

// Codec turns values of a type into bytes, and back.
type Codec[T any] interface {
	// Append appends the bytes of a value.
	Append(dst []byte, v T) ([]byte, error)
	// Decode reads what Append wrote. It must not keep b.
	Decode(b []byte) (T, error)
}

// CodecOf is the default codec of a type: text for strings and numbers, the bytes themselves for []byte, JSON (RFC 7493)
// for everything else.
func CodecOf[T any]() Codec[T] {
	var zero T
	var c any
	switch any(zero).(type) {
	case string:
		c = textCodec{}
	case []byte:
		c = bytesCodec{}
	case int64:
		c = intCodec{}
	case float64:
		c = floatCodec{}
	default:
		if pair, ok := any(zero).(interface{ codec() any }); ok {
			c = pair.codec()
		} else {
			c = jsonCodec[T]{}
		}
	}
	return c.(Codec[T])
}

type textCodec struct{}

func (textCodec) Append(dst []byte, v string) ([]byte, error) { return append(dst, v...), nil }
func (textCodec) Decode(b []byte) (string, error)             { return string(b), nil }

type bytesCodec struct{}

func (bytesCodec) Append(dst []byte, v []byte) ([]byte, error) { return append(dst, v...), nil }
func (bytesCodec) Decode(b []byte) ([]byte, error)             { return append([]byte{}, b...), nil }

type intCodec struct{}

func (intCodec) Append(dst []byte, v int64) ([]byte, error) {
	return strconv.AppendInt(dst, v, 10), nil
}
func (intCodec) Decode(b []byte) (int64, error) { return strconv.ParseInt(string(b), 10, 64) }

type floatCodec struct{}

func (floatCodec) Append(dst []byte, v float64) ([]byte, error) {
	return strconv.AppendFloat(dst, v, 'g', -1, 64), nil
}
func (floatCodec) Decode(b []byte) (float64, error) { return strconv.ParseFloat(string(b), 64) }

type jsonCodec[T any] struct{}

func (jsonCodec[T]) Append(dst []byte, v T) ([]byte, error) {
	b, err := json.Marshal(v, json.Deterministic(true))
	return append(dst, b...), err
}

func (jsonCodec[T]) Decode(b []byte) (v T, err error) {
	err = json.Unmarshal(b, &v)
	return v, err
}

// KeyValue is a key with a value, as Count, Sum and Fold return it. A sink gets the key as the key of the record, and the
// bytes of the value as its value.
type KeyValue[V any] struct {
	Key   string
	Value V
}

// codec is for CodecOf.
func (KeyValue[V]) codec() any { return pairCodec[V]{CodecOf[V]()} }

// pairCodec writes the length of the key, the key, and the value.
type pairCodec[V any] struct{ value Codec[V] }

func (c pairCodec[V]) Append(dst []byte, v KeyValue[V]) ([]byte, error) {
	dst = append(binary.AppendUvarint(dst, uint64(len(v.Key))), v.Key...)
	return c.value.Append(dst, v.Value)
}

func (c pairCodec[V]) Decode(b []byte) (v KeyValue[V], err error) {
	n, size := binary.Uvarint(b)
	if size <= 0 || n > uint64(len(b)-size) {
		return v, errors.New("stream: a key and its value are cut off")
	}
	b = b[size:]
	v.Key = string(b[:n])
	v.Value, err = c.value.Decode(b[n:])
	return v, err
}

// keyed is a value that knows the key with which it goes to a sink.
type keyed interface {
	sinkRecord(key, value []byte) (k, v []byte, err error)
}

// sinkRecord appends the key and the value of the record for a sink.
func (v KeyValue[V]) sinkRecord(key, value []byte) (k, val []byte, err error) {
	val, err = CodecOf[V]().Append(value, v.Value)
	return append(key, v.Key...), val, err
}

// appendFor appends the record of a value for a sink. A type without a key of its own keeps the key that the record has.
func appendFor[T any](c Codec[T], v T, key, value, has []byte) (k, val []byte, err error) {
	if pair, ok := any(v).(keyed); ok {
		return pair.sinkRecord(key, value)
	}
	val, err = c.Append(value, v)
	if err != nil {
		err = fmt.Errorf("stream: encode a record for the sink: %w", err)
	}
	return append(key, has...), val, err
}
