package service

import (
	"context"
	"math"

	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/journal"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/owner"
)

// acknowledgement is an Acknowledge call in the machine's terms, with the pieces that it brings.
type acknowledgement struct {
	subtasks incremental.Set
	known    incremental.Set
	uploads  []owner.Found
	parts    map[uint32][]part
	finished map[uint32]bool
	inline   map[uint32]int // bytes by subtask
}

// Acknowledge takes a worker's part of a checkpoint.
func (e engine) Acknowledge(ctx context.Context, req *ckptdv1.AcknowledgeRequest) (*ckptdv1.AcknowledgeResponse, error) {
	j, err := e.s.job(req.GetJobId())
	if err != nil {
		return nil, err
	}
	return ask(ctx, j, func(reply func(*ckptdv1.AcknowledgeResponse, error)) {
		if err := j.acknowledge(req, func(err error) { reply(&ckptdv1.AcknowledgeResponse{}, err) }); err != nil {
			reply(nil, err)
		}
	})
}

// acknowledge feeds the machine; done is called with its verdict unless an error is returned.
func (j *job) acknowledge(req *ckptdv1.AcknowledgeRequest, done func(error)) error {
	head := j.m.Head()
	if head == nil {
		return notAttached(j.id)
	}
	id := req.GetCheckpointId()
	a := &acknowledgement{parts: map[uint32][]part{}, finished: map[uint32]bool{}, inline: map[uint32]int{}}
	if head.Attempt == req.GetAttempt() && head.Epoch == req.GetEpoch() { // else it is refused, whatever it says
		if err := j.readAck(head.Plan, req, a); err != nil {
			return err
		}
		if err := j.inlineFits(id, a); err != nil {
			return err
		}
	}
	caller := j.wait(func(op *owner.Op) {
		err := j.refusal(op)
		if c := j.contents[id]; err == nil && c != nil {
			for n := range op.Subtasks.All() {
				c.parts[uint32(n)] = a.parts[uint32(n)]
				c.inline += a.inline[uint32(n)]
				if a.finished[uint32(n)] {
					c.finished[uint32(n)] = true
				}
			}
		}
		done(err)
	})
	j.feed(owner.Event{
		Kind: owner.EventAck, Caller: caller, Epoch: req.GetEpoch(), Attempt: req.GetAttempt(), ID: id,
		Subtasks: a.subtasks, Files: a.known, Uploads: a.uploads,
	})
	return nil
}

// readAck takes an acknowledgement apart.
func (j *job) readAck(plan *journal.Plan, req *ckptdv1.AcknowledgeRequest, a *acknowledgement) error {
	var subtasks, known incremental.Builder
	for _, s := range req.GetSnapshots() {
		n, ok := plan.Number(s.GetSubtask().GetOperatorId(), s.GetSubtask().GetIndex())
		if !ok {
			return invalidf("acknowledge: subtask %s[%d] is not in the plan", s.GetSubtask().GetOperatorId(), s.GetSubtask().GetIndex())
		}
		subtasks.Add(incremental.File(n))
		if err := readFinished(s, n, a); err != nil {
			return err
		}
		op, _ := plan.Subtask(n)
		parts := make([]part, 0, len(s.GetHandles()))
		for _, h := range s.GetHandles() {
			p, err := j.readPart(req.GetCheckpointId(), op, h, a)
			if err != nil {
				return err
			}
			if h.GetKnown() != 0 {
				known.Add(p.file)
			}
			a.inline[n] += len(p.inline)
			parts = append(parts, p)
		}
		if before := a.parts[n]; len(before) > 0 {
			parts = append(before, parts...)
		}
		a.parts[n] = parts
	}
	a.subtasks, a.known = subtasks.Set(), known.Set()
	return nil
}

// readFinished notes that a subtask has finished; it is named once, and has no state.
func readFinished(s *ckptdv1.SubtaskSnapshot, number uint32, a *acknowledgement) error {
	_, again := a.parts[number]
	if again && (s.GetFinished() || a.finished[number]) || s.GetFinished() && len(s.GetHandles()) > 0 {
		return invalidf("acknowledge: subtask %s[%d] has finished: want it once, without state", s.GetSubtask().GetOperatorId(), s.GetSubtask().GetIndex())
	}
	if s.GetFinished() {
		a.finished[number] = true
	}
	return nil
}

// readPart takes one piece of state apart; an uploaded file gets its number here. What it accepts can be written to a
// _metadata.
func (j *job) readPart(id uint64, op *journal.Operator, h *ckptdv1.SnapshotHandle, a *acknowledgement) (part, error) {
	groups, err := groupsIn(h.GetKeyGroups())
	if err != nil {
		return part{}, err
	}
	p := part{name: h.GetName(), instance: h.GetInstanceNonce(), groups: groups, state: stateIn(h.GetState(), groups)}
	if _, known := h.GetSource().(*ckptdv1.SnapshotHandle_Known); h.GetSegment() != nil && !known {
		return part{}, invalidf("acknowledge: piece %q: segment of a file that is not a known one", h.GetName())
	}
	length := uint64(0)
	switch s := h.GetSource().(type) {
	case *ckptdv1.SnapshotHandle_Inline:
		if len(s.Inline) > j.s.opts.InlineCap {
			return part{}, j.inlineRefused(id)
		}
		p.inline, length = s.Inline, uint64(len(s.Inline))
	case *ckptdv1.SnapshotHandle_Known:
		if s.Known == 0 {
			return part{}, invalidf("acknowledge: piece %q: known number 0", h.GetName())
		}
		p.isFile, p.file, p.segment = true, incremental.File(s.Known-1), segmentIn(h.GetSegment())
		length = math.MaxUint64 // of a file that nobody knows: the machine refuses it
		if d, ok := j.names.Describe(p.file); ok {
			length = d.Size
		}
	case *ckptdv1.SnapshotHandle_Uploaded:
		if err := j.readUpload(id, h, &p, a); err != nil {
			return part{}, err
		}
		d, _ := j.names.Describe(p.file)
		length = d.Size
	default:
		return part{}, invalidf("acknowledge: piece %q has no source", h.GetName())
	}
	file := layout.FileRef(0)
	if p.isFile {
		file = 1
	}
	checked := p.handle(file)
	if err := layout.CheckHandle(&checked, length, int(op.MaxParallelism)); err != nil {
		return part{}, invalidf("acknowledge: operator %s: piece %q: %w", op.ID, h.GetName(), err)
	}
	return p, nil
}

// readUpload gives an uploaded file its number.
func (j *job) readUpload(id uint64, h *ckptdv1.SnapshotHandle, p *part, a *acknowledgement) error {
	f := h.GetUploaded()
	name, err := uploadIn(f, j.id, id)
	if err != nil {
		return err
	}
	d, err := describeUpload(f, p.name, p.instance)
	if err != nil {
		return invalidf("acknowledge: file %s: %w", f.GetKey(), err)
	}
	n, err := j.names.Intern(d)
	if err != nil {
		return rpcError(err)
	}
	p.isFile, p.file, p.segment = true, n, segmentIn(f.GetSegment())
	a.uploads = append(a.uploads, owner.Found{File: n, Epoch: name.Epoch, Checkpoint: name.Checkpoint})
	return nil
}

// inlineFits refuses an acknowledgement that would bring the checkpoint's inline state above its cap.
func (j *job) inlineFits(id uint64, a *acknowledgement) error {
	c := j.contents[id]
	if c == nil {
		return nil // not open: the machine refuses it
	}
	sum := c.inline
	for n, bytes := range a.inline {
		if _, again := c.parts[n]; !again {
			sum += bytes
		}
	}
	if sum > j.s.opts.InlineCap {
		return j.inlineRefused(id)
	}
	return nil
}

func (j *job) inlineRefused(id uint64) error {
	left := j.s.opts.InlineCap
	if c := j.contents[id]; c != nil {
		left = max(0, left-c.inline)
	}
	return refused(&ckptdv1.Refused{Reason: ckptdv1.Refused_REASON_INLINE_CAP, Epoch: j.epoch(), InlineLeft: uint32(left)},
		"job %s, checkpoint %d: inline state above %d bytes: send pieces as files", j.id, id, j.s.opts.InlineCap)
}
