// Package rows is the form of records in jobs that are written without types: a row is a JSON object, as a Go map. It
// owns the conversion of rows to bytes and back. It must not know steps or connectors.
//
// A number without a fraction that fits is an int64, any other one a float64. So sums of whole numbers are exact.
package rows

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Row is one record.
type Row = map[string]any

// Codec is the codec of rows, for package stream.
type Codec struct{}

// Append appends the JSON of a row. Its fields are sorted, so that equal rows have equal bytes.
func (Codec) Append(dst []byte, row Row) ([]byte, error) { return AppendValue(dst, row) }

// Decode reads a JSON object.
func (Codec) Decode(b []byte) (Row, error) {
	v, err := Value(b)
	if err != nil {
		return nil, err
	}
	row, ok := v.(Row)
	if !ok {
		return nil, errors.New("it is no JSON object")
	}
	return row, nil
}

// Values is the codec of a list of values.
type Values struct{}

// Append appends a JSON array.
func (Values) Append(dst []byte, values []any) ([]byte, error) { return AppendValue(dst, values) }

// Decode reads a JSON array.
func (Values) Decode(b []byte) ([]any, error) {
	v, err := Value(b)
	if err != nil {
		return nil, err
	}
	list, ok := v.([]any)
	if !ok {
		return nil, errors.New("it is no JSON array")
	}
	return list, nil
}

// AppendValue appends the JSON of a value.
func AppendValue(dst []byte, v any) ([]byte, error) {
	b, err := json.Marshal(v, json.Deterministic(true), json.FormatNilSliceAsNull(true))
	if err != nil {
		return dst, fmt.Errorf("rows: %w", err)
	}
	return append(dst, b...), nil
}

// Value reads one JSON value, with nothing behind it.
func Value(b []byte) (any, error) {
	d := jsontext.NewDecoder(bytes.NewBuffer(b))
	v, err := value(d)
	if err != nil {
		return nil, err
	}
	if _, err := d.ReadToken(); err == nil {
		return nil, errors.New("something follows the JSON value")
	}
	return v, nil
}

func value(d *jsontext.Decoder) (any, error) {
	token, err := d.ReadToken()
	if err != nil {
		return nil, err
	}
	switch token.Kind() {
	case 'n':
		return nil, nil
	case 't', 'f':
		return token.Bool(), nil
	case '"':
		return token.String(), nil
	case '0':
		return number(token.String())
	case '[':
		return array(d)
	default:
		return object(d)
	}
}

func number(text string) (any, error) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n, nil
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return nil, fmt.Errorf("number %s: %w", text, errors.Unwrap(err))
	}
	return f, nil
}

func array(d *jsontext.Decoder) (any, error) {
	list := []any{}
	for d.PeekKind() != ']' {
		v, err := value(d)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	_, err := d.ReadToken()
	return list, err
}

func object(d *jsontext.Decoder) (any, error) {
	row := Row{}
	for d.PeekKind() != '}' {
		name, err := d.ReadToken()
		if err != nil {
			return nil, err
		}
		key := name.String()
		if row[key], err = value(d); err != nil {
			return nil, err
		}
	}
	_, err := d.ReadToken()
	return row, err
}
