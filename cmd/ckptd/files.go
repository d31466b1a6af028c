package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/cmd/ckptd/output"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

func newFilesCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "files CHECKPOINT",
		Short: "List the files of a checkpoint, and whether they are there",
		Long: `List the files that a checkpoint refers to, and whether each is on storage with the right size. Their bytes are not read.
Names are relative to the job's folder. If a file is missing or of another size, the exit code is 4.`,
		Example: `  ckptd files file:///var/lib/ckptd/clicks/chk-42
  ckptd files ./data/clicks/chk-42 --json | jq -r '.files[].file.key'`,
		Args:              wantArgs(1, 1),
		ValidArgsFunction: completeRoot,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			t, err := openCheckpoint(cmd.Context(), serverOf(cmd), args[0])
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, t.close()) }()
			show, err := t.view.Files(cmd.Context(), t.job, t.id)
			if err != nil {
				return err
			}
			if wantsJSON(cmd) {
				err = printJSON(cmd.OutOrStdout(), show)
			} else {
				err = printFiles(cmd.OutOrStdout(), show.GetFiles())
			}
			if err != nil {
				return err
			}
			return judgeFiles(show.GetFiles())
		},
	}
	serverFlag(cmd)
	jsonFlag(cmd, "ShowCheckpointResponse")
	return cmd
}

func printFiles(w io.Writer, files []*ckptdv1.FileSummary) error {
	if len(files) == 0 {
		_, err := fmt.Fprintln(w, "no files: all state lies in the _metadata")
		return err
	}
	t := output.NewTable(w)
	t.Row("FILE", "BYTES", "CRC32C", "REFERENCES", "ON STORAGE", "MADE BY THE BACKEND AS")
	for _, f := range files {
		found := output.Enum(f.GetPresence(), "FILE_PRESENCE_")
		if f.GetPresence() == ckptdv1.FilePresence_FILE_PRESENCE_WRONG_SIZE {
			found = fmt.Sprintf("%d bytes", f.GetFoundLength())
		}
		t.Row(f.GetFile().GetKey(), f.GetFile().GetLength(), fmt.Sprintf("%08x", f.GetFile().GetCrc32C()), f.GetReferences(), found, orDash(f.GetLocalName()))
	}
	return t.Flush()
}

// judgeFiles is an error if not all are there.
func judgeFiles(files []*ckptdv1.FileSummary) error {
	bad := 0
	for _, f := range files {
		if f.GetPresence() != ckptdv1.FilePresence_FILE_PRESENCE_PRESENT {
			bad++
		}
	}
	if bad > 0 {
		return exit.With(exit.Damage, fmt.Errorf("files: %d of %d files are missing or of another size: the checkpoint cannot be restored", bad, len(files)))
	}
	return nil
}
