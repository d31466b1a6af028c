package main

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/ckptd/ckptd/layout/catalog"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/proto/ckptd/v1/ckptdv1connect"
)

// dialServer makes a client of the calls for people of the daemon at "http://host:port" or "unix:/path". Nothing is sent yet.
func dialServer(server string) (ckptdv1connect.JobServiceClient, func(), error) {
	base, transport := server, &http.Transport{}
	if path, ok := strings.CutPrefix(server, "unix:"); ok {
		base = "http://ckptd" // never looked up
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		}
	} else if u, err := url.Parse(server); err != nil || u.Scheme != "http" || u.Host == "" || strings.Trim(u.Path, "/") != "" {
		return nil, nil, usagef("server %q: want http://host:port or unix:/path", server)
	}
	return ckptdv1connect.NewJobServiceClient(&http.Client{Transport: transport}, base), transport.CloseIdleConnections, nil
}

// checkDaemonURL refuses what workers and other daemons could not reach a daemon at; flag is who named it.
func checkDaemonURL(flag, raw string) error {
	path, unix := strings.CutPrefix(raw, "unix:")
	u, err := url.Parse(raw)
	switch {
	case unix && strings.HasPrefix(path, "/"):
	case !unix && err == nil && u.Scheme == "http" && u.Host != "" && strings.Trim(u.Path, "/") == "":
	default:
		return usagef("--%s %q: want http://HOST:PORT or unix:/PATH, as http://%s or unix:/run/ckptd.sock", flag, raw, defaultListen)
	}
	return nil
}

// openServer is the target that is all of a daemon's jobs.
func openServer(server string) (*target, error) {
	jobs, closeIdle, err := dialServer(server)
	if err != nil {
		return nil, err
	}
	return &target{view: &remote{jobs}, close: func() error { closeIdle(); return nil }}, nil
}

// remote is the view through a daemon. What daemons do not answer is read from the root that this one serves.
type remote struct {
	jobs ckptdv1connect.JobServiceClient
}

var _ view = (*remote)(nil)

func (r *remote) Jobs(ctx context.Context) (*ckptdv1.ListJobsResponse, error) {
	return r.jobs.ListJobs(ctx, &ckptdv1.ListJobsRequest{})
}

func (r *remote) Checkpoints(ctx context.Context, job string) (*ckptdv1.ListCheckpointsResponse, error) {
	return r.jobs.ListCheckpoints(ctx, &ckptdv1.ListCheckpointsRequest{JobId: job})
}

func (r *remote) Show(ctx context.Context, job string, id uint64) (*ckptdv1.ShowCheckpointResponse, error) {
	return r.jobs.ShowCheckpoint(ctx, &ckptdv1.ShowCheckpointRequest{JobId: job, CheckpointId: id})
}

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

// onRoot opens the daemon's root to look at it.
func (r *remote) onRoot(ctx context.Context, look func(view) error) error {
	status, err := r.jobs.GetStatus(ctx, &ckptdv1.GetStatusRequest{})
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
