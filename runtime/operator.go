package runtime

import (
	"context"
	"errors"
	"fmt"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/layout/keygroup"
	"github.com/ckptd/ckptd/runtime/state"
)

// The names of the pieces of state that the runtime itself makes. The pieces of a keyed operator have the names of
// its backend's files.
const (
	piecePosition     = "position"
	pieceTransactions = "transactions"
)

// operator is one operator of a running chain.
type operator struct {
	spec    *Operator
	subtask client.Subtask
	source  state.Source
	process Process
	keyed   Keyed
	backend state.Backend
	groups  keygroup.Range
	sink    state.Sink
	// atEnd is the operator's end-of-data work; nil: it has none.
	atEnd func(emit Emit) error
	// deaf makes the source or sink deaf to the end of the attempt; nil if it has no Interrupt.
	deaf func() bool
}

// interruptible lets the end of the attempt interrupt a source or sink that waits for a server. The end of the job does not: the sink then
// commits its last checkpoint.
func (o *operator) interruptible(attempt context.Context, connector any) {
	if i, ok := connector.(state.Interrupter); ok {
		o.deaf = context.AfterFunc(attempt, func() {
			if context.Cause(attempt) != errJobEnded {
				i.Interrupt()
			}
		})
	}
}

// link returns the function that runs the chain from operator i on; out receives what the last operator emits.
func link(chain []*operator, i int, out Emit) Emit {
	if i == len(chain) {
		return out
	}
	o, next := chain[i], link(chain, i+1, out)
	switch {
	case o.source != nil:
		return next
	case o.sink != nil:
		return func(rec state.Record) error { return o.failed(o.sink.Write(rec)) }
	case o.keyed != nil:
		return nil // a keyed operator is always the first, and task.head calls it
	default:
		return func(rec state.Record) error { return o.failed(o.process(rec, next)) }
	}
}

// operatorError names the operator that failed to process a record.
type operatorError struct {
	subtask client.Subtask
	err     error
}

func (e *operatorError) Error() string {
	return fmt.Sprintf("operator %s/%d: %v", e.subtask.Operator, e.subtask.Index, e.err)
}
func (e *operatorError) Unwrap() error { return e.err }

// failed adds the operator's name to an error, unless an operator further down the chain is named already.
func (o *operator) failed(err error) error {
	if err == nil {
		return nil
	}
	if _, named := errors.AsType[*operatorError](err); named {
		return err
	}
	return &operatorError{o.subtask, err}
}

// snapshot is the synchronous part of a checkpoint. release is never nil.
func (o *operator) snapshot(checkpoint uint64) (s client.SubtaskSnapshot, release func(), err error) {
	s, release = client.SubtaskSnapshot{Subtask: o.subtask}, func() {}
	switch {
	case o.source != nil:
		s.Pieces = []client.Piece{{Name: piecePosition, Inline: o.source.Position(), State: &client.State{Kind: client.SourceReader}}}
	case o.sink != nil:
		pending, err := o.sink.PreCommit(checkpoint)
		if err != nil {
			return s, release, err
		}
		if len(pending) > 0 {
			s.Pieces = []client.Piece{{Name: pieceTransactions, Inline: pending, State: &client.State{Kind: client.SinkTransactions}}}
		}
	case o.backend != nil:
		taken, err := o.backend.Snapshot(checkpoint)
		if err != nil {
			return s, release, err
		}
		release = taken.Release
		s.Pieces = pieces(taken, o.groups)
	}
	return s, release, nil
}

func pieces(s *state.Snapshot, groups keygroup.Range) []client.Piece {
	out := make([]client.Piece, len(s.Files))
	for i, f := range s.Files {
		scope := client.Exclusive
		if f.Shared {
			scope = client.Shared
		}
		out[i] = client.Piece{
			Name: f.Name, InstanceNonce: s.InstanceNonce, Scope: scope, Size: f.Size, RestoredKey: f.RestoredKey,
			KeyGroups: &client.KeyGroups{Start: uint32(groups.Start), End: uint32(groups.End)},
			Open:      f.Reader,
		}
	}
	return out
}

// close releases what the operator holds.
func (o *operator) close() error {
	var errs []error
	if o.deaf != nil {
		o.deaf()
	}
	if o.source != nil {
		errs = append(errs, o.source.Close())
	}
	if o.backend != nil {
		errs = append(errs, o.backend.Close())
	}
	if o.sink != nil {
		errs = append(errs, o.sink.Close())
	}
	return errors.Join(errs...)
}
