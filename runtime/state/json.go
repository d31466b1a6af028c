package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
)

// UnmarshalStrict decodes a position or a state that is stored as JSON. An unknown field is an error, and so is anything behind the value: the
// bytes decide what is read and what becomes visible.
func UnmarshalStrict(b []byte, to any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(to); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("something follows the JSON value")
	}
	return nil
}
