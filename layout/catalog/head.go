package catalog

import (
	"context"
	"fmt"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/journalio"
	"github.com/ckptd/ckptd/layout/storage"
)

// Head reads the head of a job's journal as an owner does, but does not make the entry durable first: nothing may act on
// it.
func Head(ctx context.Context, s storage.Store, job string) (*journal.Entry, error) {
	if err := layout.ValidateJobID(job); err != nil {
		return nil, err
	}
	head, how, err := journalio.ReadHead(ctx, s, storage.Facts{}, job)
	switch how {
	case journal.ReadDone:
		return head, nil
	case journal.ReadEmpty:
		return nil, fmt.Errorf("%w: %s", ErrNoJob, job)
	case journal.ReadForeign:
		return nil, fmt.Errorf("%w: the folder of job %s is not empty, but has no journal", ErrDamaged, job)
	case journal.ReadCorrupt:
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return nil, err
}
