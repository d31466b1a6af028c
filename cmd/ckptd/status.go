package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/cmd/ckptd/drivers"
	"github.com/ckptd/ckptd/cmd/ckptd/output"
	"github.com/ckptd/ckptd/layout/catalog"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

func newStatusCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status [JOB]",
		Short: "Show the state of a daemon and its jobs, or of one job",
		Long: `Show the state of a daemon: its jobs, their pending checkpoints and their workers. With a JOB, also show its last events.

Of a job that has ended it says how and when, and what is kept.

Without a JOB, ckptd asks the daemon at --server, or at ` + defaultListen + `. For a JOB with a root, it reads the owner's address in the
job's journal and asks the owner.`,
		Example: `  ckptd status
  ckptd status file:///var/lib/ckptd/clicks
  ckptd status clicks --server unix:/run/ckptd.sock --json`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeJobs,
		RunE: func(cmd *cobra.Command, args []string) error {
			show := func(res *ckptdv1.GetStatusResponse, err error, events bool) error {
				if err != nil {
					return err
				}
				if wantsJSON(cmd) {
					return printJSON(cmd.OutOrStdout(), res)
				}
				return printStatus(cmd.OutOrStdout(), res, events)
			}
			if len(args) == 1 {
				err := onOwner(cmd.Context(), daemonsOf(cmd), args[0], false, func(a *client.Admin, id string) error {
					res, err := a.Messages().JobStatus(cmd.Context(), id, 0)
					if err != nil && !errors.Is(err, client.ErrUnavailable) {
						return unownedStatus(cmd, a, id, err)
					}
					return show(res, err, true)
				})
				head, ok := endedJob(err)
				if !ok {
					head, ok = suspendedJob(err)
				}
				if ok {
					summary := catalog.Job(head)
					summary.Checkpoints = catalog.Checkpoints(head)
					at, err := drivers.Normal(args[0])
					if err != nil {
						return err
					}
					root, _ := drivers.CutLast(at)
					return printEnded(cmd, &ckptdv1.GetStatusResponse{Root: root}, summary)
				}
				return err
			}
			return onServer(credentialsOf(cmd), []string{cmp.Or(daemonsOf(cmd).server, defaultListen)}, func(a *client.Admin) error {
				res, err := a.Messages().Status(cmd.Context())
				return show(res, err, false)
			})
		},
	}
	serverFlags(cmd)
	jsonFlag(cmd, "GetStatusResponse")
	return cmd
}

// unownedStatus shows a job that has ended or is suspended, and that no daemon owns. Of any other job it returns why, the error so far.
func unownedStatus(cmd *cobra.Command, a *client.Admin, id string, why error) error {
	jobs, err := a.Messages().Jobs(cmd.Context())
	if err != nil {
		return errors.Join(why, err)
	}
	for _, j := range jobs.GetJobs() {
		if j.GetJobId() == id && (client.EndedWith(why) != 0 || j.GetStatus() == ckptdv1.JobStatus_JOB_STATUS_SUSPENDED) {
			daemon, err := a.Messages().Status(cmd.Context())
			if err != nil {
				return err
			}
			return printEnded(cmd, daemon, j)
		}
	}
	return why
}

// printEnded shows a job that has ended. Of the daemon that was asked it keeps all but the jobs.
func printEnded(cmd *cobra.Command, daemon *ckptdv1.GetStatusResponse, j *ckptdv1.JobSummary) error {
	if wantsJSON(cmd) {
		daemon.Jobs = []*ckptdv1.JobState{{Summary: j}}
		return printJSON(cmd.OutOrStdout(), daemon)
	}
	return printJobs(cmd.OutOrStdout(), &ckptdv1.ListJobsResponse{Jobs: []*ckptdv1.JobSummary{j}})
}

func printStatus(w io.Writer, res *ckptdv1.GetStatusResponse, events bool) error {
	fmt.Fprintf(w, "daemon %s at %s, root %s, up %s\n", output.Clean(res.GetVersion()), output.Clean(strings.Join(res.GetUrls(), " ")), output.Clean(res.GetRoot()),
		time.Since(res.GetStartedAt().AsTime()).Round(time.Second))
	printMemory(w, res)
	if len(res.GetJobs()) == 0 {
		fmt.Fprintln(w, "owns no jobs")
	}
	for _, j := range res.GetJobs() {
		if err := printJobState(w, j, events); err != nil {
			return err
		}
	}
	return nil
}

func printJobState(w io.Writer, j *ckptdv1.JobState, events bool) error {
	s := j.GetSummary()
	fmt.Fprintf(w, "\njob %s: %s (epoch %d, attempt %d)\n", output.Clean(s.GetJobId()), phaseText(j), s.GetEpoch(), s.GetAttempt())
	if ended := endedText(s); ended != "" {
		fmt.Fprintf(w, "  %s\n", ended)
	}
	printInMemory(w, j)
	if d := j.GetDegraded(); d != "" {
		fmt.Fprintf(w, "  DEGRADED: %s\n", output.Clean(d))
	}
	if away := j.GetWaitingForStore(); away != "" {
		fmt.Fprintf(w, "  WAITING FOR THE STORE %s\n", output.Clean(away))
	}
	if n := j.GetConsecutiveFailures(); n > 0 {
		fmt.Fprintf(w, "  checkpoints that failed in a row: %d\n", n)
	}
	fmt.Fprintf(w, "  records %d, sources at their end %d of %d, newest complete checkpoint %d, committed by all sinks %d\n",
		j.GetRecords(), j.GetSourcesAtEnd(), j.GetSources(), s.GetLatestCheckpointId(), j.GetCommittedCheckpointId())
	if n := j.GetCondemnedFiles(); n > 0 {
		fmt.Fprintf(w, "  waiting to be deleted: %s\n", output.Count(n, "file"))
	}
	for _, p := range j.GetPending() {
		fmt.Fprintf(w, "  checkpoint %d: %s, %d of %s acknowledged, since %s\n", p.GetCheckpointId(), output.Enum(p.GetState(), "PENDING_STATE_"), p.GetAcknowledged(),
			output.Count(p.GetSubtasks(), "subtask"), time.Since(p.GetTriggeredAt().AsTime()).Round(time.Millisecond))
	}
	t := output.NewTable(w)
	for _, x := range j.GetWorkers() {
		state := "starting"
		if x.GetRunning() {
			state = "running"
		}
		t.Row("  worker "+x.GetNonce(), output.Count(len(x.GetSubtasks()), "subtask"), state, fmt.Sprintf("attempt %d", x.GetAttempt()),
			"heard "+time.Since(x.GetLastHeard().AsTime()).Round(100*time.Millisecond).String()+" ago")
	}
	if err := t.Flush(); err != nil || !events {
		return err
	}
	fmt.Fprintln(w, "  what happened last:")
	t = output.NewTable(w)
	list := j.GetEvents()
	for _, e := range list[max(0, len(list)-eventsShown):] {
		what, text := output.Event(e.GetKind()), e.GetText()
		switch id := e.GetCheckpointId(); {
		case e.GetKind() == ckptdv1.JobEventKind_JOB_EVENT_KIND_ATTEMPT:
			what += fmt.Sprintf(" %d", e.GetAttempt())
			if id != 0 {
				text += fmt.Sprintf("; it began with checkpoint %d restored", id)
			}
		case id != 0:
			what += fmt.Sprintf(" %d", id)
		}
		if c := e.GetCheckpoint(); c != nil {
			text = fmt.Sprintf("in %s, %s new, %s reused", c.GetDuration().AsDuration(), output.Bytes(c.GetNewBytes()), output.Bytes(c.GetReusedBytes()))
		}
		t.Row("    "+e.GetTime().AsTime().Local().Format("15:04:05.000"), what, text)
	}
	return t.Flush()
}

// eventsShown is how many of a job's last events are printed; --json has them all.
const eventsShown = 20

// phaseText describes the phase of a job in a few words.
func phaseText(j *ckptdv1.JobState) string {
	switch j.GetPhase() {
	case ckptdv1.JobPhase_JOB_PHASE_WAITING_FOR_WORKERS:
		return fmt.Sprintf("waiting for %d of %s to register", j.GetSubtasksMissing(), output.Count(j.GetSubtasks(), "subtask"))
	case ckptdv1.JobPhase_JOB_PHASE_WAITING_FOR_ATTEMPT:
		return "waiting to begin the next attempt"
	case ckptdv1.JobPhase_JOB_PHASE_STARTING:
		return "starting: not all subtasks run yet"
	case ckptdv1.JobPhase_JOB_PHASE_IMPORTING:
		return "waiting for the checkpoint that it begins from, " + j.GetSummary().GetRestoredFrom()
	case ckptdv1.JobPhase_JOB_PHASE_CLEARING_UP:
		return output.Enum(j.GetSummary().GetStatus(), "JOB_STATUS_") + ", clearing up"
	}
	return output.Enum(j.GetPhase(), "JOB_PHASE_")
}
