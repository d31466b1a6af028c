package main

import (
	"os"
	"runtime"
)

// runMore lets Go run more goroutines at a time than there are cores, for a store on this machine.
//
// A goroutine in an fsync keeps one of Go's places to run until a watching thread takes the place away. On a busy machine that
// thread comes late, and with two cores two syncs hold up all jobs: the median of a small checkpoint was 60 to 120 ms there with
// 2 places, and 7 to 10 ms with 6 or 16. Reading a socket needs no place, so other stores need no more.
//
// runMore does nothing if GOMAXPROCS is set.
func runMore() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(placesFor(runtime.GOMAXPROCS(0)))
	}
}

// placesFor is how many goroutines run at a time on so many cores. More than 32 syncs seldom run at a time (--commits).
func placesFor(cores int) int { return min(4*cores, cores+32) }
