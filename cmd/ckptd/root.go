package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/ckptd/ckptd/cmd/ckptd/drivers"
	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/cmd/ckptd/output"
)

// newRootCmd lists the verbs. Each verb has its own file. Tests set steps; it is nil in production.
func newRootCmd(steps func(step string)) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ckptd",
		Short: "Keep the checkpoints of streaming jobs",
		Long: `ckptd keeps the checkpoints of streaming jobs. It stores them, decides when a checkpoint is complete and which files may be
deleted, and gives a failed job its state back.

A ROOT is a URL or a path: ` + rootExamples() + `
A JOB is <root>/<job id>: file:///var/lib/ckptd/clicks; or <job id> alone, with --server
A CHECKPOINT is <job>/chk-<number>: file:///var/lib/ckptd/clicks/chk-42; or the path or URL of a _metadata or its folder

` + exit.Help,
		Example: `  ckptd ls file:///var/lib/ckptd
  ckptd show file:///var/lib/ckptd/clicks/chk-42
  ckptd show clicks/chk-42 --server http://127.0.0.1:7420`,
		Version:           version(),
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return usageOf(cmd, fromEnvironment(cmd)) },
		SilenceErrors:     true,
		SilenceUsage:      true,
	}
	cmd.SetVersionTemplate(versionLine())
	cmd.CompletionOptions.DisableDefaultCmd = true // completion.go has a command that refuses unknown shells
	cmd.AddCommand(
		newServeCmd(steps),
		newConfigCmd(),
		newWorkerCmd(steps),
		newDemoCmd(),
		newRunCmd(),
		newStatusCmd(),
		newHistoryCmd(),
		newTriggerCmd(),
		newSavepointCmd(),
		newStopCmd(),
		newDisposeCmd(),
		newCancelCmd(),
		newSuspendCmd(),
		newDoctorCmd(),
		newDoctorRacerCmd(),
		newLsCmd(),
		newShowCmd(),
		newFilesCmd(),
		newVerifyCmd(),
		newDrillCmd(),
		newWhyCmd(),
		newGCCmd(),
		newAuditCmd(),
		newCopyCmd(steps),
		newRmCmd(),
		newPurgeCmd(),
		newTrashCmd(),
		newUndeleteCmd(),
		newTagCmd(),
		newForgetCmd(),
		newJournalCmd(),
		newLatestCmd(),
		newWhoUsesCmd(),
		newUnlockCmd(),
		newVersionCmd(),
		newCompletionCmd(),
	)
	return cmd
}

// rootExamples are valid roots, quoted for a shell: a path, and one URL for each driver.
func rootExamples() string {
	examples := []string{"./data"}
	for _, d := range drivers.All() {
		examples = append(examples, output.ShellWord(d.Example))
	}
	return strings.Join(examples, ", ")
}

// completeRoot offers the beginning of each driver's URLs. The shell completes paths.
func completeRoot(_ *cobra.Command, args []string, word string) (begins []string, _ cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	for _, d := range drivers.All() {
		scheme, rest, _ := strings.Cut(d.Example, "://")
		begin := scheme + "://"
		if strings.HasPrefix(rest, "/") {
			begin += "/"
		}
		if strings.HasPrefix(begin, word) {
			begins = append(begins, begin+"\t"+d.Example)
		}
	}
	return begins, cobra.ShellCompDirectiveNoSpace
}

// rootFlag adds --root.
func rootFlag(cmd *cobra.Command, root *string, note string) {
	cmd.Flags().StringVar(root, "root", "", "where the checkpoints lie: "+drivers.Forms()+" ("+note+")")
	cobra.CheckErr(cmd.RegisterFlagCompletionFunc("root", func(cmd *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
		return completeRoot(cmd, nil, word)
	}))
}
