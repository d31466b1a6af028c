// Package clicks is the input of the click job, its stateless operators and the check of its result. It owns the formats, the generator, what a
// position is, and what "exact" means. It knows no checkpoint, no exchange and no sink.
//
// A record's key is the user; its value is "1" if the user was logged in, else "0". What is no record is counted and skipped: the counter is
// part of the position, so a restore counts nothing twice.
//
// Lines are told apart one by one: what begins with { is JSON, {"user": "...", "logged_in": true}; all else is a line of an access log, combined
// or common, whose user is the client's address and who is logged in if the status is below 400.
package clicks

import (
	"errors"
	"fmt"

	"github.com/ckptd/ckptd/runtime/state"
)

// Options say which input, and which share of it.
type Options struct {
	// Input is a file; empty: a click log is generated.
	Input string
	// Size of the file that counts, in bytes; 0: its size at the time of Open. The subtasks' shares depend on it, so for a
	// file that may grow whoever starts the subtasks says it once for all of them.
	Size int64
	// Seed, Users and Records of a generated log: the same numbers make the same log, whatever the parallelism.
	Seed uint64
	// Users is how many different ones there can be. Default 10,000.
	Users uint64
	// Records of all subtasks together.
	Records uint64
	// Rate is records a second of this subtask; 0: as fast as possible.
	Rate float64
	// Subtask of Parallelism is whose share to read. Parallelism 0 means 1: everything.
	Subtask, Parallelism int
}

func (o *Options) validate() error {
	if o.Parallelism == 0 {
		o.Parallelism = 1
	}
	if o.Users == 0 {
		o.Users = 10_000
	}
	switch {
	case o.Parallelism < 1 || o.Subtask < 0 || o.Subtask >= o.Parallelism:
		return fmt.Errorf("subtask %d of %d", o.Subtask, o.Parallelism)
	case o.Rate < 0:
		return fmt.Errorf("rate %v", o.Rate)
	case o.Size < 0:
		return fmt.Errorf("size %d", o.Size)
	}
	return nil
}

// Open opens a subtask's share of the input at its beginning.
func Open(o Options) (state.Source, error) {
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("clicks: open: %w", err)
	}
	var source state.Source = newGenerator(o)
	if o.Input != "" {
		f, err := openFile(o)
		if err != nil {
			return nil, fmt.Errorf("clicks: open %s: %w", o.Input, err)
		}
		source = f
	}
	if o.Rate > 0 {
		source = &limited{Source: source, rate: o.Rate}
	}
	return source, nil
}

var loggedIn, notLoggedIn, one = []byte("1"), []byte("0"), []byte("1")

// LoggedIn is the job's filter.
func LoggedIn(rec *state.Record) bool { return string(rec.Value) == "1" }

// ErrPoison is what Map makes of the poison user.
var ErrPoison = errors.New("clicks: poison record")

// Map is the job's map: a click becomes (user, 1), the one as decimal text. A poison other than "" is a user whose every click is an error.
func Map(poison string) func(*state.Record) error {
	return func(rec *state.Record) error {
		if poison != "" && string(rec.Key) == poison {
			return fmt.Errorf("%w: user %q", ErrPoison, poison)
		}
		rec.Value = one
		return nil
	}
}
