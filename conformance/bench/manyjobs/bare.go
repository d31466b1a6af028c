package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// bareTime is how long the bare calls are measured.
	bareTime = 10 * time.Second
	// bareWriters is how many checkpoints are written at a time, as many as a daemon sends to its store.
	bareWriters = 32
	// slotsKept is how many entries of a journal stay.
	slotsKept = 17
)

// bare measures the calls to the file system that a checkpoint cannot do without, with nothing around them: the limit of what a
// daemon could reach on this disk. It returns checkpoints per second and the CPU time of each in ms.
func bare(ctx context.Context, root string, jobs int) (rate, cpu float64, err error) {
	folder := func(job int) string { return filepath.Join(root, fmt.Sprintf("bare-%05d", job)) }
	for job := range jobs {
		if err := os.MkdirAll(filepath.Join(folder(job), "_journal"), 0o777); err != nil {
			return 0, 0, err
		}
	}
	var turn atomic.Int64
	var writing errgroup.Group
	began, before := time.Now(), ownCPU()
	for range bareWriters {
		writing.Go(func() error {
			for time.Since(began) < bareTime && ctx.Err() == nil {
				i := int(turn.Add(1)) - 1
				if err := bareCheckpoint(folder(i%jobs), i/jobs+1); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err = writing.Wait()
	n := float64(turn.Load())
	return n / time.Since(began).Seconds(), (ownCPU() - before).Seconds() * 1000 / max(n, 1), err
}

// bareCheckpoint writes what a checkpoint and its entry are on disk, durably, and removes the checkpoint before it and an old entry.
func bareCheckpoint(job string, n int) error {
	checkpoint := func(n int) string { return filepath.Join(job, fmt.Sprintf("chk-%d", n)) }
	entries := filepath.Join(job, "_journal")
	err := os.Mkdir(checkpoint(n), 0o777)
	for _, step := range []func() error{
		func() error { return bareFile(filepath.Join(checkpoint(n), "_metadata"), 300) },
		func() error { return syncFolder(job) },
		func() error { return syncFolder(checkpoint(n)) },
		func() error { return bareFile(filepath.Join(entries, fmt.Sprintf("%020d", n)), 800) },
		func() error { return syncFolder(entries) },
	} {
		if err == nil {
			err = step()
		}
	}
	_ = os.RemoveAll(checkpoint(n - 1))
	_ = os.Remove(filepath.Join(entries, fmt.Sprintf("%020d", n-slotsKept)))
	return err
}

// bareFile makes a synced file of this size.
func bareFile(path string, size int) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(make([]byte, size)); err != nil {
		return err
	}
	return f.Sync()
}

func syncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// ownCPU returns the CPU time that this process has used.
func ownCPU() time.Duration {
	var use syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &use) != nil {
		return 0
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}
