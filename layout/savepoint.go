package layout

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/ckptd/ckptd/layout/storage"
)

// tombstone is what lies in place of the _metadata of a savepoint that came to nothing. Whoever cleans a savepoint occupies the name
// first, so that nobody can complete it later.
const tombstone = "ckptd: this savepoint was never completed, and what was written of it is deleted\n"

// Tombstone returns the bytes of a tombstone.
func Tombstone() []byte { return []byte(tombstone) }

// SavepointFolder is the name of a savepoint's folder: savepoint-<first 6 of the job's id>-<suffix>.
func SavepointFolder(job, suffix string) string {
	return savepointPrefix + job[:min(len(job), 6)] + "-" + suffix
}

// CheckSavepointFolder refuses a name that SavepointFolder does not make. Only such folders are ever cleaned.
func CheckSavepointFolder(name string) error {
	rest, ok := strings.CutPrefix(name, savepointPrefix)
	i := strings.LastIndexByte(rest, '-')
	if !ok || i <= 0 || i == len(rest)-1 || !isBesideName(name) {
		return fmt.Errorf("layout: folder %q: want savepoint-<job>-<suffix>: %w", clip(name), ErrName)
	}
	return nil
}

// SavepointsFolder is the folder of a job in which its savepoints may lie.
func SavepointsFolder(job string) string { return JobPrefix(job) + "savepoints" }

// ClaimName is the name of the object in a savepoint's folder that names the job which has claimed the savepoint.
const ClaimName = "_claim"

// DeleteSavepoint deletes a savepoint: first its _metadata, so that nothing looks whole that is not; the claim last.
func DeleteSavepoint(ctx context.Context, store storage.Store, prefix string) error {
	metadata, claim := prefix+MetadataName, prefix+ClaimName
	if err := errors.Join(store.Delete(ctx, []string{metadata})...); err != nil {
		return err
	}
	var keys []string
	for info, err := range store.List(ctx, prefix) {
		if err != nil {
			return err
		}
		if info.Key != claim {
			keys = append(keys, info.Key)
		}
	}
	if len(keys) > 0 {
		if err := errors.Join(store.Delete(ctx, keys)...); err != nil {
			return err
		}
	}
	return errors.Join(store.Delete(ctx, []string{claim})...)
}
