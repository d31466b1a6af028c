package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/cmd/ckptd/output"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/journalio"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/retention"
	"github.com/ckptd/ckptd/service/api"
	"github.com/ckptd/ckptd/service/owner"
	"github.com/ckptd/ckptd/service/shell"
)

// forgetter is one run of forget.
type forgetter struct {
	rules        retention.Rules
	within       durationFlag
	tags, labels []string
	groupBy      string
	yes, now     bool
	prune        bool
	heads        map[string]*journal.Entry
	report       *ckptdv1.ForgetReport
	stuck        map[string]bool
	// collects are the jobs that are collected in any case: an interrupted command may have changed them.
	collects []string
	// uncollected are the jobs that were changed and could not be collected, with the reason.
	uncollected []string
	// newest are the checkpoints that stay as the newest of their lineage, in groups of which something is removed.
	newest []retention.Candidate
}

func newForgetCmd() *cobra.Command {
	f := &forgetter{}
	cmd := &cobra.Command{
		Use:   "forget [ROOT | JOB]",
		Short: "Remove checkpoints by rules; a plan only, unless --yes",
		Long: `Remove the kept checkpoints that no rule keeps, of one job or over all jobs of a root. --keep-last 3 keeps the three newest, --keep-daily 7 the
newest of each of the last seven days in which there is one, and so on; -1 keeps all that a rule counts. A rule that has a number left keeps the
oldest checkpoint, too. Days begin at midnight UTC. The rules apply to each group of jobs: by default those with the same label name.

Whatever the rules say, the newest checkpoint of each lineage of jobs stays, and what a person (` + "`ckptd undelete`" + `) or another job wants. Rules that
keep nothing are refused. What is removed goes into the trash of its job, as with ` + "`ckptd rm`" + `. Ctrl-C is safe at any moment: the same command
goes on.

` + byWhom + `

Exit codes: 0 done or planned, 3 some jobs could not be changed or collected, 1 failed, 2 no rule.`,
		Example: `  ckptd forget file:///var/lib/ckptd --keep-last 3 --keep-daily 7
  ckptd forget ./data --label name=clicks --keep-within 30d --keep-tag release --json | jq .removed
  ckptd forget ./data/ended --keep-last 1 --yes --prune`,
		Args:              wantArgs(0, 1),
		ValidArgsFunction: completeJobs,
		RunE:              func(cmd *cobra.Command, args []string) error { return f.run(cmd, strings.Join(args, "")) },
	}
	flags := cmd.Flags()
	for _, r := range []struct {
		name string
		n    *int
		what string
	}{
		{"last", &f.rules.Last, "`n` newest checkpoints"}, {"hourly", &f.rules.Hourly, "newest of each of the last `n` hours"},
		{"daily", &f.rules.Daily, "newest of each of the last `n` days"}, {"weekly", &f.rules.Weekly, "newest of each of the last `n` weeks"},
		{"monthly", &f.rules.Monthly, "newest of each of the last `n` months"}, {"yearly", &f.rules.Yearly, "newest of each of the last `n` years"},
	} {
		flags.IntVar(r.n, "keep-"+r.name, 0, "keep the "+r.what)
	}
	flags.Var(&f.within, "keep-within", "keep what is at most that much older than the newest: `30d`")
	flags.StringArrayVar(&f.tags, "keep-tag", nil, "keep what has this `tag`; TAG,TAG: all of them (repeatable)")
	flags.StringArrayVar(&f.labels, "label", nil, "only jobs with this `LABEL=VALUE` (repeatable)")
	flags.StringVar(&f.groupBy, "group-by", "name", "the `label` by which jobs are grouped, or job: each by itself; empty: all together")
	flags.BoolVar(&f.yes, "yes", false, "remove; without it, only the plan is shown")
	flags.BoolVar(&f.now, "now", false, "do not use the trash")
	commandLineOnly(flags, "label", "yes", "now")
	flags.BoolVar(&f.prune, "prune", false, "also collect the jobs that were changed, as gc does, and those that have ended or that nobody owns")
	trashFlag(cmd)
	takeOverFlag(cmd)
	serverFlags(cmd)
	jsonFlag(cmd, "ForgetReport")
	return cmd
}

// check refuses rules that make no sense.
func (f *forgetter) check() error {
	f.rules.Within = f.within.value()
	for _, t := range f.tags {
		f.rules.Tags = append(f.rules.Tags, strings.Split(t, ","))
	}
	for _, n := range []int{f.rules.Last, f.rules.Hourly, f.rules.Daily, f.rules.Weekly, f.rules.Monthly, f.rules.Yearly} {
		if n < -1 {
			return exit.Usagef("forget: a number of checkpoints is -1 or more, not %d", n)
		}
	}
	for _, l := range f.labels {
		if key, _, ok := strings.Cut(l, "="); !ok || key == "" {
			return exit.Usagef("forget: --label %s: want LABEL=VALUE, as name=clicks", output.Argument(l))
		}
	}
	if f.rules.Empty() {
		return exit.Usagef("forget: no rule keeps anything: give one, as --keep-last 3; `ckptd rm` removes all that a job keeps")
	}
	return nil
}

func (f *forgetter) run(cmd *cobra.Command, arg string) (err error) {
	if err := f.check(); err != nil {
		return err
	}
	t, err := openRootOrJob(cmd.Context(), daemonsOf(cmd), arg)
	if err == nil {
		t, err = t.onStorage(cmd.Context())
	}
	if err != nil {
		return err
	}
	root, job := t.root, t.job
	t.job = "" // the lineage decides what the newest is, so all jobs count
	heads, bad, err := readHeads(cmd, t)
	if err = errors.Join(err, t.close()); err != nil {
		return err
	}
	for _, b := range bad {
		return fmt.Errorf("forget: job %s: %w; while a journal cannot be read, the newest of a lineage is not known", b.job, b.err)
	}
	f.plan(heads, job)
	if f.yes {
		if err := f.execute(cmd, root); err != nil {
			return err
		}
	}
	if err := answer(cmd, f.report, func(w io.Writer) { f.print(w) }); err != nil {
		return err
	}
	if len(f.uncollected) > 0 {
		return exit.With(exit.Part, fmt.Errorf("forget: removed, but not collected: %s", strings.Join(f.uncollected, "; ")))
	}
	if len(f.stuck) > 0 {
		return exit.With(exit.Part, fmt.Errorf("forget: %s could not be changed", output.Count(len(f.stuck), "job")))
	}
	return nil
}

// plan applies the rules to each group. job: only this one is meant; empty: all that have the labels.
func (f *forgetter) plan(heads []*journal.Entry, job string) {
	f.heads, f.report, f.stuck = map[string]*journal.Entry{}, &ckptdv1.ForgetReport{Executed: f.yes}, map[string]bool{}
	lines := make([]retention.Line, len(heads))
	for i, h := range heads {
		f.heads[h.About.Job] = h
		lines[i] = retention.Line{Job: h.About.Job, From: h.Import.Job, Restorable: h.Newest() != 0}
	}
	ends := retention.Ends(lines)
	groups := map[string][]retention.Candidate{}
	for _, h := range heads {
		if job != "" && h.About.Job != job || !f.labelled(h) {
			continue
		}
		if f.prune && (h.Status.Terminal() || h.Owner.IsZero() || len(h.URLs) == 0) {
			f.collects = append(f.collects, h.About.Job)
		}
		key := f.key(h)
		groups[key] = append(groups[key], candidates(h, ends[h.About.Job])...)
	}
	for _, key := range slices.Sorted(maps.Keys(groups)) {
		g := &ckptdv1.ForgetGroup{Key: key}
		removes := false
		for _, v := range retention.Forget(groups[key], &f.rules) {
			removes = removes || !v.Keep
			head := f.heads[v.Job]
			c, _ := head.Checkpoint(v.ID)
			g.Checkpoints = append(g.Checkpoints, &ckptdv1.ForgetCheckpoint{JobId: v.Job, Checkpoint: api.RetainedCheckpoint(head, &c), Keep: v.Keep, Reasons: v.Reasons})
		}
		f.report.Groups = append(f.report.Groups, g)
		if removes {
			f.newest = append(f.newest, slices.DeleteFunc(groups[key], func(c retention.Candidate) bool { return !c.Newest })...)
		}
	}
	f.count()
}

// candidates are the checkpoints of a job that the rules apply to. end: the job is at the end of its lineage. A job that has not ended
// needs its newest checkpoint in any case.
func candidates(h *journal.Entry, end bool) (out []retention.Candidate) {
	for i := range h.Retained {
		c := &h.Retained[i]
		if c.State != journal.StateKept {
			continue
		}
		k := retention.Candidate{Job: h.About.Job, ID: c.ID, At: time.UnixMilli(int64(c.CompletedAt)), Tags: c.Tags, Kept: c.Keep,
			Newest: c.ID == h.Newest() && (end || !h.Status.Terminal())}
		for _, l := range h.Lent {
			if l.Checkpoint == c.ID {
				k.Borrowers = append(k.Borrowers, l.Holder)
			}
		}
		out = append(out, k)
	}
	return out
}

func (f *forgetter) labelled(h *journal.Entry) bool {
	for _, want := range f.labels {
		if !slices.ContainsFunc(h.About.Labels, func(l journal.Label) bool { return l.Key+"="+l.Value == want }) {
			return false
		}
	}
	return true
}

// key is the group of a job.
func (f *forgetter) key(h *journal.Entry) string {
	switch f.groupBy {
	case "":
		return ""
	case "job":
		return "job=" + h.About.Job
	}
	for _, l := range h.About.Labels {
		if l.Key == f.groupBy {
			return l.Key + "=" + l.Value
		}
	}
	return "job=" + h.About.Job // a job without the label is a group of its own
}

// count sums up the plan, or what was done.
func (f *forgetter) count() {
	f.report.Kept, f.report.Removed, f.report.Bytes = 0, 0, 0
	for _, g := range f.report.GetGroups() {
		for _, c := range g.GetCheckpoints() {
			if c.GetKeep() || c.GetProblem() != "" {
				f.report.Kept++
				continue
			}
			f.report.Removed++
			f.report.Bytes += c.GetCheckpoint().GetSummary().GetNewBytes()
		}
	}
}

// execute removes what the plan says, job by job: all of a job, or nothing. Meanwhile it holds the newest checkpoints: another command
// could remove them, and the plan keeps no other for the future.
func (f *forgetter) execute(cmd *cobra.Command, root string) (err error) {
	c, err := openChanger(cmd, root, true)
	if err != nil {
		return err
	}
	held := &holder{opened: c.opened, tool: "forget"}
	defer func() { err = errors.Join(err, held.release(cmd.Context()), c.close()) }()
	for _, n := range f.newest {
		err := held.hold(cmd.Context(), n.Job, n.ID)
		if errors.Is(err, journalio.ErrNotKept) {
			return fmt.Errorf("forget: %w; it was the newest of the plan: nothing was removed, run the command again", err)
		}
		if err != nil {
			return err
		}
	}
	byJob := map[string][]*ckptdv1.ForgetCheckpoint{}
	for _, g := range f.report.GetGroups() {
		for _, k := range g.GetCheckpoints() {
			if !k.GetKeep() {
				byJob[k.GetJobId()] = append(byJob[k.GetJobId()], k)
			}
		}
	}
	jobs := slices.AppendSeq(f.collects, maps.Keys(byJob))
	slices.Sort(jobs)
	for _, job := range slices.Compact(jobs) {
		if err := held.renew(cmd.Context()); err != nil {
			return err
		}
		if err := f.remove(cmd, c, job, byJob[job]); err != nil {
			if cmd.Context().Err() != nil {
				return cmd.Context().Err()
			}
			f.stuck[job] = true
			for _, k := range byJob[job] {
				k.Problem = strings.TrimPrefix(err.Error(), "job "+job+": ")
			}
		}
	}
	f.count()
	return nil
}

// remove removes checkpoints of one job, and collects it. Its error means that they were not removed, or that the command was interrupted.
func (f *forgetter) remove(cmd *cobra.Command, c *changer, job string, all []*ckptdv1.ForgetCheckpoint) error {
	for len(all) > 0 {
		e := &owner.Edit{Kind: owner.EditRemove, Now: f.now}
		for _, k := range all {
			e.IDs = append(e.IDs, k.GetCheckpoint().GetSummary().GetCheckpointId())
		}
		change, err := c.edit(cmd.Context(), job, e)
		if err == nil {
			stateOf(all, change)
			break
		}
		rest, errHead := f.withoutLeft(cmd.Context(), c, job, all)
		if errHead != nil || len(rest) == len(all) {
			return err
		}
		all = rest // a running job has dropped the others itself since the plan
	}
	if !f.prune {
		return nil
	}
	return f.collect(cmd, c, job)
}

// withoutLeft returns the checkpoints that the job still retains. Those that have left it since the plan leave the report, too.
func (f *forgetter) withoutLeft(ctx context.Context, c *changer, job string, all []*ckptdv1.ForgetCheckpoint) ([]*ckptdv1.ForgetCheckpoint, error) {
	head, err := catalog.Head(ctx, c.opened.Store, job)
	if err != nil {
		return nil, err
	}
	var rest, left []*ckptdv1.ForgetCheckpoint
	for _, k := range all {
		if _, there := head.Checkpoint(k.GetCheckpoint().GetSummary().GetCheckpointId()); there {
			rest = append(rest, k)
		} else {
			left = append(left, k)
		}
	}
	for _, g := range f.report.GetGroups() {
		g.Checkpoints = slices.DeleteFunc(g.Checkpoints, func(k *ckptdv1.ForgetCheckpoint) bool { return slices.Contains(left, k) })
	}
	return rest, nil
}

// stateOf notes what has become of checkpoints.
func stateOf(all []*ckptdv1.ForgetCheckpoint, change *ckptdv1.RetentionChange) {
	for _, k := range all {
		for _, r := range change.GetCheckpoints() {
			if r.GetSummary().GetCheckpointId() == k.GetCheckpoint().GetSummary().GetCheckpointId() {
				k.Checkpoint = r
			}
		}
	}
}

// collect collects a job, as gc does. Its error means that the command was interrupted.
func (f *forgetter) collect(cmd *cobra.Command, c *changer, job string) error {
	req := &ckptdv1.CollectRequest{JobId: job, Execute: true, Who: c.by.Who, Command: c.by.Command}
	page := func(*ckptdv1.CollectResponse) error { return nil }
	err := c.change(cmd.Context(), job, func(a *client.Admin) error { return a.Messages().Collect(cmd.Context(), req, page) },
		func(ctx context.Context, j *shell.Job) error { return j.Collect(ctx, req, page) })
	if err != nil && cmd.Context().Err() == nil {
		f.uncollected = append(f.uncollected, err.Error())
		return nil
	}
	return err
}

func (f *forgetter) print(w io.Writer) {
	t := output.NewTable(w)
	t.Row("GROUP", "CHECKPOINT", "COMPLETED", "NEW BYTES", "", "WHY")
	for _, g := range f.report.GetGroups() {
		for _, c := range g.GetCheckpoints() {
			what, why := "remove", strings.Join(c.GetReasons(), ", ")
			if c.GetKeep() {
				what = "keep"
			}
			if c.GetProblem() != "" {
				what, why = "stays", c.GetProblem()
			}
			s := c.GetCheckpoint().GetSummary()
			t.Row(orDash(g.GetKey()), s.GetPath(), output.Time(s.GetCompletedAt()), output.Bytes(s.GetNewBytes()), what, output.Clean(why))
		}
	}
	_ = t.Flush()
	verb, end := "removed", ""
	if !f.yes {
		verb, end = "would remove", "; nothing was changed: --yes removes"
	}
	fmt.Fprintf(w, "%s %s, which added %s; %d stay%s\n", verb, output.Count(f.report.GetRemoved(), "checkpoint"), output.Bytes(f.report.GetBytes()), f.report.GetKept(), end)
}
