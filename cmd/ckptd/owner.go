package main

import (
	"context"
	"crypto/x509"
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
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/proto/address"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// onOwner calls f with the calls for people; calls about the job go to its owner. For a JOB with a root, the journal
// names the owner. For an id, ckptd asks the server, or the daemon at the default address. An owner that a journal names is
// shown which root is meant if f changes something.
func onOwner(ctx context.Context, at daemons, arg string, changes bool, f func(a *client.Admin, id string) error) (err error) {
	urls, id, root := []string{at.server}, arg, ""
	switch {
	case at.isID(arg):
	case at.server == "" && layout.ValidateJobID(arg) == nil:
		urls = []string{defaultListen}
	default:
		if urls, id, root, err = ownerInJournal(ctx, at.server, arg); err != nil {
			return err
		}
	}
	if err := layout.ValidateJobID(id); err != nil {
		return exit.Usagef("%w", err)
	}
	call := func(a *client.Admin) error { return f(a, id) }
	if root == "" || at.server != "" || !changes {
		return onServer(at.credentials, urls, call)
	}
	opened, err := openWritable(ctx, root)
	if err != nil {
		return fmt.Errorf("%w. To call a daemon without writing to the root, name it by --server", err)
	}
	defer func() { err = errors.Join(err, opened.Close()) }()
	return onProven(ctx, opened.Store, at.credentials, urls, call)
}

// openWritable opens a root that exists for writing.
func openWritable(ctx context.Context, root string) (storage.Opened, error) {
	t, err := openBareRoot(ctx, root) // opening a folder for writing would create it
	if err == nil {
		err = t.close()
	}
	if err != nil {
		return storage.Opened{}, err
	}
	opened, err := drivers.Open(ctx, root, false)
	if err != nil {
		return opened, whatToDo(root, err)
	}
	return opened, nil
}

// onProven is onServer for daemons that a journal of this root names. Such a daemon is shown which root is meant: if the
// root was copied by hand, the daemon serves the original.
func onProven(ctx context.Context, s storage.Store, credentials address.CredentialFiles, urls []string, f func(a *client.Admin) error) error {
	proof, remove, err := layout.ProveRoot(ctx, s)
	if err != nil {
		return fmt.Errorf("%w. To call a daemon without writing to the root, name it by --server", err)
	}
	defer remove()
	return onServer(credentials, urls, f, client.WithRootProof(proof))
}

// onServer calls f with the calls for people of these daemons.
func onServer(credentials address.CredentialFiles, urls []string, f func(a *client.Admin) error, opts ...client.Option) (err error) {
	c, admin, err := adminWithOptions(credentials, urls, opts...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	return advised(f(admin))
}

// advised adds to an error of a call what to do.
func advised(err error) error {
	_, misnamed := errors.AsType[x509.HostnameError](err)
	switch {
	case misnamed:
		return fmt.Errorf("%w. Name the daemon as its certificate does, or give it a certificate for this name", err)
	case errors.Is(err, address.ErrUntrusted):
		return fmt.Errorf("%w. Name the authority that made the certificate by --tls-ca", err)
	case errors.Is(err, client.ErrUnavailable):
		return fmt.Errorf("%w. To ask another daemon, name it by --server", err)
	}
	return err
}

// ownerInJournal reads the addresses of the job's owner in the journal of <root>/<id>. If a server was named, its
// address is the answer instead: that daemon can take a job that nobody owns.
func ownerInJournal(ctx context.Context, server, arg string) (urls []string, id, root string, err error) {
	at, err := drivers.Normal(arg)
	if err != nil {
		return nil, "", "", err
	}
	root, id = drivers.CutLast(at)
	if err := layout.ValidateJobID(id); err != nil {
		return nil, "", "", exit.Usagef("job %q: want <root>/<job id>, such as file:///var/lib/ckptd/clicks, or <job id> with --server: %w", arg, err)
	}
	opened, err := drivers.Open(ctx, root, true)
	if err != nil {
		return nil, "", "", err
	}
	defer func() { err = errors.Join(err, opened.Close()) }()
	if _, err := layout.ReadRoot(ctx, opened.Store); err != nil {
		return nil, "", "", err
	}
	head, how, err := journalio.ReadHead(ctx, opened.Store, opened.Facts, id)
	switch {
	case err != nil:
		return nil, "", "", err
	case how == journal.ReadEmpty:
		return nil, "", "", fmt.Errorf("there is no job %s under %s; `ckptd ls %s` lists what there is", id, root, output.ShellWord(root))
	case how != journal.ReadDone:
		return nil, "", "", fmt.Errorf("the journal of %s cannot be read; `ckptd journal show %s` says why: %w", id, output.ShellWord(arg), catalog.ErrDamaged)
	case server != "":
		return []string{server}, id, root, nil
	case head.Owner.IsZero() || len(head.URLs) == 0: // nobody, or a command that changes the job
		return nil, "", "", &unownedError{head, id, at}
	}
	return head.URLs, id, root, nil
}

// unownedError is the error for a job that nobody owns. It says how to end such a job.
type unownedError struct {
	head   *journal.Entry
	id, at string
}

func (e *unownedError) Error() string {
	how := ""
	switch {
	case e.head.Suspended:
		how = "; it goes on when its workers are started again"
	case e.head.Status == journal.StatusRunning:
		how = "; `cancel` with --server lets the daemon named there end it"
	}
	return fmt.Sprintf("job %s is %s, and no daemon owns it (epoch %d); `ckptd ls %s` shows what is kept of it%s", e.id,
		output.Enum(catalog.HeadStatus(e.head), "JOB_STATUS_"), e.head.Epoch, output.ShellWord(e.at), how)
}

// endedJob returns the last journal entry of a job that has ended, if that is what err says.
func endedJob(err error) (head *journal.Entry, ok bool) {
	e, ok := errors.AsType[*unownedError](err)
	if !ok || !e.head.Status.Terminal() {
		return nil, false
	}
	return e.head, true
}

// suspendedJob returns the head of the job that err says nobody owns, if a person has suspended it.
func suspendedJob(err error) (head *journal.Entry, ok bool) {
	e, ok := errors.AsType[*unownedError](err)
	if !ok || catalog.HeadStatus(e.head) != ckptdv1.JobStatus_JOB_STATUS_SUSPENDED {
		return nil, false
	}
	return e.head, true
}
