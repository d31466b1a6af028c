package main

import (
	"context"
	"errors"
	"fmt"

	"connectrpc.com/connect"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/journalio"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/proto/ckptd/v1/ckptdv1connect"
)

// maxHops is how often a daemon's word that the owner is elsewhere is followed.
const maxHops = 3

// onOwner calls f with the daemon that owns a job. A JOB with a root is looked up in its journal, an id is asked for at the server,
// or at the default address.
func onOwner(ctx context.Context, server, arg string, f func(jobs ckptdv1connect.JobServiceClient, id string) error) error {
	urls, id := []string{server}, arg
	switch {
	case isID(server, arg):
	case server == "" && layout.ValidateJobID(arg) == nil:
		urls = []string{"http://" + defaultListen}
	default:
		var err error
		if urls, id, err = ownerInJournal(ctx, server, arg); err != nil {
			return err
		}
	}
	if err := layout.ValidateJobID(id); err != nil {
		return usagef("%w", err)
	}
	for hop := 0; ; hop++ {
		next, err := onAny(urls, func(jobs ckptdv1connect.JobServiceClient) error { return f(jobs, id) })
		if len(next) == 0 || hop == maxHops {
			return err
		}
		urls = next
	}
}

// onAny calls f with the first of the daemons that answers. next is where the owner is, if the daemon said so.
func onAny(urls []string, f func(ckptdv1connect.JobServiceClient) error) (next []string, err error) {
	for _, u := range urls {
		jobs, closeIdle, derr := dialServer(u)
		if derr != nil {
			return nil, derr
		}
		err = f(jobs)
		closeIdle()
		if connect.CodeOf(err) != connect.CodeUnavailable {
			return ownerURLs(err), err
		}
		err = fmt.Errorf("no daemon answers at %s: is it running? Name another by --server: %w", u, err)
	}
	return nil, err
}

// ownerURLs is what a NotOwner detail says.
func ownerURLs(err error) []string {
	ce, ok := errors.AsType[*connect.Error](err)
	if !ok {
		return nil
	}
	for _, d := range ce.Details() {
		if m, derr := d.Value(); derr == nil {
			if n, ok := m.(*ckptdv1.NotOwner); ok {
				return n.GetOwnerUrls()
			}
		}
	}
	return nil
}

// ownerInJournal reads in the journal of <root>/<id> where the job's owner listens. A server that was named is asked instead: it knows
// what to do about a job that nobody owns.
func ownerInJournal(ctx context.Context, server, arg string) (urls []string, id string, err error) {
	at, err := normalRoot(arg)
	if err != nil {
		return nil, "", err
	}
	root, id := cutLast(at)
	if err := layout.ValidateJobID(id); err != nil {
		return nil, "", usagef("job %q: want <root>/<job id>, such as file:///var/lib/ckptd/clicks, or <job id> with --server: %w", arg, err)
	}
	opened, err := openStore(ctx, root, true)
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
		return nil, "", fmt.Errorf("there is no job %s under %s; `ckptd ls %s` lists what there is", id, root, shellWord(root))
	case how != journal.ReadDone:
		return nil, "", fmt.Errorf("the journal of %s cannot be read; `ckptd journal show %s` says why: %w", id, shellWord(arg), catalog.ErrDamaged)
	case server != "":
		return []string{server}, id, nil
	case head.Owner.IsZero():
		return nil, "", unowned(head, id, at)
	}
	return head.URLs, id, nil
}

// unowned says so, and how to end such a job all the same.
func unowned(head *journal.Entry, id, at string) error {
	how := ""
	if head.Status == journal.StatusRunning {
		how = "; `cancel` with --server lets the daemon named there end it"
	}
	return fmt.Errorf("job %s is %s, and no daemon owns it (epoch %d); `ckptd ls %s` shows what is kept of it%s", id,
		enumText(catalog.Status(head.Status), "JOB_STATUS_"), head.Epoch, shellWord(at), how)
}
