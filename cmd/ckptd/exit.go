package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

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
		layout.ErrNewerFormat, journal.ErrNewer, client.ErrNewerFormat, layout.ErrUnknownKind, layout.ErrUnfit, errNoSavepoint,
	} {
		if errors.Is(err, damage) {
			return exit.Damage
		}
	}
	return exit.Failed
}

// inFull is the text of an error with the verb that failed, and with what to do next where the text cannot know it. A daemon, a worker and
// the demo say by themselves what they tried.
func inFull(cmd *cobra.Command, err error) string {
	text, verb := err.Error(), strings.TrimPrefix(cmd.CommandPath(), "ckptd ")
	if slices.Contains([]string{"serve", "worker", "demo", "run"}, verb) {
		return text
	}
	if said := strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == ':' || r == '\n' }); !slices.Contains(said, cmd.Name()) {
		text = verb + ": " + text
	}
	switch {
	case errors.Is(err, layout.ErrNotRoot), strings.Contains(text, "file: open "):
		text += ". A root is the place that `ckptd serve --root` was given"
	case errors.Is(err, catalog.ErrNoJob):
		text += ". The jobs of a root: ckptd ls ROOT"
	}
	return text
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
