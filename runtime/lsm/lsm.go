// Package lsm is the state backend on Pebble: an LSM tree in a folder of its own. Its snapshots are incremental,
// because the tree's tables are immutable files.
//
// It owns the keys in the tree and the write-back cache in front of it. It also owns the choice of files for a
// snapshot, and how a tree is rebuilt from them. It knows no outcome of a checkpoint, no meaning of a handle, and no network.
//
// # A snapshot
//
//	cache --batches--> memtable --flush--> 000123.sst --hard link--> snap-7/000123.sst   Shared, under the instance nonce
//	                               MANIFEST, markers ---------copy--> snap-7/lsm         exclusive, a few KiB
//
// There is no write-ahead log and no fsync: after a crash the state is rebuilt from the checkpoint, never from this
// folder. A table's number is never used again within a folder, and a folder serves one instance. So (instance nonce,
// name) always means the same bytes.
//
// Keys that were not written between two snapshots need no new table. From time to time compactions make new tables
// of old ones.
//
// A restored tree starts in a new folder under a new nonce, with the snapshot's tables linked into it. While such a
// table is in use, later snapshots name it with the key of its handle, so that it need not be sent again.
package lsm

import (
	"context"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/ckptd/ckptd/layout/keygroup"
	"github.com/ckptd/ckptd/runtime/state"
)

// Options are sizes. The zero value of each field means its default.
type Options struct {
	// BlockCache is the size of the cache that all backends of the engine share, in bytes. Default 32 MiB.
	BlockCache int64
	// WriteBack bounds the entries in the cache in front of the tree, per backend, in bytes. Default 8 MiB. Together
	// with Memtable it bounds what the synchronous part of a snapshot has to write.
	WriteBack int
	// Memtable is the size of one memtable, in bytes; a backend has up to three for moments. Default 8 MiB.
	Memtable int
	// CompactAfter is the number of flushed tables over the same keys after which the tables are merged. A higher
	// number makes snapshots smaller and reads slower. Default 8.
	CompactAfter int
}

func (o *Options) withDefaults() Options {
	var d Options
	if o != nil {
		d = *o
	}
	d.BlockCache = orDefault(d.BlockCache, 32<<20)
	d.WriteBack = orDefault(d.WriteBack, 8<<20)
	d.Memtable = orDefault(d.Memtable, 8<<20)
	d.CompactAfter = orDefault(d.CompactAfter, 8)
	return d
}

func orDefault[T int | int64](v, d T) T {
	if v <= 0 {
		return d
	}
	return v
}

// Engine opens backends that share one block cache; a process needs one engine. It is safe for concurrent use.
type Engine struct {
	options Options
	blocks  *pebble.Cache
	// fs is the file system of the trees.
	fs vfs.FS
}

// New returns an engine; nil means default options.
func New(options *Options) *Engine {
	o := options.withDefaults()
	return &Engine{options: o, blocks: pebble.NewCache(o.BlockCache), fs: vfs.Default}
}

// Open is a state.Factory.
func (e *Engine) Open(ctx context.Context, dir string, groups keygroup.Range, restore []state.RestoredFile) (state.Backend, error) {
	b, err := open(ctx, e, dir, groups, restore)
	if err != nil {
		return nil, fmt.Errorf("lsm: open %s: %w", dir, err)
	}
	return b, nil
}

// Close releases the block cache. Backends that are still open keep it until their own Close.
func (e *Engine) Close() { e.blocks.Unref() }

// pebbleOptions is the tuning of a tree: small memory, one compaction at a time, and tables of a few MiB, so that a
// compaction replaces few of them.
func (e *Engine) pebbleOptions(failed *failure) *pebble.Options {
	return &pebble.Options{
		Cache:                      e.blocks,
		CompactionConcurrencyRange: func() (int, int) { return 1, 1 },
		DisableWAL:                 true,
		EventListener:              &pebble.EventListener{BackgroundError: failed.set},
		FormatMajorVersion:         pebble.FormatTableFormatV6, // the first format whose table footers have a checksum
		FS:                         volatileFS{e.fs},
		// Tables of disjoint keys count too, because each is a file of every snapshot.
		L0CompactionFileThreshold:   2 * e.options.CompactAfter,
		L0CompactionThreshold:       e.options.CompactAfter,
		L0StopWritesThreshold:       4 * e.options.CompactAfter,
		Logger:                      failed,
		MaxManifestFileSize:         8 << 10, // each snapshot sends it
		MaxOpenFiles:                256,
		MemTableSize:                uint64(e.options.Memtable),
		MemTableStopWritesThreshold: 3,
	}
}
