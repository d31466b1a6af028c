package main

import (
	"github.com/spf13/cobra"
)

// newRootCmd lists the verbs. Each is made in a file of its own. steps is of tests, and nil in production.
func newRootCmd(steps func(step string)) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ckptd",
		Short: "Keep the checkpoints of streaming jobs",
		Long: `ckptd keeps the checkpoints of streaming jobs: where they lie, when one is complete, what may be deleted, what a failed job gets back.

A ROOT is a URL or a path: file:///var/lib/ckptd, ./data, 's3://my-bucket/ckptd?region=eu-central-1'
A JOB is <root>/<job id>: file:///var/lib/ckptd/clicks; or <job id> alone, with --server
A CHECKPOINT is <job>/chk-<number>: file:///var/lib/ckptd/clicks/chk-42; or the path or URL of a _metadata or its folder

` + exitHelp,
		Example: `  ckptd ls file:///var/lib/ckptd
  ckptd show file:///var/lib/ckptd/clicks/chk-42
  ckptd show clicks/chk-42 --server http://127.0.0.1:7420`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	cmd.CompletionOptions.DisableDefaultCmd = true // ours takes the shell as an argument, and refuses others
	cmd.AddCommand(
		newServeCmd(steps),
		newWorkerCmd(steps),
		newDemoCmd(),
		newStatusCmd(),
		newTriggerCmd(),
		newCancelCmd(),
		newDoctorCmd(),
		newDoctorRacerCmd(),
		newLsCmd(),
		newShowCmd(),
		newFilesCmd(),
		newJournalCmd(),
		newVersionCmd(),
		newCompletionCmd(),
	)
	return cmd
}
