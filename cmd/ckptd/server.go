package main

import (
	"context"
	"path/filepath"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/proto/address"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// adminOf gives the calls for people at the first of these daemons that answers. It sends nothing yet. The caller
// closes the client.
func adminOf(servers ...string) (*client.Client, *client.Admin, error) {
	urls := make([]string, len(servers))
	for i, s := range servers {
		at, err := parseServer(s)
		if err != nil {
			return nil, nil, exit.Usagef("server: %w", err)
		}
		urls[i] = at.String()
	}
	c, err := client.New(urls)
	if err != nil {
		return nil, nil, err
	}
	return c, c.Admin(), nil
}

// parseServer parses the address of a daemon that a person has written. The path of a socket may be relative.
func parseServer(raw string) (address.Address, error) {
	if path, ok := address.UnixPath(raw); ok && path != "" {
		path, err := filepath.Abs(path)
		return address.Unix(path), err
	}
	return address.Parse(raw)
}

// checkDaemonURL refuses an address at which workers and other daemons could not reach a daemon. flag is the flag that
// named the address. It returns the usual spelling.
func checkDaemonURL(flag, raw string) (string, error) {
	at, err := address.Parse(raw)
	if err != nil {
		return "", exit.Usagef("--%s: %w, as http://%s or unix:/run/ckptd.sock", flag, err, defaultListen)
	}
	return at.String(), nil
}

// openServer is the target that is all of a daemon's jobs.
func openServer(server string) (*target, error) {
	c, admin, err := adminOf(server)
	if err != nil {
		return nil, err
	}
	return &target{view: &remote{admin}, close: c.Close}, nil
}

// remote is the view through a daemon. Daemons have no calls for files and journals; those are read from the daemon's
// root.
type remote struct{ *client.Admin }

var _ view = (*remote)(nil)

func (r *remote) Files(ctx context.Context, job string, id uint64) (out *ckptdv1.ShowCheckpointResponse, err error) {
	err = r.onRoot(ctx, func(c view) error {
		out, err = c.Files(ctx, job, id)
		return err
	})
	return out, err
}

func (r *remote) Journal(ctx context.Context, job string) (out *ckptdv1.ShowJournalResponse, err error) {
	err = r.onRoot(ctx, func(c view) error {
		out, err = c.Journal(ctx, job)
		return err
	})
	return out, err
}

// onRoot opens the daemon's root and calls look with its view.
func (r *remote) onRoot(ctx context.Context, look func(view) error) error {
	status, err := r.Status(ctx)
	if err != nil {
		return err
	}
	t, err := openBareRoot(ctx, status.GetRoot())
	if err != nil {
		return err
	}
	err = look(t.view)
	if closeErr := t.close(); err == nil {
		err = closeErr
	}
	return err
}

var (
	_ view = (*catalog.Catalog)(nil)
	_ view = (*loose)(nil)
)
