package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"io/fs"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ckptd/ckptd/cmd/ckptd/drivers"
	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/conformance/servers"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// runDoctor runs the verb and reads its report.
func runDoctor(t *testing.T, args ...string) (report *ckptdv1.DoctorReport, code int, said string) {
	t.Helper()
	var out, stderr bytes.Buffer
	code = run(t.Context(), append([]string{"doctor", "--quick", "--json"}, args...), &out, &stderr)
	report = &ckptdv1.DoctorReport{}
	if out.Len() > 0 {
		if err := protojson.Unmarshal(out.Bytes(), report); err != nil {
			t.Errorf("%v: %s", err, &out)
		}
	}
	return report, code, stderr.String()
}

// doctorProcess is runDoctor in a process of its own, with more in its environment.
func doctorProcess(t *testing.T, env []string, args ...string) (report *ckptdv1.DoctorReport, code int, said string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], append([]string{"doctor", "--quick", "--json"}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, _ := cmd.Output()
	report = &ckptdv1.DoctorReport{}
	if err := protojson.Unmarshal(out, report); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	return report, cmd.ProcessState.ExitCode(), stderr.String()
}

// runProcess runs ckptd as a process of its own, with more in its environment.
func runProcess(env []string, args ...string) (out string, code int) {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), env...)
	text, _ := cmd.CombinedOutput()
	return string(text), cmd.ProcessState.ExitCode()
}

func findingOf(r *ckptdv1.DoctorReport, check string) *ckptdv1.Finding {
	for _, f := range r.GetFindings() {
		if f.GetCheck() == check {
			return f
		}
	}
	return nil
}

// tree is everything below a folder.
func tree(t *testing.T, dir string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil {
			all = append(all, path+" "+info.Mode().String())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// A folder is examined by several processes, found fit, and left as it was: also one that is not there yet.
func TestDoctorOnFolders(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	used := filepath.Join(base, "used")
	for name, dir := range map[string]string{"empty": t.TempDir(), "absent": filepath.Join(base, "a", "b"), "a root": used} {
		if name == "a root" {
			opened, err := drivers.Open(t.Context(), used, false)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := layout.OpenRoot(t.Context(), opened.Store); err != nil {
				t.Fatal(err)
			}
		}
		before := tree(t, base)
		r, code, said := runDoctor(t, dir)
		if code != exit.Done || r.GetVerdict() != ckptdv1.Verdict_VERDICT_FIT || !strings.Contains(said, "racing to publish") {
			t.Errorf("%s: exit code %d, %v\n%s", name, code, r, said)
		}
		if f := findingOf(r, "publish races"); !strings.HasPrefix(f.GetSeen(), "64 of 64 races between 2 creators") {
			t.Errorf("%s: %v", name, f)
		}
		if after := tree(t, base); !slices.Equal(before, after) {
			t.Errorf("%s: before %v\nafter %v", name, before, after)
		}
	}
}

// What is not ckptd's is only read, and no verdict is given; --write examines it, and leaves it as it was.
func TestDoctorOnForeignFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "photo.jpg"), []byte("photo"), 0o666); err != nil {
		t.Fatal(err)
	}
	before := tree(t, dir)
	r, code, _ := runDoctor(t, dir)
	if code != exit.Failed || !r.GetReadOnly() || !strings.Contains(findingOf(r, "contents").GetSeen(), "photo.jpg") {
		t.Errorf("exit code %d, %v", code, r)
	}
	r, code, _ = runDoctor(t, dir, "--write")
	if code != exit.Done || r.GetReadOnly() {
		t.Errorf("--write: exit code %d, %v", code, r)
	}
	if after := tree(t, dir); !slices.Equal(before, after) {
		t.Errorf("before %v\nafter %v", before, after)
	}
}

// A wrong URL is an error of usage, and the error gives a valid URL. A store that cannot be reached could not be
// examined.
func TestDoctorRefusals(t *testing.T) {
	servers.Credentials(t)
	notFolder := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(notFolder, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		root, says string
		code       int
	}{
		{"file://var/lib", "file:///var/lib", exit.Usage},
		{"s3://", "s3://my-bucket/ckptd", exit.Usage},
		{"s3://bucket/x?no_such=1", "s3://my-bucket/ckptd", exit.Usage},
		{"ftp://host/x", "file:///var/lib/ckptd", exit.Usage},
		{notFolder, "could not be examined: open", exit.Failed},
		{"s3://bucket/x?max_attempts=1&endpoint=http://127.0.0.1:1", "could not be examined: open", exit.Failed},
	} {
		if _, code, said := runDoctor(t, c.root); code != c.code || !strings.Contains(said, c.says) {
			t.Errorf("%s: exit code %d, want %d with %q\n%s", c.root, code, c.code, c.says, said)
		}
	}
}

// A folder that can only be read is unfit.
func TestDoctorOnReadOnlyFolder(t *testing.T) {
	if os.Getenv("CKPTD_PRIVILEGED") == "" {
		t.Skip("mounts a tmpfs: set CKPTD_PRIVILEGED=1")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_RDONLY, "size=1m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, 0) })
	r, code, _ := runDoctor(t, dir)
	if code != exit.Damage || findingOf(r, "publish").GetResult() != ckptdv1.Result_RESULT_UNFIT || !strings.Contains(findingOf(r, "publish").GetSeen(), "reading only") {
		t.Errorf("exit code %d, %v", code, r)
	}
}

// The report as people and programs see it.
func TestDoctorReport(t *testing.T) {
	report := &ckptdv1.DoctorReport{
		Url: "s3://bucket/ckptd", Kind: "s3", Verdict: ckptdv1.Verdict_VERDICT_UNFIT, Summary: "unfit: publish races", Notes: []string{"bucket \x1b[31m"},
		ExaminedAt: timestamppb.New(time.Unix(1_800_000_000, 0)), Took: durationpb.New(1500 * time.Millisecond),
		Findings: []*ckptdv1.Finding{
			{Check: "publish", Result: ckptdv1.Result_RESULT_OK},
			{Check: "publish races", Result: ckptdv1.Result_RESULT_UNFIT, Seen: "2 of 4 won", Advice: "Use another."},
			{Check: "versioning", Result: ckptdv1.Result_RESULT_NOT_EXAMINED, Seen: "not known"},
		},
		Measurements: []*ckptdv1.Measurement{
			{Operation: "create", ObjectBytes: 16 << 20, Count: 8, AtOnce: 4, P50: durationpb.New(2 * time.Second), P99: durationpb.New(3 * time.Second), BytesPerSecond: 1 << 25},
			{Operation: "stat", Count: 10, AtOnce: 1, P50: durationpb.New(3 * time.Microsecond), P99: durationpb.New(1_234_567)},
		},
	}
	for name, asJSON := range map[string]bool{"report.txt": false, "report.json": true} {
		cmd := newDoctorCmd()
		var out bytes.Buffer
		cmd.SetOut(&out)
		if asJSON {
			_ = cmd.Flags().Set("json", "true")
		}
		if code := exitCode(t.Context(), printReport(cmd, report)); code != exit.Damage {
			t.Errorf("exit code %d", code)
		}
		path := filepath.Join("testdata", "doctor", name)
		if os.Getenv("CKPTD_REWRITE") != "" {
			_ = os.MkdirAll(filepath.Dir(path), 0o777)
			if err := os.WriteFile(path, out.Bytes(), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if out.String() != string(want) {
			t.Errorf("%s (CKPTD_REWRITE=1 writes it):\n%s", name, &out)
		}
		if asJSON && !json.Valid(want) {
			t.Error("not JSON")
		}
	}
}

// unfitS3 are proxies before gofakes3, which checks no signatures, that make a store of it which must be refused.
func unfitS3(t *testing.T) map[string]string {
	t.Helper()
	server := servers.StartS3(t, servers.Gofakes3, false)
	target, err := url.Parse(server.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	forward := httputil.NewSingleHostReverseProxy(target)
	forward.ErrorLog = log.New(io.Discard, "", 0)
	strips := func(w http.ResponseWriter, r *http.Request) {
		r.Header.Del("If-None-Match")
		forward.ServeHTTP(w, r)
	}
	var mu sync.Mutex
	writing := map[string]int{}
	bothWin := func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("If-None-Match") == "" {
			forward.ServeHTTP(w, r)
			return
		}
		count := func(n int) int {
			mu.Lock()
			defer mu.Unlock()
			writing[r.URL.Path] += n
			return writing[r.URL.Path]
		}
		concurrent := count(1) > 1
		defer count(-1)
		time.Sleep(10 * time.Millisecond)
		reply := httptest.NewRecorder()
		forward.ServeHTTP(reply, r)
		if reply.Code == http.StatusPreconditionFailed && concurrent {
			w.Header().Set("ETag", `"0cc175b9c0f1b6a831c399e269772661"`)
			return // 200, and the other's object stays
		}
		for name, values := range reply.Header() {
			w.Header()[name] = values
		}
		w.WriteHeader(reply.Code)
		_, _ = w.Write(reply.Body.Bytes())
	}
	urls := map[string]string{}
	for name, handler := range map[string]http.HandlerFunc{"strips If-None-Match": strips, "both of two concurrent writers win": bothWin} {
		proxy := httptest.NewServer(handler)
		t.Cleanup(proxy.Close)
		urls[name] = server.URLAt(proxy.URL, strings.ReplaceAll(name, " ", "-"), "")
	}
	return urls
}

// doctor, serve and demo refuse the same stores, with the reason and what to do, and exit code 4.
func TestUnfitStoresAreRefused(t *testing.T) {
	t.Parallel()
	for name, root := range unfitS3(t) {
		r, code, said := runDoctor(t, root)
		if f := findingOf(r, "publish races"); code != exit.Damage || f.GetResult() != ckptdv1.Result_RESULT_UNFIT || !strings.Contains(f.GetAdvice(), "If-None-Match") {
			t.Errorf("doctor, a server that %s: exit code %d, %v\n%s", name, code, r, said)
		}
		for _, args := range [][]string{
			{"serve", "--root", root, "--listen", "unix:" + filepath.Join(t.TempDir(), "s")},
			{"demo", "--root", root, "--records", "100", "--kills", "0"},
		} {
			out, code := runProcess(nil, args...)
			if code != exit.Damage {
				t.Errorf("%s, a server that %s: exit code %d\n%s", args[0], name, code, out)
			}
			for _, want := range []string{"not fit", "told that they won", "Do not keep checkpoints here", "ckptd doctor '"} {
				if !strings.Contains(out, want) {
					t.Errorf("%s, a server that %s: want %q\n%s", args[0], name, want, out)
				}
			}
		}
	}
}

// What a store does by itself is refused if it loses files, and warned of if it costs.
func TestHazardsAtStart(t *testing.T) {
	for weight, want := range map[storage.Weight]struct {
		warned, refused bool
	}{storage.WeightNone: {}, storage.WeightUnknown: {}, storage.WeightWarning: {warned: true}, storage.WeightUnfit: {refused: true}} {
		facts := storage.Facts{Hazards: func(context.Context) []storage.Hazard {
			return []storage.Hazard{{Name: "rules", Weight: weight, Seen: "they delete", Advice: "End them."}}
		}}
		warned := false
		err := hazardous(t.Context(), facts, func(storage.Hazard) { warned = true })
		if warned != want.warned || (err != nil) != want.refused {
			t.Errorf("weight %d: warned %t, %v", weight, warned, err)
		}
		if err != nil && (exitCode(t.Context(), err) != exit.Damage || err.Error() != "store is not fit for checkpoints: rules: they delete. End them.") {
			t.Errorf("exit code %d: %v", exitCode(t.Context(), err), err)
		}
	}
	if err := hazardous(t.Context(), storage.Facts{}, nil); err != nil {
		t.Error(err)
	}
}
