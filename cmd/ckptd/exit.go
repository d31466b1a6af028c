package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/journal"
)

// exitCode maps errors to exit codes. No other place does.
func exitCode(ctx context.Context, err error) int {
	var status *exit.Error
	if errors.As(err, &status) {
		return status.Code
	}
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return exit.Interrupted
	}
	for _, damage := range []error{
		catalog.ErrDamaged, layout.ErrCorrupt, journal.ErrCorrupt, client.ErrCorrupt,
		// Refused for safety.
		layout.ErrNewerFormat, journal.ErrNewer, client.ErrNewerFormat, layout.ErrUnknownKind, layout.ErrUnfit,
	} {
		if errors.Is(err, damage) {
			return exit.Damage
		}
	}
	return exit.Failed
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

// noteBegin has every command below cmd set *begun when it begins its work. An error before that is an error of usage.
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
