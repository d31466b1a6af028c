package main

import (
	"context"
	"math"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"github.com/ckptd/ckptd/cmd/ckptd/launch"
)

const (
	// smallMemory is the memory, garbage included, up to which Go's collector runs only as often as percentFor says.
	smallMemory = 416 << 20
	// manyJobs is the live heap above which garbage may grow only to half of it. A thousand busy jobs have 49 MiB, and 4,000 idle
	// ones 33 MiB. With 5,000 idle jobs the process had 18 KB a job without this, and 15 KB with it.
	manyJobs = 24 << 20
	// lookAtMemory is the interval at which keepSmall adapts the limit.
	lookAtMemory = time.Second
	// A daemon is idle when it has allocated less than idleAllocs between two looks, idleLooks times in a row.
	idleAllocs = 1 << 20
	idleLooks  = 3
	// spareMemory is how much garbage and unused memory an idle daemon may hold.
	spareMemory = 16 << 20
)

// keepSmall limits the memory that a daemon uses for garbage. By default Go lets garbage grow to the size of the live
// heap, and a thousand streams to S3 hold 300 MiB at times. keepSmall allows garbage of a third of the live heap, and
// of half of it while the total is below smallMemory; of all of it in a small heap. An idle daemon allocates nothing, so that its collector would not run
// for minutes; keepSmall lets it run once, and gives the memory back to the system.
//
// keepSmall does nothing if GOMEMLIMIT or GOGC is set.
func keepSmall(ctx context.Context) {
	if os.Getenv("GOMEMLIMIT") != "" || os.Getenv("GOGC") != "" {
		return
	}
	limit, percent := int64(0), 0
	var idle idleness
	for {
		now := lookedUp()
		// Setting the limit stops the world, so the limit changes only in large steps.
		if l := memoryFor(now.live); l != limit {
			limit = l
			debug.SetMemoryLimit(limit)
		}
		if p := percentFor(now.live); p != percent {
			percent = p
			debug.SetGCPercent(percent)
		}
		if idle.gives(now) {
			debug.FreeOSMemory()
		}
		if !launch.Sleep(ctx, lookAtMemory) {
			debug.SetMemoryLimit(math.MaxInt64)
			debug.SetGCPercent(100)
			return
		}
	}
}

// heap is the state of the heap in bytes.
type heap struct {
	live    uint64 // found alive by the last collection
	objects uint64 // live, or garbage that was not collected yet
	free    uint64 // unused, but not given back to the system
	allocs  uint64 // ever allocated
}

// lookedUp reads the state of the heap. It does not stop the world.
func lookedUp() heap {
	s := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/free:bytes"}, {Name: "/gc/heap/allocs:bytes"},
	}
	metrics.Read(s)
	return heap{live: s[0].Value.Uint64(), objects: s[1].Value.Uint64(), free: s[2].Value.Uint64(), allocs: s[3].Value.Uint64()}
}

// idleness finds out whether a daemon is idle.
type idleness struct {
	allocs uint64 // at the last look
	looks  int    // in a row at which the daemon was idle
}

// gives reports whether it is time to give memory back: the daemon is idle and holds more than spareMemory that it does
// not use.
func (i *idleness) gives(now heap) bool {
	i.looks++
	if now.allocs-i.allocs > idleAllocs {
		i.looks = 0
	}
	i.allocs = now.allocs
	garbage := now.objects - min(now.live, now.objects)
	return i.looks >= idleLooks && garbage+now.free > spareMemory
}

// memoryFor is the memory limit for so many live bytes, in steps of 32 MiB.
func memoryFor(live uint64) int64 {
	const step = 32 << 20
	return int64(max(smallMemory, (live+live/3+step-1)/step*step))
}

// percentFor is how much garbage, in percent of the live heap, may gather before the collector runs.
func percentFor(live uint64) int {
	if live >= manyJobs {
		return 50
	}
	return 100
}
