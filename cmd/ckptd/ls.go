package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/cmd/ckptd/output"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

func newLsCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ls [ROOT | JOB]",
		Short: "List the jobs below a root, or the checkpoints of a job",
		Long: `List the jobs below a root with the checkpoints they retain, or the checkpoints of one job.

It reads the storage and needs no daemon. With --server it asks that daemon instead; then ROOT may be left out, and a job is
named by its id alone. If the journal of a job cannot be read, ckptd lists the job with the reason and exits with code 3.`,
		Example: `  ckptd ls file:///var/lib/ckptd
  ckptd ls ./data/clicks
  ckptd ls --server unix:/run/ckptd.sock
  ckptd ls ./data --json | jq '.jobs[].jobId'`,
		Args:              wantArgs(0, 1),
		ValidArgsFunction: completeJobs,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			t, err := openRootOrJob(cmd.Context(), daemonsOf(cmd), strings.Join(args, ""))
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, t.close()) }()
			if t.job != "" {
				return lsJob(cmd, t)
			}
			return lsRoot(cmd, t)
		},
	}
	serverFlags(cmd)
	jsonFlag(cmd, "ListJobsResponse or ListCheckpointsResponse")
	return cmd
}

func lsRoot(cmd *cobra.Command, t *target) error {
	jobs, err := t.view.Jobs(cmd.Context())
	if err != nil {
		return err
	}
	if wantsJSON(cmd) {
		err = printJSON(cmd.OutOrStdout(), jobs)
	} else {
		err = printJobs(cmd.OutOrStdout(), jobs)
	}
	if err != nil {
		return err
	}
	bad := 0
	for _, j := range jobs.GetJobs() {
		if j.GetError() != "" {
			bad++
		}
	}
	if bad > 0 {
		return exit.With(exit.Part, fmt.Errorf("ls: cannot read the journals of %d of %s", bad, output.Count(len(jobs.GetJobs()), "job")))
	}
	return nil
}

func printJobs(w io.Writer, jobs *ckptdv1.ListJobsResponse) error {
	if len(jobs.GetJobs()) == 0 {
		_, err := fmt.Fprintln(w, "no jobs")
		return err
	}
	for i, j := range jobs.GetJobs() {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintln(w, jobLine(j))
		if len(j.GetCheckpoints()) == 0 {
			continue
		}
		if err := printCheckpoints(w, j.GetCheckpoints()); err != nil {
			return err
		}
	}
	return nil
}

// jobLine describes a job in one line.
func jobLine(j *ckptdv1.JobSummary) string {
	if j.GetError() != "" {
		return fmt.Sprintf("%s: cannot be read: %s", output.Clean(j.GetJobId()), output.Clean(j.GetError()))
	}
	parts := []string{fmt.Sprintf("%s: %s, epoch %d, attempt %d", j.GetJobId(), output.Enum(j.GetStatus(), "JOB_STATUS_"), j.GetEpoch(), j.GetAttempt())}
	if urls := j.GetOwnerUrls(); len(urls) > 0 {
		parts = append(parts, "owner "+output.Clean(strings.Join(urls, " ")))
	} else {
		parts = append(parts, "no owner")
	}
	if j.GetRetained() == 0 {
		parts = append(parts, "no checkpoints")
	} else if len(j.GetCheckpoints()) == 0 {
		parts = append(parts, fmt.Sprintf("%s, the latest is chk-%d of %s", output.Count(j.GetRetained(), "checkpoint"), j.GetLatestCheckpointId(), output.Time(j.GetLatestCompletedAt())))
	}
	if j.GetInMemory() {
		parts = append(parts, "in memory")
	}
	if labels := labelsText(j.GetLabels()); labels != "" {
		parts = append(parts, output.Clean(labels))
	}
	if ended := endedText(j); ended != "" {
		parts = append(parts, ended)
	}
	return strings.Join(parts, ", ")
}

// endedText says when and why a job ended. It is empty if the job has not ended, or the journal does not say.
func endedText(j *ckptdv1.JobSummary) string {
	if j.GetEndedAt() == nil {
		return ""
	}
	text := "ended " + output.Time(j.GetEndedAt())
	if why := j.GetEndReason(); why != "" {
		text += ": " + output.Clean(why)
	}
	return text
}

func lsJob(cmd *cobra.Command, t *target) error {
	list, err := t.view.Checkpoints(cmd.Context(), t.job)
	switch {
	case err != nil:
		return err
	case wantsJSON(cmd):
		return printJSON(cmd.OutOrStdout(), list)
	case len(list.GetCheckpoints()) == 0:
		_, err := fmt.Fprintln(cmd.OutOrStdout(), "no checkpoints")
		return err
	}
	return printCheckpoints(cmd.OutOrStdout(), list.GetCheckpoints())
}

func printCheckpoints(w io.Writer, all []*ckptdv1.CheckpointSummary) error {
	t := output.NewTable(w)
	t.Row("  CHECKPOINT", "COMPLETED", "TOOK", "STATE", "NEW", "REUSED")
	for _, c := range all {
		t.Row("  "+c.GetPath(), output.Time(c.GetCompletedAt()), output.Duration(c.GetDuration()),
			output.Bytes(c.GetStateBytes()), output.Bytes(c.GetNewBytes()), output.Bytes(c.GetReusedBytes()))
	}
	return t.Flush()
}
