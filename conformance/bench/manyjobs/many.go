package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ckptd/ckptd/client"
)

// many measures jobs that all take checkpoints.
func many(ctx context.Context, o options, d *daemon) error {
	c, err := connect(d)
	if err != nil {
		return err
	}
	defer c.Close()
	jobs, cancel := context.WithCancel(ctx)
	defer cancel()
	t := &tally{}
	var running errgroup.Group
	began := time.Now()
	err = attachAll(jobs, c, o.jobs, o.interval, func(job *client.Job) error {
		e, err := register(jobs, job, t)
		if err == nil {
			running.Go(func() error { return e.run(jobs) })
		}
		return err
	})
	if err != nil {
		cancel()
		return errors.Join(err, running.Wait())
	}
	fmt.Fprintf(os.Stderr, "manyjobs: %d jobs attached in %v\n", o.jobs, time.Since(began).Round(time.Millisecond))
	figures, err := watch(ctx, o, d, t)
	cancel()
	if err := errors.Join(err, running.Wait()); err != nil {
		return err
	}
	d.kill()
	rate, cpu, err := bare(ctx, filepath.Join(d.root, "root"), o.jobs)
	report(fmt.Sprintf("Jobs/jobs=%d", o.jobs), append(figures, figure{rate, "bare/s"}, figure{cpu, "bare-cpu-ms"})...)
	return err
}

// watch prints a line for each period, and returns the figures of the whole time.
func watch(ctx context.Context, o options, d *daemon, t *tally) ([]figure, error) {
	began, first, cpu := time.Now(), t.counts(), d.cpu()
	last, lastAt, most := first, began, 0.0
	for end := began.Add(o.lasts); time.Now().Before(end); {
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(min(o.every, time.Until(end))):
		}
		now, memory := t.counts(), d.resident()
		period := now.since(last)
		fmt.Fprintf(os.Stderr, "%6.0f/s, p50 %.0f ms, p99 %.0f ms, %d aborted, %.0f MiB\n",
			float64(len(period.durations))/time.Since(lastAt).Seconds(), period.at(0.5), period.at(0.99), period.aborted, memory/(1<<20))
		last, lastAt, most = now, time.Now(), max(most, memory)
	}
	all := t.counts().since(first)
	n := float64(len(all.durations))
	return []figure{{n / time.Since(began).Seconds(), "checkpoints/s"}, {all.at(0.5), "p50-ms"},
		{all.at(0.99), "p99-ms"}, {most / 1e6, "resident-MB"}, {(d.cpu() - cpu).Seconds() * 1000 / max(n, 1), "cpu-ms/checkpoint"},
		{float64(all.aborted), "aborted"}, {time.Since(began).Seconds(), "seconds"}}, nil
}
