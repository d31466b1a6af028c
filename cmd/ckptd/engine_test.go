package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/cmd/ckptd/launch"
)

// life is a process of which a test reads what it says.
type life struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines chan string
	said  []string
	log   bytes.Buffer
}

func begin(ctx context.Context, t *testing.T, program string, args ...string) *life {
	t.Helper()
	l := &life{t: t, cmd: exec.CommandContext(ctx, program, args...), lines: make(chan string, 10_000)}
	l.cmd.Stderr = &l.log
	out, err := l.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(l.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			l.lines <- s.Text()
		}
	}()
	t.Cleanup(func() {
		l.kill()
		if t.Failed() {
			t.Logf("%s %s:\n%s\n%s", filepath.Base(program), strings.Join(args, " "), strings.Join(l.said, "\n"), l.log.String())
		}
	})
	return l
}

// await reads until a line that the format fits, and answers the number in it.
func (l *life) await(format string) (n uint64) {
	l.t.Helper()
	for line := range l.lines {
		l.said = append(l.said, line)
		if _, err := fmt.Sscanf(line, format, &n); err == nil {
			return n
		}
	}
	l.t.Fatalf("the process ended without saying %q", format)
	return 0
}

// kill ends the process with SIGKILL and hears it out.
func (l *life) kill() {
	if l.cmd.ProcessState != nil {
		return
	}
	l.t.Helper()
	if err := l.cmd.Process.Kill(); err != nil {
		l.t.Error(err)
	}
	l.hearOut()
	_ = l.cmd.Wait() // killed
}

func (l *life) hearOut() {
	for line := range l.lines {
		l.said = append(l.said, line)
	}
}

// counted is the count that the process has printed for a checkpoint. ok is false if the process was killed before
// that.
func (l *life) counted(checkpoint uint64) (count uint64, ok bool) {
	for _, line := range l.said {
		var id, n uint64
		if _, err := fmt.Sscanf(line, "checkpoint %d has %d", &id, &n); err == nil && id == checkpoint {
			return n, true
		}
	}
	return 0, false
}

// restored reads the attempt, checkpoint and count with which the process began.
func (l *life) restored() (attempt, checkpoint, count uint64) {
	l.t.Helper()
	line, ok := <-l.lines
	if _, err := fmt.Sscanf(line, "attempt %d restored checkpoint %d: %d", &attempt, &checkpoint, &count); !ok || err != nil {
		l.t.Fatalf("the engine begins with %q", line)
	}
	l.said = append(l.said, line)
	return attempt, checkpoint, count
}

// TestExampleEngine: after a kill, the engine of docs/your-engine.md continues from its newest complete checkpoint. It
// does not notice a kill of the daemon. It survives both kills at once.
func TestExampleEngine(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	engine := filepath.Join(t.TempDir(), "engine")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", engine, "../../client/exampleengine").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	tmp := socketDir(t)
	root, server := filepath.Join(t.TempDir(), "root"), "unix:"+filepath.Join(tmp, "ckptd.sock")
	serve := func() *life { return begin(ctx, t, os.Args[0], "serve", "--root", root, "--listen", server) }
	count := func() *life { return begin(ctx, t, engine, "-daemon", server, "-job", "counter") }
	goesOn := func(before, after *life, last uint64) {
		t.Helper()
		attempt, id, n := after.restored()
		if want, said := before.counted(id); id < last || said && n != want || n == 0 {
			t.Errorf("attempt %d restored %d of checkpoint %d, complete was %d, which had %d", attempt, n, id, last, want)
		}
	}

	daemon := serve()
	awaitServer(ctx, t, server)
	first := count()
	first.restored()
	first.await("checkpoint %d is complete")
	last := first.await("checkpoint %d is complete")
	first.kill()

	second := count()
	goesOn(first, second, last)
	second.await("checkpoint %d is complete")
	daemon.kill()
	daemon = serve()
	awaitServer(ctx, t, server)
	second.await("checkpoint %d is complete")
	last = second.await("checkpoint %d is complete")
	for _, line := range second.said[1:] {
		if strings.HasPrefix(line, "attempt") {
			t.Errorf("the engine restored when the daemon was killed: %s", line)
		}
	}
	second.kill()
	daemon.kill()

	serve()
	awaitServer(ctx, t, server)
	third := count()
	goesOn(second, third, last)
	third.await("checkpoint %d is complete")
	if code := run(ctx, []string{"cancel", "counter", "--server", server}, io.Discard, os.Stderr); code != exit.Done {
		t.Errorf("cancel: exit code %d", code)
	}
	third.hearOut()
	if err := third.cmd.Wait(); err != nil || third.said[len(third.said)-1] != "the job is over: CANCELED" {
		t.Errorf("the engine ends with %v: %s", err, third.said[len(third.said)-1])
	}
}

// awaitServer waits until a daemon answers.
func awaitServer(ctx context.Context, t *testing.T, url string) {
	t.Helper()
	c, admin, err := adminOf(url)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for {
		if _, err := admin.Status(ctx); err == nil {
			return
		}
		if !launch.Sleep(ctx, pollEvery) {
			t.Fatal("the daemon does not answer")
		}
	}
}
