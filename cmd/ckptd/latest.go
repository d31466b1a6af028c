package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ckptd/ckptd/cmd/ckptd/drivers"
	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/cmd/ckptd/output"
	"github.com/ckptd/ckptd/layout/catalog"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

func newLatestCmd() *cobra.Command {
	var label string
	cmd := &cobra.Command{
		Use:   "latest [JOB | ROOT --label name=VALUE]",
		Short: "Print the newest checkpoint from which a new job can begin",
		Long: `Print the newest checkpoint of a job, or of all jobs with a label, from which a new job can begin. With --label, lineage decides: a job that
began from another one's newest checkpoint comes after it. Time orders only jobs that have nothing to do with each other. Two branches of one
lineage are refused, and both are named. Exit code 1 if there is no such checkpoint.`,
		Example: `  ckptd latest file:///var/lib/ckptd/clicks
  ckptd latest file:///var/lib/ckptd --label name=clicks
  ckptd latest --server unix:/run/ckptd.sock --label name=clicks --json`,
		Args:              wantArgs(0, 1),
		ValidArgsFunction: completeJobs,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			key, value, ok := strings.Cut(label, "=")
			if label != "" && (!ok || key == "") {
				return exit.Usagef("latest: --label %s: want LABEL=VALUE, as name=clicks", output.Argument(label))
			}
			arg := strings.Join(args, "")
			t, err := openRootOrJob(cmd.Context(), daemonsOf(cmd), arg)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, t.close()) }()
			if (t.job == "") == (label == "") {
				return exit.Usagef("latest: want a JOB, or a ROOT with --label name=VALUE")
			}
			j, err := newestOf(cmd, t, key, value)
			if err != nil {
				return err
			}
			if wantsJSON(cmd) {
				return printJSON(cmd.OutOrStdout(), j)
			}
			path := j.GetCheckpoints()[0].GetPath()
			if arg != "" && !daemonsOf(cmd).isID(arg) {
				place, err := drivers.Normal(arg)
				if err != nil {
					return err
				}
				if t.job != "" {
					place, _ = drivers.CutLast(place)
				}
				path = drivers.Below(place, path)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), path)
			return err
		},
	}
	cmd.Flags().StringVar(&label, "label", "", "`LABEL=VALUE` of the jobs, as name=clicks")
	serverFlags(cmd)
	jsonFlag(cmd, "JobSummary")
	return cmd
}

// newestOf is the job with the newest checkpoint, and that checkpoint alone.
func newestOf(cmd *cobra.Command, t *target, key, value string) (*ckptdv1.JobSummary, error) {
	list, err := t.view.Jobs(cmd.Context())
	if err != nil {
		return nil, err
	}
	var newest *ckptdv1.JobSummary
	if t.job == "" {
		if newest, err = catalog.Latest(list.GetJobs(), key, value); err != nil {
			return nil, fmt.Errorf("latest: %w", err)
		}
	}
	for _, j := range list.GetJobs() {
		if j.GetJobId() == t.job {
			newest = j
		}
	}
	if newest == nil {
		return nil, fmt.Errorf("latest: %w: %s", catalog.ErrNoJob, t.job)
	}
	all, err := t.view.Checkpoints(cmd.Context(), newest.GetJobId())
	if err != nil {
		return nil, err
	}
	for _, c := range all.GetCheckpoints() {
		if c.GetCheckpointId() == newest.GetLatestCheckpointId() {
			newest.Checkpoints = []*ckptdv1.CheckpointSummary{c}
			return newest, nil
		}
	}
	return nil, fmt.Errorf("latest: job %s keeps no checkpoint that can be restored", newest.GetJobId())
}
