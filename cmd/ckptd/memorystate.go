package main

import (
	"fmt"
	"io"

	"github.com/ckptd/ckptd/cmd/ckptd/output"
	"github.com/ckptd/ckptd/layout/storage/mem"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service"
	"github.com/ckptd/ckptd/service/config"
)

// defaultMemoryState bounds the state of all jobs with storage jobmanager.
const defaultMemoryState = "256mb"

// mostMemoryState bounds the flag: no machine has more memory.
const mostMemoryState = 1 << 50

// sizeFlag is a number of bytes, as Flink spells it.
type sizeFlag string

// Set implements pflag.Value.
func (f *sizeFlag) Set(v string) error {
	n, err := config.ParseSize(v)
	if err == nil && n > mostMemoryState {
		err = fmt.Errorf("%s is too large", v)
	}
	if err == nil {
		*f = sizeFlag(v)
	}
	return err
}

// String implements pflag.Value.
func (f *sizeFlag) String() string { return string(*f) }

// Type implements pflag.Value.
func (f *sizeFlag) Type() string { return "size" }

func (f *sizeFlag) bytes() int64 {
	n, _ := config.ParseSize(string(*f)) // Set has checked it
	return int64(n)
}

// store makes the store of jobs with storage jobmanager; nil: such jobs are refused.
func (f *sizeFlag) store() *service.Memory {
	limit := f.bytes()
	if limit == 0 {
		return nil
	}
	s := mem.Bounded(limit)
	return &service.Memory{Opened: s.Opened(), Holds: s.Holds, Usage: s.Usage, Cost: mem.Cost}
}

// printMemory says how much memory the state of jobs in memory takes, if there are such jobs.
func printMemory(w io.Writer, res *ckptdv1.GetStatusResponse) {
	if res.GetMemoryUsed() > 0 {
		fmt.Fprintf(w, "memory: %s of %s taken by the state of jobs with storage jobmanager, which is lost with the daemon\n",
			output.Bytes(res.GetMemoryUsed()), output.Bytes(res.GetMemoryLimit()))
	}
}

// printInMemory says of a job in memory that its state is lost with the daemon, and whether the job has begun anew.
func printInMemory(w io.Writer, j *ckptdv1.JobState) {
	if !j.GetSummary().GetInMemory() {
		return
	}
	fmt.Fprintln(w, "  IN MEMORY: the state is lost with this daemon")
	if why := j.GetBeganAnew(); why != "" {
		fmt.Fprintf(w, "  BEGAN ANEW: %s\n", output.Clean(why))
	}
}
