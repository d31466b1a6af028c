package service

import (
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/copying"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/service/api"
	"github.com/ckptd/ckptd/service/shell"
)

// outOfMemory opens a checkpoint below the daemon's root, or elsewhere, for a job in memory. Its files are copied.
func (s *Server) outOfMemory(ctx context.Context, text string) (*shell.Elsewhere, error) {
	rel, below := api.BelowRoot(text, s.facts.Location)
	job, folder, ok := strings.Cut(rel, "/")
	if !below || !ok || layout.CheckSavepointFolder(path.Base(rel)) == nil {
		return s.env.OpenElsewhere(ctx, text)
	}
	id, err := layout.ParseCheckpointDir(folder)
	if err != nil && folder != "latest" {
		return nil, fmt.Errorf("%s is no checkpoint: want <job id>/chk-<number> or <job id>/latest", rel)
	}
	head, err := s.headOf(ctx, job)
	if err != nil {
		return nil, fmt.Errorf("job %s: %w", job, err)
	}
	if folder == "latest" {
		id = head.Newest()
	}
	if c, ok := head.Checkpoint(id); !ok || c.State == journal.StateHidden && !head.IsLent(id) {
		return nil, fmt.Errorf("%w: job %s does not retain %s", catalog.ErrNoCheckpoint, job, folder)
	}
	return &shell.Elsewhere{
		From: copying.Place{Store: s.stores.restore, Opened: s.env.Root, Facts: s.facts}, URL: api.Below(s.facts.Location, job+"/"+layout.CheckpointDir(id)),
		Metadata: layout.MetadataKey(job, id), Close: func() error { return nil },
		Locate: func(f *layout.File, _ layout.Header) string { return catalog.Key(job, id, f.Key, f.Job) },
	}, nil
}
