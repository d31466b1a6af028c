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
	// smallMemory is the memory, garbage included, up to which Go's collector runs only as often as it does by itself.
	smallMemory = 416 << 20
	// lookAtMemory is the interval at which keepSmall adapts the limit.
	lookAtMemory = time.Second
)

// keepSmall limits the memory that a daemon uses for garbage. By default Go lets garbage grow to the size of the live
// heap, and a thousand streams to S3 hold 300 MiB at times. keepSmall allows garbage of a third of the live heap, and
// of more while the total is below smallMemory. It does nothing if GOMEMLIMIT or GOGC is set.
func keepSmall(ctx context.Context) {
	if os.Getenv("GOMEMLIMIT") != "" || os.Getenv("GOGC") != "" {
		return
	}
	live, limit := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}, int64(0)
	for {
		metrics.Read(live)
		// Setting the limit stops the world, so the limit changes only in large steps.
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

// memoryFor is the memory limit for so many live bytes, in steps of 32 MiB.
func memoryFor(live uint64) int64 {
	const step = 32 << 20
	return int64(max(smallMemory, (live+live/3+step-1)/step*step))
}

// sleep waits for t. It returns false if ctx ends first.
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
