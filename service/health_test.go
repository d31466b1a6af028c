package service_test

import (
	"io"
	"net/http"
	"testing"

	"connectrpc.com/grpchealth"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/proto/ckptd/v1/ckptdv1connect"
)

// A daemon answers /healthz always, and /readyz and gRPC's health as its store answers.
func TestHealthIsServed(t *testing.T) {
	t.Parallel()
	under := newRoot()
	if _, err := layout.OpenRoot(t.Context(), under.Store); err != nil {
		t.Fatal(err)
	}
	root, faults := faulty(under, nil)
	d := startDaemon(t, root, "")
	get := func(path string) int {
		res, err := d.web.Get(d.http.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		io.Copy(io.Discard, res.Body)
		return res.StatusCode
	}
	health := grpchealth.NewClient(d.web, d.http.URL)
	status := func() grpchealth.Status {
		res, err := health.Check(t.Context(), &grpchealth.CheckRequest{Service: ckptdv1connect.JobServiceName})
		if err != nil {
			t.Fatal(err)
		}
		return res.Status
	}
	if get("/readyz") != http.StatusOK || get("/healthz") != http.StatusOK || status() != grpchealth.StatusServing {
		t.Error("a daemon whose store answers is not ready")
	}
	faults.Freeze()
	eventually(t, "the daemon is not ready without its store", func() bool { return get("/readyz") == http.StatusServiceUnavailable })
	if get("/healthz") != http.StatusOK || status() != grpchealth.StatusNotServing {
		t.Error("without its store the daemon does not live, or serves")
	}
	faults.Thaw()
	eventually(t, "the daemon is ready again", func() bool { return get("/readyz") == http.StatusOK })
}
