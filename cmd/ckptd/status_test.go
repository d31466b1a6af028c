package main

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"testing"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/conformance/daemontest"
	"github.com/ckptd/ckptd/layout/layouttest"
	"github.com/ckptd/ckptd/layout/storage/file"
)

// endedAnswer is what `status --json` prints of a job that has ended.
type endedAnswer struct {
	Root, StartedAt string
	URLs            []string `json:"urls"`
	Jobs            []struct {
		Summary struct{ JobID, Status string }
	}
}

func statusOf(t *testing.T, args ...string) (a endedAnswer) {
	t.Helper()
	var out bytes.Buffer
	if code := run(t.Context(), append([]string{"status", "--json"}, args...), &out, &out); code != exit.Done {
		t.Fatalf("%v: exit code %d\n%s", args, code, &out)
	}
	if err := json.Unmarshal(out.Bytes(), &a); err != nil {
		t.Fatal(err)
	}
	return a
}

// The status of a job that has ended names the daemon that was asked.
func TestStatusOfAnEndedJob(t *testing.T) {
	d := daemontest.Start(t)
	c, err := client.New([]string{d.URL()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	plan := &client.Plan{Operators: []client.Operator{{ID: "a", Parallelism: 1, MaxParallelism: 1, Triggered: true}}}
	if _, err := c.AttachJob(t.Context(), client.JobSpec{ID: "clicks", Plan: plan}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Admin().Cancel(t.Context(), "clicks"); err != nil {
		t.Fatal(err)
	}
	a := statusOf(t, "clicks", "--server", d.URL())
	if a.Root == "" || a.StartedAt == "" || len(a.URLs) != 1 || a.URLs[0] != d.URL() || a.Jobs[0].Summary.Status != "JOB_STATUS_CANCELED" {
		t.Errorf("%+v", a)
	}
}

// Read from the root without a daemon, it names the root.
func TestStatusOfAnEndedJobWithoutADaemon(t *testing.T) {
	root := filepath.Join(t.TempDir(), "root")
	opened, err := file.Open(t.Context(), root, nil)
	if err != nil {
		t.Fatal(err)
	}
	layouttest.Build(t, opened.Store)
	if err := opened.Close(); err != nil {
		t.Fatal(err)
	}
	a := statusOf(t, filepath.Join(root, "ended"))
	if a.Root != "file://"+root || len(a.URLs) != 0 || a.Jobs[0].Summary.JobID != "ended" {
		t.Errorf("%+v", a)
	}
}
