package main

import (
	"context"
	"math"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// smallMemory is what the daemon lets Go take, garbage included, before it collects more often than by itself.
	smallMemory = 416 << 20
	// lookAtMemory is how often it looks.
	lookAtMemory = time.Second
)

// keepSmall lets the garbage of a daemon with little to keep not grow to as much as it keeps, which is Go's way: a thousand streams to S3
// hold 300 MiB at times. A daemon that keeps more gets a third of that for garbage, whatever it keeps. Whoever sets GOMEMLIMIT or GOGC knows
// better.
func keepSmall(ctx context.Context) {
	if os.Getenv("GOMEMLIMIT") != "" || os.Getenv("GOGC") != "" {
		return
	}
	live, limit := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}, int64(0)
	for {
		metrics.Read(live)
		// The world stops for a change, so small ones are left out.
		if l := memoryFor(live[0].Value.Uint64()); l != limit {
			limit = l
			debug.SetMemoryLimit(limit)
		}
		if !sleep(ctx, lookAtMemory) {
			debug.SetMemoryLimit(math.MaxInt64)
			return
		}
	}
}

// memoryFor is the limit where so many bytes are live, in steps of 32 MiB.
func memoryFor(live uint64) int64 {
	const step = 32 << 20
	return int64(max(smallMemory, (live+live/3+step-1)/step*step))
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
