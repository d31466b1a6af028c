package shell

import (
	"context"
	"time"

	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout/journal"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/api"
	"github.com/ckptd/ckptd/service/owner"
)

// acknowledgement is a call of Acknowledge in the owner machine's terms, with the pieces of state that it names.
type acknowledgement struct {
	subtasks owner.Subtasks    // that acknowledge
	known    incremental.Files // files that are named by their numbers
	uploads  []owner.Found     // files that were uploaded
	pieces   map[uint32][]piece
	finished map[uint32]bool
	inline   map[uint32]int // bytes by subtask
	// described are the uploaded files as the call describes them. fresh are those of them that got their numbers in
	// this call.
	described map[incremental.File]incremental.Description
	fresh     incremental.Builder[incremental.File]
}

// Acknowledge takes the state of a worker's subtasks for a checkpoint.
func (j *Job) Acknowledge(ctx context.Context, req *ckptdv1.AcknowledgeRequest) (*ckptdv1.AcknowledgeResponse, error) {
	return ask(ctx, j, func(reply func(*ckptdv1.AcknowledgeResponse, error)) {
		if err := j.acknowledge(req, func(err error) { reply(&ckptdv1.AcknowledgeResponse{}, err) }); err != nil {
			reply(nil, err)
		}
	})
}

// acknowledge checks a call and feeds it to the owner machine. done is called with the machine's verdict, unless
// acknowledge returns an error. A refused call changes nothing.
func (j *Job) acknowledge(req *ckptdv1.AcknowledgeRequest, done func(error)) error {
	head := j.m.Head()
	if head == nil {
		return api.NotAttached(j.id)
	}
	id := req.GetCheckpointId()
	a := &acknowledgement{
		pieces: map[uint32][]piece{}, finished: map[uint32]bool{}, inline: map[uint32]int{}, described: map[incremental.File]incremental.Description{},
	}
	call := ackCall{id, req.GetAttempt(), journal.RequestOf(req.GetRequestId())}
	if head.Attempt == req.GetAttempt() && head.Epoch == req.GetEpoch() { // otherwise the machine refuses the call
		if err := j.setSubtasks(head.Plan, req, a); err != nil {
			return err
		}
		if j.accepted.has(call, a.subtasks) {
			done(nil) // a repeated call: the caller lost the first answer
			return nil
		}
		if j.contents[id] == nil {
			j.history.lateAck(a, id, req.GetAttempt())
		}
		if err := j.readAck(head, req, a); err != nil {
			j.names.Forget(a.fresh.Set())
			return err
		}
	}
	caller := j.wait(func(op *owner.Op) {
		err := j.refusal(op)
		if c := j.contents[id]; err == nil && c != nil {
			j.accept(id, c, a, op.Subtasks)
			j.accepted.add(call, op.Subtasks)
		} else {
			j.names.Forget(a.fresh.Set())
		}
		done(err)
	})
	j.feed(owner.Event{
		Kind: owner.EventAck, Caller: caller, Epoch: req.GetEpoch(), Attempt: req.GetAttempt(), ID: id,
		Subtasks: a.subtasks, Files: a.known, Uploads: a.uploads,
	})
	return nil
}

// accept adds the state of an accepted acknowledgement to the checkpoint's content.
func (j *Job) accept(id uint64, c *content, a *acknowledgement, subtasks owner.Subtasks) {
	for n, d := range a.described {
		_, _ = j.names.Intern(d) // never fails: the file has its number
		if j.uploads.storedAs(id, d.Key) == nil {
			c.described[n] = d
		}
	}
	c.acks.add(subtasks, time.Since(c.triggeredAt))
	for n := range subtasks.All() {
		c.pieces[uint32(n)] = a.pieces[uint32(n)]
		c.inline += a.inline[uint32(n)]
		if a.finished[uint32(n)] {
			c.finished[uint32(n)] = true
		}
	}
}

// setSubtasks looks up the numbers of the subtasks that acknowledge.
func (j *Job) setSubtasks(plan *journal.Plan, req *ckptdv1.AcknowledgeRequest, a *acknowledgement) error {
	var subtasks incremental.Builder[owner.Subtask]
	for _, s := range req.GetSnapshots() {
		n, ok := plan.Number(s.GetSubtask().GetOperatorId(), s.GetSubtask().GetIndex())
		if !ok {
			return api.Invalidf("%s: subtask %s[%d] is not in the plan", j.acknowledging(req.GetCheckpointId()),
				s.GetSubtask().GetOperatorId(), s.GetSubtask().GetIndex())
		}
		subtasks.Add(owner.Subtask(n))
	}
	a.subtasks = subtasks.Set()
	return nil
}

// checkOpen refuses an acknowledgement of a checkpoint that is not open, or of a subtask that has acknowledged already.
func (j *Job) checkOpen(head *journal.Entry, id uint64, a *acknowledgement) error {
	c := j.contents[id]
	if c == nil || uint32(len(c.pieces)) == head.Plan.Subtasks() {
		why := "it has not been triggered, or was aborted: drop it and wait for the next"
		if _, complete := head.Checkpoint(id); complete {
			why = "it is complete"
		} else if c != nil {
			why = "all subtasks have acknowledged it"
		}
		return api.Refused(&ckptdv1.Refused{Reason: ckptdv1.Refused_REASON_NOT_OPEN, Epoch: head.Epoch, Attempt: head.Attempt},
			"%s: the checkpoint is not open: %s; only a call that was accepted is answered again, under its request id", j.acknowledging(id), why)
	}
	for n := range a.subtasks.All() {
		if _, again := c.pieces[uint32(n)]; again {
			s := api.SubtaskOut(head.Plan, uint32(n))
			return j.unknownHandle(id, "subtask %s[%d] has acknowledged it already: repeat a call under the request id that it had",
				s.GetOperatorId(), s.GetIndex())
		}
	}
	return nil
}

// readAck checks the snapshots of a call and collects their pieces in a.
func (j *Job) readAck(head *journal.Entry, req *ckptdv1.AcknowledgeRequest, a *acknowledgement) error {
	if err := j.checkOpen(head, req.GetCheckpointId(), a); err != nil {
		return err
	}
	var known incremental.Builder[incremental.File]
	for _, s := range req.GetSnapshots() {
		n, _ := head.Plan.Number(s.GetSubtask().GetOperatorId(), s.GetSubtask().GetIndex())
		if err := readFinished(s, n, a); err != nil {
			return err
		}
		op, _ := head.Plan.Subtask(n)
		pieces := make([]piece, 0, len(s.GetHandles()))
		for _, h := range s.GetHandles() {
			p, err := j.readPiece(req.GetCheckpointId(), op, h, a)
			if err != nil {
				return err
			}
			if h.GetKnown() != 0 {
				known.Add(p.file)
			}
			a.inline[n] += len(p.inline)
			pieces = append(pieces, p)
		}
		if before := a.pieces[n]; len(before) > 0 {
			pieces = append(before, pieces...)
		}
		a.pieces[n] = pieces
	}
	a.known = known.Set()
	return j.inlineFits(req.GetCheckpointId(), a)
}

// readFinished notes that a subtask has finished. The call must name a finished subtask once, and without state.
func readFinished(s *ckptdv1.SubtaskSnapshot, number uint32, a *acknowledgement) error {
	_, again := a.pieces[number]
	if again && (s.GetFinished() || a.finished[number]) || s.GetFinished() && len(s.GetHandles()) > 0 {
		return api.Invalidf("acknowledge: subtask %s[%d] has finished: want it once, without state", s.GetSubtask().GetOperatorId(), s.GetSubtask().GetIndex())
	}
	if s.GetFinished() {
		a.finished[number] = true
	}
	return nil
}
