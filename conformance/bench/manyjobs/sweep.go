package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ckptd/ckptd/layout"
)

const (
	// sweepInterval is the time between two checkpoints of the job that is swept.
	sweepInterval = 50 * time.Millisecond
	// usual is how long the job's usual checkpoints are measured.
	usual = 15 * time.Second
	// makers is how many goroutines make files.
	makers = 8
)

// sweep measures a job's checkpoints while a sweep finds many files that nothing needs, and deletes them.
func sweep(ctx context.Context, o options, d *daemon) error {
	c, err := connect(d)
	if err != nil {
		return err
	}
	defer c.Close()
	job, err := c.AttachJob(ctx, spec("swept", sweepInterval))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	t := &tally{}
	e, err := register(ctx, job, t)
	if err != nil {
		return err
	}
	var running errgroup.Group
	running.Go(func() error { return e.run(ctx) })
	before := t.counts()
	if err := pause(ctx, usual); err != nil {
		return err
	}
	alone := t.counts().since(before)

	d.kill() // an owner sweeps soon after it has taken its job
	left := filepath.Join(d.root, "root", "swept", "shared")
	if err := makeFiles(left, o.sweep); err != nil {
		return err
	}
	if err := d.start(ctx); err != nil {
		return err
	}
	deleted := func() int {
		all, _ := d.metrics(ctx)
		return int(all[`ckptd_store_deleted_objects_total{store="file"}`])
	}
	began := time.Now()
	if err := wait(ctx, time.Hour, "the sweep to begin", func() bool { return deleted() > 0 || time.Since(began) > 3*time.Second }); err != nil {
		return err
	}
	before = t.counts()
	if err := wait(ctx, time.Hour, "the sweep to delete all files", func() bool { return deleted() >= o.sweep }); err != nil {
		return err
	}
	beside := t.counts().since(before)
	cancel()
	report(fmt.Sprintf("Sweep/files=%d", o.sweep), figure{alone.at(0.5), "alone-p50-ms"}, figure{beside.at(0.5), "beside-p50-ms"},
		figure{beside.at(0.5) / max(alone.at(0.5), 0.001), "beside/alone"}, figure{beside.at(0.99), "beside-p99-ms"},
		figure{float64(len(beside.durations)), "checkpoints"}, figure{time.Since(began).Seconds(), "seconds"}, figure{d.resident() / 1e6, "resident-MB"})
	return running.Wait()
}

// pause waits for t, or until ctx ends.
func pause(ctx context.Context, t time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(t):
		return nil
	}
}

// makeFiles makes empty files of an earlier epoch.
func makeFiles(folder string, n int) error {
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return err
	}
	nonce := layout.NewNonce()
	var making errgroup.Group
	for maker := range makers {
		making.Go(func() error {
			for i := maker; i < n; i += makers {
				name := layout.FileName{Epoch: 1, Checkpoint: 1, Nonce: nonce, Sequence: uint64(i)}
				f, err := os.Create(filepath.Join(folder, name.String()))
				if err != nil {
					return err
				}
				if err := f.Close(); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return making.Wait()
}
