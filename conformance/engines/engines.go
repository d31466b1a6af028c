// Package engines is a suite for engines on ckptd: it runs an engine against the real service, kills it, stops it, and
// breaks the daemons, and looks whether anything is lost and whether the job still runs.
//
// It owns the faults and the judgement. It must not know what the engine computes: an engine shows its state as a word
// of its choice, when it takes a checkpoint and when it restores one.
//
//	func TestConformance(t *testing.T) {
//		engines.Run(t, engines.Command("python3", "engine.py", engines.Daemons, engines.Job), nil)
//	}
//
// # What an engine prints
//
// One line for each of these events, before its effect: the copy before it is acknowledged, the restore before records
// are processed. Other lines are passed over.
//
//	attempt 2 restored checkpoint 5: 500
//	checkpoint 6 has 730
//	checkpoint 6 is complete
//
// A job of several processes prints the words of all its subtasks in one process, or runs in one.
package engines

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// Subject starts a process of the engine that runs all subtasks of a job at these daemons. What the process prints goes
// to out.
type Subject func(tb testing.TB, daemons []string, job string, out io.Writer) Process

// Process is a running engine.
type Process interface {
	// Kill ends the process at once.
	Kill()
	// Stop asks the process to end in peace, and waits until it has ended.
	Stop()
	// Done is closed when the process has ended.
	Done() <-chan struct{}
}

// Words in the arguments of a Command that stand for the daemons' URLs, separated by commas, and for the job's id.
const (
	Daemons = "{daemons}"
	Job     = "{job}"
)

// Command is an engine that is a program. Stop sends it SIGTERM.
func Command(name string, args ...string) Subject {
	return func(tb testing.TB, daemons []string, job string, out io.Writer) Process {
		tb.Helper()
		filled := make([]string, len(args))
		for i, a := range args {
			filled[i] = strings.NewReplacer(Daemons, strings.Join(daemons, ","), Job, job).Replace(a)
		}
		c := exec.Command(name, filled...)
		c.Stdout, c.Stderr = out, out
		if err := c.Start(); err != nil {
			tb.Fatalf("engines: start %s: %v", name, err)
		}
		p := &command{process: c.Process, done: make(chan struct{})}
		go func() {
			defer close(p.done)
			if err := c.Wait(); err != nil {
				fmt.Fprintf(out, "%s: %v\n", name, err)
			}
		}()
		tb.Cleanup(p.Kill)
		return p
	}
}

type command struct {
	process *os.Process
	done    chan struct{}
}

func (c *command) Kill() {
	_ = c.process.Kill() // an error says that it has ended
	<-c.done
}

func (c *command) Stop() {
	_ = c.process.Signal(syscall.SIGTERM)
	<-c.done
}

func (c *command) Done() <-chan struct{} { return c.done }
