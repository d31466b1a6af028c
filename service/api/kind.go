package api

import (
	"fmt"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/coordinator"
	"github.com/ckptd/ckptd/service/owner"
)

// KindIn converts the kind of a checkpoint that a person asks for.
func KindIn(k ckptdv1.CheckpointKind) (coordinator.Kind, error) {
	switch k {
	case ckptdv1.CheckpointKind_CHECKPOINT_KIND_UNSPECIFIED, ckptdv1.CheckpointKind_CHECKPOINT_KIND_CONFIGURED:
		return coordinator.KindConfigured, nil
	case ckptdv1.CheckpointKind_CHECKPOINT_KIND_FULL:
		return coordinator.KindFull, nil
	case ckptdv1.CheckpointKind_CHECKPOINT_KIND_INCREMENTAL:
		return coordinator.KindIncremental, nil
	}
	return 0, fmt.Errorf("unknown kind of checkpoint %d: allowed is CONFIGURED, FULL or INCREMENTAL: a newer ckptd may know it", k)
}

// KindOwned is the owner machine's name of a kind.
func KindOwned(k coordinator.Kind) owner.CheckpointKind {
	switch k {
	case coordinator.KindFull:
		return owner.CheckpointFull
	case coordinator.KindIncremental:
		return owner.CheckpointIncremental
	}
	return owner.CheckpointConfigured
}
