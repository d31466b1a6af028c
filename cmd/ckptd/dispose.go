package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/ckptd/ckptd/cmd/ckptd/drivers"
	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/cmd/ckptd/output"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

func newDisposeCmd() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "dispose SAVEPOINT",
		Short: "Delete a savepoint for good",
		Long: `Delete a savepoint for good: first its _metadata, then its files. Without --yes the command says what it would delete. What else lies
in the folder stays. A command that was interrupted can be repeated.

SAVEPOINT is the path or URL of its folder, or of its _metadata. What is no savepoint is refused (exit code 4): checkpoints go by ` + "`ckptd rm`" + `.
No daemon is asked. A job that is beginning from the savepoint right now fails.`,
		Example: `  ckptd dispose file:///var/lib/savepoints/savepoint-clicks-0f4a5b6c7d8e
  ckptd dispose file:///var/lib/savepoints/savepoint-clicks-0f4a5b6c7d8e --yes`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return dispose(cmd, args[0], yes) },
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "delete")
	jsonFlag(cmd, "DisposeReport")
	return cmd
}

// errNoSavepoint is in the chain of the error for something else than a savepoint.
var errNoSavepoint = errors.New("this is no savepoint")

func dispose(cmd *cobra.Command, arg string, yes bool) (err error) {
	ctx := cmd.Context()
	place, err := drivers.Normal(arg)
	if err != nil {
		return exit.Usagef("dispose: %w", err)
	}
	if folder, last := drivers.CutLast(place); last == layout.MetadataName {
		place = folder
	}
	parent, name, err := drivers.CutKey(place)
	if err != nil {
		return exit.Usagef("dispose: %w", err)
	}
	look, err := drivers.Open(ctx, parent, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, look.Close()) }()
	report := &ckptdv1.DisposeReport{Path: place, Executed: yes}
	if err := isSavepoint(cmd, look.Store, name); err != nil {
		return fmt.Errorf("dispose %s: %w", output.Argument(place), err)
	}
	objects, err := layout.SavepointObjects(ctx, look.Store, name+"/")
	if err != nil {
		return fmt.Errorf("dispose %s: %w", output.Argument(place), err)
	}
	for _, o := range objects {
		report.Objects++
		report.Bytes += uint64(o.Size)
	}
	if yes {
		if err := disposeNow(ctx, parent, name+"/"); err != nil {
			return fmt.Errorf("dispose %s: %w", output.Argument(place), err)
		}
	}
	if wantsJSON(cmd) {
		return printJSON(cmd.OutOrStdout(), report)
	}
	verb, hint := "deleted", ""
	if !yes {
		verb, hint = "would delete", "; --yes deletes it"
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s %s: %s, %s%s\n", verb, output.Clean(place), output.Count(report.Objects, "object"), output.Bytes(report.Bytes), hint)
	return nil
}

// disposeNow deletes a savepoint. It claims the savepoint first, so that no job can, and a command that was killed can be repeated.
func disposeNow(ctx context.Context, parent, prefix string) (err error) {
	opened, err := drivers.Open(ctx, parent, false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, opened.Close()) }()
	w, err := opened.Store.Create(ctx, prefix+layout.ClaimName, storage.CreateOptions{IfAbsent: true})
	if err == nil {
		_, err = io.WriteString(w, layout.DisposeClaim)
		if err == nil {
			err = w.Commit()
		}
		w.Abort()
	}
	if err != nil && !errors.Is(err, storage.ErrExists) {
		return err
	}
	return layout.DeleteSavepoint(ctx, opened.Store, prefix)
}

// isSavepoint refuses what is no savepoint, nor the tombstone of one, nor the rest of one that is being disposed of: a claim comes when
// there is a _metadata, and goes last.
func isSavepoint(cmd *cobra.Command, store storage.Store, folder string) error {
	body, err := store.Open(cmd.Context(), folder+"/"+layout.MetadataName, 0, -1)
	if errors.Is(err, storage.ErrNotFound) {
		if _, err := store.Stat(cmd.Context(), folder+"/"+layout.ClaimName); err == nil {
			return nil
		}
		return fmt.Errorf("%w: there is no _metadata in it", catalog.ErrNoCheckpoint)
	}
	if err != nil {
		return err
	}
	defer body.Close()
	r, err := layout.NewMetadataReader(body)
	switch {
	case errors.Is(err, layout.ErrTombstone):
		return nil
	case err != nil:
		return err
	case r.Header().Kind != layout.KindSavepoint:
		return fmt.Errorf("%w: it is a checkpoint of job %s; `ckptd rm` removes checkpoints", errNoSavepoint, r.Header().JobID)
	}
	return nil
}
