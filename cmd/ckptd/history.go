package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/cmd/ckptd/output"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/history"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

func newHistoryCmd() *cobra.Command {
	var last uint32
	var failed bool
	cmd := &cobra.Command{
		Use:   "history JOB [ID]",
		Short: "Show what became of a job's checkpoints, also after the job has ended",
		Long: `Show what became of a job's last 10,000 checkpoints: how many have completed and failed, the newest of each kind, how long they took and
how large they were, and a list, newest first. It names the cause of each one that failed. With the ID of a checkpoint it shows that one:
the slowest subtask of each operator, and the first subtask that has not acknowledged.

The owner of the job answers, with the checkpoints in progress. If nobody owns the job, or its owner does not answer, the root is read:
then checkpoints can be missing that the owner has not written yet. The history stays after the job's end, until ` + "`ckptd purge`" + `.

Exit codes: 0 done, 1 there is no such job or checkpoint, 3 a part of the history cannot be read, and is named.`,
		Example: `  ckptd history ./data/clicks
  ckptd history ./data/clicks --last 3 --failed
  ckptd history file:///var/lib/ckptd/clicks 42
  ckptd history ./data/clicks --last 1000 --json | jq '.checkpoints[].duration'`,
		Args:              wantArgs(1, 2),
		ValidArgsFunction: completeJobs,
		RunE: func(cmd *cobra.Command, args []string) error {
			req := &ckptdv1.GetHistoryRequest{Failed: failed}
			if last == 0 || last > history.Limit {
				return exit.Usagef("history: --last %d: want 1 to %d", last, history.Limit)
			}
			if len(args) > 1 {
				id, err := strconv.ParseUint(strings.TrimPrefix(args[1], checkpointPrefix), 10, 64)
				if err != nil || id == 0 {
					return exit.Usagef("history: checkpoint %s: want its number, such as 42", output.Argument(args[1]))
				}
				req.CheckpointId, last = id, 1
			}
			res, err := historyOf(cmd, args[0], req, last)
			if err != nil {
				return err
			}
			if wantsJSON(cmd) {
				err = printJSON(cmd.OutOrStdout(), res)
			} else {
				err = printHistory(cmd.OutOrStdout(), res, req)
			}
			if n := len(res.GetUnreadable()); err == nil && n > 0 {
				err = exit.With(exit.Part, fmt.Errorf("history: %s of it cannot be read: %s", output.Count(n, "object"), output.Clean(strings.Join(res.GetUnreadable(), "; "))))
			}
			return err
		},
	}
	cmd.Flags().Uint32Var(&last, "last", 10, "how many `checkpoints` to list, 1 to 10000")
	cmd.Flags().BoolVar(&failed, "failed", false, "list only those that failed")
	commandLineOnly(cmd.Flags(), "last", "failed")
	serverFlags(cmd)
	jsonFlag(cmd, "GetHistoryResponse")
	return cmd
}

// historyOf asks the job's owner, or reads the root if no daemon answers for the job.
func historyOf(cmd *cobra.Command, arg string, req *ckptdv1.GetHistoryRequest, last uint32) (res *ckptdv1.GetHistoryResponse, err error) {
	ctx, at := cmd.Context(), daemonsOf(cmd)
	err = onOwner(ctx, at, arg, false, func(a *client.Admin, id string) (err error) {
		req.JobId = id
		res, err = historyPages(req, last, func() (*ckptdv1.GetHistoryResponse, error) { return a.Messages().History(ctx, req) })
		return err
	})
	_, unowned := errors.AsType[*unownedError](err)
	away := errors.Is(err, client.ErrUnavailable)
	if !unowned && !away || at.isID(arg) || layout.ValidateJobID(arg) == nil && at.server == "" {
		return res, err
	}
	at.server = ""
	t, openErr := openJob(ctx, at, arg)
	if openErr != nil {
		return nil, errors.Join(err, openErr)
	}
	defer func() { err = errors.Join(err, t.close()) }()
	if away {
		fmt.Fprintf(cmd.ErrOrStderr(), "ckptd: the owner of job %s does not answer: what it has not written yet is missing\n", output.Clean(t.job))
	}
	req.JobId = t.job
	c := catalog.New(t.store)
	return historyPages(req, last, func() (*ckptdv1.GetHistoryResponse, error) { return c.History(ctx, req, nil) })
}

// historyPages puts the pages of the last checkpoints together.
func historyPages(req *ckptdv1.GetHistoryRequest, last uint32, page func() (*ckptdv1.GetHistoryResponse, error)) (*ckptdv1.GetHistoryResponse, error) {
	var all *ckptdv1.GetHistoryResponse
	for {
		req.PageSize = last
		if all != nil {
			req.PageSize, req.Before = last-uint32(len(all.GetCheckpoints())), all.GetNextBefore()
		}
		res, err := page()
		if err != nil {
			return nil, err
		}
		if all == nil {
			all = res
		} else {
			all.Checkpoints, all.NextBefore = append(all.Checkpoints, res.GetCheckpoints()...), res.GetNextBefore()
		}
		if all.GetNextBefore() == 0 || uint32(len(all.GetCheckpoints())) >= last {
			return all, nil
		}
	}
}

func printHistory(w io.Writer, res *ckptdv1.GetHistoryResponse, req *ckptdv1.GetHistoryRequest) error {
	if req.GetCheckpointId() != 0 {
		return printRecord(w, res.GetCheckpoints()[0])
	}
	c := res.GetCounts()
	begun := ""
	if n := c.GetNotBegun(); n > 0 {
		begun = fmt.Sprintf(" (%d before it had a number)", n)
	}
	fmt.Fprintf(w, "job %s: %d in progress, %d completed, %d failed%s, %d restored\n", output.Clean(res.GetJobId()), c.GetInProgress(), c.GetCompleted(),
		c.GetFailed(), begun, c.GetRestored())
	if err := printLatest(w, res.GetLatest()); err != nil {
		return err
	}
	if err := printSpread(w, res.GetSummary()); err != nil || len(res.GetCheckpoints()) == 0 {
		return err
	}
	fmt.Fprintln(w)
	t := output.NewTable(w)
	t.Row("ID", "KIND", "OUTCOME", "STARTED", "DURATION", "ACKNOWLEDGED", "NEW", "STATE", "CAUSE")
	for _, r := range res.GetCheckpoints() {
		took := r.GetDuration()
		if r.GetStartedAt() == nil {
			took = nil // not known
		}
		t.Row(r.GetCheckpointId(), kindText(r), outcomeText(r), output.Time(r.GetStartedAt()), output.Duration(took), ackedText(r),
			output.Bytes(r.GetNewBytes()), output.Bytes(r.GetStateBytes()), causeText(r))
	}
	return t.Flush()
}

// printLatest prints the newest checkpoint of each kind.
func printLatest(w io.Writer, l *ckptdv1.HistoryLatest) error {
	t := output.NewTable(w)
	if r := l.GetCompleted(); r != nil {
		kept := "no longer kept"
		if r.GetRetained() {
			kept = "kept as " + r.GetPath()
		}
		t.Row("latest completed", r.GetCheckpointId(), output.Time(r.GetEndedAt()), fmt.Sprintf("after %s, %s new of %s, %s", output.Duration(r.GetDuration()),
			output.Bytes(r.GetNewBytes()), output.Bytes(r.GetStateBytes()), kept))
	}
	if r := l.GetFailed(); r != nil {
		t.Row("latest failed", r.GetCheckpointId(), output.Time(r.GetEndedAt()), causeText(r))
	}
	if r := l.GetSavepoint(); r != nil {
		t.Row("latest savepoint", r.GetCheckpointId(), output.Time(r.GetEndedAt()), r.GetPath())
	}
	if r := l.GetRestored(); r != nil {
		t.Row("latest restored", r.GetCheckpointId(), output.Time(r.GetRestoredAt()), fmt.Sprintf("by attempt %d", r.GetAttempt()))
	}
	return t.Flush()
}

// printSpread prints the summary of the completed checkpoints.
func printSpread(w io.Writer, s *ckptdv1.HistorySummary) error {
	if s == nil {
		return nil
	}
	fmt.Fprintln(w)
	t := output.NewTable(w)
	t.Row("COMPLETED", "MIN", "AVG", "MAX", "P50", "P90", "P95", "P99", "P99.9")
	d := s.GetDuration()
	row := []any{"duration"}
	for _, v := range []*durationpb.Duration{d.GetMin(), d.GetAvg(), d.GetMax(), d.GetP50(), d.GetP90(), d.GetP95(), d.GetP99(), d.GetP999()} {
		row = append(row, output.Duration(v))
	}
	t.Row(row...)
	for _, b := range []struct {
		name string
		*ckptdv1.ByteSummary
	}{{"state", s.GetStateBytes()}, {"new", s.GetNewBytes()}} {
		row := []any{b.name}
		for _, v := range []uint64{b.GetMin(), b.GetAvg(), b.GetMax(), b.GetP50(), b.GetP90(), b.GetP95(), b.GetP99(), b.GetP999()} {
			row = append(row, output.Bytes(v))
		}
		t.Row(row...)
	}
	return t.Flush()
}

// printRecord prints one checkpoint with its operators.
func printRecord(w io.Writer, r *ckptdv1.CheckpointRecord) error {
	t := output.NewTable(w)
	t.Row("checkpoint", fmt.Sprintf("%d: %s, %s", r.GetCheckpointId(), kindText(r), outcomeText(r)))
	if r.GetStartedAt() == nil { // only that it failed is known
		t.Row("taken by", fmt.Sprintf("attempt %d, under an earlier owner", r.GetAttempt()))
		t.Row("ended", fmt.Sprintf("%s, as the owner of epoch %d noted", output.Time(r.GetEndedAt()), r.GetEpoch()))
	} else {
		t.Row("taken by", fmt.Sprintf("attempt %d, in epoch %d", r.GetAttempt(), r.GetEpoch()))
		t.Row("started", output.Time(r.GetStartedAt()))
		t.Row("ended", endText(r))
		t.Row("acknowledged", fmt.Sprintf("%s subtasks, the last after %s", ackedText(r), output.Duration(r.GetAcknowledgedAfter())))
		t.Row("state", fmt.Sprintf("%s, %s new", output.Bytes(r.GetStateBytes()), output.Bytes(r.GetNewBytes())))
	}
	if r.GetPath() != "" {
		t.Row("place", r.GetPath())
	}
	if cause := causeText(r); cause != "" {
		t.Row("cause", cause)
	}
	if err := t.Flush(); err != nil || len(r.GetOperators()) == 0 {
		return err
	}
	fmt.Fprintln(w)
	t = output.NewTable(w)
	t.Row("OPERATOR", "ACKNOWLEDGED", "SLOWEST SUBTASK", "AFTER", "MISSING")
	for _, o := range r.GetOperators() {
		slowest, missing := "-", "-"
		if o.GetSlowestAfter() != nil {
			slowest = fmt.Sprint(o.GetSlowestSubtask())
		}
		if o.MissingSubtask != nil {
			missing = fmt.Sprintf("subtask %d", o.GetMissingSubtask())
		}
		t.Row(o.GetOperatorId(), fmt.Sprintf("%d of %d", o.GetAcknowledged(), o.GetSubtasks()), slowest, output.Duration(o.GetSlowestAfter()), missing)
	}
	if n := r.GetOperatorsOmitted(); n > 0 {
		t.Row(fmt.Sprintf("and %s that were faster", output.Count(n, "operator")))
	}
	return t.Flush()
}

func kindText(r *ckptdv1.CheckpointRecord) string {
	if r.GetKind() == ckptdv1.RecordKind_RECORD_KIND_STOP {
		return "stop with savepoint"
	}
	return output.Enum(r.GetKind(), "RECORD_KIND_")
}

// endText is when a checkpoint ended; it may be in progress.
func endText(r *ckptdv1.CheckpointRecord) string {
	if r.GetEndedAt() == nil {
		return "not yet"
	}
	return fmt.Sprintf("%s, after %s", output.Time(r.GetEndedAt()), output.Duration(r.GetDuration()))
}

func outcomeText(r *ckptdv1.CheckpointRecord) string {
	return output.Enum(r.GetOutcome(), "CHECKPOINT_OUTCOME_")
}

func ackedText(r *ckptdv1.CheckpointRecord) string {
	if r.GetSubtasks() == 0 {
		return "-"
	}
	return fmt.Sprintf("%d of %d", r.GetAcknowledged(), r.GetSubtasks())
}

// causeText is why a checkpoint failed; empty: it did not.
func causeText(r *ckptdv1.CheckpointRecord) string {
	if r.GetCause() == "" {
		return r.GetReason()
	}
	return r.GetReason() + ": " + r.GetCause()
}
