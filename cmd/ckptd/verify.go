package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ckptd/ckptd/cmd/ckptd/drivers"
	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/cmd/ckptd/output"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/verify"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

func newVerifyCmd() *cobra.Command {
	var opts verify.Options
	var subset string
	cmd := &cobra.Command{
		Use:   "verify ROOT | JOB | CHECKPOINT",
		Short: "Say whether checkpoints are whole",
		Long: `Say whether checkpoints are whole: every file of every retained checkpoint must be on storage with the right size, and each
_metadata must be the one that the journal means, with right sums.

With --read-data it reads the files, each once, and checks all their sums; with --read-data-subset a part of the files: 5% takes others
each time, 2/7 the second of seven parts, so that seven runs read everything. Nothing is written, and no daemon is needed. With --server
it reads the root of that daemon.

If something is damaged, it says which checkpoint, whose state, which file, and which older checkpoint of the job is whole. A running job
drops checkpoints; one that was dropped meanwhile is not damaged.

Exit codes: 0 all is whole, 4 something is damaged, 1 the store failed and nothing is known of what could not be read, 3 not all could be
looked at.`,
		Example: `  ckptd verify file:///var/lib/ckptd
  ckptd verify ./data/clicks --read-data
  ckptd verify ./data/clicks/chk-42 --read-data-subset 2/7
  ckptd verify ./data --read-data-subset 5% --json | jq -r '.jobs[].checkpoints[].verdict'`,
		Args:              wantArgs(1, 1),
		ValidArgsFunction: completeCheckpoints,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if subset != "" {
				if opts.Subset, err = verify.ParseSubset(subset, rand.Uint64()); err != nil {
					return exit.Usagef("verify: %w", err)
				}
				opts.ReadData = true
			}
			if opts.Parallel < 1 {
				return exit.Usagef("verify: --parallel %d: want at least 1", opts.Parallel)
			}
			report, err := runVerify(cmd, args[0], opts)
			if err != nil {
				return err
			}
			if wantsJSON(cmd) {
				err = printJSON(cmd.OutOrStdout(), report)
			} else {
				err = printVerify(cmd.OutOrStdout(), report)
			}
			if err != nil {
				return err
			}
			return judgeVerify(report)
		},
	}
	cmd.Flags().BoolVar(&opts.ReadData, "read-data", false, "read the files and check all their sums")
	cmd.Flags().StringVar(&subset, "read-data-subset", "", "read a `part` of the files: 5% or 2/7")
	cmd.Flags().IntVar(&opts.Parallel, "parallel", verify.Parallel, "read so many files at once")
	serverFlags(cmd)
	jsonFlag(cmd, "VerifyReport")
	return cmd
}

// runVerify verifies what an argument means.
func runVerify(cmd *cobra.Command, arg string, opts verify.Options) (report *ckptdv1.VerifyReport, err error) {
	ctx := cmd.Context()
	t, err := openAny(ctx, daemonsOf(cmd), arg)
	if err == nil {
		t, err = t.onStorage(ctx)
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	opts.Job, opts.Checkpoint, opts.Progress = t.job, t.id, &verify.Progress{}
	stop := showProgress(cmd.ErrOrStderr(), "verify", opts.Progress)
	defer stop()
	if l, ok := t.view.(*loose); ok {
		return verify.Folder(ctx, t.store, l.folder, arg, opts)
	}
	return verify.Run(ctx, t.store, opts)
}

// openAny resolves an argument that may be a root, a job or a checkpoint.
func openAny(ctx context.Context, at daemons, arg string) (*target, error) {
	if at.isID(arg) {
		if strings.Contains(arg, "/") {
			return openCheckpoint(ctx, at, arg)
		}
		return openJob(ctx, at, arg)
	}
	place, err := drivers.Normal(arg)
	if err != nil {
		return nil, err
	}
	if _, last := drivers.CutLast(place); last == layout.MetadataName {
		return openCheckpoint(ctx, at, arg)
	}
	t, rootErr := openRootOrJob(ctx, at, arg)
	if rootErr == nil && isCheckpointOf(t) {
		rootErr = errors.Join(layout.ErrNotRoot, t.close())
	}
	if rootErr == nil || !absent(rootErr) {
		return t, rootErr
	}
	t, err = openCheckpoint(ctx, at, arg)
	if err != nil {
		return nil, fmt.Errorf("%q is no root, no job and no checkpoint: %w", arg, errors.Join(rootErr, err))
	}
	if l, ok := t.view.(*loose); ok {
		if _, err := t.store.Stat(ctx, l.folder+"/"+layout.MetadataName); err != nil {
			return nil, errors.Join(fmt.Errorf("%w; it holds no _metadata either: %w", rootErr, err), t.close())
		}
	}
	return t, nil
}

// isCheckpointOf reports whether the job of a target is a checkpoint's folder: below a root that lies in a job's place.
func isCheckpointOf(t *target) bool {
	_, err := layout.ParseCheckpointDir(t.job)
	return err == nil
}

func printVerify(w io.Writer, r *ckptdv1.VerifyReport) error {
	checkpoints := 0
	for _, j := range r.GetJobs() {
		if text := j.GetText(); text != "" {
			fmt.Fprintf(w, "%s: %s: %s\n", output.Clean(j.GetJobId()), verdictText(j.GetVerdict()), output.Clean(text))
		}
		checkpoints += len(j.GetCheckpoints())
	}
	if checkpoints == 0 {
		_, err := fmt.Fprintln(w, "no checkpoints")
		return err
	}
	t := output.NewTable(w)
	t.Row("CHECKPOINT", "JOURNAL", "FILES", "STATE IN FILES", "VERDICT")
	for _, j := range r.GetJobs() {
		for _, c := range j.GetCheckpoints() {
			t.Row(c.GetPath(), stateText(c.GetState()), c.GetFiles(), output.Bytes(c.GetBytes()), verdictText(c.GetVerdict()))
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, j := range r.GetJobs() {
		for _, c := range j.GetCheckpoints() {
			printDamaged(w, j.GetJobId(), c)
		}
	}
	_, err := fmt.Fprintln(w, "\n"+endLine(r, checkpoints))
	return err
}

// endLine sums up a verification.
func endLine(r *ckptdv1.VerifyReport, checkpoints int) string {
	took := r.GetTook().AsDuration()
	line := fmt.Sprintf("checkpoints: %d, jobs: %d, files: %d of %s", checkpoints, len(r.GetJobs()), r.GetFiles(), output.Bytes(r.GetBytes()))
	if !r.GetReadData() {
		return line + ", in " + output.Duration(r.GetTook()) + "; their bytes were not read: --read-data checks them"
	}
	of := ""
	if s := r.GetReadDataSubset(); s != "" {
		of = " (" + s + ")"
	}
	return fmt.Sprintf("%s; read: %s%s of %s, in %s: %s", line, output.Count(r.GetFilesRead(), "file"), of, output.Bytes(r.GetBytesRead()), output.Duration(r.GetTook()), rateOf(r.GetBytesRead(), took))
}

// printDamaged says what is wrong with a checkpoint.
func printDamaged(w io.Writer, job string, c *ckptdv1.VerifiedCheckpoint) {
	v := c.GetVerdict()
	if v == ckptdv1.VerifyVerdict_VERIFY_VERDICT_WHOLE && c.GetText() == "" {
		return
	}
	line := c.GetPath() + ": " + verdictText(v)
	if ops := verify.Operators(c.GetDamages()); len(ops) > 0 {
		line += "; it hits the state of " + strings.Join(ops, ", ")
	}
	if c.GetText() != "" {
		line += ": " + c.GetText()
	}
	fmt.Fprintf(w, "\n%s\n", output.Clean(line))
	printDamages(w, c.GetDamages(), c.GetDamagesTotal())
	if v != ckptdv1.VerifyVerdict_VERIFY_VERDICT_DAMAGED || job == "" {
		return
	}
	if older := c.GetOlderWholeCheckpointId(); older != 0 {
		fmt.Fprintf(w, "  the newest older checkpoint that is whole: %s/%s\n", job, layout.CheckpointDir(older))
	} else {
		fmt.Fprintln(w, "  no older checkpoint of the job is whole")
	}
}

func printDamages(w io.Writer, damages []*ckptdv1.Damage, total uint64) {
	for _, d := range damages {
		line := d.GetKey() + ": " + strings.TrimPrefix(output.Enum(d.GetKind(), "DAMAGE_KIND_"), "metadata ")
		if d.GetText() != "" && d.GetText() != output.Enum(d.GetKind(), "DAMAGE_KIND_") {
			line += ": " + d.GetText()
		}
		if d.GetLength() > 0 {
			line += fmt.Sprintf(" [%d:%d]", d.GetOffset(), d.GetOffset()+d.GetLength())
		}
		fmt.Fprintf(w, "  %s\n", output.Clean(line))
		if text := usesText(d.GetStates(), d.GetStatesTotal()); text != "" {
			fmt.Fprintf(w, "    state: %s\n", output.Clean(text))
		}
	}
	if n := total - uint64(len(damages)); n > 0 {
		fmt.Fprintf(w, "  … and %d more\n", n)
	}
}

// usesText names pieces of state: operator, subtask, kind and name.
func usesText(states []*ckptdv1.StateUse, total uint32) string {
	var texts []string
	for _, s := range states {
		name := s.GetOperatorUid()
		if name == "" {
			name = s.GetSubtask().GetOperatorId()
		}
		text := fmt.Sprintf("%s, subtask %d, %s", name, s.GetSubtask().GetIndex(), output.Enum(s.GetState().GetKind(), "STATE_KIND_"))
		if n := s.GetState().GetName(); n != "" {
			text += " " + n
		}
		texts = append(texts, text)
	}
	if n := int(total) - len(states); n > 0 {
		texts = append(texts, fmt.Sprintf("%d more", n))
	}
	return strings.Join(texts, "; ")
}

func verdictText(v ckptdv1.VerifyVerdict) string {
	if v == ckptdv1.VerifyVerdict_VERIFY_VERDICT_DAMAGED {
		return "DAMAGED"
	}
	return output.Enum(v, "VERIFY_VERDICT_")
}

func stateText(s ckptdv1.CheckpointState) any {
	if s == ckptdv1.CheckpointState_CHECKPOINT_STATE_UNSPECIFIED {
		return "-"
	}
	return output.Enum(s, "CHECKPOINT_STATE_")
}

// judgeVerify turns the verdict into the exit code.
func judgeVerify(r *ckptdv1.VerifyReport) error {
	count := map[ckptdv1.VerifyVerdict]int{}
	cause, all := "", 0
	for _, j := range r.GetJobs() {
		if len(j.GetCheckpoints()) == 0 && j.GetText() != "" {
			count[j.GetVerdict()]++
			cause = j.GetText()
		}
		for _, c := range j.GetCheckpoints() {
			all++
			count[c.GetVerdict()]++
			for _, d := range c.GetDamages() {
				if d.GetKind() == ckptdv1.DamageKind_DAMAGE_KIND_UNREADABLE {
					cause = d.GetKey() + ": " + d.GetText()
				}
			}
		}
	}
	unreadable := count[ckptdv1.VerifyVerdict_VERIFY_VERDICT_UNREADABLE]
	switch v := r.GetVerdict(); v {
	case ckptdv1.VerifyVerdict_VERIFY_VERDICT_DAMAGED:
		text := fmt.Sprintf("verify: damaged: %d of %s", count[v], output.Count(max(all, count[v]), "checkpoint or journal", "checkpoints or journals"))
		if unreadable > 0 {
			text += fmt.Sprintf("; not readable: %d", unreadable)
		}
		return exit.With(exit.Damage, errors.New(text))
	case ckptdv1.VerifyVerdict_VERIFY_VERDICT_UNREADABLE:
		return exit.With(exit.Failed, fmt.Errorf("verify: the store did not give everything, so nothing is known of %s: %s", output.Count(unreadable, "checkpoint or journal", "checkpoints or journals"), output.Clean(cause)))
	case ckptdv1.VerifyVerdict_VERIFY_VERDICT_PART:
		return exit.With(exit.Part, errors.New("verify: not all could be looked at"))
	}
	return nil
}
