package stream

import (
	"fmt"

	"github.com/ckptd/ckptd/runtime"
	"github.com/ckptd/ckptd/runtime/state"
)

// Source is the input of a stream of T.
type Source[T any] struct {
	// Kind is the name of the connector, for people.
	Kind string
	// Open opens the share of one subtask.
	Open func(runtime.Subtask) (state.Source, error)
	// Codec decodes the values of records; nil: CodecOf.
	Codec Codec[T]
	// Rate is the largest number of records a second for each subtask; 0: no limit.
	Rate float64
	// Unreadable says what happens to records that Codec cannot decode.
	Unreadable Unreadable
}

// Sink is the output of a stream.
type Sink struct {
	// Kind is the name of the connector, for people.
	Kind string
	// Open makes the sink of one subtask.
	Open func(runtime.Subtask) (state.Sink, error)
}

// Stream is a stream of T. A stream can be used once: it has one step behind it.
type Stream[T any] struct {
	at    *node
	codec Codec[T]
	// head makes, for a subtask, the function that takes a record of the chain's first operator and calls the steps up to
	// this one.
	head head[T]
}

// head makes the steps of a subtask. next is the step behind them.
type head[T any] func(s runtime.Subtask, next func(T) error) (func() error, error)

// From begins a stream.
func From[T any](s Source[T]) Stream[T] {
	codec := s.Codec
	if codec == nil {
		codec = CodecOf[T]()
	}
	at := &node{kind: "source", detail: s.Kind, rate: s.Rate}
	at.source = func(sub runtime.Subtask) (state.Source, error) {
		inner, err := s.Open(sub)
		if err != nil {
			return nil, err
		}
		d := &decoding[T]{Source: inner, codec: codec, unreadable: s.Unreadable, sub: sub, cell: &cell[T]{}}
		sub.Chain[chainCell] = d.cell
		return d, nil
	}
	return Stream[T]{at: at, codec: codec, head: fromCell[T]}
}

// cell holds the value of the record that the chain processes now. The chain's first operator sets it.
type cell[T any] struct{ value T }

// chainCell is the name of the cell in Subtask.Chain.
const chainCell = "stream.cell"

// fromCell is the head of a chain: its steps read the cell.
func fromCell[T any](s runtime.Subtask, next func(T) error) (func() error, error) {
	c, ok := s.Chain[chainCell].(*cell[T])
	if !ok {
		return nil, fmt.Errorf("stream: the first operator of the chain of %s left no value of type %T", s.Operator, *new(T))
	}
	return func() error { return next(c.value) }, nil
}

// UID names the operator of the last step. A restored job finds the state of an operator by its UID.
func (s Stream[T]) UID(uid string) Stream[T] {
	s.at.uid = uid
	return s
}

// Parallelism sets the number of subtasks of the last step. All steps between two exchanges have the same one.
func (s Stream[T]) Parallelism(n int) Stream[T] {
	s.at.parallelism = n
	return s
}

// Filter keeps the records for which keep is true.
func (s Stream[T]) Filter(keep func(T) bool) Stream[T] {
	return follow(s, "filter", s.codec, func(v T, emit func(T) error) error {
		if !keep(v) {
			return nil
		}
		return emit(v)
	})
}

// Map makes a stream of U: one record for each of s.
func Map[T, U any](s Stream[T], f func(T) U) Stream[U] {
	return follow(s, "map", CodecOf[U](), func(v T, emit func(U) error) error { return emit(f(v)) })
}

// FlatMap makes a stream of U: f emits any number of records for each of s. An error of f fails the job's attempt.
func FlatMap[T, U any](s Stream[T], f func(v T, emit func(U) error) error) Stream[U] {
	return follow(s, "flatMap", CodecOf[U](), f)
}

// Step is FlatMap for a step with a name and a codec of its own.
func Step[T, U any](s Stream[T], kind string, c Codec[U], f func(v T, emit func(U) error) error) Stream[U] {
	return follow(s, kind, c, f)
}

// follow adds a step without state. The steps of a chain run in its last operator, so that no record is encoded between
// them; the operators before it pass the record on.
func follow[T, U any](s Stream[T], kind string, codec Codec[U], f func(v T, emit func(U) error) error) Stream[U] {
	at := s.at.then(kind)
	out := Stream[U]{at: at, codec: codec, head: func(sub runtime.Subtask, next func(U) error) (func() error, error) {
		return s.head(sub, func(v T) error { return f(v, next) })
	}}
	at.process = func(sub runtime.Subtask) (runtime.Process, error) {
		if at.next.kind != "sink" {
			return passOn, nil
		}
		return out.forSink(sub)
	}
	return out
}

func passOn(rec state.Record, emit runtime.Emit) error { return emit(rec) }

// forSink runs the chain, and emits the records that the sink writes.
func (s Stream[T]) forSink(sub runtime.Subtask) (runtime.Process, error) {
	var key, value []byte
	var rec state.Record
	var emit runtime.Emit
	run, err := s.head(sub, func(v T) (err error) {
		if key, value, err = appendFor(s.codec, v, key[:0], value[:0], rec.Key); err != nil {
			return err
		}
		return emit(state.Record{Key: key, Value: value})
	})
	return func(r state.Record, e runtime.Emit) error {
		rec, emit = r, e
		return run()
	}, err
}

// To ends the stream in a sink. The job is whole then.
func (s Stream[T]) To(k Sink) *Job {
	at := s.at.then("sink")
	at.detail = k.Kind
	at.sink = k.Open
	return &Job{last: at}
}
