package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/cmd/ckptd/drivers"
	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/proto/address"
	"github.com/ckptd/ckptd/service"
	"github.com/ckptd/ckptd/service/api"
	"github.com/ckptd/ckptd/service/shell"
)

// changer changes the jobs of one root. A job whose owner answers is changed by a call to that owner. Any other job is
// changed by this process, as janitor.
type changer struct {
	opened   storage.Opened
	janitor  *service.Janitor
	at       daemons
	takeOver bool
	// root is the root's URL.
	root string
	// by is the person's command, for the audit log.
	by *shell.Command
}

// takeOverFlag adds the flag that takes a job from an owner that does not answer.
func takeOverFlag(cmd *cobra.Command) {
	cmd.Flags().Bool("take-over", false, "take a job that has not ended from an owner that does not answer (costs a running job at most the checkpoint in progress)")
	commandLineOnly(cmd.Flags(), "take-over")
}

// openChanger opens a root that exists. changes: the verb will change it. Otherwise the changer only looks at the root.
func openChanger(cmd *cobra.Command, root string, changes bool) (*changer, error) {
	ctx, at := cmd.Context(), daemonsOf(cmd)
	opened, err := openRootFor(ctx, root, changes)
	if err != nil {
		return nil, err
	}
	credentials, err := address.NewCredentials(at.credentials)
	if err != nil {
		return nil, errors.Join(exit.Usagef("%w", err), opened.Close())
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn, ReplaceAttr: withValue}))
	by := commandOf(cmd)
	janitor, err := service.NewJanitor(opened, &service.Options{Version: version(), Credentials: credentials, Log: log, Trash: trashOf(cmd),
		Savepoints: shell.Savepoints{Open: openSavepoint}}, by)
	if err != nil {
		return nil, errors.Join(err, opened.Close())
	}
	takeOver, _ := cmd.Flags().GetBool("take-over")
	return &changer{opened, janitor, at, takeOver, root, by}, nil
}

// openRootFor opens a root that exists. For changes, the store must keep the promises that everything depends on.
func openRootFor(ctx context.Context, root string, changes bool) (storage.Opened, error) {
	if !changes {
		return drivers.Open(ctx, root, true)
	}
	opened, err := openWritable(ctx, root)
	if err != nil {
		return opened, err
	}
	if _, err = layout.OpenRoot(ctx, opened.Store); err != nil {
		return opened, errors.Join(fmt.Errorf("%s: %w", root, err), opened.Close())
	}
	return opened, nil
}

func (c *changer) close() error {
	c.janitor.Close()
	return c.opened.Close()
}

// change does one thing with a job: through the owner if one answers, else as janitor.
func (c *changer) change(ctx context.Context, job string, owner func(*client.Admin) error, janitor func(context.Context, *shell.Job) error) error {
	err := c.janitor.Do(ctx, job, c.takeOver, janitor)
	urls := api.OwnerURLs(err)
	if len(urls) == 0 {
		return inWords(err)
	}
	if c.at.server != "" {
		urls = []string{c.at.server} // it redirects to the owner; the owner's own address may mean nothing here
	}
	return onProven(ctx, c.opened.Store, c.at.credentials, urls, owner)
}

// inWords is an error of this process's own service without the code that is meant for callers over the network.
func inWords(err error) error {
	ce, ok := errors.AsType[*connect.Error](err)
	switch {
	case !ok:
		return err
	case ce.Code() == connect.CodeDataLoss:
		return exit.With(exit.Damage, errors.New(ce.Message()))
	case ce.Code() == connect.CodeCanceled:
		return context.Canceled
	}
	return errors.New(ce.Message())
}
