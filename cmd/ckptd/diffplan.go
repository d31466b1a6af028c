package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/cmd/ckptd/output"
	"github.com/ckptd/ckptd/layout"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/proto/strictjson"
	"github.com/ckptd/ckptd/service/api"
)

// maxPlanFile bounds the file of a plan. The journal bounds plans further.
const maxPlanFile = 1 << 20

// diffPlan compares a checkpoint with a plan, as the start of a new job would. A plan that would be refused is an error after the
// output.
func diffPlan(cmd *cobra.Command, show *ckptdv1.ShowCheckpointResponse, arg string, allow bool) error {
	plan, err := planOf(cmd.Context(), daemonsOf(cmd), arg)
	if err != nil {
		return err
	}
	source := make([]api.SourceOperator, 0, len(show.GetOperators()))
	for _, o := range show.GetOperators() {
		op := o.GetOperator()
		source = append(source, api.SourceOperator{
			Operator: layout.Operator{ID: op.GetId(), UID: op.GetUid(), Parallelism: int(op.GetParallelism()), MaxParallelism: int(op.GetMaxParallelism()), Triggered: op.GetTriggered()},
			HasState: len(o.GetStates()) > 0, Keyed: o.GetKeyed(),
		})
	}
	diff, _ := api.Match(plan, source, allow) // the error is in the diff
	diff.Checkpoint = show.GetSummary().GetPath()
	if _, err := api.PlanIn(diff.GetPlan()); err != nil {
		return exit.Usagef("--diff-plan %s: %w", output.Argument(arg), inWords(err))
	}
	if err := answer(cmd, diff, func(w io.Writer) { printPlanDiff(w, diff) }); err != nil {
		return err
	}
	if diff.GetRefused() {
		return exit.With(exit.Damage, fmt.Errorf("show: a job that begins from %s with this plan would be refused: %s", diff.GetCheckpoint(), output.Clean(diff.GetWhy())))
	}
	return nil
}

// planOf reads a plan from a file, or from the journal of a job.
func planOf(ctx context.Context, at daemons, arg string) (*ckptdv1.Plan, error) {
	if info, err := os.Stat(arg); err == nil && info.Mode().IsRegular() {
		return planInFile(arg)
	}
	t, err := openJob(ctx, at, arg)
	if err != nil {
		return nil, fmt.Errorf("--diff-plan: no file has this name, and no job: %w", err)
	}
	j, err := t.view.Journal(ctx, t.job)
	if err = errors.Join(err, t.close()); err != nil {
		return nil, fmt.Errorf("--diff-plan: %w", err)
	}
	head := j.GetEntries()[len(j.GetEntries())-1]
	if head.GetError() != "" {
		return nil, exit.With(exit.Damage, fmt.Errorf("--diff-plan: the head of the journal of job %s cannot be read: %s", t.job, head.GetError()))
	}
	return head.GetPlan(), nil
}

// planInFile reads a plan, or the plan of a request that attaches a job.
func planInFile(name string) (*ckptdv1.Plan, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxPlanFile+1))
	switch {
	case err != nil:
		return nil, err
	case len(b) > maxPlanFile:
		return nil, exit.Usagef("--diff-plan %s: the file is larger than 1 MiB", output.Argument(name))
	}
	plan, req := &ckptdv1.Plan{}, &ckptdv1.AttachJobRequest{}
	var whole struct{ Plan json.RawMessage }
	if json.Unmarshal(b, &whole) == nil && whole.Plan != nil {
		err = strictjson.Unmarshal(b, req)
		plan = req.GetPlan()
	} else {
		err = strictjson.Unmarshal(b, plan)
	}
	if err != nil {
		return nil, exit.Usagef("--diff-plan %s: want a ckptd.v1.Plan as JSON, or the AttachJobRequest that has it: %w", output.Argument(name), err)
	}
	return plan, nil
}

func printPlanDiff(w io.Writer, diff *ckptdv1.PlanDiff) {
	t := output.NewTable(w)
	t.Row("IN THE CHECKPOINT", "IN THE PLAN", "STATE", "FOUND BY", "PARALLELISM", "WOULD")
	for _, m := range diff.GetOperators() {
		in, plan := m.GetCheckpoint(), m.GetPlan()
		state, found, would := "none", "-", "begin without state"
		if m.GetHasState() {
			state, would = "yes", "restore"
		}
		if in != nil && plan != nil {
			found = output.Enum(m.GetMatchedBy(), "MATCHED_BY_")
		}
		switch {
		case m.GetRefused():
			would = "be refused"
		case plan == nil && m.GetHasState():
			would = "be left out"
		case plan == nil:
			would = "not be missed"
		}
		t.Row(operatorName(in), operatorName(plan), state, found, parallelisms(in)+" -> "+parallelisms(plan), would)
	}
	_ = t.Flush()
	for _, text := range diff.GetWarnings() {
		fmt.Fprintln(w, "warning:", output.Clean(text))
	}
	if !diff.GetRefused() {
		fmt.Fprintln(w, "the plan fits: a new job would begin from this checkpoint")
	}
}

func operatorName(op *ckptdv1.Operator) any {
	if op.GetUid() == "" || op.GetUid() == op.GetId() {
		return orDash(op.GetId())
	}
	return op.GetId() + " (" + op.GetUid() + ")"
}

func parallelisms(op *ckptdv1.Operator) string {
	if op == nil {
		return "-"
	}
	return fmt.Sprintf("%d of %d", op.GetParallelism(), op.GetMaxParallelism())
}
