package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

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
Names are relative to the job's folder; a file that another job lends is named with that job. HOLDS says what kind of state lies in the
file, the state's name and, as [from:to], the bytes of the file that it takes, if not all. If a file is missing or of another size, the
exit code is 4.`,
		Example: `  ckptd files file:///var/lib/ckptd/clicks/chk-42
  ckptd files ./data/clicks/chk-42 --json | jq -r '.files[].file.key'`,
		Args:              wantArgs(1, 1),
		ValidArgsFunction: completeCheckpoints,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			t, err := openCheckpoint(cmd.Context(), daemonsOf(cmd), args[0])
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
	serverFlags(cmd)
	jsonFlag(cmd, "ShowCheckpointResponse")
	return cmd
}

func printFiles(w io.Writer, files []*ckptdv1.FileSummary) error {
	if len(files) == 0 {
		_, err := fmt.Fprintln(w, "no files: all state lies in the _metadata")
		return err
	}
	t := output.NewTable(w)
	t.Row("FILE", "BYTES", "CRC32C", "REFERENCES", "ON STORAGE", "MADE BY THE BACKEND AS", "HOLDS")
	for _, f := range files {
		found := output.Enum(f.GetPresence(), "FILE_PRESENCE_")
		if f.GetPresence() == ckptdv1.FilePresence_FILE_PRESENCE_WRONG_SIZE {
			found = fmt.Sprintf("%d bytes", f.GetFoundLength())
		}
		if f.GetPresence() == ckptdv1.FilePresence_FILE_PRESENCE_UNSPECIFIED {
			found = "not looked for"
		}
		name := f.GetFile().GetKey()
		if job := f.GetFile().GetJobId(); job != "" {
			name = "job " + job + ": " + name
		}
		t.Row(name, f.GetFile().GetLength(), fmt.Sprintf("%08x", f.GetFile().GetCrc32C()), f.GetReferences(), found, orDash(f.GetLocalName()),
			orDash(holdsText(f)))
	}
	return t.Flush()
}

// holdsText describes the contents of a file: each kind of state, name and segment once, and only the first few.
func holdsText(f *ckptdv1.FileSummary) string {
	const most = 4
	var texts []string
	for _, p := range f.GetPieces() {
		text := output.Enum(p.GetState().GetKind(), "STATE_KIND_")
		if name := p.GetState().GetName(); name != "" {
			text += " " + name
		}
		if s := p.GetSegment(); s != nil {
			text += fmt.Sprintf(" [%d:%d]", s.GetOffset(), s.GetOffset()+s.GetLength())
		}
		if slices.Contains(texts, text) {
			continue
		}
		if len(texts) == most {
			return strings.Join(texts, ", ") + ", …"
		}
		texts = append(texts, text)
	}
	if int(f.GetReferences()) > len(f.GetPieces()) && len(texts) > 1 {
		texts = append(texts, "…") // others may hold something else
	}
	return strings.Join(texts, ", ")
}

// judgeFiles is an error if a file is missing or has another size. Files that were not looked for do not count.
func judgeFiles(files []*ckptdv1.FileSummary) error {
	bad := 0
	for _, f := range files {
		switch f.GetPresence() {
		case ckptdv1.FilePresence_FILE_PRESENCE_MISSING, ckptdv1.FilePresence_FILE_PRESENCE_WRONG_SIZE:
			bad++
		}
	}
	if bad > 0 {
		return exit.With(exit.Damage, fmt.Errorf("files: the checkpoint cannot be restored: missing or of another size: %d of %s", bad, output.Count(len(files), "file")))
	}
	return nil
}
