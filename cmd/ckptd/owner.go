package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/cmd/ckptd/drivers"
	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/cmd/ckptd/output"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/journalio"
)

// onOwner calls f with the calls for people; calls about the job go to its owner. For a JOB with a root, the journal
// names the owner. For an id, ckptd asks the server, or the daemon at the default address.
func onOwner(ctx context.Context, server, arg string, f func(a *client.Admin, id string) error) error {
	urls, id := []string{server}, arg
	switch {
	case isID(server, arg):
	case server == "" && layout.ValidateJobID(arg) == nil:
		urls = []string{defaultListen}
	default:
		var err error
		if urls, id, err = ownerInJournal(ctx, server, arg); err != nil {
			return err
		}
	}
	if err := layout.ValidateJobID(id); err != nil {
		return exit.Usagef("%w", err)
	}
	return onServer(urls, func(a *client.Admin) error { return f(a, id) })
}

// onServer calls f with the calls for people of these daemons.
func onServer(urls []string, f func(a *client.Admin) error) (err error) {
	c, admin, err := adminOf(urls...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if err = f(admin); errors.Is(err, client.ErrUnavailable) {
		err = fmt.Errorf("%w. To ask another daemon, name it by --server", err)
	}
	return err
}

// ownerInJournal reads the addresses of the job's owner in the journal of <root>/<id>. If a server was named, its
// address is the answer instead: that daemon can take a job that nobody owns.
func ownerInJournal(ctx context.Context, server, arg string) (urls []string, id string, err error) {
	at, err := drivers.Normal(arg)
	if err != nil {
		return nil, "", err
	}
	root, id := drivers.CutLast(at)
	if err := layout.ValidateJobID(id); err != nil {
		return nil, "", exit.Usagef("job %q: want <root>/<job id>, such as file:///var/lib/ckptd/clicks, or <job id> with --server: %w", arg, err)
	}
	opened, err := drivers.Open(ctx, root, true)
	if err != nil {
		return nil, "", err
	}
	defer func() { err = errors.Join(err, opened.Close()) }()
	if _, err := layout.ReadRoot(ctx, opened.Store); err != nil {
		return nil, "", err
	}
	head, how, err := journalio.ReadHead(ctx, opened.Store, opened.Facts, id)
	switch {
	case err != nil:
		return nil, "", err
	case how == journal.ReadEmpty:
		return nil, "", fmt.Errorf("there is no job %s under %s; `ckptd ls %s` lists what there is", id, root, output.ShellWord(root))
	case how != journal.ReadDone:
		return nil, "", fmt.Errorf("the journal of %s cannot be read; `ckptd journal show %s` says why: %w", id, output.ShellWord(arg), catalog.ErrDamaged)
	case server != "":
		return []string{server}, id, nil
	case head.Owner.IsZero():
		return nil, "", unowned(head, id, at)
	}
	return head.URLs, id, nil
}

// unowned is the error for a job that nobody owns. It says how to end such a job.
func unowned(head *journal.Entry, id, at string) error {
	how := ""
	if head.Status == journal.StatusRunning {
		how = "; `cancel` with --server lets the daemon named there end it"
	}
	return fmt.Errorf("job %s is %s, and no daemon owns it (epoch %d); `ckptd ls %s` shows what is kept of it%s", id,
		output.Enum(catalog.Status(head.Status), "JOB_STATUS_"), head.Epoch, output.ShellWord(at), how)
}
