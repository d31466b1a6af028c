package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"

	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/proto/address"
	"github.com/ckptd/ckptd/service/access"
)

// secureOptions are the flags of serve that say who may call the daemon.
type secureOptions struct {
	tls        access.TLSFiles
	access     string
	insecure   bool
	socketMode socketMode
}

func (o *secureOptions) flags(f *pflag.FlagSet) {
	o.socketMode = 0o600
	f.StringVar(&o.tls.Cert, "tls-cert", "", "PEM `file` with the daemon's certificate and its chain")
	f.StringVar(&o.tls.Key, "tls-key", "", "PEM `file` with its key")
	f.StringVar(&o.tls.ClientCA, "tls-client-ca", "", "PEM `file` of the authorities whose client certificates are taken")
	f.StringVar(&o.access, "access", "", "`file` that gives roles to tokens and client certificates: lines NAME ROLES PROOF (docs/operate.md)")
	f.BoolVar(&o.insecure, "insecure", false, "let other machines call the daemon without TLS or without --access")
	f.Var(&o.socketMode, "socket-mode", "rights of the socket's file in octal: who may write to it may do everything")
}

// check refuses flags that do not fit each other. exposed is true if other machines can reach the daemon.
func (o *secureOptions) check(listen string, exposed bool) error {
	_, unix := address.UnixPath(listen)
	switch {
	case (o.tls.Cert == "") != (o.tls.Key == ""):
		return exit.Usagef("--tls-cert and --tls-key belong together: give both files")
	case o.tls.ClientCA != "" && o.tls.Cert == "":
		return exit.Usagef("--tls-client-ca needs TLS: give --tls-cert and --tls-key")
	case o.tls.ClientCA != "" && o.access == "":
		return exit.Usagef("--tls-client-ca says who somebody is; --access has to say what they may do")
	case unix && (o.tls.Cert != "" || o.access != ""):
		return exit.Usagef("--listen %s: the rights of a socket's file say who may call: leave out --tls-cert and --access, and set --socket-mode", listen)
	case exposed && !o.insecure && (o.tls.Cert == "" || o.access == ""):
		return exit.Usagef("--listen %s: other machines could reach the daemon, and whoever does may delete checkpoints: give --tls-cert, --tls-key and --access "+
			"(docs/operate.md), or listen on %s or unix:PATH; --insecure allows it all the same", listen, defaultListen)
	}
	return nil
}

// door is where a daemon checks its callers.
type door struct {
	tls   *tls.Config   // nil: no TLS
	guard *access.Guard // nil: everybody who can connect may do everything
}

// open reads the files.
func (o *secureOptions) open(log *slog.Logger) (d door, err error) {
	if o.tls.Cert != "" {
		if d.tls, err = access.ServerTLS(o.tls, log); err != nil {
			return door{}, err
		}
	}
	if o.access != "" {
		if d.guard, err = access.NewGuard(o.access, log); err != nil {
			return door{}, err
		}
	}
	return d, nil
}

// metrics count the refused calls.
func (d door) metrics() []prometheus.Collector {
	if d.guard == nil {
		return nil
	}
	return []prometheus.Collector{d.guard.Metrics()}
}

// wrap puts the guard before a handler.
func (d door) wrap(h http.Handler) http.Handler {
	if d.guard == nil {
		return h
	}
	return d.guard.Wrap(h)
}

// serve serves with TLS, if there is any.
func (d door) serve(web *http.Server, l net.Listener) error {
	if d.tls == nil {
		return web.Serve(l)
	}
	web.TLSConfig = d.tls
	return web.ServeTLS(l, "", "")
}

// scheme is that of the daemon's URLs.
func (d door) scheme() string {
	if d.tls != nil {
		return "https"
	}
	return "http"
}

// String says in the log who may call.
func (d door) String() string {
	switch {
	case d.guard == nil:
		return "everybody who can connect"
	case d.tls == nil:
		return "by the access file, without TLS"
	}
	return "by the access file, with TLS"
}

// socketMode is the flag with the rights of a socket's file.
type socketMode fs.FileMode

var _ pflag.Value = (*socketMode)(nil)

// Set is pflag.Value's.
func (m *socketMode) Set(s string) error {
	n, err := strconv.ParseUint(s, 8, 32)
	if err != nil || n > 0o777 {
		return errors.New("want rights in octal, as 0600 or 0660")
	}
	*m = socketMode(n)
	return nil
}

// String is pflag.Value's.
func (m *socketMode) String() string { return fmt.Sprintf("%04o", *m) }

// Type is pflag.Value's.
func (*socketMode) Type() string { return "mode" }
