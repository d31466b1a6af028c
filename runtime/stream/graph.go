package stream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"text/tabwriter"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/ckptd/ckptd/layout/keygroup"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/runtime"
	"github.com/ckptd/ckptd/runtime/state"
)

// node is one step of the graph. Exactly one of source, process, keyed and sink is set.
type node struct {
	// kind names the step, detail its connector.
	kind, detail string
	uid          string
	parallelism  int
	rate         float64
	prev, next   *node
	// twice: two steps follow.
	twice bool

	source  func(runtime.Subtask) (state.Source, error)
	process func(runtime.Subtask) (runtime.Process, error)
	keyed   func(runtime.Subtask) (runtime.Keyed, error)
	sink    func(runtime.Subtask) (state.Sink, error)
}

// then adds a step behind n.
func (n *node) then(kind string) *node {
	after := &node{kind: kind, prev: n}
	n.twice = n.twice || n.next != nil
	n.next = after
	return after
}

// Job is a whole graph, from its source to its sink.
type Job struct {
	name           string
	parallelism    int
	maxParallelism int
	last           *node
}

// Named gives the job a name, for people.
func (j *Job) Named(name string) *Job {
	j.name = name
	return j
}

// UID names the operator of the sink.
func (j *Job) UID(uid string) *Job {
	j.last.uid = uid
	return j
}

// Parallelism sets the number of subtasks of all steps that name none. The default is 1.
func (j *Job) Parallelism(n int) *Job {
	j.parallelism = n
	return j
}

// MaxParallelism sets the number of key groups, which is fixed for the life of the job. The default depends on the
// parallelism.
func (j *Job) MaxParallelism(n int) *Job {
	j.maxParallelism = n
	return j
}

// Name is the job's name.
func (j *Job) Name() string { return cmp.Or(j.name, "stream") }

// validUID is the form of the ids of operators.
var validUID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

// Build makes the job that workers run. backend keeps the state; it may be nil if the job is built for its plan only.
func (j *Job) Build(backend state.Factory) (*runtime.Job, error) {
	if backend == nil {
		backend = noBackend
	}
	out := &runtime.Job{Name: j.Name(), Finishes: true}
	ids := map[string]bool{}
	for _, n := range j.nodes() {
		if n.twice {
			return nil, fmt.Errorf("stream: job %s: two steps follow %s: a stream can be used once; make a second stream from the source", j.Name(), n.name())
		}
		id := n.id(ids)
		if n.uid != "" && !validUID.MatchString(n.uid) {
			return nil, fmt.Errorf("stream: job %s: uid %q: want 1 to 128 of letters, digits and . _ -, with a letter or digit first", j.Name(), n.uid)
		}
		if ids[id] {
			return nil, fmt.Errorf("stream: job %s: uid %q is given twice", j.Name(), id)
		}
		ids[id] = true
		if len(out.Tasks) == 0 || n.keyed != nil {
			out.Tasks = append(out.Tasks, runtime.Task{Name: id, MaxParallelism: j.maxParallelism})
			if i := len(out.Tasks) - 1; i > 0 {
				out.Tasks[i].Inputs = []string{out.Tasks[i-1].Name}
			}
		}
		t := &out.Tasks[len(out.Tasks)-1]
		if n.parallelism != 0 && t.Parallelism != 0 && t.Parallelism != n.parallelism {
			return nil, fmt.Errorf("stream: job %s: %s has parallelism %d, a step before it in the same task %d; they have to be equal", j.Name(), n.name(), n.parallelism, t.Parallelism)
		}
		t.Parallelism = cmp.Or(t.Parallelism, n.parallelism)
		t.Operators = append(t.Operators, n.operator(id, backend))
	}
	for i := range out.Tasks {
		out.Tasks[i].Parallelism = cmp.Or(out.Tasks[i].Parallelism, j.parallelism, 1)
	}
	return out, out.Validate()
}

func (n *node) operator(id string, backend state.Factory) runtime.Operator {
	o := runtime.Operator{ID: id, UID: n.uid, Rate: n.rate, Source: n.source, Process: n.process, Keyed: n.keyed, Sink: n.sink}
	if n.keyed != nil {
		o.Backend = backend
	}
	return o
}

// nodes are the steps in the direction of the stream.
func (j *Job) nodes() []*node {
	var all []*node
	for n := j.last; n != nil; n = n.prev {
		all = append([]*node{n}, all...)
	}
	return all
}

// id is the uid, or else the kind, with a number if another step has this name.
func (n *node) id(taken map[string]bool) string {
	if n.uid != "" {
		return n.uid
	}
	id := n.kind
	for i := 2; taken[id]; i++ {
		id = fmt.Sprintf("%s-%d", n.kind, i)
	}
	return id
}

// name is for messages.
func (n *node) name() string {
	if n.uid == "" {
		return n.kind
	}
	return fmt.Sprintf("%s %q", n.kind, n.uid)
}

// WritePlan writes the graph for people.
func (j *Job) WritePlan(w io.Writer) error {
	built, err := j.Build(nil)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "job %s: %s\n\n", j.Name(), j.line())
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "TASK\tOPERATOR\tSTEP\tUID\tPARALLELISM\tSTATE")
	nodes := j.nodes()
	for number, task := range built.Tasks {
		for i := range task.Operators {
			n := nodes[0]
			nodes = nodes[1:]
			fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%d\t%s\n", number+1, task.Operators[i].ID, n.step(), cmp.Or(n.uid, "-"), task.Parallelism, n.keeps())
		}
	}
	return t.Flush()
}

// keeps says what an operator has in a checkpoint.
func (n *node) keeps() string {
	switch {
	case n.source != nil:
		return "position"
	case n.keyed != nil:
		return "keyed"
	case n.sink != nil:
		return "transactions"
	}
	return "-"
}

func (n *node) step() string {
	if n.detail == "" {
		return n.kind
	}
	return n.kind + " (" + n.detail + ")"
}

// line is the graph in one line.
func (j *Job) line() string {
	var b strings.Builder
	for i, n := range j.nodes() {
		switch {
		case i == 0:
		case n.keyed != nil:
			b.WriteString(" ==by key==> ")
		default:
			b.WriteString(" -> ")
		}
		b.WriteString(n.step())
	}
	return b.String()
}

// PlanJSON is the plan as JSON, as `ckptd show --diff-plan` reads it.
func (j *Job) PlanJSON() ([]byte, error) {
	built, err := j.Build(nil)
	if err != nil {
		return nil, err
	}
	plan := &ckptdv1.Plan{}
	for _, o := range built.Plan().Operators {
		plan.Operators = append(plan.Operators, &ckptdv1.Operator{
			Id: o.ID, Uid: o.Name, Parallelism: o.Parallelism, MaxParallelism: o.MaxParallelism, Triggered: o.Triggered,
		})
	}
	b, err := protojson.MarshalOptions{Multiline: true}.Marshal(plan)
	if err != nil {
		return nil, fmt.Errorf("stream: plan: %w", err)
	}
	return append(b, '\n'), nil
}

// noBackend stands for the backend of a job that is built for its plan.
func noBackend(context.Context, string, keygroup.Range, []state.RestoredFile) (state.Backend, error) {
	return nil, errors.New("stream: the job was built for its plan, without a state backend")
}
