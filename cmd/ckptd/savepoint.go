package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/cmd/ckptd/drivers"
	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/cmd/ckptd/output"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/journal"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// savepointPoll is the time between two looks at a savepoint that is being taken.
const savepointPoll = 100 * time.Millisecond

// pollsIdle is after how many looks in a row a savepoint is given up that no owner goes on with.
const pollsIdle = 300

// pollsWithoutDaemon is after how many looks in a row a daemon that does not answer is given up.
const pollsWithoutDaemon = 300

func newSavepointCmd() *cobra.Command {
	var detached, list bool
	var request string
	cmd := &cobra.Command{
		Use:   "savepoint JOB [DIR]",
		Short: "Take a savepoint of a running job: a copy of all its state in a folder of its own",
		Long: `Take a savepoint of a running job, and wait until it is done. A savepoint has all of the job's state in one folder, which can be moved
and copied by any tool. A new job begins from it (run -s FOLDER). ckptd deletes a savepoint only by ` + "`ckptd dispose`" + `, or for a job that
has claimed it.

DIR is a URL or path below which the folder is made. The daemon must be allowed to write there (serve --savepoints); without DIR it takes the
first of those places.

The daemon goes on while this command is interrupted. --list shows what became of the last 32 savepoints of a job. A repeated command with the
same --request-id takes no second savepoint. Exit code 1 if the savepoint came to nothing.`,
		Example: `  ckptd savepoint clicks --server unix:/run/ckptd.sock
  ckptd savepoint file:///var/lib/ckptd/clicks file:///var/lib/savepoints
  ckptd savepoint clicks --list --json`,
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: completeJobs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if list {
				return listSavepoints(cmd, args[0])
			}
			req := &ckptdv1.TriggerSavepointRequest{RequestId: request}
			if len(args) > 1 {
				dir, err := drivers.Normal(args[1])
				if err != nil {
					return exit.Usagef("savepoint: %w", err)
				}
				req.Directory = dir
			}
			return takeSavepoint(cmd, args[0], req, detached)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&detached, "detached", false, "do not wait until the savepoint is done")
	f.BoolVar(&list, "list", false, "list the last savepoints of the job instead")
	f.StringVar(&request, "request-id", "", "`name` of this wish: a repeated command with the same name takes no second savepoint")
	cmd.MarkFlagsMutuallyExclusive("list", "detached")
	serverFlags(cmd)
	jsonFlag(cmd, "Savepoint; with --list: ListSavepointsResponse")
	return cmd
}

// takeSavepoint begins a savepoint, and waits until it has ended.
func takeSavepoint(cmd *cobra.Command, job string, req *ckptdv1.TriggerSavepointRequest, detached bool) error {
	wait := sayWaiting(cmd.Context(), cmd.ErrOrStderr(), "savepoint", job)
	defer wait.stop()
	var saved *ckptdv1.Savepoint
	err := onOwner(cmd.Context(), daemonsOf(cmd), job, true, func(a *client.Admin, id string) (err error) {
		wait.on(a, id)
		req.JobId = id
		if saved, err = a.Messages().Savepoint(cmd.Context(), req); err != nil || detached {
			return err
		}
		saved, err = awaitSavepoint(cmd.Context(), a, id, job, saved)
		return err
	})
	wait.stop()
	if before, head := savedBefore(err, req.GetRequestId()); before != nil {
		saved, req.JobId, err = before, head.About.Job, nil
		if before.GetOutcome() == ckptdv1.SavepointOutcome_SAVEPOINT_OUTCOME_STARTED && !detached {
			err = errIdle
		}
	}
	switch {
	case err != nil && saved != nil:
		return fmt.Errorf("savepoint %s: not known to be done; `ckptd savepoint %s --list` says: %w", saved.GetPath(), output.ShellWord(job), err)
	case err != nil:
		return wait.told(cmd.Context(), err)
	case saved.GetOutcome() == ckptdv1.SavepointOutcome_SAVEPOINT_OUTCOME_CLEANED:
		return fmt.Errorf("savepoint of job %s: it came to nothing, and what was written of it is deleted: `ckptd status %s` says why: %w", req.GetJobId(), output.ShellWord(job), errSavepoint)
	}
	return answer(cmd, saved, func(w io.Writer) { printSavepoint(w, saved) })
}

// errSavepoint is in the chain of the error for a savepoint that came to nothing.
var errSavepoint = errors.New("no savepoint was taken")

// errIdle is in the chain of the error for a savepoint that is neither done nor cleaned.
var errIdle = fmt.Errorf("no owner of the job has gone on with it, or could delete it, for %v; the daemon's log says why, and `ckptd gc` tries again", pollsIdle*savepointPoll)

// savedBefore is the savepoint that a request id means, of a job that err says nobody owns.
func savedBefore(err error, request string) (saved *ckptdv1.Savepoint, head *journal.Entry) {
	unowned, ok := errors.AsType[*unownedError](err)
	if !ok {
		return nil, nil
	}
	s, ok := unowned.head.Requested(request)
	if !ok {
		return nil, nil
	}
	return catalog.Savepoint(&s), unowned.head
}

// awaitSavepoint asks for a savepoint until it has ended. A daemon that is away is asked again: its successor knows the savepoint.
func awaitSavepoint(ctx context.Context, a *client.Admin, job, arg string, saved *ckptdv1.Savepoint) (*ckptdv1.Savepoint, error) {
	for away, idle := 0, 0; saved.GetOutcome() == ckptdv1.SavepointOutcome_SAVEPOINT_OUTCOME_STARTED; away++ {
		select {
		case <-ctx.Done():
			return saved, context.Cause(ctx)
		case <-time.After(savepointPoll):
		}
		res, err := a.Messages().Savepoints(ctx, job)
		if err != nil {
			if !errors.Is(err, client.ErrUnavailable) || ctx.Err() != nil || away >= pollsWithoutDaemon {
				return saved, err
			}
			if layout.ValidateJobID(arg) != nil { // with a root: its journal tells
				if head, err := headOnStorage(ctx, arg); err == nil {
					res = catalog.Savepoints(head)
				}
			}
		} else {
			away = 0
		}
		for _, s := range res.GetSavepoints() {
			if s.GetCheckpointId() == saved.GetCheckpointId() {
				saved = s
			}
		}
		if idle++; err != nil || saved.GetPending() {
			idle = 0
		}
		if idle >= pollsIdle {
			return saved, errIdle
		}
	}
	return saved, nil
}

// listSavepoints prints the last savepoints of a job.
func listSavepoints(cmd *cobra.Command, job string) error {
	at := daemonsOf(cmd)
	if at.server == "" && layout.ValidateJobID(job) != nil { // with a root: the journal has them, whether or not a daemon runs
		return listOnStorage(cmd, job)
	}
	return onOwner(cmd.Context(), at, job, false, func(a *client.Admin, id string) error {
		res, err := a.Messages().Savepoints(cmd.Context(), id)
		if err != nil {
			return err
		}
		return printSavepoints(cmd, res)
	})
}

// listOnStorage prints the savepoints that the journal of ROOT/JOB has on record.
func listOnStorage(cmd *cobra.Command, arg string) error {
	head, err := headOnStorage(cmd.Context(), arg)
	if err != nil {
		return err
	}
	return printSavepoints(cmd, catalog.Savepoints(head))
}

// headOnStorage reads the last entry of the journal of ROOT/JOB.
func headOnStorage(ctx context.Context, arg string) (head *journal.Entry, err error) {
	at, err := drivers.Normal(arg)
	if err != nil {
		return nil, exit.Usagef("savepoint: %w", err)
	}
	root, job := drivers.CutLast(at)
	opened, err := drivers.Open(ctx, root, true)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, opened.Close()) }()
	if _, err := layout.ReadRoot(ctx, opened.Store); err != nil {
		return nil, err
	}
	return catalog.Head(ctx, opened.Store, job)
}

func printSavepoints(cmd *cobra.Command, res *ckptdv1.ListSavepointsResponse) error {
	return answer(cmd, res, func(w io.Writer) {
		if len(res.GetSavepoints()) == 0 {
			fmt.Fprintf(w, "job %s: no savepoints\n", output.Clean(res.GetJobId()))
		}
		for _, s := range res.GetSavepoints() {
			printSavepoint(w, s)
		}
	})
}

func printSavepoint(w io.Writer, s *ckptdv1.Savepoint) {
	how := map[ckptdv1.SavepointOutcome]string{
		ckptdv1.SavepointOutcome_SAVEPOINT_OUTCOME_DONE:    "done",
		ckptdv1.SavepointOutcome_SAVEPOINT_OUTCOME_CLEANED: "came to nothing, and is deleted",
	}[s.GetOutcome()]
	if how == "" {
		how = "begun"
		if s.GetPending() {
			how = fmt.Sprintf("begun, %d of %s acknowledged", s.GetAcknowledged(), output.Count(s.GetSubtasks(), "subtask"))
		}
	}
	if s.GetPeriodic() {
		how += ", periodic"
	}
	fmt.Fprintf(w, "savepoint %d %s: %s\n", s.GetCheckpointId(), how, output.Clean(s.GetPath()))
}
