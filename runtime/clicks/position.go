package clicks

import (
	"encoding/json"
	"fmt"
	"sync/atomic"

	"github.com/ckptd/ckptd/runtime/state"
)

// position is a source's state, stored as JSON.
type position struct {
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

func (p position) encode() []byte {
	p.Version = 1
	b, err := json.Marshal(p)
	if err != nil {
		panic(err) // numbers and a string
	}
	return b
}

// decodePosition refuses a position of another input, or one beyond limit.
func decodePosition(b []byte, input string, limit uint64) (position, error) {
	var p position
	if err := state.UnmarshalStrict(b, &p); err != nil {
		return p, fmt.Errorf("clicks: seek: %w", err)
	}
	switch {
	case p.Version != 1:
		return p, fmt.Errorf("clicks: seek: position of version %d; this program reads version 1", p.Version)
	case p.Input != input:
		return p, fmt.Errorf("clicks: seek: position is of the input %s, this is %s", p.Input, input)
	case p.Next > limit:
		return p, fmt.Errorf("clicks: seek: position %d of an input that ends at %d", p.Next, limit)
	}
	return p, nil
}

// counters can be read while the source works.
type counters struct {
	records, unparsable atomic.Uint64
}

// Progress implements state.Source.
func (c *counters) Progress() state.Progress {
	return state.Progress{Records: c.records.Load(), Unparsable: c.unparsable.Load()}
}

func (c *counters) set(p position) {
	c.records.Store(p.Records)
	c.unparsable.Store(p.Unparsable)
}
