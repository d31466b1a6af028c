package shell

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/api"
	"github.com/ckptd/ckptd/service/owner"
)

// assignmentPage is the approximate size of one page of an assignment, in bytes of handles.
const assignmentPage = 1 << 20

// assigned names the checkpoint and the subtasks of an assignment.
type assigned struct {
	restore uint64 // id of the checkpoint to restore; 0: none
	plan    *journal.Plan
	wanted  owner.Subtasks // numbers of the subtasks
}

// Assignment returns the state handles that subtasks restore, page by page.
func (j *Job) Assignment(ctx context.Context, req *ckptdv1.AssignmentRequest) (*ckptdv1.AssignmentResponse, error) {
	skip, err := uint64(0), error(nil)
	if t := req.GetPageToken(); t != "" {
		if skip, err = strconv.ParseUint(t, 10, 64); err != nil {
			return nil, api.Invalidf("assignment of job %s: page token %q: want the token of the page before", req.GetJobId(), t)
		}
	}
	a, err := ask(ctx, j, func(reply func(assigned, error)) { reply(j.assigned(req)) })
	if err != nil {
		return nil, err
	}
	if a.restore == 0 {
		return &ckptdv1.AssignmentResponse{}, nil
	}
	res, err := assignment(ctx, j.env.Restore, j.id, a, skip)
	if err != nil {
		return nil, api.Error(fmt.Errorf("assignment of job %s, checkpoint %d: %w", req.GetJobId(), a.restore, err))
	}
	return res, nil
}

// assigned looks up what the request's subtasks restore.
func (j *Job) assigned(req *ckptdv1.AssignmentRequest) (assigned, error) {
	head := j.m.Head()
	if head == nil {
		return assigned{}, api.NotAttached(j.id)
	}
	if head.Attempt != req.GetAttempt() {
		return assigned{}, api.Refused(&ckptdv1.Refused{Reason: ckptdv1.Refused_REASON_STALE_ATTEMPT, Epoch: head.Epoch, Attempt: head.Attempt},
			"job %s: attempt %d is not the journal's, %d: follow the newest Start", j.id, req.GetAttempt(), head.Attempt)
	}
	wanted, err := api.NumbersIn(head.Plan, req.GetSubtasks())
	return assigned{restore: head.Restore, plan: head.Plan, wanted: wanted}, err
}

// assignment reads the _metadata once, as a stream, and returns one page. The page begins after the first skip handles
// of the wanted subtasks.
func assignment(ctx context.Context, store storage.Store, job string, a assigned, skip uint64) (*ckptdv1.AssignmentResponse, error) {
	body, err := store.Open(ctx, layout.MetadataKey(job, a.restore), 0, -1)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	r, err := layout.NewMetadataReader(body)
	if err != nil {
		return nil, err
	}
	p := &assignmentPager{plan: a.plan, wanted: a.wanted, skip: skip, res: &ckptdv1.AssignmentResponse{CheckpointId: a.restore}}
	for !p.full {
		record, err := r.Next()
		if errors.Is(err, io.EOF) {
			return p.res, nil
		}
		if err != nil {
			return nil, err
		}
		if err := p.take(record); err != nil {
			return nil, err
		}
	}
	p.res.NextPageToken = strconv.FormatUint(p.seen, 10)
	return p.res, nil
}

// assignmentPager collects one page from the records of a _metadata.
type assignmentPager struct {
	plan       *journal.Plan
	wanted     owner.Subtasks
	skip, seen uint64        // counts of handles of wanted subtasks: before the page, and so far
	size       int           // bytes of handles in the page
	full       bool          // the page is full; more handles may follow
	files      []layout.File // the file records so far
	res        *ckptdv1.AssignmentResponse
}

// take processes one record.
func (p *assignmentPager) take(record layout.Record) error {
	switch record := record.(type) {
	case *layout.File:
		p.files = append(p.files, *record)
	case *layout.Operator:
		return p.sameShape(record)
	case *layout.Subtask:
		n, ok := p.plan.Number(record.OperatorID, uint32(record.Index))
		if ok && p.wanted.Has(owner.Subtask(n)) {
			p.cut(record)
		}
	}
	return nil
}

// sameShape refuses to restore an operator at another parallelism.
func (p *assignmentPager) sameShape(op *layout.Operator) error {
	for i := range p.plan.Operators {
		if q := &p.plan.Operators[i]; q.ID == op.ID && (int(q.Parallelism) != op.Parallelism || int(q.MaxParallelism) != op.MaxParallelism) {
			return connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf(
				"operator %s had parallelism %d of %d when the checkpoint was taken and has %d of %d now: rescaling is not supported; run it at the old one",
				op.ID, op.Parallelism, op.MaxParallelism, q.Parallelism, q.MaxParallelism))
		}
	}
	return nil
}

// cut adds the handles of one subtask that belong to the page.
func (p *assignmentPager) cut(s *layout.Subtask) {
	state := &ckptdv1.SubtaskState{Subtask: &ckptdv1.Subtask{OperatorId: s.OperatorID, Index: uint32(s.Index)}, Finished: s.Finished}
	for i := range s.Handles {
		if p.full = p.size >= assignmentPage; p.full {
			break
		}
		p.seen++
		if p.seen <= p.skip {
			continue
		}
		h := p.handle(&s.Handles[i])
		p.size += proto.Size(h)
		state.Handles = append(state.Handles, h)
	}
	p.res.States = append(p.res.States, state)
}

// handle converts a handle to the API's form.
func (p *assignmentPager) handle(h *layout.Handle) *ckptdv1.StateHandle {
	out := &ckptdv1.StateHandle{
		Name: h.Name, InstanceNonce: h.InstanceNonce, Scope: ckptdv1.Scope_SCOPE_EXCLUSIVE, KeyGroups: api.GroupsOut(h.KeyGroups),
		State: catalog.State(&h.State),
	}
	if h.File == 0 {
		out.Location = &ckptdv1.StateHandle_Inline{Inline: h.Inline}
		return out
	}
	f := &p.files[h.File-1]
	file := catalog.File(f)
	file.Segment = catalog.Segment(h.Segment)
	out.Location = &ckptdv1.StateHandle_File{File: file}
	out.Scope = api.ScopeOf(f.Key)
	if out.Name == "" && out.InstanceNonce == "" {
		out.Name, out.InstanceNonce = f.LocalName, f.InstanceNonce
	}
	return out
}
