package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/cmd/ckptd/demo/recount"
	"github.com/ckptd/ckptd/cmd/ckptd/drivers"
	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/cmd/ckptd/launch"
	"github.com/ckptd/ckptd/cmd/ckptd/output"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/catalog"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/runtime/filesink"
)

// topUsers is how many users the ranking has.
const topUsers = 5

// Verdict compares the sink's lines with the recount, and prints it.
func (d *Demo) Verdict() (exact bool, err error) {
	before, err := d.lineage()
	if err != nil {
		return false, err
	}
	v, err := recount.Check(d.want, d.linesOf(before...), d.linesOf(d.Params.OutputName))
	if err != nil {
		return false, err
	}
	n := d.say
	n.Line("")
	n.Line("%s", v)
	for _, p := range v.Problems {
		n.Line("  %s", p)
	}
	n.Line("  %s of %s clicks were by users logged in%s", launch.Grouped(d.want.Total()), launch.Grouped(d.total), unparsable(d.skipped))
	d.saySkipped("  ")
	n.Line("  %d of %s; %s, %s", d.Struck, output.Count(len(d.Kills), "kill"), output.Count(d.Watch.Attempt-d.Watch.before, "attempt"), output.Count(d.Watch.Epoch-d.Watch.before, "epoch"))
	if d.Struck < len(d.Kills) {
		n.Line("  the input ended before the other kills could count: give them more time with a smaller --rate, or a shorter --interval")
	}
	if d.o.Output != "" {
		n.Line("  counts: %s-*.csv", output.ShellWord(filepath.Join(d.Params.Output, d.Params.OutputName)))
	}
	n.Line("")
	n.Line("most clicks")
	t := output.NewTable(n.Out())
	for _, u := range d.want.Top(topUsers) {
		t.Row("", launch.Grouped(u.Count), u.User)
	}
	return v.Exact(), t.Flush()
}

// linesOf reads the lines that the sinks of jobs have published.
func (d *Demo) linesOf(jobs ...string) func(f func(user, count []byte) error) error {
	return func(f func(user, count []byte) error) error {
		for _, job := range jobs {
			if err := filesink.ReadLines(d.Params.Output, job, f); err != nil {
				return err
			}
		}
		return nil
	}
}

// lineage is the jobs before this one: the job whose checkpoint it goes on from, the job that one began from, and so on, also in other
// roots.
func (d *Demo) lineage() (jobs []string, err error) {
	for from := d.o.From; from != ""; {
		inJob, folder := drivers.CutLast(from)
		root, job := drivers.CutLast(inJob)
		if _, err := layout.ParseCheckpointDir(folder); err != nil { // a savepoint; it is gone, if this job has claimed it
			if root, job = d.Root, d.savedJob; from != d.o.From {
				if job, err = savepointOf(context.Background(), from); err != nil {
					return nil, err
				}
			}
		}
		if slices.Contains(jobs, job) {
			break
		}
		jobs = append(jobs, job)
		if from, err = begun(context.Background(), root, job); err != nil {
			return nil, err
		}
	}
	return jobs, nil
}

// begun is the URL of the checkpoint that a job began from; empty: it began at zero, or nothing is known of it.
func begun(ctx context.Context, root, job string) (from string, err error) {
	opened, err := drivers.Open(ctx, root, true)
	if err != nil {
		return "", err
	}
	defer opened.Close()
	head, err := catalog.Head(ctx, opened.Store, job)
	switch {
	case errors.Is(err, catalog.ErrNoJob):
		return "", nil
	case err != nil:
		return "", err
	case head.Import.Job != "": // in the same root: of a copied job the source may be named in the root of the original
		return drivers.Below(root, head.Import.Job+"/"+layout.CheckpointDir(head.Import.Checkpoint)), nil
	}
	return head.Import.Source, nil
}

// checkpoints prints which checkpoints are kept, and the commands that show them.
func (d *Demo) checkpoints(ctx context.Context) {
	if d.inMemory() {
		d.say.Line("")
		d.say.Line("no checkpoint is kept: the job's state was in the memory of the daemon")
		return
	}
	kept, err := d.kept(ctx)
	n := d.say
	n.Line("")
	switch {
	case err != nil:
		n.Line("which checkpoints are kept cannot be read now: %v", err)
	case len(kept) == 0:
		n.Line("no checkpoint is kept, as the configuration says")
	default:
		n.Line("checkpoints kept")
		t := output.NewTable(n.Out())
		for _, c := range kept {
			t.Row("", drivers.Below(d.Root, c.GetPath()), output.Bytes(c.GetStateBytes()), output.Bytes(c.GetNewBytes())+" new", output.Time(c.GetCompletedAt()))
		}
		_ = t.Flush() // errors are ignored as for other lines: the job has not failed if the terminal is gone
	}
	n.Line("")
	n.Line("look at the job")
	n.Line("  %s ls %s", launch.Program(), output.ShellWord(drivers.Below(d.Root, d.ID)))
	if len(kept) > 0 {
		last := output.ShellWord(drivers.Below(d.Root, kept[len(kept)-1].GetPath()))
		n.Line("  %s show %s", launch.Program(), last)
		n.Line("  %s files %s", launch.Program(), last)
	}
	n.Line("  %s journal show %s", launch.Program(), output.ShellWord(drivers.Below(d.Root, d.ID)))
	if len(kept) > 0 && d.o.Keep {
		n.Line("")
		n.Line("go on from a checkpoint, as a new job")
		n.Line("  %s demo -s %s%s", launch.Program(), output.ShellWord(drivers.Below(d.Root, kept[len(kept)-1].GetPath())), d.sameInput())
	}
	if usual, err := drivers.Normal(DefaultRoot()); err == nil && d.Root == usual {
		n.Line("")
		n.Line("remove the checkpoints of all demos")
		n.Line("  %s demo --clean", launch.Program())
	}
}

// sameInput is the flags with which a later run reads the same input, as far as they are not the defaults.
func (d *Demo) sameInput() string {
	var flags strings.Builder
	add := func(changed bool, format string, args ...any) {
		if changed {
			fmt.Fprintf(&flags, " "+format, args...)
		}
	}
	add(d.o.Input != "", "--input %s", output.ShellWord(d.o.Input))
	add(d.o.Input == "" && d.o.Records != DefaultRecords, "--records %d", d.o.Records)
	add(d.o.Input == "" && d.o.Users != DefaultUsers, "--users %d", d.o.Users)
	add(d.o.Seed != DefaultSeed, "--seed %d", d.o.Seed)
	add(d.o.Parallelism != NumWorkers, "--parallelism %d", d.o.Parallelism)
	add(d.o.Output != OutputFolder(), "--output %s", output.ShellWord(d.Params.Output))
	return flags.String()
}

// kept is the retained checkpoints of the journal, read from the bare root.
func (d *Demo) kept(ctx context.Context) ([]*ckptdv1.CheckpointSummary, error) {
	opened, err := drivers.Open(ctx, d.Root, true)
	if err != nil {
		return nil, err
	}
	defer opened.Close()
	list, err := catalog.New(opened.Store).Checkpoints(ctx, d.ID)
	if errors.Is(err, catalog.ErrNoJob) {
		return nil, nil
	}
	return list.GetCheckpoints(), err
}

// end stops all processes, and removes all files that are not to be kept. It returns the final error of the run.
func (d *Demo) end(ctx context.Context, err error) error {
	if d.launch != nil {
		err = errors.Join(err, d.Stop(context.WithoutCancel(ctx)))
	}
	switch {
	case ctx.Err() != nil && (d.final == 0 || !d.o.Keep):
		err = exit.With(exit.Interrupted, d.interrupted(context.WithoutCancel(ctx)))
	case err != nil && d.launch != nil:
		return errors.Join(fmt.Errorf("%w\nkept for a look: %s", err, output.ShellWord(d.Tmp)), launch.KeepScratch(d.Tmp), d.lock.Close())
	}
	if d.Tmp == "" {
		return err
	}
	return errors.Join(err, os.RemoveAll(d.Tmp), d.lock.Close())
}

// Stop ends all processes. None is left when it returns.
func (d *Demo) Stop(ctx context.Context) error {
	if d.launch == nil {
		return nil
	}
	err := d.client.Close()
	d.launch.Stop(ctx)
	return err
}

// interrupted is the error after Ctrl-C. It says what the demo leaves behind.
func (d *Demo) interrupted(ctx context.Context) error {
	if d.launch == nil {
		return errors.New("demo: interrupted; no process is left, no checkpoint was complete")
	}
	if kept, err := d.kept(ctx); err == nil && len(kept) == 0 {
		return errors.New("demo: interrupted; no process is left, no checkpoint was complete")
	}
	d.checkpoints(ctx)
	return fmt.Errorf("demo: interrupted; no process is left; the checkpoints of job %s are kept", d.ID)
}

// Clean removes the default root, and what killed and failed runs have left.
func Clean(ctx context.Context, out io.Writer) error {
	launch.ClearAll()
	dir := DefaultRoot()
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		_, err := fmt.Fprintf(out, "nothing to remove: there is no %s\n", output.Clean(dir))
		return err
	}
	opened, err := drivers.Open(ctx, dir, true)
	if err != nil {
		return err
	}
	defer opened.Close()
	if _, err := layout.ReadRoot(ctx, opened.Store); err != nil {
		return exit.With(exit.Damage, fmt.Errorf("demo: %s is not removed: %w", dir, err))
	}
	jobs, err := catalog.New(opened.Store).Jobs(ctx)
	if err != nil {
		return err
	}
	for _, j := range jobs.GetJobs() {
		if url := answers(ctx, j); url != "" {
			return exit.With(exit.Damage, fmt.Errorf(
				"demo: %s is not removed: the daemon at %s is at work on job %s; end that demo first", dir, url, j.GetJobId()))
		}
	}
	if err := errors.Join(os.RemoveAll(dir), os.RemoveAll(OutputFolder())); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	_, err = fmt.Fprintf(out, "removed %s with %s\n", output.Clean(dir), output.Count(len(jobs.GetJobs()), "job"))
	return err
}

// answers returns the URL at which the owner of a job answers; empty: no owner answers.
func answers(ctx context.Context, j *ckptdv1.JobSummary) string {
	for _, url := range j.GetOwnerUrls() {
		c, err := client.New([]string{url})
		if err != nil {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		_, err = c.Admin().Status(ctx)
		cancel()
		c.Close()
		if err == nil {
			return url
		}
	}
	return ""
}
