package main

import (
	"net/http/httptest"
	"testing"

	"github.com/ckptd/ckptd/conformance/gcsfake"
	"github.com/ckptd/ckptd/conformance/servers"
)

// A person starts the demo on servers of Google Cloud Storage, with kills: one that others have written, and the strict
// one, which lets an object change once a second. The counts are exact, and a sweep leaves nothing.
func TestDemoOnGCS(t *testing.T) {
	t.Parallel()
	t.Run("fake-gcs-server", func(t *testing.T) {
		t.Parallel()
		demoOn(t, servers.GCSURL(servers.StartGCS(t).Endpoint, "demo 0", ""), 0)
	})
	t.Run("strict", func(t *testing.T) {
		t.Parallel()
		server := gcsfake.New(servers.Bucket, gcsfake.Bucket{OncePerSecond: true})
		listening := httptest.NewServer(server)
		defer listening.Close()
		demoOn(t, servers.GCSURL(listening.URL, "demo 1", ""), 1)
		if _, _, _, uploads := server.Versions(servers.Bucket); uploads > 0 {
			t.Errorf("%d uploads are left unfinished", uploads)
		}
	})
}
