package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/ckptd/ckptd/cmd/ckptd/drivers"
	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/cmd/ckptd/output"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/copying"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/retry"
	"github.com/ckptd/ckptd/service/shell"
)

// allowed are the places below which this daemon may read checkpoints for new jobs. Whoever may run jobs may name any
// place, and the daemon reads it with its own rights, so the operator lists them.
type allowed []string

// check brings the places into their normal form.
func (a allowed) check(flag string) error {
	for i, place := range a {
		normal, err := drivers.Normal(place)
		if err != nil {
			return exit.Usagef("serve: --%s: %w", flag, err)
		}
		a[i] = normal
	}
	return nil
}

// has tells whether a normal URL lies at or below an allowed place, in the same store.
func (a allowed) has(place string) bool {
	at, query, _ := strings.Cut(place, "?")
	for _, one := range a {
		top, of, _ := strings.Cut(one, "?")
		if of == query && (at == top || strings.HasPrefix(at, strings.TrimSuffix(top, "/")+"/")) {
			return true
		}
	}
	return false
}

// opener is what the service calls for a checkpoint outside of its root; nil: nothing is allowed.
func (a allowed) opener() shell.OpenElsewhere {
	if len(a) == 0 {
		return nil
	}
	return a.open
}

// latestElement is the last element of a job's URL that means its newest checkpoint.
const latestElement = "latest"

func (a allowed) open(ctx context.Context, text string) (*shell.Elsewhere, error) {
	place, err := drivers.Normal(text)
	if err != nil {
		return nil, err
	}
	if !a.has(place) {
		return nil, fmt.Errorf("this daemon may not read there: copy the checkpoint into its root by `ckptd copy`, or start the daemon with --restore-from for a place that holds %s",
			output.Argument(place))
	}
	if folder, last := drivers.CutLast(place); last == layout.MetadataName {
		place = folder
	}
	inJob, folder := drivers.CutLast(place)
	root, job := drivers.CutLast(inJob)
	id, err := layout.ParseCheckpointDir(folder)
	if layout.ValidateJobID(job) == nil && (err == nil || folder == latestElement) {
		from, err := openPlace(ctx, root, true)
		if err == nil && from.Store != nil {
			e, err := a.inRoot(ctx, &from, root, job, id)
			if err != nil {
				err = errors.Join(err, from.Opened.Close())
			}
			return e, err
		}
		if err != nil && !absent(err) {
			return nil, err
		}
	}
	return a.loose(ctx, inJob, folder)
}

// inRoot is a checkpoint that a job of another root keeps; id 0: its newest.
func (a allowed) inRoot(ctx context.Context, from *copying.Place, root, job string, id uint64) (*shell.Elsewhere, error) {
	head, err := catalog.Head(ctx, from.Store, job)
	if err != nil {
		return nil, err
	}
	if id == 0 {
		if id = head.Newest(); id == 0 {
			return nil, fmt.Errorf("%w: job %s keeps none", catalog.ErrNoCheckpoint, job)
		}
	}
	if _, ok := head.Checkpoint(id); !ok {
		return nil, fmt.Errorf("%w: job %s does not keep %s", catalog.ErrNoCheckpoint, job, layout.CheckpointDir(id))
	}
	return &shell.Elsewhere{
		From: *from, URL: drivers.Below(root, job+"/"+layout.CheckpointDir(id)), Metadata: layout.MetadataKey(job, id), Close: from.Opened.Close,
		Locate: func(f *layout.File, _ layout.Header) string {
			return a.within(root, catalog.Key(job, id, f.Key, f.Job))
		},
	}, nil
}

// loose is a checkpoint outside of any root.
func (a allowed) loose(ctx context.Context, parent, folder string) (*shell.Elsewhere, error) {
	opened, err := drivers.Open(ctx, parent, true)
	if err != nil {
		return nil, err
	}
	at := drivers.Below(parent, folder)
	if folder, err = url.PathUnescape(folder); err != nil {
		return nil, errors.Join(err, opened.Close())
	}
	key := folder + "/" + layout.MetadataName
	if _, err := opened.Store.Stat(ctx, key); errors.Is(err, storage.ErrNotFound) {
		return nil, errors.Join(fmt.Errorf("%w: there is no _metadata in it", catalog.ErrNoCheckpoint), opened.Close())
	}
	return &shell.Elsewhere{
		From: copying.Place{Store: retry.New(opened.Store, retry.Policy{}), Opened: opened, Facts: opened.Facts}, URL: at, Metadata: key, Close: opened.Close,
		Locate: func(f *layout.File, h layout.Header) string {
			return a.within(parent, catalog.LooseKey(folder, h.Checkpoint, f.Key, f.Job))
		},
	}, nil
}

// within is the key, or "" if it lies outside of the allowed places: a _metadata may name files of other jobs.
func (a allowed) within(root, key string) string {
	if key == "" || !a.has(drivers.Below(root, key)) {
		return ""
	}
	return key
}
