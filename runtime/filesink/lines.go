package filesink

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// AppendLine appends `key,value` and a newline; both are CSV fields of RFC 4180.
func AppendLine(dst, key, value []byte) []byte {
	dst = append(appendField(dst, key), ',')
	return append(appendField(dst, value), '\n')
}

func appendField(dst, field []byte) []byte {
	if !bytes.ContainsAny(field, ",\"\r\n") {
		return append(dst, field...)
	}
	dst = append(dst, '"')
	for _, c := range field {
		if c == '"' {
			dst = append(dst, '"')
		}
		dst = append(dst, c)
	}
	return append(dst, '"')
}

// ReadLines calls f with the fields of every published line under a name, part by part. The slices are valid during
// the call.
func ReadLines(dir, name string, f func(key, value []byte) error) error {
	parts, err := Parts(dir, name)
	if err != nil {
		return err
	}
	for _, p := range parts {
		path := filepath.Join(dir, p.String())
		if err := readFile(path, f); err != nil {
			return fmt.Errorf("filesink: read %s: %w", path, err)
		}
	}
	return nil
}

func readFile(path string, f func(key, value []byte) error) error {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	r := &lineReader{r: bufio.NewReaderSize(in, bufferSize)}
	for n := 1; ; n++ {
		key, value, err := r.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		if err := f(key, value); err != nil {
			return err
		}
	}
}

// lineReader reads exactly the bytes that AppendLine got. encoding/csv would change a carriage return in a field.
type lineReader struct {
	r   *bufio.Reader
	buf []byte
}

func (l *lineReader) next() (key, value []byte, err error) {
	if _, err := l.r.Peek(1); err != nil {
		return nil, nil, err
	}
	l.buf = l.buf[:0]
	if err := l.field(','); err != nil {
		return nil, nil, err
	}
	n := len(l.buf)
	if err := l.field('\n'); err != nil {
		return nil, nil, err
	}
	return l.buf[:n:n], l.buf[n:], nil
}

// field appends a field to buf and consumes the separator after it.
func (l *lineReader) field(separator byte) error {
	c, err := l.byte()
	if err != nil {
		return err
	}
	if c != '"' {
		for ; c != separator; c, err = l.byte() {
			if err != nil {
				return err
			}
			if c == ',' || c == '\n' || c == '\r' || c == '"' {
				return errors.New("the line has not exactly two fields")
			}
			l.buf = append(l.buf, c)
		}
		return nil
	}
	for {
		if c, err = l.byte(); err != nil {
			return err
		}
		if c == '"' {
			if c, err = l.byte(); err != nil {
				return err
			}
			if c == separator {
				return nil
			}
			if c != '"' {
				return errors.New("a quote within a field")
			}
		}
		l.buf = append(l.buf, c)
	}
}

// byte returns the next byte; the end of the file would be in the middle of a line here.
func (l *lineReader) byte() (byte, error) {
	c, err := l.r.ReadByte()
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return c, err
}
