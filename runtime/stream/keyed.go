package stream

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/ckptd/ckptd/runtime"
	"github.com/ckptd/ckptd/runtime/state"
)

// Keyed is a stream of T whose records are spread over the subtasks of the next step by their keys. All records of a key
// reach the same subtask.
type Keyed[T any] struct {
	at    *node
	codec Codec[T]
}

// KeyBy spreads the records by a key.
func (s Stream[T]) KeyBy(key func(T) string) Keyed[T] {
	return s.KeyByBytes(func(dst []byte, v T) ([]byte, error) { return append(dst, key(v)...), nil })
}

// ErrLeftOut is what the functions of KeyByBytes and of an Aggregator return for a record that changes nothing.
var ErrLeftOut = errors.New("stream: the record is left out")

// KeyByBytes is KeyBy with a function that appends the bytes of the key to dst. Its error fails the job's attempt, except
// ErrLeftOut.
func (s Stream[T]) KeyByBytes(key func(dst []byte, v T) ([]byte, error)) Keyed[T] {
	at := s.at.then("keyBy")
	at.process = func(sub runtime.Subtask) (runtime.Process, error) {
		var k, value []byte
		var emit runtime.Emit
		run, err := s.head(sub, func(v T) (err error) {
			switch k, err = key(k[:0], v); {
			case errors.Is(err, ErrLeftOut):
				return nil
			case err != nil:
				return err
			}
			if value, err = s.codec.Append(value[:0], v); err != nil {
				return fmt.Errorf("stream: encode a record: %w", err)
			}
			return emit(state.Record{Key: k, Value: value})
		})
		return func(_ state.Record, e runtime.Emit) error {
			emit = e
			return run()
		}, err
	}
	return Keyed[T]{at: at, codec: s.codec}
}

// UID names the operator that computes the key.
func (k Keyed[T]) UID(uid string) Keyed[T] {
	k.at.uid = uid
	return k
}

// Aggregator keeps one value of A for each key, and makes a U of it after each record.
type Aggregator[T, A, U any] struct {
	// Kind is the name of the step, for people.
	Kind string
	// State is the codec of the values that are kept; nil: CodecOf.
	State Codec[A]
	// Out is the codec of the results; nil: CodecOf.
	Out Codec[U]
	// Init makes the value of a key from its first record.
	Init func(v T) (A, error)
	// Add adds a further record.
	Add func(a A, v T) (A, error)
	// Result makes the record that goes on.
	Result func(key []byte, a A, v T) (U, error)
}

// Aggregate emits the aggregate of a key after each of its records.
func Aggregate[T, A, U any](k Keyed[T], a Aggregator[T, A, U]) Stream[U] {
	if a.State == nil {
		a.State = CodecOf[A]()
	}
	if a.Out == nil {
		a.Out = CodecOf[U]()
	}
	at := k.at.then(a.Kind)
	at.keyed = func(sub runtime.Subtask) (runtime.Keyed, error) {
		c := &cell[U]{}
		sub.Chain[chainCell] = c
		r := &reducer[T, A, U]{Aggregator: a, in: k.codec, out: c, encodes: at.next.kind == "sink"}
		return r.take, nil
	}
	return Stream[U]{at: at, codec: a.Out, head: fromCell[U]}
}

// reducer is the operator of Aggregate in one subtask.
type reducer[T, A, U any] struct {
	Aggregator[T, A, U]
	in  Codec[T]
	out *cell[U]
	// encodes: a sink follows.
	encodes            bool
	stored, key, value []byte
}

func (r *reducer[T, A, U]) take(rec state.Record, kept *runtime.Value, emit runtime.Emit) error {
	v, err := r.in.Decode(rec.Value)
	if err != nil {
		return fmt.Errorf("stream: decode a record: %w", err)
	}
	a, err := r.add(v, kept)
	switch {
	case errors.Is(err, ErrLeftOut):
		return nil
	case err != nil:
		return err
	}
	if r.stored, err = r.State.Append(r.stored[:0], a); err != nil {
		return fmt.Errorf("stream: encode the state of a key: %w", err)
	}
	if err := kept.Put(r.stored); err != nil {
		return err
	}
	result, err := r.Result(rec.Key, a, v)
	if err != nil {
		return err
	}
	if !r.encodes {
		r.out.value = result
		return emit(rec)
	}
	if r.key, r.value, err = appendFor(r.Out, result, r.key[:0], r.value[:0], rec.Key); err != nil {
		return err
	}
	return emit(state.Record{Key: r.key, Value: r.value})
}

func (r *reducer[T, A, U]) add(v T, kept *runtime.Value) (a A, err error) {
	old, err := kept.Get()
	switch {
	case err != nil:
		return a, err
	case old == nil:
		return r.Init(v)
	}
	if a, err = r.State.Decode(old); err != nil {
		return a, fmt.Errorf("stream: decode the state of a key: %w", err)
	}
	return r.Add(a, v)
}

// Reduce keeps one record for each key: the first, then what f makes of it and each further one.
func (k Keyed[T]) Reduce(f func(a, v T) T) Stream[T] { return k.reduce("reduce", f) }

// Last keeps the last record of each key.
func (k Keyed[T]) Last() Stream[T] { return k.reduce("last", func(_, v T) T { return v }) }

// Min keeps the record of each key with the smallest number; of several, the first.
func (k Keyed[T]) Min(of func(T) float64) Stream[T] {
	return k.reduce("min", func(a, v T) T { return better(a, v, cmp.Less(of(v), of(a))) })
}

// Max keeps the record of each key with the largest number; of several, the first.
func (k Keyed[T]) Max(of func(T) float64) Stream[T] {
	return k.reduce("max", func(a, v T) T { return better(a, v, cmp.Less(of(a), of(v))) })
}

func better[T any](a, v T, is bool) T {
	if is {
		return v
	}
	return a
}

func (k Keyed[T]) reduce(kind string, f func(a, v T) T) Stream[T] {
	return Aggregate(k, Aggregator[T, T, T]{
		Kind: kind, State: k.codec, Out: k.codec,
		Init:   func(v T) (T, error) { return v, nil },
		Add:    func(a, v T) (T, error) { return f(a, v), nil },
		Result: func(_ []byte, a, _ T) (T, error) { return a, nil },
	})
}

// Count counts the records of each key.
func (k Keyed[T]) Count() Stream[KeyValue[int64]] {
	return fold(k, "count", 0, func(n int64, _ T) int64 { return n + 1 })
}

// Sum adds up a number of the records of each key.
func (k Keyed[T]) Sum(of func(T) int64) Stream[KeyValue[int64]] {
	return fold(k, "sum", 0, func(n int64, v T) int64 { return n + of(v) })
}

// Fold keeps a value for each key: begin, then what f makes of it and each record.
func Fold[T, A any](k Keyed[T], begin A, f func(a A, v T) A) Stream[KeyValue[A]] {
	return fold(k, "fold", begin, f)
}

func fold[T, A any](k Keyed[T], kind string, begin A, f func(a A, v T) A) Stream[KeyValue[A]] {
	return Aggregate(k, Aggregator[T, A, KeyValue[A]]{
		Kind:   kind,
		Init:   func(v T) (A, error) { return f(begin, v), nil },
		Add:    func(a A, v T) (A, error) { return f(a, v), nil },
		Result: func(key []byte, a A, _ T) (KeyValue[A], error) { return KeyValue[A]{string(key), a}, nil },
	})
}
