package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// A daemon is a `ckptd serve` that can be killed and started again at the same address.
type daemon struct {
	program, root, listen, url string

	process *exec.Cmd
	web     http.Client
}

// startTime is how long a daemon may take until it answers.
const startTime = time.Minute

func newDaemon(program, root string) (*daemon, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // a free port
	if err != nil {
		return nil, err
	}
	defer l.Close()
	at := l.Addr().String()
	return &daemon{program: program, root: root, listen: at, url: "http://" + at,
		web: http.Client{Transport: &http.Transport{DisableCompression: true}}}, nil // the daemon would compress each answer, and hold the memory for it
}

// start returns when the daemon answers.
func (d *daemon) start(ctx context.Context) error {
	log, err := os.Create(d.root + ".log")
	if err != nil {
		return err
	}
	defer log.Close()
	d.process = exec.Command(d.program, "serve", "--root", filepath.Join(d.root, "root"), "--listen", d.listen)
	d.process.Stderr = log
	if err := d.process.Start(); err != nil {
		return err
	}
	return wait(ctx, startTime, "the daemon to answer; its log is "+log.Name(), func() bool {
		_, err := d.metrics(ctx)
		return err == nil
	})
}

func (d *daemon) kill() {
	if d.process != nil {
		_ = d.process.Process.Kill()
		_ = d.process.Wait()
		os.Remove(d.root + ".log")
		d.process = nil
	}
}

// metrics returns all series of the daemon by their names with labels.
func (d *daemon) metrics(ctx context.Context) (map[string]float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	res, err := d.web.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, errors.New(res.Status)
	}
	all := map[string]float64{}
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		if i := strings.LastIndexByte(lines.Text(), ' '); i > 0 {
			if value, err := strconv.ParseFloat(lines.Text()[i+1:], 64); err == nil {
				all[lines.Text()[:i]] = value
			}
		}
	}
	_, _ = io.Copy(io.Discard, res.Body)
	return all, lines.Err()
}

// jobs returns how many jobs the daemon owns.
func (d *daemon) jobs(ctx context.Context) int {
	all, _ := d.metrics(ctx)
	return int(all["ckptd_jobs"])
}

// resident returns the daemon's resident memory in bytes; 0: not known.
func (d *daemon) resident() float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.process.Process.Pid))
	if err != nil {
		return 0
	}
	for l := range strings.Lines(string(text)) {
		var kib float64
		if n, _ := fmt.Sscanf(l, "VmRSS: %f kB", &kib); n == 1 {
			return kib * 1024
		}
	}
	return 0
}

// cpu returns the CPU time that the daemon has used; 0: not known.
func (d *daemon) cpu() time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", d.process.Process.Pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), ") ") // the program's name may hold blanks
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	const tick = 10 * time.Millisecond
	return time.Duration(user+system) * tick
}

// wait looks again and again until is returns true.
func wait(ctx context.Context, atMost time.Duration, what string, is func() bool) error {
	for deadline := time.Now().Add(atMost); !is(); {
		if time.Now().After(deadline) {
			return fmt.Errorf("after %v still waiting for %s", atMost, what)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}
