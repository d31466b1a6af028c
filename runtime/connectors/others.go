package connectors

import (
	"errors"
	"os"
	"strconv"

	"github.com/ckptd/ckptd/runtime"
	"github.com/ckptd/ckptd/runtime/clicks"
	"github.com/ckptd/ckptd/runtime/state"
	"github.com/ckptd/ckptd/runtime/stdio"
)

// Generator makes clicks: rows {"user": "user-7", "logged_in": true}. The same options give the same clicks.
type Generator struct {
	// Records of all subtasks together.
	Records uint64 `yaml:"records"`
	// Users is the largest number of different users.
	Users uint64 `yaml:"users"`
	Seed  uint64 `yaml:"seed"`
}

// Validate implements Options.
func (o *Generator) Validate() error {
	if o.Users == 0 {
		return errors.New("users 0: want 1 or more")
	}
	return nil
}

// OpenSource implements Source.
func (o *Generator) OpenSource(s runtime.Subtask) (state.Source, error) {
	inner, err := clicks.Open(clicks.Options{Records: o.Records, Users: o.Users, Seed: o.Seed, Subtask: s.Index, Parallelism: s.Parallelism})
	return &generated{Source: inner}, err
}

// generated makes rows of clicks.
type generated struct {
	state.Source
	row []byte
}

// Next implements state.Source.
func (g *generated) Next(rec *state.Record) (state.Readiness, error) {
	ready, err := g.Source.Next(rec)
	if ready == state.Ready {
		g.row = append(append(append(g.row[:0], `{"user":"`...), rec.Key...), `","logged_in":`...) // such a user needs no quoting
		g.row = append(strconv.AppendBool(g.row, clicks.LoggedIn(rec)), '}')
		rec.Value = g.row
	}
	return ready, err
}

// Stdout prints rows on the standard output of the worker. After a failure it prints some rows again.
type Stdout struct{}

// Validate implements Options.
func (o *Stdout) Validate() error { return nil }

// OpenSink implements Sink.
func (o *Stdout) OpenSink(runtime.Subtask) (state.Sink, error) { return stdio.New(os.Stdout), nil }
