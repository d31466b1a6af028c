// Package launcher starts processes and keeps them running: what a daemon and the workers of a job need on one machine.
//
// It owns the children's lives: restarts with growing pauses, log files, the pipe that ends them with their parent, an orderly
// stop that leaves nothing. It must not know what the children do.
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
	pauseLow  = 100 * time.Millisecond
	pauseHigh = 5 * time.Second
	// settled is how long a child has to live for the pauses to begin small again.
	settled = 3 * time.Second
	// stopGrace is how long a child may take to end after SIGTERM.
	stopGrace = 10 * time.Second
)

// Restart says when a child that has ended is started again.
type Restart uint8

const (
	// Always: unless the launcher stops it.
	Always Restart = iota
	// OnFailure: unless it ended with exit code 0.
	OnFailure
	// Never starts it once.
	Never
)

// Child describes a process to be kept running.
type Child struct {
	// Name is for people, and the name of the log file.
	Name string
	// Command makes the command for each start. Its output goes to the log if Stdout and Stderr are nil.
	Command func() *exec.Cmd
	Restart Restart
	// Exited is called after each end of the process, if set: err as of exec.Cmd.Wait.
	Exited func(pid int, err error)
}

// Launcher starts children. All methods are safe for concurrent use.
type Launcher struct {
	logs string

	mu       sync.Mutex
	children []*Process
	stopped  bool
}

// New makes a launcher whose children log to files in a folder, which has to exist.
func New(logs string) *Launcher { return &Launcher{logs: logs} }

// Start starts a child and keeps it running in the way it says. An error: it could not be started even once.
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

// Stop ends all children: SIGTERM, and SIGKILL for those that are still there after a grace or when ctx ends. The last started
// ends first. On return none of them is left.
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
	// current is nil while nothing runs.
	current *os.Process
	starts  int
	last    error
}

// run is one life of a child.
type run struct {
	cmd *exec.Cmd
	// pipe's other end is the child's: it ends when this one closes.
	pipe    *os.File
	started time.Time
}

// Log is the path of the log file.
func (p *Process) Log() string { return p.log }

// PID is the process id at the moment; 0: nothing runs.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current == nil {
		return 0
	}
	return p.current.Pid
}

// Starts is how many times it was started.
func (p *Process) Starts() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.starts
}

// Done is closed when the child runs no more and will not be started again.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err is how the last life ended; meant for after Done.
func (p *Process) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last
}

// Kill sends SIGKILL; the child is started again as its policy says. It answers the id of the process that was struck.
func (p *Process) Kill() (pid int, err error) { return p.Signal(syscall.SIGKILL) }

// Pause stops the process where it is (SIGSTOP) until Resume.
func (p *Process) Pause() (pid int, err error) { return p.Signal(syscall.SIGSTOP) }

// Resume lets a paused process go on.
func (p *Process) Resume() (pid int, err error) { return p.Signal(syscall.SIGCONT) }

// Signal sends a signal to the process that runs now.
func (p *Process) Signal(s syscall.Signal) (pid int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current == nil {
		return 0, fmt.Errorf("launcher: signal %s: %w", p.child.Name, os.ErrProcessDone)
	}
	return p.current.Pid, p.current.Signal(s)
}

// Stop ends the child for good, as Launcher.Stop.
func (p *Process) Stop(ctx context.Context) {
	p.mu.Lock()
	if !p.stopping {
		p.stopping = true
		close(p.stop)
	}
	if p.current != nil {
		p.current.Signal(syscall.SIGTERM)
		p.current.Signal(syscall.SIGCONT) // a paused process obeys only then
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
	p.Kill() // it may have ended in this moment
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
	if cmd.Stdout == nil && cmd.Stderr == nil {
		var err error
		if log, err = os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o666); err != nil {
			return nil, err
		}
		defer log.Close()
		cmd.Stdout, cmd.Stderr = log, log
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
	pause := pauseLow
	for {
		if r != nil {
			err := p.wait(r)
			if time.Since(r.started) >= settled {
				pause = pauseLow
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
		pause = min(2*pause, pauseHigh)
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
