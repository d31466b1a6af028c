package main

import (
	"context"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/proto/address"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// tokenVariable is the environment variable with a token. There is no flag for it: other users see the flags of a
// process.
const tokenVariable = variablePrefix + "TOKEN"

// daemons says which daemon a command asks, and what the command shows there.
type daemons struct {
	// server is the address that --server names; empty: none.
	server      string
	credentials address.CredentialFiles
}

// serverFlags adds the flags with which a command reaches a daemon, and daemonsOf reads them.
func serverFlags(cmd *cobra.Command) {
	cmd.Flags().String("server", "", "ask this `daemon`: "+address.Forms+"; CKPTD_SERVER by default")
	credentialFlags(cmd)
}

// credentialFlags adds the flags for what a caller shows to daemons, and credentialsOf reads them.
func credentialFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.String("tls-ca", "", "PEM `file` of the authorities that made the certificates of daemons (default: the system's)")
	f.String("client-cert", "", "PEM `file` with a client certificate to show to daemons")
	f.String("client-key", "", "PEM `file` with its key")
	f.String("token-file", "", "`file` with a token to show to daemons, in one line; or CKPTD_TOKEN holds the token itself")
}

func daemonsOf(cmd *cobra.Command) daemons {
	server, _ := cmd.Flags().GetString("server")
	return daemons{server, credentialsOf(cmd)}
}

func credentialsOf(cmd *cobra.Command) address.CredentialFiles {
	text := func(name string) string {
		s, _ := cmd.Flags().GetString(name)
		return s
	}
	files := address.CredentialFiles{
		CA: text("tls-ca"), Cert: text("client-cert"), Key: text("client-key"), TokenFile: text("token-file"), Token: os.Getenv(tokenVariable),
	}
	if cmd.Flags().Changed("token-file") && sourceOf(cmd.Flags().Lookup("token-file")) == "flag --token-file" {
		files.Token = "" // the command line wins over the environment
	}
	return files
}

// newClient makes a client of daemons.
func newClient(urls []string, f address.CredentialFiles, opts ...client.Option) (*client.Client, error) {
	return client.New(urls, append(opts, client.WithCA(f.CA), client.WithCertificate(f.Cert, f.Key), client.WithTokenFile(f.TokenFile), client.WithToken(f.Token))...)
}

// adminWith gives the calls for people at the first of these daemons that answers. It sends nothing yet. The caller
// closes the client.
func adminWith(credentials address.CredentialFiles, servers ...string) (*client.Client, *client.Admin, error) {
	return adminWithOptions(credentials, servers)
}

// adminWithOptions is adminWith with options of the client.
func adminWithOptions(credentials address.CredentialFiles, servers []string, opts ...client.Option) (*client.Client, *client.Admin, error) {
	urls := make([]string, len(servers))
	for i, s := range servers {
		at, err := parseServer(s)
		if err != nil {
			return nil, nil, exit.Usagef("server: %w", err)
		}
		urls[i] = at.String()
	}
	c, err := newClient(urls, credentials, opts...)
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
func openServer(at daemons) (*target, error) {
	c, admin, err := adminWith(at.credentials, at.server)
	if err != nil {
		return nil, err
	}
	return &target{view: &remote{admin.Messages()}, close: c.Close}, nil
}

// remote is the view through a daemon. Daemons have no calls for files and journals; those are read from the daemon's
// root.
type remote struct{ *client.Messages }

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
