package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/proto/address"
	"github.com/ckptd/ckptd/runtime/clickjob"
	"github.com/ckptd/ckptd/runtime/launcher"
	"github.com/ckptd/ckptd/service/config"
)

// startDaemon brings up the daemon.
func (d *demo) startDaemon(ctx context.Context) (err error) {
	if d.tmp, err = shortTemp(); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	d.params.Output = filepath.Join(d.tmp, "output")
	if d.o.output != "" {
		if d.params.Output, err = filepath.Abs(d.o.output); err != nil {
			return fmt.Errorf("demo: --output: %w", err)
		}
	}
	for _, dir := range []string{d.params.Output, filepath.Join(d.tmp, "logs"), filepath.Join(d.tmp, "local")} {
		if err := os.MkdirAll(dir, 0o777); err != nil {
			return fmt.Errorf("demo: %w", err)
		}
	}
	d.url = address.Unix(filepath.Join(d.tmp, "ckptd.sock")).String()
	c, admin, err := adminOf(d.url)
	if err != nil {
		return err
	}
	d.admin, d.hangUp = admin, c.Close
	d.servers = []string{d.url}
	d.launch = launcher.New(filepath.Join(d.tmp, "logs"))
	if d.daemon, err = d.child("daemon", launcher.Always, "serve", "--root", d.root, "--listen", d.url); err != nil {
		return err
	}
	return d.awaitDaemon(ctx)
}

// startJob creates the job and brings up the workers.
func (d *demo) startJob(ctx context.Context) error {
	d.introduce()
	if err := d.attach(ctx); err != nil {
		return err
	}
	return d.startWorkers()
}

// shortTemp makes a temporary folder in which sockets can lie.
func shortTemp() (string, error) {
	const longest = address.MaxSocketPath - len("/x-0123456789.sock")
	dir, err := os.MkdirTemp("", "ckptd-")
	if err == nil && len(dir) > longest {
		err = os.Remove(dir)
		if err == nil {
			dir, err = os.MkdirTemp("/tmp", "ckptd-")
		}
	}
	return dir, err
}

// child starts this program in another role, and keeps it running.
func (d *demo) child(name string, restart launcher.Restart, args ...string) (*launcher.Process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("demo: %w", err)
	}
	return d.launch.Start(launcher.Child{Name: name, Restart: restart, Command: func() *exec.Cmd {
		cmd := exec.Command(self, args...)
		cmd.Env = append(os.Environ(), d.environment...)
		return cmd
	}})
}

// awaitDaemon waits until the daemon answers, or has failed.
func (d *demo) awaitDaemon(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 30*time.Second, fmt.Errorf("demo: the daemon does not answer; its log is %s", d.daemon.Log()))
	defer cancel()
	for {
		_, err := d.admin.Status(ctx)
		if err == nil {
			return nil
		}
		if d.daemon.Starts() > 1 {
			err := fmt.Errorf("demo: the daemon does not start: %s", lastLine(d.daemon.Log()))
			if exit, ok := errors.AsType[*exec.ExitError](d.daemon.Err()); ok {
				return &statusError{code: exit.ExitCode(), err: err}
			}
			return err
		}
		if !sleep(ctx, 20*time.Millisecond) {
			return context.Cause(ctx)
		}
	}
}

// attach creates the job, so that what is wrong with its configuration is said here and not in a worker's log.
func (d *demo) attach(ctx context.Context) error {
	c, err := client.New([]string{d.url})
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.AttachJob(ctx, client.JobSpec{
		ID: d.id, Plan: clickjob.New(d.params, nil).Plan(), Config: d.config.Job, Labels: map[string]string{"name": "demo"},
	})
	return err
}

func (d *demo) startWorkers() error {
	effective, err := config.Effective(d.config.Job)
	if err != nil {
		return err
	}
	var keys bytes.Buffer
	if err := config.Show(&keys, d.root, effective); err != nil {
		return err
	}
	if err := os.WriteFile(d.keys(), keys.Bytes(), 0o666); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	for slot := range demoWorkers {
		w, err := d.worker(fmt.Sprintf("worker-%d", slot), slot, d.params)
		if err != nil {
			return err
		}
		d.workers = append(d.workers, w)
	}
	return nil
}

// keys is the file with the job's configuration.
func (d *demo) keys() string { return filepath.Join(d.tmp, "job.yaml") }

func (d *demo) worker(name string, slot int, params clickjob.Params) (*launcher.Process, error) {
	p, err := json.Marshal(params)
	if err != nil {
		return nil, fmt.Errorf("demo: %w", err)
	}
	args := []string{
		"worker", "--job-id", d.id, "--slot", strconv.Itoa(slot), "--of", strconv.Itoa(demoWorkers), "--params", string(p),
		"--config", d.keys(), "--dir", filepath.Join(d.tmp, "local"), "--exchange", "unix:" + d.tmp,
	}
	for _, url := range d.servers {
		args = append(args, "--server", url)
	}
	return d.child(name, launcher.OnFailure, args...)
}

// sleep waits, and reports false if ctx ended first.
func sleep(ctx context.Context, t time.Duration) bool {
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// lastLine is what a process said last, or its last words if it ended by itself.
func lastLine(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return errors.Join(fmt.Errorf("its log is %s", path), err).Error()
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	last := lines[len(lines)-1]
	for _, line := range lines {
		if words, ok := strings.CutPrefix(line, "ckptd: "); ok {
			last = words
		}
	}
	return fmt.Sprintf("%s (its log is %s)", last, path)
}
