// Command ckptd keeps the checkpoints of streaming jobs: the daemon, and the commands that look at what it keeps.
//
// It owns the wiring (the commands of the verbs in root.go, the exit codes of errors in exit.go), and the flags and
// texts of each verb. It must not know how anything about checkpoints is decided; the packages that it wires decide.
// Package drivers below it has the table of drivers, package demo the demo.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/ckptd/ckptd/cmd/ckptd/exit"
)

func main() {
	// The signals stay caught until the end. If they were let go first, one that comes between that and the exit would kill a command
	// that has finished its work.
	ctx, _ := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run runs the whole program and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	return runSteps(ctx, args, stdout, stderr, nil)
}

// runSteps is run with a function that daemons and workers call at each named step. Tests kill the process there.
func runSteps(ctx context.Context, args []string, stdout, stderr io.Writer, steps func(step string)) int {
	root := newRootCmd(steps)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	begun := false
	noteBegin(root, &begun)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exit.Done
	}
	text, code := err.Error(), exitCode(ctx, err)
	if !begun {
		text, code = withoutPasswords(text, args), exit.Usage // an unknown verb or flag, a missing argument
	} else {
		text = inFull(cmd, err)
	}
	if logsJSON(cmd) {
		logEnd(stderr, cmd, text, code)
		return code
	}
	fmt.Fprintf(stderr, "ckptd: %s\n", text)
	if code == exit.Usage {
		fmt.Fprintf(stderr, "Usage: %s\nSee `%s --help`.\n", cmd.UseLine(), cmd.CommandPath())
	}
	return code
}

// withoutPasswords removes from a text the arguments that may be URLs, and so may hold a password. The library for
// commands repeats arguments that it does not know.
func withoutPasswords(text string, args []string) string {
	for _, arg := range args {
		name, _, _ := strings.Cut(arg, "=")
		for _, whole := range []string{arg, name} {
			// Of flags in one word, and of a flag's value, the library repeats the end of the argument.
			for i := 0; i < len(whole) && strings.ContainsAny(whole[i:], ":@?"); i++ {
				text = strings.ReplaceAll(text, strings.Trim(strconv.Quote(whole[i:]), `"`), "…")
				text = strings.ReplaceAll(text, whole[i:], "…")
			}
		}
	}
	return text
}
