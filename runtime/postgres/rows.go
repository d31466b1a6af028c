package postgres

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

// A decoder reads the fields of rows that are JSON objects.
type decoder struct {
	columns []column
	// byField has the columns that take a field.
	byField map[string][]int
	json    *jsontext.Decoder
	input   bytes.Reader
	// text holds the values of the row.
	text   []byte
	values []value
}

// A value is the text of one column: text[start:end]. It is NULL unless set.
type value struct {
	start, end int
	set        bool
}

func newDecoder(columns []column) *decoder {
	d := &decoder{columns: columns, byField: map[string][]int{}, json: new(jsontext.Decoder), values: make([]value, len(columns))}
	for i, c := range columns {
		d.byField[c.field] = append(d.byField[c.field], i)
	}
	return d
}

// decode reads a row into text and values.
func (d *decoder) decode(row []byte) error {
	d.text = d.text[:0]
	clear(d.values)
	d.input.Reset(row)
	d.json.Reset(&d.input)
	if d.json.PeekKind() != '{' {
		return fmt.Errorf("row %s: want a JSON object", excerpt(row))
	}
	if err := d.object(); err != nil {
		return fmt.Errorf("row %s: %w", excerpt(row), err)
	}
	return nil
}

func (d *decoder) object() error {
	if _, err := d.json.ReadToken(); err != nil {
		return err
	}
	for d.json.PeekKind() == '"' {
		if err := d.member(); err != nil {
			return err
		}
	}
	if _, err := d.json.ReadToken(); err != nil {
		return err
	}
	if _, err := d.json.ReadToken(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the JSON object")
	}
	return nil
}

// member reads a name and its value.
func (d *decoder) member() error {
	name, err := d.json.ReadValue()
	if err != nil {
		return err
	}
	takers := d.byField[string(name[1:len(name)-1])]
	if bytes.IndexByte(name, '\\') >= 0 {
		plain, err := jsontext.AppendUnquote(nil, name)
		if err != nil {
			return err
		}
		takers = d.byField[string(plain)]
	}
	if len(takers) == 0 {
		return d.json.SkipValue()
	}
	raw, err := d.json.ReadValue()
	if err != nil {
		return err
	}
	for _, i := range takers {
		start := len(d.text)
		if raw.Kind() == 'n' {
			continue
		}
		if d.text, err = appendText(d.text, raw, d.columns[i].kind); err != nil {
			return err
		}
		d.values[i] = value{start: start, end: len(d.text), set: true}
	}
	return nil
}

// appendText appends a value in the form in which PostgreSQL reads it for a column.
func appendText(text []byte, raw jsontext.Value, kind columnKind) ([]byte, error) {
	switch {
	case kind == jsonColumn:
		return append(text, raw...), nil
	case raw.Kind() == '"':
		if bytes.IndexByte(raw, '\\') < 0 {
			return append(text, raw[1:len(raw)-1]...), nil
		}
		return jsontext.AppendUnquote(text, raw)
	case raw.Kind() == '[' && kind == arrayColumn:
		return appendArray(text, raw)
	}
	return append(text, raw...), nil
}

// appendArray appends a JSON array as an array of PostgreSQL.
func appendArray(text []byte, raw jsontext.Value) ([]byte, error) {
	elements := jsontext.NewDecoder(bytes.NewReader(raw))
	if _, err := elements.ReadToken(); err != nil {
		return nil, err
	}
	text = append(text, '{')
	for first := true; elements.PeekKind() != ']'; first = false {
		element, err := elements.ReadValue()
		if err != nil {
			return nil, err
		}
		if !first {
			text = append(text, ',')
		}
		switch element.Kind() {
		case 'n':
			text = append(text, "NULL"...)
		case '[':
			if text, err = appendArray(text, element); err != nil {
				return nil, err
			}
		default:
			plain, err := appendText(nil, element, plainColumn)
			if err != nil {
				return nil, err
			}
			text = appendElement(text, plain)
		}
	}
	return append(text, '}'), nil
}

// appendElement appends a text as an element of an array.
func appendElement(array, text []byte) []byte {
	array = append(array, '"')
	for {
		i := bytes.IndexAny(text, `"\`)
		if i < 0 {
			break
		}
		array = append(array, text[:i]...)
		array = append(array, '\\', text[i])
		text = text[i+1:]
	}
	array = append(array, text...)
	return append(array, '"')
}

// copyEscapes are the bytes that the text form of COPY writes as a backslash and a letter.
var copyEscapes = [256]byte{'\b': 'b', '\f': 'f', '\n': 'n', '\r': 'r', '\t': 't', '\v': 'v', '\\': '\\'}

// appendCopyLine appends the decoded row as a line of COPY.
func (d *decoder) appendCopyLine(line []byte) []byte {
	for i, v := range d.values {
		if i > 0 {
			line = append(line, '\t')
		}
		if !v.set {
			line = append(line, `\N`...)
			continue
		}
		from := v.start
		for at := v.start; at < v.end; at++ {
			if letter := copyEscapes[d.text[at]]; letter != 0 {
				line = append(append(line, d.text[from:at]...), '\\', letter)
				from = at + 1
			}
		}
		line = append(line, d.text[from:v.end]...)
	}
	return append(line, '\n')
}

// excerpt shortens a row for a message.
func excerpt(row []byte) string {
	if len(row) > 200 {
		return fmt.Sprintf("%q and %d bytes more", row[:200], len(row)-200)
	}
	return fmt.Sprintf("%q", row)
}
