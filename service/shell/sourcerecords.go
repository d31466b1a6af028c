package shell

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/service/api"
)

// openSource opens the _metadata of a source. The caller closes the body.
func openSource(ctx context.Context, store storage.Store, source *journal.Import) (io.Closer, *layout.MetadataReader, error) {
	key := layout.MetadataKey(source.Job, source.Checkpoint)
	body, err := store.Open(ctx, key, 0, -1)
	if err != nil {
		return nil, nil, err
	}
	r, err := layout.NewMetadataReader(body)
	switch {
	case err == nil && r.Header().Nonce != source.Nonce.String():
		err = fmt.Errorf("shell: %s has the nonce %s, the journal names %s: %w", key, r.Header().Nonce, source.Nonce, layout.ErrCorrupt)
	case err == nil && r.Header().Kind != layout.KindCheckpoint:
		err = fmt.Errorf("shell: %s is a savepoint, not a checkpoint: %w", key, layout.ErrUnknownKind)
	}
	if err != nil {
		body.Close()
		return nil, nil, err
	}
	return body, r, nil
}

// eachRecord calls f for each record.
func eachRecord(r *layout.MetadataReader, f func(layout.Record) error) error {
	for {
		record, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = f(record)
		}
		if err != nil {
			return err
		}
	}
}

// operatorsIn is operatorsOf for an open _metadata.
func operatorsIn(r *layout.MetadataReader) (all []api.SourceOperator, err error) {
	err = eachRecord(r, func(record layout.Record) error {
		switch record := record.(type) {
		case *layout.Operator:
			all = append(all, api.SourceOperator{Operator: *record})
		case *layout.Subtask:
			op := &all[len(all)-1]
			op.HasState = op.HasState || len(record.Handles) > 0
			op.Keyed = op.Keyed || slices.ContainsFunc(record.Handles, func(h layout.Handle) bool { return h.KeyGroups != nil })
		}
		return nil
	})
	return all, err
}
