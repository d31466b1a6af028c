package layout

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/ckptd/ckptd/layout/storage"
)

// tombstone is what lies in place of the _metadata of a savepoint that came to nothing. Whoever cleans a savepoint occupies the name
// first, so that nobody can complete it later.
const tombstone = "ckptd: this savepoint was never completed, and what was written of it is deleted\n"

// tombstoneError is the type of ErrTombstone.
type tombstoneError struct{}

func (tombstoneError) Error() string {
	return "this is a half-written savepoint, cleaned by gc: nothing can be restored from it"
}
func (tombstoneError) Unwrap() error { return ErrCorrupt }

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

// DeleteSavepoint deletes a savepoint: first its _metadata, so that nothing looks whole that is not; the claim last. In a folder with
// another name than SavepointFolder makes, only what the _metadata names is deleted: other things may lie beside it.
func DeleteSavepoint(ctx context.Context, store storage.Store, prefix string) error {
	metadata, claim := prefix+MetadataName, prefix+ClaimName
	keys, err := savepointKeys(ctx, store, prefix)
	if err != nil {
		return err
	}
	if err := errors.Join(store.Delete(ctx, []string{metadata})...); err != nil {
		return err
	}
	if len(keys) > 0 {
		if err := errors.Join(store.Delete(ctx, keys)...); err != nil {
			return err
		}
	}
	return errors.Join(store.Delete(ctx, []string{claim})...)
}

// savepointKeys lists the objects of a savepoint but for its _metadata and its claim.
func savepointKeys(ctx context.Context, store storage.Store, prefix string) (keys []string, err error) {
	if CheckSavepointFolder(path.Base(prefix)) == nil {
		for info, err := range store.List(ctx, prefix) {
			if err != nil {
				return nil, err
			}
			if name := info.Key[len(prefix):]; name != MetadataName && name != ClaimName {
				keys = append(keys, info.Key)
			}
		}
		return keys, nil
	}
	body, err := store.Open(ctx, prefix+MetadataName, 0, -1)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	r, err := NewMetadataReader(body)
	for err == nil {
		var record Record
		if record, err = r.Next(); err != nil {
			break
		}
		if f, ok := record.(*File); ok && f.Beside() {
			keys = append(keys, prefix+f.Key)
		}
	}
	if errors.Is(err, ErrTombstone) || errors.Is(err, io.EOF) {
		err = nil
	}
	return keys, err
}
