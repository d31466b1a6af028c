package main

import (
	"bufio"
	"bytes"
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ckptd/ckptd/cmd/ckptd/drivers"
	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/conformance/servers"
	"github.com/ckptd/ckptd/layout"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// A doctorRun is a doctor in a process of its own, with racers in others.
type doctorRun struct {
	t    *testing.T
	cmd  *exec.Cmd
	root string
	mu   sync.Mutex
	said bytes.Buffer
	done chan struct{}
}

func (d *doctorRun) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.said.Write(p)
}

func (d *doctorRun) text() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.said.String()
}

func startDoctor(t *testing.T, root string, args ...string) *doctorRun {
	t.Helper()
	d := &doctorRun{t: t, root: root, done: make(chan struct{})}
	d.cmd = exec.Command(os.Args[0], append([]string{"doctor", root}, args...)...)
	d.cmd.Stdout, d.cmd.Stderr = d, d
	if err := startHearing(d.cmd); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = d.cmd.Wait()
		close(d.done)
	}()
	t.Cleanup(func() {
		_ = d.cmd.Process.Kill()
		<-d.done
	})
	return d
}

// await waits until a condition holds; false: the doctor has ended before.
func (d *doctorRun) await(what string, holds func() bool) bool {
	d.t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if holds() {
			return true
		}
		select {
		case <-d.done:
			return holds()
		default:
		}
	}
	d.t.Fatalf("not in time: %s\n%s", what, d.text())
	return false
}

// strike sends a signal when a phase has begun, and waits for the end.
func (d *doctorRun) strike(phase string, signal syscall.Signal) (code int) {
	d.t.Helper()
	if !d.await(phase, func() bool { return strings.Contains(d.text(), "doctor: "+phase) }) {
		d.t.Errorf("ended before: %s\n%s", phase, d.text())
	}
	_ = d.cmd.Process.Signal(signal)
	<-d.done
	return d.cmd.ProcessState.ExitCode()
}

// racersOf counts the processes that race for doctor over a root; where the system has no /proc, none are seen.
func racersOf(t *testing.T, root string) (n int) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range all {
		line, _ := os.ReadFile(path)
		args := strings.Split(string(line), "\x00")
		if slices.Contains(args, "doctor-racer") && strings.Contains(string(line), root) {
			n++
		}
	}
	return n
}

// awaitNoRacers waits until they have seen that their doctor is gone.
func awaitNoRacers(t *testing.T, root string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); racersOf(t, root) > 0; time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("racers go on without their doctor")
		}
	}
}

// Interrupted in any phase, by SIGINT, SIGTERM or SIGHUP, doctor and its racers end and nothing is left.
func TestDoctorInterrupted(t *testing.T) {
	t.Parallel()
	phases := []string{
		"looking at what is there", "asking what keeps or removes files", "trying each operation", "starting processes that race", "racing to publish",
		"looking right after each write and delete", "racing to create if absent", "reading ranges", "measuring", "removing what was written",
	}
	signals := []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP}
	base := map[string]string{"file": t.TempDir()}
	if os.Getenv("CKPTD_TEST_FULL") != "" {
		base["s3"] = servers.StartS3(t, servers.Versitygw, false).URL("PREFIX", "")
	}
	for kind, root := range base {
		for i, phase := range phases {
			for j, signal := range signals {
				if (kind == "s3" || os.Getenv("CKPTD_TEST_FULL") == "") && i%len(signals) != j {
					continue
				}
				t.Run(kind+", "+phase+", "+signal.String(), func(t *testing.T) {
					t.Parallel()
					name := strings.ReplaceAll(kind+"-"+phase+"-"+signal.String(), " ", "-")
					root := strings.Replace(root, "PREFIX", name, 1)
					if kind == "file" {
						root = filepath.Join(root, name) // which doctor makes, and removes
					}
					d := startDoctor(t, root, "--quick")
					code := d.strike(phase, signal)
					if last := phase == phases[len(phases)-1]; code != exit.Interrupted && !(last && code == exit.Done) {
						t.Errorf("exit code %d\n%s", code, d.text())
					}
					if n := racersOf(t, name); n > 0 {
						t.Errorf("%d racers go on", n)
					}
					if strings.Contains(d.text(), "left behind") {
						t.Errorf("%s", d.text())
					}
					if kind == "file" {
						if _, err := os.Lstat(root); !os.IsNotExist(err) {
							t.Errorf("left %v", tree(t, root))
						}
					} else if left := objectsOf(t, root); len(left) > 0 {
						t.Errorf("left %v", left)
					}
				})
			}
		}
	}
}

// The reader of doctor's output goes away while doctor runs. Doctor finishes all the same and leaves nothing behind.
func TestDoctorUnread(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "doctor", "--quick", dir)
	said, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// Something has been written when racers are started.
	for lines := bufio.NewScanner(said); lines.Scan() && !strings.Contains(lines.Text(), "starting processes"); {
	}
	_ = said.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if left := tree(t, dir); len(left) != 1 {
		t.Errorf("left %v", left)
	}
}

// Doctor is killed and leaves files behind. The next doctor reports them, and the next start of a daemon removes them.
// The racers end by themselves.
func TestDoctorKilled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := startDoctor(t, dir)
	d.strike("racing to publish", syscall.SIGKILL)
	awaitNoRacers(t, dir)
	if left, _ := filepath.Glob(filepath.Join(dir, "_probe", "*", "canary")); len(left) != 1 {
		t.Fatalf("nothing is left: %v", tree(t, dir))
	}
	r, code, said := runDoctor(t, dir)
	if f := findingOf(r, "earlier examinations"); code != exit.Done || f.GetResult() != ckptdv1.Result_RESULT_WARNING || !strings.Contains(f.GetSeen(), "or was killed less than 10m0s ago") {
		t.Errorf("exit code %d, %v\n%s", code, f, said)
	}
	// Ten minutes later.
	err := filepath.Walk(filepath.Join(dir, "_probe"), func(path string, _ os.FileInfo, err error) error {
		old := time.Now().Add(-11 * time.Minute)
		if err == nil {
			err = os.Chtimes(path, old, old)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	r, code, said = runDoctor(t, dir)
	if f := findingOf(r, "earlier examinations"); code != exit.Done || f.GetResult() != ckptdv1.Result_RESULT_OK || !strings.Contains(f.GetSeen(), "of killed ones removed") {
		t.Errorf("exit code %d, %v\n%s", code, f, said)
	}
	if left := tree(t, dir); len(left) != 1 {
		t.Errorf("left %v", left)
	}
	d = startDoctor(t, dir)
	d.strike("measuring", syscall.SIGKILL)
	awaitNoRacers(t, dir)
	opened, err := drivers.Open(t.Context(), dir, false)
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	if root, err := layout.OpenRoot(t.Context(), opened.Store); err != nil || root.Probe.Removed == 0 {
		t.Errorf("%v, %v", root, err)
	}
	if left := tree(t, dir); len(left) != 2 { // itself and the marker
		t.Errorf("killed: left %v", left)
	}
}

// Doctor is interrupted while its racers wait for replies that do not come. It ends the racers after a while. Their
// requests are carried out after that, and doctor removes the results. It says that the outcome was in doubt.
func TestDoctorInterruptedInDoubt(t *testing.T) {
	t.Parallel()
	if os.Getenv("CKPTD_TEST_FULL") == "" {
		t.Skip("not run: CKPTD_TEST_FULL=1 (make test)")
	}
	server := servers.StartS3(t, servers.Gofakes3, false)
	var held, late sync.WaitGroup
	var mu sync.Mutex
	waiting, landed := 0, 0
	count := func(n *int, by int) int {
		mu.Lock()
		defer mu.Unlock()
		*n += by
		return *n
	}
	endpoint := before(t, server, func(w http.ResponseWriter, r *http.Request, forward http.Handler) {
		if r.Method != http.MethodPut || !strings.Contains(r.URL.Path, "/race-") {
			forward.ServeHTTP(w, r)
			return
		}
		body := new(bytes.Buffer)
		_, _ = body.ReadFrom(r.Body)
		held.Add(1)
		count(&waiting, 1)
		<-r.Context().Done() // until the client has given up
		held.Done()
		late.Go(func() {
			request := r.Clone(context.WithoutCancel(r.Context()))
			request.Body = readCloser{body}
			forward.ServeHTTP(discard{http.Header{}}, request)
			count(&landed, 1)
		})
	})
	root := server.URLAt(endpoint, "doubt", "max_attempts=1")
	d := startDoctor(t, root, "--quick")
	d.await("racers wait", func() bool { return count(&waiting, 0) >= 16 })
	code := d.strike("racing to publish", syscall.SIGINT)
	held.Wait()
	late.Wait()
	if code != exit.Interrupted || count(&landed, 0) == 0 {
		t.Errorf("exit code %d, %d requests landed late\n%s", code, landed, d.text())
	}
	if n := racersOf(t, endpoint); n > 0 {
		t.Errorf("%d racers go on", n)
	}
	if left := objectsOf(t, root); len(left) > 0 {
		t.Errorf("left %v\n%s", left, d.text())
	}
	if !strings.Contains(d.text(), "left behind: nothing, but") {
		t.Errorf("doubt is not told:\n%s", d.text())
	}
}

type readCloser struct{ *bytes.Buffer }

func (readCloser) Close() error { return nil }

// discard is a reply that nobody waits for.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}
