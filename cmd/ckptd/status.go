package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/proto/ckptd/v1/ckptdv1connect"
)

func newStatusCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status [JOB]",
		Short: "Say what a daemon, or a job's owner, is doing and waiting for",
		Long: `Say what a daemon is doing and waiting for: its jobs, their pending checkpoints, their workers; with a JOB also what happened last.

Without a JOB the daemon at --server is asked, or the one at ` + defaultListen + `. A JOB with a root is asked for where its journal says
that the owner listens.`,
		Example: `  ckptd status
  ckptd status file:///var/lib/ckptd/clicks
  ckptd status clicks --server unix:/run/ckptd.sock --json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			show := func(jobs ckptdv1connect.JobServiceClient, id string) error {
				res, err := jobs.GetStatus(cmd.Context(), &ckptdv1.GetStatusRequest{JobId: id})
				if err != nil {
					return err
				}
				if wantsJSON(cmd) {
					return printJSON(cmd.OutOrStdout(), res)
				}
				return printStatus(cmd.OutOrStdout(), res, id != "")
			}
			if len(args) == 1 {
				return onOwner(cmd.Context(), serverOf(cmd), args[0], show)
			}
			server := serverOf(cmd)
			if server == "" {
				server = "http://" + defaultListen
			}
			_, err := onAny([]string{server}, func(jobs ckptdv1connect.JobServiceClient) error { return show(jobs, "") })
			return err
		},
	}
	serverFlag(cmd)
	jsonFlag(cmd, "GetStatusResponse")
	return cmd
}

func printStatus(w io.Writer, res *ckptdv1.GetStatusResponse, events bool) error {
	fmt.Fprintf(w, "daemon %s at %s, root %s, up %s\n", clean(res.GetVersion()), clean(strings.Join(res.GetUrls(), " ")), clean(res.GetRoot()),
		time.Since(res.GetStartedAt().AsTime()).Round(time.Second))
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
	fmt.Fprintf(w, "\njob %s: %s (epoch %d, attempt %d)\n", clean(s.GetJobId()), phaseText(j), s.GetEpoch(), s.GetAttempt())
	if ended := endedText(s); ended != "" {
		fmt.Fprintf(w, "  %s\n", ended)
	}
	if d := j.GetDegraded(); d != "" {
		fmt.Fprintf(w, "  DEGRADED: %s\n", clean(d))
	}
	if away := j.GetWaitingForStore(); away != "" {
		fmt.Fprintf(w, "  WAITING FOR THE STORE %s\n", clean(away))
	}
	if n := j.GetConsecutiveFailures(); n > 0 {
		fmt.Fprintf(w, "  checkpoints that failed in a row: %d\n", n)
	}
	fmt.Fprintf(w, "  records %d, sources at their end %d of %d, newest complete checkpoint %d, committed by all sinks %d\n",
		j.GetRecords(), j.GetSourcesAtEnd(), j.GetSources(), s.GetLatestCheckpointId(), j.GetCommittedCheckpointId())
	if n := j.GetCondemnedFiles(); n > 0 {
		fmt.Fprintf(w, "  %d files wait to be deleted\n", n)
	}
	for _, p := range j.GetPending() {
		fmt.Fprintf(w, "  checkpoint %d: %s, %d of %d subtasks acknowledged, since %s\n", p.GetCheckpointId(), enumText(p.GetState(), "PENDING_STATE_"), p.GetAcknowledged(),
			p.GetSubtasks(), time.Since(p.GetTriggeredAt().AsTime()).Round(time.Millisecond))
	}
	t := newTable(w)
	for _, x := range j.GetWorkers() {
		state := "starting"
		if x.GetRunning() {
			state = "running"
		}
		t.row("  worker "+x.GetNonce(), fmt.Sprintf("%d subtasks", len(x.GetSubtasks())), state, fmt.Sprintf("attempt %d", x.GetAttempt()),
			"heard "+time.Since(x.GetLastHeard().AsTime()).Round(100*time.Millisecond).String()+" ago")
	}
	if err := t.flush(); err != nil || !events {
		return err
	}
	fmt.Fprintln(w, "  what happened last:")
	t = newTable(w)
	list := j.GetEvents()
	for _, e := range list[max(0, len(list)-eventsShown):] {
		what, text := eventText(e.GetKind()), e.GetText()
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
			text = fmt.Sprintf("in %s, %s new, %s reused", c.GetDuration().AsDuration(), bytesText(c.GetNewBytes()), bytesText(c.GetReusedBytes()))
		}
		t.row("    "+e.GetTime().AsTime().Local().Format("15:04:05.000"), what, text)
	}
	return t.flush()
}

// eventsShown is how many of a job's last events are printed; --json has them all.
const eventsShown = 20

// phaseText is what an owner is doing, in a few words.
func phaseText(j *ckptdv1.JobState) string {
	switch j.GetPhase() {
	case ckptdv1.JobPhase_JOB_PHASE_WAITING_FOR_WORKERS:
		return fmt.Sprintf("waiting for %d of %d subtasks to register", j.GetSubtasksMissing(), j.GetSubtasks())
	case ckptdv1.JobPhase_JOB_PHASE_WAITING_FOR_ATTEMPT:
		return "waiting to begin the next attempt"
	case ckptdv1.JobPhase_JOB_PHASE_STARTING:
		return "starting: not all subtasks run yet"
	case ckptdv1.JobPhase_JOB_PHASE_CLEARING_UP:
		return enumText(j.GetSummary().GetStatus(), "JOB_STATUS_") + ", clearing up"
	}
	return enumText(j.GetPhase(), "JOB_PHASE_")
}

// eventText is a kind of event in one word: "worker-lost".
func eventText(k ckptdv1.JobEventKind) string {
	return strings.ReplaceAll(enumText(k, "JOB_EVENT_KIND_"), " ", "-")
}
