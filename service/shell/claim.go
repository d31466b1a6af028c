package shell

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"connectrpc.com/connect"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/copying"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/service/api"
)

// A savepoint that a job claims is the job's from then on. An object beside its _metadata names the claimant: a second one is refused.
// When the job has a checkpoint of its own, and its policy has dropped the one that was made of the savepoint, the savepoint is
// disposed of.

// OpenElsewhere opens a savepoint below the daemon's root, or what the daemon's operator has allowed outside of it.
func (e *Env) OpenElsewhere(ctx context.Context, text string) (*Elsewhere, error) {
	rel, ok := api.BelowRoot(text, e.Facts.Location)
	if !ok || layout.CheckSavepointFolder(path.Base(rel)) != nil {
		if e.Elsewhere == nil {
			return nil, errors.New("this daemon reads nothing outside of its root")
		}
		return e.Elsewhere(ctx, text)
	}
	return &Elsewhere{
		From: copying.Place{Store: e.Restore, Opened: e.Root, Facts: e.Facts}, URL: strings.TrimSuffix(text, "/"+layout.MetadataName),
		Metadata: rel + "/" + layout.MetadataName, Close: func() error { return nil },
		Locate: func(f *layout.File, _ layout.Header) string {
			if !f.Beside() {
				return ""
			}
			return rel + "/" + f.Key
		},
	}, nil
}

// claimSavepoint notes beside the _metadata of a savepoint that this job claims it.
func (j *Job) claimSavepoint(ctx context.Context, source journal.Import) error {
	refuse := func(format string, args ...any) error {
		return connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf("restore from %s with CLAIM: %s", source.Source, fmt.Sprintf(format, args...)))
	}
	if normal := j.env.Savepoints.Normal; normal != nil { // what may be read only cannot be claimed: a claimed savepoint is deleted later
		if _, err := normal(source.Source, j.env.Facts.Location); err != nil {
			return refuse("%v; or use NO_CLAIM", err)
		}
	}
	f, err := j.env.openFolder(ctx, source.Source, true)
	if err != nil {
		return refuse("%v: name the place by --savepoints of the daemon, or use NO_CLAIM", err)
	}
	defer func() { _ = f.close() }()
	key := f.prefix + layout.ClaimName
	err = create(ctx, f.place.Store, key, []byte(j.id))
	if err == nil {
		return nil
	}
	by, readErr := readSmall(ctx, f.place.Store, key)
	switch {
	case readErr == nil && string(by) == j.id:
		return nil
	case readErr == nil && string(by) == layout.DisposeClaim:
		return refuse("`ckptd dispose` is deleting the savepoint: name another one")
	case readErr == nil:
		return refuse("job %s has claimed the savepoint: use NO_CLAIM, or name another one", by)
	}
	return api.Error(errors.Join(err, readErr))
}

// readSmall reads an object of at most 1 KiB.
func readSmall(ctx context.Context, store storage.Store, key string) ([]byte, error) {
	body, err := store.Open(ctx, key, 0, -1)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return io.ReadAll(io.LimitReader(body, 1<<10))
}

// disposeClaimed deletes the savepoint that this job has claimed, once nothing needs it any more. It is called after completions and
// sweeps; what fails is tried again after the next one.
func (j *Job) disposeClaimed() {
	head := j.m.Head()
	if head == nil || j.disposed || head.Import.Mode != journal.Claim || head.Import.Job != "" || head.Import.State != journal.ImportOutlived {
		return
	}
	for i := range head.Retained {
		if head.Retained[i].Imported {
			return
		}
	}
	j.disposed = true
	folder, nonce := head.Import.Source, head.Import.Nonce
	j.env.Background.Add(1)
	j.env.crew.run(j.env.Context, func() {
		defer j.env.Background.Done()
		if err := j.env.dispose(j.ops, folder, nonce, j.id); err != nil {
			j.warn(j.ops, "cannot dispose of the savepoint that the job has claimed", "folder", folder, "error", err)
			j.do(func() { j.disposed = false })
		}
	})
}

// dispose deletes a savepoint that a job has claimed, its _metadata first.
func (e *Env) dispose(ctx context.Context, folder string, nonce journal.Nonce, job string) (err error) {
	f, err := e.openFolder(ctx, folder, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	by, err := readSmall(ctx, f.place.Store, f.prefix+layout.ClaimName)
	if errors.Is(err, storage.ErrNotFound) { // it is gone
		return nil
	}
	if err != nil || string(by) != job {
		return err
	}
	if err := f.holds(ctx, nonce); err != nil {
		return err
	}
	return layout.DeleteSavepoint(ctx, f.place.Store, f.prefix)
}

// holds returns an error if the folder has, or may have, another savepoint than the one with that nonce. Its _metadata may be gone, or damaged.
func (f *savepointFolder) holds(ctx context.Context, nonce journal.Nonce) error {
	found, _, _, err := readSavepoint(ctx, f)
	switch {
	case err == nil && found != nonce:
		return fmt.Errorf("shell: %s is that of another savepoint: nothing there is deleted", f.metadata())
	case errors.Is(err, storage.ErrNotFound), errors.Is(err, layout.ErrCorrupt):
		return nil
	}
	return err
}
