// Package backend chooses the state backend of a job by Flink's names. It owns the names, and what incremental means. It
// must not know how a backend keeps state.
package backend

import (
	"context"
	"fmt"
	"strings"

	"github.com/ckptd/ckptd/layout/keygroup"
	"github.com/ckptd/ckptd/runtime/lsm"
	"github.com/ckptd/ckptd/runtime/state"
	"github.com/ckptd/ckptd/runtime/state/heap"
)

// The backends, by Flink's names (state.backend.type).
const (
	// Hashmap keeps the state in memory. Each snapshot holds all of it.
	Hashmap = "hashmap"
	// RocksDB keeps the state in an LSM tree on the local disk.
	RocksDB = "rocksdb"
	// Default is the backend of a job that names none.
	Default = RocksDB
)

// Names are all backends.
func Names() []string { return []string{Hashmap, RocksDB} }

// Options choose a backend.
type Options struct {
	// Type is one of Names; empty: Default.
	Type string
	// WholeSnapshots: each snapshot of RocksDB has all of its files sent anew, as Flink does when
	// execution.checkpointing.incremental is false.
	WholeSnapshots bool
}

// Open returns the factory of a backend for one process, and a function that releases what the backends share.
func Open(o Options) (open state.Factory, release func(), err error) {
	switch o.Type {
	case Hashmap:
		return heap.Open, func() {}, nil
	case RocksDB, "":
		engine := lsm.New(nil)
		open = engine.Open
		if o.WholeSnapshots {
			open = whole(open)
		}
		return open, engine.Close, nil
	}
	return nil, nil, fmt.Errorf("backend: there is no state backend %q; allowed: %s", o.Type, strings.Join(Names(), ", "))
}

// whole makes snapshots whose files belong to them alone.
func whole(open state.Factory) state.Factory {
	return func(ctx context.Context, dir string, groups keygroup.Range, restore []state.RestoredFile) (state.Backend, error) {
		b, err := open(ctx, dir, groups, restore)
		if err != nil {
			return nil, err
		}
		return &wholeBackend{b}, nil
	}
}

type wholeBackend struct{ state.Backend }

// Snapshot implements state.Backend.
func (b *wholeBackend) Snapshot(checkpoint uint64) (*state.Snapshot, error) {
	s, err := b.Backend.Snapshot(checkpoint)
	if err != nil {
		return nil, err
	}
	for i := range s.Files {
		s.Files[i].Shared, s.Files[i].RestoredKey = false, ""
	}
	return s, nil
}
