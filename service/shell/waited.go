package shell

import (
	"fmt"
	"strings"

	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/service/owner"
)

// namedOperators and namedSubtasks limit how many subtasks a cause lists.
const (
	namedOperators = 3
	namedSubtasks  = 8
)

// waitedFor says what a pending checkpoint still waits for, and the store's last error if there was one. It begins
// with a separator, and is empty if the checkpoint is not known.
func (j *Job) waitedFor(id uint64) string {
	head, c := j.m.Head(), j.contents[id]
	var text string
	for _, p := range j.m.Pending() {
		switch {
		case p.ID != id || head == nil:
		case p.State == owner.PendingOpen:
			text = ": no acknowledgement from " + missing(head.Plan, p.Acked)
		default:
			text = ": all subtasks have acknowledged it, and the store has not taken its _metadata"
		}
	}
	switch {
	case c != nil && c.unwritten != nil:
		text += fmt.Sprintf(": %v", c.unwritten)
	case j.outage.cause != nil:
		text += fmt.Sprintf("; the store's last error: %v", j.outage.cause)
	default:
		if err := j.uploads.lastError(); err != nil {
			text += fmt.Sprintf("; the store's last error for a file: %v", err)
		}
	}
	return text
}

// missing lists the subtasks of the plan that have not acknowledged, operator by operator.
func missing(plan *journal.Plan, acked owner.Subtasks) string {
	var found []string
	more, first := 0, uint32(0)
	for _, op := range plan.Operators {
		var open []string
		for i := range op.Parallelism {
			if !acked.Has(owner.Subtask(first + i)) {
				open = append(open, fmt.Sprint(i))
			}
		}
		first += op.Parallelism
		switch n := len(open); {
		case n == 0:
		case len(found) == namedOperators:
			more += n
		case n > namedSubtasks:
			found = append(found, fmt.Sprintf("%s (%d of %d subtasks, the first is %s)", op.ID, n, op.Parallelism, open[0]))
		default:
			found = append(found, fmt.Sprintf("%s[%s]", op.ID, strings.Join(open, ",")))
		}
	}
	text := strings.Join(found, ", ")
	if more > 0 {
		text += fmt.Sprintf(" and subtasks of other operators: %d", more)
	}
	return text
}
