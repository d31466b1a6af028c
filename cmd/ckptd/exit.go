package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/journal"
)

// The exit codes; exitHelp explains them to people.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitPart        = 3
	exitDamage      = 4
	exitInterrupted = 130
)

const exitHelp = `Exit codes:
  0    done
  1    failed
  2    wrong usage: an unknown verb, flag or argument
  3    done in part
  4    found damage or a wrong result, or refused for safety
  130  interrupted`

// statusError is an error that chooses its exit code.
type statusError struct {
	code int
	err  error
}

func (e *statusError) Error() string { return e.err.Error() }
func (e *statusError) Unwrap() error { return e.err }

// usagef is for what the caller could have known before anything was tried.
func usagef(format string, args ...any) error {
	return &statusError{exitUsage, fmt.Errorf(format, args...)}
}

// exitCode is the one table from errors to exit codes.
func exitCode(ctx context.Context, err error) int {
	var status *statusError
	if errors.As(err, &status) {
		return status.code
	}
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return exitInterrupted
	}
	for _, damage := range []error{
		catalog.ErrDamaged, layout.ErrCorrupt, journal.ErrCorrupt,
		// Refused for safety.
		layout.ErrNewerFormat, journal.ErrNewer, layout.ErrUnknownKind, layout.ErrUnfit,
	} {
		if errors.Is(err, damage) {
			return exitDamage
		}
	}
	return exitFailed
}

// wantArgs is for cobra.Command.Args: from least to most arguments.
func wantArgs(least, most int) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch n := len(args); {
		case n < least:
			return fmt.Errorf("%d arguments given, want %d", n, least)
		case n > most:
			return fmt.Errorf("one argument too many: %q", args[most])
		}
		return nil
	}
}

// noteBegin lets every command below cmd set *begun when it begins to do its work: an error before that is one of usage.
func noteBegin(cmd *cobra.Command, begun *bool) {
	if do := cmd.RunE; do != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			*begun = true
			return do(cmd, args)
		}
	}
	for _, c := range cmd.Commands() {
		noteBegin(c, begun)
	}
}
