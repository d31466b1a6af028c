package lines

import (
	"encoding/json"
	"fmt"
	"sync/atomic"

	"github.com/ckptd/ckptd/runtime/state"
)

// Position is a source's state, stored as JSON.
type Position struct {
	Version int `json:"version"`
	// Input identifies the input; a position is valid only for its own input.
	Input string `json:"input"`
	// Next is the position of the next record: a byte of a file, or a record of this share of a generated log.
	Next uint64 `json:"next"`
	// Skipping: Next is inside a line that must not be read.
	Skipping   bool   `json:"skipping,omitempty"`
	Records    uint64 `json:"records"`
	Unparsable uint64 `json:"unparsable"`
}

// Encode returns the JSON.
func (p Position) Encode() []byte {
	p.Version = 1
	b, err := json.Marshal(p)
	if err != nil {
		panic(err) // numbers and a string
	}
	return b
}

// DecodePosition refuses a position of another input, or one beyond limit.
func DecodePosition(b []byte, input string, limit uint64) (Position, error) {
	var p Position
	if err := state.UnmarshalStrict(b, &p); err != nil {
		return p, fmt.Errorf("lines: seek: %w", err)
	}
	switch {
	case p.Version != 1:
		return p, fmt.Errorf("lines: seek: position of version %d; this program reads version 1", p.Version)
	case p.Input != input:
		return p, fmt.Errorf("lines: seek: position is of the input %s, this is %s", p.Input, input)
	case p.Next > limit:
		return p, fmt.Errorf("lines: seek: position %d of an input that ends at %d", p.Next, limit)
	}
	return p, nil
}

// Counters can be read while the source works.
type Counters struct {
	Records, Unparsable atomic.Uint64
}

// Progress implements state.Source.
func (c *Counters) Progress() state.Progress {
	return state.Progress{Records: c.Records.Load(), Unparsable: c.Unparsable.Load()}
}

// Set sets the counters to those of a position.
func (c *Counters) Set(p Position) {
	c.Records.Store(p.Records)
	c.Unparsable.Store(p.Unparsable)
}
