// Package servers starts real servers for tests: S3 servers (versitygw, MinIO, gofakes3) and toxiproxy, a proxy that does harm.
//
// It owns where their binaries lie (bin/, built by `make servers` from modules of their own below this folder), how each is started and
// known to be ready, and what a test does without them: it builds what is light, and fails without the others, so that no test passes
// that did not run. It must not know any driver.
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

// The binaries, as they are called in bin/.
const (
	Versitygw = "versitygw"
	MinIO     = "minio"
	Gofakes3  = "gofakes3"
	Toxiproxy = "toxiproxy"
)

// binary gives the path of a server's binary, or ends the test. A light one that is missing is built first, but not in CI: there all of them
// have to be there.
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
	t.Fatal(fmt.Sprintf("%s needs %s, and there is no bin/%s: `make servers` builds it (%s)", t.Name(), name, name, why))
	return ""
}

// InCI tells whether nothing may be left out.
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

// A process is a server that runs.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}
	log  *tail
}

// start starts a server that ends with this process at the latest.
func start(path string, env []string, args ...string) (*process, error) {
	p := &process{cmd: exec.Command(path, args...), done: make(chan struct{}), log: &tail{}}
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, env...)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	p.cmd.SysProcAttr = tied()
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // the tie is to the thread that starts it
		defer close(p.done)
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait()
		}
	}()
	return p, <-started
}

// kill ends it at once, as a crash would.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// await asks url until it answers with a status.
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
	return fmt.Errorf("%s is not ready: %w: %s", filepath.Base(p.cmd.Path), last, p.log)
}

// freePort gives an address of this machine that nobody uses just now.
func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// A tail keeps the end of what a server says.
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
