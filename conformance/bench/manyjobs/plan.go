package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ckptd/ckptd/client"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

const (
	// firstSweep is the time in which an owner's first sweep is over: what is made later lies there for an hour.
	firstSweep = 5 * time.Second
	// planTurn is how long checkpoints are alone, and then beside plans; that happens planTurns times.
	planTurn  = 4 * time.Second
	planTurns = 3
)

// plan measures a job's checkpoints while its owner plans a collection over many files, again and again. Nothing needs them.
func plan(ctx context.Context, o options, d *daemon) error {
	c, err := connect(d)
	if err != nil {
		return err
	}
	defer c.Close()
	job, err := c.AttachJob(ctx, spec("planned", sweepInterval))
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
	if err := pause(ctx, firstSweep); err != nil {
		return err
	}
	if err := makeFiles(filepath.Join(d.root, "root", "planned", "shared"), o.plan); err != nil {
		return err
	}
	var alone, beside counts
	plans, planning := 0, time.Duration(0)
	for range planTurns {
		before := t.counts()
		if err := pause(ctx, planTurn); err != nil {
			return err
		}
		alone.durations = append(alone.durations, t.counts().since(before).durations...)
		before = t.counts()
		for began := time.Now(); ; {
			if err := planOnce(ctx, c, o.plan); err != nil {
				return err
			}
			plans++
			if took := time.Since(began); took >= planTurn {
				planning += took
				break
			}
		}
		beside.durations = append(beside.durations, t.counts().since(before).durations...)
	}
	memory := d.resident()
	cancel()
	report(fmt.Sprintf("Plan/files=%d", o.plan), figure{alone.at(0.5), "alone-p50-ms"}, figure{beside.at(0.5), "beside-p50-ms"},
		figure{beside.at(0.5) / max(alone.at(0.5), 0.001), "beside/alone"}, figure{beside.at(0.99), "beside-p99-ms"},
		figure{float64(len(beside.durations)), "checkpoints"}, figure{planning.Seconds() / float64(plans), "seconds"}, figure{memory / 1e6, "resident-MB"})
	return running.Wait()
}

// planOnce has the owner plan a collection, and checks that the plan has all of the files.
func planOnce(ctx context.Context, c *client.Client, files int) error {
	dead := 0
	err := c.Admin().Messages().Collect(ctx, &ckptdv1.CollectRequest{JobId: "planned"}, func(p *ckptdv1.CollectResponse) error {
		dead += len(p.GetItems())
		return nil
	})
	if err == nil && dead < files {
		err = fmt.Errorf("the plan has %d objects, want %d", dead, files)
	}
	return err
}
