// Package servers starts real servers for tests: S3 servers (versitygw, MinIO, gofakes3), one of Google Cloud
// Storage (fake-gcs-server), PostgreSQL, and toxiproxy, a proxy that adds faults.
//
// It owns the paths of their binaries: bin/, built by `make servers` from modules below this folder. It also owns
// how each server is started, and how a test learns that it is ready.
//
// A missing light binary is built. Without any other binary a test fails, so that no test passes that did not run. The
// package must not know any driver.
package servers

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// The names of the binaries in bin/.
const (
	Versitygw = "versitygw"
	MinIO     = "minio"
	Gofakes3  = "gofakes3"
	Toxiproxy = "toxiproxy"
	FakeGCS   = "fake-gcs-server"
)

// binary returns the path of a server's binary, or ends the test. It builds a light binary that is missing; in CI it
// does not, because there every binary must exist.
func binary(t testing.TB, name string) string {
	t.Helper()
	path, err := find(name)
	if err == nil {
		return path
	}
	why := "that takes too long in a test"
	switch {
	case InCI():
		why = "in CI no test does"
	case path != "" && !heavy(name):
		if err = build(path); err == nil {
			return path
		}
		why = err.Error()
	}
	t.Fatalf("%s needs %s, and there is no bin/%s: `make servers` builds it (%s)", t.Name(), name, name, why)
	return ""
}

// InCI reports whether no test may be skipped.
func InCI() bool { return os.Getenv("CKPTD_CI") == "1" || os.Getenv("CI") == "true" }

// find looks in bin/ of the folder that holds the module.
func find(name string) (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no go.mod above")
		}
		dir = parent
	}
	path := filepath.Join(dir, "bin", name)
	_, err = os.Stat(path)
	return path, err
}

// A process is a running server.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}
	log  *tail
}

// start starts a server that ends at the latest with this process.
func start(path string, env []string, args ...string) (*process, error) {
	cmd := exec.Command(path, args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, env...)
	cmd.SysProcAttr = tied()
	return startCommand(cmd)
}

// startCommand starts a command whose end is its owner's affair.
func startCommand(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, done: make(chan struct{}), log: &tail{}}
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // Pdeathsig depends on the thread that starts the process
		defer close(p.done)
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait()
		}
	}()
	return p, <-started
}

// running reports whether the server was started, and has not ended.
func (p *process) running() bool {
	if p == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// kill ends the server at once, as a crash would.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// await requests url until the answer has this status.
func (p *process) await(client *http.Client, url string, status int) error {
	var last error
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		select {
		case <-p.done:
			return fmt.Errorf("%s ended: %s", filepath.Base(p.cmd.Path), p.log)
		default:
		}
		resp, err := client.Get(url)
		if last = err; err != nil {
			continue
		}
		resp.Body.Close()
		if resp.StatusCode == status {
			return nil
		}
		last = errors.New(resp.Status)
	}
	return fmt.Errorf("%s is not ready after 30 s: %w: %s", filepath.Base(p.cmd.Path), last, p.log)
}

// freePort returns an address of this machine that is free at the moment.
func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// A tail keeps the end of a server's output.
type tail struct {
	mu   sync.Mutex
	text []byte
}

func (l *tail) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p...)
	if over := len(l.text) - 4096; over > 0 {
		l.text = l.text[over:]
	}
	return len(p), nil
}

func (l *tail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.TrimSpace(string(l.text))
}
