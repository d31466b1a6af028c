package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/ckptd/ckptd/service/config"
)

// durationFlag is a flag with a duration in Flink's form: 7d, 90 min.
type durationFlag time.Duration

func (d *durationFlag) Set(s string) error {
	v, err := config.ParseDuration(s)
	*d = durationFlag(v)
	return err
}

func (d *durationFlag) String() string {
	if *d == 0 {
		return ""
	}
	return config.FormatDuration(time.Duration(*d))
}

// Type names the value in a help text.
func (d *durationFlag) Type() string { return "duration" }

func (d *durationFlag) value() time.Duration { return time.Duration(*d) }

// trashUsage is for serve, whose trash is that of the jobs it owns, and for commands, which use theirs for jobs that no daemon owns.
const trashUsage = "how long what is removed, or dropped by a job's end, can be brought back: `7d`; a job's ckptd.trash and its daemon's flag win (default: not at all)"

// trashFlag adds the window for jobs that no daemon owns. A daemon has its own.
func trashFlag(cmd *cobra.Command) {
	cmd.Flags().Var(new(durationFlag), "trash", trashUsage)
}

// trashOf reads the flag of trashFlag; 0: there is none.
func trashOf(cmd *cobra.Command) time.Duration {
	f := cmd.Flags().Lookup("trash")
	if f == nil {
		return 0
	}
	d, _ := f.Value.(*durationFlag)
	return d.value()
}
