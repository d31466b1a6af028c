package main

import (
	"context"
	"fmt"
	"time"

	"github.com/ckptd/ckptd/client"
)

// backTime is how long a daemon may take to take all jobs back.
const backTime = 5 * time.Minute

// quiet is how long a daemon is left alone before its memory is read: its first sweeps have ended then.
const quiet = 10 * time.Second

// back measures how a daemon takes idle jobs back after it was killed, and what memory they take.
func back(ctx context.Context, o options, d *daemon) error {
	empty := d.resident()
	c, err := connect(d)
	if err != nil {
		return err
	}
	err = attachAll(ctx, c, o.back, time.Hour, func(*client.Job) error { return nil })
	if err := c.Close(); err != nil {
		return err
	}
	if err != nil {
		return err
	}
	each := func() float64 { return (d.resident() - empty) / float64(o.back) }
	if err := pause(ctx, quiet); err != nil {
		return err
	}
	attached := each()
	d.kill()
	began := time.Now()
	if err := d.start(ctx); err != nil {
		return err
	}
	if err := wait(ctx, backTime, "all jobs to be back", func() bool { return d.jobs(ctx) == o.back }); err != nil {
		return err
	}
	took, cpu := time.Since(began), d.cpu()
	if err := pause(ctx, quiet); err != nil {
		return err
	}
	report(fmt.Sprintf("Back/idle-jobs=%d", o.back), figure{took.Seconds(), "seconds"}, figure{cpu.Seconds(), "cpu-s"},
		figure{attached, "attached-bytes/job"}, figure{each(), "restarted-bytes/job"})
	return nil
}
