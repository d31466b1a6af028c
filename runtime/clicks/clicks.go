// Package clicks is the input of the click job, and its stateless operators.
//
// It owns the input formats and the generator. Package lines reads the file. It knows no checkpoint, no exchange and no sink.
// The demo checks the job's result by a parser of its own, so a rule here has to be changed there too.
//
// A record's key is the user. Its value is "1" if the user was logged in, else "0". A line that is no click is
// counted and skipped. The counter is part of the position, so a restore counts no line twice.
//
// A line that begins with { is JSON (RFC 7493): {"user": "...", "logged_in": true}. Any other line is a line of an access
// log: common or combined, with or without Apache's virtual host (host:port) before the client. Its user is the client,
// an IP address or a host name; the user is logged in if the status is below 400. A line that may mean another client is
// no click. A byte order mark before the first line is skipped.
package clicks

import (
	"errors"
	"fmt"

	"github.com/ckptd/ckptd/runtime/lines"
	"github.com/ckptd/ckptd/runtime/state"
)

// Options say which input to read, and which share of it.
type Options struct {
	// Input is a file; if empty, a click log is generated.
	Input string
	// Size is the number of bytes of the file to read; 0 means its size when Open is called. The subtasks' shares
	// depend on Size. For a file that may grow, all subtasks must be given the same Size.
	Size int64
	// Seed, Users and Records define a generated log. The same values give the same log for every parallelism.
	Seed uint64
	// Users is the largest number of different users. Default 10,000.
	Users uint64
	// Records of all subtasks together.
	Records uint64
	// Rate is the number of records a second of this subtask; 0 means no limit.
	Rate float64
	// Subtask, out of Parallelism, is the share to read. Parallelism 0 means 1: everything.
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
		return fmt.Errorf("subtask %d of %d; want 0 to parallelism - 1", o.Subtask, o.Parallelism)
	case o.Rate < 0:
		return fmt.Errorf("rate %v; want 0 or more", o.Rate)
	case o.Size < 0:
		return fmt.Errorf("size %d; want 0 or more", o.Size)
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
		f, err := lines.Open(lines.Options{Path: o.Input, Size: o.Size, Subtask: o.Subtask, Parallelism: o.Parallelism, Parse: click})
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

// click fills a record from a line.
func click(line []byte, rec *state.Record) bool {
	user, in, ok := parse(line)
	rec.Key, rec.Value = user, notLoggedIn
	if in {
		rec.Value = loggedIn
	}
	return ok
}

// LoggedIn is the job's filter.
func LoggedIn(rec *state.Record) bool { return string(rec.Value) == "1" }

// ErrPoison is in the chain of Map's error for the poison user.
var ErrPoison = errors.New("clicks: poison record")

// Map returns the job's map: a click becomes (user, 1), the 1 as decimal text. Every click of the user poison is an
// error; "" is no user.
func Map(poison string) func(*state.Record) error {
	return func(rec *state.Record) error {
		if poison != "" && string(rec.Key) == poison {
			return fmt.Errorf("%w: user %q", ErrPoison, poison)
		}
		rec.Value = one
		return nil
	}
}
