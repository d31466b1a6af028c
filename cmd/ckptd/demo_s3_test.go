package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/ckptd/ckptd/cmd/ckptd/drivers"
	"github.com/ckptd/ckptd/cmd/ckptd/output"
	"github.com/ckptd/ckptd/conformance/servers"
	"github.com/ckptd/ckptd/layout/catalog"
)

// A person starts the demo on S3 servers, over http and https, with kills. The demo says that the counts are exact, the
// commands that it prints work, and it leaves on storage exactly the objects that it names.
func TestDemoOnS3(t *testing.T) {
	t.Parallel()
	type runs struct {
		kind   string
		tls    bool
		seeds  []uint64
		server *servers.S3
	}
	all := []runs{{kind: servers.Versitygw, seeds: []uint64{0}}}
	if os.Getenv("CKPTD_TEST_FULL") != "" {
		all = []runs{
			{kind: servers.Versitygw, seeds: []uint64{0, 1}}, {kind: servers.Versitygw, tls: true, seeds: []uint64{2}},
			{kind: servers.MinIO, seeds: []uint64{4}}, {kind: servers.MinIO, tls: true, seeds: []uint64{3}},
		}
	}
	for i := range all {
		r := &all[i]
		r.server = servers.StartS3(t, r.kind, r.tls)
	}
	for _, r := range all {
		for _, seed := range r.seeds {
			t.Run(fmt.Sprintf("%s, tls %t, seed %d", r.kind, r.tls, seed), func(t *testing.T) {
				t.Parallel()
				demoOn(t, r.server.URL(fmt.Sprintf("demo %d", seed), ""), seed)
			})
		}
	}
}

var struckOf = regexp.MustCompile(`(\d+) of \d+ kills`)

// demoOn runs one demo on a store of another process. With an even seed it leaves only the root's marker and the journal, which
// says how the job ended. With an odd seed it keeps the checkpoints.
func demoOn(t *testing.T, root string, seed uint64) {
	tmp := t.TempDir()
	retention := "RETAIN_ON_CANCELLATION"
	if seed%2 == 0 {
		retention = "DELETE_ON_CANCELLATION"
	}
	config := filepath.Join(tmp, "flink.yaml")
	text := "execution.checkpointing.externalized-checkpoint-retention: " + retention + "\n"
	if err := os.WriteFile(config, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	cmd, out := demoProcess(t, tmp, "--root", root, "--config", config, "--seed", fmt.Sprint(seed), "--users", "500",
		"--records", "16000", "--rate", "2500", "--interval", "200ms", "--kills", "3")
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	t.Log(out.String())
	if !strings.Contains(out.String(), "exact: ") {
		t.Error("it does not say that the counts are exact")
	}
	if m := struckOf.FindStringSubmatch(out.String()); m == nil || m[1] < "2" {
		t.Errorf("not a worker and the daemon were killed: %q", m)
	}
	if l := left(t, tmp); len(l) > 0 {
		t.Errorf("left: %q", l)
	}
	lookAtJob(t, out.String(), seed%2 != 0)

	opened, err := drivers.Open(t.Context(), root, false)
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	jobs, err := catalog.New(opened.Store).Jobs(t.Context())
	if err != nil || len(jobs.GetJobs()) != 1 {
		t.Fatalf("%v, %v", jobs, err)
	}
	keys, job := listed(t.Context(), t, opened.Store), jobs.GetJobs()[0].GetJobId()
	compareStorage(t.Context(), t, opened.Store, job, keys)
	if seed%2 == 0 {
		for _, key := range keys {
			if key != "_ckptd" && !strings.HasPrefix(key, job+"/_journal/") && !strings.HasPrefix(key, job+"/_history/") {
				t.Errorf("left on storage: %s", key)
			}
		}
	}
}

// lookAtJob has a shell do what the demo says at its end.
func lookAtJob(t *testing.T, out string, kept bool) {
	t.Helper()
	_, after, _ := strings.Cut(out, "look at the job\n")
	lines := strings.Split(strings.TrimSpace(after), "\n")
	if want := map[bool]int{true: 4, false: 2}[kept]; len(lines) != want {
		t.Errorf("%d commands, want %d:\n%s", len(lines), want, after)
	}
	for _, line := range lines {
		line = strings.Replace(line, "go run ./cmd/ckptd", output.ShellWord(os.Args[0]), 1)
		if said, err := exec.Command("sh", "-c", line).CombinedOutput(); err != nil || len(said) == 0 {
			t.Errorf("%s: %v: %s", line, err, said)
		}
	}
}
