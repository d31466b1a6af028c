package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/cmd/ckptd/output"
	"github.com/ckptd/ckptd/layout/auditlog"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/verify"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/collect"
	"github.com/ckptd/ckptd/service/shell"
)

func newGCCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "gc [ROOT | JOB]",
		Short: "Delete what nothing needs any more; a plan only, unless --yes",
		Long: `Delete what nothing needs any more: files of killed daemons, unfinished uploads, and what is left of checkpoints that are gone.
Without --yes it only shows the plan: what would go, why, and how many bytes, for each job.

A job whose owner answers is collected by that owner; the caller needs the role delete there. A job that has ended, or that nobody owns,
is collected by this command. A job that has not ended, and whose owner does not answer, is left alone, unless --take-over is given: it
costs a running job at most the checkpoint in progress. What ckptd did not make is never touched.

Ctrl-C is safe at any moment: what is there is valid, and the same command goes on. Each name is written below _audit/ before it is deleted;
` + "`ckptd audit`" + ` shows them. Records older than 90 days are deleted.

Exit codes: 0 all jobs were looked at, 3 some could not be, 1 the store failed.`,
		Example: `  ckptd gc file:///var/lib/ckptd
  ckptd gc ./data/clicks --json | jq .bytes
  ckptd gc file:///var/lib/ckptd/clicks --yes --take-over`,
		Args:              wantArgs(0, 1),
		ValidArgsFunction: completeJobs,
		RunE: func(cmd *cobra.Command, args []string) error {
			report, err := runGC(cmd, strings.Join(args, ""))
			if err != nil {
				return err
			}
			if wantsJSON(cmd) {
				err = printJSON(cmd.OutOrStdout(), report)
			} else {
				err = printGC(cmd.OutOrStdout(), report)
			}
			if err != nil {
				return err
			}
			return judgeGC(report)
		},
	}
	cmd.Flags().Bool("yes", false, "delete; without it, only the plan is shown")
	commandLineOnly(cmd.Flags(), "yes")
	takeOverFlag(cmd)
	serverFlags(cmd)
	jsonFlag(cmd, "CollectReport")
	return cmd
}

// gcParallel is how many jobs are looked at at once.
const gcParallel = 4

// collector is one run of gc.
type collector struct {
	*changer
	yes      bool
	progress verify.Progress
}

func runGC(cmd *cobra.Command, arg string) (report *ckptdv1.CollectReport, err error) {
	began, ctx := time.Now(), cmd.Context()
	t, err := openRootOrJob(ctx, daemonsOf(cmd), arg)
	if err == nil {
		t, err = t.onStorage(ctx)
	}
	if err != nil {
		return nil, err
	}
	root, ids := t.root, []string{t.job}
	if t.job == "" {
		ids, err = catalog.New(t.store).JobIDs(ctx)
	} else {
		_, err = catalog.Head(ctx, t.store, t.job)
	}
	if err = errors.Join(err, t.close()); err != nil {
		return nil, err
	}
	yes, _ := cmd.Flags().GetBool("yes")
	changer, err := openChanger(cmd, root, yes)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, changer.close()) }()
	c := &collector{changer: changer, yes: yes}
	stop := showProgress(cmd.ErrOrStderr(), "gc", &c.progress)
	jobs, err := c.all(ctx, ids)
	stop()
	if err != nil {
		return nil, err
	}
	report = &ckptdv1.CollectReport{Target: strings.TrimSuffix(root+"/"+t.job, "/"), Executed: yes, Jobs: jobs}
	for _, j := range jobs {
		report.Objects, report.Bytes, report.LookedAt = report.Objects+j.GetObjects(), report.Bytes+j.GetBytes(), report.LookedAt+j.GetLookedAt()
	}
	if yes {
		n, err := auditlog.TrimOld(ctx, c.opened.Store)
		if err != nil {
			return nil, err
		}
		report.AuditTrimmed = uint64(n)
	}
	report.Took = durationpb.New(time.Since(began))
	return report, nil
}

// all collects all jobs. A job that fails does not end the others.
func (c *collector) all(ctx context.Context, ids []string) ([]*ckptdv1.CollectedJob, error) {
	jobs := make([]*ckptdv1.CollectedJob, len(ids))
	var g errgroup.Group
	g.SetLimit(gcParallel)
	for i, id := range ids {
		g.Go(func() error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			jobs[i] = &ckptdv1.CollectedJob{JobId: id}
			err := c.one(ctx, jobs[i])
			switch {
			case err != nil && ctx.Err() != nil:
				return context.Cause(ctx)
			case errors.Is(err, catalog.ErrNoJob): // an empty folder
				jobs[i] = nil
			case err != nil:
				jobs[i].Problem = strings.TrimPrefix(err.Error(), "job "+id+": ")
			}
			return nil
		})
	}
	err := g.Wait()
	return slices.DeleteFunc(jobs, func(j *ckptdv1.CollectedJob) bool { return j == nil }), err
}

// one plans or executes the collection of one job.
func (c *collector) one(ctx context.Context, out *ckptdv1.CollectedJob) error {
	req := &ckptdv1.CollectRequest{JobId: out.GetJobId(), Execute: c.yes, Who: c.by.Who, Command: c.by.Command}
	out.By = ckptdv1.CollectBy_COLLECT_BY_NOBODY
	var mu sync.Mutex // the janitor's goroutine, or the call to the owner
	page := func(p *ckptdv1.CollectResponse) error {
		mu.Lock()
		defer mu.Unlock()
		c.progress.Files.Add(p.GetLookedAt() - out.GetLookedAt())
		out.LookedAt = p.GetLookedAt()
		for _, item := range p.GetItems() {
			collect.Add(out, item)
		}
		if p.GetDone() {
			out.Due, out.Unfinished, out.Strangers = p.GetDue(), p.GetUnfinished(), p.GetStrangers()
		}
		return nil
	}
	owner := func(a *client.Admin) error {
		out.By = ckptdv1.CollectBy_COLLECT_BY_OWNER
		return a.Messages().Collect(ctx, req, page)
	}
	if c.yes {
		return c.change(ctx, out.GetJobId(), owner, func(ctx context.Context, j *shell.Job) error {
			out.By = ckptdv1.CollectBy_COLLECT_BY_JANITOR
			if c.takeOver {
				out.By = ckptdv1.CollectBy_COLLECT_BY_TAKE_OVER
			}
			return j.Collect(ctx, req, page)
		})
	}
	return c.plan(ctx, out, owner)
}

// plan asks the owner if it answers. Otherwise the plan is made from outside.
func (c *collector) plan(ctx context.Context, out *ckptdv1.CollectedJob, owner func(*client.Admin) error) error {
	head, err := catalog.Head(ctx, c.opened.Store, out.GetJobId())
	if err != nil {
		return err
	}
	if c.janitor.OwnerAnswers(ctx, head) {
		urls := head.URLs
		if c.at.server != "" {
			urls = []string{c.at.server}
		}
		return onServer(c.at.credentials, urls, owner)
	}
	switch {
	case head.Status.Terminal() || head.Owner.IsZero() || len(head.URLs) == 0:
		out.By = ckptdv1.CollectBy_COLLECT_BY_JANITOR
	case c.takeOver:
		out.By = ckptdv1.CollectBy_COLLECT_BY_TAKE_OVER
	}
	if err := collect.Plan(ctx, c.opened.Store, out.GetJobId(), time.Now(), out, func() { c.progress.Files.Add(1) }); err != nil {
		return err
	}
	if out.GetBy() == ckptdv1.CollectBy_COLLECT_BY_NOBODY && out.GetObjects() > 0 {
		out.Problem = fmt.Sprintf("its owner at %s does not answer, and may still run the job: start that daemon, or take the job over by --take-over",
			strings.Join(head.URLs, ", "))
	}
	return nil
}

func printGC(w io.Writer, r *ckptdv1.CollectReport) error {
	t := output.NewTable(w)
	t.Row("JOB", "BY", "REASON", "OBJECTS", "BYTES", "SUCH AS")
	for _, j := range r.GetJobs() {
		for _, g := range j.GetGroups() {
			t.Row(j.GetJobId(), output.Enum(j.GetBy(), "COLLECT_BY_"), g.GetText(), g.GetObjects(), output.Bytes(g.GetBytes()), g.GetKeys()[0])
		}
	}
	if r.GetObjects() > 0 {
		if err := t.Flush(); err != nil {
			return err
		}
		fmt.Fprintln(w)
	}
	for _, j := range r.GetJobs() {
		for _, d := range j.GetDue() {
			added := ""
			if d.GetBytes() > 0 {
				added = "; it added " + output.Bytes(d.GetBytes())
			}
			fmt.Fprintf(w, "job %s: %s%s\n", output.Clean(j.GetJobId()), output.Clean(d.GetText()), added)
		}
		if n := j.GetUnfinished(); n > 0 {
			fmt.Fprintf(w, "job %s: %s\n", output.Clean(j.GetJobId()), output.Count(n, "unfinished upload"))
		}
		if n := j.GetStrangers(); n > 0 {
			fmt.Fprintf(w, "job %s: staying, as not ckptd's: %s\n", output.Clean(j.GetJobId()), output.Count(n, "object"))
		}
		if j.GetProblem() != "" {
			fmt.Fprintf(w, "job %s: %s\n", output.Clean(j.GetJobId()), output.Clean(j.GetProblem()))
		}
	}
	verb, end := "deleted", ""
	if !r.GetExecuted() {
		verb, end = "would delete", "; nothing was changed: --yes deletes"
	}
	_, err := fmt.Fprintf(w, "%s: %s %d of %s, %s, in %s, in %s%s\n", output.Clean(r.GetTarget()), verb, r.GetObjects(), output.Count(r.GetLookedAt(), "object"),
		output.Bytes(r.GetBytes()), output.Count(len(r.GetJobs()), "job"), output.Duration(r.GetTook()), end)
	return err
}

// judgeGC turns the report into the exit code.
func judgeGC(r *ckptdv1.CollectReport) error {
	bad := 0
	for _, j := range r.GetJobs() {
		if j.GetProblem() != "" && (r.GetExecuted() || j.GetLookedAt() == 0) {
			bad++
		}
	}
	if bad > 0 {
		return exit.With(exit.Part, fmt.Errorf("gc: could not collect %d of %s", bad, output.Count(len(r.GetJobs()), "job")))
	}
	return nil
}
