package shell

import (
	"context"
	"fmt"

	"connectrpc.com/connect"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/verify"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/api"
)

// undamaged refuses a source of which an object is missing or has another size. The error names the damage, and the newest
// older checkpoint that is whole. An older one is taken only if the caller names it: going back silently would lose what the
// job has done since.
func undamaged(ctx context.Context, store storage.Store, job string, source journal.Import) error {
	report, err := verify.Run(ctx, store, verify.Options{Job: source.Job, Checkpoint: source.Checkpoint})
	if err != nil {
		return api.Error(fmt.Errorf("job %s: restore from %s: %w", job, source.Source, err))
	}
	if report.GetVerdict() != ckptdv1.VerifyVerdict_VERIFY_VERDICT_DAMAGED {
		return nil // what could not be read, or left meanwhile, is found by the import
	}
	for _, j := range report.GetJobs() {
		for _, c := range j.GetCheckpoints() {
			if len(c.GetDamages()) == 0 {
				continue
			}
			older := "no older checkpoint of that job is whole"
			if id := c.GetOlderWholeCheckpointId(); id != 0 {
				older = fmt.Sprintf("%s/%s is older and whole: to go back to it, name it", source.Job, layout.CheckpointDir(id))
			}
			return connect.NewError(connect.CodeDataLoss, fmt.Errorf("job %s: restore from %s: checkpoint %d of job %s is damaged: %s: %s; %s",
				job, source.Source, c.GetCheckpointId(), source.Job, c.GetDamages()[0].GetKey(), c.GetDamages()[0].GetText(), older))
		}
	}
	return nil
}
