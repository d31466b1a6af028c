package copying

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/storage"
)

// deleteBatch is how many objects one request deletes.
const deleteBatch = 500

// tidy deletes what an earlier or this run has left in the copy and nothing names: files of checkpoints that the source
// dropped while they were copied, and those of checkpoints that were dropped from the copy. What the source names stays.
func (j *job) tidy(ctx context.Context) error {
	if !j.untidy {
		return nil
	}
	keep, ids, err := j.named(ctx)
	if err != nil {
		return nil // something cannot be read, so nobody knows what it names: the copy's next owner deletes the rest
	}
	var batch []string
	flush := func() error {
		// Asked for each batch: a source that is a copy itself may have got a checkpoint again, and another copier may have brought it.
		head, err := j.run.read(ctx, j.id)
		if err != nil {
			return err
		}
		if head == nil || head.Epoch != j.owned.head.Epoch {
			return fmt.Errorf("job %s: %w: run the same command again", j.id, ErrFenced)
		}
		for _, err := range j.run.to.Store.Delete(ctx, batch) {
			if err != nil {
				j.run.report.FilesDeleted-- // a sweep deletes it later
			}
		}
		j.run.report.FilesDeleted += uint64(len(batch))
		batch = batch[:0]
		j.run.step(nil, StepDelete)
		return nil
	}
	for info, err := range j.run.to.Store.List(ctx, layout.JobPrefix(j.id)) {
		if err != nil {
			return err
		}
		if !j.dead(info.Key, keep, ids) {
			continue
		}
		if batch = append(batch, info.Key); len(batch) < deleteBatch {
			continue
		}
		if err := flush(); err != nil {
			return err
		}
	}
	if len(batch) > 0 {
		if err := flush(); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// dead tells whether nothing names an object of the copy. Objects that ckptd gives no name to are never dead.
func (j *job) dead(key string, keep map[fileID]struct{}, ids map[uint64]bool) bool {
	k := layout.ParseJobKey(strings.TrimPrefix(key, layout.JobPrefix(j.id)))
	switch k.Place {
	case layout.PlaceShared, layout.PlaceExclusive:
		_, named := keep[idOf(key)]
		return !named && k.File.Epoch <= j.owned.head.Epoch
	case layout.PlaceMetadata:
		return !ids[k.Checkpoint]
	}
	return false
}

// named returns the keys in the copy of all files that the copy or the source names, and the ids of their checkpoints.
func (j *job) named(ctx context.Context) (map[fileID]struct{}, map[uint64]bool, error) {
	source, err := catalog.Head(ctx, j.run.from.Store, j.id)
	if err != nil {
		return nil, nil, err
	}
	keep, ids := map[fileID]struct{}{}, map[uint64]bool{}
	read := func(store storage.Store, c journal.Checkpoint, key func(f *layout.File, h layout.Header) []string) error {
		ids[c.ID] = true
		return filesOf(ctx, store, j.id, c, func(f *layout.File, h layout.Header) {
			for _, k := range key(f, h) {
				keep[idOf(k)] = struct{}{}
			}
		})
	}
	for _, c := range j.owned.head.Retained {
		err := read(j.run.to.Store, c, func(f *layout.File, h layout.Header) []string {
			return []string{catalog.Key(j.id, h.Checkpoint, f.Key, f.Job)}
		})
		if err != nil {
			return nil, nil, err
		}
	}
	for _, c := range source.Retained {
		err := read(j.run.from.Store, c, func(f *layout.File, h layout.Header) (keys []string) {
			for _, all := range []bool{false, true} {
				p := placer{rootID: j.run.from.Root.ID, header: h, all: all}
				to, _ := p.place(f)
				keys = append(keys, catalog.Key(j.id, h.Checkpoint, to.Key, ""))
			}
			return keys
		})
		if err != nil {
			return nil, nil, err
		}
	}
	return keep, ids, nil
}

// filesOf calls do with each file of a checkpoint.
func filesOf(ctx context.Context, store storage.Store, job string, c journal.Checkpoint, do func(f *layout.File, h layout.Header)) error {
	body, err := store.Open(ctx, layout.MetadataKey(job, c.ID), 0, -1)
	if err != nil {
		return err
	}
	defer body.Close()
	m, err := layout.NewMetadataReader(body)
	for err == nil {
		var rec layout.Record
		rec, err = m.Next()
		if f, ok := rec.(*layout.File); ok && err == nil {
			do(f, m.Header())
		}
	}
	if err == io.EOF {
		return nil
	}
	return err
}
