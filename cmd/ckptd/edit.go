package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/cmd/ckptd/drivers"
	"github.com/ckptd/ckptd/cmd/ckptd/output"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/journal"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/api"
	"github.com/ckptd/ckptd/service/config"
	"github.com/ckptd/ckptd/service/owner"
	"github.com/ckptd/ckptd/service/shell"
)

// subject is the job, or the one checkpoint, that a person's command is about.
type subject struct {
	root, job string
	// id of the checkpoint; 0: the job is meant.
	id uint64
}

// subjectOf resolves a JOB or a CHECKPOINT to its root.
func subjectOf(cmd *cobra.Command, arg string) (subject, error) {
	ctx, at := cmd.Context(), daemonsOf(cmd)
	resolve := openJob
	if _, last := drivers.CutLast(arg); isCheckpoint(last) {
		resolve = openCheckpoint
	}
	t, err := resolve(ctx, at, arg)
	if err == nil {
		t, err = t.onStorage(ctx)
	}
	if err != nil {
		return subject{}, err
	}
	s := subject{t.root, t.job, t.id}
	if err := t.close(); err != nil {
		return s, err
	}
	if s.root == "" || s.job == "" {
		return s, fmt.Errorf("%s %q: it lies in no root, and only what a job keeps can be changed: %w", cmd.Name(), arg, layout.ErrNotRoot)
	}
	return s, nil
}

func isCheckpoint(name string) bool {
	_, err := layout.ParseCheckpointDir(name)
	return err == nil || name == layout.MetadataName
}

// edit lets the owner of a job carry a command out, or this process as janitor. Deletes that cannot be done now are no failure of the
// command: the log names the reason, and the job's next sweep makes up for them.
func (c *changer) edit(ctx context.Context, job string, e *owner.Edit) (change *ckptdv1.RetentionChange, err error) {
	by := &ckptdv1.PersonalCommand{Who: c.by.Who, Command: c.by.Command}
	asked := func(a *client.Admin) (err error) {
		m := a.Messages()
		switch e.Kind {
		case owner.EditRemove:
			change, err = m.Remove(ctx, &ckptdv1.RemoveCheckpointsRequest{JobId: job, CheckpointIds: e.IDs, Now: e.Now, EvenIfLent: e.Lent, By: by})
		case owner.EditUndelete:
			change, err = m.Undelete(ctx, &ckptdv1.UndeleteCheckpointsRequest{JobId: job, CheckpointIds: e.IDs})
		case owner.EditPurge:
			change, err = m.Purge(ctx, &ckptdv1.PurgeJobRequest{JobId: job, By: by})
		default:
			change, err = m.Tag(ctx, &ckptdv1.TagCheckpointsRequest{JobId: job, CheckpointIds: e.IDs, Tags: e.Tags, Remove: e.Kind == owner.EditUntag})
		}
		return err
	}
	request := layout.NewNonce()
	err = c.change(ctx, job, asked, func(ctx context.Context, j *shell.Job) error {
		head, err := j.Edit(ctx, request, e, c.by)
		if err == nil {
			change = api.Retention(head, func(k *journal.Checkpoint) bool { return slices.Contains(e.IDs, k.ID) })
		}
		return err
	})
	if change != nil && ctx.Err() == nil {
		return change, nil
	}
	return change, err
}

// refusal is the error of a command that the job's owner would refuse now; nil: it would not.
func refusal(head *journal.Entry, e *owner.Edit) error {
	id, why := e.Refused(head)
	switch {
	case why == owner.ReasonNone:
		return nil
	case why == owner.ReasonNotTerminal:
		return fmt.Errorf("job %s has not ended: cancel it first", head.About.Job)
	case id == 0:
		return fmt.Errorf("job %s: %s", head.About.Job, api.ReasonText(why))
	}
	return fmt.Errorf("checkpoint %d of job %s: %s", id, head.About.Job, api.ReasonText(why))
}

// windowOf is how long what is removed from a job stays in the trash, as far as this process knows. A daemon that owns the job may have
// another default.
func windowOf(head *journal.Entry, def time.Duration) time.Duration {
	p, _ := config.Policies(def)(head.Config)
	return time.Duration(p.Trash) * time.Millisecond
}

// onHead opens a changer over a subject's root, reads the job's head, and calls do.
func onHead(cmd *cobra.Command, s subject, changes bool, do func(*changer, *journal.Entry) error) error {
	c, err := openChanger(cmd, s.root, changes)
	if err != nil {
		return err
	}
	head, err := catalog.Head(cmd.Context(), c.opened.Store, s.job)
	if err == nil && head.Status == journal.StatusRemoved {
		err = fmt.Errorf("%w: %s (it was removed)", catalog.ErrNoJob, s.job)
	}
	if err == nil {
		err = do(c, head)
	}
	return errors.Join(err, c.close())
}

// printChange says what has become of checkpoints.
func printChange(w io.Writer, job string, ids []uint64, change *ckptdv1.RetentionChange) {
	for _, id := range ids {
		name := output.Clean(job) + "/" + layout.CheckpointDir(id)
		i := slices.IndexFunc(change.GetCheckpoints(), func(r *ckptdv1.RetainedCheckpoint) bool { return r.GetSummary().GetCheckpointId() == id })
		if i < 0 {
			fmt.Fprintf(w, "%s is deleted\n", name)
			continue
		}
		switch r := change.GetCheckpoints()[i]; {
		case r.GetTrashUntil() != nil:
			fmt.Fprintf(w, "%s is in the trash until %s; `ckptd undelete` brings it back\n", name, output.Time(r.GetTrashUntil()))
		case r.GetState() == ckptdv1.CheckpointState_CHECKPOINT_STATE_HIDDEN:
			fmt.Fprintf(w, "%s is hidden until these jobs have returned it: %s\n", name, output.Clean(strings.Join(r.GetBorrowers(), ", ")))
		case r.GetKeep() && len(r.GetTags()) == 0:
			fmt.Fprintf(w, "%s is kept, whatever the policy says\n", name)
		default:
			fmt.Fprintf(w, "%s has the tags %q\n", name, r.GetTags())
		}
	}
}
