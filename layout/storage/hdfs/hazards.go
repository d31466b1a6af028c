package hdfs

import (
	"context"

	"github.com/ckptd/ckptd/layout/storage"
)

func (s *store) hazards(ctx context.Context) []storage.Hazard { return nil }
