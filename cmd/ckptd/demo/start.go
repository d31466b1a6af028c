package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/cmd/ckptd/launch"
	"github.com/ckptd/ckptd/proto/address"
	"github.com/ckptd/ckptd/runtime/clickjob"
	"github.com/ckptd/ckptd/runtime/launcher"
	"github.com/ckptd/ckptd/service/config"
)

// StartDaemon starts the daemon and waits until it answers.
func (d *Demo) StartDaemon(ctx context.Context) (err error) {
	d.Params.Output = filepath.Join(d.Tmp, "output")
	if d.o.Output == "" && (d.o.Keep || d.o.From != "") {
		d.o.Output = OutputFolder()
	}
	if d.o.Output != "" {
		if d.Params.Output, err = filepath.Abs(d.o.Output); err != nil {
			return fmt.Errorf("demo: --output: %w", err)
		}
	}
	for _, dir := range []string{d.Params.Output, filepath.Join(d.Tmp, "logs"), filepath.Join(d.Tmp, "local")} {
		if err := os.MkdirAll(dir, 0o777); err != nil {
			return fmt.Errorf("demo: %w", err)
		}
	}
	d.URL = address.Unix(filepath.Join(d.Tmp, "ckptd.sock")).String()
	if d.client, err = client.New([]string{d.URL}); err != nil {
		return err
	}
	d.Admin = d.client.Admin().Messages()
	d.Servers = []string{d.URL}
	d.launch = launcher.New(filepath.Join(d.Tmp, "logs"))
	args := append([]string{"serve", "--root", d.Root, "--listen", d.URL}, d.places()...)
	if d.Daemon, err = d.Child("daemon", launcher.Always, args...); err != nil {
		return err
	}
	if err := launch.AwaitDaemon(ctx, d.Admin, d.Daemon); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	return nil
}

// StartJob creates the job and starts the workers.
func (d *Demo) StartJob(ctx context.Context) error {
	d.introduce()
	if err := d.attach(ctx); err != nil {
		return err
	}
	return d.startWorkers()
}

// Child starts this program in another role. If the process ends, it is started again.
func (d *Demo) Child(name string, restart launcher.Restart, args ...string) (*launcher.Process, error) {
	return launch.Self(d.launch, launcher.Child{Name: name, Restart: restart}, d.Environment, args...)
}

// attach creates the job. If the configuration is wrong, the demo prints the error; otherwise it would only be in a
// worker's log.
func (d *Demo) attach(ctx context.Context) error {
	mode := client.NoClaim
	if d.o.Claim {
		mode = client.Claim
	}
	_, err := d.client.AttachJob(ctx, client.JobSpec{
		ID: d.ID, Plan: clickjob.New(d.Params, nil).Plan(), Config: client.ConfigFrom(d.Config.Job), Labels: map[string]string{"name": "demo"},
		RestoreFrom: d.o.From, ClaimMode: mode,
	})
	return err
}

func (d *Demo) startWorkers() error {
	effective, err := config.Effective(d.Config.Job)
	if err != nil {
		return err
	}
	var keys bytes.Buffer
	if err := config.Show(&keys, d.Root, effective); err != nil {
		return err
	}
	keys.WriteString(d.Config.Engine.Keys())
	if err := os.WriteFile(d.keys(), keys.Bytes(), 0o666); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	for slot := range NumWorkers {
		w, err := d.Worker(fmt.Sprintf("worker-%d", slot), slot, d.Params)
		if err != nil {
			return err
		}
		d.Workers = append(d.Workers, w)
	}
	return nil
}

// keys is the path of the file with the job's configuration.
func (d *Demo) keys() string { return filepath.Join(d.Tmp, "job.yaml") }

// Worker starts the worker process with that number. name is for people, and for the name of the log.
func (d *Demo) Worker(name string, slot int, params clickjob.Params) (*launcher.Process, error) {
	p, err := json.Marshal(params)
	if err != nil {
		return nil, fmt.Errorf("demo: %w", err)
	}
	args := []string{
		"worker", "--job-id", d.ID, "--slot", strconv.Itoa(slot), "--of", strconv.Itoa(NumWorkers), "--params", string(p),
		"--config", d.keys(), "--dir", filepath.Join(d.Tmp, "local"), "--exchange", "unix:" + d.Tmp,
	}
	for _, url := range d.Servers {
		args = append(args, "--server", url)
	}
	return d.Child(name, launcher.OnFailure, args...)
}
