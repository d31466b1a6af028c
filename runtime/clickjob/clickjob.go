// Package clickjob is the job of the demo. It reads clicks, counts those of logged-in users, and writes every new
// count.
//
//	source -> filter -> map  ==by user==>  sum -> sink
//
// It owns the graph and the parameters of its workers (Params). It must not know where checkpoints lie or which
// process starts the workers. The packages clicks and filesink own the input and the output.
package clickjob

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"

	"github.com/ckptd/ckptd/runtime"
	"github.com/ckptd/ckptd/runtime/clicks"
	"github.com/ckptd/ckptd/runtime/filesink"
	"github.com/ckptd/ckptd/runtime/state"
)

// Name is the name of the job's graph.
const Name = "clicks"

// Params are the parameters of the job's workers, the same for each. Their JSON is the --params of a worker.
type Params struct {
	// Input is a file of clicks; if empty, clicks are generated from Seed, Users and Records.
	Input string `json:"input,omitempty"`
	// Size is the number of bytes of Input to read.
	Size    int64  `json:"size,omitempty"`
	Seed    uint64 `json:"seed,omitempty"`
	Users   uint64 `json:"users,omitempty"`
	Records uint64 `json:"records,omitempty"`
	// Rate is the number of records a second of each source; 0 means no limit.
	Rate float64 `json:"rate,omitempty"`
	// Output is the folder of the sink's files; their names begin with OutputName.
	Output      string `json:"output"`
	OutputName  string `json:"output_name"`
	Parallelism int    `json:"parallelism"`
	// Poison is a user for whose clicks the map fails; if empty, there is none.
	Poison string `json:"poison,omitempty"`
}

// Validate returns an error if a parameter is missing or wrong.
func (p Params) Validate() error {
	switch {
	case p.Parallelism < 1:
		return fmt.Errorf("clickjob: parallelism %d; want 1 or more", p.Parallelism)
	case p.Output == "" || p.OutputName == "":
		return errors.New("clickjob: no output folder, or no name for its files")
	case p.Rate < 0:
		return fmt.Errorf("clickjob: rate %v; want 0 or more", p.Rate)
	}
	return nil
}

// Source opens one subtask's share of the input.
func (p Params) Source(subtask, parallelism int) (state.Source, error) {
	return clicks.Open(clicks.Options{
		Input: p.Input, Size: p.Size, Seed: p.Seed, Users: p.Users, Records: p.Records, Subtask: subtask, Parallelism: parallelism,
	})
}

// New returns the graph. backend keeps the counts.
func New(p Params, backend state.Factory) *runtime.Job {
	return &runtime.Job{Name: Name, Tasks: []runtime.Task{
		{Name: "read", Parallelism: p.Parallelism, Operators: []runtime.Operator{
			{ID: "source", Rate: p.Rate, Source: func(s runtime.Subtask) (state.Source, error) { return p.Source(s.Index, s.Parallelism) }},
			{ID: "filter", Process: func(runtime.Subtask) (runtime.Process, error) { return filter, nil }},
			{ID: "map", Process: func(runtime.Subtask) (runtime.Process, error) { return mapper(p.Poison), nil }},
		}},
		{Name: "count", Parallelism: p.Parallelism, Inputs: []string{"read"}, Operators: []runtime.Operator{
			{ID: "sum", Backend: backend, Keyed: func(runtime.Subtask) (runtime.Keyed, error) { return sum(), nil }},
			{ID: "sink", Sink: func(s runtime.Subtask) (state.Sink, error) {
				return filesink.New(filesink.Options{Dir: p.Output, Name: p.OutputName, Subtask: uint32(s.Index)})
			}},
		}},
	}}
}

func filter(rec state.Record, emit runtime.Emit) error {
	if !clicks.LoggedIn(&rec) {
		return nil
	}
	return emit(rec)
}

func mapper(poison string) runtime.Process {
	toOne := clicks.Map(poison)
	return func(rec state.Record, emit runtime.Emit) error {
		if err := toOne(&rec); err != nil {
			return err
		}
		return emit(rec)
	}
}

// sum adds a record's number to its user's count and emits the new count, as Flink's sum does.
func sum() runtime.Keyed {
	var stored [8]byte
	var text []byte
	return func(rec state.Record, value *runtime.Value, emit runtime.Emit) error {
		n, err := strconv.ParseUint(string(rec.Value), 10, 64)
		if err != nil {
			return fmt.Errorf("clickjob: sum: %w", err)
		}
		old, err := value.Get()
		switch {
		case err != nil:
			return err
		case len(old) == len(stored):
			n += binary.BigEndian.Uint64(old)
		case old != nil:
			return fmt.Errorf("clickjob: sum: the stored count has %d bytes, want %d", len(old), len(stored))
		}
		binary.BigEndian.PutUint64(stored[:], n)
		if err := value.Put(stored[:]); err != nil {
			return err
		}
		text = strconv.AppendUint(text[:0], n, 10)
		return emit(state.Record{Key: rec.Key, Value: text})
	}
}
