package main

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/cmd/ckptd/output"
	"github.com/ckptd/ckptd/layout/auditlog"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/shell"
)

func newAuditCmd() *cobra.Command {
	last := 1000
	cmd := &cobra.Command{
		Use:   "audit [ROOT | JOB]",
		Short: "Show what people have deleted",
		Long: `Show what people's commands have deleted: when, who, by which command, each name, and why nothing needed it. A name is recorded before
its delete is issued, so that the log may name an object whose delete was cut off. Records are kept for 90 days.`,
		Example: `  ckptd audit file:///var/lib/ckptd
  ckptd audit ./data/clicks --last 10 --json | jq '.entries[].name'`,
		Args:              wantArgs(0, 1),
		ValidArgsFunction: completeJobs,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if last < 1 {
				return exit.Usagef("audit: --last %d: want at least 1", last)
			}
			ctx := cmd.Context()
			t, err := openRootOrJob(ctx, daemonsOf(cmd), strings.Join(args, ""))
			if err == nil {
				t, err = t.onStorage(ctx)
			}
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, t.close()) }()
			log := &ckptdv1.AuditLog{}
			err = auditlog.Read(ctx, t.store, func(e *ckptdv1.AuditEntry) error {
				if t.job != "" && e.GetJobId() != t.job {
					return nil
				}
				if log.Entries = append(log.Entries, e); len(log.Entries) >= 2*last {
					log.Entries = append(log.Entries[:0:0], log.Entries[len(log.Entries)-last:]...)
				}
				return nil
			})
			if err != nil {
				return err
			}
			log.Entries = log.Entries[max(0, len(log.Entries)-last):]
			if wantsJSON(cmd) {
				return printJSON(cmd.OutOrStdout(), log)
			}
			if len(log.Entries) == 0 {
				_, err = fmt.Fprintln(cmd.OutOrStdout(), "nobody has deleted anything in the last 90 days")
				return err
			}
			table := output.NewTable(cmd.OutOrStdout())
			table.Row("TIME", "WHO", "COMMAND", "NAME", "REASON")
			for _, e := range log.Entries {
				table.Row(output.Time(e.GetTime()), e.GetWho(), e.GetCommand(), e.GetName(), e.GetReason())
			}
			return table.Flush()
		},
	}
	cmd.Flags().IntVar(&last, "last", last, "show so many names, the newest ones")
	serverFlags(cmd)
	jsonFlag(cmd, "AuditLog")
	return cmd
}

// commandOf says who runs a verb, for the audit log. The arguments may hold secrets, so that only the verb is named.
func commandOf(cmd *cobra.Command) *shell.Command {
	who := "unknown"
	if u, err := user.Current(); err == nil {
		who = u.Username
	}
	if host, err := os.Hostname(); err == nil {
		who += "@" + host
	}
	return &shell.Command{Who: who, Command: cmd.CommandPath()}
}
