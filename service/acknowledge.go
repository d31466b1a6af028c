package service

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/journal"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/proto/data"
	"github.com/ckptd/ckptd/service/owner"
)

// acknowledgement is a call of Acknowledge in the owner machine's terms, with the pieces of state that it names.
type acknowledgement struct {
	subtasks incremental.Set // numbers of the subtasks that acknowledge
	known    incremental.Set // files that are named by their numbers
	uploads  []owner.Found   // files that were uploaded
	pieces   map[uint32][]piece
	finished map[uint32]bool
	inline   map[uint32]int // bytes by subtask
	// described are the uploaded files as the call describes them. fresh are those of them that got their numbers in
	// this call.
	described map[incremental.File]incremental.Description
	fresh     incremental.Builder
}

// Acknowledge takes the state of a worker's subtasks for a checkpoint.
func (e engineService) Acknowledge(ctx context.Context, req *ckptdv1.AcknowledgeRequest) (*ckptdv1.AcknowledgeResponse, error) {
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

// acknowledge checks a call and feeds it to the owner machine. done is called with the machine's verdict, unless
// acknowledge returns an error. A refused call changes nothing.
func (j *job) acknowledge(req *ckptdv1.AcknowledgeRequest, done func(error)) error {
	head := j.m.Head()
	if head == nil {
		return notAttached(j.id)
	}
	id := req.GetCheckpointId()
	a := &acknowledgement{
		pieces: map[uint32][]piece{}, finished: map[uint32]bool{}, inline: map[uint32]int{}, described: map[incremental.File]incremental.Description{},
	}
	call := ackCall{req.GetAttempt(), journal.RequestOf(req.GetRequestId())}
	if head.Attempt == req.GetAttempt() && head.Epoch == req.GetEpoch() { // otherwise the machine refuses the call
		if err := j.setSubtasks(head.Plan, req, a); err != nil {
			return err
		}
		if j.accepted.has(id, call, a.subtasks) {
			done(nil) // a repeated call: the caller lost the first answer
			return nil
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
			j.accepted.add(id, call, op.Subtasks)
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
func (j *job) accept(id uint64, c *content, a *acknowledgement, subtasks incremental.Set) {
	for n, d := range a.described {
		_, _ = j.names.Intern(d) // never fails: the file has its number
		if j.storedAs(id, d.Key) == nil {
			c.described[n] = d
		}
	}
	for n := range subtasks.All() {
		c.pieces[uint32(n)] = a.pieces[uint32(n)]
		c.inline += a.inline[uint32(n)]
		if a.finished[uint32(n)] {
			c.finished[uint32(n)] = true
		}
	}
}

// setSubtasks looks up the numbers of the subtasks that acknowledge.
func (j *job) setSubtasks(plan *journal.Plan, req *ckptdv1.AcknowledgeRequest, a *acknowledgement) error {
	var subtasks incremental.Builder
	for _, s := range req.GetSnapshots() {
		n, ok := plan.Number(s.GetSubtask().GetOperatorId(), s.GetSubtask().GetIndex())
		if !ok {
			return invalidf("%s: subtask %s[%d] is not in the plan", j.acknowledging(req.GetCheckpointId()),
				s.GetSubtask().GetOperatorId(), s.GetSubtask().GetIndex())
		}
		subtasks.Add(incremental.File(n))
	}
	a.subtasks = subtasks.Set()
	return nil
}

// checkOpen refuses an acknowledgement of a checkpoint that is not open, or of a subtask that has acknowledged already.
func (j *job) checkOpen(head *journal.Entry, id uint64, a *acknowledgement) error {
	c := j.contents[id]
	if c == nil || uint32(len(c.pieces)) == head.Plan.Subtasks() {
		why := "it has not been triggered, or was aborted: drop it and wait for the next"
		if _, complete := head.Checkpoint(id); complete {
			why = "it is complete"
		} else if c != nil {
			why = "all subtasks have acknowledged it"
		}
		return refused(&ckptdv1.Refused{Reason: ckptdv1.Refused_REASON_NOT_OPEN, Epoch: head.Epoch, Attempt: head.Attempt},
			"%s: the checkpoint is not open: %s; only a call that was accepted is answered again, under its request id", j.acknowledging(id), why)
	}
	for n := range a.subtasks.All() {
		if _, again := c.pieces[uint32(n)]; again {
			s := subtaskOut(head.Plan, uint32(n))
			return j.unknownHandle(id, "subtask %s[%d] has acknowledged it already: repeat a call under the request id that it had",
				s.GetOperatorId(), s.GetIndex())
		}
	}
	return nil
}

// acknowledging is how the error of each refusal begins.
func (j *job) acknowledging(id uint64) string {
	return fmt.Sprintf("acknowledge checkpoint %d of job %s", id, j.id)
}

// unknownHandle makes the error for an acknowledgement that names a file wrongly.
func (j *job) unknownHandle(id uint64, format string, args ...any) error {
	return refused(&ckptdv1.Refused{Reason: ckptdv1.Refused_REASON_UNKNOWN_HANDLE, Epoch: j.epoch()},
		"%s: %s", j.acknowledging(id), fmt.Sprintf(format, args...))
}

// readAck checks the snapshots of a call and collects their pieces in a.
func (j *job) readAck(head *journal.Entry, req *ckptdv1.AcknowledgeRequest, a *acknowledgement) error {
	if err := j.checkOpen(head, req.GetCheckpointId(), a); err != nil {
		return err
	}
	var known incremental.Builder
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
		return invalidf("acknowledge: subtask %s[%d] has finished: want it once, without state", s.GetSubtask().GetOperatorId(), s.GetSubtask().GetIndex())
	}
	if s.GetFinished() {
		a.finished[number] = true
	}
	return nil
}

// readPiece checks and converts one piece of state. An uploaded file gets its number here. A piece that readPiece
// accepts can be written to a _metadata.
func (j *job) readPiece(id uint64, op *journal.Operator, h *ckptdv1.SnapshotHandle, a *acknowledgement) (piece, error) {
	groups, err := groupsIn(h.GetKeyGroups())
	if err != nil {
		return piece{}, err
	}
	p := piece{name: h.GetName(), instance: h.GetInstanceNonce(), groups: groups, state: stateIn(h.GetState(), groups)}
	if _, known := h.GetSource().(*ckptdv1.SnapshotHandle_Known); h.GetSegment() != nil && !known {
		return piece{}, invalidf("acknowledge: piece %q: segment of a file that is not a known one: name the file by its known number", h.GetName())
	}
	length := uint64(0)
	switch s := h.GetSource().(type) {
	case *ckptdv1.SnapshotHandle_Inline:
		if len(s.Inline) > j.s.opts.InlineCap {
			return piece{}, j.inlineRefused(id)
		}
		p.inline, length = s.Inline, uint64(len(s.Inline))
	case *ckptdv1.SnapshotHandle_Known:
		if s.Known == 0 {
			return piece{}, invalidf("%s: piece %q: known number 0: BeginSnapshot answers 0 for a file that has to be sent", j.acknowledging(id), h.GetName())
		}
		p.isFile, p.file, p.segment = true, incremental.File(s.Known-1), segmentIn(h.GetSegment())
		length = math.MaxUint64 // the file is not known; the machine refuses it
		if d, ok := j.names.Describe(p.file); ok {
			length = d.Size
		}
	case *ckptdv1.SnapshotHandle_Uploaded:
		d, err := j.readUpload(id, h, &p, a)
		if err != nil {
			return piece{}, err
		}
		length = d.Size
	default:
		return piece{}, invalidf("%s: piece %q has no source: give inline bytes, an uploaded file or a known number", j.acknowledging(id), h.GetName())
	}
	file := layout.FileRef(0)
	if p.isFile {
		file = 1
	}
	checked := p.handle(file)
	if err := layout.CheckHandle(&checked, length, int(op.MaxParallelism)); err != nil {
		return piece{}, invalidf("acknowledge: operator %s: piece %q: %w", op.ID, h.GetName(), err)
	}
	return p, nil
}

// readUpload checks the description of an uploaded file and gives the file its number. The description itself is kept
// only if the acknowledgement is accepted.
func (j *job) readUpload(id uint64, h *ckptdv1.SnapshotHandle, p *piece, a *acknowledgement) (incremental.Description, error) {
	f := h.GetUploaded()
	name, err := uploadIn(f, j.id, id)
	if err != nil {
		return incremental.Description{}, err
	}
	d, bad := describeUpload(f, p.name, p.instance)
	if err := j.compareUpload(id, name, d, a); err != nil {
		return d, err
	}
	if bad != nil {
		return d, invalidf("%s: file %s: %w", j.acknowledging(id), f.GetKey(), bad)
	}
	n, numbered := j.names.ByKey(d.Key)
	if !numbered {
		if n, err = j.names.Intern(incremental.Description{Key: d.Key}); err != nil {
			return d, rpcError(err)
		}
		a.fresh.Add(n)
	}
	if _, before := a.described[n]; !before {
		a.described[n] = d
	}
	p.isFile, p.file, p.segment = true, n, segmentIn(f.GetSegment())
	a.uploads = append(a.uploads, owner.Found{File: n, Epoch: name.Epoch, Checkpoint: name.Checkpoint})
	return d, nil
}

// compareUpload compares the description of an uploaded file with an earlier one. The earlier one comes from PutState
// at this daemon. If another daemon stored the file, it comes from this call or from an accepted acknowledgement.
func (j *job) compareUpload(id uint64, name layout.FileName, d incremental.Description, a *acknowledgement) error {
	if want := data.BlockCount(d.Size); uint64(len(d.Blocks)) != want {
		return j.unknownHandle(id, "file %s: %d block sums for %d bytes, want %d: name the file as PutState answered it", d.Key, len(d.Blocks), d.Size, want)
	}
	if name.Epoch != j.epoch() || name.Checkpoint != id {
		return nil // the file belongs to another epoch or checkpoint; the machine refuses it
	}
	stored := j.storedAs(id, d.Key)
	known := incremental.Description{Size: stored.GetLength(), CRC: stored.GetCrc32C(), Blocks: stored.GetBlockCrc32C()}
	if stored == nil { // another daemon stored the file, so its first description counts
		number, numbered := j.names.ByKey(d.Key)
		said, before := a.described[number]
		if !before {
			said, before = j.contents[id].described[number]
		}
		if !numbered || !before {
			return nil
		}
		known = said
	}
	if d.Size != known.Size || d.CRC != known.CRC || !slices.Equal(d.Blocks, known.Blocks) {
		return j.unknownHandle(id, "file %s: it is not the file that was stored: %s: name the file as PutState answered it", d.Key, difference(known, d))
	}
	return nil
}

// difference describes how two descriptions of a file differ.
func difference(stored, said incremental.Description) string {
	switch {
	case stored.Size != said.Size:
		return fmt.Sprintf("%d bytes are stored, the acknowledgement says %d", stored.Size, said.Size)
	case stored.CRC != said.CRC:
		return fmt.Sprintf("its CRC32C is %08x, the acknowledgement says %08x", stored.CRC, said.CRC)
	}
	return "its block sums differ"
}

// inlineFits refuses an acknowledgement that would bring the checkpoint's inline state above the cap.
func (j *job) inlineFits(id uint64, a *acknowledgement) error {
	c := j.contents[id]
	if c == nil {
		return nil // the checkpoint is not open; the machine refuses the call
	}
	sum := c.inline
	for _, bytes := range a.inline {
		sum += bytes
	}
	if sum > j.s.opts.InlineCap {
		return j.inlineRefused(id)
	}
	return nil
}

// inlineRefused makes the error for inline state above the cap.
func (j *job) inlineRefused(id uint64) error {
	left := j.s.opts.InlineCap
	if c := j.contents[id]; c != nil {
		left = max(0, left-c.inline)
	}
	return refused(&ckptdv1.Refused{Reason: ckptdv1.Refused_REASON_INLINE_CAP, Epoch: j.epoch(), InlineLeft: uint32(left)},
		"%s: inline state above %d bytes: send pieces as files", j.acknowledging(id), j.s.opts.InlineCap)
}
