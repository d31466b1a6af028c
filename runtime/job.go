package runtime

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/layout/keygroup"
	"github.com/ckptd/ckptd/runtime/state"
)

// Job is the graph of a streaming job. It is code: all workers of a job build the same graph, chosen by name.
type Job struct {
	Name string
	// Tasks in the direction of the stream: a task stands after its inputs.
	Tasks []Task
	// Finishes is true if the job is FINISHED once all of its sources are at their end and a checkpoint after that is
	// complete. Otherwise the job goes on with checkpoints of the same state. End-of-data work (Subtask.AtEndOfData) is
	// done by a drain only: after a failure between that checkpoint and FINISHED, it would be done twice.
	Finishes bool
}

// Task is a chain of operators that run together, in Parallelism subtasks.
type Task struct {
	Name        string
	Parallelism int
	// MaxParallelism is the number of key groups, fixed for the life of the job. 0 means
	// keygroup.DefaultMaxParallelism.
	MaxParallelism int
	// Inputs are the names of the tasks whose records this task reads. The key group of a record's key decides which
	// subtask reads it. A task that begins with a source has no inputs.
	Inputs    []string
	Operators []Operator
}

// Operator is one step of a chain: exactly one of Source, Process, Keyed and Sink is set. A source is the first of
// its chain, a keyed operator the first after the exchange, a sink the last. The constructors are called once for
// each subtask and attempt.
type Operator struct {
	// ID stays the same over restarts: a restored operator finds its state by ID.
	ID string
	// UID is the name that the author of the job gave the operator; if empty, it is ID.
	UID string

	Source func(Subtask) (state.Source, error)
	// Rate is the largest number of records a second for each subtask of a source; 0 means no limit.
	Rate float64

	Process func(Subtask) (Process, error)

	Keyed func(Subtask) (Keyed, error)
	// Backend opens the state of a keyed operator.
	Backend state.Factory

	Sink func(Subtask) (state.Sink, error)
}

// Subtask tells an operator's constructor which parallel instance it makes.
type Subtask struct {
	// Job is the job's id, Operator the operator's.
	Job, Operator string
	// 0 <= Index < Parallelism.
	Index, Parallelism int
	Attempt            uint64
	// Restored is the checkpoint that the attempt restores; 0 if there is none.
	Restored uint64
	// Dir is an empty folder for this subtask and attempt; it is removed when the attempt ends.
	Dir string
	// Chain carries values from the constructor of an operator to those of the operators behind it in the same chain.
	// The constructors of a chain are called one after the other.
	Chain map[string]any

	operator *operator
}

// AtEndOfData sets what a Process or a Keyed operator does when the job is drained, before its last snapshot: it emits what it holds, as the
// results of windows that are still open.
func (s Subtask) AtEndOfData(f func(emit Emit) error) {
	if s.operator != nil {
		s.operator.atEnd = f
	}
}

// Emit passes a record to the next operator. The caller may change or reuse the record as soon as Emit has returned.
type Emit func(state.Record) error

// Process handles a record and emits the results. It has no state.
type Process func(rec state.Record, emit Emit) error

// Keyed handles a record together with the state of the record's key.
type Keyed func(rec state.Record, value *Value, emit Emit) error

// Value is the state of the current record's key.
type Value struct {
	backend state.Backend
	group   uint16
	key     []byte
}

// Get returns the value, nil if the key has none. The value is valid until the next call, and must not be changed.
func (v *Value) Get() ([]byte, error) { return v.backend.Get(v.group, v.key) }

// Put sets the value.
func (v *Value) Put(value []byte) error { return v.backend.Put(v.group, v.key, value) }

// Plan returns what the daemon has to know of the job.
func (j *Job) Plan() *client.Plan {
	p := &client.Plan{}
	for i := range j.Tasks {
		t := &j.Tasks[i]
		for _, o := range t.Operators {
			p.Operators = append(p.Operators, client.Operator{
				ID: o.ID, Name: cmp.Or(o.UID, o.ID), Parallelism: uint32(t.Parallelism), MaxParallelism: uint32(t.maxParallelism()), Triggered: o.Source != nil,
			})
		}
	}
	return p
}

// Validate returns an error if the graph is not valid.
func (j *Job) Validate() error {
	ids, seen := map[string]bool{}, map[string]bool{}
	for i := range j.Tasks {
		t := &j.Tasks[i]
		if t.Name == "" || seen[t.Name] {
			return fmt.Errorf("runtime: job %s: task %d: name %q is empty or taken", j.Name, i, t.Name)
		}
		for _, in := range t.Inputs {
			if !seen[in] {
				return fmt.Errorf("runtime: job %s: task %s: input %s is not a task before it", j.Name, t.Name, in)
			}
		}
		seen[t.Name] = true
		if err := t.validate(ids); err != nil {
			return fmt.Errorf("runtime: job %s: task %s: %w", j.Name, t.Name, err)
		}
	}
	if len(j.Tasks) == 0 {
		return fmt.Errorf("runtime: job %s: no tasks", j.Name)
	}
	return nil
}

func (t *Task) validate(ids map[string]bool) error {
	if t.Parallelism < 1 || t.maxParallelism() < t.Parallelism || t.maxParallelism() > keygroup.MaxParallelism {
		return fmt.Errorf("parallelism %d, of at most %d, is out of range; want 1 <= parallelism <= max parallelism <= %d",
			t.Parallelism, t.maxParallelism(), keygroup.MaxParallelism)
	}
	if len(t.Operators) == 0 {
		return errors.New("no operators")
	}
	for i, o := range t.Operators {
		if o.ID == "" || ids[o.ID] {
			return fmt.Errorf("operator id %q is empty or taken", o.ID)
		}
		ids[o.ID] = true
		if err := o.validate(i == 0, i == len(t.Operators)-1, len(t.Inputs) > 0); err != nil {
			return fmt.Errorf("operator %s: %w", o.ID, err)
		}
	}
	return nil
}

func (o *Operator) validate(first, last, inputs bool) error {
	kinds := 0
	for _, set := range []bool{o.Source != nil, o.Process != nil, o.Keyed != nil, o.Sink != nil} {
		if set {
			kinds++
		}
	}
	switch {
	case kinds != 1:
		return fmt.Errorf("%d of Source, Process, Keyed and Sink are set, not one", kinds)
	case (o.Source != nil) != (first && !inputs):
		return errors.New("a task begins with a source or has inputs")
	case o.Keyed != nil && !first:
		return errors.New("a keyed operator is the first of its task")
	case o.Keyed != nil && o.Backend == nil:
		return errors.New("a keyed operator needs a backend")
	case o.Sink != nil && !last:
		return errors.New("a sink is the last of its task")
	}
	return nil
}

func (t *Task) maxParallelism() int {
	if t.MaxParallelism == 0 {
		return keygroup.DefaultMaxParallelism(t.Parallelism)
	}
	return t.MaxParallelism
}

// subtasks returns the subtasks of all operators with one index.
func (t *Task) subtasks(index int) []client.Subtask {
	s := make([]client.Subtask, len(t.Operators))
	for i, o := range t.Operators {
		s[i] = client.Subtask{Operator: o.ID, Index: uint32(index)}
	}
	return s
}

// workerOf returns the number of the worker that runs the subtasks with an index.
func workerOf(index, workers int) int { return index % workers }

// subtasksOf returns all subtasks of one worker.
func (j *Job) subtasksOf(number, workers int) []client.Subtask {
	var all []client.Subtask
	for i := range j.Tasks {
		for index := range j.Tasks[i].Parallelism {
			if workerOf(index, workers) == number {
				all = append(all, j.Tasks[i].subtasks(index)...)
			}
		}
	}
	return all
}
