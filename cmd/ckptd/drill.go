package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/cmd/ckptd/output"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/verify"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

func newDrillCmd() *cobra.Command {
	var opts verify.Options
	cmd := &cobra.Command{
		Use:   "drill CHECKPOINT",
		Short: "Try to restore a checkpoint, into nothing",
		Long: `Try to restore a checkpoint: fetch every piece of state of every subtask as the workers of a new attempt would, check each against
its sums, and throw it away. No job begins, and nothing is written.

Without --server the bytes come straight from the store. With --server they come through that daemon, over the network, as in a real
restore; CHECKPOINT is <job id>/chk-<number>, and its _metadata is read from the daemon's root.

Exit codes: 0 the checkpoint can be restored, 4 it cannot, 1 the store or the daemon failed.`,
		Example: `  ckptd drill file:///var/lib/ckptd/clicks/chk-42
  ckptd drill ./data/clicks/chk-42 --json | jq -r .verdict`,
		Args:              wantArgs(1, 1),
		ValidArgsFunction: completeCheckpoints,
		RunE: func(cmd *cobra.Command, args []string) error {
			if opts.Parallel < 1 {
				return exit.Usagef("drill: --parallel %d: want at least 1", opts.Parallel)
			}
			report, err := runDrill(cmd, args[0], opts)
			if err != nil {
				return err
			}
			if wantsJSON(cmd) {
				err = printJSON(cmd.OutOrStdout(), report)
			} else {
				err = printDrill(cmd.OutOrStdout(), report)
			}
			if err != nil {
				return err
			}
			return judgeDrill(report)
		},
	}
	cmd.Flags().IntVar(&opts.Parallel, "parallel", verify.Parallel, "read so many files at once")
	serverFlags(cmd)
	jsonFlag(cmd, "DrillReport")
	return cmd
}

func runDrill(cmd *cobra.Command, arg string, opts verify.Options) (report *ckptdv1.DrillReport, err error) {
	ctx, at := cmd.Context(), daemonsOf(cmd)
	t, err := openCheckpoint(ctx, at, arg)
	if err != nil {
		return nil, err
	}
	_, throughDaemon := t.view.(*remote)
	if t, err = t.onStorage(ctx); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	opts.Job, opts.Checkpoint, opts.Progress = t.job, t.id, &verify.Progress{}
	fetch, server := verify.FromStore(t.store), ""
	if throughDaemon {
		c, admin, err := adminWith(at.credentials, at.server)
		if err != nil {
			return nil, err
		}
		defer func() { _ = c.Close() }()
		fetch, server = fromDaemon(admin, t.job), at.server
	}
	stop := showProgress(cmd.ErrOrStderr(), "drill", opts.Progress)
	defer stop()
	if l, ok := t.view.(*loose); ok {
		return verify.DrillFolder(ctx, t.store, l.folder, arg, opts)
	}
	report, err = verify.Drill(ctx, t.store, opts, fetch)
	if err == nil {
		report.Server = server
	}
	return report, err
}

// fromDaemon fetches through a daemon, as a worker does.
func fromDaemon(admin *client.Admin, job string) verify.Fetcher {
	return func(ctx context.Context, _ string, f *layout.File, segment *layout.Segment) (*ckptdv1.Damage, error) {
		file := &client.File{Key: f.Key, Job: f.Job, Length: f.Length, CRC32C: f.CRC32C, BlockCRC32C: f.Blocks}
		if segment != nil {
			file.Segment = &client.Segment{Offset: segment.Offset, Length: segment.Length}
		}
		err := admin.CheckState(ctx, job, client.Handle{File: file})
		switch {
		case errors.Is(err, client.ErrNotFound):
			return &ckptdv1.Damage{Kind: ckptdv1.DamageKind_DAMAGE_KIND_MISSING, Text: err.Error()}, nil
		case errors.Is(err, client.ErrCorrupt):
			return &ckptdv1.Damage{Kind: ckptdv1.DamageKind_DAMAGE_KIND_WRONG_BYTES, Text: err.Error()}, nil
		}
		return nil, err
	}
}

func printDrill(w io.Writer, r *ckptdv1.DrillReport) error {
	t := output.NewTable(w)
	t.Row("OPERATOR", "NAME", "SUBTASKS", "PIECES", "STATE", "FAILED")
	for _, o := range r.GetOperators() {
		op := o.GetOperator()
		t.Row(op.GetId(), orDash(op.GetUid()), op.GetParallelism(), o.GetHandles(), output.Bytes(o.GetBytes()), o.GetFailed())
	}
	if err := t.Flush(); err != nil {
		return err
	}
	printDamages(w, r.GetDamages(), r.GetDamagesTotal())
	from := "the store"
	if r.GetServer() != "" {
		from = "daemon " + r.GetServer()
	}
	_, err := fmt.Fprintf(w, "\n%s: %s: fetched %s of %s, %s, from %s in %s: %s\n", output.Clean(r.GetPath()), verdictText(r.GetVerdict()),
		output.Count(r.GetHandles(), "piece"), output.Count(r.GetSubtasks(), "subtask"), output.Bytes(r.GetBytes()), output.Clean(from), output.Duration(r.GetTook()), rateOf(r.GetBytes(), r.GetTook().AsDuration()))
	return err
}

// judgeDrill turns the verdict into the exit code.
func judgeDrill(r *ckptdv1.DrillReport) error {
	switch r.GetVerdict() {
	case ckptdv1.VerifyVerdict_VERIFY_VERDICT_WHOLE:
		return nil
	case ckptdv1.VerifyVerdict_VERIFY_VERDICT_DAMAGED:
		return exit.With(exit.Damage, fmt.Errorf("drill: %s cannot be restored; `ckptd verify` says which checkpoint of its job is whole", r.GetPath()))
	case ckptdv1.VerifyVerdict_VERIFY_VERDICT_LEFT:
		return exit.With(exit.Failed, fmt.Errorf("drill: the job dropped %s meanwhile; try a newer one", r.GetPath()))
	}
	cause := ""
	if d := r.GetDamages(); len(d) > 0 {
		cause = ": " + output.Clean(d[0].GetText())
	}
	return exit.With(exit.Failed, fmt.Errorf("drill: not all of %s could be fetched%s", r.GetPath(), cause))
}
