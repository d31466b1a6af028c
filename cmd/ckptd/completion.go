package main

import (
	"io"

	"github.com/spf13/cobra"

	"github.com/ckptd/ckptd/cmd/ckptd/exit"
)

// shells are those that completion knows.
var shells = []string{"bash", "zsh", "fish", "powershell"}

func newCompletionCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "completion SHELL",
		Short: "Print a completion script: bash, zsh, fish or powershell",
		Example: `  source <(ckptd completion bash)
  ckptd completion zsh > "${fpath[1]}/_ckptd"
  ckptd completion fish | source`,
		ValidArgs: shells,
		Args:      wantArgs(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			root, out := cmd.Root(), cmd.OutOrStdout()
			write := map[string]func(io.Writer) error{
				"bash":       func(w io.Writer) error { return root.GenBashCompletionV2(w, true) },
				"zsh":        root.GenZshCompletion,
				"fish":       func(w io.Writer) error { return root.GenFishCompletion(w, true) },
				"powershell": root.GenPowerShellCompletionWithDesc,
			}[args[0]]
			if write == nil {
				return exit.Usagef("completion: unknown shell; want one of %v", shells)
			}
			return write(out)
		},
	}
}
