package runtime

import (
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/runtime/exchange"
)

// wire connects the tasks. It makes the gates first, so that channels from other workers find them. Then it connects
// the outputs, which may have to wait for the gates of other workers.
func (a *attempt) wire(tasks []*task) error {
	gates := map[exchange.Endpoint]*exchange.Gate{}
	remote := map[exchange.Channel]exchange.Input{}
	for _, t := range tasks {
		channels := a.inputs(t)
		t.newInput(len(channels))
		gates[t.endpoint()] = t.gate
		for i, c := range channels {
			if workerOf(c.From.Index, a.worker.Workers) != a.worker.Number {
				remote[c] = exchange.Input{Gate: t.gate, Channel: i}
			}
		}
	}
	if err := a.worker.server.Begin(a.start.Attempt, remote); err != nil {
		return err
	}
	addresses := map[client.Subtask]string{}
	for _, r := range a.start.Roster {
		addresses[r.Subtask] = r.ExchangeAddress
	}
	group, ctx := errgroup.WithContext(a.ctx)
	for _, t := range tasks {
		for _, below := range a.outputs(t) {
			links := make([]exchange.Link, below.Parallelism)
			for i := range links {
				c := exchange.Channel{From: t.endpoint(), To: exchange.Endpoint{Task: below.Name, Index: i}}
				if g := gates[c.To]; g != nil {
					links[i] = g.Link(a.channel(below, c.From))
					continue
				}
				address := addresses[client.Subtask{Operator: below.Operators[0].ID, Index: uint32(i)}]
				group.Go(func() (err error) {
					if address == "" {
						return fmt.Errorf("runtime: wire %v: nobody runs it", c)
					}
					links[i], err = exchange.Dial(ctx, a.worker.Network, address, a.worker.JobID, a.start.Attempt, c)
					return err
				})
			}
			t.pending = append(t.pending, pendingOutput{links, below.maxParallelism()})
		}
	}
	err := group.Wait()
	for _, t := range tasks {
		for _, p := range t.pending {
			t.outputs = append(t.outputs, exchange.NewWriter(p.links, p.maxParallelism))
		}
	}
	return err
}

// pendingOutput is a writer whose links are being made.
type pendingOutput struct {
	links          []exchange.Link
	maxParallelism int
}

// unwire closes all channels, so that every task that waits for one returns.
func (a *attempt) unwire(tasks []*task) {
	for _, t := range tasks {
		if t.gate != nil {
			t.gate.Close()
		}
		for _, w := range t.outputs {
			w.Close()
		}
	}
	a.worker.server.End(a.start.Attempt)
}

func (t *task) endpoint() exchange.Endpoint {
	return exchange.Endpoint{Task: t.spec.Name, Index: t.index}
}

// inputs returns the channels into a task, in the order of its gate.
func (a *attempt) inputs(t *task) []exchange.Channel {
	var all []exchange.Channel
	for _, name := range t.spec.Inputs {
		for i := range a.worker.Job.task(name).Parallelism {
			all = append(all, exchange.Channel{From: exchange.Endpoint{Task: name, Index: i}, To: t.endpoint()})
		}
	}
	return all
}

// channel returns the number of a sender's channel in the gates of a task.
func (a *attempt) channel(below *Task, from exchange.Endpoint) int {
	n := 0
	for _, name := range below.Inputs {
		if name == from.Task {
			return n + from.Index
		}
		n += a.worker.Job.task(name).Parallelism
	}
	panic("runtime: a task that is not an input")
}

// outputs returns the tasks that read from a task.
func (a *attempt) outputs(t *task) []*Task {
	var below []*Task
	for i := range a.worker.Job.Tasks {
		b := &a.worker.Job.Tasks[i]
		for _, name := range b.Inputs {
			if name == t.spec.Name {
				below = append(below, b)
			}
		}
	}
	return below
}

// task returns the task with a name; in a validated job it exists.
func (j *Job) task(name string) *Task {
	for i := range j.Tasks {
		if j.Tasks[i].Name == name {
			return &j.Tasks[i]
		}
	}
	panic("runtime: unknown task " + name)
}
