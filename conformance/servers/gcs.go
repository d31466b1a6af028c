package servers

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"testing"
	"time"
)

// GCS is a running fake-gcs-server. Its objects are in memory, so they are gone when it ends.
type GCS struct {
	// Endpoint is its URL.
	Endpoint string

	address string
	process *process
}

// StartGCS starts a server with the bucket Bucket, which ends with the test.
func StartGCS(t testing.TB) *GCS {
	t.Helper()
	g := &GCS{}
	path := binary(t, FakeGCS)
	var err error
	for range 3 { // another process may take the port first
		g.address = freePort(t)
		g.Endpoint = "http://" + g.address
		if err = g.start(path); err == nil {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.process.kill)
	return g
}

func (g *GCS) start(path string) error {
	host, port := split(g.address)
	p, err := start(path, nil, "-scheme", "http", "-host", host, "-port", port, "-backend", "memory", "-public-host", g.address,
		"-external-url", g.Endpoint, "-log-level", "error")
	if err != nil {
		return err
	}
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	if err := p.await(client, g.Endpoint+"/_internal/healthcheck", http.StatusOK); err != nil {
		p.kill()
		return err
	}
	if err := g.makeBucket(client, Bucket); err != nil {
		p.kill()
		return err
	}
	g.process = p
	return nil
}

// Make makes another bucket. The server takes the longer for an object, the more there are in its bucket.
func (g *GCS) Make(t testing.TB, bucket string) {
	t.Helper()
	if err := g.makeBucket(http.DefaultClient, bucket); err != nil {
		t.Fatal(err)
	}
}

func (g *GCS) makeBucket(client *http.Client, name string) error {
	resp, err := client.Post(g.Endpoint+"/storage/v1/b?project=test", "application/json", bytes.NewBufferString(`{"name":"`+name+`"}`))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusConflict {
		return fmt.Errorf("make bucket %s: %s", name, resp.Status)
	}
	return nil
}

// Address returns host:port.
func (g *GCS) Address() string { return g.address }

// GCSURL returns the URL of a store below a prefix of the bucket at an endpoint, in ckptd's form. extra is added to its
// query: "max_attempts=1".
func GCSURL(endpoint, prefix, extra string) string {
	text := "gs://" + Bucket + "/" + prefix + "?" + url.Values{"endpoint": {endpoint}}.Encode()
	if extra != "" {
		text += "&" + extra
	}
	return text
}
