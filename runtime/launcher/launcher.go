// Package launcher starts processes and keeps them running: the daemon and the workers of a job on one machine.
//
// It owns the lives of these child processes: restarts with growing pauses, log files, the pipe that ends a child
// together with its parent, and an orderly stop that leaves no child. It must not know what the children do.
package launcher

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

const (
	firstPause   = 100 * time.Millisecond
	longestPause = 5 * time.Second
	// stableAfter is how long a child has to live before its pauses become short again.
	stableAfter = 3 * time.Second
	// stopGrace is how long a child may take to end after SIGTERM.
	stopGrace = 10 * time.Second
)

// Restart says when a child that has ended is started again.
type Restart uint8

const (
	// Always starts the child again, unless the launcher stops it.
	Always Restart = iota
	// OnFailure starts the child again, unless it ended with exit code 0.
	OnFailure
	// Never starts the child only once.
	Never
)

// Child describes a process to keep running.
type Child struct {
	// Name is shown to users, and is the name of the log file.
	Name string
	// Command returns the command for each start. What of its Stdout and Stderr is nil goes to the log file.
	Command func() *exec.Cmd
	Restart Restart
	// Exited, if not nil, is called after each end of the process; err is the result of exec.Cmd.Wait.
	Exited func(pid int, err error)
}

// Launcher starts children. All methods are safe for concurrent use.
type Launcher struct {
	logs string

	mu       sync.Mutex
	children []*Process
	stopped  bool
}

// New returns a launcher whose children write log files into a folder, which must exist.
func New(logs string) *Launcher { return &Launcher{logs: logs} }

// Start starts a child and keeps it running as the child's Restart says. An error means that the child could not be
// started even once.
func (l *Launcher) Start(c Child) (*Process, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped {
		return nil, fmt.Errorf("launcher: start %s: the launcher has stopped", c.Name)
	}
	p := &Process{child: c, log: filepath.Join(l.logs, c.Name+".log"), stop: make(chan struct{}), done: make(chan struct{})}
	r, err := p.launch()
	if err != nil {
		return nil, fmt.Errorf("launcher: start %s: %w", c.Name, err)
	}
	l.children = append(l.children, p)
	go p.keep(r)
	return p, nil
}

// Stop ends all children, the last started first. It sends SIGTERM, and SIGKILL to a child that still runs after a
// grace or when ctx ends. On return no child runs.
func (l *Launcher) Stop(ctx context.Context) {
	l.mu.Lock()
	children := l.children
	l.children, l.stopped = nil, true
	l.mu.Unlock()
	for i := len(children) - 1; i >= 0; i-- {
		children[i].Stop(ctx)
	}
}

// Process is a child that is kept running, over all its restarts. All methods are safe for concurrent use.
type Process struct {
	child Child
	log   string
	stop  chan struct{}
	done  chan struct{}

	mu       sync.Mutex
	stopping bool
	// current is nil while the child does not run.
	current *os.Process
	starts  int
	last    error
}

// run is one life of a child.
type run struct {
	cmd *exec.Cmd
	// The child holds the other end of pipe, and ends when this end closes.
	pipe    *os.File
	started time.Time
}

// Log returns the path of the log file.
func (p *Process) Log() string { return p.log }

// PID returns the current process id; 0 while the child does not run.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current == nil {
		return 0
	}
	return p.current.Pid
}

// Starts returns how many times the child was started.
func (p *Process) Starts() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.starts
}

// Done is closed when the child has ended and will not be started again.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err returns how the last life ended. It is meant for use after Done.
func (p *Process) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last
}

// Kill sends SIGKILL and returns the process id. The child is started again if its Restart says so.
func (p *Process) Kill() (pid int, err error) { return p.Signal(syscall.SIGKILL) }

// Pause stops the process where it is (SIGSTOP) until Resume.
func (p *Process) Pause() (pid int, err error) { return p.Signal(syscall.SIGSTOP) }

// Resume lets a paused process continue.
func (p *Process) Resume() (pid int, err error) { return p.Signal(syscall.SIGCONT) }

// Signal sends a signal to the current process.
func (p *Process) Signal(s syscall.Signal) (pid int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current == nil {
		return 0, fmt.Errorf("launcher: signal %s: %w", p.child.Name, os.ErrProcessDone)
	}
	return p.current.Pid, p.current.Signal(s)
}

// Stop ends the child for good, as Launcher.Stop does.
func (p *Process) Stop(ctx context.Context) {
	p.mu.Lock()
	if !p.stopping {
		p.stopping = true
		close(p.stop)
	}
	if p.current != nil {
		p.current.Signal(syscall.SIGTERM)
		p.current.Signal(syscall.SIGCONT) // a paused process handles SIGTERM only after SIGCONT
	}
	p.mu.Unlock()
	grace := time.NewTimer(stopGrace)
	defer grace.Stop()
	select {
	case <-p.done:
		return
	case <-grace.C:
	case <-ctx.Done():
	}
	p.Kill() // its error does not matter: the process may have ended just now
	<-p.done
}

// launch starts the process once.
func (p *Process) launch() (*run, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopping {
		return nil, errors.New("stopped")
	}
	cmd := p.child.Command()
	var log *os.File
	if cmd.Stdout == nil || cmd.Stderr == nil {
		var err error
		if log, err = os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o666); err != nil {
			return nil, err
		}
		defer log.Close()
		if cmd.Stdout == nil {
			cmd.Stdout = log
		}
		if cmd.Stderr == nil {
			cmd.Stderr = log
		}
	}
	theirs, ours, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	inherit(cmd, theirs)
	if err := cmd.Start(); err != nil {
		ours.Close()
		return nil, err
	}
	p.current = cmd.Process
	p.starts++
	return &run{cmd: cmd, pipe: ours, started: time.Now()}, nil
}

// keep waits for the end of each life and begins the next.
func (p *Process) keep(r *run) {
	defer close(p.done)
	pause := firstPause
	for {
		if r != nil {
			err := p.wait(r)
			if time.Since(r.started) >= stableAfter {
				pause = firstPause
			}
			if p.child.Restart == Never || (p.child.Restart == OnFailure && err == nil) {
				return
			}
		}
		select {
		case <-p.stop:
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, longestPause)
		var err error
		if r, err = p.launch(); err != nil {
			p.mu.Lock()
			p.last = err
			p.mu.Unlock()
		}
	}
}

func (p *Process) wait(r *run) error {
	err := r.cmd.Wait()
	r.pipe.Close()
	pid := r.cmd.Process.Pid
	p.mu.Lock()
	p.current, p.last = nil, err
	p.mu.Unlock()
	if p.child.Exited != nil {
		p.child.Exited(pid, err)
	}
	return err
}
