package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/cockroachdb/datadriven"

	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/history"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/layouttest"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/file"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/proto/ckptd/v1/ckptdv1connect"
	"github.com/ckptd/ckptd/service/api"
)

// verbs is the world of testdata/verbs: a folder with a root in it, and a daemon over that root. Commands:
//
//	ckptd              runs the program with the arguments of the input, and prints what it prints and its exit code
//	write FILE         writes the input over a file
//	rm FILE            removes a file or a folder
//	mv FILE FILE       moves one
//	lend JOB ID HOLDER puts a pin of the job HOLDER on a checkpoint; the holder's next owner may list it
//	end JOB            ends a job whose owner is gone
//	history            writes the history of the job clicks
//
// DIR, ROOT and SERVER in the input stand for what they are here. A time that the root's builder did not write is shown as NOW.
type verbs struct {
	dir     string
	replace *strings.Replacer
	restore *strings.Replacer
}

func newVerbs(t *testing.T) *verbs {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(dir, "root")
	opened, err := file.Open(t.Context(), root, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = opened.Close() })
	layouttest.Build(t, opened.Store)
	mux := newFakeDaemon(t, opened.Store, root)
	t.Setenv("CKPTD_SERVER", "")
	return &verbs{
		dir:     dir,
		replace: strings.NewReplacer("DIR", dir, "ROOT", "file://"+root, "SERVER", mux.URL),
		restore: strings.NewReplacer("file://"+root, "ROOT", dir, "DIR", mux.URL, "SERVER"),
	}
}

func (v *verbs) do(t *testing.T, d *datadriven.TestData) string {
	var err error
	switch path := func(i int) string { return filepath.Join(v.dir, d.CmdArgs[i].Key) }; d.Cmd {
	case "ckptd":
		var out bytes.Buffer
		code := run(t.Context(), strings.Fields(v.replace.Replace(d.Input)), &out, &out)
		if code != 0 {
			fmt.Fprintf(&out, "exit code %d\n", code)
		}
		return now(v.restore.Replace(out.String()))
	case "lend":
		id, err := strconv.ParseUint(d.CmdArgs[1].Key, 10, 64)
		if err != nil {
			d.Fatalf(t, "%v", err)
		}
		v.lend(t, d.CmdArgs[0].Key, id, d.CmdArgs[2].Key)
	case "history":
		layouttest.History(t, v.opened(t))
	case "end":
		v.end(t, d.CmdArgs[0].Key)
	case "write":
		err = os.WriteFile(path(0), []byte(d.Input), 0o666)
	case "rm":
		err = os.RemoveAll(path(0))
	case "mv":
		err = os.Rename(path(0), path(1))
	default:
		d.Fatalf(t, "unknown command %q", d.Cmd)
	}
	if err != nil {
		d.Fatalf(t, "%v", err)
	}
	return ""
}

// lend puts a pin of another job on a checkpoint. The holder's next owner may list the pin, so it is not stale.
func (v *verbs) lend(t *testing.T, job string, id uint64, holder string) {
	t.Helper()
	appendThird(t, v.opened(t), job, func(e *journal.Entry) {
		pin := journal.Lent{Pin: journal.Nonce{Process: journal.Process{7}, Count: 1}, Checkpoint: id, Holder: holder, HolderEpoch: 1 << 40}
		e.Kind, e.Lent = journal.KindLend, append(slices.Clone(e.Lent), pin)
	})
}

// end ends a job whose owner is gone.
func (v *verbs) end(t *testing.T, job string) {
	t.Helper()
	appendThird(t, v.opened(t), job, func(e *journal.Entry) {
		e.Kind, e.Status, e.Owner, e.URLs = journal.KindEnd, journal.StatusCanceled, journal.Nonce{}, nil
		e.Ended = journal.EndedAt(uint64(layouttest.At.UnixMilli()), layouttest.EndReason)
	})
}

// times are those that a command prints.
var times = regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ`)

// now replaces the times of commands that ran in the test. Those of the root's builder are of one day.
func now(text string) string {
	return times.ReplaceAllStringFunc(text, func(at string) string {
		if strings.HasPrefix(at, layouttest.At.Format(time.DateOnly)) {
			return at
		}
		return fmt.Sprintf("%-*s", len(at), "NOW")
	})
}

func TestVerbs(t *testing.T) {
	datadriven.Walk(t, filepath.Join("testdata", "verbs"), func(t *testing.T, path string) {
		v := newVerbs(t)
		datadriven.RunTest(t, path, v.do)
	})
}

// fakeDaemon answers from the storage, as a daemon that owns nothing would.
type fakeDaemon struct {
	ckptdv1connect.UnimplementedJobServiceHandler
	catalog *catalog.Catalog
	root    string
}

func newFakeDaemon(t *testing.T, s storage.Store, root string) *httptest.Server {
	fake := &fakeDaemon{catalog: catalog.New(s), root: root}
	mux := http.NewServeMux()
	mux.Handle(ckptdv1connect.NewJobServiceHandler(fake))
	mux.Handle(ckptdv1connect.NewHistoryServiceHandler(fake))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server
}

func (f *fakeDaemon) ListJobs(ctx context.Context, _ *ckptdv1.ListJobsRequest) (*ckptdv1.ListJobsResponse, error) {
	jobs, err := f.catalog.Jobs(ctx)
	for _, j := range jobs.GetJobs() {
		j.Checkpoints = nil
	}
	return jobs, err
}

func (f *fakeDaemon) ListCheckpoints(ctx context.Context, r *ckptdv1.ListCheckpointsRequest) (*ckptdv1.ListCheckpointsResponse, error) {
	return f.catalog.Checkpoints(ctx, r.GetJobId())
}

func (f *fakeDaemon) ShowCheckpoint(ctx context.Context, r *ckptdv1.ShowCheckpointRequest) (*ckptdv1.ShowCheckpointResponse, error) {
	show, err := f.catalog.Show(ctx, r.GetJobId(), r.GetCheckpointId())
	if errors.Is(err, catalog.ErrNoCheckpoint) {
		return nil, connect.NewError(connect.CodeNotFound, err)
	}
	return show, api.Error(err)
}

func (f *fakeDaemon) GetHistory(ctx context.Context, r *ckptdv1.GetHistoryRequest) (*ckptdv1.GetHistoryResponse, error) {
	res, err := f.catalog.History(ctx, r, &history.Unwritten{})
	return res, api.Error(err)
}

func (f *fakeDaemon) GetStatus(context.Context, *ckptdv1.GetStatusRequest) (*ckptdv1.GetStatusResponse, error) {
	return &ckptdv1.GetStatusResponse{Root: "file://" + f.root}, nil
}

// Every verb has help with an example, and refuses unknown arguments and flags with exit code 2.
func TestEveryVerbTeaches(t *testing.T) {
	root := newRootCmd(nil)
	for _, cmd := range append(root.Commands(), root) {
		if name := cmd.Name(); name == "help" {
			continue
		}
		args := strings.Fields(cmd.CommandPath())[1:]
		var out bytes.Buffer
		if code := run(t.Context(), append(args, "--help"), &out, &out); code != exit.Done || !strings.Contains(out.String(), cmd.Short) && !strings.Contains(out.String(), cmd.Long) {
			t.Errorf("%s --help: exit code %d\n%s", cmd.CommandPath(), code, &out)
		}
		if cmd.Short == "" || cmd.Example == "" && cmd.Runnable() && cmd.Name() != "version" && cmd.Name() != "journal" {
			t.Errorf("%s has no example", cmd.CommandPath())
		}
		for _, bad := range []string{"--no-such-flag", "no such argument"} {
			out.Reset()
			extra := []string{bad}
			if bad != "--no-such-flag" {
				extra = []string{bad, bad, bad}
			}
			if code := run(t.Context(), append(args, extra...), &out, &out); code != exit.Usage {
				t.Errorf("%s %s: exit code %d, want %d\n%s", cmd.CommandPath(), bad, code, exit.Usage, &out)
			}
		}
	}
}

func TestInterrupted(t *testing.T) {
	v := newVerbs(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out bytes.Buffer
	if code := run(ctx, []string{"ls", v.replace.Replace("ROOT")}, &out, &out); code != exit.Interrupted {
		t.Errorf("exit code %d, want %d\n%s", code, exit.Interrupted, &out)
	}
}

func TestCompletionOfEveryShell(t *testing.T) {
	for _, shell := range shells {
		var out bytes.Buffer
		if code := run(t.Context(), []string{"completion", shell}, &out, &out); code != exit.Done || !strings.Contains(out.String(), "ckptd") {
			t.Errorf("%s: exit code %d\n%.300s", shell, code, &out)
		}
	}
}

// What is printed as JSON is the API's message, in the form that Connect uses, too.
func TestJSON(t *testing.T) {
	v := newVerbs(t)
	for _, c := range []struct{ args, path, want string }{
		{"ls ROOT --json", "jobs.0.checkpoints.1.path", "clicks/chk-42"},
		{"ls ROOT/clicks --json", "checkpoints.0.stateBytes", "3208"},
		{"show ROOT/clicks/chk-42 --json", "summary.reusedBytes", "3000"},
		{"files ROOT/clicks/chk-42 --json", "files.1.presence", "FILE_PRESENCE_PRESENT"},
		{"journal show ROOT/clicks --json", "entries.3.retained.1.summary.checkpointId", "42"},
		{"ls --server SERVER --json", "jobs.0.jobId", "clicks"},
	} {
		var out bytes.Buffer
		if code := run(t.Context(), strings.Fields(v.replace.Replace(c.args)), &out, &out); code != exit.Done {
			t.Errorf("%s: exit code %d\n%s", c.args, code, &out)
			continue
		}
		var doc any
		if err := json.Unmarshal(out.Bytes(), &doc); err != nil {
			t.Errorf("%s: %v", c.args, err)
		}
		for _, name := range strings.Split(c.path, ".") {
			switch at := doc.(type) {
			case map[string]any:
				doc = at[name]
			case []any:
				doc = at[int(name[0]-'0')]
			}
		}
		if doc != c.want {
			t.Errorf("%s: %s is %v, want %v", c.args, c.path, doc, c.want)
		}
	}
}

func TestUnixServer(t *testing.T) {
	var out bytes.Buffer
	if code := run(t.Context(), []string{"ls", "--server", "unix:/no/such/socket"}, &out, &out); code != exit.Failed || !strings.Contains(out.String(), "/no/such/socket") {
		t.Errorf("exit code %d\n%s", code, &out)
	}
}
