package launcher

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// The test binary is its own child; the variable names the child's role.
const roleVariable = "LAUNCHER_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case "":
		goleak.VerifyTestMain(m)
	case "stay": // until the parent ends or asks
		ctx, stop := signal.NotifyContext(WithParent(context.Background()), syscall.SIGTERM)
		defer stop()
		fmt.Println("here")
		<-ctx.Done()
		fmt.Println("bye:", context.Cause(ctx))
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
		fmt.Println("here")
		<-WithParent(context.Background()).Done()
	case "fail":
		os.Exit(3)
	case "succeed":
	case "parent": // starts a child and waits to be killed
		l := New(os.Getenv("LAUNCHER_TEST_DIR"))
		p, err := l.Start(child("grandchild", "stay", Always))
		if err != nil {
			panic(err)
		}
		fmt.Println("pid", p.PID())
		select {}
	}
}

func child(name, role string, r Restart) Child {
	return Child{Name: name, Restart: r, Command: func() *exec.Cmd {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), roleVariable+"="+role)
		return cmd
	}}
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for range 1000 {
		if is() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("not reached in time: %s", what)
}

func logged(path, text string) bool {
	b, _ := os.ReadFile(path)
	return strings.Contains(string(b), text)
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

func start(t *testing.T, l *Launcher, c Child) *Process {
	t.Helper()
	p, err := l.Start(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// A killed child comes back after a short pause as another process. Stop asks it to end, and it ends.
func TestKilledChildIsRestarted(t *testing.T) {
	l := New(t.TempDir())
	p := start(t, l, child("worker", "stay", Always))
	eventually(t, "the child logs", func() bool { return logged(p.Log(), "here") })
	pid, err := p.Kill()
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "another process runs", func() bool { return p.Starts() == 2 && p.PID() != 0 && p.PID() != pid })
	eventually(t, "it logs too", func() bool { b, _ := os.ReadFile(p.Log()); return strings.Count(string(b), "here") == 2 })
	again := p.PID()
	l.Stop(context.Background())
	if alive(again) || p.PID() != 0 {
		t.Error("a process is left after Stop, want none")
	}
	if !logged(p.Log(), "bye:") {
		t.Error("the child did not log its end, want SIGTERM before SIGKILL")
	}
	if _, err := l.Start(child("late", "stay", Always)); err == nil {
		t.Error("start after Stop: no error, want one")
	}
	if _, err := p.Kill(); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("kill after the end: %v, want ErrProcessDone", err)
	}
}

func TestRestartPolicies(t *testing.T) {
	l := New(t.TempDir())
	defer l.Stop(context.Background())
	for _, c := range []struct {
		role    string
		restart Restart
		again   bool
	}{{"fail", Always, true}, {"succeed", Always, true}, {"fail", OnFailure, true}, {"succeed", OnFailure, false}, {"fail", Never, false}} {
		p := start(t, l, child(c.role+strconv.Itoa(int(c.restart)), c.role, c.restart))
		if c.again {
			eventually(t, fmt.Sprintf("%v restarts", c), func() bool { return p.Starts() > 1 })
			continue
		}
		select {
		case <-p.Done():
		case <-time.After(30 * time.Second):
			t.Fatalf("%v still runs, want it ended", c)
		}
		if p.Starts() != 1 || (p.Err() != nil) != (c.role == "fail") {
			t.Errorf("%v: %d starts, %v; want 1, and an error only of the failed child", c, p.Starts(), p.Err())
		}
	}
}

// The pauses double, so a child that fails at once is not started over and over.
func TestPausesGrow(t *testing.T) {
	l := New(t.TempDir())
	c := child("fail", "fail", Always)
	begun, ended := make(chan time.Time, 100), make(chan time.Time, 100)
	command := c.Command
	c.Command = func() *exec.Cmd {
		begun <- time.Now()
		return command()
	}
	c.Exited = func(int, error) { ended <- time.Now() }
	start(t, l, c)
	first, least := <-begun, 100*time.Millisecond
	for least < 800*time.Millisecond {
		end, next := <-ended, <-begun
		if end.Sub(first) >= stableAfter { // on a very slow machine the child lived long enough to count as stable
			least = 100 * time.Millisecond
		}
		if pause := next.Sub(end); pause < least {
			t.Errorf("started again after %v, want %v or more", pause, least)
		}
		first, least = next, 2*least
	}
	l.Stop(context.Background())
}

// Stop ends a child that ignores SIGTERM, and one that was paused.
func TestStopEndsStubbornAndPaused(t *testing.T) {
	l := New(t.TempDir())
	stubborn := start(t, l, child("stubborn", "stubborn", Always))
	paused := start(t, l, child("paused", "stay", Always))
	for _, p := range []*Process{stubborn, paused} {
		eventually(t, "it runs", func() bool { return logged(p.Log(), "here") })
	}
	if _, err := paused.Pause(); err != nil {
		t.Fatal(err)
	}
	pids := []int{stubborn.PID(), paused.PID()}
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	l.Stop(ctx)
	for _, pid := range pids {
		if alive(pid) {
			t.Errorf("process %d is left, want none", pid)
		}
	}
	if !logged(paused.Log(), "bye:") {
		t.Error("the paused child did not log its end, want SIGCONT before SIGKILL")
	}
}

func TestPauseAndResume(t *testing.T) {
	l := New(t.TempDir())
	defer l.Stop(context.Background())
	p := start(t, l, child("worker", "stay", Always))
	state := func() string {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID()))
		_, after, _ := strings.Cut(string(b), ") ")
		return after[:min(1, len(after))]
	}
	p.Pause()
	eventually(t, "it is stopped", func() bool { return state() == "T" })
	p.Resume()
	eventually(t, "it goes on", func() bool { return state() != "T" })
}

// A child ends by itself when its parent is killed.
func TestChildEndsWithItsParent(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleVariable+"=parent", "LAUNCHER_TEST_DIR="+dir)
	var out strings.Builder
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(dir, "grandchild.log")
	eventually(t, "the grandchild runs", func() bool { return logged(log, "here") })
	cmd.Process.Kill()
	cmd.Wait()
	eventually(t, "the grandchild has noticed", func() bool { return logged(log, "bye: "+ErrParentGone.Error()) })
}

func TestStartOfNothing(t *testing.T) {
	l := New(t.TempDir())
	if _, err := l.Start(Child{Name: "none", Command: func() *exec.Cmd { return exec.Command("/does/not/exist") }}); err == nil {
		t.Error("start of an absent program: no error, want one")
	}
	l.Stop(context.Background())
}
