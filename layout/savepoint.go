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

// DisposeClaim is the claim of a person's command that disposes of a savepoint. No job has such an id.
const DisposeClaim = "(dispose)"

// IsSavepointFile tells whether ckptd gives such a name to a file in the folder of a savepoint: the name of a state file, after the id
// of its job if another job has lent it.
func IsSavepointFile(name string) bool {
	if i := strings.LastIndexByte(name, '.'); i >= 0 {
		if ValidateJobID(name[:i]) != nil {
			return false
		}
		name = name[i+1:]
	}
	_, ok := parseFileName(name)
	return ok
}

// DeleteSavepoint deletes a savepoint: first its _metadata, so that nothing looks whole that is not; the claim last. What else lies in
// the folder stays.
func DeleteSavepoint(ctx context.Context, store storage.Store, prefix string) error {
	objects, err := SavepointObjects(ctx, store, prefix)
	if err != nil {
		return err
	}
	metadata, claim := prefix+MetadataName, prefix+ClaimName
	var keys []string
	for _, o := range objects {
		if o.Key != metadata && o.Key != claim {
			keys = append(keys, o.Key)
		}
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

// SavepointObjects lists what belongs to a savepoint: its _metadata, its claim, the files that its _metadata names, and those that ckptd
// has named. In a folder with another name than SavepointFolder makes, the last only count if the _metadata is gone or damaged.
func SavepointObjects(ctx context.Context, store storage.Store, prefix string) (all []storage.Info, err error) {
	named, err := besideFiles(ctx, store, prefix)
	lost := errors.Is(err, storage.ErrNotFound) || errors.Is(err, ErrCorrupt)
	if err != nil && !lost {
		return nil, err
	}
	byName := lost || CheckSavepointFolder(path.Base(prefix)) == nil
	for info, err := range store.List(ctx, prefix) {
		if err != nil {
			return nil, err
		}
		name := info.Key[len(prefix):]
		if name == MetadataName || name == ClaimName || named[name] || byName && IsSavepointFile(name) {
			all = append(all, info)
		}
	}
	return all, nil
}

// besideFiles reads which files beside it the _metadata of a savepoint names.
func besideFiles(ctx context.Context, store storage.Store, prefix string) (map[string]bool, error) {
	body, err := store.Open(ctx, prefix+MetadataName, 0, -1)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	r, err := NewMetadataReader(body)
	if err != nil {
		return nil, err
	}
	named := map[string]bool{}
	for {
		record, err := r.Next()
		switch {
		case errors.Is(err, io.EOF):
			return named, nil
		case err != nil:
			return named, err
		}
		if f, ok := record.(*File); ok && f.Beside() {
			named[f.Key] = true
		}
	}
}
