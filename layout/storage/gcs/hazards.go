package gcs

import (
	"context"

	contract "github.com/ckptd/ckptd/layout/storage"
)

func (s *store) hazards(ctx context.Context) []contract.Hazard { return nil }
