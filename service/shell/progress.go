package shell

import (
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/service/owner"
)

// progress holds the workers' reports about the running attempt. The status and the coordinator use it. No decision
// about safety does.
type progress struct {
	attempt uint64
	ended   owner.Subtasks    // subtasks at the end of their input
	backlog owner.Subtasks    // sources that work off a backlog
	told    bool              // the coordinator knows that all sources are at the end of their input
	commits map[uint32]uint64 // by subtask: the newest checkpoint that it has committed
	// announced is the newest checkpoint that all sinks have committed, as the last event said.
	announced uint64
}

// hear prepares for reports about the journal's attempt. A worker's first report can come before a new owner has
// adopted the attempt.
func (p *progress) hear(attempt uint64, head *journal.Entry) {
	if attempt == head.Attempt {
		p.begin(attempt)
	}
}

// begin clears the reports of an earlier attempt.
func (p *progress) begin(attempt uint64) {
	if attempt == p.attempt {
		return
	}
	*p = progress{attempt: attempt, commits: map[uint32]uint64{}, announced: p.announced}
}

// atEnd notes that subtasks have reached the end of their input.
func (p *progress) atEnd(attempt uint64, subtasks owner.Subtasks) {
	if attempt == p.attempt {
		p.ended = p.ended.Or(subtasks)
	}
}

// backlogged notes that subtasks work off a backlog (on), or do so no more. It reports whether that makes a difference.
func (p *progress) backlogged(attempt uint64, subtasks owner.Subtasks, on bool) bool {
	if attempt != p.attempt {
		return false
	}
	before := p.backlog.IsEmpty()
	if p.backlog = p.backlog.Minus(subtasks); on {
		p.backlog = p.backlog.Or(subtasks.Minus(p.ended))
	}
	return p.backlog.IsEmpty() != before
}

// commit notes that subtasks have committed a checkpoint.
func (p *progress) commit(attempt uint64, subtasks owner.Subtasks, id uint64) {
	if attempt != p.attempt || attempt == 0 { // attempt 0 means that no attempt has begun, so nothing was committed
		return
	}
	for n := range subtasks.All() {
		p.commits[uint32(n)] = max(p.commits[uint32(n)], id)
	}
}

// sources counts the subtasks of sources, and those of them at the end of their input.
func (p *progress) sources(plan *journal.Plan) (end, all int) {
	for n := range plan.Subtasks() {
		if op, _ := plan.Subtask(n); op.Triggered {
			all++
			if p.ended.Has(owner.Subtask(n)) {
				end++
			}
		}
	}
	return end, all
}

// committed returns the newest checkpoint that every sink has committed; 0: none. An operator counts as a sink if one
// of its subtasks has reported a commit in this attempt.
func (p *progress) committed(plan *journal.Plan) uint64 {
	var least uint64
	first := uint32(0)
	for _, op := range plan.Operators {
		lowest, any := ^uint64(0), false
		for i := range op.Parallelism {
			id, ok := p.commits[first+i]
			any = any || ok
			lowest = min(lowest, id)
		}
		if any && (least == 0 || lowest < least) {
			least = lowest
		}
		if any && lowest == 0 {
			return 0
		}
		first += op.Parallelism
	}
	return least
}
