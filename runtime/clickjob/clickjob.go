// Package clickjob is the job of the demo: clicks are read, those of logged-in users counted, and every new count written out.
//
//	source -> filter -> map  ==by user==>  sum -> sink
//
// It owns the graph and what its workers are told (Params). It must not know where checkpoints lie, who starts the workers, or
// how the input and the output are made: packages clicks and filesink do.
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

// Name is what the job's graph is called.
const Name = "clicks"

// Params are what the job's workers are told, each the same; their JSON is the --params of a worker.
type Params struct {
	// Input is a file of clicks; empty: they are generated from Seed, Users and Records.
	Input string `json:"input,omitempty"`
	// Size is how many bytes of Input count.
	Size    int64  `json:"size,omitempty"`
	Seed    uint64 `json:"seed,omitempty"`
	Users   uint64 `json:"users,omitempty"`
	Records uint64 `json:"records,omitempty"`
	// Rate is records a second of each source; 0: as fast as possible.
	Rate float64 `json:"rate,omitempty"`
	// Output is the folder of the sink's files, OutputName what their names begin with.
	Output      string `json:"output"`
	OutputName  string `json:"output_name"`
	Parallelism int    `json:"parallelism"`
	// Poison is a user whose every click fails the map; empty: nobody.
	Poison string `json:"poison,omitempty"`
}

// Validate says what is missing.
func (p Params) Validate() error {
	switch {
	case p.Parallelism < 1:
		return fmt.Errorf("clickjob: parallelism %d", p.Parallelism)
	case p.Output == "" || p.OutputName == "":
		return errors.New("clickjob: no output folder, or no name for its files")
	case p.Rate < 0:
		return fmt.Errorf("clickjob: rate %v", p.Rate)
	}
	return nil
}

// Source opens one subtask's share of the input.
func (p Params) Source(subtask, parallelism int) (state.Source, error) {
	return clicks.Open(clicks.Options{
		Input: p.Input, Size: p.Size, Seed: p.Seed, Users: p.Users, Records: p.Records, Subtask: subtask, Parallelism: parallelism,
	})
}

// New makes the graph. backend keeps the counts.
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
			return fmt.Errorf("clickjob: sum: a count of %d bytes", len(old))
		}
		binary.BigEndian.PutUint64(stored[:], n)
		if err := value.Put(stored[:]); err != nil {
			return err
		}
		text = strconv.AppendUint(text[:0], n, 10)
		return emit(state.Record{Key: rec.Key, Value: text})
	}
}
