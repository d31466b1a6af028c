package catalog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/history"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// The sizes of a page of a history.
const (
	historyPage    = 100
	historyPageMax = 1000
)

// listings is how often the segments of a history are listed, if some of them go meanwhile.
const listings = 5

// History answers what became of a job's checkpoints. u is what the owner has not written; nil: the answer is not the owner's.
func (c *Catalog) History(ctx context.Context, req *ckptdv1.GetHistoryRequest, u *history.Unwritten) (*ckptdv1.GetHistoryResponse, error) {
	res, err := c.history(ctx, req, u)
	if err != nil {
		return nil, fmt.Errorf("catalog: history of job %s: %w", req.GetJobId(), err)
	}
	return res, nil
}

func (c *Catalog) history(ctx context.Context, req *ckptdv1.GetHistoryRequest, u *history.Unwritten) (*ckptdv1.GetHistoryResponse, error) {
	head, err := Head(ctx, c.store, req.GetJobId())
	if err == nil && head.Status == journal.StatusRemoved {
		err = fmt.Errorf("%w: it was purged, with its history", ErrNoJob)
	}
	if err != nil {
		return nil, err
	}
	segments, unreadable, err := c.segments(ctx, req.GetJobId(), req.GetCheckpointId())
	if err != nil {
		return nil, err
	}
	res := &ckptdv1.GetHistoryResponse{JobId: req.GetJobId(), Unreadable: unreadable, Live: u != nil}
	if u == nil {
		u = &history.Unwritten{}
	}
	h := history.Merge(segments, u, history.Limit)
	t := &h.Totals
	res.Counts = &ckptdv1.HistoryCounts{Completed: t.Completed, Failed: t.Failed, Restored: t.Restored, NotBegun: t.NotBegun}
	for _, r := range u.Records {
		if r.GetOutcome() == ckptdv1.CheckpointOutcome_CHECKPOINT_OUTCOME_IN_PROGRESS {
			res.Counts.InProgress++
		}
	}
	one := req.GetCheckpointId()
	res.Latest = &ckptdv1.HistoryLatest{
		Completed: listedAs(t.LatestCompleted, head, one), Savepoint: listedAs(t.LatestSavepoint, head, one), Failed: listedAs(t.LatestFailed, head, one),
		Restored: t.LatestRestored,
	}
	if one == 0 {
		res.Summary = history.Summary(h.Records)
	}
	page := pageOf(h.Records, req)
	for _, r := range page.records {
		res.Checkpoints = append(res.Checkpoints, listedAs(r, head, one))
	}
	res.NextBefore = page.next
	if one != 0 && len(res.Checkpoints) == 0 {
		return nil, fmt.Errorf("%w: the history does not name checkpoint %d", ErrNoCheckpoint, one)
	}
	return res, nil
}

// segments reads all segments of a job's history. If one went between the list and its read, its owner has merged it into another one,
// which the list lacks: the history is listed again. Of the operators, which take most of the memory, those of checkpoint one are kept.
func (c *Catalog) segments(ctx context.Context, job string, one uint64) (segments []*history.Segment, unreadable []string, err error) {
	for range listings {
		listed, err := ListHistory(ctx, c.store, job)
		if err != nil {
			return nil, nil, err
		}
		segments, unreadable, err = readHistory(ctx, c.store, job, namesOf(listed), func(s *history.Segment) { s.ForgetOperators(one) })
		if err != nil || len(segments)+len(unreadable) == len(listed) {
			return segments, unreadable, err
		}
	}
	return segments, unreadable, nil // a store that lists what is gone
}

// historyPageOf is a part of a history.
type historyPageOf struct {
	records []*ckptdv1.CheckpointRecord
	next    uint64 // the `before` of the next page; 0: there is none
}

// pageOf cuts a page out of the records, newest first.
func pageOf(records []*ckptdv1.CheckpointRecord, req *ckptdv1.GetHistoryRequest) (p historyPageOf) {
	size := int(min(req.GetPageSize(), historyPageMax))
	if size == 0 {
		size = historyPage
	}
	for _, r := range records {
		id := r.GetCheckpointId()
		switch {
		case req.GetCheckpointId() != 0 && id != req.GetCheckpointId():
		case req.GetBefore() != 0 && id >= req.GetBefore():
		case req.GetFailed() && r.GetOutcome() != ckptdv1.CheckpointOutcome_CHECKPOINT_OUTCOME_FAILED:
		case len(p.records) == size:
			p.next = p.records[size-1].GetCheckpointId()
			return p
		default:
			p.records = append(p.records, r)
		}
	}
	return p
}

// listedAs is a record as an answer has it: with what the journal says, and with its operators only if it is the one that was asked for.
func listedAs(r *ckptdv1.CheckpointRecord, head *journal.Entry, one uint64) *ckptdv1.CheckpointRecord {
	if r == nil {
		return nil
	}
	out := &ckptdv1.CheckpointRecord{
		CheckpointId: r.GetCheckpointId(), Kind: r.GetKind(), Outcome: r.GetOutcome(), Epoch: r.GetEpoch(), Attempt: r.GetAttempt(), StartedAt: r.GetStartedAt(),
		EndedAt: r.GetEndedAt(), AcknowledgedAfter: r.GetAcknowledgedAfter(), Duration: r.GetDuration(), StateBytes: r.GetStateBytes(), NewBytes: r.GetNewBytes(),
		Reason: r.GetReason(), Cause: r.GetCause(), Subtasks: r.GetSubtasks(), Acknowledged: r.GetAcknowledged(), Path: r.GetPath(),
	}
	if r.GetOutcome() == ckptdv1.CheckpointOutcome_CHECKPOINT_OUTCOME_COMPLETED {
		_, out.Retained = head.Checkpoint(r.GetCheckpointId())
	}
	if one == r.GetCheckpointId() {
		out.Operators, out.OperatorsOmitted = r.GetOperators(), r.GetOperatorsOmitted()
	}
	return out
}

// ListHistory lists the segments of a job's history.
func ListHistory(ctx context.Context, s storage.Store, job string) (out []history.Listed, err error) {
	prefix := layout.HistoryPrefix(job)
	for info, err := range s.List(ctx, prefix) {
		if err != nil {
			return nil, err
		}
		if name, err := layout.ParseHistoryName(strings.TrimPrefix(info.Key, prefix)); err == nil {
			out = append(out, history.Listed{Name: name, Size: info.Size})
		}
	}
	return out, nil
}

func namesOf(listed []history.Listed) (out []layout.HistoryName) {
	for _, l := range listed {
		out = append(out, l.Name)
	}
	return out
}

// ReadHistory reads segments of a job's history. One that was dropped meanwhile is left out. One that cannot be read is left out, too,
// and unreadable says so. err is that of a store that does not answer.
func ReadHistory(ctx context.Context, s storage.Store, job string, names []layout.HistoryName) (segments []*history.Segment, unreadable []string, err error) {
	return readHistory(ctx, s, job, names, func(*history.Segment) {})
}

// readHistory is ReadHistory that calls each with a segment as soon as it is read.
func readHistory(ctx context.Context, s storage.Store, job string, names []layout.HistoryName, each func(*history.Segment)) (
	segments []*history.Segment, unreadable []string, err error) {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	var mu sync.Mutex
	for _, name := range names {
		g.Go(func() error {
			segment, err := readSegment(ctx, s, job, name)
			if err == nil {
				each(segment)
			}
			mu.Lock()
			defer mu.Unlock()
			switch {
			case errors.Is(err, storage.ErrNotFound):
			case errors.Is(err, history.ErrCorrupt) || errors.Is(err, history.ErrNewer):
				unreadable = append(unreadable, fmt.Sprintf("%s: %v", layout.HistoryKey(job, name), err))
			case err != nil:
				return err
			default:
				segments = append(segments, segment)
			}
			return nil
		})
	}
	err = g.Wait()
	slices.Sort(unreadable)
	return segments, unreadable, err
}

// readSegment reads one segment. A segment of another job or under another name is corrupt.
func readSegment(ctx context.Context, s storage.Store, job string, name layout.HistoryName) (*history.Segment, error) {
	body, err := s.Open(ctx, layout.HistoryKey(job, name), 0, -1)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	b, err := io.ReadAll(io.LimitReader(body, history.MaxBytes+1))
	if err != nil {
		return nil, err
	}
	segment, err := history.Decode(b)
	if err != nil {
		return nil, err
	}
	if segment.Job != job || segment.Epoch != name.Epoch {
		return nil, fmt.Errorf("it is of job %s and epoch %d: %w", segment.Job, segment.Epoch, history.ErrCorrupt)
	}
	return segment, nil
}
