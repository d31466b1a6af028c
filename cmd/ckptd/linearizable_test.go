package main

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// lenders is how many clients pin checkpoints, each one at a time.
const lenders = 2

// journalModel is what a job's journal promises to its callers, as one object: an epoch that rises, the newest complete checkpoint,
// which is the only one retained, and the checkpoint that each lender has pinned; 0: none.
//
// Workers and daemons attach by themselves, so the epoch may rise without an operation of the history. Then nobody knows the owner.
type journalModel struct {
	epoch, newest uint64
	// owner is the daemon that owns the epoch, from 1 on; 0: not known.
	owner  int
	pinned [lenders]uint64
}

// kept tells whether the checkpoint can be lent: it is retained, or hidden and lent.
func (m journalModel) kept(id uint64) bool {
	return id != 0 && (id == m.newest || slices.Contains(m.pinned[:], id))
}

// An operation is what a caller asks of the journal.
type operation interface {
	// step is the model after the operation. It is false if the operation cannot have had that outcome here.
	step(m journalModel, o outcome) (journalModel, bool)
}

// outcome is what the caller has learned.
type outcome struct {
	// unknown: the caller was told nothing. The operation may have happened at any time after its call, or not at all.
	unknown bool
	// epoch is the answer to an attach.
	epoch uint64
	// refused: the job does not keep the checkpoint that was to be lent.
	refused bool
}

type (
	// attach is an answer of a daemon, from 1 on, that says that it owns the job: it has taken the job over, or owned it before.
	attach struct{ daemon int }
	// commit is a checkpoint for which the owner of an epoch has all acknowledgements.
	commit struct{ epoch, id uint64 }
	// lend pins a checkpoint, and giveBack ends that.
	lend struct {
		lender int
		id     uint64
	}
	giveBack struct{ lender int }
)

// step lets a daemon that was replaced answer with its last epoch, until it hears of the next one: whatever it appends is refused. The
// owner of the newest epoch cannot.
func (a attach) step(m journalModel, o outcome) (journalModel, bool) {
	switch {
	case o.epoch < m.epoch:
		return m, a.daemon != m.owner
	case o.epoch == m.epoch && m.owner != 0 && m.owner != a.daemon:
		return m, false
	}
	m.epoch, m.owner = o.epoch, a.daemon
	return m, true
}

func (c commit) step(m journalModel, o outcome) (journalModel, bool) {
	if c.epoch < m.epoch || c.id <= m.newest {
		return m, o.unknown
	}
	if c.epoch > m.epoch {
		m.epoch, m.owner = c.epoch, 0
	}
	m.newest = c.id
	return m, true
}

func (l lend) step(m journalModel, o outcome) (journalModel, bool) {
	if o.refused || !m.kept(l.id) {
		return m, o.refused && !m.kept(l.id)
	}
	m.pinned[l.lender] = l.id
	return m, true
}

func (g giveBack) step(m journalModel, _ outcome) (journalModel, bool) {
	m.pinned[g.lender] = 0
	return m, true
}

// never is the time of an answer that did not come.
const never = math.MaxInt64

// linearizable tells whether the operations can have happened one after the other, each between its call and its answer.
func linearizable(history []porcupine.Operation, within time.Duration) porcupine.CheckResult {
	return porcupine.CheckOperationsTimeout(porcupine.Model{
		Init: func() any { return journalModel{} },
		Step: func(state, in, out any) (bool, any) {
			m, ok := in.(operation).step(state.(journalModel), out.(outcome))
			return ok, m
		},
	}, history, within)
}

// done is an operation with its answer.
func done(in operation, call int64, out outcome, end int64) porcupine.Operation {
	return porcupine.Operation{Input: in, Call: call, Output: out, Return: end}
}

// The check of histories finds each kind of broken promise.
func TestBrokenHistories(t *testing.T) {
	none := outcome{}
	epoch := func(e uint64) outcome { return outcome{epoch: e} }
	first := []porcupine.Operation{done(attach{1}, 1, epoch(1), 2), done(commit{1, 1}, 3, none, 4)}
	second := append(slices.Clip(first), done(attach{2}, 5, epoch(2), 6))
	for name, c := range map[string]struct {
		history []porcupine.Operation
		want    porcupine.CheckResult
	}{
		"one owner after the other":                    {append(slices.Clip(second), done(commit{2, 2}, 7, none, 8)), porcupine.Ok},
		"a commit of the old owner that was under way": {append(slices.Clip(second), done(commit{1, 2}, 4, none, 9)), porcupine.Ok},
		"the old owner commits":                        {append(slices.Clip(second), done(commit{1, 2}, 7, none, 8)), porcupine.Illegal},
		"the old owner commits between the new one's": {append(slices.Clip(second), done(commit{2, 2}, 7, none, 8), done(commit{1, 3}, 9, none, 10),
			done(commit{2, 4}, 11, none, 12)), porcupine.Illegal},
		"both owners have the same epoch and number": {append(slices.Clip(first), done(commit{1, 1}, 5, none, 6)), porcupine.Illegal},
		"the number falls":                           {append(slices.Clip(first), done(commit{1, 3}, 5, none, 6), done(commit{1, 2}, 7, none, 8)), porcupine.Illegal},
		"the epoch falls":                            {append(slices.Clip(second), done(attach{2}, 7, epoch(1), 8)), porcupine.Illegal},
		"a daemon that was replaced answers":         {append(slices.Clip(second), done(attach{1}, 7, epoch(1), 8)), porcupine.Ok},
		"two daemons own one epoch":                  {append(slices.Clip(second), done(attach{1}, 7, epoch(2), 8)), porcupine.Illegal},
		"the newest is lent":                         {append(slices.Clip(first), done(lend{0, 1}, 5, none, 6)), porcupine.Ok},
		"a dropped one is lent":                      {append(slices.Clip(first), done(commit{1, 2}, 5, none, 6), done(lend{0, 1}, 7, none, 8)), porcupine.Illegal},
		"one that is not complete is lent":           {append(slices.Clip(first), done(lend{0, 2}, 5, none, 6)), porcupine.Illegal},
		"a hidden one is lent while it is pinned": {append(slices.Clip(first), done(lend{0, 1}, 5, none, 6), done(commit{1, 2}, 7, none, 8),
			done(lend{1, 1}, 9, none, 10)), porcupine.Ok},
		"it is lent after all pins are back": {append(slices.Clip(first), done(lend{0, 1}, 5, none, 6), done(commit{1, 2}, 7, none, 8),
			done(giveBack{0}, 9, none, 10), done(lend{1, 1}, 11, none, 12)), porcupine.Illegal},
		"a pinned one is refused": {append(slices.Clip(first), done(lend{0, 1}, 5, none, 6), done(commit{1, 2}, 7, none, 8),
			done(lend{1, 1}, 9, outcome{refused: true}, 10)), porcupine.Illegal},
		"an unknown commit did not happen": {append(slices.Clip(first), done(commit{1, 2}, 5, outcome{unknown: true}, never), done(lend{0, 1}, 7, none, 8)), porcupine.Ok},
		"an unknown commit happened": {append(slices.Clip(first), done(commit{1, 2}, 5, outcome{unknown: true}, never),
			done(lend{0, 1}, 7, outcome{refused: true}, 8)), porcupine.Ok},
		"it happened and did not": {append(slices.Clip(first), done(commit{1, 2}, 5, outcome{unknown: true}, never), done(lend{0, 1}, 7, outcome{refused: true}, 8),
			done(lend{0, 1}, 9, none, 10)), porcupine.Illegal},
	} {
		t.Run(name, func(t *testing.T) {
			if got := linearizable(c.history, time.Minute); got != c.want {
				t.Errorf("the history is %s, want %s\n%s", got, c.want, printed(c.history))
			}
		})
	}
}

// printed is a history for people.
func printed(history []porcupine.Operation) (text string) {
	for _, o := range history {
		text += fmt.Sprintf("%d to %d: %T%+v: %+v\n", o.Call, o.Return, o.Input, o.Input, o.Output)
	}
	return text
}
