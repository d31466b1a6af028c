package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/cmd/ckptd/output"
	"github.com/ckptd/ckptd/layout/copying"
	"github.com/ckptd/ckptd/layout/journalio"
	"github.com/ckptd/ckptd/layout/verify"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// copyFlags are the flags of copy.
type copyFlags struct {
	opts   copying.Options
	follow bool
	every  time.Duration
	listen string
}

func newCopyCmd(steps func(step string)) *cobra.Command {
	f := copyFlags{opts: copying.Options{Step: steps, Claims: &copying.Claims{}}}
	cmd := &cobra.Command{
		Use:   "copy SRC DST",
		Short: "Copy checkpoints into another root, as far as they are not there",
		Long: `Copy the checkpoints of a root, a job or one checkpoint into another root, of any kind of store. DST is a root; an empty place becomes one.
Only files that DST lacks travel, by name and size; each sum is checked on the way. Within one store, the store copies by itself where it can.

Each job comes under its own id, with the status copied: a new job can begin from its checkpoints there, and verify looks at them as at any
others. A job id that DST has from elsewhere is refused. Ctrl-C, or a crash, leaves a valid copy of what has arrived: the newest checkpoint
comes first, and the same command goes on.

With --self-contained each checkpoint gets its own copy of all its files in its own folder, so that the folder alone can be restored.
With --follow the newest checkpoint is copied again and again, until Ctrl-C; what the source has dropped since leaves the copy.

While it runs, copy answers daemons of DST at --listen, so that they leave the copy alone.

Exit codes: 0 all is there, 1 a store failed, 3 done in part: the same command goes on, 4 a checkpoint of SRC is damaged, or refused for safety.`,
		Example: `  ckptd copy file:///var/lib/ckptd ./copies --dry-run
  ckptd copy file:///var/lib/ckptd/clicks ./copies
  ckptd copy ./data/clicks/chk-42 ./alone --self-contained
  ckptd copy clicks ./copies --server unix:/run/ckptd.sock --json | jq -r '.jobs[].checkpoints[].outcome'`,
		Args:              wantArgs(2, 2),
		ValidArgsFunction: completeCopy,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case f.opts.Parallel < 1:
				return exit.Usagef("copy: --parallel %d: want at least 1", f.opts.Parallel)
			case f.follow && f.opts.DryRun:
				return exit.Usagef("copy: --follow and --dry-run exclude each other")
			case f.follow && f.every <= 0:
				return exit.Usagef("copy: --every %s: want a positive time", f.every)
			}
			return runCopy(cmd, args[0], args[1], f)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.opts.SelfContained, "self-contained", false, "give each checkpoint its own copy of all its files")
	flags.BoolVar(&f.follow, "follow", false, "keep a warm copy of the newest checkpoint, until Ctrl-C")
	flags.DurationVar(&f.every, "every", 5*time.Second, "with --follow: how often to look for a newer one")
	flags.BoolVar(&f.opts.DryRun, "dry-run", false, "write nothing; say what would be copied")
	flags.IntVar(&f.opts.Parallel, "parallel", copying.Parallel, "copy so many files at once")
	flags.StringVar(&f.listen, "listen", "127.0.0.1:0", "`address` at which daemons of DST find out that a copy is under way: HOST:PORT or unix:PATH")
	commandLineOnly(flags, "parallel", "listen")
	serverFlags(cmd)
	jsonFlag(cmd, "CopyReport")
	return cmd
}

func runCopy(cmd *cobra.Command, src, dst string, f copyFlags) (err error) {
	ctx := cmd.Context()
	ends, err := openCopy(ctx, daemonsOf(cmd), src, dst, f.opts.DryRun)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ends.close()) }()
	f.opts.Job, f.opts.Checkpoint = ends.job, ends.checkpoint
	if f.follow {
		if f.opts.Checkpoint != 0 {
			return exit.Usagef("copy %s: --follow wants a root or a job, not one checkpoint", output.Argument(src))
		}
		f.opts.Newest = true
	}
	if !f.opts.DryRun {
		stop, err := answerForCopy(ctx, cmd, f.listen, &ends.to, &f.opts)
		if err != nil {
			return err
		}
		defer stop()
		source := &heldSource{url: ends.source}
		defer func() { err = errors.Join(err, source.close()) }()
		f.opts.Hold = source.hold
	}
	if f.follow {
		return followCopy(ctx, cmd, ends, f)
	}
	f.opts.Progress = &verify.Progress{}
	stop := showProgress(cmd.ErrOrStderr(), "copy", f.opts.Progress)
	report, err := ends.run(ctx, f.opts)
	stop()
	if err != nil {
		return err
	}
	if err := tellCopy(cmd, report); err != nil {
		return err
	}
	return judgeCopy(report)
}

// followCopy copies the newest checkpoint whenever there is a newer one. A store that fails is tried again.
func followCopy(ctx context.Context, cmd *cobra.Command, ends *copyEnds, f copyFlags) error {
	last := ""
	for {
		report, err := ends.run(ctx, f.opts)
		if ctx.Err() != nil {
			return nil // Ctrl-C is how a copy that follows ends
		}
		if err != nil {
			return err
		}
		if changed(report) {
			if err := tellCopy(cmd, report); err != nil {
				return err
			}
			last = ""
		}
		judged := judgeCopy(report)
		var status *exit.Error
		if errors.As(judged, &status) && status.Code == exit.Damage {
			return judged
		}
		if judged != nil && judged.Error() != last {
			last = judged.Error()
			fmt.Fprintf(cmd.ErrOrStderr(), "ckptd: %s; trying again\n", output.Clean(last))
		}
		if !journalio.Sleep(ctx, f.every) {
			return nil
		}
	}
}

// changed tells whether a round of --follow did anything.
func changed(r *ckptdv1.CopyReport) bool {
	if r.GetFilesDeleted() > 0 {
		return true
	}
	for _, j := range r.GetJobs() {
		for _, c := range j.GetCheckpoints() {
			if c.GetOutcome() == ckptdv1.CopyOutcome_COPY_OUTCOME_COPIED {
				return true
			}
		}
	}
	return false
}

func tellCopy(cmd *cobra.Command, r *ckptdv1.CopyReport) error {
	if wantsJSON(cmd) {
		return printJSON(cmd.OutOrStdout(), r)
	}
	return printCopy(cmd.OutOrStdout(), r)
}

func printCopy(w io.Writer, r *ckptdv1.CopyReport) error {
	checkpoints := 0
	for _, j := range r.GetJobs() {
		if j.GetText() != "" {
			fmt.Fprintf(w, "%s: %s\n", output.Clean(j.GetJobId()), output.Clean(j.GetText()))
		}
		checkpoints += len(j.GetCheckpoints())
	}
	if checkpoints > 0 {
		t := output.NewTable(w)
		t.Row("CHECKPOINT", "OUTCOME", "FILES", "STATE IN FILES", "NEW FILES", "NEW BYTES")
		for _, j := range r.GetJobs() {
			for _, c := range j.GetCheckpoints() {
				t.Row(c.GetPath(), copyOutcome(c.GetOutcome()), c.GetFiles(), output.Bytes(c.GetBytes()), c.GetFilesCopied(), output.Bytes(c.GetBytesCopied()))
			}
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	for _, j := range r.GetJobs() {
		for _, c := range j.GetCheckpoints() {
			if c.GetText() != "" {
				fmt.Fprintf(w, "%s: %s\n", c.GetPath(), output.Clean(c.GetText()))
			}
		}
		if d := j.GetDroppedCheckpointIds(); len(d) > 0 {
			fmt.Fprintf(w, "%s: dropped from the copy: %s\n", j.GetJobId(), strings.Trim(fmt.Sprint(d), "[]"))
		}
	}
	_, err := fmt.Fprintln(w, copyLine(r))
	return err
}

// copyLine sums up a copy.
func copyLine(r *ckptdv1.CopyReport) string {
	verb := "copied"
	if r.GetDryRun() {
		verb = "to be copied"
	}
	line := fmt.Sprintf("%s: %s of %s; there before: %s of %s", verb, output.Count(r.GetFilesCopied(), "file"), output.Bytes(r.GetBytesCopied()),
		output.Count(r.GetFilesPresent(), "file"), output.Bytes(r.GetBytesPresent()))
	if n := r.GetBytesWithinStore(); n > 0 {
		line += "; by the store itself: " + output.Bytes(n)
	}
	if n := r.GetFilesDeleted(); n > 0 {
		line += fmt.Sprintf("; deleted, as nothing names them any more: %s", output.Count(n, "file"))
	}
	if r.GetDryRun() {
		return line
	}
	return line + fmt.Sprintf("; in %s: %s", output.Duration(r.GetTook()), rateOf(r.GetBytesCopied(), r.GetTook().AsDuration()))
}

func copyOutcome(o ckptdv1.CopyOutcome) string {
	if o == ckptdv1.CopyOutcome_COPY_OUTCOME_DAMAGED {
		return "DAMAGED"
	}
	return output.Enum(o, "COPY_OUTCOME_")
}

// judgeCopy turns the report into the exit code.
func judgeCopy(r *ckptdv1.CopyReport) error {
	count := map[ckptdv1.CopyOutcome]int{}
	cause := ""
	for _, j := range r.GetJobs() {
		if j.GetOutcome() > ckptdv1.CopyOutcome_COPY_OUTCOME_LEFT && j.GetText() != "" {
			count[j.GetOutcome()]++
			cause = j.GetJobId() + ": " + j.GetText()
		}
		for _, c := range j.GetCheckpoints() {
			count[c.GetOutcome()]++
			if c.GetOutcome() > ckptdv1.CopyOutcome_COPY_OUTCOME_LEFT {
				cause = c.GetPath() + ": " + c.GetText()
			}
		}
	}
	good := count[ckptdv1.CopyOutcome_COPY_OUTCOME_COPIED] + count[ckptdv1.CopyOutcome_COPY_OUTCOME_PRESENT]
	cause = output.Clean(cause)
	switch {
	case count[ckptdv1.CopyOutcome_COPY_OUTCOME_DAMAGED] > 0:
		return exit.With(exit.Damage, fmt.Errorf("copy: damaged: %d; the last: %s", count[ckptdv1.CopyOutcome_COPY_OUTCOME_DAMAGED], cause))
	case count[ckptdv1.CopyOutcome_COPY_OUTCOME_REFUSED] > 0:
		return exit.With(exit.Damage, fmt.Errorf("copy: refused: %d; the last: %s", count[ckptdv1.CopyOutcome_COPY_OUTCOME_REFUSED], cause))
	case count[ckptdv1.CopyOutcome_COPY_OUTCOME_FAILED] > 0 && good > 0:
		return exit.With(exit.Part, fmt.Errorf("copy: done in part: the same command goes on; the last cause: %s", cause))
	case count[ckptdv1.CopyOutcome_COPY_OUTCOME_FAILED] > 0:
		return exit.With(exit.Failed, fmt.Errorf("copy: failed: %s", cause))
	case count[ckptdv1.CopyOutcome_COPY_OUTCOME_LEFT] > 0 && good == 0:
		return exit.With(exit.Part, errors.New("copy: the source dropped every checkpoint while it was copied: run the same command again, or retain more checkpoints"))
	}
	return nil
}
